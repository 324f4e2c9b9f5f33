"""The routes of work orders: lists, one of them, what people do with it, and the sequence on a line."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Response

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs, refuse_elsewhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.catalog.published import product
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.lines import work_order_deeds as deeds
from cloud_ingest.lines import work_order_questions as questions
from cloud_ingest.lines.work_order_answers import (
    CODE_PATTERN,
    ChangeoverRequest,
    LineWorkAnswer,
    OneWorkOrder,
    PlannedAnswer,
    ReasonRequest,
    ResizeRequest,
    SequenceRequest,
    SettingsRequest,
    State,
    WorkOrderAnswer,
    WorkOrderPage,
    WorkOrderRequest,
)
from cloud_ingest.lines.work_order_book import Act, lock_lines, wake
from cloud_ingest.lines.work_order_planning import load_of, plan
from cloud_ingest.lines.work_order_recipes import parameters_text
from cloud_ingest.lines.work_order_rules import Deed
from cloud_ingest.lines.work_order_terms import NewWorkOrder
from connectors.commands.envelope import ULID_PATTERN
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

_MEANING: Final = {
    400: "The request cannot be understood, or asks for something that cannot be",
    401: "There is no token, or it does not hold",
    403: "The role is not good for this, or not on this line",
    404: "There is no such thing",
    409: "It cannot be done as things stand; the detail says why",
    412: "It was changed since it was seen",
    428: "If-Match is missing",
    503: "The database cannot be used now",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": meaning} for status, meaning in _MEANING.items()
}
_DEEDS: Final[Mapping[Deed, tuple[Permission, str]]] = {
    Deed.RELEASE: (Permission.WORK_ORDERS_PLAN, "Let it be made as soon as its line is free."),
    Deed.HOLD: (Permission.WORK_ORDERS_PLAN, "Take the release back: it is planned again."),
    Deed.START: (
        Permission.WORK_ORDERS_RUN,
        "Start the one that is next. Its recipe is written to the machines first; it runs when that has succeeded.",
    ),
    Deed.RESUME: (Permission.WORK_ORDERS_RUN, "Start one again that was paused; its recipe is written again."),
    Deed.ABORT: (Permission.WORK_ORDERS_RUN, "Not start it after all, while its recipe is on the way."),
    Deed.PAUSE: (Permission.WORK_ORDERS_RUN, "Pause it: the line can make another one meanwhile."),
    Deed.COMPLETE: (Permission.WORK_ORDERS_RUN, "Make no more of it. What is short needs a reason."),
    Deed.REOPEN: (Permission.WORK_ORDERS_RUN, "It was not complete after all: it is paused."),
    Deed.CLOSE: (Permission.WORK_ORDERS_PLAN, "Say that its numbers are right. Nothing follows."),
    Deed.CANCEL: (Permission.WORK_ORDERS_PLAN, "Cancel it, with the steps behind it. What was made remains in stock."),
}

Id = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the work order")]
Site = Annotated[str, Path(pattern=CODE_PATTERN)]
Line = Annotated[str, Path(pattern=CODE_PATTERN)]
Reader = Annotated[Principal, Depends(Needs(Permission.WORK_ORDERS_READ))]
Planner = Annotated[Principal, Depends(Needs(Permission.WORK_ORDERS_PLAN))]
Runner = Annotated[Principal, Depends(Needs(Permission.WORK_ORDERS_RUN))]
Engineer = Annotated[Principal, Depends(Needs(Permission.LINES_MODEL))]


def work_order_routes(database: Database, clock: Clock) -> APIRouter:
    """The routes below ``/api/v1/work-orders``."""
    api = APIRouter(
        prefix="/api/v1/work-orders",
        tags=["Work orders"],
        responses=PROBLEMS,
        dependencies=[Depends(only_known_parameters)],
    )
    _add_lists(api, database, clock)
    for deed in Deed:
        _add_deed(api, database, clock, deed)
    _add_changes(api, database, clock)
    _add_line(api, database, clock)
    _add_line_deeds(api, database, clock)
    return api


def _add_lists(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.get("")
    async def work_orders(
        principal: Reader,
        site: Annotated[str | None, Query(pattern=CODE_PATTERN)] = None,
        line: Annotated[str | None, Query(pattern=CODE_PATTERN)] = None,
        state: Annotated[list[State] | None, Query(max_length=8, description="One or several")] = None,
        product: Annotated[str | None, Query(max_length=64)] = None,
        order: Annotated[str | None, Query(max_length=100, description="The customer's order")] = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> WorkOrderPage:
        """Work orders, the oldest first, a page at a time."""
        choice = questions.WorkOrderChoice(site, line, tuple(state or ()), product, order, after, limit + 1)
        places = principal.places(Permission.WORK_ORDERS_READ)
        async with tenant_session(database, principal.tenant_id) as session:
            found = await questions.work_orders(session, principal.tenant_id, choice, places, clock.now_ns())
        rows, following = page(found, limit, lambda row: str(row["id"]))
        return WorkOrderPage.model_validate({"work_orders": rows, "next": following})

    @api.post("", status_code=201)
    async def create(principal: Planner, request: WorkOrderRequest, key: IdempotencyKey) -> PlannedAnswer:
        """Have a product made, by its routing. It is planned behind what is on the lines already."""
        if request.due is not None and request.due.tzinfo is None:
            raise RequestRefused(Why.INVALID, "no_zone", "'due' needs a time zone, such as 2026-12-01T14:00:00Z")
        asked = Asked(principal, "POST /work-orders", key, request.model_dump(mode="json"))
        async with unit_of_work(database, principal.tenant_id) as work:

            async def do() -> dict[str, Any]:
                new = await _new(work.session, principal, request)
                planned = await plan(work, Act(principal.tenant_id, clock.now_ns(), principal.actor), new)
                made = PlannedAnswer(work_orders=list(planned.work_orders), begin=planned.begin, end=planned.end)
                return made.model_dump(mode="json")

            return PlannedAnswer.model_validate(await once(work.session, asked, do))

    @api.get("/{id}")
    async def one(principal: Reader, id: Id, response: Response) -> OneWorkOrder:  # noqa: A002  the name is the API's
        """One work order with its history, its recipe on the way to the machines, and when it will be done."""
        async with tenant_session(database, principal.tenant_id) as session:
            return await _one(session, principal, Permission.WORK_ORDERS_READ, id, clock, response)


def _add_deed(api: APIRouter, database: Database, clock: Clock, deed: Deed) -> None:
    permission, description = _DEEDS[deed]

    @api.post(f"/{{id}}/{deed}", name=f"{deed} work order", description=description)
    async def done(
        principal: Annotated[Principal, Depends(Needs(permission))],
        id: Id,  # noqa: A002
        response: Response,
        request: ReasonRequest | None = None,
        if_match: IfMatch = "*",
    ) -> OneWorkOrder:
        reason = "" if request is None else request.reason
        async with unit_of_work(database, principal.tenant_id) as work:
            await _one(work.session, principal, permission, id, clock)
            act = Act(principal.tenant_id, clock.now_ns(), principal.actor, reason)
            await deeds.do(work, act, id, deed, if_match or "*")
            return await _one(work.session, principal, permission, id, clock, response)


def _add_changes(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.patch("/{id}")
    async def resize(
        principal: Planner,
        id: Id,  # noqa: A002
        request: ResizeRequest,
        response: Response,
        if_match: IfMatch = "",
    ) -> OneWorkOrder:
        """Have more or fewer made, in this step and those behind it."""
        async with unit_of_work(database, principal.tenant_id) as work:
            await _one(work.session, principal, Permission.WORK_ORDERS_PLAN, id, clock)
            act = Act(principal.tenant_id, clock.now_ns(), principal.actor, request.reason)
            await deeds.resize(work, act, id, request.quantity, if_match)
            return await _one(work.session, principal, Permission.WORK_ORDERS_PLAN, id, clock, response)


def _add_line(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.get("/lines/{site}/{line}")
    async def line_work(principal: Reader, site: Site, line: Line, response: Response) -> LineWorkAnswer:
        """What runs on a line and what waits for it, in its sequence, and how it goes on by itself."""
        refuse_elsewhere(principal, Permission.WORK_ORDERS_READ, site, line)
        async with tenant_session(database, principal.tenant_id) as session:
            return await _line(session, principal, (site, line), clock, response)

    @api.put("/lines/{site}/{line}/settings")
    async def settings(
        principal: Engineer,
        site: Site,
        line: Line,
        request: SettingsRequest,
        response: Response,
        if_match: IfMatch = "",
    ) -> LineWorkAnswer:
        """Say how work orders go on by themselves on a line, and where the values of recipes are written."""
        refuse_elsewhere(principal, Permission.LINES_MODEL, site, line)
        async with unit_of_work(database, principal.tenant_id) as work:
            locked = await lock_lines(work.session, principal.tenant_id, [(site, line)])
            check_match(if_match, locked[(site, line)]["revision"] - 1)
            known = dict((await questions.line_settings(work.session, principal.tenant_id, (site, line))).parameters)
            for name, parameter in request.parameters.items():
                if known.get(name) != parameter:  # who has values written to a machine may write to it
                    group, _, agent = parameter.agent.partition("/")
                    refuse_elsewhere(principal, Permission.COMMANDS_SEND, group, agent)
            await work.session.execute(
                "UPDATE work_order_line SET completes_itself = $4, starts_next = $5, parameters = $6 "
                "WHERE tenant_id = $1 AND site = $2 AND line = $3",
                principal.tenant_id,
                site,
                line,
                request.completes_itself,
                request.starts_next,
                parameters_text(request.parameters),
            )
            wake(work)
            return await _line(work.session, principal, (site, line), clock, response)


def _add_line_deeds(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.put("/lines/{site}/{line}/sequence")
    async def sequence(
        principal: Planner,
        site: Site,
        line: Line,
        request: SequenceRequest,
        response: Response,
        if_match: IfMatch = "",
    ) -> LineWorkAnswer:
        """Give the work orders that wait another sequence: the first of them that is ready is next."""
        refuse_elsewhere(principal, Permission.WORK_ORDERS_PLAN, site, line)
        async with unit_of_work(database, principal.tenant_id) as work:
            act = Act(principal.tenant_id, clock.now_ns(), principal.actor)
            await deeds.resequence(work, act, (site, line), request.work_orders, if_match)
            return await _line(work.session, principal, (site, line), clock, response)

    @api.post("/lines/{site}/{line}/changeover")
    async def changeover(
        principal: Runner,
        site: Site,
        line: Line,
        request: ChangeoverRequest,
        response: Response,
        key: IdempotencyKey,
    ) -> OneWorkOrder:
        """Complete or pause what runs, and start what is next: both, or neither."""
        refuse_elsewhere(principal, Permission.WORK_ORDERS_RUN, site, line)
        asked = Asked(principal, f"POST {site}/{line}/changeover", key, request.model_dump(mode="json"))
        async with unit_of_work(database, principal.tenant_id) as work:
            act = Act(principal.tenant_id, clock.now_ns(), principal.actor, request.reason)

            async def do() -> str:
                started = await deeds.change_over(work, act, (site, line), Deed(request.then))
                return str(started["work_order_id"])

            started = str(await once(work.session, asked, do))
            return await _one(work.session, principal, Permission.WORK_ORDERS_RUN, started, clock, response)


async def _new(session: Session, principal: Principal, request: WorkOrderRequest) -> NewWorkOrder:
    found = await product(session, principal.tenant_id, request.product)
    if found is None:
        why = f"there is no product {request.product} in the catalog, or it is not published"
        raise RequestRefused(Why.UNKNOWN, "unknown_product", why)
    for step in found.routing:
        refuse_elsewhere(principal, Permission.WORK_ORDERS_PLAN, step.site, step.line)
    return NewWorkOrder(
        found.code,
        request.quantity,
        found.routing,
        principal.actor,
        request.due,
        request.order,
        request.order_line,
        request.released,
        request.transfer,
    )


async def _one(
    session: Session,
    principal: Principal,
    permission: Permission,
    work_order: str,
    clock: Clock,
    response: Response | None = None,
) -> OneWorkOrder:
    """The work order, if it is on a line where ``principal`` may do that. Raises ``RequestRefused``."""
    found = await questions.work_order(session, principal.tenant_id, work_order, clock.now_ns())
    refuse_elsewhere(principal, permission, found["site"], found["line"])
    if response is not None:
        response.headers["ETag"] = etag(found["revision"])
    return OneWorkOrder.model_validate(found)


async def _line(
    session: Session, principal: Principal, place: tuple[str, str], clock: Clock, response: Response
) -> LineWorkAnswer:
    now_ns = clock.now_ns()
    act = Act(principal.tenant_id, now_ns, principal.actor)
    load = await load_of(session, principal.tenant_id, place, act.time)
    settings = await questions.line_settings(session, principal.tenant_id, place)
    response.headers["ETag"] = etag(settings.revision)
    return LineWorkAnswer(
        site=place[0],
        line=place[1],
        revision=settings.revision,
        completes_itself=settings.completes_itself,
        starts_next=settings.starts_next,
        parameters=dict(settings.parameters),
        free_from=load.free_from,
        work_orders=[
            WorkOrderAnswer.model_validate(row)
            for row in await questions.open_on_line(session, principal.tenant_id, place, now_ns)
        ],
    )
