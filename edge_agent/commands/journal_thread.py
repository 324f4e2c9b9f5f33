"""The journal in a thread of its own, so that a slow disk stops no poll."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from edge_agent.commands.journal import Journal

T = TypeVar("T")


class JournalAccess(Protocol):
    """The journal as its users see it: one call at a time, in the order in which they came."""

    async def call(self, work: Callable[[Journal], T]) -> T:
        """Run ``work`` on the journal. Raises ``JournalUnavailable``. A cancelled caller does not stop the work."""
        ...


class JournalThread:
    """Implements ``JournalAccess``. While the file cannot be opened, every call tries it again."""

    def __init__(self, path: Path, start: str, now_ms: Callable[[], int]) -> None:
        self._path = path
        self._start = start
        self._now_ms = now_ms
        self._journal: Journal | None = None
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="command-journal")

    async def call(self, work: Callable[[Journal], T]) -> T:
        """See ``JournalAccess``."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, self._run, work)

    async def close(self) -> None:
        """Close the file after all that was asked for is done."""
        await asyncio.get_running_loop().run_in_executor(self._executor, self._close)
        self._executor.shutdown(wait=False)

    def _run(self, work: Callable[[Journal], T]) -> T:
        if self._journal is None:
            self._journal = Journal(self._path, start=self._start, now_ms=self._now_ms())
        return work(self._journal)

    def _close(self) -> None:
        if self._journal is not None:
            self._journal.close()
