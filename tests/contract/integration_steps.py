"""The role ``integrations`` on a real PostgreSQL, step by step: vendors that lose answers, processes that die."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final, TypeVar

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.integrations.asked import OrdersAsk
from cloud_ingest.integrations.making import CallMaker
from cloud_ingest.integrations.paying import payment_kinds
from cloud_ingest.integrations.rules import Patience
from cloud_ingest.integrations.shipments import shipping_kinds
from cloud_ingest.integrations.webhooks import VendorWebhooks
from cloud_ingest.store.migrate import migrate
from connectors.payments.fake import FakeGateway
from connectors.ports.clock import SystemClock
from connectors.ports.payments import Payment, PaymentNews, PaymentRequest, Refund, RefundRequest
from connectors.ports.vendors import CallUncertain, Headers, MemoryInProcess, VendorUnavailable
from connectors.postgres.database import PostgresDatabase, open_database
from connectors.shipping.fake import FakeCarrier

T = TypeVar("T")
SECRET: Final = "whsec_tests"
ADDRESS: Final = {"name": "Acme", "line1": "Main St 1", "city": "Austin", "postal_code": "78701", "country": "US"}


class SetClock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.ahead_s = 0.0
        self._system = SystemClock()

    def now_ns(self) -> int:
        return self._system.now_ns() + round(self.ahead_s * 1e9)

    def monotonic_s(self) -> float:
        return self._system.monotonic_s() + self.ahead_s


class LossyGateway:
    """A gateway behind a network that does what ``trouble`` says: a call is ``lost`` on its way, or ``unanswered``."""

    name = "fake"

    def __init__(self, inner: FakeGateway) -> None:
        self.inner = inner
        self.trouble: list[str] = []
        self.asked: list[str] = []

    async def pay(self, request: PaymentRequest) -> Payment:
        return await self._through("pay", self.inner.pay(request))

    async def find(self, request: PaymentRequest) -> Payment | None:
        return await self._through("find", self.inner.find(request))

    async def payment(self, payment_id: str) -> Payment:
        return await self._through("payment", self.inner.payment(payment_id))

    async def cancel(self, payment_id: str) -> Payment:
        return await self._through("cancel", self.inner.cancel(payment_id))

    async def refund(self, request: RefundRequest) -> Refund:
        return await self._through("refund", self.inner.refund(request))

    async def find_refund(self, request: RefundRequest) -> Refund | None:
        return await self._through("find_refund", self.inner.find_refund(request))

    def news(self, body: bytes, headers: Headers, now_s: float) -> PaymentNews:
        return self.inner.news(body, headers, now_s)

    async def close(self) -> None:
        """Nothing is open."""

    async def _through(self, name: str, call: Awaitable[T]) -> T:
        self.asked.append(name)
        trouble = self.trouble.pop(0) if self.trouble else ""
        if trouble == "lost":
            asyncio.ensure_future(call).cancel()
            raise VendorUnavailable("the gateway cannot be reached")
        answer = await call
        if trouble == "unanswered":
            raise CallUncertain("the gateway has not answered")
        return answer


class Died(BaseException):
    """The process ended here."""


class MortalMaker(CallMaker):
    """Makes calls in a process that dies at the steps that ``deaths`` names, in their order."""

    deaths: list[str]

    def at_kill_point(self, step: str) -> None:
        if self.deaths and self.deaths[0] == step:
            self.deaths.pop(0)
            raise Died(step)


class Office:
    """Integrations with the built-in vendors."""

    def __init__(self, database: PostgresDatabase, patience: Patience) -> None:
        self.database = database
        self.clock = SetClock()
        self.memory = MemoryInProcess()
        self.gateway = LossyGateway(
            FakeGateway(self.memory, self.clock, decline_amounts={Decimal("13.13")}, webhook_secret=SECRET)
        )
        self.carrier = FakeCarrier(MemoryInProcess(), self.clock)
        kinds = {**payment_kinds(self.gateway, self.clock), **shipping_kinds(self.carrier, self.clock)}
        self.maker = MortalMaker(database, self.clock, kinds, patience, random.Random(7))
        self.maker.deaths = []
        self.webhooks = VendorWebhooks(database, self.clock, self.gateway, self.carrier, None)
        self._asks = OrdersAsk(self.clock)
        self._number = 0

    async def order_says(self, what: str, tenant_id: int = 1, **data: Any) -> None:
        """Take an event of orders."""
        self._number += 1
        order = str(data.setdefault("order", "A-1"))
        event = ReadEvent(self._number, f"lineside.orders.{what}.v1", tenant_id, order, self.clock.now_ns(), data)
        async with unit_of_work(self.database) as work:
            await self._asks.take(work, event)

    async def customer(self, code: str, **more: str) -> None:
        """A customer of orders."""
        values = {"name": code, "email": "", "phone": "", "payer": "", "payment_method": "", **more}
        async with self.database.session() as session:
            await session.execute(
                "INSERT INTO customer (tenant_id, customer, name, email, phone, payer, payment_method, created_by) "
                "VALUES (1, $1, $2, $3, $4, $5, $6, 'anna')", code, *values.values(),
            )  # fmt: skip

    async def ask_payment(self, amount: str = "120.50", request: str = "R1", **more: Any) -> None:
        await self.order_says(
            "payment-requested", request=request, amount=amount, currency="EUR", customer="acme", **more
        )

    async def pass_s(self, seconds: float) -> None:
        """Let time pass, and make what is due."""
        self.clock.ahead_s += seconds
        await self.work()

    async def work(self) -> None:
        """Make all calls that are due; a process that dies is followed by another one."""
        for _ in range(200):
            try:
                if not await self.maker.make_one():
                    return
            except Died:
                self.clock.ahead_s += 6.0  # the next process waits as long as the lease of the dead one
        raise AssertionError("calls that never end")

    async def told(self) -> list[tuple[str, Mapping[str, Any]]]:
        """What was announced, in order."""
        import json

        async with self.database.session() as session:
            rows = await session.fetch("SELECT event FROM event_outbox ORDER BY number")
        events = [json.loads(row["event"]) for row in rows]
        return [(event["type"].split(".")[2], event["data"]) for event in events]

    async def told_types(self) -> list[str]:
        return [kind for kind, _ in await self.told()]

    async def fetch(self, sql: str, *args: Any) -> list[dict[str, Any]]:
        async with self.database.session() as session:
            return [dict(row) for row in await session.fetch(sql, *args)]

    async def payment(self, request: str = "R1") -> dict[str, Any]:
        (row,) = await self.fetch("SELECT * FROM payment WHERE request = $1", request)
        return row

    async def calls(self, kind: str = "pay") -> list[dict[str, Any]]:
        return await self.fetch("SELECT * FROM integration_call WHERE kind = $1 ORDER BY call_id", kind)

    def at_vendor(self) -> list[dict[str, Any]]:
        """The payments that the gateway has."""
        return [self.memory._documents[key] for key in self.memory.keys("pay_")]


@asynccontextmanager
async def office(dsn: str, patience: Patience | None = None) -> AsyncIterator[Office]:
    database = await open_database(dsn, connections_max=8, application_name="tests")
    try:
        await migrate(database)
        yield Office(database, patience or Patience())
    finally:
        await database.close()
