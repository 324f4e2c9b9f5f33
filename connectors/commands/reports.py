"""What an agent says of a command: one record a step, through the outbox, so that it is delivered like a sample.

Beside it the hello of each start, and what the cloud answers: its time, signed, and whether the journal is the one
it knows; and how the cloud takes a command back.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from connectors.commands.envelope import Name, Ulid
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.model.errors import PayloadInvalid

DETAIL_CHARS_MAX: Final = 2000
FILE_MESSAGE_CHARS_MAX: Final = 300
FILES_TOLD_MAX: Final = 200
NAME_CHARS_MAX: Final = 255
REASON_CHARS_MAX: Final = 1000
Milliseconds = Annotated[int, Field(ge=0, lt=253_402_300_800_000)]
"""Of Unix time, until the end of the year 9999: later ones are no times for who shows them."""
Value = StrictBool | StrictInt | StrictFloat | StrictStr | None
JournalId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Epoch = Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")]
KeyId = Annotated[str, Field(pattern=r"^[0-9A-Za-z_-]{43}$")]
"""The thumbprint of a key (RFC 7638)."""


class Record(BaseModel):
    """What both sides know, as JSON; fields that are not known are left out, so that later versions can add some."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False, defer_build=True)

    def to_json(self) -> bytes:
        """The record as it travels."""
        return self.model_dump_json(exclude_none=True).encode()


class CommandReport(Record):
    """A step of one command. Times are milliseconds of Unix time, UTC, by the agent's clock.

    ``number`` is the command's in the agent's journal, 0 for one that never got into it; ``step`` counts the reports of
    the command from 1. ``before`` and ``after`` are what the tag held before the write and when it was read back.
    ``start`` is the epoch of the start that says it. ``source`` tells where the command came from: ``cloud`` (signed),
    ``local`` (somebody at the box), ``plain`` (a Sparkplug host without envelope). Its first report, and each of one
    that is not of the cloud, say what it does (``action``, as in the envelope), who has asked for it and why.
    """

    kind: Literal["report"] = "report"
    id: Ulid
    journal: JournalId
    number: Annotated[int, Field(ge=0, lt=1 << 53)]
    step: Annotated[int, Field(ge=1, lt=1 << 31)]
    state: CommandState
    time_ms: Milliseconds
    actor: Name
    code: Refusal | None = None
    detail: Annotated[str, Field(max_length=DETAIL_CHARS_MAX)] = ""
    before: Value = None
    after: Value = None
    start: Epoch = ""
    source: Annotated[str, Field(max_length=20)] = ""
    action: dict[str, Any] | None = None
    issuer: Annotated[str, Field(max_length=255)] = ""
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""


class HeldLock(Record):
    """A line that an operator has locked: a device, or ``agent`` for all of them."""

    line: Annotated[str, Field(max_length=255)]
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)]
    actor: Annotated[str, Field(max_length=255)]
    since_ms: Milliseconds


class FileFact(Record):
    """A device file of an agent as it is now; ``version`` is 0 for what is no version of the cloud's.

    ``state``: in_use, trial, changed (at the box, since its last version), local (never had one), failed (the newest
    version could not be used, as ``message`` says). ``loaded`` is false until the agent has begun with this content.
    """

    name: Annotated[str, Field(max_length=NAME_CHARS_MAX)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")]
    version: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    state: Annotated[str, Field(max_length=20)]
    loaded: bool = True
    message: Annotated[str, Field(max_length=FILE_MESSAGE_CHARS_MAX)] = ""


class Hello(Record):
    """What an agent says at each start and then every few minutes: it asks for the time, and shows its journal.

    ``start`` is the epoch of this start, ``previous`` that of the start before it as the journal has it: another one
    than the cloud knows means that the disk was restored. ``open`` are the ids without a final state in the journal,
    ``trusted`` those of the cloud's keys that it trusts; an agent that is told of none names none. ``files`` are its
    device files; an agent that knows none of that says nothing of them. ``count`` counts the hellos of this start from
    1, so that of signed ones nobody can pass an old one for a new one. ``locks`` are lines, ``held`` says of each why,
    by whom and since when. ``audit_base`` is the entry of its audit log that the cloud has said it knows,
    ``audit_base_hash`` the hash that this entry has now.
    """

    kind: Literal["hello"] = "hello"
    nonce: JournalId
    journal: JournalId
    number: Annotated[int, Field(ge=0, lt=1 << 53)]
    start: Epoch
    previous: Epoch = ""
    open: Annotated[tuple[Ulid, ...], Field(max_length=1000)] = ()
    key_id: Annotated[str, Field(max_length=100)] = ""
    audit_number: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    audit_hash: Annotated[str, Field(max_length=64)] = ""
    locks: Annotated[tuple[str, ...], Field(max_length=1000)] = ()
    trusted: Annotated[tuple[KeyId, ...], Field(max_length=100)] | None = None
    files: Annotated[tuple[FileFact, ...], Field(max_length=FILES_TOLD_MAX)] | None = None
    count: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    held: Annotated[tuple[HeldLock, ...], Field(max_length=100)] = ()
    audit_base: Annotated[int, Field(ge=0, lt=1 << 53)] = 0
    audit_base_hash: Annotated[str, Field(max_length=64)] = ""


class TimeAnswer(Record):
    """The cloud's answer to a hello: its time when it answered, and what it knows of the journal.

    ``restored``: the journal is behind what the cloud has seen of it; the agent begins a new one. ``audit_number`` is
    the newest entry of the agent's audit log whose hash the cloud knows.
    """

    version: Literal[1] = 1
    agent: Annotated[str, Field(max_length=511)]
    nonce: JournalId
    time_ms: Milliseconds
    journal: JournalId
    number: Annotated[int, Field(ge=0, lt=1 << 53)]
    restored: bool = False
    audit_number: Annotated[int, Field(ge=0, lt=1 << 53)] = 0


class KeysAnswer(Record):
    """The cloud's answer to a hello that names other keys than hold: these, and no others, are to be trusted.

    The key that has signed it is among them, so that no key ever ends the trust in itself, or in all of them.
    ``vouched`` has for each that followed another one a JWS of kind lineside-key, made with that other one
    (``KeyVoucher``): what the cloud's database alone says is no reason to trust a key.
    """

    version: Literal[1] = 1
    agent: Annotated[str, Field(max_length=511)]
    nonce: JournalId
    time_ms: Milliseconds
    keys: Annotated[dict[KeyId, dict[str, Any]], Field(min_length=1, max_length=10)]
    vouched: Annotated[dict[KeyId, str], Field(max_length=10)] = Field(default_factory=dict)


class KeyVoucher(Record):
    """Who has a key of the cloud says, when the next one is made, that it is one of the cloud's, too."""

    version: Literal[1] = 1
    key_id: KeyId
    issued_ms: Milliseconds


class Cancellation(Record):
    """The cloud takes a command back; it is cancelled unless the device is being written already."""

    version: Literal[1] = 1
    agent: Annotated[str, Field(max_length=511)]
    id: Ulid
    issuer: Name
    reason: Annotated[str, Field(max_length=1000)] = ""
    issued_ms: Milliseconds


class Approval(Record):
    """The cloud says that ``approver`` agrees to a command that waits for that at its agent; nothing else changes."""

    version: Literal[1] = 1
    agent: Annotated[str, Field(max_length=511)]
    id: Ulid
    approver: Name
    reason: Annotated[str, Field(max_length=REASON_CHARS_MAX)] = ""
    issued_ms: Milliseconds


_Kind = TypeVar("_Kind", bound=Record)


def read_record(kind: type[_Kind], document: bytes) -> _Kind:
    """The record in ``document``. Raises ``PayloadInvalid`` with what is wrong with it."""
    try:
        return kind.model_validate_json(document)
    except ValidationError as exc:
        said = "; ".join(_sentence(error) for error in exc.errors()[:5])
        raise PayloadInvalid(f"not a {kind.__name__}: {said}") from exc


def _sentence(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else str(error["msg"])
