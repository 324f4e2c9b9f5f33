"""Errors, named by what the caller does next."""

from __future__ import annotations

from dataclasses import dataclass


class LinesideError(Exception):
    """Any error that Lineside raises on purpose; its text is a sentence for a person."""


class DeviceUnavailable(LinesideError):
    """The device cannot be reached now: the caller waits ``retry_after_s`` (or its own back-off) and tries again."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class WriteRefused(LinesideError):
    """The device said no, and nothing has changed: the caller says so, and does not write this again by itself."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class WriteUncertain(LinesideError):
    """It was sent, and nobody knows whether the device did it: the caller never writes it again, and reads it back."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BrokerUnavailable(LinesideError):
    """The MQTT broker cannot be reached, or closed the connection: the caller tries the next one after a back-off."""


class BrokerUnreachable(BrokerUnavailable):
    """There was no connection on which a CONNECT could be sent: the caller's session has not begun."""


class EventLogUnavailable(LinesideError):
    """The event log cannot take or give records now: the caller keeps what it has, does not acknowledge, and waits."""


class RecordRefused(LinesideError):
    """The event log will never take this record (too large, for example): the caller refuses it to its sender."""


class DatabaseUnavailable(LinesideError):
    """The database cannot be reached now: the caller keeps its place and tries again."""


class StatementRefused(LinesideError):
    """The database will never do this statement as it stands (a constraint, the syntax, a value).

    A caller that expects it looks at ``sqlstate`` (``23505``: a unique constraint) and ``constraint``; to any other
    caller it is a defect.
    """

    def __init__(self, reason: str, *, sqlstate: str, constraint: str = "") -> None:
        super().__init__(reason)
        self.sqlstate = sqlstate
        self.constraint = constraint


class DocumentInvalid(LinesideError):
    """A store of documents would not take this, or give it back as something else: the caller changes it."""


class RevisionMoved(LinesideError):
    """A document is not as the caller has seen it: look at it again. ``current`` is its revision, 0 without one."""

    def __init__(self, document_id: str, current: int) -> None:
        now = f"is at revision {current} now" if current else "is not there"
        super().__init__(f"{document_id!r} {now}")
        self.current = current


class OffsetMoved(LinesideError):
    """Another process has taken over this partition: the caller drops its work and reads its place anew."""


class OutboxUnavailable(LinesideError):
    """The outbox cannot be written now (disk full, read-only…): the caller keeps the samples and tries again."""


class OutboxDamaged(OutboxUnavailable):
    """The outbox holds less than was committed, or cannot be read as a database.

    The caller closes it and opens it anew: that salvages it, and declares what is gone.
    """


class OutboxTooNew(LinesideError):
    """The outbox was written by a newer version: the caller stops and says so."""


class PayloadInvalid(LinesideError):
    """Bytes from outside are not what they claim to be: the caller counts them and sets them aside with the reason."""


class AlreadyRunning(LinesideError):
    """Another process owns the data folder: the caller stops and says so."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a configuration, for a person: where, what, and what to write instead.

    ``used_by``: who has it from there, with the place, when it stands in a template or among defaults.
    """

    where: str
    line: int
    column: int
    message: str
    suggestion: str = ""
    used_by: str = ""

    def __str__(self) -> str:
        place = f"{self.where}:{self.line}:{self.column}: " if self.line else f"{self.where}: " if self.where else ""
        suggestion = f" {self.suggestion}" if self.suggestion else ""
        return f"{place}{self.message}{suggestion}{f' (Used by {self.used_by}.)' if self.used_by else ''}"


class ConfigInvalid(LinesideError):
    """A configuration cannot be used: ``problems`` says everything that is wrong with it, not only the first thing."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems
