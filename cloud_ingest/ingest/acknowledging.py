"""Acknowledgements that are due, gathered by agent, without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from cloud_ingest.ingest.pending import BatchKey
from connectors.model.delivery import SPANS_MAX, AgentName, BatchRanges, Epoch
from connectors.sparkplug.delivery import Acknowledgement


class Acknowledging:
    """Which batches may be acknowledged, and to whom.

    A batch becomes due when it is in the log, or, where the log alone is not safe enough (``projected``), when the
    historian's place has passed it. A place says nothing of records that were appended behind it: after a log has lost
    its end, offsets are given again, and the historian may stand beyond them. Such batches are never due; their agents
    send them again. What waits is bounded: a batch waits once, and agents keep a bounded window in flight.
    """

    def __init__(self) -> None:
        self._due: dict[AgentName, dict[Epoch, BatchRanges]] = {}
        self._refused: dict[AgentName, dict[Epoch, list[tuple[int, str]]]] = {}
        self._waiting: dict[int, deque[tuple[int, BatchKey]]] = {}
        self._waits: set[tuple[int, BatchKey]] = set()
        self._ends: dict[int, int] = {}
        self._beyond: dict[int, int] = {}

    @property
    def has_waiting(self) -> bool:
        """Whether batches wait for the historian."""
        return any(self._waiting.values())

    @property
    def wants_places(self) -> bool:
        """Whether it matters where the historian is."""
        return self.has_waiting or bool(self._beyond)

    @property
    def has_due(self) -> bool:
        """Whether there is something to tell an agent."""
        return bool(self._due or self._refused)

    def logged(self, key: BatchKey) -> None:
        """``key`` may be acknowledged."""
        self._due.setdefault(key.agent, {}).setdefault(key.epoch, BatchRanges()).add(key.batch)

    def wait_for_projection(self, key: BatchKey, partition: int, next_offset: int) -> None:
        """``key`` may be acknowledged when the historian's place in ``partition`` is at least ``next_offset``."""
        waits = (partition, key)
        if next_offset <= self._beyond.get(partition, 0) or waits in self._waits:
            return  # what waits is due when the first of its records is passed
        self._waits.add(waits)
        self._waiting.setdefault(partition, deque()).append((next_offset, key))

    def projected(self, places: Mapping[int, int]) -> None:
        """Where the historian is, by partition: what it has passed is due."""
        for key in self.passed(places):
            self.logged(key)

    def passed(self, places: Mapping[int, int]) -> list[BatchKey]:
        """Where the historian is, by partition: what has waited for that, and waits no longer."""
        found: list[BatchKey] = []
        for partition, place in places.items():
            if place < self._beyond.get(partition, 0):
                del self._beyond[partition]  # it was set back to the end of the log
            waiting = self._waiting.get(partition)
            while waiting and waiting[0][0] <= place:
                key = waiting.popleft()[1]
                self._waits.discard((partition, key))
                found.append(key)
        return found

    def appended(self, spans: Mapping[int, tuple[int, int]]) -> dict[int, int]:
        """An append took these offsets, by partition: the first of them, and the one after the last.

        By partition that has lost its end since the last append: where it had ended. What was appended there is gone,
        and does not wait any longer.
        """
        lost = {number: self._ends[number] for number, (first, _) in spans.items() if first < self._ends.get(number, 0)}
        for number in lost:
            waiting = self._waiting.get(number, ())
            self._waiting[number] = deque(entry for entry in waiting if entry[0] <= spans[number][0])
            self._waits -= {(number, key) for offset, key in waiting if offset > spans[number][0]}
        for number, (first, end) in spans.items():
            self._ends[number] = end
            if first >= self._beyond.get(number, 0):
                self._beyond.pop(number, None)
        return lost

    def stands_beyond(self, places: Mapping[int, int], spans: Mapping[int, tuple[int, int]]) -> None:
        """The historian was at ``places`` without having read what was appended at ``spans``."""
        for number, (first, _) in spans.items():
            if places.get(number, 0) > first:
                self._beyond[number] = places[number]

    def forget_appended(self) -> None:
        """What waits may have been lost with the log's end, which the next append would not show: it is sent again."""
        self._waiting.clear()
        self._waits.clear()

    def forget_waiting(self) -> None:
        """The log's topic was made anew: places in the old one say nothing, and the agents send again."""
        self._waiting.clear()
        self._waits.clear()
        self._ends.clear()
        self._beyond.clear()

    def refused(self, key: BatchKey, reason: str) -> None:
        """The log will never take ``key``: its agent is told."""
        self._refused.setdefault(key.agent, {}).setdefault(key.epoch, []).append((key.batch, reason))

    def take(self) -> list[tuple[AgentName, Sequence[Acknowledgement]]]:
        """What is due, in the order in which it became so, each batch once; an agent may have several messages."""
        due, refused = self._due, self._refused
        self._due, self._refused = {}, {}
        return [
            (agent, message)
            for agent in {**due, **refused}
            for message in _messages(due.get(agent, {}), refused.get(agent, {}))
        ]


def _messages(
    due: Mapping[Epoch, BatchRanges], refused: Mapping[Epoch, Sequence[tuple[int, str]]]
) -> Iterator[Sequence[Acknowledgement]]:
    """One message with all of it; several where it names more ranges than an agent reads at once."""
    parts: list[Acknowledgement] = []
    for epoch in {**due, **refused}:
        ranges, reasons = list(due.get(epoch, ())), refused.get(epoch, ())
        for at in range(0, max(len(ranges), len(reasons)), SPANS_MAX // 2):
            half = slice(at, at + SPANS_MAX // 2)
            parts.append(Acknowledgement(epoch, BatchRanges(ranges[half]), tuple(reasons[half])))
    together: list[Acknowledgement] = []
    named = 0
    for part in parts:
        size = part.batches.range_count + len(part.refused)
        if named + size > SPANS_MAX:
            yield together
            together, named = [], 0
        together.append(part)
        named += size
    yield together
