"""Stock through drawn histories on the real database: whatever is asked for in whatever order, the rules hold.

A model keeps by hand what there is; where it says that something cannot be, it is refused and changes nothing.
"""

from __future__ import annotations

import asyncio
from decimal import Decimal
from itertools import count

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.inventory import published
from cloud_ingest.inventory.published import For
from cloud_ingest.inventory.rules import Kind
from tests.contract.inventory_steps import SITE, TENANT, Store, store
from tests.exploration import histories

_numbers = count(1)
PLACES = ("warehouse", SITE)
SOME = st.integers(1, 12)
WHERE = st.sampled_from(PLACES)
WHO = st.sampled_from(["SO-1", "SO-2"])


class StockMachine(RuleBasedStateMachine):
    """A component and a product made of two of it; what the ledger does not have is short until it comes."""

    def __init__(self, runner: asyncio.Runner, here: Store) -> None:
        super().__init__()
        self.runner, self.here = runner, here
        number = next(_numbers)
        self.part, self.product = f"part-{number}", f"product-{number}"
        self.work_order = f"WO-{number}"
        self.received = self.issued = self.made = self.scrapped = self.used = self.shipped = Decimal(0)
        self.reserved: dict[str, Decimal] = {}
        self.events: list[tuple[int, int, int]] = []

    @initialize()
    def begin(self) -> None:
        self.runner.run(self.here.item(self.part))
        self.runner.run(self.here.item(self.product, "lot", kind="product"))
        self.runner.run(self.here.bom(self.product, (self.part, "2")))

    def _at(self, item: str) -> dict[str, Decimal]:
        return {place: self.runner.run(self.here.at(item, place)) for place in PLACES}

    @property
    def reserved_parts(self) -> Decimal:
        return sum(self.reserved.values(), Decimal(0))

    @rule(quantity=SOME, to=WHERE)
    def receive(self, quantity: int, to: str) -> None:
        self.runner.run(self.here.receive(self.part, str(quantity), to))
        self.received += quantity

    @rule(quantity=SOME, at=WHERE)
    def issue(self, quantity: int, at: str) -> None:
        before = self._at(self.part)
        try:
            self.runner.run(self.here.book(Kind.ISSUE, self.part, str(quantity), at, "@issued"))
        except RequestRefused:
            assert before[at] < quantity + self.reserved_parts, "there was enough that nobody has reserved"
            assert self._at(self.part) == before
        else:
            self.issued += quantity

    @rule(quantity=SOME, at=WHERE)
    def move(self, quantity: int, at: str) -> None:
        before, to = self._at(self.part), PLACES[1 - PLACES.index(at)]
        try:
            self.runner.run(self.here.book(Kind.TRANSFER, self.part, str(quantity), at, to))
        except RequestRefused:
            assert self._at(self.part) == before
        else:
            assert self._at(self.part)[at] == before[at] - quantity

    @rule(quantity=SOME, who=WHO)
    def reserve(self, quantity: int, who: str) -> None:
        free = sum(self._at(self.part).values(), Decimal(0)) - self.reserved_parts

        async def do() -> Decimal:
            async with unit_of_work(self.here.database, TENANT) as work:
                return await published.reserve(
                    work, TENANT, self.part, Decimal(quantity), For("order", who + self.part)
                )

        got = self.runner.run(do())
        assert got == min(free, Decimal(quantity))
        self.reserved[who] = self.reserved.get(who, Decimal(0)) + got

    @rule(who=WHO, is_shipped=st.booleans())
    def end(self, who: str, is_shipped: bool) -> None:
        async def do() -> Decimal:
            async with unit_of_work(self.here.database, TENANT) as work:
                owner = For("order", who + self.part)
                if not is_shipped:
                    return await published.release(work, TENANT, owner)
                return sum((one.quantity for one in await published.ship_reserved(work, TENANT, owner)), Decimal(0))

        ended = self.runner.run(do())
        assert ended == self.reserved.pop(who, Decimal(0))
        self.shipped += ended if is_shipped else 0

    @rule(good=st.integers(0, 5), reject=st.integers(0, 2))
    def count(self, good: int, reject: int) -> None:
        if good or reject:
            self._count(good, reject, next(_numbers) + 1_000_000)

    @rule(which=st.integers(0, 9), is_twice=st.booleans())
    def come_again(self, which: int, is_twice: bool) -> None:
        """An event that was booked comes again; or it is taken back by another one, once."""
        if not self.events:
            return
        good, reject, number = self.events[which % len(self.events)]
        if is_twice:
            said = {"product": self.product, "work_order": self.work_order, "number": number}
            self.runner.run(self.here.counted(str(good), str(reject), **said))
        else:
            self.events.remove((good, reject, number))
            self._count(-good, -reject, next(_numbers) + 1_000_000)

    def _count(self, good: int, reject: int, number: int) -> None:
        said = {"product": self.product, "work_order": self.work_order, "number": number}
        self.runner.run(self.here.counted(str(good), str(reject), **said))
        if good > 0 or reject > 0:
            self.events.append((good, reject, number))
        self.made += good
        self.scrapped += reject
        self.used += 2 * (good + reject)

    @invariant()
    def it_balances(self) -> None:
        parts, products = self.runner.run(self.here.stock(self.part)), self.runner.run(self.here.stock(self.product))
        short = self.runner.run(
            self.here.rows("SELECT coalesce(sum(open), 0) AS open FROM stock_shortage WHERE item = $1", self.part)
        )[0]["open"]
        there = sum(self._at(self.part).values(), Decimal(0))
        assert there - short == self.received - self.issued - self.shipped - self.used
        assert short == 0 or there == self.reserved_parts, "what is free settles what is short"
        assert sum(parts.values()) == sum(products.values()) == 0
        assert sum(self._at(self.product).values(), Decimal(0)) == self.made
        assert products.get(("@scrap", self.work_order), Decimal(0)) == self.scrapped
        assert all(quantity >= 0 for (place, _), quantity in {**parts, **products}.items() if place in PLACES)
        assert self.runner.run(self.here.findings()) == []


def test_stock_balances_through_any_history(database_dsn: str) -> None:
    with asyncio.Runner() as runner:
        made = store(database_dsn, connections_max=2)
        here = runner.run(made.__aenter__())
        try:
            run_state_machine_as_test(
                lambda: StockMachine(runner, here),
                settings=settings(max_examples=histories(20), stateful_step_count=25, deadline=None),
            )
        finally:
            runner.run(made.__aexit__(None, None, None))
