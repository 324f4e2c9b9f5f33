"""What lines count becomes stock: by the bill of material, once, with what is short settled when it comes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.relaying import EventRelay
from cloud_ingest.event_log.topics import DOMAIN_TOPICS, LINE_EVENTS, topic_specs
from cloud_ingest.inventory import published
from cloud_ingest.inventory.genealogy import contents, destinations
from cloud_ingest.inventory.published import For
from cloud_ingest.inventory.role import InventoryRole
from cloud_ingest.inventory.rules import Kind
from cloud_ingest.lines.events import Counted, LineKey, counted
from connectors.ports.clock import SystemClock
from tests.contract.historian_steps import RawLog, eventually
from tests.contract.inventory_steps import LINE, NOW, SITE, TENANT, Store, store

WORK_ORDER = For("work-order", "WO-1")


async def pumps(here: Store, product: str = "none", component: str = "none") -> None:
    """A pump of two screws and a housing, with stock at the line's site."""
    await here.item("pump", product, kind="product")
    await here.item("screw", component)
    await here.item("housing")
    await here.bom("pump", ("screw", "2"), ("housing", "1"))


async def test_a_count_consumes_by_the_bill_of_material_and_receives_and_scraps(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await pumps(here, "lot")
        await here.receive("screw", "100", "warehouse")
        await here.receive("housing", "20", SITE)
        await here.counted("8", "2")
        assert await here.stock("screw") == {("@supplier", ""): -100, ("@production", ""): 20, ("warehouse", ""): 80}
        assert await here.stock("pump") == {("@production", "WO-1"): -10, ("@scrap", "WO-1"): 2, (SITE, "WO-1"): 8}
        (received,) = [one for one in await here.events("received") if one["item"] == "pump"]
        assert (received["quantity"], received["work_order"]) == ("8", "WO-1")
        moved = await here.rows("SELECT DISTINCT work_order, product, line FROM stock_movement WHERE product <> ''")
        assert [tuple(row.values()) for row in moved] == [("WO-1", "pump", LINE)]


async def test_a_count_that_comes_again_is_booked_once(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await pumps(here)
        await here.receive("screw", "100", SITE)
        await here.receive("housing", "100", SITE)
        await asyncio.gather(*(here.counted("5", number=7) for _ in range(4)))
        await here.counted("5", number=8)
        assert await here.at("pump", SITE) == 10
        assert await here.at("screw", SITE) == 80


async def test_what_is_short_is_written_down_and_booked_when_it_comes(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await pumps(here, "lot", "lot")
        await here.receive("housing", "100", SITE)
        await here.receive("screw", "6", "warehouse", "S1")
        await here.counted("5")
        await here.counted("5")
        assert await here.at("pump", SITE) == 10, "what was made is there, whatever was in the ledger for it"
        assert await here.at("screw", "warehouse") == 0
        assert [one["quantity"] for one in await here.events("shortage")] == ["4", "10"]
        await here.receive("screw", "10", "warehouse", "S2")
        assert await here.at("screw", "warehouse") == 0
        await here.receive("screw", "10", "warehouse", "S3")
        assert await here.at("screw", "warehouse") == 6
        assert not await here.rows("SELECT FROM stock_shortage WHERE open > 0")
        assert sum(Decimal(one["quantity"]) for one in await here.events("shortage-settled")) == 14
        async with here.database.session() as session:
            found = await contents(session, TENANT, "pump", "WO-1")
        assert [(one.lot, one.quantity) for one in found] == [("S1", 6), ("S2", 10), ("S3", 4)]


async def test_a_place_that_may_has_less_than_nothing_until_it_comes(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await pumps(here)
        await here.place("rack", SITE, "line-side", allows_negative=True)
        await here.say("INSERT INTO line_stock VALUES (1, $1, $2, 'rack', 'warehouse')", SITE, LINE)
        await here.receive("screw", "3", "rack")
        await here.receive("housing", "3", "rack")
        await here.counted("2")
        assert await here.at("screw", "rack") == -1
        assert [one["quantity"] for one in await here.events("shortage")] == ["1"]
        await here.receive("screw", "5", "rack")
        assert (await here.at("screw", "rack"), await here.at("pump", "warehouse")) == (4, 2)


async def test_what_is_reserved_for_others_is_not_consumed_and_the_work_orders_own_first(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await pumps(here, component="lot")
        await here.receive("housing", "100", SITE)
        await here.receive("screw", "10", "warehouse", "OLD")
        await here.receive("screw", "10", "warehouse", "NEW")
        for for_, quantity in ((For("order", "SO-1"), 8), (WORK_ORDER, 10)):
            async with unit_of_work(here.database, TENANT) as work:
                assert await published.reserve(work, TENANT, "screw", Decimal(quantity), for_) == quantity
        await here.counted("6")
        left = await here.rows("SELECT for_id, sum(open) AS open FROM stock_reservation GROUP BY 1 ORDER BY 1")
        assert [tuple(row.values()) for row in left] == [("SO-1", 8), ("WO-1", 0)]
        await here.counted("1")
        assert await here.at("screw", "warehouse") == 8, "the rest is promised to a customer"
        assert [one["quantity"] for one in await here.events("shortage")] == ["2"]
        async with unit_of_work(here.database, TENANT) as work:
            await published.release(work, TENANT, For("order", "SO-1"))
        assert await here.at("screw", "warehouse") == 6, "what was given back settles what is short"


async def test_a_count_that_is_taken_back_is_as_if_it_had_not_been(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        for product, component in (("none", "none"), ("lot", "lot"), ("serial", "lot")):
            suffix = f"-{product}-{component}"
            await here.item(f"pump{suffix}", product, kind="product")
            await here.item(f"screw{suffix}", component)
            await here.bom(f"pump{suffix}", (f"screw{suffix}", "2"))
            lots = () if component == "none" else ("S1",)
            await here.receive(f"screw{suffix}", "7", "warehouse", *lots)
            before = await here.at(f"screw{suffix}", "warehouse")
            number = 100 if product == "none" else 200 if product == "lot" else 300
            work_order = f"WO{suffix}"
            said = {"product": f"pump{suffix}", "work_order": work_order}
            await here.counted("4", "1", number=number, **said)
            await here.counted("-4", "-1", number=number + 1, **said)
            assert await here.at(f"screw{suffix}", "warehouse") == before
            assert await here.stock(f"pump{suffix}") == {}
            if product != "none":
                async with here.database.session() as session:
                    lot = work_order if product == "lot" else f"{work_order}-000001"
                    assert await contents(session, TENANT, f"pump{suffix}", lot) == []


async def test_what_has_left_already_is_taken_back_when_the_next_is_made(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("pump", kind="product")
        await here.counted("5")
        await here.book(Kind.SHIPMENT, "pump", "4", SITE, "@customer")
        await here.counted("-3")
        assert await here.at("pump", SITE) == 0
        await here.counted("10")
        assert await here.at("pump", SITE) == 8


async def test_it_is_known_which_lots_are_in_a_serial_number_and_where_a_lot_went(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("steel", "lot", kind="raw")
        await here.item("shaft", "lot")
        await here.item("machine", "serial", kind="product")
        await here.bom("shaft", ("steel", "1.5", "0.1"))
        await here.bom("machine", ("shaft", "2"))
        await here.receive("steel", "100", SITE, "HEAT-1")
        await here.receive("steel", "100", "warehouse", "HEAT-2")
        await here.counted("3", product="shaft", work_order="WO-S1")
        await here.counted("20", product="shaft", work_order="WO-S2", line="line-2")
        await here.counted("2", product="machine", work_order="WO-M")
        async with here.database.session() as session:
            first = await contents(session, TENANT, "machine", "WO-M-000001")
            second = await contents(session, TENANT, "machine", "WO-M-000002")
        assert [(one.item, one.lot, one.level) for one in first] == [("shaft", "WO-S1", 1), ("steel", "HEAT-1", 2)]
        assert [(one.item, one.lot, one.level) for one in second] == [
            ("shaft", "WO-S1", 1), ("shaft", "WO-S2", 1), ("steel", "HEAT-1", 2),
        ]  # fmt: skip
        await here.book(Kind.SHIPMENT, "machine", "1", SITE, "@customer", "WO-M-000002")
        async with here.database.session() as session:
            went = await destinations(session, TENANT, "steel", "HEAT-1")
        assert [(one.item, one.lot, one.level) for one in went] == [
            ("shaft", "WO-S1", 1), ("shaft", "WO-S2", 1), ("machine", "WO-M-000001", 2), ("machine", "WO-M-000002", 2),
        ]  # fmt: skip
        assert [one.shipped for one in went][-2:] == [0, 1]
        assert [one.on_hand for one in went][-2:] == [1, 0]


async def test_phantoms_are_passed_through_and_versions_hold_from_their_time_on(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        for item in ("pump", "screw", "ring"):
            await here.item(item)
        await here.item("kit", is_phantom=True)
        await here.bom("kit", ("screw", "3"), ("ring", "1"))
        await here.bom("pump", ("kit", "2"), ("screw", "1"))
        await here.bom("pump", ("ring", "5"), since=NOW + timedelta(days=1))
        async with here.database.session() as session:
            now = await published.explode(session, TENANT, "pump", Decimal(10))
            later = await published.explode(session, TENANT, "pump", Decimal(10), NOW + timedelta(days=2))
            kit = await published.explode(session, TENANT, "kit", Decimal(2))
            pump = await published.composition(session, TENANT, "pump")
        assert (pump.explode("pump", Decimal(10)), pump.explode("kit", Decimal(2))) == (now, kit), "read once"
        assert [(one.item, one.quantity) for one in now] == [("ring", 20), ("screw", 70)]
        assert [(one.item, one.quantity) for one in later] == [("ring", 50)]
        await here.receive("screw", "70", SITE)
        await here.receive("ring", "20", SITE)
        await here.counted("10")
        assert await here.at("screw", SITE) == await here.at("ring", SITE) == 0


@asynccontextmanager
async def running(role: InventoryRole) -> AsyncIterator[None]:
    task = asyncio.create_task(role.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_counts_in_the_event_log_are_in_the_ledger_once_whoever_dies(database_dsn: str, raw_log: RawLog) -> None:
    """Two processes with the role, on each engine; the relay publishes everything twice, and one process dies."""
    async with store(database_dsn) as here:
        await pumps(here)
        await here.receive("screw", "1000", SITE)
        await here.receive("housing", "1000", SITE)
        await raw_log.clear()
        logs = [await raw_log.open() for _ in range(3)]
        try:
            topics = {name: spec for name, spec in topic_specs(2, 7 * 86_400).items() if name in DOMAIN_TOPICS}
            for spec in topics.values():
                await logs[0].ensure(spec)
            relay = EventRelay(here.database, logs[0], SystemClock(), topics)
            roles = [InventoryRole(here.database, log, SystemClock(), topics[LINE_EVENTS]) for log in logs[1:]]

            async def count(times: int) -> None:
                async with unit_of_work(here.database, TENANT) as work:
                    now = time.time_ns()
                    for line in ("line-1", "line-2", "line-3"):
                        one = Counted(now, now, Decimal(2), Decimal(1), "pump", "WO-1", late=False)
                        work.announce(*(counted(LineKey(TENANT, SITE, line), one) for _ in range(times)))

            async def is_there(quantity: int) -> bool:
                return await here.at("pump", SITE) >= quantity

            async with running(roles[0]):
                async with running(roles[1]):
                    await count(5)
                    while await relay.publish():
                        pass
                    await eventually(lambda: is_there(30))
                await here.say("UPDATE event_relay SET number = 0")
                await count(5)
                while await relay.publish():
                    pass
                await eventually(lambda: is_there(60))
            assert (await here.at("pump", SITE), await here.at("pump", "@scrap")) == (60, 30)
            assert await here.at("screw", SITE) == 1000 - 2 * 90
            assert not await here.rows("SELECT FROM event_letter")
        finally:
            for log in logs:
                await log.close()
