"""Who fails too often waits, others do not, and nobody can fill the memory with addresses."""

from __future__ import annotations

from cloud_ingest.commands.failure_limit import ADDRESSES_MAX, FAILURES_MAX, WITHIN_S, FailureLimit


def test_ten_failures_within_a_minute_are_enough_for_one_address_and_none_for_another() -> None:
    limit = FailureLimit()
    assert [limit.begin("a", float(second)) for second in range(FAILURES_MAX + 1)] == [True] * FAILURES_MAX + [False]
    assert limit.begin("b", 11.0)
    assert not limit.begin("a", WITHIN_S - 0.1)
    assert limit.begin("a", WITHIN_S)  # the first of them is over
    assert not limit.begin("a", WITHIN_S + 0.5)


def test_what_succeeds_does_not_count() -> None:
    limit = FailureLimit()
    for second in range(100):
        assert limit.begin("a", second / 10)
        limit.succeeded("a")
    assert all(limit.begin("a", 10.0) for _ in range(FAILURES_MAX))
    assert not limit.begin("a", 10.0)


def test_attempts_that_are_under_way_count_before_their_end() -> None:
    limit = FailureLimit()
    assert sum(limit.begin("a", 0.0) for _ in range(1000)) == FAILURES_MAX


def test_addresses_are_bounded() -> None:
    limit = FailureLimit()
    for number in range(3 * ADDRESSES_MAX):
        assert limit.begin(str(number), 0.0)
    assert len(limit._tries) == ADDRESSES_MAX
    limit.succeeded("0")  # it was forgotten
