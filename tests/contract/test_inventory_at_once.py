"""What there is of several items, asked at once: the same as of each by itself, and as all that was booked says."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from itertools import count
from typing import Any, Final

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.inventory import published
from cloud_ingest.inventory.published import Availability, For
from tests.contract.inventory_steps import NOW, SITE, TENANT, Store, store
from tests.exploration import histories

_numbers = count(1)
ZERO: Final = Decimal(0)
ITEMS: Final = ("plain", "by-lot", "never-booked")
PLACES: Final = ("warehouse", SITE, "bin")
LOT_STATES: Final = ("released", "quarantined", "blocked")
PROPOSALS: Final = ("proposed", "ordered", "received", "dismissed")


@dataclass(frozen=True)
class Deed:
    """Something of the item ``item`` that changes what there is of it."""

    what: str
    item: str
    quantity: int
    place: str
    lot: str
    state: int
    expires_days: int | None


DEEDS = st.builds(
    Deed,
    st.sampled_from(["receive", "receive", "judge", "reserve", "propose"]),
    st.sampled_from(ITEMS[:2]),
    st.integers(1, 9),
    st.sampled_from(PLACES),
    st.sampled_from(["A", "B"]),
    st.integers(0, 3),
    st.sampled_from([None, -1, 0, 1]),
)


class Stock:
    """Items and a bin of their own, so that histories on one database are apart."""

    def __init__(self, here: Store) -> None:
        self.here = here
        self.number = next(_numbers)

    def name(self, kind: str) -> str:
        return kind if kind in ("warehouse", SITE) else f"{kind}-{self.number}"

    async def open(self) -> None:
        await self.here.place(self.name("bin"), SITE)
        for kind in ITEMS:
            await self.here.item(self.name(kind), "lot" if kind == "by-lot" else "none")

    async def do(self, deed: Deed) -> None:
        item, quantity = self.name(deed.item), Decimal(deed.quantity)
        match deed.what:
            case "receive" if deed.item == "by-lot":
                lot = f"{deed.lot}{next(_numbers)}"
                await self.here.receive(item, str(quantity), self.name(deed.place), lot)
                day = None if deed.expires_days is None else NOW.date() + timedelta(days=deed.expires_days)
                await self.here.say("UPDATE item_lot SET expires = $2 WHERE lot = $1", lot, day)
            case "receive":
                await self.here.receive(item, str(quantity), self.name(deed.place))
            case "judge":
                await self.here.say(
                    "UPDATE item_lot SET status = $3 WHERE item = $1 AND lot LIKE $2 || '%'",
                    item, deed.lot, LOT_STATES[deed.state % 3],
                )  # fmt: skip
            case "reserve":
                async with unit_of_work(self.here.database, TENANT) as work:
                    await published.reserve(work, TENANT, item, quantity, For("work-order", f"WO-{self.number}"))
            case _:
                await self.here.say(
                    "INSERT INTO purchase_proposal (proposal, tenant_id, item, quantity, received, state, changed_by) "
                    "VALUES ($1, $2, $3, 5, $4, $5, 'eva')",
                    f"P{next(_numbers)}", TENANT, item, quantity, PROPOSALS[deed.state],
                )  # fmt: skip

    async def by_hand(self, kind: str, at: str | None) -> Availability:
        """What the rows say, summed up one by one."""
        item = self.name(kind)
        held = await self.here.rows("SELECT * FROM stock_balance WHERE item = $1 AND location NOT LIKE '@%'", item)
        lots = {row["lot"]: row for row in await self.here.rows("SELECT * FROM item_lot WHERE item = $1", item)}
        places = {row["code"]: row for row in await self.here.rows("SELECT * FROM stock_location")}
        there = [row for row in held if at is None or at in places[row["location"]]["path"]]
        free = [
            row["on_hand"] - row["reserved"]
            for row in there
            if places[row["location"]]["is_active"] and _is_good(lots.get(row["lot"]))
        ]
        coming = await self.here.rows("SELECT * FROM purchase_proposal WHERE item = $1", item)
        on_order = [row["quantity"] - row["received"] for row in coming if row["state"] in ("proposed", "ordered")]
        return Availability(
            item,
            sum((row["on_hand"] for row in there), ZERO),
            sum((row["reserved"] for row in there), ZERO),
            max(ZERO, sum(free, ZERO)),
            sum((max(ZERO, one) for one in on_order), ZERO),
        )


def _is_good(lot: Any) -> bool:
    return lot is None or (lot["status"] == "released" and (lot["expires"] is None or lot["expires"] >= NOW.date()))


async def history(here: Store, deeds: list[Deed], *, is_closed: bool) -> None:
    stock = Stock(here)
    await stock.open()
    for deed in deeds:
        await stock.do(deed)
    if is_closed:
        await here.say("UPDATE stock_location SET is_active = false WHERE code = $1", stock.name("bin"))
    codes = [*map(stock.name, ITEMS), "unknown"]
    for at in (None, "warehouse", SITE, stock.name("bin"), "nowhere"):
        async with here.database.session(TENANT) as session:
            found = await published.availabilities(session, TENANT, codes, at)
            alone = {code: await published.availability(session, TENANT, code, at) for code in codes}
        assert found == alone
        assert found == {
            **{stock.name(kind): await stock.by_hand(kind, at) for kind in ITEMS},
            "unknown": Availability("unknown", ZERO, ZERO, ZERO, ZERO),
        }


def test_what_there_is_of_several_items_at_once_is_what_there_is_of_each(database_dsn: str) -> None:
    with asyncio.Runner() as runner:
        made = store(database_dsn, connections_max=2)
        here = runner.run(made.__aenter__())
        try:

            @settings(max_examples=histories(30))
            @given(st.lists(DEEDS, min_size=1, max_size=12), st.booleans())
            def tried(deeds: list[Deed], is_closed: bool) -> None:
                runner.run(history(here, deeds, is_closed=is_closed))

            tried()
        finally:
            runner.run(made.__aexit__(None, None, None))


async def test_of_no_items_nothing_is_asked_and_another_tenant_has_none(database_dsn: str) -> None:
    async with store(database_dsn) as here:
        await here.item("screw")
        await here.receive("screw", "5", "warehouse")
        await here.say("INSERT INTO tenant (name) VALUES ('other')")
        async with here.database.session(2) as session:
            assert await published.availabilities(session, 2, []) == {}
            found = await published.availabilities(session, TENANT, ["screw", "screw"])
        assert found == {"screw": Availability("screw", ZERO, ZERO, ZERO, ZERO)}, "row-level security, whoever is named"
