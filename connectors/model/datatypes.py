"""Data types of tags, with the numbers of Sparkplug B 3.0, section 6.4.16 (data types), table of `DataType`.

Every value that Lineside carries has one of these types, from the register or node it was read from to the typed
column that stores it.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Any, Final

import numpy as np


class DataType(IntEnum):
    """Scalar Sparkplug data types, by their number on the wire."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    BYTES = 17

    @property
    def label(self) -> str:
        """The name as the specification spells it, for example ``UInt16``."""
        return _LABELS[self]


_LABELS: Final = {
    DataType.INT8: "Int8",
    DataType.INT16: "Int16",
    DataType.INT32: "Int32",
    DataType.INT64: "Int64",
    DataType.UINT8: "UInt8",
    DataType.UINT16: "UInt16",
    DataType.UINT32: "UInt32",
    DataType.UINT64: "UInt64",
    DataType.FLOAT: "Float",
    DataType.DOUBLE: "Double",
    DataType.BOOLEAN: "Boolean",
    DataType.STRING: "String",
    DataType.DATETIME: "DateTime",
    DataType.TEXT: "Text",
    DataType.UUID: "UUID",
    DataType.BYTES: "Bytes",
}


class ValueFamily(Enum):
    """Families of data types that share one value column."""

    FLOAT = "float64"
    INT = "int64"
    UINT = "uint64"
    BOOL = "bool"
    TEXT = "text"
    BYTES = "bytes"


_FAMILIES: Final = {
    DataType.INT8: ValueFamily.INT,
    DataType.INT16: ValueFamily.INT,
    DataType.INT32: ValueFamily.INT,
    DataType.INT64: ValueFamily.INT,
    DataType.UINT8: ValueFamily.UINT,
    DataType.UINT16: ValueFamily.UINT,
    DataType.UINT32: ValueFamily.UINT,
    DataType.UINT64: ValueFamily.UINT,
    DataType.FLOAT: ValueFamily.FLOAT,
    DataType.DOUBLE: ValueFamily.FLOAT,
    DataType.BOOLEAN: ValueFamily.BOOL,
    DataType.STRING: ValueFamily.TEXT,
    DataType.DATETIME: ValueFamily.INT,
    DataType.TEXT: ValueFamily.TEXT,
    DataType.UUID: ValueFamily.TEXT,
    DataType.BYTES: ValueFamily.BYTES,
}

_DTYPES: Final[dict[DataType, np.dtype[Any]]] = {
    DataType.INT8: np.dtype("int8"),
    DataType.INT16: np.dtype("int16"),
    DataType.INT32: np.dtype("int32"),
    DataType.INT64: np.dtype("int64"),
    DataType.UINT8: np.dtype("uint8"),
    DataType.UINT16: np.dtype("uint16"),
    DataType.UINT32: np.dtype("uint32"),
    DataType.UINT64: np.dtype("uint64"),
    DataType.FLOAT: np.dtype("float32"),
    DataType.DOUBLE: np.dtype("float64"),
    DataType.BOOLEAN: np.dtype("bool"),
    DataType.STRING: np.dtype("object"),
    DataType.DATETIME: np.dtype("int64"),
    DataType.TEXT: np.dtype("object"),
    DataType.UUID: np.dtype("object"),
    DataType.BYTES: np.dtype("object"),
}


def family_of(datatype: DataType) -> ValueFamily:
    """The family whose column holds values of ``datatype``. DateTime is INT: milliseconds since 1970, UTC."""
    return _FAMILIES[datatype]


def dtype_of(datatype: DataType) -> np.dtype[Any]:
    """The NumPy dtype of a value column of ``datatype``; text and bytes are ``object``."""
    return _DTYPES[datatype]


def is_numeric(datatype: DataType) -> bool:
    """Whether arithmetic (deadband, scaling) makes sense on values of ``datatype``."""
    return family_of(datatype) in {ValueFamily.FLOAT, ValueFamily.INT, ValueFamily.UINT}


def parse_datatype(text: str) -> DataType:
    """The data type that ``text`` names (``Double``, ``uint16``, ``float32``, ``bool``, ``LREAL``…).

    Raises ``ValueError`` when no type has that name, or several have; the message says what is known.
    """
    name = text.strip().lower()
    if name in AMBIGUOUS_SPELLINGS:
        raise ValueError(f"the data type {text!r} may have {AMBIGUOUS_SPELLINGS[name]}")
    found = SPELLINGS.get(name) or IEC_SPELLINGS.get(name)
    if found is None:
        raise ValueError(f"unknown data type {text!r}; known are {', '.join(sorted(SPELLINGS))}")
    return found


SPELLINGS: Final = {label.lower(): datatype for datatype, label in _LABELS.items()} | {
    "float32": DataType.FLOAT,
    "float64": DataType.DOUBLE,
    "bool": DataType.BOOLEAN,
}
IEC_SPELLINGS: Final = {
    "sint": DataType.INT8,
    "usint": DataType.UINT8,
    "byte": DataType.UINT8,
    "word": DataType.UINT16,
    "dint": DataType.INT32,
    "udint": DataType.UINT32,
    "dword": DataType.UINT32,
    "lint": DataType.INT64,
    "ulint": DataType.UINT64,
    "lword": DataType.UINT64,
    "real": DataType.FLOAT,
    "single": DataType.FLOAT,
    "lreal": DataType.DOUBLE,
}
"""Elementary types of IEC 61131-3 (table 10), as PLC programs name them; ``single`` is what some call REAL."""
AMBIGUOUS_SPELLINGS: Final = {
    "int": "16 bits, as in IEC 61131-3, or 32; write int16 or int32",
    "uint": "16 bits, as in IEC 61131-3, or 32; write uint16 or uint32",
}
"""Names that nobody should have to guess about: how many bits they have, and what to write."""
