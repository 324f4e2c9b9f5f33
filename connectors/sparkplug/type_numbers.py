"""The numbers of all Sparkplug data types (specification 3.0, section 6.4.16), and as what each of them is stored.

``DataType`` has the scalars. A file is stored as its bytes; a data set, a template and an array as text, which is JSON
(see ``structured_value``).
"""

from __future__ import annotations

import functools
from typing import Final

from connectors.model.datatypes import DataType
from connectors.model.errors import PayloadInvalid

DATASET: Final = 16
FILE: Final = 18
TEMPLATE: Final = 19
PROPERTY_SET: Final = 20
PROPERTY_SET_LIST: Final = 21
INT8_ARRAY: Final = 22
BOOLEAN_ARRAY: Final = 32
STRING_ARRAY: Final = 33
DATETIME_ARRAY: Final = 34
ARRAYS: Final = range(INT8_ARRAY, DATETIME_ARRAY + 1)

_ELEMENTS: Final = (
    *(DataType.INT8, DataType.INT16, DataType.INT32, DataType.INT64),
    *(DataType.UINT8, DataType.UINT16, DataType.UINT32, DataType.UINT64),
    *(DataType.FLOAT, DataType.DOUBLE, DataType.BOOLEAN, DataType.STRING, DataType.DATETIME),
)
ELEMENT_OF: Final = dict(zip(ARRAYS, _ELEMENTS, strict=True))
"""The data type of an array's elements."""

_LABELS: Final = {
    DATASET: "DataSet",
    FILE: "File",
    TEMPLATE: "Template",
    **{number: f"{element.label}Array" for number, element in ELEMENT_OF.items()},
}
_SCALARS: Final = frozenset(DataType)


def stored_type(number: int) -> DataType:
    """The type of the column that takes values of this data type. Raises ``PayloadInvalid`` when it is no metric's."""
    if number in _SCALARS:
        return DataType(number)
    if number == FILE:
        return DataType.BYTES
    if is_structured(number):
        return DataType.TEXT
    raise PayloadInvalid(f"data type {number}, which no metric can have")


def is_structured(number: int) -> bool:
    """Whether values of this data type are stored as JSON."""
    return number in (DATASET, TEMPLATE) or number in ARRAYS


@functools.lru_cache(maxsize=256)
def type_label(number: int) -> str:
    """The name as the specification spells it, for example ``UInt16`` or ``DataSet``."""
    return DataType(number).label if number in _SCALARS else _LABELS.get(number, f"type {number}")
