"""The steps of the saga that are about stock and lines."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from cloud_ingest.orders.case import Case, Line
from cloud_ingest.orders.events import Told
from cloud_ingest.orders.rules import IN_QUARANTINE, IN_THE_PLANT, ZERO, State, quantity_text
from cloud_ingest.orders.scene import SAGA, Scene


async def release(at: Scene) -> bool:
    """A paid order goes into the plant: what is in stock is reserved, the rest is planned."""
    case = at.case
    if case.state is not State.PAID:
        return False
    ends: list[datetime] = []
    for line in _by_product(case):
        got = await at.world.reserve(case, line, line.outstanding, first=True)
        line.reserved += got
        line.from_stock += got
    for line in _by_product(case):
        await _produce(at, line, line.outstanding, ends)
    case.promised = None if case.missing_code else max(ends, default=at.now)
    planned = len(case.work_orders)
    made = "a work order" if planned == 1 else f"{planned} work orders"
    text = f"It is released: {made if planned else 'all of it is in stock'}"
    case.become(State.RELEASED, at.now, text, SAGA, Told.RELEASED)
    return True


async def take_stock(at: Scene) -> bool:
    """What has come into stock is reserved for the lines that wait for it."""
    case = at.case
    if case.state not in IN_THE_PLANT:
        return False
    took = False
    for line in _by_product(case):
        if line.outstanding > 0 and (got := await at.world.reserve(case, line, line.outstanding)) > 0:
            line.reserved += got
            took = True
    if took:
        case.tell(at.now, "progressed", "More of it is in stock", SAGA, Told.PROGRESSED)
    if not any(line.outstanding > 0 for line in case.lines):
        case.missing = case.missing_code = ""
    return took


async def look_for_components(at: Scene) -> bool:
    """Whether what was missing has come."""
    case = at.case
    if case.state not in IN_THE_PLANT or case.missing_code != "components_missing":
        return False
    if lacking := await at.world.lacks(case):
        case.missing = lacking
        return False
    case.missing = case.missing_code = ""
    case.tell(at.now, "components", "All components are there", SAGA, Told.PROGRESSED)
    return True


async def plan_again(at: Scene) -> bool:
    """What its work orders no longer give is planned anew: after rejects by itself, else when somebody says so."""
    case = at.case
    if case.state not in IN_THE_PLANT:
        return False
    before = len(case.work_orders)
    ends: list[datetime] = []
    waiting: list[str] = []
    for line in _by_product(case):
        short = shortfall(at, line)
        if short > 0 and (kept := min(short, await at.world.quarantined(case, line))) > 0:
            waiting.append(f"{quantity_text(kept)} of {line.product} are in quarantine")
            short -= kept
        if short > 0 and (case.replan or not _waits_for_somebody(case, line)):
            await _produce(at, line, short, ends)
    if case.missing_code in ("", IN_QUARANTINE):
        case.missing, case.missing_code = "; ".join(waiting), IN_QUARANTINE if waiting else ""
    case.replan = False
    if len(case.work_orders) == before:
        return False
    case.promised = max([*ends, *([case.promised] if case.promised else [])], default=None)
    case.tell(at.now, "planned", "What was missing is planned anew", SAGA, Told.PROGRESSED)
    return True


def shortfall(at: Scene, line: Line) -> Decimal:
    """How much of ``line`` neither is here, nor comes from a work order, nor is on its way into stock."""
    own = [one for one in at.case.work_orders if one.line == line.line and one.item == line.product and one.is_last]
    coming = sum((max(ZERO, one.quantity - one.good) for one in own if not one.is_over), ZERO)
    under_way = line.under_way
    if all(one.is_over for one in own) and (
        at.case.counted is None or at.is_over(at.case.counted, at.terms.grace_s)
    ):  # fmt: skip
        under_way = ZERO  # it should have been in stock long since: somebody else has it
    return max(ZERO, line.outstanding - coming - under_way)


async def stand(at: Scene) -> bool:
    """The state of an order in the plant is that of its goods."""
    case = at.case
    if case.state not in IN_THE_PLANT:
        return False
    if case.is_all_shipped:
        if case.state is State.PACKED:
            left = [*case.shipments_left()]
            more = {"shipment": left[-1].shipment, "carrier": left[-1].carrier, "tracking": left[-1].tracking}
            case.become(State.SHIPPED, at.now, "All of it has left", SAGA, Told.SHIPPED, **more)
            return True
        later, text, told = State.PACKED, "All of it is packed", Told.PACKED
    elif case.is_all_packed:
        later, text, told = State.PACKED, "All of it is packed", Told.PACKED
    elif case.is_begun or case.state is State.IN_PRODUCTION:  # also when what has begun was cancelled with nothing made
        later, text, told = State.IN_PRODUCTION, "It is in production", Told.IN_PRODUCTION
    else:
        later, text, told = State.RELEASED, "It waits for production", Told.RELEASED
    if later is case.state:
        return False
    case.become(later, at.now, text, SAGA, told)
    return True


async def _produce(at: Scene, line: Line, quantity: Decimal, ends: list[datetime]) -> None:
    if quantity <= 0:
        return
    planned = await at.world.produce(at.case, line, quantity)
    at.case.work_orders += planned.work_orders
    if planned.needs:
        at.case.needs = [*(one for one in at.case.needs if one.line != line.line), *planned.needs]
    if planned.missing:
        said = {*filter(None, at.case.missing.split("; ")), planned.missing}
        at.case.missing, at.case.missing_code = "; ".join(sorted(said)), planned.missing_code
    elif at.case.missing_code == "no_routing":
        at.case.missing = at.case.missing_code = ""
    if planned.end is not None:
        ends.append(planned.end)


def _waits_for_somebody(case: Case, line: Line) -> bool:
    was_cancelled = any(one.state == "cancelled" for one in case.work_orders if one.line == line.line)
    return was_cancelled or case.missing_code == "no_routing"


def _by_product(case: Case) -> list[Line]:
    """The order in which items are locked."""
    return sorted(case.lines, key=lambda line: (line.product, line.line))
