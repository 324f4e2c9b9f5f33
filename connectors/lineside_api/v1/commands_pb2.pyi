from connectors.lineside_api.v1 import data_pb2 as _data_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CommandState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMAND_STATE_UNSPECIFIED: _ClassVar[CommandState]
    COMMAND_STATE_REQUESTED: _ClassVar[CommandState]
    COMMAND_STATE_APPROVED: _ClassVar[CommandState]
    COMMAND_STATE_SENT: _ClassVar[CommandState]
    COMMAND_STATE_RECEIVED: _ClassVar[CommandState]
    COMMAND_STATE_EXECUTING: _ClassVar[CommandState]
    COMMAND_STATE_UNKNOWN: _ClassVar[CommandState]
    COMMAND_STATE_SUCCEEDED: _ClassVar[CommandState]
    COMMAND_STATE_FAILED: _ClassVar[CommandState]
    COMMAND_STATE_REFUSED: _ClassVar[CommandState]
    COMMAND_STATE_EXPIRED: _ClassVar[CommandState]
    COMMAND_STATE_CANCELLED: _ClassVar[CommandState]
COMMAND_STATE_UNSPECIFIED: CommandState
COMMAND_STATE_REQUESTED: CommandState
COMMAND_STATE_APPROVED: CommandState
COMMAND_STATE_SENT: CommandState
COMMAND_STATE_RECEIVED: CommandState
COMMAND_STATE_EXECUTING: CommandState
COMMAND_STATE_UNKNOWN: CommandState
COMMAND_STATE_SUCCEEDED: CommandState
COMMAND_STATE_FAILED: CommandState
COMMAND_STATE_REFUSED: CommandState
COMMAND_STATE_EXPIRED: CommandState
COMMAND_STATE_CANCELLED: CommandState

class Action(_message.Message):
    __slots__ = ("write", "run", "restart", "rebirth", "log_level", "apply_file", "install_release")
    WRITE_FIELD_NUMBER: _ClassVar[int]
    RUN_FIELD_NUMBER: _ClassVar[int]
    RESTART_FIELD_NUMBER: _ClassVar[int]
    REBIRTH_FIELD_NUMBER: _ClassVar[int]
    LOG_LEVEL_FIELD_NUMBER: _ClassVar[int]
    APPLY_FILE_FIELD_NUMBER: _ClassVar[int]
    INSTALL_RELEASE_FIELD_NUMBER: _ClassVar[int]
    write: WriteTag
    run: RunCommand
    restart: Restart
    rebirth: Rebirth
    log_level: SetLogLevel
    apply_file: ApplyDeviceFile
    install_release: InstallRelease
    def __init__(self, write: _Optional[_Union[WriteTag, _Mapping]] = ..., run: _Optional[_Union[RunCommand, _Mapping]] = ..., restart: _Optional[_Union[Restart, _Mapping]] = ..., rebirth: _Optional[_Union[Rebirth, _Mapping]] = ..., log_level: _Optional[_Union[SetLogLevel, _Mapping]] = ..., apply_file: _Optional[_Union[ApplyDeviceFile, _Mapping]] = ..., install_release: _Optional[_Union[InstallRelease, _Mapping]] = ...) -> None: ...

class WriteTag(_message.Message):
    __slots__ = ("device", "tag", "value")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    device: str
    tag: str
    value: _data_pb2.Value
    def __init__(self, device: _Optional[str] = ..., tag: _Optional[str] = ..., value: _Optional[_Union[_data_pb2.Value, _Mapping]] = ...) -> None: ...

class RunCommand(_message.Message):
    __slots__ = ("device", "command", "arguments")
    class ArgumentsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: _data_pb2.Value
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[_data_pb2.Value, _Mapping]] = ...) -> None: ...
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    device: str
    command: str
    arguments: _containers.MessageMap[str, _data_pb2.Value]
    def __init__(self, device: _Optional[str] = ..., command: _Optional[str] = ..., arguments: _Optional[_Mapping[str, _data_pb2.Value]] = ...) -> None: ...

class Restart(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Rebirth(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SetLogLevel(_message.Message):
    __slots__ = ("level", "for_s")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    FOR_S_FIELD_NUMBER: _ClassVar[int]
    level: str
    for_s: int
    def __init__(self, level: _Optional[str] = ..., for_s: _Optional[int] = ...) -> None: ...

class ApplyDeviceFile(_message.Message):
    __slots__ = ("name", "content", "replaces", "health_s", "version", "sha256")
    NAME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    HEALTH_S_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    name: str
    content: str
    replaces: str
    health_s: int
    version: int
    sha256: str
    def __init__(self, name: _Optional[str] = ..., content: _Optional[str] = ..., replaces: _Optional[str] = ..., health_s: _Optional[int] = ..., version: _Optional[int] = ..., sha256: _Optional[str] = ...) -> None: ...

class InstallRelease(_message.Message):
    __slots__ = ("version", "sha256", "health_s")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    HEALTH_S_FIELD_NUMBER: _ClassVar[int]
    version: str
    sha256: str
    health_s: int
    def __init__(self, version: _Optional[str] = ..., sha256: _Optional[str] = ..., health_s: _Optional[int] = ...) -> None: ...

class SendCommandRequest(_message.Message):
    __slots__ = ("idempotency_key", "agent", "action", "reason", "correlation", "precondition", "arm", "armed", "expires_ms", "approval", "plain")
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_FIELD_NUMBER: _ClassVar[int]
    PRECONDITION_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    ARMED_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_MS_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    idempotency_key: str
    agent: str
    action: Action
    reason: str
    correlation: str
    precondition: str
    arm: bool
    armed: str
    expires_ms: int
    approval: bool
    plain: bool
    def __init__(self, idempotency_key: _Optional[str] = ..., agent: _Optional[str] = ..., action: _Optional[_Union[Action, _Mapping]] = ..., reason: _Optional[str] = ..., correlation: _Optional[str] = ..., precondition: _Optional[str] = ..., arm: _Optional[bool] = ..., armed: _Optional[str] = ..., expires_ms: _Optional[int] = ..., approval: _Optional[bool] = ..., plain: _Optional[bool] = ...) -> None: ...

class GetCommandRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class WatchCommandRequest(_message.Message):
    __slots__ = ("id", "after", "until_known")
    ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    UNTIL_KNOWN_FIELD_NUMBER: _ClassVar[int]
    id: str
    after: int
    until_known: bool
    def __init__(self, id: _Optional[str] = ..., after: _Optional[int] = ..., until_known: _Optional[bool] = ...) -> None: ...

class CancelCommandRequest(_message.Message):
    __slots__ = ("id", "reason")
    ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    id: str
    reason: str
    def __init__(self, id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class CommandStatus(_message.Message):
    __slots__ = ("cursor", "state", "time_ns", "actor", "reason", "code", "before", "after", "late")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CODE_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LATE_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    state: CommandState
    time_ns: int
    actor: str
    reason: str
    code: str
    before: _data_pb2.Value
    after: _data_pb2.Value
    late: bool
    def __init__(self, cursor: _Optional[int] = ..., state: _Optional[_Union[CommandState, str]] = ..., time_ns: _Optional[int] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., code: _Optional[str] = ..., before: _Optional[_Union[_data_pb2.Value, _Mapping]] = ..., after: _Optional[_Union[_data_pb2.Value, _Mapping]] = ..., late: _Optional[bool] = ...) -> None: ...

class Command(_message.Message):
    __slots__ = ("id", "agent", "origin", "source", "correlation", "action", "arm", "armed", "precondition", "issuer", "approval", "approvers", "waits_for_approval", "reason", "plain", "requested_ns", "expires_ns", "state", "changed_ns", "sends", "cancellation_asked", "states")
    ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CORRELATION_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ARM_FIELD_NUMBER: _ClassVar[int]
    ARMED_FIELD_NUMBER: _ClassVar[int]
    PRECONDITION_FIELD_NUMBER: _ClassVar[int]
    ISSUER_FIELD_NUMBER: _ClassVar[int]
    APPROVAL_FIELD_NUMBER: _ClassVar[int]
    APPROVERS_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_APPROVAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PLAIN_FIELD_NUMBER: _ClassVar[int]
    REQUESTED_NS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_NS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    CHANGED_NS_FIELD_NUMBER: _ClassVar[int]
    SENDS_FIELD_NUMBER: _ClassVar[int]
    CANCELLATION_ASKED_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    id: str
    agent: str
    origin: str
    source: str
    correlation: str
    action: Action
    arm: bool
    armed: str
    precondition: str
    issuer: str
    approval: bool
    approvers: _containers.RepeatedScalarFieldContainer[str]
    waits_for_approval: bool
    reason: str
    plain: bool
    requested_ns: int
    expires_ns: int
    state: CommandState
    changed_ns: int
    sends: int
    cancellation_asked: bool
    states: _containers.RepeatedCompositeFieldContainer[CommandStatus]
    def __init__(self, id: _Optional[str] = ..., agent: _Optional[str] = ..., origin: _Optional[str] = ..., source: _Optional[str] = ..., correlation: _Optional[str] = ..., action: _Optional[_Union[Action, _Mapping]] = ..., arm: _Optional[bool] = ..., armed: _Optional[str] = ..., precondition: _Optional[str] = ..., issuer: _Optional[str] = ..., approval: _Optional[bool] = ..., approvers: _Optional[_Iterable[str]] = ..., waits_for_approval: _Optional[bool] = ..., reason: _Optional[str] = ..., plain: _Optional[bool] = ..., requested_ns: _Optional[int] = ..., expires_ns: _Optional[int] = ..., state: _Optional[_Union[CommandState, str]] = ..., changed_ns: _Optional[int] = ..., sends: _Optional[int] = ..., cancellation_asked: _Optional[bool] = ..., states: _Optional[_Iterable[_Union[CommandStatus, _Mapping]]] = ...) -> None: ...
