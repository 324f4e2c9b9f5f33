from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LineState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LINE_STATE_UNSPECIFIED: _ClassVar[LineState]
    LINE_STATE_RUNNING: _ClassVar[LineState]
    LINE_STATE_STOPPED: _ClassVar[LineState]
    LINE_STATE_FAULTED: _ClassVar[LineState]
    LINE_STATE_IDLE: _ClassVar[LineState]
    LINE_STATE_PLANNED_STOP: _ClassVar[LineState]
    LINE_STATE_CHANGEOVER: _ClassVar[LineState]
    LINE_STATE_OFFLINE: _ClassVar[LineState]
LINE_STATE_UNSPECIFIED: LineState
LINE_STATE_RUNNING: LineState
LINE_STATE_STOPPED: LineState
LINE_STATE_FAULTED: LineState
LINE_STATE_IDLE: LineState
LINE_STATE_PLANNED_STOP: LineState
LINE_STATE_CHANGEOVER: LineState
LINE_STATE_OFFLINE: LineState

class Line(_message.Message):
    __slots__ = ("site", "line", "name", "area", "state", "since_ns", "reason", "good", "reject", "energy_kwh", "speed", "speed_unit", "work_order", "product", "last_sample_ns")
    SITE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    AREA_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GOOD_FIELD_NUMBER: _ClassVar[int]
    REJECT_FIELD_NUMBER: _ClassVar[int]
    ENERGY_KWH_FIELD_NUMBER: _ClassVar[int]
    SPEED_FIELD_NUMBER: _ClassVar[int]
    SPEED_UNIT_FIELD_NUMBER: _ClassVar[int]
    WORK_ORDER_FIELD_NUMBER: _ClassVar[int]
    PRODUCT_FIELD_NUMBER: _ClassVar[int]
    LAST_SAMPLE_NS_FIELD_NUMBER: _ClassVar[int]
    site: str
    line: str
    name: str
    area: str
    state: LineState
    since_ns: int
    reason: str
    good: str
    reject: str
    energy_kwh: str
    speed: str
    speed_unit: str
    work_order: str
    product: str
    last_sample_ns: int
    def __init__(self, site: _Optional[str] = ..., line: _Optional[str] = ..., name: _Optional[str] = ..., area: _Optional[str] = ..., state: _Optional[_Union[LineState, str]] = ..., since_ns: _Optional[int] = ..., reason: _Optional[str] = ..., good: _Optional[str] = ..., reject: _Optional[str] = ..., energy_kwh: _Optional[str] = ..., speed: _Optional[str] = ..., speed_unit: _Optional[str] = ..., work_order: _Optional[str] = ..., product: _Optional[str] = ..., last_sample_ns: _Optional[int] = ...) -> None: ...

class GetLineRequest(_message.Message):
    __slots__ = ("site", "line")
    SITE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    site: str
    line: str
    def __init__(self, site: _Optional[str] = ..., line: _Optional[str] = ...) -> None: ...

class ListLinesRequest(_message.Message):
    __slots__ = ("site", "after", "limit")
    SITE_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    site: str
    after: str
    limit: int
    def __init__(self, site: _Optional[str] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class ListLinesResponse(_message.Message):
    __slots__ = ("lines", "next")
    LINES_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[Line]
    next: str
    def __init__(self, lines: _Optional[_Iterable[_Union[Line, _Mapping]]] = ..., next: _Optional[str] = ...) -> None: ...

class StreamLinesRequest(_message.Message):
    __slots__ = ("lines", "interval_ms")
    LINES_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedScalarFieldContainer[str]
    interval_ms: int
    def __init__(self, lines: _Optional[_Iterable[str]] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class StreamLinesResponse(_message.Message):
    __slots__ = ("lines", "removed")
    LINES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    lines: _containers.RepeatedCompositeFieldContainer[Line]
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, lines: _Optional[_Iterable[_Union[Line, _Mapping]]] = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...
