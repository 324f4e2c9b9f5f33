"""What the command journal holds: commands, their steps, locks; and the tables for it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Final, Literal

from connectors.commands.envelope import (
    ApplyDeviceFile,
    Envelope,
    InstallRelease,
    RunCommand,
    SetLogLevel,
    WriteTag,
    read_envelope,
    told,
)
from connectors.commands.refusals import Refusal
from connectors.commands.reports import DETAIL_CHARS_MAX, CommandReport, HeldLock
from connectors.commands.states import CommandState
from connectors.model.texts import storable
from connectors.ports.device import Value

Source = Literal["cloud", "local", "plain"]
"""Who a command is from: the cloud with its signature, somebody at the box, or a Sparkplug host without envelope."""

REASON_TOLD_CHARS: Final = 200
ACTION_TOLD_CHARS: Final = 8192
VALUE_TOLD_CHARS: Final = 1000
TEXT_TOLD_CHARS: Final = 8000
"""Of a value before or after a write."""
AGENT_LINE: Final = "agent"
"""The line of a lock on everything."""

SCHEMA: Final = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- one row a start of the agent, newest last; told once the outbox has a hello of it
CREATE TABLE start (
    number INTEGER PRIMARY KEY AUTOINCREMENT, epoch TEXT NOT NULL, time_ms INTEGER NOT NULL,
    told INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE command (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, source TEXT NOT NULL, actor TEXT NOT NULL,
    envelope TEXT NOT NULL, target TEXT NOT NULL, state TEXT NOT NULL, step INTEGER NOT NULL,
    code TEXT, detail TEXT NOT NULL DEFAULT '', before TEXT, after TEXT, writes INTEGER NOT NULL DEFAULT 0,
    received_ms INTEGER NOT NULL, changed_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL
);
CREATE INDEX command_open ON command (number)
    WHERE state NOT IN ('succeeded', 'failed', 'refused', 'expired', 'cancelled', 'unknown');
-- append only; step 0 is one that is not reported: that a write begins
CREATE TABLE step (
    row INTEGER PRIMARY KEY AUTOINCREMENT, command INTEGER NOT NULL, step INTEGER NOT NULL, journal TEXT NOT NULL,
    state TEXT NOT NULL, time_ms INTEGER NOT NULL, actor TEXT NOT NULL, code TEXT, detail TEXT NOT NULL,
    before TEXT, after TEXT, told INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX step_of ON step (command);
CREATE INDEX step_untold ON step (row) WHERE told = 0;
CREATE TABLE lock (line TEXT PRIMARY KEY, reason TEXT NOT NULL, actor TEXT NOT NULL, time_ms INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE approval (
    command INTEGER NOT NULL, actor TEXT NOT NULL, time_ms INTEGER NOT NULL, PRIMARY KEY (command, actor)
) WITHOUT ROWID;
CREATE TABLE audit (
    number INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL,
    subject TEXT NOT NULL, details TEXT NOT NULL, before TEXT NOT NULL, hash TEXT NOT NULL
);
"""
COMMAND_COLUMNS: Final = (
    "number, id, source, actor, envelope, target, state, step, code, detail, before, after, writes, received_ms, "
    "changed_ms"
)


@dataclass(frozen=True, slots=True)
class Intake:
    """A command that comes into the journal. With ``code`` it comes in as refused, for the reason in ``detail``."""

    envelope: Envelope
    source: Source
    actor: str
    code: Refusal | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command as the journal has it. ``writes``: how many writes or calls were begun, each once."""

    number: int
    id: str
    source: Source
    actor: str
    envelope: Envelope
    target: str
    state: CommandState
    step: int
    code: Refusal | None
    detail: str
    before: Value | None
    after: Value | None
    writes: int
    received_ms: int
    changed_ms: int

    def to_json(self) -> dict[str, Any]:
        """For people and programs at the box."""
        envelope = self.envelope
        return {
            "number": self.number,
            "id": self.id,
            "state": self.state.value,
            "target": self.target,
            "action": told(envelope.action),
            "source": self.source,
            "actor": self.actor,
            "issuer": envelope.issuer,
            "reason": envelope.reason,
            "code": None if self.code is None else self.code.value,
            "detail": self.detail,
            "before": self.before,
            "after": self.after,
            "received_ms": self.received_ms,
            "changed_ms": self.changed_ms,
            "expires_ms": envelope.expires_ms,
        }


@dataclass(frozen=True, slots=True)
class Taken:
    """What the journal says of an ``Intake``: its row; ``is_new`` when it was not there before.

    ``is_same``: what was there before has the same content; otherwise its id was used twice.
    """

    command: Command
    is_new: bool
    is_same: bool = True


@dataclass(frozen=True, slots=True)
class Lock:
    """An operator has locked a line (a device, or ``agent`` for all): no command is done there."""

    line: str
    reason: str
    actor: str
    time_ms: int

    def told(self) -> HeldLock:
        """As a hello tells it, with as much of the reason as many of them leave room for."""
        reason = self.reason if len(self.reason) <= REASON_TOLD_CHARS else f"{self.reason[: REASON_TOLD_CHARS - 1]}…"
        return HeldLock(line=self.line, reason=reason, actor=self.actor, since_ms=self.time_ms)


@dataclass(frozen=True, slots=True)
class Untold:
    """A step that the cloud has not been told of yet: ``row`` names it to the journal."""

    row: int
    report: CommandReport


@dataclass(frozen=True, slots=True)
class JournalFacts:
    """What a hello says of the journal. ``open``: ids without a final state.

    ``is_anew``: another journal was here before, which is lost. ``previous``: the newest start before this one of which
    the cloud was told. ``audit_base``: the entry of the audit log that the cloud knows, with the hash that it has now.
    """

    journal: str
    is_anew: bool
    number: int
    start: str
    previous: str
    open: tuple[str, ...]
    audit_number: int
    audit_hash: str
    locks: tuple[Lock, ...]
    audit_base: int
    audit_base_hash: str


def ended_with(code: Refusal) -> CommandState:
    """The state of a command that is not done for this reason.

    In a journal that is not the one of the cloud's, nobody can say whether it was done before.
    """
    if code is Refusal.JOURNAL_MISMATCH:
        return CommandState.UNKNOWN
    return CommandState.EXPIRED if code is Refusal.EXPIRED else CommandState.REFUSED


def target_of(envelope: Envelope) -> str:
    """What a command acts on, in one word: ``press/speed``, ``press/start()``, ``restart()`` for the agent itself."""
    match envelope.action:
        case WriteTag() as action:
            return f"{action.device}/{action.tag}"
        case RunCommand() as action:
            return f"{action.device}/{action.command}()"
        case ApplyDeviceFile() as action:
            return f"{action.do}({action.name})"
        case InstallRelease() as action:
            return f"{action.do}({action.version})"
        case SetLogLevel() as action:
            return f"{action.do}({action.level})"
        case action:
            return f"{action.do}()"


def cut(detail: str) -> str:
    """A detail that fits into a report."""
    detail = storable(detail)
    return detail if len(detail) <= DETAIL_CHARS_MAX else f"{detail[: DETAIL_CHARS_MAX - 1]}…"


def stored_value(value: Value | None) -> str | None:
    """A value as a row holds it; infinities, which a device may hold, as words."""
    return None if value is None else json.dumps(value)


def read_value(stored: str | None) -> Value | None:
    """What ``stored_value`` was given."""
    value: Value | None = None if stored is None else json.loads(stored)
    return value


def command_of(row: tuple[Any, ...]) -> Command:
    """The command in a row of ``COMMAND_COLUMNS``."""
    (number, id_, source, actor, envelope, target, state, step, code, detail, before, after, writes, received_ms,
     changed_ms) = row  # fmt: skip
    return Command(
        number, id_, source, actor, read_envelope(envelope.encode()), target, CommandState(state), step,
        None if code is None else Refusal(code), detail, read_value(before), read_value(after), writes, received_ms,
        changed_ms,
    )  # fmt: skip


def reportable(value: Value | None) -> Value | None:
    """``value`` as a report can hold it: infinities, which JSON has not, as words, and of a long text the beginning.

    Two such texts, in whatever characters, fit into a report that is signed.
    """
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str):
        text = storable(value)
        rest = len(text) - TEXT_TOLD_CHARS
        return text if rest <= 0 else f"{text[:TEXT_TOLD_CHARS]}… (and {rest:,} more characters)"
    return value


def report_of(row: tuple[Any, ...], start: str) -> CommandReport:
    """The report of a step, told by the start with the epoch ``start``.

    A row: id, journal, number, step, state, time, actor, code, detail, before, after, source, envelope.
    """
    id_, journal, number, step, state, time_ms, actor, code, detail, before, after, source, envelope = row
    asked = told_of(read_envelope(envelope.encode())) if step == 1 or source != "cloud" else {}
    return CommandReport(
        id=id_, journal=journal, number=number, step=step, state=CommandState(state), time_ms=time_ms, actor=actor,
        code=None if code is None else Refusal(code), detail=detail, before=reportable(read_value(before)),
        after=reportable(read_value(after)), start=start, source=source, **asked,
    )  # fmt: skip


def told_of(envelope: Envelope) -> dict[str, Any]:
    """What a report says that somebody has asked for: what is too large for one is left out, and said to be."""
    action = told(envelope.action)
    if len(json.dumps(action)) > ACTION_TOLD_CHARS:
        short = {name: value for name, value in action.items() if len(json.dumps(value)) <= VALUE_TOLD_CHARS}
        action = {**short, "left_out": sorted(action.keys() - short.keys())}
    return {"action": action, "issuer": envelope.issuer, "reason": envelope.reason}
