"""Units on one bus take turns request by request; commands of any of them go first."""

from __future__ import annotations

from connectors.modbus.breaker import Standing
from connectors.modbus.request_queue import Priority, RequestQueue
from connectors.modbus.turns import ROUNDS_PASSED_OVER_MAX, Turns


def bus(**units: list[str]) -> tuple[Turns[str], dict[str, RequestQueue[str]]]:
    turns: Turns[str] = Turns()
    queues: dict[str, RequestQueue[str]] = {name: RequestQueue() for name in units}
    for name, jobs in units.items():
        turns.add(queues[name])
        for job in jobs:
            queues[name].add(job, Priority.POLL)
    return turns, queues


def drawn(turns: Turns[str], count: int, *, busy: bool = False) -> list[str | None]:
    found = [turns.next(busy=busy) for _ in range(count)]
    return [None if turn is None else turn[1] for turn in found]


def test_a_unit_with_many_scans_has_no_more_turns_than_one_with_a_single_one() -> None:
    turns, _ = bus(press=["p1", "p2", "p3"], oven=["o1"], idle=[])
    assert drawn(turns, 8) == ["p1", "o1", "p2", "o1", "p3", "o1", "p1", "o1"]
    assert (len(turns), turns.queue_count) == (4, 3)


def test_the_queue_of_the_job_is_told() -> None:
    turns, queues = bus(press=["p1"], oven=["o1"])
    assert turns.next(busy=False) == (queues["press"], "p1")
    assert turns.next(busy=False) == (queues["oven"], "o1")


def test_commands_of_all_units_go_before_polls_and_take_turns_too() -> None:
    turns, queues = bus(press=["p1"], oven=["o1"])
    for name in ("press", "oven"):
        queues[name].add(f"write {name}", Priority.COMMAND)
    assert drawn(turns, 4) == ["write press", "write oven"] * 2
    queues["press"].remove("write press")
    queues["oven"].remove("write oven")
    assert drawn(turns, 2) == ["p1", "o1"]


def test_nothing_is_sent_while_a_command_of_any_unit_waits_for_a_busy_bus() -> None:
    turns, queues = bus(press=["p1"], oven=["o1"])
    queues["oven"].add("write", Priority.COMMAND)
    assert drawn(turns, 1, busy=True) == [None]
    assert drawn(turns, 1) == ["write"]


def test_a_queue_that_is_held_is_passed_over_and_its_commands_hold_up_nobody() -> None:
    turns, queues = bus(press=["p1"], oven=["o1"])
    queues["press"].add("write", Priority.COMMAND)
    turns.hold(queues["press"])
    assert drawn(turns, 2, busy=True) == ["o1", "o1"]
    turns.release(queues["press"])
    assert drawn(turns, 1) == ["write"]


def test_a_queue_that_was_removed_is_not_asked_any_more() -> None:
    turns, queues = bus(press=["p1"], oven=["o1"])
    turns.hold(queues["press"])
    turns.remove(queues["press"])
    turns.remove(queues["press"])
    assert drawn(turns, 2) == ["o1", "o1"]
    turns.remove(queues["oven"])
    assert drawn(turns, 1) == [None]


def test_units_that_have_not_answered_come_after_those_that_do() -> None:
    turns, queues = bus(press=["p1"], oven=["o1"], kiln=["k1"])
    turns.judge(queues["press"], Standing.SILENT)
    turns.judge(queues["oven"], Standing.NEW)
    assert turns.are_any_in_doubt
    assert drawn(turns, 2) == ["k1", "k1"]
    queues["kiln"].remove("k1")
    assert drawn(turns, 2) == ["o1", "o1"]
    queues["oven"].remove("o1")
    assert drawn(turns, 1) == ["p1"]


def test_they_have_their_turn_on_a_bus_that_is_never_idle() -> None:
    turns, queues = bus(press=["p1"], oven=["o1"], kiln=["k1"])
    turns.judge(queues["press"], Standing.SILENT)
    passed = ROUNDS_PASSED_OVER_MAX * 3
    found = drawn(turns, 2 * passed + 2)
    assert [at for at, job in enumerate(found) if job == "p1"] == [passed, 2 * passed + 1]


def test_those_that_are_not_to_be_asked_now_are_passed_over_however_long_they_wait() -> None:
    turns, queues = bus(press=["p1"], oven=["o1"], kiln=["k1"])
    turns.judge(queues["press"], Standing.SILENT)
    turns.judge(queues["oven"], Standing.NEW)
    queues["kiln"].remove("k1")
    assert turns.next(busy=False, up_to=Standing.ANSWERS) is None
    assert turns.next(busy=False, up_to=Standing.NEW) == (queues["oven"], "o1")
    queues["oven"].remove("o1")
    assert turns.next(busy=False, up_to=Standing.NEW) is None
    assert turns.next(busy=False) == (queues["press"], "p1")


def test_the_only_unit_is_asked_however_it_stands() -> None:
    turns, queues = bus(press=["p1"])
    turns.judge(queues["press"], Standing.SILENT)
    assert not turns.are_any_in_doubt
    assert turns.next(busy=False, up_to=Standing.ANSWERS) == (queues["press"], "p1")
