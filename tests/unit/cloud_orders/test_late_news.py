"""What an order is told late, or of what came to nothing: it stays where it has come to."""

from __future__ import annotations

from decimal import Decimal

from cloud_ingest.orders import facts
from cloud_ingest.orders.case import Case
from cloud_ingest.orders.rules import ZERO, State
from tests.unit.cloud_orders.played_plant import PlayedPlant, order_line


def released() -> tuple[PlayedPlant, Case, str]:
    """An order of one piece that is to be made: its work order."""
    plant = PlayedPlant(free={"valve": ZERO})
    case = plant.order(order_line(1, "valve", 1))
    plant.settle(case)
    facts.payment_captured(case, plant.now, "pay", case.total)
    plant.settle(case)
    (made,) = plant.made
    return plant, case, made


def test_a_work_order_that_is_cancelled_while_it_runs_before_anything_was_counted_waits_for_a_planner() -> None:
    plant, case, made = released()
    for state in ("running", "cancelled"):
        facts.work_order_changed(case, plant.now, made, state, good=ZERO, reject=ZERO)
        plant.settle(case)
    assert (case.state, case.problem) == (State.IN_PRODUCTION, "production_short")
    facts.retry(case, plant.now, "anna")
    plant.settle(case)
    assert (case.problem, len(case.work_orders)) == ("", 2)


def test_a_work_order_that_has_begun_is_never_as_if_it_had_not() -> None:
    plant, case, made = released()
    for state in ("running", "planned", "ready", "next"):
        facts.work_order_changed(case, plant.now, made, state, good=ZERO, reject=ZERO)
        plant.settle(case)
        assert (case.state, case.work_orders[0].state) == (State.IN_PRODUCTION, "running")
    facts.work_order_changed(case, plant.now, made, "paused", good=Decimal(0), reject=Decimal(1))
    assert case.work_orders[0].state == "paused"
