"""What operators do about alarms: acknowledge, reset, shelve for a while (ISA-18.2, sections 10 and 11)."""

from __future__ import annotations

from typing import Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import equipment, events
from cloud_ingest.lines.alarm_book import alarm_of, move, unshelved, write_entry
from cloud_ingest.lines.alarm_rules import AlarmState, after
from cloud_ingest.lines.alarm_rules import Deed as AlarmDeed
from cloud_ingest.lines.equipment import EquipmentKey
from cloud_ingest.lines.events import LineKey
from cloud_ingest.lines.model import LineModel
from cloud_ingest.lines.stop_deeds import Deed
from connectors.ports.database import Row, Session

SHELVED_S_MAX: Final = 8 * 3600.0
"""A shift: nobody puts an alarm aside for those who come after him."""
_WORDS: Final = {"acknowledge": "acknowledged", "reset": "reset"}


async def lock_alarm(session: Session, tenant: int, alarm: str) -> tuple[Row, LineKey]:
    """An alarm with its line, which is locked. Raises ``RequestRefused`` when there is none."""
    lines = await session.fetch(
        "SELECT site, line FROM production_line WHERE line_id = "
        "(SELECT line_id FROM line_alarm WHERE tenant_id = $1 AND alarm_id = $2) FOR UPDATE",
        tenant,
        alarm,
    )
    rows = await session.fetch("SELECT * FROM line_alarm WHERE tenant_id = $1 AND alarm_id = $2", tenant, alarm)
    if not rows or not lines:
        raise RequestRefused(Why.UNKNOWN, "no_such_alarm", f"there is no alarm {alarm}; /api/v1/alarms lists them")
    return rows[0], LineKey(tenant, lines[0]["site"], lines[0]["line"])


async def act(work: UnitOfWork, deed: Deed, row: Row, key: LineKey, what: AlarmDeed, reason: str) -> None:
    """Acknowledge or reset an alarm. Raises ``RequestRefused`` when it is not in a state for that."""
    state = after(AlarmState(row["state"]), what, latches=row["latches"])
    if state is None:
        why = f"it is {row['state']}: " + (
            "only one that is latched, and whose condition has gone, is reset"
            if what == "reset"
            else "only one that nobody has taken note of is acknowledged"
        )
        raise RequestRefused(Why.CONFLICT, "not_in_this_state", why)
    column = "acknowledged_ns" if what == "acknowledge" else ""
    await move(work, key, row, state, deed.now_ns, _WORDS[what], deed.actor, column, reason)
    if what == "acknowledge":
        await work.session.execute(
            "UPDATE line_alarm SET acknowledged_by = $2 WHERE alarm_id = $1", row["alarm_id"], deed.actor
        )
        work.announce(events.alarm_event(events.ALARM_ACKNOWLEDGED, key, deed.now_ns, alarm_of(row)))


async def lock_line(session: Session, key: LineKey, code: str) -> int:
    """The number of a line that has the alarm ``code``; it is locked. Raises ``RequestRefused``."""
    model = (await equipment.part(session, key.tenant_id, EquipmentKey(key.site, "line", key.line))).model
    if not isinstance(model, LineModel) or code not in {alarm.alarm for alarm in model.alarms}:
        raise RequestRefused(Why.UNKNOWN, "no_such_alarm", f"the line {key.site}/{key.line} has no alarm {code}")
    (row,) = await session.fetch(
        "SELECT line_id FROM production_line WHERE tenant_id = $1 AND site = $2 AND line = $3 FOR UPDATE",
        key.tenant_id,
        key.site,
        key.line,
    )
    return int(row["line_id"])


async def shelve(work: UnitOfWork, deed: Deed, key: LineKey, line_id: int, code: str, for_s: float, reason: str) -> int:
    """Put an alarm aside: nobody is told of it until the time is up; until when (nanoseconds)."""
    session, until_ns = work.session, deed.now_ns + round(for_s * 1_000_000_000)
    await session.execute(
        "INSERT INTO line_alarm_shelf (line_id, tenant_id, code, until_ns, shelved_by, reason) "
        "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (line_id, code) DO UPDATE "
        "SET until_ns = excluded.until_ns, shelved_by = excluded.shelved_by, reason = excluded.reason",
        line_id,
        deed.tenant,
        code,
        until_ns,
        deed.actor,
        reason,
    )
    rows = await session.fetch(
        "UPDATE line_alarm SET is_told = false, revision = revision + 1 WHERE line_id = $1 AND code = $2 "
        "AND state <> 'cleared' RETURNING *",
        line_id,
        code,
    )
    for row in rows:
        work.announce(events.alarm_event(events.ALARM_SHELVED, key, deed.now_ns, alarm_of(row)))
    alarm = rows[0]["alarm_id"] if rows else None
    await write_entry(session, key, line_id, code, alarm, deed.now_ns, "shelved", deed.actor, reason)
    await session.execute(
        "UPDATE production_line SET wake_ns = least(wake_ns, $2) WHERE line_id = $1", line_id, until_ns
    )
    return until_ns


async def unshelve(work: UnitOfWork, deed: Deed, key: LineKey, line_id: int, code: str) -> None:
    """Take an alarm from the shelf before its time is up. Raises ``RequestRefused`` when it is not there."""
    gone = await work.session.execute("DELETE FROM line_alarm_shelf WHERE line_id = $1 AND code = $2", line_id, code)
    if not gone:
        raise RequestRefused(Why.CONFLICT, "not_shelved", f"the alarm {code} of {key.site}/{key.line} is not shelved")
    await unshelved(work, key, line_id, code, deed.now_ns, deed.actor)
    await work.session.execute("UPDATE production_line SET wake_ns = 0 WHERE line_id = $1", line_id)  # it may escalate
