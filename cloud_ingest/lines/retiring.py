"""What goes on of a line comes to its end when it is removed: its state, stops and alarms, told as everything is.

Its counts stay. If it is described again, it goes on from there, and was offline in between.
"""

from __future__ import annotations

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.lines import events
from cloud_ingest.lines.alarm_book import BY_ITSELF, move
from cloud_ingest.lines.alarm_rules import AlarmState
from cloud_ingest.lines.events import LineKey, LineState, StateChanged
from cloud_ingest.lines.fold_rules import ended
from cloud_ingest.lines.fold_text import fold_text, read_fold
from cloud_ingest.lines.stop_book import stop_of
from connectors.ports.database import Row, Session


async def retire_line(work: UnitOfWork, row: Row, now_ns: int) -> None:
    """End what goes on of the line in ``row`` of ``production_line``, which was removed, and is locked."""
    session, line_id = work.session, row["line_id"]
    key = LineKey(row["tenant_id"], row["site"], row["line"])
    end_ns = max(now_ns, row["folded_ns"])
    await session.execute("DELETE FROM line_due WHERE line_id = $1", line_id)
    await session.execute("DELETE FROM line_alarm_shelf WHERE line_id = $1", line_id)
    await _end_states(work, key, row, end_ns)
    alarms = await session.fetch("SELECT * FROM line_alarm WHERE line_id = $1 AND state <> 'cleared'", line_id)
    for alarm in alarms:
        await move(work, key, alarm, AlarmState.CLEARED, end_ns, "removed", BY_ITSELF)
    fold = row["fold"]
    if fold:
        fold = fold_text(ended(read_fold(fold), end_ns))
        await _begin_again_at(session, row, end_ns, fold)
    await session.execute(
        "UPDATE production_line SET fold = $2, folded_ns = CASE WHEN $2 = '' THEN folded_ns ELSE $3 END, "
        "conditions = '{}', state = 'offline', reason = NULL, since_ns = $3, speed = NULL, told_speed = NULL, "
        "wake_ns = NULL WHERE line_id = $1",
        line_id,
        fold,
        end_ns,
    )


async def _end_states(work: UnitOfWork, key: LineKey, row: Row, end_ns: int) -> None:
    await work.session.execute(
        "UPDATE line_state SET end_ns = greatest(begin_ns, $2) WHERE line_id = $1 AND end_ns IS NULL",
        row["line_id"],
        end_ns,
    )
    stops = await work.session.fetch(
        "UPDATE line_stop SET end_ns = greatest(begin_ns, $2), is_told = true, revision = revision + 1 "
        "WHERE line_id = $1 AND end_ns IS NULL RETURNING *",
        row["line_id"],
        end_ns,
    )
    for stop in stops:
        work.announce(events.stop_event(events.STOP_CLOSED, key, end_ns, stop_of(stop)))
    previous = LineState(row["state"])
    if previous is not LineState.OFFLINE:
        work.announce(events.state_changed(key, StateChanged(LineState.OFFLINE, previous, None, end_ns)))


async def _begin_again_at(session: Session, row: Row, time_ns: int, fold: str) -> None:
    """Nothing before ``time_ns`` is ever folded again: whoever describes the line anew reads it by other rules."""
    await session.execute("DELETE FROM line_checkpoint WHERE line_id = $1", row["line_id"])
    await session.execute(
        "INSERT INTO line_checkpoint (line_id, tenant_id, time_ns, fold) VALUES ($1, $2, $3, $4)",
        row["line_id"],
        row["tenant_id"],
        time_ns,
        fold,
    )
