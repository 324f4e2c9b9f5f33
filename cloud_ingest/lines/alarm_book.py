"""The alarms of a line in their tables: raised and cleared by samples, told to others unless they are shelved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import events
from cloud_ingest.lines.alarm_rules import AlarmState, Condition, Turn, after, raised_next_ns, watch
from cloud_ingest.lines.events import Alarm, LineKey
from cloud_ingest.lines.fold_text import conditions_text, read_conditions
from cloud_ingest.lines.line_reading import ReadLine
from cloud_ingest.lines.line_rules import alarm_rule
from cloud_ingest.lines.model import AlarmModel
from connectors.commands.ulid import new_ulid
from connectors.ports.database import Row, Session

BY_ITSELF = "lineside"


class AlarmBook:
    """The alarms of one line, within the transaction that has locked it."""

    def __init__(self, work: UnitOfWork, read: ReadLine) -> None:
        self._work = work
        self._read = read

    async def watch(
        self, conditions: str, samples: Mapping[int, Sequence[tuple[int, Decimal]]], now_ns: int
    ) -> list[int]:
        """Take the new samples of alarms' tags and what time has done. When time alone does something next."""
        before = read_conditions(conditions)
        conditions_now: dict[str, Condition] = {}
        wakes: list[int] = []
        for model in self._read.model.alarms:
            rule = alarm_rule(model)
            seen = samples.get(self._read.signals.get(f"alarm:{model.alarm}", -1), ())
            at, turns = watch(rule, before.get(model.alarm, Condition()), seen, now_ns)
            for turn in turns:
                await self._turn(model, turn)
            conditions_now[model.alarm] = at
            if (next_ns := raised_next_ns(rule, at)) is not None:
                wakes.append(next_ns)
        await self._clear_removed(now_ns)
        if conditions_now != before:
            await self._work.session.execute(
                "UPDATE production_line SET conditions = $2 WHERE line_id = $1",
                self._read.line_id,
                conditions_text(conditions_now),
            )
        return [*wakes, *await self._time(now_ns)]

    async def _turn(self, model: AlarmModel, turn: Turn) -> None:
        row = await self._open(model.alarm)
        if turn.is_raised:
            await self._raise(model, turn.time_ns, row)
        elif row is not None:
            await self._return(row, turn.time_ns)

    async def _raise(self, model: AlarmModel, time_ns: int, row: Row | None) -> None:
        """A new alarm, or the same again: there is one of each code at a time.

        One that nobody has taken note of goes on, however often its condition comes and goes: so it is told once, and
        escalated when its time is up. One that is latched ends, and a new one begins that wants to be taken note of.
        """
        session, read = self._work.session, self._read
        if row is not None and row["state"] == AlarmState.RETURNED:
            await move(self._work, read.key, row, AlarmState.UNACKNOWLEDGED, time_ns, "raised", BY_ITSELF)
            await session.execute("UPDATE line_alarm SET returned_ns = NULL WHERE alarm_id = $1", row["alarm_id"])
        if row is not None and row["state"] != AlarmState.LATCHED:
            return
        if row is not None:
            await move(self._work, read.key, row, AlarmState.CLEARED, time_ns, "raised again", BY_ITSELF)
        shelved = await session.fetch(
            "SELECT FROM line_alarm_shelf WHERE line_id = $1 AND code = $2", read.line_id, model.alarm
        )
        alarm_id = new_ulid(time_ns // 1_000_000)
        escalate_s = model.escalate_after_s
        await session.execute(
            "INSERT INTO line_alarm (alarm_id, tenant_id, line_id, code, priority, text, state, latches, is_told, "
            "raised_ns, escalate_ns) VALUES ($1, $2, $3, $4, $5, $6, 'unacknowledged', $7, $8, $9, $10)",
            alarm_id,
            read.key.tenant_id,
            read.line_id,
            model.alarm,
            model.priority,
            model.text,
            model.latches,
            not shelved,
            time_ns,
            None if escalate_s is None else time_ns + round(escalate_s * 1_000_000_000),
        )
        if not shelved:
            told = Alarm(alarm_id, model.priority, model.text or model.alarm)
            self._work.announce(events.alarm_event(events.ALARM_RAISED, read.key, time_ns, told))
        await write_entry(session, read.key, read.line_id, model.alarm, alarm_id, time_ns, "raised", BY_ITSELF)

    async def _return(self, row: Row, time_ns: int) -> None:
        state = after(AlarmState(row["state"]), "return", latches=row["latches"])
        if state is not None:
            await move(self._work, self._read.key, row, state, time_ns, "returned", BY_ITSELF, "returned_ns")

    async def _clear_removed(self, now_ns: int) -> None:
        """An alarm that is described no more ends."""
        codes = [model.alarm for model in self._read.model.alarms]
        rows = await self._work.session.fetch(
            "SELECT * FROM line_alarm WHERE line_id = $1 AND state <> 'cleared' AND code <> ALL($2::text[])",
            self._read.line_id,
            codes,
        )
        for row in rows:
            await move(self._work, self._read.key, row, AlarmState.CLEARED, now_ns, "removed", BY_ITSELF)

    async def _open(self, code: str) -> Row | None:
        rows = await self._work.session.fetch(
            "SELECT * FROM line_alarm WHERE line_id = $1 AND code = $2 AND state <> 'cleared' FOR UPDATE",
            self._read.line_id,
            code,
        )
        return rows[0] if rows else None

    async def _time(self, now_ns: int) -> list[int]:
        """Shelves whose time is up, and alarms that nobody has acknowledged. When the next of these is."""
        session, read = self._work.session, self._read
        over = await session.fetch(
            "DELETE FROM line_alarm_shelf WHERE line_id = $1 AND until_ns <= $2 RETURNING code, until_ns",
            read.line_id,
            now_ns,
        )
        for row in over:
            await unshelved(self._work, read.key, read.line_id, row["code"], now_ns, BY_ITSELF)
        late = await session.fetch(
            "UPDATE line_alarm SET escalated_ns = $2, revision = revision + 1 WHERE line_id = $1 AND is_told "
            "AND state IN ('unacknowledged', 'returned') AND escalated_ns IS NULL AND escalate_ns <= $2 "
            "RETURNING *",
            read.line_id,
            now_ns,
        )
        for row in late:
            self._work.announce(events.alarm_event(events.ALARM_ESCALATED, read.key, now_ns, alarm_of(row)))
            await write_entry(
                session, read.key, read.line_id, row["code"], row["alarm_id"], now_ns, "escalated", BY_ITSELF
            )
        (following,) = await session.fetch(
            "SELECT least((SELECT min(until_ns) FROM line_alarm_shelf WHERE line_id = $1), "
            "(SELECT min(escalate_ns) FROM line_alarm WHERE line_id = $1 AND is_told AND escalated_ns IS NULL "
            "AND state IN ('unacknowledged', 'returned'))) AS next_ns",
            read.line_id,
        )
        return [] if following["next_ns"] is None else [following["next_ns"]]


async def move(
    work: UnitOfWork,
    key: LineKey,
    row: Row,
    state: AlarmState,
    time_ns: int,
    deed: str,
    actor: str,
    column: str = "",
    reason: str = "",
) -> None:
    """Have an alarm in ``state``, write down who did it, and tell it when it is cleared."""
    times = {name for name in (column, "cleared_ns" if state is AlarmState.CLEARED else "") if name}
    sets = "".join(f", {name} = $3" for name in sorted(times))
    await work.session.execute(
        f"UPDATE line_alarm SET state = $2, revision = revision + 1{sets} WHERE alarm_id = $1"  # noqa: S608  our own names
        + ("" if times else " AND $3::bigint IS NOT NULL"),
        row["alarm_id"],
        state,
        time_ns,
    )
    if state is AlarmState.CLEARED and row["is_told"]:
        work.announce(events.alarm_event(events.ALARM_CLEARED, key, time_ns, alarm_of(row)))
    await write_entry(work.session, key, row["line_id"], row["code"], row["alarm_id"], time_ns, deed, actor, reason)


async def unshelved(work: UnitOfWork, key: LineKey, line_id: int, code: str, now_ns: int, actor: str) -> None:
    """An alarm lies on no shelf any more: if it is active, and nobody has taken note of it, it is told now.

    From now on there is as much time as ever until it is escalated.
    """
    rows = await work.session.fetch(
        "UPDATE line_alarm SET is_told = true, revision = revision + 1, escalate_ns = CASE WHEN escalated_ns IS NULL "
        "THEN $3 + (escalate_ns - raised_ns) ELSE escalate_ns END WHERE line_id = $1 AND code = $2 "
        "AND state <> 'cleared' AND NOT is_told RETURNING *",
        line_id,
        code,
        now_ns,
    )
    for row in rows:
        work.announce(events.alarm_event(events.ALARM_UNSHELVED, key, now_ns, alarm_of(row)))
        if row["state"] == AlarmState.UNACKNOWLEDGED:
            work.announce(events.alarm_event(events.ALARM_RAISED, key, row["raised_ns"], alarm_of(row)))
    alarm_id = rows[0]["alarm_id"] if rows else None
    await write_entry(work.session, key, line_id, code, alarm_id, now_ns, "unshelved", actor)


def alarm_of(row: Row) -> Alarm:
    """The alarm in a row, as it is told."""
    return Alarm(row["alarm_id"], row["priority"], row["text"] or row["code"])


async def write_entry(
    session: Session,
    key: LineKey,
    line_id: int,
    code: str,
    alarm_id: str | None,
    time_ns: int,
    deed: str,
    actor: str,
    reason: str = "",
) -> None:
    """Write down what became of an alarm, and who did it."""
    await session.execute(
        "INSERT INTO line_alarm_entry (tenant_id, line_id, code, alarm_id, time_ns, deed, actor, reason) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        key.tenant_id,
        line_id,
        code,
        alarm_id,
        time_ns,
        deed,
        actor,
        reason,
    )
