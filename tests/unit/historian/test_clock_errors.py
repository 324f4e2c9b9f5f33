"""The clock error of an agent is that of its quickest message: one that was held up says less."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.historian.clock_errors import OVER_S, ClockErrors
from cloud_ingest.historian.work import KnownAgent
from connectors.model.delivery import AgentName
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.delivery import sent_ms_of

AGENT = KnownAgent(1, 1, AgentName("plant", "line"))


@given(
    st.integers(-(10**12), 10**12),
    st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 2_000)), min_size=1, max_size=300),
)
def test_the_error_is_right_to_the_time_that_the_quickest_message_was_under_way(
    error_ms: int, messages: list[tuple[int, int]]
) -> None:
    errors, now_ms = ClockErrors(), 1_795_000_000_000
    seen: list[tuple[int, int]] = []
    for wait_ms, under_way_ms in messages:
        now_ms += wait_ms
        found = errors.note(AGENT, now_ms, now_ms - under_way_ms + error_ms)
        seen.append((now_ms // 1000, under_way_ms))
        recent = [one for second, one in seen if second > now_ms // 1000 - OVER_S]
        assert found == error_ms - min(recent)


def test_a_clock_that_is_set_back_is_noticed_within_a_minute() -> None:
    errors, now_ms = ClockErrors(), 1_795_000_000_000
    assert errors.note(AGENT, now_ms, now_ms + 3_600_000) == 3_600_000
    for _ in range(OVER_S):
        now_ms += 1000
        found = errors.note(AGENT, now_ms, now_ms - 5)
    assert found == -5


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=20))
def test_the_time_of_sending_is_the_timestamp_of_the_payload(time_ms: int, body: bytes) -> None:
    payload = pb.Payload(timestamp=time_ms)
    payload.metrics.add(name="x", bytes_value=body)
    assert sent_ms_of(payload.SerializeToString()) == time_ms
    assert sent_ms_of(pb.Payload(seq=5).SerializeToString()) is None
    assert sent_ms_of(b"") is None
