"""The routes by which an order is changed: accepted, cancelled, packed, sent back, and helped where it is stuck."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Response

from cloud_ingest.access.etags import etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs, refuse_unless_everywhere
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.orders import questions, telling
from cloud_ingest.orders.answers import WholeOrder
from cloud_ingest.orders.asking import (
    NewReturn,
    NewShipment,
    PaymentByHand,
    ReceivedReturn,
    Resolution,
    WhyBody,
)
from cloud_ingest.orders.case import Case
from cloud_ingest.orders.handling import Orders, Tell, unknown
from cloud_ingest.orders.whose import OrderId, whose
from connectors.commands.envelope import ULID_PATTERN
from connectors.model.errors import DatabaseUnavailable

_KNOWN: Final = [Depends(only_known_parameters)]
Placer = Annotated[Principal, Depends(Needs(Permission.ORDERS_PLACE))]
Keeper = Annotated[Principal, Depends(Needs(Permission.ORDERS_MANAGE))]
Storeman = Annotated[Principal, Depends(Needs(Permission.INVENTORY_BOOK))]
TRIES_MAX: Final = 3
Part = Annotated[str, Path(pattern=ULID_PATTERN)]
RequestId = Annotated[str, Path(pattern=f"{ULID_PATTERN[:-1]}(-[0-9a-z]{{1,20}})?$", description="As the order has it")]


def add_deeds(api: APIRouter, orders: Orders) -> None:
    """Add the routes to ``api``."""
    _add_customers_deeds(api, orders)
    _add_packing(api, orders)
    _add_operators(api, orders)


def _add_customers_deeds(api: APIRouter, orders: Orders) -> None:
    @api.post("/quotes/{id}/accept", tags=["Orders"], dependencies=_KNOWN)
    async def accept_quote(principal: Placer, response: Response, id: OrderId) -> WholeOrder:  # noqa: A002
        """Make a quote an order, at its prices. Again, it is refused: it is one already."""
        refuse_unless_everywhere(principal, Permission.ORDERS_PLACE, "orders")
        return await _do(orders, principal, response, id, telling.accept(principal.name))

    @api.post("/orders/{id}/cancel", tags=["Orders"], dependencies=_KNOWN)
    async def cancel_order(principal: Placer, response: Response, id: OrderId, asked: WhyBody) -> WholeOrder:  # noqa: A002
        """Cancel an order or a quote: what is held is given back, what was paid is refunded. Again, it does nothing.

        What has left already stays an order; the rest is cancelled.
        """
        refuse_unless_everywhere(principal, Permission.ORDERS_PLACE, "orders")
        return await _do(orders, principal, response, id, telling.cancel(asked.reason, principal.name))

    @api.post("/orders/{id}/returns", tags=["Orders"], status_code=201, dependencies=_KNOWN)
    async def ask_return(
        principal: Placer,
        response: Response,
        id: OrderId,  # noqa: A002
        asked: NewReturn,
        key: IdempotencyKey,
    ) -> WholeOrder:
        """Ask for something to be taken back. It is paid back when it has come in."""
        refuse_unless_everywhere(principal, Permission.ORDERS_PLACE, "orders")
        tell = telling.ask_return(asked, principal.name, orders.terms)
        said = Asked(principal, f"POST /orders/{id}/returns", key, asked.model_dump(mode="json"))
        return await _do(orders, principal, response, id, tell, said)


def _add_packing(api: APIRouter, orders: Orders) -> None:
    @api.post("/orders/{id}/shipments", tags=["Orders"], status_code=201, dependencies=_KNOWN)
    async def pack(
        principal: Storeman,
        response: Response,
        id: OrderId,  # noqa: A002
        asked: NewShipment,
        key: IdempotencyKey,
    ) -> WholeOrder:
        """Pack what is in stock for an order, all or a part of it. The carrier is asked at once."""
        said = Asked(principal, f"POST /orders/{id}/shipments", key, asked.model_dump(mode="json"))
        return await _do(orders, principal, response, id, telling.pack(asked, principal.name), said)

    @api.post("/orders/{id}/shipments/{shipment}/unpack", tags=["Orders"], dependencies=_KNOWN)
    async def unpack(
        principal: Storeman,
        response: Response,
        id: OrderId,  # noqa: A002
        shipment: Part,
    ) -> WholeOrder:
        """Take back parcels that have not left: a label that was made for them is not used."""
        return await _do(orders, principal, response, id, telling.unpack(shipment, principal.name))

    @api.post("/orders/{id}/returns/{return_id}/receive", tags=["Orders"], dependencies=_KNOWN)
    async def receive_return(
        principal: Storeman,
        response: Response,
        id: OrderId,  # noqa: A002
        return_id: Part,
        asked: ReceivedReturn,
    ) -> WholeOrder:
        """What was sent back has come in: it is booked into stock, and paid back."""
        return await _do(orders, principal, response, id, telling.receive_return(return_id, asked, principal.name))

    @api.post("/orders/{id}/returns/{return_id}/refuse", tags=["Orders"], dependencies=_KNOWN)
    async def refuse_return(
        principal: Keeper,
        response: Response,
        id: OrderId,  # noqa: A002
        return_id: Part,
        asked: WhyBody,
    ) -> WholeOrder:
        """Nothing is taken back."""
        refuse_unless_everywhere(principal, Permission.ORDERS_MANAGE, "orders")
        return await _do(orders, principal, response, id, telling.refuse_return(return_id, asked, principal.name))


def _add_operators(api: APIRouter, orders: Orders) -> None:
    @api.post("/orders/{id}/retry", tags=["Orders"], dependencies=_KNOWN)
    async def retry(principal: Keeper, response: Response, id: OrderId) -> WholeOrder:  # noqa: A002
        """Try everything again that has failed: payment, refund, carrier, planning."""
        refuse_unless_everywhere(principal, Permission.ORDERS_MANAGE, "orders")
        return await _do(orders, principal, response, id, telling.retry(principal.name))

    @api.post("/orders/{id}/payments", tags=["Orders"], status_code=201, dependencies=_KNOWN)
    async def record_payment(
        principal: Keeper,
        response: Response,
        id: OrderId,  # noqa: A002
        asked: PaymentByHand,
        key: IdempotencyKey,
    ) -> WholeOrder:
        """Record money that has come in outside of the payment provider."""
        refuse_unless_everywhere(principal, Permission.ORDERS_MANAGE, "orders")
        said = Asked(principal, f"POST /orders/{id}/payments", key, asked.model_dump(mode="json"))
        return await _do(orders, principal, response, id, telling.record_payment(asked, principal.name), said)

    @api.post("/orders/{id}/requests/{request}/resolve", tags=["Orders"], dependencies=_KNOWN)
    async def resolve(
        principal: Keeper,
        response: Response,
        id: OrderId,  # noqa: A002
        request: RequestId,
        asked: Resolution,
    ) -> WholeOrder:
        """What was asked of the outside, and failed, was done by hand; a check was looked at."""
        refuse_unless_everywhere(principal, Permission.ORDERS_MANAGE, "orders")
        return await _do(orders, principal, response, id, telling.resolve(request, asked.reference, principal.name))


async def _do(
    orders: Orders, principal: Principal, response: Response, order: str, tell: Tell, said: Asked | None = None
) -> WholeOrder:
    own = whose(principal)

    async def theirs(case: Case, *more: Any) -> None:
        if own not in (None, case.customer):
            raise unknown(order)
        await tell(case, *more)

    async def do(work: UnitOfWork) -> Any:
        case = await orders.change(work, principal.tenant_id, order, theirs)
        found = questions.whole(case, for_customer=own is not None)
        return WholeOrder.model_validate(found).model_dump(mode="json")

    async def in_one(work: UnitOfWork) -> Any:
        return await do(work) if said is None else await once(work.session, said, lambda: do(work))

    answer = WholeOrder.model_validate(await _again(orders, principal, in_one))
    response.headers["ETag"] = etag(answer.revision)
    return answer


async def _again(orders: Orders, principal: Principal, do: Callable[[UnitOfWork], Awaitable[Any]]) -> Any:
    """Do it in a transaction, and again when the database has rolled it back for another one."""
    for left in reversed(range(TRIES_MAX)):
        try:
            async with unit_of_work(orders.database, principal.tenant_id) as work:
                return await do(work)
        except DatabaseUnavailable:
            if not left:
                raise
    raise AssertionError
