"""Lines are folded up to now before they are described anew: what waits was said while the rules before held."""

from __future__ import annotations

import time

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.lines.folding import fold_line
from connectors.ports.database import Database


async def catch_up(database: Database, tenant: int, site: str, line: str | None = None) -> None:
    """Fold what waits of one line, or of all lines of a site, whether the role runs or not."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT DISTINCT line_id FROM line_due JOIN production_line AS line USING (line_id, tenant_id) "
            "WHERE tenant_id = $1 AND site = $2 AND ($3::text IS NULL OR line = $3) AND NOT is_removed",
            tenant,
            site,
            line,
        )
    for row in rows:
        async with unit_of_work(database) as work:
            await fold_line(work, row["line_id"], time.time_ns())
