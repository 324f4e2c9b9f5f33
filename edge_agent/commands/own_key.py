"""The agent's own key, which it has since it was enrolled: with it, it signs what it tells the cloud of commands.

Without the file nothing is signed: the agent was never enrolled. While a file is there that cannot be used, nothing is
told at all, as the cloud would believe none of it: what there is to tell waits until the key can be used again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.commands.reports import CommandReport, Hello
from connectors.model.errors import LinesideError
from connectors.observability.events import emit
from edge_agent.observability.command_events import OwnKeyRead, OwnKeyUnusable

if TYPE_CHECKING:
    from connectors.commands.signing import SigningKey

KEY_FILE: Final = "agent-key.jwk"
KEY_BYTES_MAX: Final = 10_000
LOCKS_SHORTENED: Final = 100
"""Of a hello that would be too long."""


class NotSigned(LinesideError):
    """The agent's own key cannot be used now: the caller keeps what it has to tell until it can."""


class OwnKey:
    """See the module. ``path`` is ``None`` where there is no such file to look for."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._key: SigningKey | None = None
        self._seen: Any = None
        self.problem = ""

    @property
    def key_id(self) -> str:
        """Its thumbprint; empty without a key."""
        return "" if self._key is None else self._key.key_id

    def look(self) -> bool:
        """Read the file, if it has changed since it was read; whether there is another one now, none, or one again."""
        if self._path is None:
            return False
        try:
            stat = self._path.stat()
            seen: Any = (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino)  # ctime: chmod changes it alone
        except OSError as exc:
            seen = type(exc).__name__
        if seen == self._seen:
            return False
        before, problem = self.key_id, self.problem
        self._key, self.problem = None, ""
        if seen != FileNotFoundError.__name__:
            self._read(self._path)
        self._seen = None if self.problem else seen  # what cannot be used is tried again at every look
        if self.problem and self.problem != problem:
            emit(OwnKeyUnusable(self.problem))
        return (self.key_id, bool(self.problem)) != (before, bool(problem))

    def sealed(self, record: CommandReport | Hello) -> bytes:
        """``record`` as it travels: signed, when there is a key, and without its largest parts where it is too long.

        Raises ``NotSigned``.
        """
        if self.problem:
            raise NotSigned(self.problem)
        if self._key is None:
            return record.to_json()
        from connectors.commands.sealed import seal

        try:
            return seal(record, self._key)
        except ValueError:
            return seal(_shortened(record), self._key)

    def _read(self, path: Path) -> None:
        from connectors.commands.signing import SigningKey  # some MB that an agent without a key can do without

        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise ValueError("others may read or change it (chmod 600)")
                self._key = SigningKey.from_jwk(json.loads(file.read(KEY_BYTES_MAX)))
        except (OSError, ValueError, TypeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            self.problem = f"the agent's own key {path} cannot be used, so that the cloud is told nothing: {reason}"
        else:
            emit(OwnKeyRead(str(path), self.key_id))


def _shortened(record: CommandReport | Hello) -> CommandReport | Hello:
    if isinstance(record, CommandReport):
        return record.model_copy(update={"before": None, "after": None, "action": None})
    return record.model_copy(update={"files": None, "held": (), "locks": record.locks[:LOCKS_SHORTENED]})
