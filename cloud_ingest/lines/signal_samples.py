"""The samples of lines' signals, from ``lineside.samples.v1`` into the table ``line_sample``: each once.

A sample is known by its line, time and signal: one that comes again changes nothing, whichever batch it comes in. Of
two with one time and different values the same one stays, in whatever order they come. What they mean is found out by
``folding``, which hears of them by ``line_due``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.consuming import RecordsProjection
from cloud_ingest.lines.sample_columns import Source, TagSample, samples_of, source_of
from cloud_ingest.observability.line_events import LineSamplesRefused
from connectors.observability.events import emit
from connectors.ports.database import Database, Session
from connectors.ports.event_log import LogRecord, TopicSpec

NAME: Final = "lines"
CHANNEL: Final = "lineside_lines"
KEPT_DAYS: Final = 8
"""So long a line's samples are kept: what comes later than this changes nothing any more."""
LATE_NS_MAX: Final = 7 * 86_400_000_000_000
AHEAD_NS_MAX: Final = 60_000_000_000
"""A device whose clock is further ahead would keep its line in the future for ever."""
_STORE: Final = """
INSERT INTO line_sample (line_id, tenant_id, time_ns, signal_id, number, text, is_bad)
SELECT * FROM unnest(
    $1::integer[], $2::integer[], $3::bigint[], $4::integer[], $5::numeric[], $6::text[], $7::boolean[]
)
ON CONFLICT (line_id, time_ns, signal_id) DO UPDATE
SET mark = 0, number = excluded.number, text = excluded.text, is_bad = excluded.is_bad
WHERE (true, NOT excluded.is_bad, coalesce(excluded.number, 0), coalesce(excluded.text, ''))
    > (line_sample.mark = 0, NOT line_sample.is_bad, coalesce(line_sample.number, 0), coalesce(line_sample.text, ''))
RETURNING line_id, tenant_id, time_ns
"""


@dataclass(frozen=True, slots=True)
class UsedSignal:
    """A signal that a tag is."""

    signal: int
    line: int
    tenant: int


@dataclass(slots=True)
class _SignalMap:
    """Which tags are signals, by who sends them, as of ``version``."""

    version: tuple[int, ...] = ()
    tags: dict[Source, dict[str, list[UsedSignal]]] = field(default_factory=dict)

    async def refresh(self, session: Session) -> None:
        (row,) = await session.fetch(
            "SELECT coalesce(max(signal_id), 0) AS newest, count(*) FILTER (WHERE is_used) AS used, "
            "(SELECT count(*) FROM sparkplug_group) AS groups FROM line_signal"
        )
        version = (int(row["newest"]), int(row["used"]), int(row["groups"]))
        if version == self.version:
            return
        rows = await session.fetch(
            "SELECT signal_id, line_id, line_signal.tenant_id, agent, device, tag FROM line_signal "
            "JOIN sparkplug_group ON group_name = split_part(agent, '/', 1) "
            "AND sparkplug_group.tenant_id = line_signal.tenant_id WHERE is_used"
        )
        tags: defaultdict[Source, dict[str, list[UsedSignal]]] = defaultdict(dict)
        for row in rows:
            used = UsedSignal(row["signal_id"], row["line_id"], row["tenant_id"])
            tags[Source(row["agent"], row["device"])].setdefault(row["tag"], []).append(used)
        self.version, self.tags = version, dict(tags)


_Key = tuple[int, int, int]
_Order = tuple[bool, Decimal, str]


class SignalSamples:
    """What the consumer group of lines does with the records of the topic."""

    def __init__(self, topic: TopicSpec) -> None:
        self._map = _SignalMap()
        self.projection = RecordsProjection(NAME, topic, self._take)

    async def _take(self, work: UnitOfWork, partition: int, records: Sequence[LogRecord]) -> None:
        del partition
        await self._map.refresh(work.session)
        if not self._map.tags:
            return
        found: dict[_Key, tuple[UsedSignal, TagSample]] = {}
        for record in records:
            source, columns = source_of(record.value)
            wanted = self._map.tags.get(source)
            if wanted is not None:
                refused = sum([_gather(found, wanted, column, record.time_ms * 1_000_000) for column in columns])
                if refused:
                    emit(LineSamplesRefused(source.agent, source.device, refused))
        if found:
            await _store(work.session, found)


def _gather(
    found: dict[_Key, tuple[UsedSignal, TagSample]],
    wanted: Mapping[str, Sequence[UsedSignal]],
    column: memoryview,
    received_ns: int,
) -> int:
    refused = 0
    for sample in samples_of(column, wanted):
        if not received_ns - LATE_NS_MAX <= sample.time_ns <= received_ns + AHEAD_NS_MAX:
            refused += 1
            continue
        for used in wanted[sample.tag]:
            key = (used.line, sample.time_ns, used.signal)
            other = found.get(key)
            if other is None or _order(other[1]) < _order(sample):
                found[key] = (used, sample)
    return refused


def _order(sample: TagSample) -> _Order:
    """Of two samples with one time the greater one stays; as in ``_STORE``."""
    return not sample.is_bad, sample.number or Decimal(0), sample.text or ""


async def _store(session: Session, found: Mapping[_Key, tuple[UsedSignal, TagSample]]) -> None:
    used = sorted(found.values(), key=lambda one: (one[0].line, one[1].time_ns, one[0].signal))
    rows = await session.fetch(
        _STORE,
        [signal.line for signal, _ in used],
        [signal.tenant for signal, _ in used],
        [sample.time_ns for _, sample in used],
        [signal.signal for signal, _ in used],
        [sample.number for _, sample in used],
        [sample.text for _, sample in used],
        [sample.is_bad for _, sample in used],
    )
    due: dict[tuple[int, int], int] = {}
    for row in rows:
        line = (row["line_id"], row["tenant_id"])
        due[line] = min(due.get(line, row["time_ns"]), row["time_ns"])
    await make_due(session, due)


async def make_due(session: Session, due: Mapping[tuple[int, int], int]) -> None:
    """Have lines (line, tenant) folded from these times on, when the transaction has committed."""
    if not due:
        return
    await session.execute_many(
        "INSERT INTO line_due (line_id, tenant_id, time_ns) VALUES ($1, $2, $3)",
        [(*line, time_ns) for line, time_ns in sorted(due.items())],
    )
    await session.fetch("SELECT pg_notify($1, '')", CHANNEL)


async def make_due_from(session: Session, tenant: int, site: str, line: str, time_ns: int) -> None:
    """Have a line folded from ``time_ns`` on, when the transaction has committed; nothing where there is no such line.

    Who changes which work order ran says so: a fold at the same time has not seen it.
    """
    rows = await session.fetch(
        "SELECT line_id FROM production_line WHERE tenant_id = $1 AND site = $2 AND line = $3 AND NOT is_removed",
        tenant,
        site,
        line,
    )
    await make_due(session, {(row["line_id"], tenant): time_ns for row in rows})


async def has_signals(database: Database) -> bool:
    """Whether any line reads tags."""
    async with database.session() as session:
        (row,) = await session.fetch("SELECT EXISTS (SELECT FROM line_signal WHERE is_used) AS found")
    return bool(row["found"])
