"""The rules of stock: what is taken first, what is needed, what is never in itself; quantities always balance."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.inventory.events import quantity_text
from cloud_ingest.inventory.rules import (
    Account,
    BomLine,
    Bucket,
    CountState,
    Kind,
    LotStatus,
    Pick,
    ProposalState,
    consumed,
    cycle,
    ends_fit,
    exploded,
    is_low,
    is_usable,
    may_become_count,
    may_become_proposal,
    pick,
    quantity_problem,
    rounded,
    spread,
    takeable,
)

NOW = datetime(2026, 11, 1, tzinfo=UTC)
QUANTITIES = st.decimals(Decimal("0.000001"), Decimal(1000), places=6)
BUCKETS = st.lists(
    st.builds(
        Bucket,
        st.sampled_from(["A", "B", "C"]),
        st.text("XYZ", min_size=1, max_size=3),
        st.decimals(0, 500, places=3),
        st.one_of(st.none(), st.dates(date(2026, 1, 1), date(2027, 1, 1))),
        st.integers(0, 50).map(lambda days: NOW - timedelta(days=days)),
    ),
    max_size=12,
)
ITEMS = [f"I{number}" for number in range(8)]
FACTORS = st.sampled_from([Decimal(0), Decimal("0.02"), Decimal("0.5")])


@st.composite
def boms_without_cycles(draw: st.DrawFn) -> dict[str, list[BomLine]]:
    """Each item has components of those behind it alone."""
    boms: dict[str, list[BomLine]] = {}
    for place, item in enumerate(ITEMS[:-1]):
        components = draw(st.lists(st.sampled_from(ITEMS[place + 1 :]), unique=True, max_size=3))
        lines = [BomLine(one, Decimal(draw(st.integers(1, 5))), draw(FACTORS)) for one in components]
        if lines:
            boms[item] = lines
    return boms


@given(BUCKETS, QUANTITIES)
def test_what_is_picked_and_what_is_short_is_what_was_wanted_and_never_more_than_is_free(
    buckets: list[Bucket], quantity: Decimal
) -> None:
    picks, short = pick(buckets, quantity)
    assert sum((one.quantity for one in picks), Decimal(0)) + short == quantity
    assert all(one.quantity > 0 for one in picks)
    assert short >= 0
    assert short == 0 or sum((one.quantity for one in picks), Decimal(0)) == sum(
        (one.free for one in buckets), Decimal(0)
    )


@given(BUCKETS, QUANTITIES)
def test_what_expires_first_is_taken_first_and_then_what_came_first(buckets: list[Bucket], quantity: Decimal) -> None:
    distinct = [
        Bucket(one.location, f"{one.lot}{n}", one.free, one.expires, one.arrived) for n, one in enumerate(buckets)
    ]
    taken = {one.lot: one.quantity for one in pick(distinct, quantity)[0]}
    for left in distinct:
        if taken.get(left.lot, Decimal(0)) < left.free:
            rank = (left.expires or date.max, left.arrived)
            assert all((one.expires or date.max, one.arrived) <= rank for one in distinct if one.lot in taken)


@given(st.lists(QUANTITIES, min_size=1, max_size=6), st.integers(1, 40))
def test_shares_are_together_what_was_taken_and_in_its_order(quantities: list[Decimal], units: int) -> None:
    picks = [Pick("A", str(number), quantity) for number, quantity in enumerate(quantities)]
    shares = spread(picks, units)
    assert len(shares) == units
    for one in picks:
        assert (
            sum((part.quantity for share in shares for part in share if part.lot == one.lot), Decimal(0))
            == one.quantity
        )
    lots = [int(part.lot) for share in shares for part in share]
    assert lots == sorted(lots)
    sums = [sum((part.quantity for part in share), Decimal(0)) for share in shares]
    assert max(sums) - min(sums) <= Decimal("0.000002") * units


@given(boms_without_cycles(), st.integers(1, 1000))
def test_an_explosion_is_the_sum_over_all_ways_down(boms: dict[str, list[BomLine]], quantity: int) -> None:
    def by_hand(item: str, wanted: Decimal, found: dict[str, Decimal]) -> dict[str, Decimal]:
        for line in boms.get(item, []):
            needed = wanted * line.quantity * (1 + line.scrap_factor)
            found[line.component] = found.get(line.component, Decimal(0)) + needed
            by_hand(line.component, needed, found)
        return found

    found = exploded(boms, frozenset(), "I0", Decimal(quantity))
    expected = by_hand("I0", Decimal(quantity), {})
    assert {name: need.quantity for name, need in found.items()} == {
        name: rounded(one) for name, one in expected.items()
    }


@given(boms_without_cycles(), st.sets(st.sampled_from(ITEMS[1:])), st.integers(1, 100))
def test_phantoms_are_never_consumed_and_what_is_in_them_is(
    boms: dict[str, list[BomLine]], phantoms: set[str], quantity: int
) -> None:
    hidden = frozenset(phantoms)
    found = consumed(boms, hidden, "I0", Decimal(quantity))
    assert not hidden & found.keys()
    direct = {line.component for line in boms.get("I0", [])} - hidden
    assert direct <= found.keys()
    assert consumed(boms, frozenset(), "I0", Decimal(quantity)).keys() == {one.component for one in boms.get("I0", [])}


@given(boms_without_cycles(), st.integers(0, 7), st.integers(0, 7))
def test_a_component_that_would_put_an_item_into_itself_is_found(
    boms: dict[str, list[BomLine]], item: int, component: int
) -> None:
    below = {name: {line.component for line in lines} for name, lines in boms.items()}
    assert all(cycle(below, name) is None for name in ITEMS)

    def reaches(start: str, goal: str) -> bool:
        return start == goal or any(reaches(one, goal) for one in below.get(start, set()))

    would_be = reaches(ITEMS[component], ITEMS[item])
    below.setdefault(ITEMS[item], set()).add(ITEMS[component])
    way = cycle(below, ITEMS[item])
    assert (way is not None) == would_be
    if way is not None:
        assert way[0] == way[-1] == ITEMS[item]
        assert all(after in below[before] for before, after in itertools.pairwise(way))


def test_a_wide_bill_of_material_is_exploded_in_the_time_of_its_lines() -> None:
    """Thirty levels of two components that are in each other twice: a thousand million ways down."""
    boms = {f"L{n}{side}": [BomLine(f"L{n + 1}a", Decimal(1)), BomLine(f"L{n + 1}b", Decimal(1))]
            for n in range(30) for side in "ab"}  # fmt: skip
    assert exploded(boms, frozenset(), "L0a", Decimal(1))["L30a"].quantity == 2**29


@pytest.mark.parametrize("kind", list(Kind))
def test_each_kind_of_movement_has_its_ends_and_no_others(kind: Kind) -> None:
    ends = ["warehouse", "bin", *Account]
    fitting = {(source, target) for source in ends for target in ends if ends_fit(kind, source, target)}
    assert fitting
    assert all(source != target for source, target in fitting)
    assert ends_fit(kind, "warehouse", "bin") == (kind is Kind.TRANSFER)


def test_quantities_are_positive_and_of_six_places_and_serial_numbers_whole() -> None:
    for wrong in ("0", "-1", "NaN", "Infinity", "1.0000001", "9999999999999"):
        assert quantity_problem(Decimal(wrong)) is not None
    assert quantity_problem(Decimal("1.5")) is None
    assert quantity_problem(Decimal("1.5"), whole=True) is not None
    assert (takeable(Decimal("2.9"), whole=True), takeable(Decimal("2.9"), whole=False)) == (2, Decimal("2.9"))
    assert [quantity_text(Decimal(one)) for one in ("10.500000", "100", "0.000000", "-3.10", "1E+3")] == [
        "10.5", "100", "0", "-3.1", "1000",
    ]  # fmt: skip


def test_lots_that_are_blocked_quarantined_or_expired_are_not_used() -> None:
    today = date(2026, 11, 1)
    assert is_usable(None, None, today)
    assert is_usable(LotStatus.RELEASED, today, today), "on its last day"
    assert not is_usable(LotStatus.RELEASED, today - timedelta(days=1), today)
    assert not is_usable(LotStatus.QUARANTINED, None, today)
    assert not is_usable(LotStatus.BLOCKED, None, today)


def test_what_is_ordered_already_is_not_bought_again() -> None:
    assert not is_low(Decimal(0), Decimal(0), None)
    assert is_low(Decimal(9), Decimal(0), Decimal(10))
    assert not is_low(Decimal(10), Decimal(0), Decimal(10))
    assert not is_low(Decimal(3), Decimal(7), Decimal(10))


def test_proposals_and_counts_go_forward_only() -> None:
    assert {(a, b) for a in ProposalState for b in ProposalState if may_become_proposal(a, b)} == {
        (ProposalState.PROPOSED, ProposalState.ORDERED),
        (ProposalState.PROPOSED, ProposalState.DISMISSED),
        (ProposalState.ORDERED, ProposalState.RECEIVED),
        (ProposalState.ORDERED, ProposalState.DISMISSED),
    }
    ended = (CountState.BOOKED, CountState.CANCELLED)
    assert not any(may_become_count(state, other) for state in ended for other in CountState)
    assert not may_become_count(CountState.FROZEN, CountState.BOOKED)
