"""The routes below ``/api/v1/customers``, ``/api/v1/orders`` and ``/api/v1/quotes``."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Response

from cloud_ingest.access.etags import IfMatch, etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs, refuse_unless_everywhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.tenancy import tenant_session, tenant_transaction
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.orders import customers, promising, questions
from cloud_ingest.orders.answers import (
    CustomerAnswer,
    CustomerPage,
    OrderPage,
    PromiseAnswer,
    Tracking,
    WholeOrder,
)
from cloud_ingest.orders.asking import (
    CODE_PATTERN,
    CURRENCY_PATTERN,
    CustomerBody,
    NewCustomer,
    NewOrder,
    NewQuote,
    PromiseQuestion,
)
from cloud_ingest.orders.deeds import add_deeds
from cloud_ingest.orders.handling import Orders
from cloud_ingest.orders.placing import place
from cloud_ingest.orders.rules import State
from cloud_ingest.orders.whose import OrderId, whose
from connectors.commands.ulid import new_ulid

_MEANING: Final = {
    400: "The request cannot be understood",
    401: "There is no token, or it does not hold",
    403: "The role of who asks does not allow it",
    404: "There is no such thing, or it is somebody else's",
    409: "It cannot be done as things stand",
    412: "It was changed since it was seen",
    428: "The request does not say what was seen (If-Match)",
    503: "The database cannot be used now",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": meaning} for status, meaning in _MEANING.items()
}
CustomerCode = Annotated[str, Path(pattern=CODE_PATTERN, description="Code of the customer", examples=["acme"])]
Reader = Annotated[Principal, Depends(Needs(Permission.ORDERS_READ))]
Placer = Annotated[Principal, Depends(Needs(Permission.ORDERS_PLACE))]
Keeper = Annotated[Principal, Depends(Needs(Permission.ORDERS_MANAGE))]
_KNOWN: Final = [Depends(only_known_parameters)]


def order_routes(orders: Orders) -> APIRouter:
    """All routes of this part."""
    api = APIRouter(prefix="/api/v1", responses=PROBLEMS)
    _add_customers(api, orders)
    _add_lists(api, orders)
    _add_new(api, orders)
    add_deeds(api, orders)
    return api


def _add_customers(api: APIRouter, orders: Orders) -> None:
    @api.get("/customers", tags=["Customers"], dependencies=_KNOWN)
    async def list_customers(
        principal: Reader,
        search: Annotated[str, Query(max_length=100, description="Part of code or name, in any case")] = "",
        after: After = "",
        limit: Limit = LIMIT,
    ) -> CustomerPage:
        """Customers by their codes, a page at a time."""
        async with tenant_session(orders.database, principal.tenant_id) as session:
            rows = await customers.listed(
                session, principal.tenant_id, after=after, count_max=limit + 1, search=search, only=whose(principal)
            )
        shown, following = page(rows, limit, lambda row: str(row["customer"]))
        return CustomerPage.model_validate({"customers": shown, "next": following})

    @api.post("/customers", tags=["Customers"], status_code=201, dependencies=_KNOWN)
    async def add_customer(
        principal: Keeper, response: Response, asked: NewCustomer, key: IdempotencyKey
    ) -> CustomerAnswer:
        """Make a customer. Their accounts, which see their own orders alone, are made by identity."""
        refuse_unless_everywhere(principal, Permission.ORDERS_MANAGE, "orders")
        code = asked.customer or new_ulid(orders.clock.now_ns() // 1_000_000)

        async def do() -> Any:
            made = await customers.add(session, principal.tenant_id, asked, code, principal.subject)
            return CustomerAnswer.model_validate(made).model_dump(mode="json")

        async with tenant_transaction(orders.database, principal.tenant_id) as session:
            said = Asked(principal, "POST /customers", key, asked.model_dump(mode="json"))
            answer = CustomerAnswer.model_validate(await once(session, said, do))
        response.headers["Location"] = f"/api/v1/customers/{answer.customer}"
        response.headers["ETag"] = etag(answer.revision)
        return answer

    @api.get("/customers/{customer}", tags=["Customers"], dependencies=_KNOWN)
    async def show_customer(principal: Reader, response: Response, customer: CustomerCode) -> CustomerAnswer:
        """One customer."""
        if whose(principal) not in (None, customer):
            raise customers.unknown(customer)
        async with tenant_session(orders.database, principal.tenant_id) as session:
            answer = CustomerAnswer.model_validate(await customers.one(session, principal.tenant_id, customer))
        response.headers["ETag"] = etag(answer.revision)
        return answer

    @api.put("/customers/{customer}", tags=["Customers"], dependencies=_KNOWN)
    async def change_customer(
        principal: Keeper, response: Response, customer: CustomerCode, asked: CustomerBody, if_match: IfMatch = ""
    ) -> CustomerAnswer:
        """Replace what is known of a customer. Orders keep the addresses that they were placed with."""
        refuse_unless_everywhere(principal, Permission.ORDERS_MANAGE, "orders")
        async with tenant_transaction(orders.database, principal.tenant_id) as session:
            found = await customers.change(session, principal.tenant_id, customer, asked, if_match)
        answer = CustomerAnswer.model_validate(found)
        response.headers["ETag"] = etag(answer.revision)
        return answer


def _add_lists(api: APIRouter, orders: Orders) -> None:
    @api.get("/orders", tags=["Orders"], dependencies=_KNOWN)
    async def list_orders(
        principal: Reader,
        customer: Annotated[str | None, Query(pattern=CODE_PATTERN)] = None,
        state: State | None = None,
        stuck: Annotated[bool, Query(description="Only those that wait for somebody to do something")] = False,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> OrderPage:
        """Orders and quotes, the newest first, a page at a time. A customer sees their own."""
        return await _page(orders, principal, customer, None if state is None else state.value, after, limit, stuck)

    @api.get("/quotes", tags=["Orders"], dependencies=_KNOWN)
    async def list_quotes(
        principal: Reader,
        customer: Annotated[str | None, Query(pattern=CODE_PATTERN)] = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> OrderPage:
        """Quotes that nobody has accepted yet, the newest first."""
        return await _page(orders, principal, customer, State.QUOTE.value, after, limit)

    @api.get("/orders/{id}", tags=["Orders"], dependencies=_KNOWN)
    async def show_order(principal: Reader, response: Response, id: OrderId) -> WholeOrder:  # noqa: A002
        """One order with everything that belongs to it."""
        async with tenant_session(orders.database, principal.tenant_id) as session:
            found = await questions.order(session, principal.tenant_id, id, whose(principal))
        response.headers["ETag"] = etag(found["revision"])
        return WholeOrder.model_validate(found)

    @api.get("/orders/{id}/tracking", tags=["Orders"], dependencies=_KNOWN)
    async def track_order(principal: Reader, id: OrderId) -> Tracking:  # noqa: A002
        """How far an order is by what lines have counted, what has happened when, and when it is expected."""
        async with tenant_session(orders.database, principal.tenant_id) as session:
            found = await questions.tracking(session, principal.tenant_id, id, orders.now(), whose(principal))
        return Tracking.model_validate(found)


async def _page(
    orders: Orders,
    principal: Principal,
    customer: str | None,
    state: str | None,
    after: str,
    limit: int,
    stuck: bool = False,
) -> OrderPage:
    own = whose(principal)
    if own is not None and customer not in (None, own):
        return OrderPage(orders=[], next=None)
    choice = questions.OrderChoice(own or customer, state, stuck, after, limit + 1)
    async with tenant_session(orders.database, principal.tenant_id) as session:
        rows = await questions.orders(session, principal.tenant_id, choice)
    if own is not None:
        rows = [questions.for_customer(row) for row in rows]
    shown, following = page(rows, limit, lambda row: str(row["id"]))
    return OrderPage.model_validate({"orders": shown, "next": following})


def _add_new(api: APIRouter, orders: Orders) -> None:
    @api.post("/orders", tags=["Orders"], status_code=201, dependencies=_KNOWN)
    async def place_order(principal: Placer, response: Response, asked: NewOrder, key: IdempotencyKey) -> WholeOrder:
        """Place an order at the catalog's prices. Its payment is asked for at once; paid, it goes into the plant."""
        return await _new(orders, principal, response, asked, key, "POST /orders")

    @api.post("/quotes", tags=["Orders"], status_code=201, dependencies=_KNOWN)
    async def make_quote(principal: Placer, response: Response, asked: NewQuote, key: IdempotencyKey) -> WholeOrder:
        """Make a quote: its prices hold until it is accepted, or no longer valid. Nothing is reserved for it."""
        return await _new(orders, principal, response, asked, key, "POST /quotes")

    @api.post("/orders/promise", tags=["Orders"], dependencies=_KNOWN)
    async def promise(
        principal: Placer,
        asked: PromiseQuestion,
        currency: Annotated[str, Query(pattern=CURRENCY_PATTERN, description="ISO 4217")] = "EUR",
    ) -> PromiseAnswer:
        """When it could be had: from stock now, the rest by what lines could make. Nothing is reserved by asking."""
        whose(principal)
        wanted = [(line.product, line.quantity) for line in asked.lines]
        async with tenant_transaction(orders.database, principal.tenant_id) as session:
            found = await promising.promise(session, principal.tenant_id, wanted, currency, orders.now())
        return PromiseAnswer.model_validate({"ready": promising.ready(found), "lines": [_plain(one) for one in found]})


def _plain(one: promising.LinePromise) -> dict[str, Any]:
    return {name: getattr(one, name) for name in ("product", "quantity", "in_stock", "ready", "missing")}


async def _new(
    orders: Orders, principal: Principal, response: Response, asked: NewOrder, key: str, route: str
) -> WholeOrder:
    own = whose(principal)
    refuse_unless_everywhere(principal, Permission.ORDERS_PLACE, "orders")
    may_discount = own is None and principal.may_somewhere(Permission.ORDERS_MANAGE)

    async def do(work: UnitOfWork) -> Any:
        case = await place(orders, work, principal, asked, may_discount=may_discount)
        found = questions.whole(case, for_customer=own is not None)
        return WholeOrder.model_validate(found).model_dump(mode="json")

    async with unit_of_work(orders.database, principal.tenant_id) as work:
        said = Asked(principal, route, key, asked.model_dump(mode="json"))
        answer = WholeOrder.model_validate(await once(work.session, said, lambda: do(work)))
    response.headers["Location"] = f"/api/v1/orders/{answer.id}"
    response.headers["ETag"] = etag(answer.revision)
    return answer
