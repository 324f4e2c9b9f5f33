"""What time it is in the cloud: never further from the truth than is said."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import given

from connectors.commands.reports import TimeAnswer
from edge_agent.commands.cloud_time import DRIFT, QUESTIONS_MAX, UNCERTAINTY_MS_MAX, CloudTime

CLOUD_MS = 1_795_000_000_000
ROUNDED_MS = 1.001
"""The cloud says whole milliseconds, and a double tells its times apart by a quarter of a thousandth of one."""


def answer(nonce: str, time_ms: float) -> TimeAnswer:
    return TimeAnswer(agent="plant/line", nonce=nonce, time_ms=round(time_ms), journal="a" * 32, number=0)


def test_before_an_answer_nothing_is_known() -> None:
    time = CloudTime()
    assert time.now(5.0) is None
    time.question(5.0)
    assert time.now(6.0) is None


@given(
    rounds=st.lists(
        st.tuples(st.floats(0.0, 5.0), st.floats(0.0, 5.0), st.floats(0.0, 10_000.0)), min_size=1, max_size=8
    ),
    drift=st.floats(-DRIFT, DRIFT),
)
def test_the_true_time_is_within_what_is_said_however_long_each_way_takes(
    rounds: list[tuple[float, float, float]], drift: float
) -> None:
    time, true_s = CloudTime(), 0.0

    def box_s() -> float:
        return true_s * (1 + drift)

    for there_s, back_s, pause_s in rounds:
        nonce = time.question(box_s())
        true_s += there_s
        said = answer(nonce, CLOUD_MS + true_s * 1000)
        true_s += back_s
        assert time.answered(said, box_s())
        for passed_s in (0.0, pause_s):
            true_s += passed_s
            now = time.now(box_s())
            assert now is not None
            assert abs(now.time_ms - (CLOUD_MS + true_s * 1000)) <= now.uncertainty_ms + ROUNDED_MS


def test_an_answer_counts_once_and_only_to_a_question_of_this_start() -> None:
    time = CloudTime()
    nonce = time.question(0.0)
    assert not time.answered(answer("f" * 32, CLOUD_MS), 1.0)
    assert time.now(1.0) is None
    assert time.answered(answer(nonce, CLOUD_MS), 1.0)
    assert not time.answered(answer(nonce, CLOUD_MS + 3_600_000), 1.0), "it was kept, and is played again"
    now = time.now(1.0)
    assert now is not None
    assert abs(now.time_ms - CLOUD_MS) <= 500


def test_a_slow_answer_does_not_replace_a_better_one() -> None:
    time = CloudTime()
    first, slow = time.question(0.0), time.question(0.0)
    time.answered(answer(first, CLOUD_MS), 0.01)
    before = time.now(0.01)
    assert time.answered(answer(slow, CLOUD_MS), 3.0)
    after = time.now(3.0)
    assert before is not None
    assert after is not None
    assert after.uncertainty_ms < 10


def test_it_is_unknown_when_the_way_was_too_long_or_the_answer_is_too_old() -> None:
    time = CloudTime()
    time.answered(answer(time.question(0.0), CLOUD_MS), 3.9)
    known = time.now(3.9)
    assert known is not None
    assert known.is_known
    later = time.now(3.9 + 1.2 * (UNCERTAINTY_MS_MAX - known.uncertainty_ms) / 1000 / DRIFT)
    assert later is not None
    assert not later.is_known
    other = CloudTime()
    other.answered(answer(other.question(0.0), CLOUD_MS), 4.1)
    now = other.now(4.1)
    assert now is not None
    assert not now.is_known


def test_questions_are_bounded_and_the_oldest_are_forgotten() -> None:
    time = CloudTime()
    nonces = [time.question(0.0) for _ in range(QUESTIONS_MAX + 1)]
    assert len(set(nonces)) == QUESTIONS_MAX + 1
    assert not time.answered(answer(nonces[0], CLOUD_MS), 1.0)
    assert time.answered(answer(nonces[1], CLOUD_MS), 1.0)
