"""Samples of all devices, gathered and committed together, in one transaction with one fsync; see ``CommitTimes``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.errors import OutboxUnavailable
from connectors.model.samples import SampleBatch, concatenate
from connectors.model.tags import DefinitionHash, DeviceName
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.sparkplug.delivery import MESSAGE_OVERHEAD_BYTES_MAX
from edge_agent.acquisition.commit_times import CommitTimes
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.outbox import Commit
from edge_agent.buffer.pieces import message_bytes_max, split
from edge_agent.buffer.relief import ReliefStatus
from edge_agent.buffer.rows import Gap, Lane, NewBatch, OpenGap, StoredBatch
from edge_agent.buffer.tracing import Tracing
from edge_agent.buffer.writer import OutboxWriter
from edge_agent.observability.outbox_events import Committed, OutboxBlocked, OutboxRecovered, SamplesGivenUp

RETRY_S: Final = 1.0

GAP_TAGS_MAX: Final = 100
"""A gap of more tags than this is a gap of the device: its record stays far smaller than a message may be."""


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """Bounds of the collector; see ``OutboxSettings`` and ``UplinkSettings`` in the configuration."""

    commit_interval_s: float
    samples_pending_max: int
    pending_bytes_max: int
    payload_bytes_max: int


@dataclass(slots=True)
class _Pending:
    parts: dict[tuple[Lane, DeviceName, DefinitionHash, bool], list[SampleBatch]] = field(default_factory=dict)
    committed: list[Callable[[], None]] = field(default_factory=list)
    samples: int = 0
    behind_ns: dict[DeviceName, int] = field(default_factory=dict)
    bytes: int = 0


class Collector:
    """Gathers what is to be committed, and commits it.

    Overflow policy: ``put`` waits when ``samples_pending_max`` samples, or ``pending_bytes_max`` bytes of them (long
    texts), are not on disk yet; so a disk that stands still stops the drivers, and the devices' own queues fill.
    Nothing is dropped here.
    """

    def __init__(self, writer: OutboxWriter, feed: Feed, settings: CollectorSettings, clock: Clock) -> None:
        self._writer = writer
        self._feed = feed
        self._settings = settings
        self._clock = clock
        self._payload_bytes_max = settings.payload_bytes_max
        self._pending = _Pending()
        self._in_commit = self._bytes_in_commit = 0
        self._committing: list[Callable[[], None]] = []
        self._work = Commit()
        self._times = CommitTimes(settings.commit_interval_s, clock)
        self._room = asyncio.Event()
        self._room.set()
        self._stopping = False
        self._is_telling_owed = False
        self.tracing = Tracing()
        self.blocked_reason = ""
        self.samples_committed = 0

    @property
    def samples_pending(self) -> int:
        """Samples that were taken over and are not on disk yet."""
        return self._pending.samples + self._in_commit

    @property
    def pending_bytes(self) -> int:
        """How many bytes of messages they would be at most."""
        return self._pending.bytes + self._bytes_in_commit

    @property
    def relief(self) -> ReliefStatus:
        """How full the outbox was at the last commit."""
        return self._writer.relief

    async def put(
        self,
        device: DeviceName,
        definition: DefinitionHash,
        batch: SampleBatch,
        committed: Callable[[], None] | None,
        lane: Lane = Lane.SAMPLES,
        behind_ns: int = 0,
        *,
        is_history: bool = False,
    ) -> None:
        """Take samples (``tag`` holds aliases) for the next commit; waits while there are too many.

        ``behind_ns``, ``is_history``: see ``NewBatch``.
        """
        settings = self._settings
        while self.samples_pending >= settings.samples_pending_max or self.pending_bytes >= settings.pending_bytes_max:
            self._room.clear()
            self._times.at_once()
            await self._room.wait()
        pending = self._pending
        pending.parts.setdefault((lane, device, definition, is_history), []).append(batch)
        pending.samples += len(batch)
        pending.behind_ns[device] = max(behind_ns, pending.behind_ns.get(device, 0))
        pending.bytes += message_bytes_max(batch)
        if committed is not None:
            pending.committed.append(committed)
        self._times.samples_came(are_alarms=lane is Lane.ALARMS)

    def after_commit(self, committed: Callable[[], None]) -> None:
        """Call ``committed`` when all samples that were taken over before are on disk; at once when they are."""
        if self._pending.samples:
            self._pending.committed.append(committed)
        elif self._in_commit:
            self._committing.append(committed)
        else:
            committed()

    def open_gap(self, gap: OpenGap) -> int | None:
        """With the next commit: samples of a device are missing from now on.

        A gap that is not closed on disk yet goes on instead; returns until when it was to be declared, if it was.
        """
        ended_ns = self._work.closed_gaps.pop(gap.device, None)
        self._work.opened_gaps.append(gap)
        self._times.samples_came()
        return ended_ns

    def close_gap(self, device: DeviceName, last_ns: int) -> None:
        """With the next commit: samples of the device are there again; does nothing when no gap is open."""
        self._work.closed_gaps[device] = max(last_ns, self._work.closed_gaps.get(device) or last_ns)
        self._times.to_be_tidied()

    def drop_gap(self, device: DeviceName) -> None:
        """With the next commit: the gap of the device that is open is none, as nothing is missing any more."""
        self._work.closed_gaps.setdefault(device, None)
        self._times.to_be_tidied()

    def declare_gap(self, gap: Gap, *, apart: bool = False) -> None:
        """With the next commit: samples are missing between two times; one record a device and reason each commit.

        ``apart``: this one stands for itself, with its own tags and times.
        """
        if apart:
            self._work.declared_gaps = [*self._work.declared_gaps, gap]
            self._times.samples_came()
            return
        same = [before for before in self._work.declared_gaps if _is_like(before, gap)]
        others = [before for before in self._work.declared_gaps if not _is_like(before, gap)]
        self._work.declared_gaps = [*others, _as_one([*same, gap])]
        self._times.samples_came()

    def acknowledged(self, epoch: Epoch, first: int, last: int) -> None:
        """With the next commit: these rows are in the event log, and leave the disk."""
        self._work.acknowledged.setdefault(epoch, BatchRanges()).add(first, last)
        self._times.to_be_tidied()
        self.tracing.ended(epoch, first, last)

    def refused(self, epoch: Epoch, number: int, reason: str) -> None:
        """With the next commit: the cloud will never take this batch; it is set aside and a gap declared."""
        self._work.refused.append((epoch, number, reason))
        self._times.to_be_tidied()
        self.tracing.ended(epoch, number, number, reason)

    async def tell(self, records: Sequence[bytes]) -> None:
        """Commit records of commands now, in a transaction of their own. Raises ``OutboxUnavailable``: then none is."""
        telling = Commit(told=tuple(records), now_ns=self._clock.now_ns(), now_s=self._clock.monotonic_s())
        self._note(telling, await self._writer.commit(telling))

    async def run(self) -> None:
        """Commit until ``stop``; the last commit is made before this returns."""
        while True:
            await self._times.wait()
            self._times.begins()
            await self._commit_all()
            self._times.ends()
            if self._stopping:
                if not self._pending.samples and not self._work:
                    return
                self._times.at_once()
            elif self._pending.samples or self._work.opened_gaps or self._work.declared_gaps:
                self._times.samples_came(are_alarms=any(lane is Lane.ALARMS for lane, *_ in self._pending.parts))
            elif self._work or self._is_telling_owed:
                self._times.to_be_tidied()

    def limit_payload(self, broker_bytes_max: int) -> None:
        """The broker takes packets of at most so many bytes (0: it named no limit): batches from now on fit in."""
        configured = self._settings.payload_bytes_max
        self._payload_bytes_max = min(configured, broker_bytes_max) if broker_bytes_max else configured

    def stop(self) -> None:
        """Commit what is pending and return from ``run``."""
        self._stopping = True
        self._times.at_once()

    async def _commit_all(self) -> None:
        pending, self._pending = self._pending, _Pending()
        work, self._work = self._work, Commit()
        self._in_commit, self._bytes_in_commit, self._committing = pending.samples, pending.bytes, pending.committed
        for (lane, device, definition, is_history), parts in pending.parts.items():
            for pieces in split(_by_datatype(parts), self._payload_bytes_max - MESSAGE_OVERHEAD_BYTES_MAX):
                behind_ns = pending.behind_ns[device]
                work.batches.append(NewBatch(device, definition, pieces, lane, behind_ns, is_history))
        try:
            if work or self._is_telling_owed:
                self.samples_committed += await self._commit_until_done(work)
        finally:
            self._in_commit = self._bytes_in_commit = 0
        for committed in pending.committed:
            committed()
        self._room.set()

    async def _commit_until_done(self, work: Commit) -> int:
        """Commit ``work``, however long the disk takes none; how many samples are stored now."""
        while True:
            work.now_ns = self._clock.now_ns()
            work.now_s = started_s = self._clock.monotonic_s()
            work.given_up.clear()
            try:
                rows = await self._writer.commit(work)
            except OutboxUnavailable as exc:
                if not self.blocked_reason:
                    emit(OutboxBlocked(str(exc), self.samples_pending))
                self.blocked_reason = str(exc)
                await asyncio.sleep(RETRY_S)
                await self._delete_acknowledged(work)
                continue
            if self.blocked_reason:
                emit(OutboxRecovered())
                self.blocked_reason = ""
            stored = sum(row.sample_count for row in rows)
            emit(Committed(stored, len(rows), self._clock.monotonic_s() - started_s))
            self._note(work, rows)
            return stored

    def _note(self, work: Commit, rows: Sequence[StoredBatch]) -> None:
        """``work`` is done, and has added ``rows``."""
        for gap in work.given_up:
            emit(SamplesGivenUp(gap.device, gap.reason, gap.count or 0, gap.detail))
        self._is_telling_owed = work.is_telling_owed
        if self.tracing.is_on:
            self.tracing.committed(rows)
        self._feed.push(rows)

    async def _delete_acknowledged(self, work: Commit) -> None:
        """Delete what the cloud has in a transaction of its own: that makes room on a disk that takes nothing new."""
        acknowledged, work.acknowledged = work.acknowledged, {}
        later, self._work.acknowledged = self._work.acknowledged, {}
        for epoch, ranges in later.items():
            for first, last in ranges:
                acknowledged.setdefault(epoch, BatchRanges()).add(first, last)
        if not acknowledged:
            return
        now_ns, now_s = self._clock.now_ns(), self._clock.monotonic_s()
        deleting = Commit(acknowledged=acknowledged, now_ns=now_ns, now_s=now_s)
        try:
            self._note(deleting, await self._writer.commit(deleting))
        except OutboxUnavailable:
            work.acknowledged = acknowledged


def _is_like(one: Gap, other: Gap) -> bool:
    return (one.device, one.reason) == (other.device, other.reason)


def _as_one(gaps: Sequence[Gap]) -> Gap:
    """What gaps of one device and reason say together; too many names become "any tag"."""
    names: dict[str, None] | None = {}
    for gap in gaps:
        names = None if names is None or gap.tags is None else names | dict.fromkeys(gap.tags)
    return replace(
        gaps[-1],
        first_ns=min(gap.first_ns for gap in gaps),
        last_ns=max(gap.last_ns for gap in gaps),
        tags=None if names is None or len(names) > GAP_TAGS_MAX else tuple(names),
    )


def _by_datatype(parts: Sequence[SampleBatch]) -> list[SampleBatch]:
    """One batch a data type, each in the order in which the samples came."""
    if len(parts) == 1:
        return list(parts)
    groups: dict[int, list[SampleBatch]] = {}
    for part in parts:
        groups.setdefault(part.datatype, []).append(part)
    return [concatenate(group) for group in groups.values()]
