from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TagName(_message.Message):
    __slots__ = ("agent", "device", "tag")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    agent: str
    device: str
    tag: str
    def __init__(self, agent: _Optional[str] = ..., device: _Optional[str] = ..., tag: _Optional[str] = ...) -> None: ...

class TagRef(_message.Message):
    __slots__ = ("id", "name")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: TagName
    def __init__(self, id: _Optional[int] = ..., name: _Optional[_Union[TagName, _Mapping]] = ...) -> None: ...

class Tag(_message.Message):
    __slots__ = ("id", "agent", "device", "tag", "type", "unit", "description", "properties", "stale")
    ID_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    PROPERTIES_FIELD_NUMBER: _ClassVar[int]
    STALE_FIELD_NUMBER: _ClassVar[int]
    id: int
    agent: str
    device: str
    tag: str
    type: str
    unit: str
    description: str
    properties: _struct_pb2.Struct
    stale: bool
    def __init__(self, id: _Optional[int] = ..., agent: _Optional[str] = ..., device: _Optional[str] = ..., tag: _Optional[str] = ..., type: _Optional[str] = ..., unit: _Optional[str] = ..., description: _Optional[str] = ..., properties: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., stale: _Optional[bool] = ...) -> None: ...

class Value(_message.Message):
    __slots__ = ("double_value", "int_value", "uint_value", "bool_value", "text_value", "bytes_value")
    DOUBLE_VALUE_FIELD_NUMBER: _ClassVar[int]
    INT_VALUE_FIELD_NUMBER: _ClassVar[int]
    UINT_VALUE_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUE_FIELD_NUMBER: _ClassVar[int]
    TEXT_VALUE_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUE_FIELD_NUMBER: _ClassVar[int]
    double_value: float
    int_value: int
    uint_value: int
    bool_value: bool
    text_value: str
    bytes_value: bytes
    def __init__(self, double_value: _Optional[float] = ..., int_value: _Optional[int] = ..., uint_value: _Optional[int] = ..., bool_value: _Optional[bool] = ..., text_value: _Optional[str] = ..., bytes_value: _Optional[bytes] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("tag_id", "time_ns", "value", "quality")
    TAG_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    tag_id: int
    time_ns: int
    value: Value
    quality: int
    def __init__(self, tag_id: _Optional[int] = ..., time_ns: _Optional[int] = ..., value: _Optional[_Union[Value, _Mapping]] = ..., quality: _Optional[int] = ...) -> None: ...

class SampleColumns(_message.Message):
    __slots__ = ("time_ns", "quality", "missing", "double_values", "int_values", "bool_values", "text_values", "bytes_values")
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUES_FIELD_NUMBER: _ClassVar[int]
    INT_VALUES_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUES_FIELD_NUMBER: _ClassVar[int]
    TEXT_VALUES_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUES_FIELD_NUMBER: _ClassVar[int]
    time_ns: _containers.RepeatedScalarFieldContainer[int]
    quality: _containers.RepeatedScalarFieldContainer[int]
    missing: _containers.RepeatedScalarFieldContainer[bool]
    double_values: _containers.RepeatedScalarFieldContainer[float]
    int_values: _containers.RepeatedScalarFieldContainer[int]
    bool_values: _containers.RepeatedScalarFieldContainer[bool]
    text_values: _containers.RepeatedScalarFieldContainer[str]
    bytes_values: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, time_ns: _Optional[_Iterable[int]] = ..., quality: _Optional[_Iterable[int]] = ..., missing: _Optional[_Iterable[bool]] = ..., double_values: _Optional[_Iterable[float]] = ..., int_values: _Optional[_Iterable[int]] = ..., bool_values: _Optional[_Iterable[bool]] = ..., text_values: _Optional[_Iterable[str]] = ..., bytes_values: _Optional[_Iterable[bytes]] = ...) -> None: ...

class ListTagsRequest(_message.Message):
    __slots__ = ("agent", "device", "search", "after", "limit")
    AGENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    agent: str
    device: str
    search: str
    after: int
    limit: int
    def __init__(self, agent: _Optional[str] = ..., device: _Optional[str] = ..., search: _Optional[str] = ..., after: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ListTagsResponse(_message.Message):
    __slots__ = ("tags", "next")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    next: int
    def __init__(self, tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., next: _Optional[int] = ...) -> None: ...

class ReadTagsRequest(_message.Message):
    __slots__ = ("tags",)
    TAGS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[TagRef]
    def __init__(self, tags: _Optional[_Iterable[_Union[TagRef, _Mapping]]] = ...) -> None: ...

class ReadTagsResponse(_message.Message):
    __slots__ = ("tags", "samples", "unknown")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    unknown: _containers.RepeatedCompositeFieldContainer[TagRef]
    def __init__(self, tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ..., unknown: _Optional[_Iterable[_Union[TagRef, _Mapping]]] = ...) -> None: ...

class ReadSamplesRequest(_message.Message):
    __slots__ = ("tag", "from_ns", "to_ns", "limit")
    TAG_FIELD_NUMBER: _ClassVar[int]
    FROM_NS_FIELD_NUMBER: _ClassVar[int]
    TO_NS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    tag: TagRef
    from_ns: int
    to_ns: int
    limit: int
    def __init__(self, tag: _Optional[_Union[TagRef, _Mapping]] = ..., from_ns: _Optional[int] = ..., to_ns: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class ReadSamplesResponse(_message.Message):
    __slots__ = ("tag", "columns", "next_ns")
    TAG_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_NS_FIELD_NUMBER: _ClassVar[int]
    tag: Tag
    columns: _containers.RepeatedCompositeFieldContainer[SampleColumns]
    next_ns: int
    def __init__(self, tag: _Optional[_Union[Tag, _Mapping]] = ..., columns: _Optional[_Iterable[_Union[SampleColumns, _Mapping]]] = ..., next_ns: _Optional[int] = ...) -> None: ...

class ReadIntervalsRequest(_message.Message):
    __slots__ = ("tag", "from_ns", "to_ns", "bucket_ms", "limit")
    TAG_FIELD_NUMBER: _ClassVar[int]
    FROM_NS_FIELD_NUMBER: _ClassVar[int]
    TO_NS_FIELD_NUMBER: _ClassVar[int]
    BUCKET_MS_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    tag: TagRef
    from_ns: int
    to_ns: int
    bucket_ms: int
    limit: int
    def __init__(self, tag: _Optional[_Union[TagRef, _Mapping]] = ..., from_ns: _Optional[int] = ..., to_ns: _Optional[int] = ..., bucket_ms: _Optional[int] = ..., limit: _Optional[int] = ...) -> None: ...

class IntervalColumns(_message.Message):
    __slots__ = ("time_ns", "count", "good", "mean", "min", "max", "first", "last")
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    GOOD_FIELD_NUMBER: _ClassVar[int]
    MEAN_FIELD_NUMBER: _ClassVar[int]
    MIN_FIELD_NUMBER: _ClassVar[int]
    MAX_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    time_ns: _containers.RepeatedScalarFieldContainer[int]
    count: _containers.RepeatedScalarFieldContainer[int]
    good: _containers.RepeatedScalarFieldContainer[int]
    mean: _containers.RepeatedScalarFieldContainer[float]
    min: _containers.RepeatedScalarFieldContainer[float]
    max: _containers.RepeatedScalarFieldContainer[float]
    first: _containers.RepeatedScalarFieldContainer[float]
    last: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, time_ns: _Optional[_Iterable[int]] = ..., count: _Optional[_Iterable[int]] = ..., good: _Optional[_Iterable[int]] = ..., mean: _Optional[_Iterable[float]] = ..., min: _Optional[_Iterable[float]] = ..., max: _Optional[_Iterable[float]] = ..., first: _Optional[_Iterable[float]] = ..., last: _Optional[_Iterable[float]] = ...) -> None: ...

class ReadIntervalsResponse(_message.Message):
    __slots__ = ("tag", "columns", "next_ns")
    TAG_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_NS_FIELD_NUMBER: _ClassVar[int]
    tag: Tag
    columns: IntervalColumns
    next_ns: int
    def __init__(self, tag: _Optional[_Union[Tag, _Mapping]] = ..., columns: _Optional[_Union[IntervalColumns, _Mapping]] = ..., next_ns: _Optional[int] = ...) -> None: ...

class ReadSampleRangeRequest(_message.Message):
    __slots__ = ("tags", "from_ns", "to_ns")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    FROM_NS_FIELD_NUMBER: _ClassVar[int]
    TO_NS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[TagRef]
    from_ns: int
    to_ns: int
    def __init__(self, tags: _Optional[_Iterable[_Union[TagRef, _Mapping]]] = ..., from_ns: _Optional[int] = ..., to_ns: _Optional[int] = ...) -> None: ...

class SampleChunk(_message.Message):
    __slots__ = ("tag_id", "tag", "columns", "next_ns", "is_last")
    TAG_ID_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_NS_FIELD_NUMBER: _ClassVar[int]
    IS_LAST_FIELD_NUMBER: _ClassVar[int]
    tag_id: int
    tag: Tag
    columns: SampleColumns
    next_ns: int
    is_last: bool
    def __init__(self, tag_id: _Optional[int] = ..., tag: _Optional[_Union[Tag, _Mapping]] = ..., columns: _Optional[_Union[SampleColumns, _Mapping]] = ..., next_ns: _Optional[int] = ..., is_last: _Optional[bool] = ...) -> None: ...

class StreamSamplesRequest(_message.Message):
    __slots__ = ("tags", "last_seen", "interval_ms")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEEN_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_MS_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[TagRef]
    last_seen: _containers.RepeatedCompositeFieldContainer[LastSeen]
    interval_ms: int
    def __init__(self, tags: _Optional[_Iterable[_Union[TagRef, _Mapping]]] = ..., last_seen: _Optional[_Iterable[_Union[LastSeen, _Mapping]]] = ..., interval_ms: _Optional[int] = ...) -> None: ...

class LastSeen(_message.Message):
    __slots__ = ("tag_id", "time_ns")
    TAG_ID_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    tag_id: int
    time_ns: int
    def __init__(self, tag_id: _Optional[int] = ..., time_ns: _Optional[int] = ...) -> None: ...

class StreamSamplesResponse(_message.Message):
    __slots__ = ("tags", "unknown", "samples")
    TAGS_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    tags: _containers.RepeatedCompositeFieldContainer[Tag]
    unknown: _containers.RepeatedCompositeFieldContainer[TagRef]
    samples: _containers.RepeatedCompositeFieldContainer[Sample]
    def __init__(self, tags: _Optional[_Iterable[_Union[Tag, _Mapping]]] = ..., unknown: _Optional[_Iterable[_Union[TagRef, _Mapping]]] = ..., samples: _Optional[_Iterable[_Union[Sample, _Mapping]]] = ...) -> None: ...
