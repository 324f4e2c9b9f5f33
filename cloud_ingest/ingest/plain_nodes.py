"""Nodes that do not acknowledge: which of them there are, as far as a process that shares data with others knows.

Their messages are only worth something in their order. So the host alone takes them, by subscriptions of their own;
what a shared subscription brings of them is a copy without order, and is not used.
"""

from __future__ import annotations

import asyncio
from collections.abc import Set
from typing import Final

from cloud_ingest.historian.identities import Identities
from connectors.model.delivery import AgentName
from connectors.ports.database import Database

STRANGERS_MAX: Final = 1000


class PlainNodes:
    """Who acknowledges and who does not: from what is heard, and from the database, where every process tells it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._strangers: set[AgentName] = set()
        self._acknowledging: set[AgentName] = set()
        self.plain: frozenset[AgentName] = frozenset()
        self.has_strangers = asyncio.Event()
        self._grown = asyncio.Event()

    def acknowledges(self, name: AgentName) -> None:
        """A numbered batch of ``name`` was heard."""
        self._acknowledging.add(name)

    def is_acknowledging(self, name: AgentName) -> bool:
        """Whether ``name`` is known to number its batches."""
        return name in self._acknowledging

    def heard(self, name: AgentName) -> None:
        """A message without a number was heard of ``name``; if nobody knows it yet, the database is told soon."""
        if name not in self.plain and len(self._strangers) < STRANGERS_MAX:
            self._strangers.add(name)
            self.has_strangers.set()

    async def changed(self, known: Set[AgentName]) -> None:
        """Wait until there are nodes that are not among ``known``."""
        while self.plain <= known:
            self._grown.clear()
            await self._grown.wait()

    async def refresh(self) -> None:
        """Enter the strangers, and learn what other processes have heard. Raises ``DatabaseUnavailable``.

        A stranger is asked for its births, a moment later: then the host hears it from its birth on.
        """
        self.has_strangers.clear()
        strangers, self._strangers = self._strangers, set()
        identities = Identities(self._database)
        entered = [(await identities.agent(name)).agent_id for name in strangers]
        async with self._database.session() as session:
            if entered:
                await session.execute(
                    "UPDATE agent SET rebirth_wanted = coalesce(rebirth_wanted, now() + interval '1 second') "
                    "WHERE agent_id = ANY($1::int[]) AND NOT acknowledges",
                    entered,
                )
            rows = await session.fetch("SELECT group_name, name FROM agent WHERE NOT acknowledges")
        found = {AgentName(str(row["group_name"]), str(row["name"])) for row in rows}
        self._acknowledging |= strangers - found
        self.plain = frozenset(found - self._acknowledging)
        self._grown.set()
