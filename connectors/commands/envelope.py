"""The envelope of a command: what the cloud signs and the agent executes, and nothing beside it.

JSON with these keys, sealed as a JWS (``signing``). Shaped like the typed commands of Sparkplug's next major version;
how to move to those is in docs/protocol/commands.md.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, ValidationError

from connectors.model.errors import PayloadInvalid

ENVELOPE_BYTES_MAX: Final = 64 * 1024
"""Of a whole signed envelope; a larger one is refused unread."""
TEXT_MAX: Final = 1000
ULID_PATTERN: Final = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
"""https://github.com/ulid/spec: 26 characters of Crockford's Base32, the first at most 7."""

LOG_LEVEL_S_MAX: Final = 86_400
HEALTH_S_MIN: Final = 5
HEALTH_S_MAX: Final = 600
FILE_CHARS_MAX: Final = 30_000
"""What an envelope has room for; larger files are divided by ``include``."""
FILE_NAME_PATTERN: Final = r"^([A-Za-z0-9_][A-Za-z0-9_.-]*/){0,4}[A-Za-z0-9_][A-Za-z0-9_.-]*\.ya?ml$"
"""Never hidden, never above the folder."""

Ulid = Annotated[str, Field(pattern=ULID_PATTERN)]
Value = StrictBool | StrictInt | StrictFloat | StrictStr
Milliseconds = Annotated[int, Field(ge=0, lt=1 << 53)]
Name = Annotated[str, Field(min_length=1, max_length=255)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True)


class WriteTag(_Strict):
    """Write one value to one tag."""

    do: Literal["write"] = "write"
    device: Name
    tag: Name
    value: Value


class RunCommand(_Strict):
    """Run a named command of a device, as the device file defines it."""

    do: Literal["run"] = "run"
    device: Name
    command: Name
    arguments: dict[Name, Value] = Field(default_factory=dict, max_length=100)


class _OfAgent(_Strict):
    device: ClassVar[str] = ""
    """None: it is for the agent itself, and comes in an NCMD."""


class Restart(_OfAgent):
    """End in the order in which nothing is lost, and begin anew, with the files as they are then."""

    do: Literal["restart"] = "restart"


class Rebirth(_OfAgent):
    """Publish all birth certificates again."""

    do: Literal["rebirth"] = "rebirth"


class SetLogLevel(_OfAgent):
    """Log from another level on, for so long; then from that of the agent's file again."""

    do: Literal["log_level"] = "log_level"
    level: Literal["debug", "info", "warning", "error"]
    for_s: Annotated[int, Field(ge=1, le=LOG_LEVEL_S_MAX)] = 600


class ApplyDeviceFile(_OfAgent):
    """Use another version of a file that the agent's own file includes, on trial for ``health_s``.

    ``name`` is its path from the folder of the agent's file. ``replaces`` is the SHA-256 of what may be replaced
    (empty: there is none yet); without it, only what came as a version before may be. ``version`` and ``sha256`` are
    filled in by the cloud where they are not given.
    """

    do: Literal["apply_file"] = "apply_file"
    name: Annotated[str, Field(pattern=FILE_NAME_PATTERN, max_length=200)]
    version: Annotated[int, Field(ge=0, lt=1 << 31)] = 0
    content: Annotated[str, Field(max_length=FILE_CHARS_MAX)]
    sha256: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""
    replaces: Annotated[str | None, Field(pattern=r"^([0-9a-f]{64})?$")] = None
    health_s: Annotated[int, Field(ge=HEALTH_S_MIN, le=HEALTH_S_MAX)] = 60


class InstallRelease(_OfAgent):
    """Install a release beside the one that runs, and go to it, on trial for ``health_s``.

    ``sha256`` is that of the package, which the box fetches itself; what it takes, its release keys say.
    """

    do: Literal["install_release"] = "install_release"
    version: Annotated[str, Field(pattern=r"^[0-9][0-9a-z.+]{0,39}$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    health_s: Annotated[int, Field(ge=HEALTH_S_MIN, le=HEALTH_S_MAX)] = 300


DeviceAction = WriteTag | RunCommand
AgentAction = Restart | Rebirth | SetLogLevel | ApplyDeviceFile | InstallRelease
Action = Annotated[DeviceAction | AgentAction, Field(discriminator="do")]


def told(action: Action) -> dict[str, Any]:
    """The action as logs, audits and lists tell it: without the content of a file, which its SHA-256 stands for."""
    return action.model_dump(exclude={"content"})


class Envelope(_Strict):
    """One command to one agent. Times are milliseconds of Unix time, UTC, on the cloud's clock.

    ``stage``: ``arm`` only prepares, ``execute`` with ``armed`` naming the command that has armed it does it.
    ``journal`` and ``number`` are the agent's journal and its last command number as the cloud knows them; empty and 0
    before it knows any. ``approvers`` are those who have agreed beside ``issuer``.
    """

    version: Literal[1] = 1
    id: Ulid
    correlation: Annotated[str, Field(max_length=255)] = ""
    agent: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$", max_length=511)]
    action: Action
    stage: Literal["execute", "arm"] = "execute"
    armed: Ulid | None = None
    precondition: Annotated[str, Field(max_length=TEXT_MAX)] = ""
    issuer: Name
    approvers: Annotated[tuple[Name, ...], Field(max_length=10, strict=False)] = ()
    reason: Annotated[str, Field(max_length=TEXT_MAX)] = ""
    issued_ms: Milliseconds
    expires_ms: Milliseconds
    journal: Annotated[str, Field(pattern=r"^([0-9a-f]{32})?$")] = ""
    number: Annotated[int, Field(ge=0, lt=1 << 53)] = 0

    def to_json(self) -> bytes:
        """The bytes that are signed."""
        return self.model_dump_json(exclude_defaults=False).encode()


def read_envelope(document: bytes) -> Envelope:
    """The envelope in ``document``. Raises ``PayloadInvalid`` with all that is wrong with it, in one sentence."""
    try:
        return Envelope.model_validate_json(document)
    except ValidationError as exc:
        raise PayloadInvalid(f"not a command: {'; '.join(_sentence(error) for error in exc.errors()[:5])}") from exc


def _sentence(error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    return f"{place}: {error['msg']}" if place else str(error["msg"])
