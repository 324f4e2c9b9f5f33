"""What operators say of stops: why, where one is two, and where two are one. Who did it is kept.

Each deed locks its line, so that it never meets samples that are being folded half-way.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Literal

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import equipment, events
from cloud_ingest.lines.equipment import EquipmentKey
from cloud_ingest.lines.events import LineKey, StopKind
from cloud_ingest.lines.model import ReasonModel
from cloud_ingest.lines.stop_book import stop_of
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

_FACTS = ("begin_ns", "end_ns", "reason", "kind", "note")


@dataclass(frozen=True, slots=True)
class Deed:
    """Who does it, and when."""

    tenant: int
    actor: str
    now_ns: int


async def lock_stop(session: Session, tenant: int, stop: str) -> tuple[Row, LineKey]:
    """A stop with its line, which is locked. Raises ``RequestRefused`` when there is none."""
    lines = await session.fetch(
        "SELECT line.line_id, site, line FROM production_line AS line WHERE line_id = "
        "(SELECT line_id FROM line_stop WHERE tenant_id = $1 AND stop_id = $2) FOR UPDATE",
        tenant,
        stop,
    )
    rows = await session.fetch("SELECT * FROM line_stop WHERE tenant_id = $1 AND stop_id = $2", tenant, stop)
    if not rows or not lines:
        why = f"there is no stop {stop}: it was merged into another, or data that came late shows that there was none"
        raise RequestRefused(Why.UNKNOWN, "no_such_stop", why)
    return rows[0], LineKey(tenant, lines[0]["site"], lines[0]["line"])


async def classify(work: UnitOfWork, deed: Deed, row: Row, key: LineKey, reason: str | None, note: str | None) -> None:
    """Say why the line stood; with no reason, what the states say holds again. Raises ``RequestRefused``."""
    kind: str = row["found_kind"]
    by, given = "", row["found_reason"]
    if reason is not None:
        found = await equipment.part(work.session, deed.tenant, EquipmentKey(key.site, "reason", reason))
        if isinstance(found.model, ReasonModel) and row["kind"] != StopKind.MICRO:
            kind = found.model.stop_kind.value
        by, given = deed.actor, reason
    changed = await work.session.fetch(
        "UPDATE line_stop SET reason = $2, kind = $3, note = coalesce($4, note), classified_by = $5, "
        "revision = revision + 1 WHERE stop_id = $1 RETURNING *",
        row["stop_id"],
        given,
        kind,
        note,
        by,
    )
    work.announce(events.stop_event(events.STOP_CLASSIFIED, key, deed.now_ns, stop_of(changed[0])))
    await _write_entry(work.session, deed, "classify", row, changed[0])


async def split(work: UnitOfWork, deed: Deed, row: Row, key: LineKey, at_ns: int) -> str:
    """Divide a stop; the id of its later part, which has the same reason. Raises ``RequestRefused``."""
    end_ns = deed.now_ns if row["end_ns"] is None else row["end_ns"]
    if not row["begin_ns"] < at_ns < end_ns:
        raise RequestRefused(Why.INVALID, "not_within_stop", "a stop is divided at a time within it; look when it was")
    if row["kind"] == StopKind.MICRO:
        raise RequestRefused(Why.CONFLICT, "is_micro", "a micro-stop is a loss of speed: there is nothing to divide")
    session, later = work.session, new_ulid(at_ns // 1_000_000)
    await session.execute(
        "INSERT INTO line_stop_edit (line_id, tenant_id, time_ns, is_cut) VALUES ($1, $2, $3, true) "
        "ON CONFLICT (line_id, time_ns) DO UPDATE SET is_cut = true",
        row["line_id"],
        deed.tenant,
        at_ns,
    )
    made = await session.fetch(
        "INSERT INTO line_stop (stop_id, tenant_id, line_id, begin_ns, end_ns, state, found_reason, found_kind, "
        "reason, kind, note, classified_by, is_told) "
        "SELECT $2, tenant_id, line_id, $3, end_ns, state, found_reason, found_kind, "
        "reason, kind, note, classified_by, true FROM line_stop WHERE stop_id = $1 RETURNING *",
        row["stop_id"],
        later,
        at_ns,
    )
    changed = await session.fetch(
        "UPDATE line_stop SET end_ns = $2, is_told = true, revision = revision + 1 WHERE stop_id = $1 RETURNING *",
        row["stop_id"],
        at_ns,
    )
    work.announce(events.stop_event(events.STOP_CLOSED, key, deed.now_ns, stop_of(changed[0])))
    work.announce(events.stop_event(events.STOP_OPENED, key, deed.now_ns, stop_of(made[0])))
    if made[0]["end_ns"] is not None:
        work.announce(events.stop_event(events.STOP_CLOSED, key, deed.now_ns, stop_of(made[0])))
    await _write_entry(session, deed, "split", row, changed[0])
    await _write_entry(session, deed, "split", made[0], made[0])
    return later


async def merge(work: UnitOfWork, deed: Deed, row: Row, key: LineKey) -> None:
    """Join a stop with the one that follows it at once; what was said of the first one holds for both.

    Raises ``RequestRefused`` when none follows without production in between.
    """
    session = work.session
    following = await session.fetch(
        "SELECT * FROM line_stop WHERE line_id = $1 AND begin_ns = $2 AND stop_id <> $3",
        row["line_id"],
        row["end_ns"],
        row["stop_id"],
    )
    if not following:
        why = "no stop follows it at once: what lies between two stops is production, and cannot be joined to them"
        raise RequestRefused(Why.CONFLICT, "nothing_follows", why)
    later = following[0]
    undone = await session.execute(
        "DELETE FROM line_stop_edit WHERE line_id = $1 AND time_ns = $2 AND is_cut", row["line_id"], later["begin_ns"]
    )
    if not undone:
        await session.execute(
            "INSERT INTO line_stop_edit (line_id, tenant_id, time_ns, is_cut) VALUES ($1, $2, $3, false) "
            "ON CONFLICT (line_id, time_ns) DO NOTHING",
            row["line_id"],
            deed.tenant,
            later["begin_ns"],
        )
    await session.execute("DELETE FROM line_stop WHERE stop_id = $1", later["stop_id"])
    changed = await session.fetch(
        "UPDATE line_stop SET end_ns = $2, is_told = true, revision = revision + 1 WHERE stop_id = $1 RETURNING *",
        row["stop_id"],
        later["end_ns"],
    )
    work.announce(events.stop_event(events.STOP_WITHDRAWN, key, deed.now_ns, stop_of(later)))
    work.announce(events.stop_event(events.STOP_OPENED, key, deed.now_ns, stop_of(changed[0])))
    if changed[0]["end_ns"] is not None:
        work.announce(events.stop_event(events.STOP_CLOSED, key, deed.now_ns, stop_of(changed[0])))
    await _write_entry(session, deed, "merge", row, changed[0])


async def _write_entry(
    session: Session, deed: Deed, what: Literal["classify", "split", "merge"], before: Row, after: Row
) -> None:
    await session.execute(
        "INSERT INTO line_stop_entry (tenant_id, stop_id, time_ns, actor, deed, before, after) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7)",
        deed.tenant,
        after["stop_id"],
        deed.now_ns,
        deed.actor,
        what,
        _facts(before),
        _facts(after),
    )


def _facts(row: Row) -> str:
    facts: dict[str, Any] = {name: row[name] for name in _FACTS}
    return json.dumps(facts)
