"""A shop on a real PostgreSQL: catalog, stock, lines and orders are the real ones, the outside world is played."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any, Final

import httpx
from prometheus_client import CollectorRegistry

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.event_log.domain_events import ReadEvent, event_record, read_event
from cloud_ingest.event_log.topics import INTEGRATION_EVENTS, INVENTORY_EVENTS, LINE_EVENTS, ORDER_EVENTS
from cloud_ingest.gateway.app import make_app
from cloud_ingest.integrations.events import Told as Answer
from cloud_ingest.integrations.events import integration_event
from cloud_ingest.inventory.backflush import book_count as book_into_stock
from cloud_ingest.inventory.counts import read_count
from cloud_ingest.lines.events import COUNTED, Counted, LineKey, counted
from cloud_ingest.lines.work_order_book import Act
from cloud_ingest.lines.work_order_counts import book_count as book_on_work_order
from cloud_ingest.lines.work_order_deeds import do
from cloud_ingest.lines.work_order_rules import Deed
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.orders.events import TYPES, Told
from cloud_ingest.orders.handling import Orders
from cloud_ingest.orders.listening import Hearing
from cloud_ingest.orders.routes import order_routes
from cloud_ingest.orders.terms import Terms
from connectors.ports.event_log import LogRecord
from tests.contract.command_steps import SetClock
from tests.contract.inventory_steps import LINE, SITE, Store, store

ADDRESS: Final = {"name": "Acme", "street": "Hauptstr. 1", "postal_code": "10115", "city": "Berlin", "country": "DE"}
PEOPLE: Final = {
    "paul": Principal(1, "user:paul", "paul", "user", (Grant(Role.PLANNER),)),
    "olga": Principal(1, "user:olga", "olga", "user", (Grant(Role.OPERATOR),)),
    "acme": Principal(1, "user:acme", "acme", "user", (Grant(Role.CUSTOMER),), "acme"),
    "rival": Principal(1, "user:rival", "rival", "user", (Grant(Role.CUSTOMER),), "rival"),
    "site": Principal(1, "user:site", "site", "user", (Grant(Role.PLANNER, SITE),)),
    "admin": Principal(1, "user:admin", "admin", "user", (Grant(Role.ADMIN),)),
    "theirs": Principal(2, "user:theirs", "theirs", "user", (Grant(Role.ADMIN),)),
    "nobody": Principal(1, "nobody", "nobody", "nobody", (Grant(Role.VIEWER),)),
}


class Named:
    """An authenticator to whom a token is a name."""

    async def principal(self, token: str | None) -> Principal:
        return PEOPLE[token or "nobody"]


class Outside:
    """A payment provider and a carrier: what they answer is set; each answer is given ``times``."""

    def __init__(self) -> None:
        self.pays: bool | None = True
        self.refunds: bool | None = True
        self.ships: bool | None = True
        self.times = 1
        self.asked: list[tuple[Told, dict[str, Any]]] = []
        self.parcels_left: list[str] = []

    def answer(self, event: ReadEvent) -> list[tuple[Answer, dict[str, Any]]]:
        what, data = TYPES.get(event.type), dict(event.data)
        if what in (Told.PAYMENT_REQUESTED, Told.REFUND_REQUESTED, Told.SHIPMENT_REQUESTED):
            self.asked.append((what, data))
        order = {"order": data["order"]}
        match what:
            case Told.PAYMENT_REQUESTED if self.pays is not None:
                said = {**order, "request": data["request"], "payment": f"pay-{data['request']}",
                        "amount": data["amount"], "currency": data["currency"], "reason": "declined"}  # fmt: skip
                return [(Answer.PAYMENT_CAPTURED if self.pays else Answer.PAYMENT_FAILED, said)] * self.times
            case Told.REFUND_REQUESTED if self.refunds is not None:
                said = {**order, "request": data["request"], "payment": data["payment"], "amount": data["amount"],
                        "reason": "no"}  # fmt: skip
                return [(Answer.REFUNDED if self.refunds else Answer.REFUND_FAILED, said)] * self.times
            case Told.SHIPMENT_REQUESTED if self.ships is not None:
                said = {**order, "shipment": data["shipment"], "carrier": "ups", "tracking": "1Z999",
                        "label_url": "https://labels.test/1", "reason": "no such street"}  # fmt: skip
                return [(Answer.SHIPMENT_CREATED if self.ships else Answer.SHIPMENT_FAILED, said)] * self.times
            case _:
                return []


class Shop:
    """Orders of tenant 1, whose events are carried by hand (``pump``), or by the real log."""

    def __init__(self, stock: Store, client: httpx.AsyncClient, orders: Orders, clock: SetClock) -> None:
        self.stock, self.client, self.orders, self.clock = stock, client, orders, clock
        self.database = stock.database
        self.hearing = Hearing(orders)
        self.outside = Outside()
        self.told: list[str] = []
        self._seen = 0
        self._keys = 0

    async def sell(
        self,
        code: str,
        price: str = "10.00",
        *,
        stock: int = 0,
        made: bool = True,
        cycle_s: str = "1",
        sold: bool = True,
        batch_max: str | None = None,
    ) -> None:
        """A product of the catalog and an item of inventory; ``made`` on the line, else bought."""
        await self.stock.item(code, kind="product")
        step = {"site": SITE, "line": LINE, "ideal_cycle_s": cycle_s, "setup_s": "0", "batch_max": batch_max,
                "recipe": {}}  # fmt: skip
        product = {
            "names": {"en": code.title()}, "unit": "pcs", "tax_rate": "0.19", "weight_kg": "0.5", "sold": sold,
            "prices": [{"currency": "EUR", "amount": price, "from": None, "until": None}],
            "routing": f"make-{code}" if made else None,
        }  # fmt: skip
        documents = [("product", code, product)]
        if made:
            documents.append(("routing", f"make-{code}", {"steps": [step]}))
        for kind, name, document in documents:
            await self.stock.say(
                "INSERT INTO catalog_version (tenant_id, kind, code, version, revision, document, published_by) "
                "VALUES (1, $1, $2, 1, 1, $3::text::jsonb, 'eva')", kind, name, json.dumps(document),
            )  # fmt: skip
            await self.stock.say(
                "INSERT INTO catalog_published (tenant_id, kind, code, version, document, words) "
                "VALUES (1, $1, $2, 1, $3::text::jsonb, '')", kind, name, json.dumps(document),
            )  # fmt: skip
        if stock:
            await self.stock.receive(code, str(stock), "warehouse")

    async def ask(
        self, method: str, path: str, by: str = "paul", body: Any = None, **headers: str
    ) -> httpx.Response:  # fmt: skip
        """A request to the API; one that makes something has a new key unless one is given."""
        self._keys += 1
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "POST":
            named.setdefault("Idempotency-Key", f"key-{self._keys}")
        who = {} if by == "nobody" else {"Authorization": f"Bearer {by}"}
        return await self.client.request(method, f"/api/v1{path}", json=body, headers={**who, **named})

    async def customer(self, code: str = "acme", **more: Any) -> None:
        body = {"customer": code, "name": code.title(), "addresses": {"delivery": ADDRESS}, **more}
        answer = await self.ask("POST", "/customers", body=body)
        assert answer.status_code == 201, answer.text

    async def place(self, *lines: tuple[str, int], by: str = "acme", path: str = "/orders", **more: Any) -> str:
        """Place an order: its id."""
        body = {"lines": [{"product": product, "quantity": str(quantity)} for product, quantity in lines], **more}
        if by != "acme":
            body.setdefault("customer", "acme")
        answer = await self.ask("POST", path, by, body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def order(self, order: str, by: str = "paul") -> dict[str, Any]:
        answer = await self.ask("GET", f"/orders/{order}", by)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def state(self, order: str) -> str:
        return str((await self.order(order))["state"])

    async def do(self, path: str, by: str = "paul", body: Any = None, status: int = 200) -> dict[str, Any]:
        answer = await self.ask("POST", path, by, body)
        assert answer.status_code == status, answer.text
        return dict(answer.json())

    # -- events --------------------------------------------------------------------------------------------------------

    async def pump(self, *, again: bool = False) -> None:
        """Carry all events to who reads them, until there are none; ``again``: every one from the beginning."""
        seen = 0 if again else self._seen
        while rows := await self.stock.rows(
            "SELECT number, topic, key, event FROM event_outbox WHERE number > $1 ORDER BY number LIMIT 100", seen
        ):
            for row in rows:
                seen = row["number"]
                record = event_record(row["topic"], row["number"], row["key"], row["event"], 0)
                await self.carry(row["topic"], read_event(LogRecord(0, record.key, record.value, 0)))
        self._seen = max(self._seen, seen)

    async def records(self, topic: str) -> list[LogRecord]:
        """All that was told on ``topic``, as it is in the log."""
        rows = await self.stock.rows(
            "SELECT number, key, event FROM event_outbox WHERE topic = $1 ORDER BY number", topic
        )
        made = [event_record(topic, row["number"], row["key"], row["event"], 0) for row in rows]
        return [LogRecord(offset, one.key, one.value, 0) for offset, one in enumerate(made)]

    async def carry(self, topic: str, event: ReadEvent) -> None:
        if topic == ORDER_EVENTS:
            self.told.append(event.type.split(".")[2])
            answers = self.outside.answer(event) if event.number > self._seen else []
            async with unit_of_work(self.database) as work:
                for what, data in answers:
                    work.announce(integration_event(1, event.key, what, time.time_ns(), data))
            return
        async with unit_of_work(self.database) as work:
            await self.hear(work, topic, event)

    async def hear(self, work: UnitOfWork, topic: str, event: ReadEvent) -> None:
        match topic:
            case _ if topic == LINE_EVENTS:
                await self.hearing.lines(work, event)
                if event.type == COUNTED and (count := read_count(event)) is not None:
                    await book_into_stock(work, count)
            case _ if topic == INVENTORY_EVENTS:
                await self.hearing.inventory(work, event)
            case _ if topic == INTEGRATION_EVENTS:
                await self.hearing.integrations(work, event)
            case _:
                pass

    async def answers(self, order: str, what: Answer, **data: Any) -> None:
        """The outside says something by itself."""
        async with unit_of_work(self.database) as work:
            work.announce(integration_event(1, order, what, time.time_ns(), {"order": order, **data}))

    # -- lines ---------------------------------------------------------------------------------------------------------

    async def work_orders(self, order: str) -> list[Mapping[str, Any]]:
        return list(await self.stock.rows("SELECT * FROM work_order WHERE order_id = $1 ORDER BY place", order))

    async def start(self, work_order: str) -> None:
        await self._deed(work_order, Deed.START)

    async def complete(self, work_order: str, reason: str = "short") -> None:
        await self._deed(work_order, Deed.COMPLETE, reason)

    async def cancel_work_order(self, work_order: str) -> None:
        await self._deed(work_order, Deed.CANCEL, "no material")

    async def _deed(self, work_order: str, deed: Deed, reason: str = "") -> None:
        async with unit_of_work(self.database, 1) as work:
            await do(work, Act(1, time.time_ns(), "olga", reason), work_order, deed)

    async def count(self, work_order: str, good: int, reject: int = 0) -> None:
        """The line has made so many of a work order."""
        (row,) = await self.stock.rows("SELECT product FROM work_order WHERE work_order_id = $1", work_order)
        now_ns = time.time_ns()
        async with unit_of_work(self.database) as work:
            await book_on_work_order(work, 1, work_order, Decimal(good), Decimal(reject), now_ns)
            made = Counted(now_ns - 1, now_ns, Decimal(good), Decimal(reject), row["product"], work_order, late=False)
            work.announce(counted(LineKey(1, SITE, LINE), made))

    async def make(self, order: str) -> None:
        """The line makes all that is planned for an order."""
        for row in await self.work_orders(order):
            if row["state"] in ("planned", "ready", "next"):
                await self.start(row["work_order_id"])
                await self.count(row["work_order_id"], int(row["quantity"] - row["good"]))
                await self.complete(row["work_order_id"])
        await self.pump()

    async def later(self, seconds: float) -> None:
        """Time passes, and the timer looks."""
        self.clock.ahead_ms += int(seconds * 1000)
        while await self.orders.look_at_due():
            pass
        await self.pump()

    # -- what always holds ---------------------------------------------------------------------------------------------

    async def reserved_for(self, order: str) -> Decimal:
        rows = await self.stock.rows(
            "SELECT coalesce(sum(open), 0) AS open FROM stock_reservation WHERE for_id = $1", order
        )
        return Decimal(rows[0]["open"])

    async def left_stock(self, order: str) -> Decimal:
        """What has left the stock for an order."""
        rows = await self.stock.rows(
            "SELECT coalesce(sum(quantity), 0) AS gone FROM stock_movement "
            "WHERE order_id = $1 AND target = '@customer'",
            order,
        )
        return Decimal(rows[0]["gone"])

    async def holds_nothing(self, order: str) -> bool:
        """Whether nothing is reserved for an order, no work order is open, and all of the money is back."""
        found = await self.order(order)
        work_orders = await self.work_orders(order)
        return (
            not await self.reserved_for(order)
            and all(row["state"] in ("complete", "closed", "cancelled") for row in work_orders)
            and found["paid"] == found["refunded"]
        )


@asynccontextmanager
async def shop(dsn: str, terms: Terms | None = None, *, connections_max: int = 12) -> AsyncIterator[Shop]:
    async with store(dsn, connections_max=connections_max) as stock:
        await stock.say("INSERT INTO tenant (tenant_id, name) VALUES (2, 'theirs')")
        await stock.say(
            "INSERT INTO line_stock (tenant_id, site, line, components_at, products_to) "
            "VALUES (1, $1, $2, 'warehouse', 'warehouse')", SITE, LINE,
        )  # fmt: skip
        await stock.say("INSERT INTO production_line (tenant_id, site, line) VALUES (1, $1, $2)", SITE, LINE)
        clock = SetClock()
        orders = Orders(stock.database, clock, terms or Terms())
        app = make_app(stock.database, CollectorRegistry(), Obstacles(), platform=[order_routes(orders)])
        app.state.authenticator = Named()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", trust_env=False) as client:
            here = Shop(stock, client, orders, clock)
            await here.customer()
            yield here
