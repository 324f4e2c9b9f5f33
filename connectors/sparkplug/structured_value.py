"""Data sets, templates, arrays and property sets as JSON, the form in which the historian stores them.

=========== ===========================================================================================================
Array       ``[1, -2, 3]``
DataSet     ``{"columns": ["a"], "types": ["Int32"], "rows": [[1], [null]]}``
Template    ``{"template": "Motor", "version": "1", "parameters": {"pole pairs": 2}, "members": {"rpm": 1480}}``
PropertySet ``{"engLow": 0, "limits": {"high": 5}}``
=========== ===========================================================================================================

Numbers are as their data type says; NaN and infinity are ``"NaN"``, ``"Infinity"``, ``"-Infinity"``; bytes are base64;
a DateTime is milliseconds since 1970.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from connectors.model.datatypes import DataType, dtype_of
from connectors.model.errors import PayloadInvalid
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.metric_value import CANNOT_CONVERT, converted, text_of
from connectors.sparkplug.type_numbers import (
    ARRAYS,
    BOOLEAN_ARRAY,
    DATASET,
    ELEMENT_OF,
    FILE,
    PROPERTY_SET,
    PROPERTY_SET_LIST,
    STRING_ARRAY,
    TEMPLATE,
    stored_type,
    type_label,
)

MemberTypes = Mapping[str, Mapping[str, int]]
"""By template: the data type numbers of its members, which data messages leave out."""

_COUNT_BYTES: Final = 4


def structured_text(metric: pb.Metric, number: int, members: MemberTypes) -> str:
    """The value of ``metric``, which has one, of data type ``number``, as JSON. Raises ``PayloadInvalid``."""
    try:
        return to_json(_value(metric, number, members))
    except CANNOT_CONVERT as exc:
        name = metric.name[:80] or f"alias {metric.alias}"
        field = metric.WhichOneof("value")
        raise PayloadInvalid(f"the metric {name!r} has a {field}, which cannot be a {type_label(number)}") from exc


def member_types(template: pb.Template) -> dict[str, int]:
    """The data types of a template's members, as far as it tells them."""
    return {member.name: member.datatype for member in template.metrics if member.datatype}


def property_values(properties: pb.PropertySet) -> dict[str, Any]:
    """A property set as it goes into JSON. Raises ``PayloadInvalid``."""
    if len(properties.keys) != len(properties.values):
        raise PayloadInvalid(f"a property set has {len(properties.keys)} keys and {len(properties.values)} values")
    return {text_of(key): _property(value) for key, value in zip(properties.keys, properties.values, strict=True)}


def to_json(value: Any) -> str:
    """``value`` as JSON in one line; every number in it is finite."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _value(metric: pb.Metric, number: int, members: MemberTypes) -> Any:
    field = metric.WhichOneof("value")
    if metric.is_null or field is None:
        return None
    raw = getattr(metric, field)
    if number == DATASET and field == "dataset_value":
        return _data_set(raw)
    if number == TEMPLATE and field == "template_value":
        return _template(raw, members)
    if number in ARRAYS and field == "bytes_value":
        return _array(raw, number)
    return _scalar(raw, field, number)


def _scalar(raw: Any, field: str, number: int) -> Any:
    """A value of a simple type; as it was sent, when its sender has not told the type."""
    if number == 0 and isinstance(raw, bool | int | float | str | bytes):
        return _plain(raw)
    if number != FILE and (number == 0 or stored_type(number) != number):
        raise TypeError(field)
    return _plain(converted(raw, field, stored_type(number)))


def _plain(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


def _data_set(data: pb.DataSet) -> dict[str, Any]:
    if len(data.types) != len(data.columns):
        raise PayloadInvalid(f"a data set has {len(data.columns)} columns and {len(data.types)} types")
    rows = []
    for row in data.rows:
        if len(row.elements) != len(data.types):
            raise PayloadInvalid(f"a data set of {len(data.types)} columns has a row of {len(row.elements)} elements")
        rows.append([_oneof(element, number) for element, number in zip(row.elements, data.types, strict=True)])
    columns = [text_of(column) for column in data.columns]
    return {"columns": columns, "types": [type_label(number) for number in data.types], "rows": rows}


def _template(template: pb.Template, members: MemberTypes) -> dict[str, Any]:
    known = members.get(template.template_ref, {})
    found: dict[str, Any] = {"template": text_of(template.template_ref)}
    if template.HasField("version"):
        found["version"] = text_of(template.version)
    if template.parameters:
        found["parameters"] = {text_of(each.name): _oneof(each, each.type) for each in template.parameters}
    found["members"] = {
        text_of(member.name) or f"alias {member.alias}": _value(
            member, member.datatype or known.get(member.name, 0), members
        )
        for member in template.metrics
    }
    return found


def _oneof(holder: pb.DataSet.Value | pb.Template.Parameter, number: int) -> Any:
    field = holder.WhichOneof("value")
    return None if field is None else _scalar(getattr(holder, field), field, number)


def _property(value: pb.PropertyValue) -> Any:
    field = value.WhichOneof("value")
    if value.is_null or field is None:
        return None
    raw = getattr(value, field)
    if field == "propertyset_value":
        return property_values(raw)
    if field == "propertysets_value":
        return [property_values(each) for each in raw.propertyset]
    if value.type in (PROPERTY_SET, PROPERTY_SET_LIST):
        raise PayloadInvalid(f"a property of type {value.type} has a {field}")
    try:
        return _scalar(raw, field, value.type)
    except CANNOT_CONVERT as exc:
        raise PayloadInvalid(f"a property has a {field}, which cannot be a {type_label(value.type)}") from exc


def _array(data: bytes, number: int) -> list[Any]:
    """The elements of an array (section 6.4.16, array types): packed, little endian."""
    if number == STRING_ARRAY:
        if data and data[-1:] != b"\x00":
            raise PayloadInvalid("a StringArray does not end with a zero byte")
        return [text.decode("utf-8", "replace") for text in data.split(b"\x00")[:-1]]
    if number == BOOLEAN_ARRAY:
        return _booleans(data)
    dtype = dtype_of(DataType(ELEMENT_OF[number])).newbyteorder("<")
    if len(data) % dtype.itemsize:
        raise PayloadInvalid(f"a {type_label(number)} has {len(data)} bytes, {dtype.itemsize} to an element")
    return [_plain(value) for value in np.frombuffer(data, dtype).tolist()]


def _booleans(data: bytes) -> list[bool]:
    """A count of four bytes, then a bit for each element, the first in the highest bit."""
    count = int.from_bytes(data[:_COUNT_BYTES], "little")
    bits = np.unpackbits(np.frombuffer(data[_COUNT_BYTES:], np.uint8))
    if len(data) < _COUNT_BYTES or len(bits) < count:
        raise PayloadInvalid(f"a BooleanArray of {count} elements has {len(data)} bytes")
    found: list[bool] = bits[:count].astype(bool).tolist()
    return found
