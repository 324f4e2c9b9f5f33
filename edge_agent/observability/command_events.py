"""Events of commands: what was done and refused, the journal, and what operators do.

The names are part of the product: alerts depend on them (docs/reference/events.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from connectors.observability.events import Event
from edge_agent.observability.metrics import (
    COMMANDS_ENDED,
    COMMANDS_REFUSED,
    JOURNAL_BLOCKED,
    LINES_LOCKED,
)


@dataclass(frozen=True, slots=True)
class CommandEnded(Event):
    """A command has come to an end; ``state`` is unknown where nobody can say whether the device was written."""

    id: str
    target: str
    state: str
    code: str
    detail: str
    actor: str

    def measure(self) -> None:
        """See ``Event``."""
        COMMANDS_ENDED.labels(self.state).inc()
        if self.code:
            COMMANDS_REFUSED.labels(self.code).inc()


@dataclass(frozen=True, slots=True)
class CommandNotTaken(Event):
    """A message that asked for something is not one of the cloud for this agent, or there was no room for it."""

    level: ClassVar[str] = "warning"
    topic: str
    code: str
    detail: str

    def measure(self) -> None:
        """See ``Event``."""
        COMMANDS_REFUSED.labels(self.code).inc()


@dataclass(frozen=True, slots=True)
class JournalBlocked(Event):
    """The command journal cannot be written: no command is done until it can."""

    level: ClassVar[str] = "error"
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        JOURNAL_BLOCKED.set(1)


@dataclass(frozen=True, slots=True)
class JournalRecovered(Event):
    """The command journal can be written again."""

    def measure(self) -> None:
        """See ``Event``."""
        JOURNAL_BLOCKED.set(0)


@dataclass(frozen=True, slots=True)
class JournalBegunAnew(Event):
    """The journal was an older state of itself, or damaged: what had not ended is unknown, and it has a new id."""

    level: ClassVar[str] = "warning"
    journal: str
    reason: str


@dataclass(frozen=True, slots=True)
class TrustedKeysRead(Event):
    """The public keys of the cloud were read; with none, every command of the cloud is refused."""

    path: str
    keys: int


@dataclass(frozen=True, slots=True)
class TrustedKeysUnreadable(Event):
    """The public keys of the cloud cannot be read: every command of the cloud is refused."""

    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class TrustedKeysChanged(Event):
    """Other keys of the cloud are trusted from now on, by their ids; ``by`` is the key that says so, or the file."""

    level: ClassVar[str] = "warning"
    added: list[str]
    removed: list[str]
    by: str


@dataclass(frozen=True, slots=True)
class KeysNotVouched(Event):
    """The cloud names keys that no trusted one has signed: not trusted. Somebody may have written its database."""

    level: ClassVar[str] = "error"
    keys: list[str]


@dataclass(frozen=True, slots=True)
class TrustedKeysNotWritten(Event):
    """The cloud has changed its keys, and the file of trusted keys cannot be written: those of before stay trusted."""

    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class OwnKeyRead(Event):
    """The agent's own key was read: what it tells the cloud of commands is signed with it."""

    path: str
    key: str


@dataclass(frozen=True, slots=True)
class OwnKeyUnusable(Event):
    """The agent's own key cannot be used: until it can, the cloud is told nothing, and no command of it is taken."""

    level: ClassVar[str] = "error"
    reason: str


@dataclass(frozen=True, slots=True)
class LineLocked(Event):
    """An operator has locked a line: no command is done there."""

    level: ClassVar[str] = "warning"
    line: str
    reason: str
    actor: str


@dataclass(frozen=True, slots=True)
class LineUnlocked(Event):
    """An operator has unlocked a line."""

    line: str
    actor: str


@dataclass(frozen=True, slots=True)
class LocksCounted(Event):
    """How many lines are locked now."""

    level: ClassVar[str] = ""
    count: int

    def measure(self) -> None:
        """See ``Event``."""
        LINES_LOCKED.set(self.count)


@dataclass(frozen=True, slots=True)
class RestartAsked(Event):
    """The agent ends, and begins anew: a command asks for that."""

    level: ClassVar[str] = "warning"
    id: str
    by: str


@dataclass(frozen=True, slots=True)
class LogLevelChanged(Event):
    """Another level of the log holds; ``for_s`` is 0 for that of the agent's file."""

    level: ClassVar[str] = "warning"
    to: str
    for_s: int


@dataclass(frozen=True, slots=True)
class DeviceFileTried(Event):
    """The agent has begun with another version of a device file: it has so long to read what it read before."""

    name: str
    version: int
    health_s: int


@dataclass(frozen=True, slots=True)
class DeviceFileKept(Event):
    """Another version of a device file is good, and in use."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class DeviceFileRolledBack(Event):
    """A version of a device file was not good: the file is as it was before."""

    level: ClassVar[str] = "error"
    name: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class DeviceFileStuck(Event):
    """The disk does not take how the trial of a device file has ended, or the file before: it is tried on and on."""

    level: ClassVar[str] = "error"
    name: str
    version: int
    reason: str


@dataclass(frozen=True, slots=True)
class DeviceFileNotTold(Event):
    """A device file has a name that is no UTF-8, or has more than 255 characters: it is read, but not told."""

    level: ClassVar[str] = "warning"
    name: str
