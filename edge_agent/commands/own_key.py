"""The agent's own key, which it has since it was enrolled: with it, it signs what it tells the cloud of commands.

Without the file nothing is signed: the agent was never enrolled. A file that is there and cannot be used is said, and
nothing is signed either; the cloud then believes nothing of it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from connectors.commands.reports import CommandReport, Hello
from connectors.observability.events import emit
from edge_agent.observability.command_events import OwnKeyRead, OwnKeyUnusable

if TYPE_CHECKING:
    from connectors.commands.signing import SigningKey

KEY_FILE: Final = "agent-key.jwk"
KEY_BYTES_MAX: Final = 10_000


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
        """Read the file, if it has changed since it was read; whether there is another key now."""
        if self._path is None:
            return False
        try:
            stat = self._path.stat()
            seen: Any = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
        except OSError as exc:
            seen = type(exc).__name__
        if seen == self._seen:
            return False
        self._seen, before = seen, self.key_id
        self._key, self.problem = None, ""
        if seen != FileNotFoundError.__name__:
            self._read(self._path)
        return self.key_id != before

    def sealed(self, record: CommandReport | Hello) -> bytes:
        """``record`` as it travels: signed, when there is a key."""
        if self._key is None:
            return record.to_json()
        from connectors.commands.sealed import seal

        return seal(record, self._key)

    def _read(self, path: Path) -> None:
        from connectors.commands.signing import SigningKey  # some MB that an agent without a key can do without

        try:
            with path.open("rb") as file:
                if os.fstat(file.fileno()).st_mode & 0o077:
                    raise ValueError("others may read or change it (chmod 600)")
                self._key = SigningKey.from_jwk(json.loads(file.read(KEY_BYTES_MAX)))
        except (OSError, ValueError, TypeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            self.problem = f"the agent's own key {path} cannot be used, so that the cloud believes nothing: {reason}"
            emit(OwnKeyUnusable(self.problem))
        else:
            emit(OwnKeyRead(str(path), self.key_id))
