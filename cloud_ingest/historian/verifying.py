"""An exported outbox against what is stored, sample by sample.

The exported samples go into a temporary table as they are read, and PostgreSQL compares: so the memory that this takes
does not grow with the export. The store keeps no batch number with a sample; so what is compared is what is stored of
the same tags at the same times, as often as it was exported. The ledger says whether the batches themselves arrived.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Final

from cloud_ingest.historian.ledger_book import format_multirange, parse_multirange
from cloud_ingest.historian.outbox_export import (
    COLUMNS,
    Contents,
    ExportedGap,
    ExportedRecord,
    ExportedSample,
    TagName,
    copy_rows,
)
from connectors.model.errors import DatabaseUnavailable
from connectors.model.quality import name_of
from connectors.ports.database import Database, Session
from connectors.sparkplug.delivery import format_epoch

CHUNK_ROWS: Final = 20_000
_VALUES: Final = "value_double, value_int, value_bool, value_text, value_bytes"
_EXPORTED: Final = (
    "CREATE TEMPORARY TABLE exported (tag_id integer, time timestamptz, quality integer, value_double float8, "
    "value_int bigint, value_bool boolean, value_text text, value_bytes bytea, epoch bigint, batch bigint)"
)
_DIFFERING: Final = (
    "CREATE TEMPORARY TABLE differing (tag_id integer, time timestamptz, quality integer, value_double float8, "
    "value_int bigint, value_bool boolean, value_text text, value_bytes bytea, exported bigint, stored bigint, "
    "epoch bigint, batch bigint)"
)
_STORED: Final = " UNION ALL ".join(
    f"SELECT tag_id, time, quality, {_VALUES} FROM {place}"  # noqa: S608  columns and tables of our own
    for place in (
        "places JOIN sample USING (tag_id, time)",
        "places JOIN sample_strays USING (tag_id, time)",
        "(SELECT DISTINCT tag_id, date_trunc('hour', time, 'UTC') AS hour FROM places) AS hours "
        "JOIN sample_unpacked USING (tag_id, hour) JOIN places USING (tag_id, time)",
    )
)
"""The same as the view ``sample_all``, but each part by the way that is quick for many times."""
_COMPARED: Final = (
    "WITH chosen AS MATERIALIZED (SELECT * FROM exported WHERE tag_id = ANY($1::int[])), "  # noqa: S608
    "places AS MATERIALIZED (SELECT DISTINCT tag_id, time FROM chosen WHERE tag_id > 0) "
    f"INSERT INTO differing SELECT tag_id, time, quality, {_VALUES}, sum(exported)::bigint AS exported, "
    "sum(stored)::bigint AS stored, min(epoch) AS epoch, min(batch) AS batch FROM ("
    f"    SELECT tag_id, time, quality, {_VALUES}, 1 AS exported, 0 AS stored, epoch, batch FROM chosen UNION ALL "
    f"    SELECT tag_id, time, quality, {_VALUES}, 0, 1, NULL, NULL FROM ({_STORED}) AS stored_ones"
    f") AS both_sides GROUP BY tag_id, time, quality, {_VALUES} HAVING sum(exported) <> sum(stored)"
)
COMPARED_ROWS: Final = 500_000
"""About so many exported samples are compared by one statement, which has to end in time."""
_BY_PLACE: Final = (
    "SELECT tag_id, time, sum(greatest(exported - stored, 0)) AS absent, "
    "coalesce(sum(stored - exported) FILTER (WHERE exported > 0 AND stored > exported), 0) AS doubled, "
    "coalesce(sum(stored) FILTER (WHERE exported = 0), 0) AS strange FROM differing GROUP BY tag_id, time"
)


@dataclass(slots=True)
class Verdict:
    """What the comparison has found; ``lines`` are the first differences, a sentence each."""

    contents: Contents
    missing: int = 0
    different: int = 0
    doubled: int = 0
    extra: int = 0
    missing_gaps: int = 0
    not_arrived: int = 0
    lines: list[str] = field(default_factory=list)

    @property
    def is_equal(self) -> bool:
        """Whether all of the export is stored as it is, once."""
        found = (self.missing, self.different, self.doubled, self.extra, self.missing_gaps, self.not_arrived)
        return not any(found) and not self.contents.unnamed


async def verify(
    database: Database, records: Iterable[ExportedRecord], contents: Contents, *, lines_max: int
) -> Verdict:
    """Compare ``records``, which fill ``contents`` as they are read, with what is stored.

    Raises ``DatabaseUnavailable``, and what reading ``records`` raises.
    """
    verdict = Verdict(contents)
    async with (
        database.session() as session,
        _temporary_tables(session),
    ):  # no lock is held from one statement to the next
        tags = _Tags()
        missing_gaps = _MissingGaps()
        for samples, gaps in _chunks(records):
            await tags.learn(session, {sample.tag for sample in samples})
            await session.copy("exported", COLUMNS, copy_rows((tags.ids[one.tag], one) for one in samples))
            await missing_gaps.look_for(session, gaps)
        await _compare_batches(session, verdict, lines_max)
        _tell_gaps(verdict, missing_gaps.found, lines_max)
        await _compare(session)
        await _count(session, verdict)
        await _tell(session, verdict, tags, lines_max)
    return verdict


@asynccontextmanager
async def _temporary_tables(session: Session) -> AsyncIterator[None]:
    await session.execute(_EXPORTED)
    await session.execute(_DIFFERING)
    try:
        yield
    finally:
        with suppress(DatabaseUnavailable):  # with the connection, they are gone
            await session.execute("DROP TABLE exported, differing")


async def _compare(session: Session) -> None:
    """Fill ``differing``, some tags at a time."""
    await session.execute("CREATE INDEX ON exported (tag_id)")
    await session.execute("ANALYZE exported")
    rows = await session.fetch("SELECT tag_id, count(*) AS n FROM exported GROUP BY tag_id ORDER BY tag_id")
    some: list[int] = []
    count = 0
    for number, row in enumerate(rows):
        some.append(int(row["tag_id"]))
        count += int(row["n"])
        if count >= COMPARED_ROWS or number == len(rows) - 1:
            await session.execute(_COMPARED, some)
            some, count = [], 0


class _Tags:
    """The ids of tags; those that the store does not know have negative ones."""

    def __init__(self) -> None:
        self.ids: dict[TagName, int] = {}

    async def learn(self, session: Session, names: set[TagName]) -> None:
        fresh = [name for name in names if name not in self.ids]
        if not fresh:
            return
        rows = await session.fetch(
            "SELECT place, tag_id FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY "
            "AS given (agent, device, name, place) JOIN agent ON group_name || '/' || agent.name = given.agent "
            "JOIN tag ON tag.agent_id = agent.agent_id AND tag.device = given.device AND tag.name = given.name",
            [name.agent for name in fresh],
            [name.device for name in fresh],
            [name.tag for name in fresh],
        )
        known = {int(row["place"]) - 1: int(row["tag_id"]) for row in rows}
        for place, name in enumerate(fresh):
            self.ids[name] = known.get(place, -1 - len(self.ids))

    def names(self) -> dict[int, TagName]:
        return {tag_id: name for name, tag_id in self.ids.items()}


class _MissingGaps:
    """Gap records that are not stored; bounded by what an agent declares."""

    def __init__(self) -> None:
        self.found: list[ExportedGap] = []

    async def look_for(self, session: Session, gaps: list[ExportedGap]) -> None:
        if not gaps:
            return
        rows = await session.fetch(
            "SELECT place FROM unnest($1::text[], $2::text[], $3::text[], $4::bigint[], $5::bigint[]) WITH ORDINALITY "
            "AS given (agent, device, reason, first_us, last_us, place) WHERE NOT EXISTS (SELECT FROM gap "
            "    JOIN agent USING (agent_id) WHERE group_name || '/' || agent.name = given.agent "
            "    AND gap.device = given.device AND gap.reason = given.reason "
            "    AND first_time = to_timestamp(0) + first_us * interval '1 microsecond' "
            "    AND last_time = to_timestamp(0) + last_us * interval '1 microsecond') ORDER BY place",
            [gap.agent for gap in gaps],
            [gap.device for gap in gaps],
            [gap.reason for gap in gaps],
            [gap.first_us for gap in gaps],
            [gap.last_us for gap in gaps],
        )
        self.found += [gaps[int(row["place"]) - 1] for row in rows]


def _chunks(
    records: Iterable[ExportedRecord],
) -> Iterator[tuple[list[ExportedSample], list[ExportedGap]]]:
    samples: list[ExportedSample] = []
    gaps: list[ExportedGap] = []
    for record in records:
        if isinstance(record, ExportedGap):
            gaps.append(record)
        else:
            samples.append(record)
        if len(samples) + len(gaps) >= CHUNK_ROWS:
            yield samples, gaps
            samples, gaps = [], []
    yield samples, gaps


async def _compare_batches(session: Session, verdict: Verdict, lines_max: int) -> None:
    """Whether the exported batches are in the ledger."""
    for (agent, epoch), batches in verdict.contents.batches.items():
        rows = await session.fetch(
            "SELECT ($3::text::int8multirange - arrived)::text AS absent, given_up::text AS given_up, "
            "closed::text AS closed, in_dead_letters::text AS in_dead_letters FROM ledger_state "
            "WHERE group_name || '/' || name = $1 AND epoch = $2",
            agent,
            epoch,
            format_multirange(batches),
        )
        absent = parse_multirange(rows[0]["absent"]) if rows else batches
        verdict.not_arrived += len(absent)
        for first, last in list(absent)[: max(0, lines_max - len(verdict.lines))]:
            which = f"batch {first}" if first == last else f"batches {first}-{last}"
            verdict.lines.append(f"not arrived: {which} of epoch {format_epoch(epoch)} of {agent}{_known(rows, first)}")


def _known(rows: Any, batch: int) -> str:
    """What the ledger says of a batch that did not arrive."""
    words = {
        "given_up": "given up by its agent",
        "closed": "closed by a person",
        "in_dead_letters": "in the dead letters",
    }
    said = [word for name, word in words.items() if rows and batch in parse_multirange(rows[0][name])]
    return f" ({', '.join(said)})" if said else ""


def _tell_gaps(verdict: Verdict, gaps: list[ExportedGap], lines_max: int) -> None:
    verdict.missing_gaps = len(gaps)
    for gap in gaps[: max(0, lines_max - len(verdict.lines))]:
        verdict.lines.append(
            f"missing: the gap {gap.reason} of {gap.agent} {gap.device or '(agent)'} (batch {gap.batch} of epoch "
            f"{format_epoch(gap.epoch)})"
        )


async def _count(session: Session, verdict: Verdict) -> None:
    (row,) = await session.fetch(
        "SELECT coalesce(sum(absent - least(absent, strange)), 0)::bigint AS missing, "  # noqa: S608
        "coalesce(sum(least(absent, strange)), 0)::bigint AS different, coalesce(sum(doubled), 0)::bigint AS doubled, "
        f"coalesce(sum(strange - least(absent, strange)), 0)::bigint AS extra FROM ({_BY_PLACE}) AS places"
    )
    verdict.missing, verdict.different = row["missing"], row["different"]
    verdict.doubled, verdict.extra = row["doubled"], row["extra"]


async def _tell(session: Session, verdict: Verdict, tags: _Tags, lines_max: int) -> None:
    """One line for each tag and time at which something differs, as far as there is room."""
    room = lines_max - len(verdict.lines)
    if room <= 0:
        return
    rows = await session.fetch(
        f"SELECT differing.*, absent, doubled, strange FROM ({_BY_PLACE} ORDER BY tag_id, time LIMIT $1) AS places "  # noqa: S608
        "JOIN differing USING (tag_id, time) ORDER BY tag_id, time, exported DESC",
        room,
    )
    names = tags.names()
    by_place: dict[tuple[int, Any], list[Any]] = {}
    for row in rows:
        by_place.setdefault((row["tag_id"], row["time"]), []).append(row)
    for (tag_id, when), group in by_place.items():
        name = names[tag_id]
        first = group[0]
        kind = "different" if first["absent"] and first["strange"] else "missing" if first["absent"] else (
            "doubled" if first["doubled"] else "extra")  # fmt: skip
        exported = "; ".join(f"{_value(row)} ({row['exported']}×)" for row in group if row["exported"])
        stored = "; ".join(f"{_value(row)} ({row['stored']}×)" for row in group if row["stored"])
        where = "" if first["batch"] is None else f", batch {first['batch']} of epoch {format_epoch(first['epoch'])}"
        verdict.lines.append(
            f"{kind}: {name.agent} {name.device or '(agent)'} {name.tag} at {when.isoformat()}{where}: "
            f"exported {exported or 'nothing'}, stored {stored or 'nothing'}"
        )


def _value(row: Any) -> str:
    columns = ("value_double", "value_int", "value_bool", "value_text", "value_bytes")
    value = next((row[column] for column in columns if row[column] is not None), None)
    shown = "no value" if value is None else repr(value if not isinstance(value, bytes) else value[:40])
    return f"{shown[:80]} {name_of(row['quality'])}"
