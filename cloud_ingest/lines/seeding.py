"""What a tag said last, as the first sample of a signal that is described anew.

Agents tell of changes. A machine that runs as it ran before says nothing, and a line that begins with its next change
would be offline until then, and miss the first piece.
"""

from __future__ import annotations

from typing import Final

from cloud_ingest.lines.signal_samples import make_due
from connectors.ports.database import Session

MARGIN_S: Final = 5
"""So much before now it lies: a change that is on its way comes behind it."""
OLDEST_DAYS: Final = 2
"""Older samples are looked for in no partition: what was silent for longer begins with its next change."""
_SEED: Final = """
INSERT INTO line_sample (line_id, tenant_id, time_ns, signal_id, number, text)
SELECT signal.line_id, signal.tenant_id, greatest(
        (extract(epoch FROM now() - make_interval(secs => $2)) * 1000000)::bigint * 1000, line.folded_ns + 1),
    signal.signal_id,
    coalesce(newest.value_double::numeric, newest.value_int, newest.value_bool::integer), newest.value_text
FROM line_signal AS signal
JOIN production_line AS line USING (line_id)
JOIN agent ON agent.tenant_id = signal.tenant_id AND agent.group_name || '/' || agent.name = signal.agent
LEFT JOIN device ON device.agent_id = agent.agent_id AND device.name = signal.device
JOIN tag ON tag.agent_id = agent.agent_id AND tag.device = signal.device AND tag.name = signal.tag
CROSS JOIN LATERAL (
    SELECT quality, value_double, value_int, value_bool, value_text FROM sample
    WHERE sample.tag_id = tag.tag_id AND time BETWEEN now() - make_interval(days => $3) AND now()
    ORDER BY time DESC LIMIT 1) AS newest
WHERE signal.line_id = $1 AND signal.is_used AND signal.name = ANY($4::text[]) AND signal.name NOT LIKE 'alarm:%'
    AND agent.online AND coalesce(device.online, true) AND newest.quality < 32768
    AND (newest.value_int IS NOT NULL OR newest.value_bool IS NOT NULL OR newest.value_text IS NOT NULL
        OR abs(newest.value_double) < 1e15)
ON CONFLICT DO NOTHING
RETURNING line_id, tenant_id, time_ns
"""


async def seed(session: Session, line_id: int, names: list[str]) -> None:
    """Have the signals ``names`` of a line, which are new, begin with what their tags said last, if that still holds.

    Alarms are left out: one that has been active for days is raised by its next sample, as ever.
    """
    rows = await session.fetch(_SEED, line_id, float(MARGIN_S), OLDEST_DAYS, names)
    await make_due(session, {(row["line_id"], row["tenant_id"]): row["time_ns"] for row in rows})
