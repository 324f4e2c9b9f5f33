"""The routes of forecasts: when orders and work orders will be done, by how fast lines really are."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.access.needs import Needs
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.analytics.forecasting import Forecast, forecast_all, late_s, order_told
from cloud_ingest.analytics.routes import PROBLEMS, Line, Site
from cloud_ingest.lines.published import OpenWorkOrder
from cloud_ingest.orders.published import orders_in_the_plant
from connectors.ports.clock import Clock
from connectors.ports.database import Database

LateSeconds = Annotated[
    int | None, Field(description="Behind its due time; 0: in time; null: nobody knows, or it has none")
]


class LineForecast(Answer):
    """When a line of an order is complete."""

    line: int
    product: str
    outstanding: Annotated[str, Field(description="Neither in stock for it nor gone", examples=["3"])]
    end: datetime | None


class OrderForecast(Answer):
    """When an order is complete, as its lines are expected to be."""

    order: str
    customer: str
    reference: str
    state: str
    wanted: Annotated[datetime | None, Field(description="When the customer wants to have it")]
    promised: datetime | None
    end: Annotated[datetime | None, Field(description="null: something of it is planned nowhere")]
    late_s: LateSeconds
    lines: list[LineForecast]


class OrderForecasts(Answer):
    """Forecasts of orders, by their ids."""

    time: Annotated[datetime, Field(description="As of when")]
    orders: list[OrderForecast]
    next: str | None


class WorkOrderForecast(Answer):
    """When a work order runs, as it is expected."""

    work_order: str
    site: str
    line: str
    product: str
    state: str
    step: int
    steps: int
    order: str | None
    remaining: Annotated[str, Field(examples=["120"])]
    begin: datetime
    end: datetime
    due: datetime | None
    late_s: LateSeconds
    piece_s: Annotated[float, Field(description="Seconds of work that a good piece takes")]
    measured: Annotated[bool, Field(description="As the line was in the last 30 days; else as the routing says")]


class WorkOrderForecasts(Answer):
    """Forecasts of work orders, by their ids."""

    time: datetime
    work_orders: list[WorkOrderForecast]
    next: str | None


ReadsOrders = Annotated[Principal, Depends(Needs(Permission.ORDERS_READ))]
ReadsWork = Annotated[Principal, Depends(Needs(Permission.WORK_ORDERS_READ))]
Late = Annotated[bool, Query(description="Only those that will be late, or of which nobody knows when they are done")]


def forecast_routes(database: Database, clock: Clock) -> APIRouter:
    """The routes below ``/api/v1/analytics/forecasts``."""
    api = APIRouter(
        prefix="/api/v1/analytics/forecasts",
        tags=["Analytics"],
        responses=PROBLEMS,
        dependencies=[Depends(only_known_parameters)],
    )

    @api.get("/orders")
    async def of_orders(
        principal: ReadsOrders, late: Late = False, after: After = "", limit: Limit = LIMIT
    ) -> OrderForecasts:
        """When the orders that are in the plant will be complete; of a customer, their own."""
        if principal.kind == "nobody":
            why = "orders are shown to who says who they are: send a token (Authorization: Bearer …)"
            raise RequestRefused(Why.NO_TOKEN, "no_token", why)
        now = _now(clock)
        async with tenant_transaction(database, principal.tenant_id) as session:
            of = await forecast_all(session, principal.tenant_id, now)
            told: list[OrderForecast] = []
            last = after
            while len(told) <= limit:
                found = await orders_in_the_plant(session, principal.tenant_id, principal.customer, last, limit + 1)
                one_more = [OrderForecast.model_validate(order_told(order, of, now)) for order in found]
                told += [one for one in one_more if not late or one.late_s != 0]
                if len(found) <= limit:
                    break
                last = found[-1].order
        some, following = page(told, limit, lambda one: one.order)
        return OrderForecasts(time=now, orders=[*some], next=following)

    @api.get("/work-orders")
    async def of_work_orders(
        principal: ReadsWork,
        site: Site = None,
        line: Line = None,
        late: Late = False,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> WorkOrderForecasts:
        """When what runs or waits on lines will be done."""
        now = _now(clock)
        async with tenant_transaction(database, principal.tenant_id) as session:
            of = await forecast_all(session, principal.tenant_id, now)
        told = [
            _work_order(one, of)
            for one in sorted(of.work_orders, key=lambda one: one.work_order)
            if one.work_order > after
            and site in (None, one.site)
            and line in (None, one.line)
            and principal.may(Permission.WORK_ORDERS_READ, site=one.site, line=one.line)
        ]
        some, following = page([one for one in told if not late or one.late_s], limit, lambda one: one.work_order)
        return WorkOrderForecasts(time=now, work_orders=[*some], next=following)

    return api


def _work_order(one: OpenWorkOrder, of: Forecast) -> WorkOrderForecast:
    span, pace = of.spans[one.work_order], of.queued[one.work_order].pace
    return WorkOrderForecast(
        work_order=one.work_order,
        site=one.site,
        line=one.line,
        product=one.product,
        state=one.state,
        step=one.step,
        steps=one.steps,
        order=one.order,
        remaining=f"{one.remaining.normalize():f}",
        begin=span.begin,
        end=span.end,
        due=one.due,
        late_s=late_s(one.due, span.end),
        piece_s=round(float(pace.piece_s), 3),
        measured=pace.is_measured,
    )


def _now(clock: Clock) -> datetime:
    return datetime.fromtimestamp(clock.now_ns() // 1000 / 1_000_000, UTC)
