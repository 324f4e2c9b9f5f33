"""``delivering_agents`` as a process beside a benchmark: prepared, told to begin, and ended with the block."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Final

from benchmarks.commanded_cloud import CommandedCloud

TAGS: Final = 1000
"""Of each agent, by the names ``t0`` to ``t999``, all of the device ``press``."""


class DeliveringFleet:
    """All agents are one process. Entering waits until every message of theirs is encoded."""

    def __init__(self, url: str, agents: int, messages: int, samples: int, rate: int = 0) -> None:
        """``messages`` of each agent, with so many ``samples``; ``rate``: samples a second of all, 0: all they can."""
        words = (url, agents, messages, samples, rate)
        self._command = [sys.executable, "-m", "benchmarks.delivering_agents", *map(str, words)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> DeliveringFleet:
        self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if not self._pipes()[1].readline():
            self.__exit__(None, None, None)
            raise SystemExit(f"they have ended: {' '.join(self._command)}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        for pipe in self._pipes():
            pipe.close()
        self._running().wait()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._running().pid

    def begin(self) -> None:
        """Deliver from now on."""
        told, _said = self._pipes()
        told.write("go\n")
        told.flush()

    def end(self) -> None:
        """Deliver nothing more."""
        self._running().kill()

    def _running(self) -> subprocess.Popen[str]:
        assert self._process is not None
        return self._process

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        process = self._running()
        assert process.stdin is not None
        assert process.stdout is not None
        return process.stdin, process.stdout


@contextmanager
def delivering(
    cloud: CommandedCloud, *, agents: int, samples_a_message: int, samples_per_s: int, seconds: float
) -> Iterator[DeliveringFleet]:
    """Agents that deliver to ``cloud`` at a rate for so long, as soon as all of their tags are known."""
    messages = int(seconds * samples_per_s / samples_a_message / agents)
    with DeliveringFleet(cloud.broker.url, agents, messages, samples_a_message, samples_per_s) as fleet:
        fleet.begin()
        cloud.wait_for_tags(agents * TAGS)
        yield fleet
