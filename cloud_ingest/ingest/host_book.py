"""What the host writes down in the database: that it is there, and whom it has asked for births.

The limit of one rebirth a second and node stands in the node's row, by the database's own clock: so it holds for all
processes and hosts together, whichever of them asks.
"""

from __future__ import annotations

from collections.abc import Sequence

from connectors.model.delivery import AgentName
from connectors.ports.database import Database


class HostBook:
    """The row of one host. Every method raises ``DatabaseUnavailable``."""

    def __init__(self, database: Database, host: str) -> None:
        self._database = database
        self._host = host

    async def came(self, broker: str, since_ms: int) -> None:
        """The host is on ``broker`` since then, and has heard of no node there yet."""
        async with self._database.session() as session:
            await session.execute(
                "INSERT INTO host AS known (name, broker, since, online, alive) VALUES ($1, $2, "
                "to_timestamp(0) + $3::bigint * interval '1 millisecond', true, now()) "
                "ON CONFLICT (name) DO UPDATE SET broker = excluded.broker, since = excluded.since, online = true, "
                "alive = now()",
                self._host,
                broker,
                since_ms,
            )

    async def left(self, since_ms: int, now_ms: int) -> None:
        """The host that came at ``since_ms`` is gone, unless another process has become the host since."""
        async with self._database.session() as session:
            await session.execute(
                "UPDATE host SET online = false, since = to_timestamp(0) + $3::bigint * interval '1 millisecond' "
                "WHERE name = $1 AND since = to_timestamp(0) + $2::bigint * interval '1 millisecond'",
                self._host,
                since_ms,
                now_ms,
            )

    async def broker(self) -> str:
        """The broker on which the host is; empty when it is on none."""
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT broker FROM host WHERE name = $1 AND online AND alive > now() - interval '15 seconds'",
                self._host,
            )
        return str(rows[0]["broker"]) if rows else ""

    async def rebirths_due(self) -> Sequence[AgentName]:
        """The nodes that are to be asked for their births now, each at most once a second; and the host lives."""
        async with self._database.session() as session:
            await session.execute("UPDATE host SET alive = now() WHERE name = $1", self._host)
            rows = await session.fetch(
                "UPDATE agent SET rebirth_wanted = NULL, rebirth_asked = now() WHERE rebirth_wanted <= now() "
                "AND (rebirth_asked IS NULL OR rebirth_asked < now() - interval '1 second') "
                "RETURNING group_name, name"
            )
        return [AgentName(str(row["group_name"]), str(row["name"])) for row in rows]
