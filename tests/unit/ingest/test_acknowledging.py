"""Which batches are acknowledged, when, and to whom: checked against plain sets."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from cloud_ingest.ingest.acknowledging import Acknowledging
from cloud_ingest.ingest.pending import BatchKey
from connectors.model.delivery import SPANS_MAX, AgentName, BatchRanges, Epoch
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.delivery import decode_acknowledgements, encode_acknowledgement

AGENTS = st.sampled_from([AgentName("plant", "a"), AgentName("plant", "b")])
KEY = BatchKey(AgentName("plant", "a"), Epoch(1), 7)
KEYS = st.builds(BatchKey, AGENTS, st.sampled_from([Epoch(1), Epoch(2)]), st.integers(1, 30))


def told(acknowledging: Acknowledging) -> tuple[list[BatchKey], list[tuple[BatchKey, str]]]:
    """What is due now, as single batches."""
    batches, refused = [], []
    agents = set()
    for agent, acks in acknowledging.take():
        assert agent not in agents, "an agent gets one message"
        agents.add(agent)
        assert len({ack.epoch for ack in acks}) == len(acks) > 0
        for ack in acks:
            assert ack.batches or ack.refused
            batches += [BatchKey(agent, ack.epoch, n) for first, last in ack.batches for n in range(first, last + 1)]
            refused += [(BatchKey(agent, ack.epoch, batch), reason) for batch, reason in ack.refused]
    return batches, refused


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["logged", "refused", "take"]), KEYS), max_size=60))
def test_every_batch_is_told_once_after_it_became_due(steps: list[tuple[str, BatchKey]]) -> None:
    acknowledging = Acknowledging()
    logged: set[BatchKey] = set()
    refused: list[tuple[BatchKey, str]] = []
    for step, key in [*steps, ("take", BatchKey(AgentName("x", "y"), Epoch(1), 1))]:
        if step == "logged":
            acknowledging.logged(key)
            logged.add(key)
        elif step == "refused":
            reason = f"reason {len(refused)}"
            acknowledging.refused(key, reason)
            refused.append((key, reason))
        else:
            assert acknowledging.has_due == bool(logged or refused)
            batches, nacks = told(acknowledging)
            assert sorted(batches, key=str) == sorted(logged, key=str)
            assert sorted(nacks, key=str) == sorted(refused, key=str)
            logged, refused = set(), []
    assert not acknowledging.has_due
    assert told(acknowledging) == ([], [])


def test_more_than_an_agent_reads_at_once_comes_in_several_messages() -> None:
    acknowledging = Acknowledging()
    for batch in range(SPANS_MAX + 100):
        acknowledging.logged(BatchKey(KEY.agent, KEY.epoch, 2 * batch + 1))
        acknowledging.refused(BatchKey(KEY.agent, Epoch(2), batch), "too large")
    batches: list[BatchKey] = []
    refused = 0
    for agent, acks in acknowledging.take():
        assert agent == KEY.agent
        (metric,) = pb.Payload.FromString(encode_acknowledgement(acks, 0)).metrics
        for ack in decode_acknowledgements(metric.string_value):
            batches += [BatchKey(agent, ack.epoch, number) for number, _ in ack.batches]
            refused += len(ack.refused)
    assert len(set(batches)) == len(batches) == SPANS_MAX + 100
    assert refused == SPANS_MAX + 100


@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("log"), st.integers(0, 2), KEYS),
            st.tuples(st.just("place"), st.integers(0, 2), st.integers(0, 40)),
        ),
        max_size=60,
    )
)
def test_a_batch_waits_until_the_historian_has_passed_it(steps: list[tuple[str, int, BatchKey | int]]) -> None:
    acknowledging = Acknowledging()
    offsets: defaultdict[int, int] = defaultdict(int)
    places: dict[int, int] = {}
    waiting: list[tuple[int, int, BatchKey]] = []
    for step, partition, what in steps:
        if step == "log":
            assert isinstance(what, BatchKey)
            offsets[partition] += 1
            acknowledging.wait_for_projection(what, partition, offsets[partition])
            if not any((number, key) == (partition, what) for number, _, key in waiting):
                waiting.append((partition, offsets[partition], what))  # the first of its records counts
        else:
            assert isinstance(what, int)
            places[partition] = max(places.get(partition, 0), min(what, offsets[partition]))
            acknowledging.projected(places)
        passed = [entry for entry in waiting if step == "place" and entry[1] <= places.get(entry[0], 0)]
        waiting = [entry for entry in waiting if entry not in passed]
        assert acknowledging.has_waiting == bool(waiting)
        batches, refused = told(acknowledging)
        assert set(batches) == {key for _, _, key in passed}
        assert not refused


def test_ranges_and_refusals_of_one_epoch_go_into_one_acknowledgement() -> None:
    acknowledging = Acknowledging()
    agent = AgentName("plant", "a")
    for batch in (1, 2, 3, 7):
        acknowledging.logged(BatchKey(agent, Epoch(9), batch))
    acknowledging.refused(BatchKey(agent, Epoch(9), 5), "too large")
    ((to, (ack,)),) = acknowledging.take()
    assert (to, ack.epoch, ack.refused) == (agent, 9, ((5, "too large"),))
    assert ack.batches == BatchRanges([(1, 3), (7, 7)])


def test_an_end_that_was_lost_forgets_what_waited_there_and_only_that() -> None:
    acknowledging, agent = Acknowledging(), AgentName("plant", "a")
    for offset in range(6):
        assert acknowledging.appended({0: (offset, offset + 1), 1: (offset, offset + 1)}) == {}
        for partition in (0, 1):
            acknowledging.wait_for_projection(BatchKey(agent, Epoch(1 + partition), offset), partition, offset + 1)
    assert acknowledging.appended({0: (4, 6)}) == {0: 6}
    acknowledging.projected({0: 6, 1: 6})
    assert {key.batch for key in told(acknowledging)[0] if key.epoch == 1} == {0, 1, 2, 3}
    assert not acknowledging.wants_places


def test_batches_behind_the_historian_never_wait_for_it() -> None:
    acknowledging, agent = Acknowledging(), AgentName("plant", "a")
    span = {0: (2, 6)}
    acknowledging.appended(span)
    acknowledging.stands_beyond({0: 4, 1: 9}, span)
    for offset in range(2, 6):
        acknowledging.wait_for_projection(BatchKey(agent, Epoch(1), offset), 0, offset + 1)
    acknowledging.projected({0: 6})
    assert told(acknowledging)[0] == [BatchKey(agent, Epoch(1), 4), BatchKey(agent, Epoch(1), 5)]
    assert acknowledging.wants_places, "until the log has grown past it, or the historian was set back"
    acknowledging.appended({0: (6, 7)})
    assert not acknowledging.wants_places


def test_a_batch_that_is_sent_again_while_it_waits_waits_once() -> None:
    """The historian is away for days, and agents go on sending their oldest batch."""
    acknowledging = Acknowledging()
    for offset in range(1, 1000):
        acknowledging.wait_for_projection(KEY, 0, offset)
    assert len(acknowledging._waiting[0]) == 1
    assert acknowledging.passed({0: 1}) == [KEY]
    assert not acknowledging.has_waiting
    acknowledging.wait_for_projection(KEY, 0, 1000)
    assert acknowledging.has_waiting, "the answer may have been lost: it is told again"


def test_a_batch_that_is_sent_again_after_the_log_lost_it_waits_anew() -> None:
    acknowledging = Acknowledging()
    acknowledging.appended({0: (0, 10)})
    acknowledging.wait_for_projection(KEY, 0, 10)
    assert acknowledging.appended({0: (5, 6)}) == {0: 10}
    assert not acknowledging.has_waiting
    acknowledging.wait_for_projection(KEY, 0, 6)
    assert acknowledging.passed({0: 6}) == [KEY]
