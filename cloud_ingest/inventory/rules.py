"""What may become of stock: pure, without a database and without a clock.

1. What leaves one end of a movement comes to its other end: over all places, accounts included, the sum is zero.
2. No place has less than nothing, except for accounts, and for places that allow it.
3. No more is reserved than is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from enum import StrEnum
from typing import Final, Literal

STEP: Final = Decimal("0.000001")
"""The smallest quantity: what the tables keep."""
QUANTITY_MAX: Final = Decimal("999999999999")
ZERO: Final = Decimal(0)
Tracking = Literal["none", "lot", "serial"]


class Kind(StrEnum):
    """Of movements."""

    RECEIPT = "receipt"
    ISSUE = "issue"
    TRANSFER = "transfer"
    CONSUMPTION = "consumption"
    PRODUCTION = "production"
    SCRAP = "scrap"
    ADJUSTMENT = "adjustment"
    SHIPMENT = "shipment"
    RETURN = "return"


class Account(StrEnum):
    """The ends of movements that are no places."""

    SUPPLIER = "@supplier"
    CUSTOMER = "@customer"
    PRODUCTION = "@production"
    ISSUED = "@issued"
    SCRAP = "@scrap"
    ADJUSTMENT = "@adjustment"


_PLACE: Final = ""
_ENDS: Final[Mapping[Kind, frozenset[tuple[str, str]]]] = {
    Kind.RECEIPT: frozenset({(Account.SUPPLIER, _PLACE)}),
    Kind.ISSUE: frozenset({(_PLACE, Account.ISSUED)}),
    Kind.TRANSFER: frozenset({(_PLACE, _PLACE)}),
    # the second of each: a count that is taken back
    Kind.CONSUMPTION: frozenset({(_PLACE, Account.PRODUCTION), (Account.PRODUCTION, _PLACE)}),
    Kind.PRODUCTION: frozenset({(Account.PRODUCTION, _PLACE), (_PLACE, Account.PRODUCTION)}),
    Kind.SCRAP: frozenset(
        {(_PLACE, Account.SCRAP), (Account.PRODUCTION, Account.SCRAP), (Account.SCRAP, Account.PRODUCTION)}
    ),
    Kind.ADJUSTMENT: frozenset({(_PLACE, Account.ADJUSTMENT), (Account.ADJUSTMENT, _PLACE)}),
    Kind.SHIPMENT: frozenset({(_PLACE, Account.CUSTOMER)}),
    Kind.RETURN: frozenset({(Account.CUSTOMER, _PLACE), (Account.ISSUED, _PLACE), (_PLACE, Account.SUPPLIER)}),
}


def is_account(location: str) -> bool:
    """Whether it is no place."""
    return location.startswith("@")


def ends_fit(kind: Kind, source: str, target: str) -> bool:
    """Whether a movement of ``kind`` can go from ``source`` to ``target``."""
    ends = (source if is_account(source) else _PLACE, target if is_account(target) else _PLACE)
    return ends in _ENDS[kind] and source != target


def rounded(quantity: Decimal) -> Decimal:
    """To the smallest step that is kept."""
    return quantity.quantize(STEP, ROUND_HALF_UP)


def quantity_problem(quantity: Decimal, *, whole: bool = False) -> str | None:
    """Why ``quantity`` cannot be booked; ``whole``: of an item with serial numbers."""
    if not quantity.is_finite() or quantity <= 0 or quantity > QUANTITY_MAX:
        return f"a quantity is above 0 and at most {QUANTITY_MAX}"
    if quantity != rounded(quantity):
        return "a quantity has at most six places behind the point"
    if whole and quantity != quantity.to_integral_value():
        return "an item with serial numbers comes in whole pieces"
    return None


def takeable(quantity: Decimal, *, whole: bool) -> Decimal:
    """What of ``quantity`` can be taken at once: of an item with serial numbers, whole pieces."""
    return quantity.to_integral_value(ROUND_FLOOR) if whole else quantity


# --- lots ------------------------------------------------------------------------------------------------------------


class LotStatus(StrEnum):
    """Whether a lot may be used."""

    QUARANTINED = "quarantined"
    RELEASED = "released"
    BLOCKED = "blocked"


def is_usable(status: LotStatus | None, expires: date | None, today: date) -> bool:
    """Whether stock of such a lot may be reserved and consumed; ``None``: it has no lot."""
    return status in (None, LotStatus.RELEASED) and (expires is None or expires >= today)


# --- what is taken ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Bucket:
    """Stock of one item in one place, of one lot, with what of it can be taken."""

    location: str
    lot: str
    free: Decimal
    expires: date | None
    arrived: datetime


@dataclass(frozen=True, slots=True)
class Pick:
    """What is taken of a bucket."""

    location: str
    lot: str
    quantity: Decimal


def pick(buckets: Iterable[Bucket], quantity: Decimal) -> tuple[list[Pick], Decimal]:
    """What to take for ``quantity``, and what is not there: first what expires first, then what came first."""
    rest, picks = quantity, []
    ordered = sorted(buckets, key=lambda one: (one.expires or date.max, one.arrived, one.location, one.lot))
    for bucket in ordered:
        if rest <= 0:
            break
        taken = min(rest, bucket.free)
        if taken > 0:
            picks.append(Pick(bucket.location, bucket.lot, taken))
            rest -= taken
    return picks, rest


def spread(picks: Sequence[Pick], units: int) -> list[list[Pick]]:
    """``picks`` in ``units`` equal shares, in order: what is in the first unit, then in the second.

    The last one gets what rounding leaves, so that the shares are together what was taken.
    """
    total = sum((one.quantity for one in picks), ZERO)
    shares: list[list[Pick]] = []
    given = ZERO
    at, left = 0, picks[0].quantity if picks else ZERO
    for unit in range(1, units + 1):
        wanted = (total if unit == units else rounded(total * unit / units)) - given
        given += wanted
        share: list[Pick] = []
        while wanted > 0:
            if left == 0:
                at, left = at + 1, picks[at + 1].quantity
            taken = min(left, wanted)
            share.append(Pick(picks[at].location, picks[at].lot, taken))
            wanted, left = wanted - taken, left - taken
        shares.append(share)
    return shares


# --- bills of material -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BomLine:
    """A component, for one of the item: what ends in it, without scrap, and the scrap factor."""

    component: str
    quantity: Decimal
    scrap_factor: Decimal = ZERO

    @property
    def needed(self) -> Decimal:
        """What is used for one, scrap included."""
        return self.quantity * (1 + self.scrap_factor)


Boms = Mapping[str, Sequence[BomLine]]
"""By item: its lines; an item that has none is bought."""


@dataclass(frozen=True, slots=True)
class Need:
    """What is needed of an item, and the deepest level at which it is."""

    quantity: Decimal
    level: int


def exploded(boms: Boms, phantoms: frozenset[str], item: str, quantity: Decimal) -> dict[str, Need]:
    """What ``quantity`` of ``item`` needs on all levels; phantoms are passed through and not named.

    ``boms`` is without cycles (``cycle``).
    """
    needs = _needs(boms, phantoms, item, quantity, lambda _: True)
    return {name: Need(rounded(need.quantity), need.level) for name, need in sorted(needs.items())}


def consumed(boms: Boms, phantoms: frozenset[str], item: str, quantity: Decimal) -> dict[str, Decimal]:
    """What making ``quantity`` of ``item`` takes out of stock: its components, phantoms replaced by theirs."""
    needs = _needs(boms, phantoms, item, quantity, lambda component: component in phantoms)
    found = {name: rounded(need.quantity) for name, need in sorted(needs.items())}
    return {name: needed for name, needed in found.items() if needed > 0}


def _needs(
    boms: Boms, phantoms: frozenset[str], item: str, quantity: Decimal, opened: Callable[[str], bool]
) -> dict[str, Need]:
    """Each item once, after all that it is in: so the work grows with the lines, and not with the ways through them."""
    needs = {item: Need(quantity, 0)}
    for parent in _parents_first(boms, item, opened):
        need = needs[parent]
        level = need.level if parent in phantoms and parent != item else need.level + 1
        for line in boms.get(parent, ()):
            before = needs.get(line.component, Need(ZERO, 0))
            needed = before.quantity + need.quantity * line.needed
            needs[line.component] = Need(needed, max(before.level, level))
    return {name: need for name, need in needs.items() if name != item and name not in phantoms}


def _parents_first(boms: Boms, item: str, opened: Callable[[str], bool]) -> list[str]:
    """``item`` and what is ``opened`` below it, each after everything that it is a component of."""
    order: list[str] = []
    seen = {item}
    stack = [(item, iter(boms.get(item, ())))]
    while stack:
        parent, lines = stack[-1]
        for line in lines:
            if line.component not in seen and opened(line.component):
                seen.add(line.component)
                stack.append((line.component, iter(boms.get(line.component, ()))))
                break
        else:
            order.append(parent)
            stack.pop()
    return order[::-1]


def cycle(components: Mapping[str, Iterable[str]], item: str) -> tuple[str, ...] | None:
    """The way from ``item`` back to itself, when it is in itself at any level."""
    done: set[str] = set()
    stack: list[tuple[str, tuple[str, ...]]] = [(item, (item,))]
    while stack:
        at, way = stack.pop()
        for component in sorted(components.get(at, ())):
            if component == item:
                return (*way, item)
            if component not in done:
                done.add(component)
                stack.append((component, (*way, component)))
    return None


# --- what is bought, and what is counted -----------------------------------------------------------------------------


def is_low(available: Decimal, on_order: Decimal, reorder_point: Decimal | None) -> bool:
    """Whether it is to be bought: what can be promised, with what comes, is below the reorder point."""
    return reorder_point is not None and available + on_order < reorder_point


class ProposalState(StrEnum):
    """Of purchase proposals."""

    PROPOSED = "proposed"
    ORDERED = "ordered"
    RECEIVED = "received"
    DISMISSED = "dismissed"


_PROPOSALS: Final[Mapping[ProposalState, frozenset[ProposalState]]] = {
    ProposalState.PROPOSED: frozenset({ProposalState.ORDERED, ProposalState.DISMISSED}),
    ProposalState.ORDERED: frozenset({ProposalState.RECEIVED, ProposalState.DISMISSED}),
    ProposalState.RECEIVED: frozenset(),
    ProposalState.DISMISSED: frozenset(),
}


class CountState(StrEnum):
    """Of stock counts. Booking is the approval of the differences."""

    FROZEN = "frozen"
    COUNTED = "counted"
    BOOKED = "booked"
    CANCELLED = "cancelled"


_COUNTS: Final[Mapping[CountState, frozenset[CountState]]] = {
    CountState.FROZEN: frozenset({CountState.COUNTED, CountState.CANCELLED}),
    CountState.COUNTED: frozenset({CountState.COUNTED, CountState.BOOKED, CountState.CANCELLED}),
    CountState.BOOKED: frozenset(),
    CountState.CANCELLED: frozenset(),
}


def may_become_proposal(state: ProposalState, wanted: ProposalState) -> bool:
    """Whether a purchase proposal can go on so."""
    return wanted in _PROPOSALS[state]


def may_become_count(state: CountState, wanted: CountState) -> bool:
    """Whether a stock count can go on so."""
    return wanted in _COUNTS[state]
