"""Stock on a real database: never negative, never promised twice, and always what the ledger says."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.inventory import published
from cloud_ingest.inventory.published import For, NewReceipt
from cloud_ingest.inventory.role import expire_reservations, watch_expired_lots
from cloud_ingest.inventory.rules import Kind
from connectors.model.errors import StatementRefused
from connectors.ports.clock import SystemClock
from tests.contract.inventory_steps import NOW, SITE, TENANT, Store, store

ORDER = For("order", "SO-1", "1")


async def reserve(here: Store, item: str, quantity: str, for_: For = ORDER, *, whole: bool = False) -> Decimal:
    async with unit_of_work(here.database, TENANT) as work:
        return await published.reserve(work, TENANT, item, Decimal(quantity), for_, whole=whole)


async def release(here: Store, for_: For = ORDER) -> Decimal:
    async with unit_of_work(here.database, TENANT) as work:
        return await published.release(work, TENANT, for_, "cancelled")


async def ship(here: Store, for_: For = ORDER) -> tuple[published.Shipped, ...]:
    async with unit_of_work(here.database, TENANT) as work:
        return await published.ship_reserved(work, TENANT, for_)


async def available(here: Store, item: str) -> tuple[str, str, str]:
    async with here.database.session() as session:
        found = await published.availability(session, TENANT, item)
    return f"{found.on_hand:.0f}", f"{found.reserved:.0f}", f"{found.available:.0f}"


async def test_more_than_is_there_cannot_be_taken_and_it_is_said_what_is_there(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("screw")
        await here.receive("screw", "10", "warehouse")
        with pytest.raises(
            RequestRefused, match="there are 10 pcs of screw at warehouse: 11 cannot be taken"
        ) as refused:
            await here.book(Kind.ISSUE, "screw", "11", "warehouse", "@issued")
        assert refused.value.code == "not_enough"
        await reserve(here, "screw", "4")
        with pytest.raises(
            RequestRefused, match="10 pcs of screw at warehouse, 4 of them reserved: 7 cannot"
        ) as refused:
            await here.book(Kind.TRANSFER, "screw", "7", "warehouse", SITE)
        assert refused.value.code == "reserved"
        await here.book(Kind.TRANSFER, "screw", "6", "warehouse", SITE)
        assert await here.stock("screw") == {("@supplier", ""): -10, ("warehouse", ""): 4, (SITE, ""): 6}
        with pytest.raises(StatementRefused, match="stock_is_not_negative"):
            await here.say("UPDATE stock_balance SET on_hand = -1 WHERE location = 'plant-7'")
        with pytest.raises(StatementRefused, match="append-only"):
            await here.say("UPDATE stock_movement SET quantity = 1")


async def test_a_reservation_is_part_of_the_stock_and_is_shipped_once(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("pump", "lot")
        await here.receive("pump", "5", "warehouse", "A", expires=(NOW + timedelta(days=9)).date())
        await here.receive("pump", "5", "warehouse", "B", expires=(NOW + timedelta(days=3)).date())
        assert await reserve(here, "pump", "7") == 7
        assert await reserve(here, "pump", "7", For("order", "SO-2"), whole=True) == 0
        assert await reserve(here, "pump", "7", For("order", "SO-3")) == 3
        assert await available(here, "pump") == ("10", "10", "0")
        assert await release(here, For("order", "SO-3")) == 3
        first, again = await asyncio.gather(ship(here), ship(here))
        shipped = first or again
        assert not (first and again)
        assert sorted((one.lot, one.quantity, one.line) for one in shipped) == [("A", 2, "1"), ("B", 5, "1")]
        assert await here.stock("pump") == {
            ("@customer", "A"): 2, ("@customer", "B"): 5, ("@supplier", "A"): -5, ("@supplier", "B"): -5,
            ("warehouse", "A"): 3,
        }  # fmt: skip
        assert [one["order"] for one in await here.events("shipped")] == ["SO-1"]
        async with unit_of_work(here.database, TENANT) as work:  # and one of them comes back
            await published.receive(work, TENANT, [NewReceipt("pump", Decimal(1), "warehouse", "B", order="SO-1")])
        assert await available(here, "pump") == ("4", "0", "4")


async def test_twenty_at_once_are_not_promised_more_than_there_is(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("pump")
        await here.item("valve")
        for item in ("pump", "valve"):
            await here.receive(item, "30", "warehouse")
            await here.receive(item, "20", SITE)

        async def order(number: int) -> Decimal:
            async with unit_of_work(here.database, TENANT) as work:
                for item in ("pump", "valve"):
                    got = await published.reserve(work, TENANT, item, Decimal(7), For("order", f"SO-{number}"))
                return got

        got = await asyncio.gather(*(order(number) for number in range(20)))
        assert sorted(got, reverse=True)[:8] == [7] * 7 + [1]
        assert sum(got) == 50
        assert await available(here, "pump") == ("50", "50", "0")


async def test_who_takes_and_who_reserves_at_once_never_have_the_same_piece(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("pump")
        await here.receive("pump", "40", "warehouse")
        taken: list[int] = []

        async def take() -> None:
            with suppress(RequestRefused):
                await here.book(Kind.ISSUE, "pump", "3", "warehouse", "@issued")
                taken.append(3)

        reserved = await asyncio.gather(
            *(reserve(here, "pump", "3", For("order", str(number))) for number in range(10)),
            *(take() for _ in range(10)),
        )
        promised = int(sum(one for one in reserved if one is not None))
        assert promised + sum(taken) <= 40
        assert await available(here, "pump") == (str(40 - sum(taken)), str(promised), str(40 - sum(taken) - promised))


async def test_a_reservation_ends_when_its_time_is_over(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("pump")
        await here.receive("pump", "5", "warehouse")
        async with unit_of_work(here.database, TENANT) as work:
            until = datetime.now(UTC) - timedelta(seconds=1)
            await published.reserve(work, TENANT, "pump", Decimal(5), ORDER, expires=until)
        await asyncio.gather(*(expire_reservations(here.database, SystemClock()) for _ in range(3)))
        assert await available(here, "pump") == ("5", "0", "5")
        assert [one["reason"] for one in await here.events("released")] == ["expired"]
        assert await ship(here) == ()


async def test_what_expires_is_promised_no_more_and_its_item_is_low(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        for item in ("glue", "oil"):
            await here.item(item, "lot", reorder_point=Decimal(1))
            await here.receive(item, "5", "warehouse", "G1", expires=NOW.date() + timedelta(days=1))
        assert await reserve(here, "glue", "2") == 2
        await here.say("UPDATE item_lot SET expires = $1", NOW.date() - timedelta(days=1))
        assert await expire_reservations(here.database, SystemClock()) == 1
        assert [one["reason"] for one in await here.events("released")] == ["the lot G1 has expired"]
        assert await watch_expired_lots(here.database, datetime.now(UTC)) == 1, "of the other one nothing was reserved"
        assert await watch_expired_lots(here.database, datetime.now(UTC)) == 0
        assert [(one["item"], one["available"]) for one in await here.events("low-stock")] == [
            ("glue", "0"),
            ("oil", "0"),
        ]


async def test_a_serial_number_is_in_one_place(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("motor", "serial")
        await here.receive("motor", "2", "warehouse", "M1", "M2")
        with pytest.raises(RequestRefused, match="M1 is at warehouse already"):
            await here.receive("motor", "1", SITE, "M1")
        with pytest.raises(RequestRefused, match="name each"):
            await here.receive("motor", "2", SITE, "M3")
        await here.book(Kind.TRANSFER, "motor", "1", "warehouse", SITE, "M1")
        assert await here.at("motor", SITE) == 1


async def test_low_stock_is_said_once_and_bought_once(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("screw", reorder_point=Decimal(10), reorder_quantity=Decimal(25), supplier="Bolts")
        await here.receive("screw", "12", "warehouse")
        await here.book(Kind.ISSUE, "screw", "3", "warehouse", "@issued")
        await here.book(Kind.ISSUE, "screw", "3", "warehouse", "@issued")
        assert [(one["quantity"], one["supplier"]) for one in await here.events("reorder-proposed")] == [
            ("25", "Bolts")
        ]
        assert [one["available"] for one in await here.events("low-stock")] == ["9"]
        await here.receive("screw", "4", "warehouse")
        assert await reserve(here, "screw", "1") == 1
        assert len(await here.events("low-stock")) == 2, "it was enough meanwhile"


async def test_a_tenant_has_its_own_stock(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("screw")
        await here.receive("screw", "5", "warehouse")
        await here.say("INSERT INTO tenant (name) VALUES ('other')")
        accounts = await here.rows("SELECT count(*) AS n FROM stock_location WHERE tenant_id = 2")
        assert accounts[0]["n"] == 6
        async with unit_of_work(here.database, 2) as work:
            assert not await work.session.fetch("SELECT FROM item")
            with pytest.raises(RequestRefused, match="there is no item 'screw'"):
                await published.reserve(work, 2, "screw", Decimal(1), ORDER)
