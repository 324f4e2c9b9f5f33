"""What orders ask of the outside: each request is taken once, and answered again when it comes again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.integrations.calls import add_call, hurry, revive, time_of
from cloud_ingest.integrations.events import Told, integration_event
from cloud_ingest.integrations.payments import (
    add_payment_call,
    locked_payment,
    locked_refund,
    payment_event,
    refund_event,
)
from cloud_ingest.integrations.rules import REQUESTED, Money, refund_begun
from cloud_ingest.integrations.shipments import locked_shipment, shipment_event
from cloud_ingest.orders import published as orders
from connectors.commands.ulid import new_ulid
from connectors.ports.clock import Clock
from connectors.ports.database import Row, Session
from connectors.ports.payments import PaymentState

_PREFIX: Final = "lineside.orders."
AMOUNT_MAX: Final = Decimal("999999999999.99")


class OrdersAsk:
    """Takes the events of orders that ask for something."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def take(self, work: UnitOfWork, event: ReadEvent) -> None:
        """Take one event, in the transaction that moves the place in the log."""
        match event.type.removeprefix(_PREFIX):
            case "payment-requested.v1":
                await self._payment(work, event)
            case "payment-withdrawn.v1":
                await self._withdraw(work, event)
            case "refund-requested.v1":
                await self._refund(work, event)
            case "refund-withdrawn.v1":
                await self._withdraw_refund(work, event)
            case "shipment-requested.v1":
                await self._shipment(work, event)
            case "shipment-voided.v1":
                await self._void(work, event)
            case _:
                pass  # of no matter here

    # -- payments ------------------------------------------------------------------------------------------------------

    async def _payment(self, work: UnitOfWork, event: ReadEvent) -> None:
        data, now_ns = event.data, self._clock.now_ns()
        request, amount = _request(data), _amount(data)
        currency, customer = str(data["currency"]).upper(), str(data.get("customer", ""))
        payment_id = new_ulid(now_ns // 1_000_000)
        made = await work.session.execute(
            "INSERT INTO payment (payment_id, tenant_id, order_id, request, customer, amount, currency, created, "
            "changed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8) ON CONFLICT (tenant_id, request) DO NOTHING",
            payment_id,
            event.tenant_id,
            str(data["order"]),
            request,
            customer,
            amount,
            currency,
            time_of(now_ns),
        )
        if not made:
            known = await _payment_of(work.session, event.tenant_id, request)
            if known is not None and known["state"] != REQUESTED:
                work.announce(payment_event(known, now_ns))
            elif known is not None:
                await revive(work.session, self._clock, event.tenant_id, known["payment_id"], "pay")
            return
        who = await orders.contact(work.session, event.tenant_id, customer)
        asked = {
            "order": str(data["order"]),
            "customer": customer,
            "amount": str(amount),
            "currency": currency,
            "payer": "" if who is None else who.payer,
            "method": "" if who is None else who.method,
        }
        await self._call(work, event.tenant_id, "pay", payment_id, asked)

    async def _withdraw(self, work: UnitOfWork, event: ReadEvent) -> None:
        known = await _payment_of(work.session, event.tenant_id, _request(event.data))
        if known is None or known["withdrawn"]:
            return
        await work.session.execute("UPDATE payment SET withdrawn = true WHERE payment_id = $1", known["payment_id"])
        if known["state"] == REQUESTED:
            await revive(work.session, self._clock, event.tenant_id, known["payment_id"], "pay")
            await hurry(work.session, self._clock, event.tenant_id, known["payment_id"], "pay")
        elif known["state"] == PaymentState.PENDING:
            await add_payment_call(work.session, self._clock, known, "cancel", known["vendor_id"])

    async def _refund(self, work: UnitOfWork, event: ReadEvent) -> None:
        data, now_ns = event.data, self._clock.now_ns()
        request, amount = _request(data), _amount(data)
        payment = await locked_payment(work.session, str(data["payment"]))
        if payment is None or payment["tenant_id"] != event.tenant_id:
            why = f"there is no payment {data['payment']}"
            work.announce(_no_refund(event, request, amount, why, now_ns))
            return
        known = await work.session.fetch(
            "SELECT * FROM refund WHERE tenant_id = $1 AND request = $2", event.tenant_id, request
        )
        if known:
            if (told := refund_event(known[0], now_ns)) is not None:
                work.announce(told)
            else:
                await revive(work.session, self._clock, event.tenant_id, known[0]["refund_id"], "refund")
            return
        try:
            money = refund_begun(Money(payment["amount"], payment["captured"], payment["refunded"]), amount)
        except ValueError as exc:
            work.announce(_no_refund(event, request, amount, str(exc), now_ns))
            return
        await work.session.execute(
            "UPDATE payment SET refunded = $2 WHERE payment_id = $1", payment["payment_id"], money.refunded
        )
        refund_id = new_ulid(now_ns // 1_000_000)
        await work.session.execute(
            "INSERT INTO refund (refund_id, tenant_id, payment_id, order_id, request, amount, currency, created, "
            "changed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)",
            refund_id,
            event.tenant_id,
            payment["payment_id"],
            payment["order_id"],
            request,
            amount,
            payment["currency"],
            time_of(now_ns),
        )
        asked = {"payment": payment["vendor_id"], "amount": str(amount), "currency": payment["currency"]}
        await self._call(work, event.tenant_id, "refund", refund_id, asked)

    async def _withdraw_refund(self, work: UnitOfWork, event: ReadEvent) -> None:
        """It was paid back another way. What the gateway may have done already is found out, and told."""
        rows = await work.session.fetch(
            "SELECT refund_id FROM refund WHERE tenant_id = $1 AND request = $2", event.tenant_id, _request(event.data)
        )
        found = await locked_refund(work.session, rows[0]["refund_id"]) if rows else None
        if found is None or found[0]["withdrawn"]:
            return
        refund_id = found[0]["refund_id"]
        await work.session.execute("UPDATE refund SET withdrawn = true WHERE refund_id = $1", refund_id)
        if found[0]["state"] == REQUESTED:
            await revive(work.session, self._clock, event.tenant_id, refund_id, "refund")
            await hurry(work.session, self._clock, event.tenant_id, refund_id, "refund")

    async def _call(self, work: UnitOfWork, tenant_id: int, kind: str, about: str, request: Mapping[str, Any]) -> None:
        await add_call(
            work.session,
            self._clock,
            tenant_id=tenant_id,
            port="payments",
            kind=kind,
            about=about,
            request=request,
        )

    # -- shipments -----------------------------------------------------------------------------------------------------

    async def _shipment(self, work: UnitOfWork, event: ReadEvent) -> None:
        data, now_ns = event.data, self._clock.now_ns()
        shipment_id = str(data["shipment"])
        request = {name: data.get(name) for name in ("address", "parcels", "service", "customer")}
        request["address"] = await self._with_contact(work.session, event)
        made = await work.session.execute(
            "INSERT INTO shipment (tenant_id, shipment_id, order_id, request, created, changed) "
            "VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT DO NOTHING",
            event.tenant_id,
            shipment_id,
            str(data["order"]),
            json.dumps(request, ensure_ascii=False),
            time_of(now_ns),
        )
        if not made:
            known = await locked_shipment(work.session, event.tenant_id, shipment_id)
            if known is None or known["state"] == REQUESTED:
                await revive(work.session, self._clock, event.tenant_id, shipment_id, "buy")
                return
            if known["state"] not in ("failed", "cancelled"):
                work.announce(shipment_event(known, Told.SHIPMENT_CREATED, now_ns))
                return
            await work.session.execute(  # the address was mended, say: nothing was bought for it
                "UPDATE shipment SET state = 'requested', withdrawn = false, reason = '', request = $3, changed = $4 "
                "WHERE tenant_id = $1 AND shipment_id = $2",
                event.tenant_id,
                shipment_id,
                json.dumps(request, ensure_ascii=False),
                time_of(now_ns),
            )
        await self._shipping_call(work, event.tenant_id, "buy", shipment_id, {"order": str(data["order"]), **request})

    async def _with_contact(self, session: Session, event: ReadEvent) -> Any:
        """The address, with how the carrier reaches whom it is for, where the order does not say that itself."""
        address = event.data.get("address")
        who = await orders.contact(session, event.tenant_id, str(event.data.get("customer", "")))
        if who is None or not isinstance(address, Mapping):
            return address
        return {**address, "phone": address.get("phone") or who.phone, "email": address.get("email") or who.email}

    async def _void(self, work: UnitOfWork, event: ReadEvent) -> None:
        known = await locked_shipment(work.session, event.tenant_id, str(event.data["shipment"]))
        if known is None or known["withdrawn"]:
            return
        await work.session.execute(
            "UPDATE shipment SET withdrawn = true WHERE tenant_id = $1 AND shipment_id = $2",
            event.tenant_id,
            known["shipment_id"],
        )
        if known["state"] == REQUESTED:
            await revive(work.session, self._clock, event.tenant_id, known["shipment_id"], "buy")
            await hurry(work.session, self._clock, event.tenant_id, known["shipment_id"], "buy")
        elif known["state"] == "created":
            await self._shipping_call(
                work, event.tenant_id, "cancel", known["shipment_id"], {"vendor_id": known["vendor_id"]}
            )

    async def _shipping_call(
        self, work: UnitOfWork, tenant_id: int, kind: str, about: str, request: Mapping[str, Any]
    ) -> None:
        await add_call(
            work.session, self._clock, tenant_id=tenant_id, port="shipping", kind=kind, about=about, request=request
        )


async def _payment_of(session: Session, tenant_id: int, request: str) -> Row | None:
    rows = await session.fetch(
        "SELECT * FROM payment WHERE tenant_id = $1 AND request = $2 FOR UPDATE", tenant_id, request
    )
    return rows[0] if rows else None


def _request(data: Mapping[str, Any]) -> str:
    """The key of a request; of one that has none, what it is about."""
    return str(data.get("request") or data["order"])


def _amount(data: Mapping[str, Any]) -> Decimal:
    try:
        amount = Decimal(str(data["amount"]))
    except InvalidOperation as exc:
        raise ValueError(f"{data['amount']!r} is no amount") from exc
    if not Decimal(0) < amount <= AMOUNT_MAX or amount != round(amount, 2):
        raise ValueError(f"{amount} is no amount that can be paid")
    return amount


def _no_refund(event: ReadEvent, request: str, amount: Decimal, why: str, now_ns: int) -> Any:
    told = {
        "order": str(event.data["order"]),
        "request": request,
        "payment": str(event.data["payment"]),
        "amount": str(amount),
        "currency": str(event.data.get("currency", "")),
        "reason": why,
    }
    return integration_event(event.tenant_id, str(event.data["order"]), Told.REFUND_FAILED, now_ns, told)
