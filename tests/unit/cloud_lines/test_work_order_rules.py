"""Which work order is next, what may be done with one, and what its quantities say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.lines.work_order_rules import (
    FOLLOWS,
    FROM,
    OVER,
    WAITING,
    Before,
    Deed,
    Standing,
    Step,
    Waiting,
    WorkOrderState,
    Write,
    divided,
    is_done,
    is_enough,
    needed_s,
    next_changes,
    next_write,
    problem,
    remaining,
    resequenced,
    surplus,
)

S = WorkOrderState
AMOUNTS = st.decimals(min_value="0", max_value="100000", places=3)
SIZES = st.decimals(min_value="0.001", max_value="1000", places=3)


@dataclass(frozen=True)
class Order:
    name: str
    state: WorkOrderState
    is_starting: bool = False


class Line:
    """A line as the book keeps it, in memory: the same rules, in the same order."""

    def __init__(self) -> None:
        self.orders: list[Order] = []

    def find(self, name: str) -> Order:
        return next(order for order in self.orders if order.name == name)

    def put(self, order: Order) -> None:
        was = self.find(order.name)
        assert order.state is was.state or order.state in FOLLOWS[was.state], f"{was.state} → {order.state}"
        self.orders = [order if one.name == order.name else one for one in self.orders]

    def settle(self) -> None:
        waiting = [Waiting(one.name, one.state, one.is_starting) for one in self.orders if one.state in WAITING]
        current = next((one for one in waiting if one.state is S.NEXT), None)
        for name, state in next_changes(current, waiting[0] if waiting else None):
            self.put(replace(self.find(name), state=state))
            assert sum(one.state is S.NEXT for one in self.orders) <= 1, "not even for a moment"

    def do(self, name: str, deed: Deed) -> None:
        order = self.find(name)
        others = [one for one in self.orders if one.name != name]
        running = next((one.name for one in others if one.state is S.RUNNING), None)
        starting = next((one.name for one in others if one.is_starting), None)
        if not problem(deed, Standing(order.state, order.is_starting, running, starting, True), "because"):
            self.put(_after(order, deed))
        self.settle()


def _after(order: Order, deed: Deed) -> Order:
    match deed:
        case Deed.START | Deed.RESUME:
            return replace(order, is_starting=True)
        case Deed.ABORT:
            return replace(order, is_starting=False)
        case _:
            states = {
                Deed.RELEASE: S.READY,
                Deed.HOLD: S.PLANNED,
                Deed.PAUSE: S.PAUSED,
                Deed.COMPLETE: S.COMPLETE,
                Deed.REOPEN: S.PAUSED,
                Deed.CLOSE: S.CLOSED,
                Deed.CANCEL: S.CANCELLED,
            }
            return replace(order, state=states[deed], is_starting=False)


ACTS = st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([*Deed, "ran", "moved first"])), max_size=60)


@given(ACTS)
def test_whatever_is_done_one_runs_at_most_and_the_first_that_is_ready_is_next(
    acts: list[tuple[str, Deed | str]],
) -> None:
    line = Line()
    line.orders = [Order(name, S.PLANNED) for name in "abcde"]
    for name, act in acts:
        order = line.find(name)
        if isinstance(act, Deed):
            line.do(name, act)
        elif act == "ran":
            if order.is_starting:
                line.put(replace(order, state=S.RUNNING, is_starting=False))
            line.settle()
        elif not any(one.is_starting for one in line.orders):
            line.orders = [order, *(one for one in line.orders if one.name != name)]
            line.settle()
        assert sum(one.state is S.RUNNING for one in line.orders) <= 1
        assert sum(one.is_starting for one in line.orders) <= 1
        waiting = [one for one in line.orders if one.state in WAITING]
        assert sum(one.state is S.NEXT for one in waiting) == min(1, len(waiting))
        if waiting and not any(one.is_starting for one in line.orders):
            assert waiting[0].state is S.NEXT


def test_nothing_follows_what_is_closed_or_cancelled() -> None:
    for state in (S.CLOSED, S.CANCELLED):
        assert not FOLLOWS[state]
        assert all(problem(deed, Standing(state)) for deed in Deed)
    assert {S.COMPLETE, S.CLOSED, S.CANCELLED} == OVER
    assert all(FROM[deed] for deed in Deed)


@pytest.mark.parametrize(
    ("deed", "standing", "why"),
    [
        (Deed.START, Standing(S.READY), "it is ready, and start is for one that is next"),
        (Deed.START, Standing(S.NEXT, running="X"), "work order X runs on the line"),
        (Deed.RESUME, Standing(S.PAUSED, starting="X"), "work order X is about to start"),
        (Deed.START, Standing(S.NEXT, is_starting=True), "its recipe is on the way"),
        (Deed.ABORT, Standing(S.NEXT), "it is not starting"),
        (Deed.COMPLETE, Standing(S.RUNNING, is_short=True), "fewer were made than were ordered"),
        (Deed.CLOSE, Standing(S.RUNNING), "it is running, and close is for one that is complete"),
    ],
)
def test_a_refusal_says_what_stands_in_the_way(deed: Deed, standing: Standing, why: str) -> None:
    assert why in problem(deed, standing)


def test_what_is_short_is_completed_with_a_reason_and_what_starts_can_be_cancelled() -> None:
    assert not problem(Deed.COMPLETE, Standing(S.RUNNING, is_short=True), "the coil was used up")
    assert problem(Deed.COMPLETE, Standing(S.RUNNING, is_short=True), "  ")
    assert not problem(Deed.CANCEL, Standing(S.NEXT, is_starting=True))


@given(st.permutations("abcd"), st.sampled_from([None, *"abcd"]))
def test_a_sequence_names_every_work_order_once_and_leaves_the_one_that_starts_in_front(
    wanted: list[str], pinned: str | None
) -> None:
    assert bool(resequenced("abcd", wanted, pinned)) == (pinned is not None and wanted[0] != pinned)
    assert "twice" in resequenced("abcd", [*wanted, wanted[0]], None)
    assert f"leaves out {wanted[-1]}" in resequenced("abcd", wanted[:-1], None)
    assert "x does not wait" in resequenced("abcd", [*wanted, "x"], None)


@given(SIZES, st.lists(st.none() | SIZES, max_size=4))
def test_jobs_add_up_to_the_quantity_and_none_is_too_large_for_a_step(
    quantity: Decimal, maxima: list[Decimal | None]
) -> None:
    known = [size for size in maxima if size is not None]
    if known and quantity / min(known) > 2000:
        return
    jobs = divided(quantity, maxima)
    assert sum(jobs) == quantity
    assert all(job > 0 for job in jobs)
    assert all(job <= size for job in jobs for size in known)


@given(AMOUNTS, SIZES)
def test_what_is_missing_and_what_is_too_much_balance(good: Decimal, quantity: Decimal) -> None:
    assert good + remaining(good, quantity) == quantity + surplus(good, quantity)
    assert not (remaining(good, quantity) and surplus(good, quantity))
    assert is_done(good, Decimal(0), quantity, None) == (remaining(good, quantity) == 0)


def test_a_step_gets_ready_by_enough_of_the_one_before_or_by_all_that_will_ever_come() -> None:
    ten = Decimal(10)
    assert is_enough(None, ten)
    assert is_enough(Before(ten, is_over=False), ten)
    assert not is_enough(Before(Decimal(9), is_over=False), ten)
    assert is_enough(Before(Decimal(9), is_over=True), ten)
    assert not is_enough(Before(Decimal(0), is_over=True), ten), "nothing will ever come"


def test_a_step_is_done_when_all_that_came_from_the_one_before_is_used_up() -> None:
    assert is_done(Decimal(8), Decimal(1), Decimal(10), Before(Decimal(9), is_over=True))
    assert not is_done(Decimal(8), Decimal(1), Decimal(10), Before(Decimal(9), is_over=False))
    assert not is_done(Decimal(7), Decimal(1), Decimal(10), Before(Decimal(9), is_over=True))


def test_the_forecast_goes_by_plan_at_first_and_then_by_what_was_made() -> None:
    planned = needed_s(Decimal(1), Decimal(101), Decimal(60), Decimal(2))
    assert planned == 200, "a hundred pieces at two seconds"
    assert needed_s(Decimal(50), Decimal(150), Decimal(200), Decimal(2)) == 400, "a hundred at four seconds, as before"
    assert needed_s(Decimal(200), Decimal(150), Decimal(200), Decimal(2)) == 0


def test_values_are_written_one_after_the_other_and_none_behind_one_that_failed() -> None:
    done, armed = Write(False, None, "succeeded"), Write(True)
    assert next_write([]) == (0, Step.DONE)
    assert next_write([done, Write(False), Write(False)]) == (1, Step.EXECUTE)
    assert next_write([done, Write(False, None, "sent"), Write(False)]) == (1, Step.WAIT)
    assert next_write([armed]) == (0, Step.ARM)
    assert next_write([replace(armed, arm="received")]) == (0, Step.WAIT)
    assert next_write([replace(armed, arm="succeeded")]) == (0, Step.EXECUTE)
    assert next_write([replace(armed, arm="succeeded", execute="succeeded")]) == (1, Step.DONE)
    for state in ("failed", "refused", "expired", "cancelled", "unknown"):
        assert next_write([replace(armed, arm=state)]) == (0, Step.FAILED)
        assert next_write([done, Write(False, None, state), Write(False)]) == (1, Step.FAILED)
    assert next_write([Write(False, refused="there is no such tag")]) == (0, Step.FAILED)
