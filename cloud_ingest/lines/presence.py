"""Devices that were lost, and came back, as the historian has them: marks among the samples of lines.

A mark is taken like a sample, at the time at which its device was lost: what the device has kept meanwhile, and comes
later with its own times, is in order behind it.
"""

from __future__ import annotations

from typing import Final

from cloud_ingest.lines.fold_rules import Mark
from cloud_ingest.lines.signal_samples import make_due
from connectors.ports.database import Session

_MARK: Final = """
INSERT INTO line_sample (line_id, tenant_id, time_ns, signal_id, mark)
SELECT line_id, tenant_id, time_ns, signal_id, mark FROM (
    SELECT signal.line_id, signal.tenant_id, signal.signal_id,
        CASE WHEN agent.online AND coalesce(device.online, true) THEN $2::smallint ELSE $1::smallint END AS mark,
        (extract(epoch FROM greatest(agent.online_changed, device.online_changed)) * 1000000)::bigint * 1000 AS time_ns,
        (SELECT last.mark FROM line_sample AS last WHERE last.line_id = signal.line_id
            AND last.signal_id = signal.signal_id AND last.mark <> 0 ORDER BY last.time_ns DESC LIMIT 1) AS marked
    FROM line_signal AS signal
    JOIN agent ON agent.tenant_id = signal.tenant_id AND agent.group_name || '/' || agent.name = signal.agent
    LEFT JOIN device ON device.agent_id = agent.agent_id AND device.name = signal.device
    WHERE signal.is_used AND agent.online_changed IS NOT NULL
) AS now WHERE mark <> coalesce(marked, $2::smallint)
ON CONFLICT (line_id, time_ns, signal_id) DO NOTHING
RETURNING line_id, tenant_id, time_ns
"""


async def mark_presence(session: Session) -> None:
    """Mark the signals whose device is lost, or back, and was not when this was asked last."""
    rows = await session.fetch(_MARK, Mark.LOST.value, Mark.BACK.value)
    due: dict[tuple[int, int], int] = {}
    for row in rows:
        line = (row["line_id"], row["tenant_id"])
        due[line] = min(due.get(line, row["time_ns"]), row["time_ns"])
    await make_due(session, due)
