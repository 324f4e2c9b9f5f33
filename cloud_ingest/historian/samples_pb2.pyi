from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SampleBatch(_message.Message):
    __slots__ = ("group", "agent", "device", "epoch", "batch", "columns")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    AGENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    group: str
    agent: str
    device: str
    epoch: int
    batch: int
    columns: _containers.RepeatedCompositeFieldContainer[Column]
    def __init__(self, group: _Optional[str] = ..., agent: _Optional[str] = ..., device: _Optional[str] = ..., epoch: _Optional[int] = ..., batch: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[Column, _Mapping]]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("datatype", "tag", "tag_names", "time_ns", "quality", "missing", "double_values", "int_values", "uint_values", "bool_values", "text_values", "bytes_values")
    DATATYPE_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    TAG_NAMES_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    DOUBLE_VALUES_FIELD_NUMBER: _ClassVar[int]
    INT_VALUES_FIELD_NUMBER: _ClassVar[int]
    UINT_VALUES_FIELD_NUMBER: _ClassVar[int]
    BOOL_VALUES_FIELD_NUMBER: _ClassVar[int]
    TEXT_VALUES_FIELD_NUMBER: _ClassVar[int]
    BYTES_VALUES_FIELD_NUMBER: _ClassVar[int]
    datatype: int
    tag: _containers.RepeatedScalarFieldContainer[int]
    tag_names: _containers.RepeatedScalarFieldContainer[str]
    time_ns: _containers.RepeatedScalarFieldContainer[int]
    quality: _containers.RepeatedScalarFieldContainer[int]
    missing: _containers.RepeatedScalarFieldContainer[bool]
    double_values: _containers.RepeatedScalarFieldContainer[float]
    int_values: _containers.RepeatedScalarFieldContainer[int]
    uint_values: _containers.RepeatedScalarFieldContainer[int]
    bool_values: _containers.RepeatedScalarFieldContainer[bool]
    text_values: _containers.RepeatedScalarFieldContainer[str]
    bytes_values: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, datatype: _Optional[int] = ..., tag: _Optional[_Iterable[int]] = ..., tag_names: _Optional[_Iterable[str]] = ..., time_ns: _Optional[_Iterable[int]] = ..., quality: _Optional[_Iterable[int]] = ..., missing: _Optional[_Iterable[bool]] = ..., double_values: _Optional[_Iterable[float]] = ..., int_values: _Optional[_Iterable[int]] = ..., uint_values: _Optional[_Iterable[int]] = ..., bool_values: _Optional[_Iterable[bool]] = ..., text_values: _Optional[_Iterable[str]] = ..., bytes_values: _Optional[_Iterable[bytes]] = ...) -> None: ...
