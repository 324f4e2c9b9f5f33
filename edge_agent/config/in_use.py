"""The configuration that an agent runs with, the files that it came from, and whether they still say the same."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, Final

from connectors.model.errors import ConfigInvalid
from connectors.ports.clock import Clock
from connectors.ports.settings import DriverType
from edge_agent.config.changes import Changes, changes
from edge_agent.config.inclusion import included_now
from edge_agent.config.load import LoadedConfig, load_with_origins
from edge_agent.config.models import AgentConfig

FILE_READ_BYTES_MAX: Final = 64 * 1024 * 1024
REASONS_MAX: Final = 20


class Sync(Enum):
    """Whether the agent runs with what its files say."""

    IN_SYNC = "in_sync"
    OUT_OF_SYNC = "out_of_sync"
    """Files were changed since, or what was changed waits for a restart."""
    FAILED = "failed"
    """They were to be used, and could not: the agent goes on with what it had."""


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How it stands, and since when.

    ``by`` says who has asked last for the files to be used, and ``loaded_ns`` when those that are in use were read.
    ``files`` are those that do not hold what is in use; ``reasons`` why they could not be used; ``restart`` the
    settings that take effect with the next start only.
    """

    state: Sync
    since_ns: int
    by: str
    loaded_ns: int
    files: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        return {
            "state": self.state.value,
            "since_ns": self.since_ns,
            "by": self.by,
            "loaded_ns": self.loaded_ns,
            "files": list(self.files),
            "reasons": list(self.reasons),
            "restart": list(self.restart),
        }


class ConfigInUse:
    """See the module. One for all lives of an agent: what a reload has brought stays when its outbox is opened anew.

    ``environ`` is where secrets are looked up.
    """

    def __init__(
        self,
        path: Path,
        drivers: Mapping[str, DriverType],
        loaded: LoadedConfig,
        clock: Clock,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.path = path
        self.drivers = drivers
        self.config: AgentConfig = loaded.config
        self._environ = os.environ if environ is None else environ
        self._loaded = loaded
        self._clock = clock
        self._tried: dict[Path, str] = {}
        self._seen: dict[Path, tuple[tuple[int, int, int], str]] = {}
        now_ns = clock.now_ns()
        self.status = SyncStatus(Sync.IN_SYNC, now_ns, "start", now_ns)

    @property
    def contents(self) -> Mapping[Path, str]:
        """The SHA-256 of each file that is in use, by its resolved path."""
        return self._loaded.contents

    def load(self) -> tuple[LoadedConfig, Changes]:
        """Read the files, all that is needed to use them, and what that would change. Raises ``ConfigInvalid``.

        It takes its time: for a thread.
        """
        self._tried = {}
        loaded = load_with_origins(self.path, self.drivers, environ=self._environ, contents=self._tried)
        return loaded, changes(self.config, loaded.config, lambda driver: self.drivers[driver].acts_on)

    def adopt(self, loaded: LoadedConfig, done: Changes, by: str) -> None:
        """The agent runs with these files now, but for what waits for a restart."""
        self.config, self._loaded = done.config, loaded
        now_ns = self._clock.now_ns()
        state = Sync.OUT_OF_SYNC if done.restart else Sync.IN_SYNC
        self.status = SyncStatus(state, now_ns, by, now_ns, restart=done.restart)

    def refused(self, error: ConfigInvalid | str, by: str) -> None:
        """The files cannot be used as they are, for these reasons."""
        if isinstance(error, str):
            reasons = [error]
        else:
            reasons = [str(problem) for problem in error.problems[:REASONS_MAX]]
            if len(error.problems) > REASONS_MAX:
                reasons.append(f"And {len(error.problems) - REASONS_MAX} more; 'edge-agent check' shows all.")
        status = replace(self.status, state=Sync.FAILED, by=by, reasons=tuple(reasons))
        since_ns = status.since_ns if self.status.state is Sync.FAILED else self._clock.now_ns()
        self.status = replace(status, since_ns=since_ns)

    def look(self) -> tuple[str, ...]:
        """The files that do not hold any more what is in use, or are new; for a thread.

        A file is read again only when it is another one, or was written to.
        """
        known = self._loaded.contents
        there = {path for path in included_now(self._loaded.patterns) if path not in known}
        differing = [path for path, sha256 in known.items() if self._sha256(path) != sha256]
        for gone in self._seen.keys() - known.keys():
            del self._seen[gone]
        return tuple(sorted(self._name(path) for path in {*differing, *there}))

    def marks(self) -> tuple[tuple[str, int, int, int], ...]:
        """What changes whenever somebody writes to a file that is or was to be used, or makes one; for a thread."""
        paths = {*self._loaded.contents, *self._tried, *included_now(self._loaded.patterns)}
        return tuple((str(path), *(_mark(path) or (0, 0, 0))) for path in sorted(paths))

    def looked(self, files: tuple[str, ...]) -> bool:
        """These differ, by ``look``; whether that is news."""
        before = self.status
        if before.state is Sync.FAILED and files:
            self.status = replace(before, files=files)
            return False
        state = Sync.OUT_OF_SYNC if files or before.restart else Sync.IN_SYNC
        since_ns = before.since_ns if state is before.state else self._clock.now_ns()
        self.status = replace(before, state=state, since_ns=since_ns, files=files, reasons=())
        return (state, files) != (before.state, before.files)

    def _name(self, path: Path) -> str:
        folder = self.path.parent.resolve()
        return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)

    def _sha256(self, path: Path) -> str:
        mark = _mark(path)
        if mark is None:
            return ""
        seen = self._seen.get(path)
        if seen is None or seen[0] != mark:
            seen = self._seen[path] = (mark, _sha256(path))
        return seen[1]


def _mark(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def _sha256(path: Path) -> str:
    """Empty when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.sha256(file.read(FILE_READ_BYTES_MAX)).hexdigest()
    except OSError:
        return ""
