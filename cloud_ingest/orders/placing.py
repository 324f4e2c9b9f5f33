"""A new order or quote: priced by the catalog, as the customer gets it, with the time when it could be ready."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.catalog import published as catalog
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.orders import customers
from cloud_ingest.orders.asking import NewLine, NewOrder, NewQuote
from cloud_ingest.orders.case import Case, Line
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.handling import Orders
from cloud_ingest.orders.promising import promise, ready
from cloud_ingest.orders.rules import HUNDRED, THREE_DIGITS, State, price_line
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Session

TOTAL_MAX: Final = Decimal(10**11)
DELIVERY: Final = "delivery"


async def place(orders: Orders, work: UnitOfWork, principal: Principal, asked: NewOrder, *, may_discount: bool) -> Case:
    """Make an order (``NewOrder``) or a quote (``NewQuote``). Raises ``RequestRefused``."""
    now = orders.now()
    customer = await _customer(work.session, principal, asked)
    currency = asked.currency or customer["currency"]
    if currency in THREE_DIGITS:
        why = f"{currency} has thousandths, which amounts here do not have: order in another currency"
        raise RequestRefused(Why.INVALID, "currency", why)
    if not may_discount and any(line.discount_percent for line in asked.lines):
        why = "a discount is given by who manages orders: leave it out"
        raise RequestRefused(Why.FORBIDDEN, "discount", why)
    lines = await _lines(work.session, principal.tenant_id, asked.lines, customer["discount_percent"], currency, now)
    is_quote = isinstance(asked, NewQuote)
    case = Case(
        principal.tenant_id,
        new_ulid(orders.clock.now_ns() // 1_000_000),
        customer["customer"],
        State.QUOTE if is_quote else State.PLACED,
        currency,
        _address(customer, asked),
        lines,
        now,
        now,
        principal.subject,
        asked.reference,
        asked.wanted,
    )
    if case.total >= TOTAL_MAX:
        why = f"the total of {case.total} {currency} is beyond {TOTAL_MAX}: order it in parts"
        raise RequestRefused(Why.INVALID, "total", why)
    if isinstance(asked, NewQuote):
        case.valid_until = asked.valid_until or now + timedelta(seconds=orders.terms.quote_s)
        if case.valid_until <= now:
            why = f"'valid_until' ({case.valid_until.isoformat()}) is over: name a later time"
            raise RequestRefused(Why.INVALID, "valid_until", why)
    wanted = [(line.product, line.quantity) for line in lines]
    case.promised = ready(await promise(work.session, principal.tenant_id, wanted, currency, now))
    text, told = ("It was quoted", Told.QUOTED) if is_quote else ("The order was placed", Told.PLACED)
    case.tell(now, case.state.value, text, principal.name, told)
    await orders.add(work, case)
    return case


async def _customer(session: Session, principal: Principal, asked: NewOrder) -> dict[str, Any]:
    code = principal.customer or asked.customer
    if code is None:
        raise RequestRefused(Why.INVALID, "customer", "say whose order it is: 'customer'")
    if principal.customer is not None and asked.customer not in (None, principal.customer):
        raise customers.unknown(str(asked.customer))
    found = await customers.one(session, principal.tenant_id, code)
    if not found["active"]:
        why = f"the customer {code!r} places no orders any more; who manages orders can change that"
        raise RequestRefused(Why.CONFLICT, "customer_inactive", why)
    return found


def _address(customer: dict[str, Any], asked: NewOrder) -> dict[str, Any]:
    if asked.address is not None:
        return asked.address.model_dump()
    label = asked.deliver_to or DELIVERY
    if label not in customer["addresses"]:
        has = ", ".join(sorted(customer["addresses"])) or "none"
        why = f"the customer {customer['customer']!r} has no address {label!r} (it has: {has}); send one as 'address'"
        raise RequestRefused(Why.INVALID, "address", why)
    return dict(json.loads(json.dumps(customer["addresses"][label])))


async def _lines(
    session: Session, tenant_id: int, asked: list[NewLine], discount: Decimal, currency: str, now: datetime
) -> list[Line]:
    codes = sorted({line.product for line in asked})
    products = await catalog.products(session, tenant_id, codes, currency=currency, at=now)
    found: list[Line] = []
    for number, line in enumerate(asked, 1):
        product = products.get(line.product)
        if product is None or not product.is_sold:
            why = f"line {number}: {line.product!r} is not sold; /api/v1/products lists what is"
            raise RequestRefused(Why.INVALID, "unknown_product", why)
        if product.unit_price is None:
            why = f"line {number}: {line.product!r} has no price in {currency}; order in another currency"
            raise RequestRefused(Why.INVALID, "no_price", why)
        discounts = (line.discount_percent, discount)
        try:
            amounts = price_line(line.quantity, product.unit_price, discounts, product.tax_rate, currency)
        except ArithmeticError as exc:
            why = f"line {number}: {line.quantity} at {product.unit_price} {currency} is more than can be reckoned"
            raise RequestRefused(Why.INVALID, "total", why) from exc
        both = HUNDRED - (HUNDRED - discounts[0]) * (HUNDRED - discounts[1]) / HUNDRED
        found.append(
            Line(
                number,
                product.code,
                product.name,
                line.quantity,
                product.unit_price,
                both,
                product.tax_rate,
                amounts.net,
                amounts.tax,
                amounts.gross,
                product.unit,
                product.weight_kg,
            )
        )
    return found
