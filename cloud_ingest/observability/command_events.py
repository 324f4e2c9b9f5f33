"""Events of the role ``commands``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import (
    AUDIT_ALARMS,
    COMMAND_MESSAGES,
    COMMAND_REPORTS,
    COMMAND_REPORTS_FORGED,
    COMMAND_REPORTS_REFUSED,
    COMMAND_STATES,
    COMMANDS_ONLINE,
    HELLOS,
    JOURNALS_RESTORED,
    STATES_NOT_PUBLISHED,
)
from cloud_ingest.observability.obstacles import COMMANDS_BROKER, COMMANDS_KEY, OBSTACLES, commands_partition, fault_of
from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class CommandChanged(Event):
    """A command has a new state."""

    command: str
    state: str
    actor: str
    code: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        COMMAND_STATES.labels(self.state).inc()


@dataclass(frozen=True, slots=True)
class CommandMessagesSent(Event):
    """Commands, cancellations, approvals, answers to hellos and new keys were published, or once more."""

    level: ClassVar[str] = "debug"
    commands: int
    again: int
    cancellations: int
    times: int
    keys: int = 0
    approvals: int = 0

    def measure(self) -> None:
        """See ``Event``."""
        for kind in ("commands", "again", "cancellations", "times", "keys", "approvals"):
            COMMAND_MESSAGES.labels(kind).inc(getattr(self, kind))


@dataclass(frozen=True, slots=True)
class AgentEnrolled(Event):
    """An agent has shown its one-time token, and has the keys of the cloud; ``key`` is its own."""

    agent: str
    key: str


@dataclass(frozen=True, slots=True)
class EnrolmentRefused(Event):
    """Somebody has tried to enrol an agent, and must not."""

    level: ClassVar[str] = "warning"
    agent: str
    code: str
    address: str


@dataclass(frozen=True, slots=True)
class ReportsTaken(Event):
    """Reports and hellos of agents were taken; ``repeated`` of them had been before."""

    level: ClassVar[str] = "debug"
    reports: int
    repeated: int
    hellos: int

    def measure(self) -> None:
        """See ``Event``."""
        COMMAND_REPORTS.inc(self.reports)
        HELLOS.inc(self.hellos)


@dataclass(frozen=True, slots=True)
class ReportRefused(Event):
    """A report or hello cannot be used: it is not one, of a command to another agent, or cannot be stored.

    One that can be read and not stored is kept among the dead letters.
    """

    level: ClassVar[str] = "warning"
    agent: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        COMMAND_REPORTS_REFUSED.inc()


@dataclass(frozen=True, slots=True)
class ReportForged(Event):
    """What came under the name of an enrolled agent is not signed as it has to be: it changes nothing.

    ``kept``: it is among the dead letters, which take so many of an agent.
    """

    level: ClassVar[str] = "error"
    agent: str
    reason: str
    kept: bool

    def measure(self) -> None:
        """See ``Event``."""
        COMMAND_REPORTS_FORGED.inc()


@dataclass(frozen=True, slots=True)
class CommandNotAskedFor(Event):
    """An agent has a command that is signed by the cloud, and that this database does not know.

    Either the database was restored, or somebody else has a signing key.
    """

    level: ClassVar[str] = "error"
    agent: str
    command: str
    issuer: str


@dataclass(frozen=True, slots=True)
class AuditAlarm(Event):
    """The audit log of an agent does not extend what it has told of it before."""

    level: ClassVar[str] = "error"
    agent: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        AUDIT_ALARMS.inc()


@dataclass(frozen=True, slots=True)
class ReportsLeft(Event):
    """The reports of one partition are read by another process now."""

    partition: int
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(commands_partition(self.partition))
        OBSTACLES.gone(fault_of(commands_partition(self.partition)))


@dataclass(frozen=True, slots=True)
class JournalRestored(Event):
    """An agent's journal is behind what was seen of it, or another one: what was sent to it is unknown now."""

    level: ClassVar[str] = "warning"
    agent: str
    finding: str
    unknown: int

    def measure(self) -> None:
        """See ``Event``."""
        JOURNALS_RESTORED.inc()


@dataclass(frozen=True, slots=True)
class StateNotPublished(Event):
    """The log will never take a state for ``lineside.commands.v1``; the API tells it all the same."""

    level: ClassVar[str] = "error"
    command: str
    state: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        STATES_NOT_PUBLISHED.inc()


@dataclass(frozen=True, slots=True)
class CommandsOnline(Event):
    """This process sends commands, on this broker."""

    broker: str
    key: str

    def measure(self) -> None:
        """See ``Event``."""
        COMMANDS_ONLINE.set(1)
        OBSTACLES.gone(COMMANDS_BROKER)


@dataclass(frozen=True, slots=True)
class CommandsOffline(Event):
    """This process sends no commands any more."""

    broker: str

    def measure(self) -> None:
        """See ``Event``."""
        COMMANDS_ONLINE.set(0)


@dataclass(frozen=True, slots=True)
class CommandsLost(Event):
    """The broker to send commands on cannot be reached; they wait."""

    level: ClassVar[str] = "warning"
    broker: str
    reason: str
    retry_s: float

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.stands(COMMANDS_BROKER, self.reason)


@dataclass(frozen=True, slots=True)
class SigningKeyUnusable(Event):
    """Nothing can be signed: no command is sent, and no agent is told the time."""

    level: ClassVar[str] = "error"
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.stands(COMMANDS_KEY, self.reason)


@dataclass(frozen=True, slots=True)
class SigningKeyLoaded(Event):
    """The key that commands are signed with."""

    key: str

    def measure(self) -> None:
        """See ``Event``."""
        OBSTACLES.gone(COMMANDS_KEY)
