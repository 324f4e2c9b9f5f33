"""The more urgent request goes first, equals take turns."""

from __future__ import annotations

from connectors.modbus.request_queue import PROBE_WAIT_REQUESTS_MAX, Priority, RequestQueue


def drawn(queue: RequestQueue[str], count: int) -> list[str | None]:
    return [queue.next() for _ in range(count)]


def test_an_empty_queue_has_no_next() -> None:
    assert RequestQueue[str]().next() is None


def test_jobs_of_one_priority_take_turns() -> None:
    queue: RequestQueue[str] = RequestQueue()
    for job in ("fast", "slow", "slower"):
        queue.add(job, Priority.POLL)
    assert drawn(queue, 6) == ["fast", "slow", "slower"] * 2


def test_a_command_goes_before_the_rest_of_a_scan_and_a_probe_after_all_scans() -> None:
    queue: RequestQueue[str] = RequestQueue()
    queue.add("probe", Priority.PROBE)
    queue.add("scan", Priority.POLL)
    assert drawn(queue, 2) == ["scan", "scan"]
    queue.add("write", Priority.COMMAND)
    assert drawn(queue, 2) == ["write", "write"]
    queue.remove("write")
    assert drawn(queue, 1) == ["scan"]
    queue.remove("scan")
    assert drawn(queue, 1) == ["probe"]


def test_a_probe_is_not_passed_over_for_ever() -> None:
    queue: RequestQueue[str] = RequestQueue()
    queue.add("scan", Priority.POLL)
    queue.add("probe", Priority.PROBE)
    turn = ["scan"] * PROBE_WAIT_REQUESTS_MAX + ["probe"]
    assert drawn(queue, 2 * len(turn)) == turn * 2


def test_a_job_that_is_not_there_can_be_removed_and_all_can_be_cleared() -> None:
    queue: RequestQueue[str] = RequestQueue()
    queue.add("scan", Priority.POLL)
    queue.add("probe", Priority.PROBE)
    queue.remove("other")
    assert len(queue) == 2
    queue.clear()
    assert (len(queue), queue.next()) == (0, None)


def test_nothing_is_sent_while_a_command_waits_for_a_busy_connection() -> None:
    queue: RequestQueue[str] = RequestQueue()
    queue.add("scan", Priority.POLL)
    queue.add("probe", Priority.PROBE)
    assert queue.next(busy=True) == "scan"
    queue.add("write", Priority.COMMAND)
    assert queue.next(busy=True) is None
    assert queue.next() == "write"
    queue.remove("write")
    assert queue.next(busy=True) == "scan"
