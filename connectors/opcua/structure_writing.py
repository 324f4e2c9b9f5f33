"""Values of structures in bytes, from JSON: the way back of ``structures`` (Part 6, 5.2.6 and 5.2.7).

JSON has what a tag shows of a structure: fields by their names, times as ISO 8601, bytes as base64, enumerations by
numbers or by names as the tag has them. Nothing is guessed: what does not fit is a ``ValueError`` that begins with the
path of the field, written as ``part`` is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import pack_uatype
from asyncua.ua.uaerrors import UaError

from connectors.configuration.setting_names import listed
from connectors.model.scaling import ratio_of
from connectors.opcua.open_types import BeyondLimits, Held, encoded_open
from connectors.opcua.parts import Part, wrong
from connectors.opcua.structures import DEPTH_MAX, VARIANT, Structure, ValueType, plain_structure, type_in
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.values import NUMBERS, variant_of

ELEMENTS_MAX: Final = 10_000
_UNIONS: Final = (ua.StructureType.Union, ua.StructureType.UnionWithSubtypedValues)
_STRING, _DATETIME, _BYTE_STRING, _NODE_ID, _STATUS_CODE, _QUALIFIED_NAME = 12, 13, 15, 17, 19, 20
_NULLABLE: Final = (_STRING, _BYTE_STRING)
"""Of what JSON shows as null (Part 6, 5.2.2.4)."""


def json_value(text: object, wanted: str) -> Any:
    """What ``text`` is as JSON; ``wanted`` says what it should be. Raises ``ValueError`` with a sentence."""
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is no {wanted}; write it as JSON")
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
    except RecursionError as exc:
        raise ValueError(f"it is too deep for a {wanted}") from exc
    except json.JSONDecodeError as exc:
        raise ValueError(
            f"it is no JSON, in which a {wanted} is written: {exc.msg} at character {exc.pos + 1}"
        ) from exc


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the field {next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not a number that a device can be given")


@dataclass(frozen=True, slots=True)
class Encoder:
    """Makes bytes of values in JSON.

    ``has_names``: enumerations are written by names, else by numbers. ``rules``: the tags of fields that have limits,
    by the part that they are; those hold for what is written together with others, too. ``present``: the types of
    fields, by their parts, whose type is open (see ``open_types``): those that they have on the server now.
    """

    has_names: bool = False
    rules: Mapping[Part, OpcUaTag] = field(default_factory=dict)
    present: Callable[[Part], Held] = lambda _: None

    def encoded(self, of: ValueType, rank: int, value: Any, at: Part) -> bytes:
        """``value``, which is in the place ``at``, as a field of this type. Raises ``ValueError``."""
        if len(at) > 2 * DEPTH_MAX:
            raise wrong(at, f"structures within structures, more than {DEPTH_MAX} of them")
        if rank > 1:
            return self._matrix(of, rank, value, at)
        if rank:
            return self._array(of, value, at)
        structure = plain_structure(of)
        if structure is not None:
            return self.structure(structure, value, at)
        if of.names is not None:
            return pack_uatype(ua.VariantType.Int32, self.number(of.names, value, at))
        if of.built_in == VARIANT:
            return encoded_open(self.present(at), value, at, lambda held, size: self.encoded(held, size, value, at))
        return self._single(of.built_in, value, at)

    def structure(self, structure: Structure, value: Any, at: Part) -> bytes:
        """``value``, an object, as this structure or union. Raises ``ValueError``."""
        if not isinstance(value, dict):
            raise wrong(at, f"{_shown(value)} is no {structure.name}; write its fields in braces")
        fields = {each.name: each for each in structure.fields}
        if unknown := [name for name in value if name not in fields]:
            raise wrong((*at, unknown[0]), f"{structure.name} has no such field; it has {', '.join(list(fields)[:20])}")
        if structure.kind in _UNIONS:
            return self._union(structure, value, at)
        has_mask = structure.kind is ua.StructureType.StructureWithOptionalFields
        mask, bit, parts = 0, 1, []
        for each in structure.fields:
            is_optional = has_mask and each.is_optional
            if each.name not in value and not is_optional:
                raise wrong((*at, each.name), f"it is missing, and each {structure.name} has it")
            if each.name in value:
                mask |= bit if is_optional else 0
                of = type_in(structure.kind, each)
                parts.append(self.encoded(of, each.rank, value[each.name], (*at, each.name)))
            bit <<= is_optional
        return (_u32(mask) if has_mask else b"") + b"".join(parts)

    def _union(self, structure: Structure, value: dict[str, Any], at: Part) -> bytes:
        if len(value) > 1:
            raise wrong(at, f"{structure.name} is one of its fields, and there are {', '.join(value)}")
        for number, each in enumerate(structure.fields, 1):
            if each.name in value:
                of = type_in(structure.kind, each)
                return _u32(number) + self.encoded(of, each.rank, value[each.name], (*at, each.name))
        return _u32(0)

    def number(self, names: Mapping[int, str], value: Any, at: Part) -> int:
        """The number of an enumeration. Raises ``ValueError``."""
        if self.has_names:
            for number, name in names.items():
                if name == value:
                    return number
            raise wrong(
                at, f"{_shown(value)} is none of the names; write {listed([repr(one) for one in names.values()])}"
            )
        if isinstance(value, bool) or not isinstance(value, int) or value not in names:
            known = listed([f"{number} ({name})" for number, name in list(names.items())[:20]])
            raise wrong(at, f"{_shown(value)} is none of the numbers; write {known}")
        return value

    def _array(self, of: ValueType, value: Any, at: Part) -> bytes:
        if value is None:
            return _i32(-1)
        if not isinstance(value, list):
            raise wrong(at, f"{_shown(value)} is no array; write it in brackets")
        if len(value) > ELEMENTS_MAX:
            raise wrong(at, f"an array of {len(value):,} elements is longer than the {ELEMENTS_MAX:,} allowed")
        return _i32(len(value)) + b"".join(
            self.encoded(of, 0, each, (*at, number)) for number, each in enumerate(value)
        )

    def _matrix(self, of: ValueType, rank: int, value: Any, at: Part) -> bytes:
        sizes, first = [], value
        for _ in range(rank):
            if not isinstance(first, list):
                raise wrong(at, f"it is no array of {rank} dimensions; write each of its rows in brackets")
            sizes.append(len(first))
            first = first[0] if first else []
        if math.prod(sizes) > ELEMENTS_MAX:
            raise wrong(at, f"an array of {sizes} elements is longer than the {ELEMENTS_MAX:,} allowed")
        elements = list(_flat(value, sizes, at))
        head = _i32(rank) + b"".join(map(_i32, sizes))
        return head + b"".join(self.encoded(of, 0, each, place) for each, place in elements)

    def _single(self, built_in: int | None, value: Any, at: Part) -> bytes:
        if value is None and built_in in _NULLABLE:
            return _i32(-1)
        if value is None or isinstance(value, list | dict):
            raise wrong(at, f"{_shown(value)} is no single value")
        try:
            make = _FROM_JSON.get(built_in or 0)
            made = variant_of(value, built_in).Value if make is None else make(value)
        except ValueError as exc:
            raise wrong(at, str(exc)) from exc
        if built_in in NUMBERS:
            self._keep_limits(made, at)
        return pack_uatype(ua.VariantType(built_in or 0), made)

    def _keep_limits(self, number: float, at: Part) -> None:
        tag, shown = self.rules.get(at), number
        if tag is not None:
            shown = ratio_of(tag.scale, tag.scaling_offset).scaled(number) if tag.is_scaled else number
        elif at and isinstance(at[-1], int):  # an array whose numbers have limits
            tag = self.rules.get(at[:-1])
        limits = None if tag is None or tag.writable is None else tag.writable.limits
        if tag is None or limits is None or limits[0] <= shown <= limits[1]:
            return
        unit = f" {tag.unit}" if tag.unit else ""
        said = f"it takes {limits[0]:g} to {limits[1]:g}{unit} (the tag {tag.name}), and not {shown:g}"
        raise BeyondLimits(str(wrong(at, said)))


@dataclass(slots=True)
class Rewriting:
    """One part of a structure in bytes is replaced, and all else stays byte for byte.

    ``skip`` reads a field of some type from the buffer; ``new`` gives the bytes that take the place of the part, by its
    type and dimensions.
    """

    data: Buffer
    skip: Callable[[ValueType, int, Buffer], object]
    new: Callable[[ValueType, int], bytes]

    def structure(self, structure: Structure, part: Part, at: Part = ()) -> bytes:
        """The bytes of a structure with another ``part``, which begins with a field. Raises ``ValueError``."""
        name, rest = part[0], part[1:]
        if structure.kind in _UNIONS:
            return self._union(structure, part, at)
        has_mask = structure.kind is ua.StructureType.StructureWithOptionalFields
        mask = int.from_bytes(self.data.read(4), "little") if has_mask else 0
        bit, parts, is_found = 1, [], False
        for each in structure.fields:
            is_optional = has_mask and each.is_optional
            is_there = not is_optional or bool(mask & bit)
            of = type_in(structure.kind, each)
            if each.name == name:
                is_found = True
                if not is_there and rest:
                    raise wrong((*at, each.name), "it is left out now, and so has no part that could be written")
                mask |= bit if is_optional else 0
                parts.append(
                    self._field(of, each.rank, rest, (*at, each.name)) if is_there else self.new(of, each.rank)
                )
            elif is_there:
                parts.append(self._kept(of, each.rank))
            bit <<= is_optional
        if not is_found:
            raise wrong((*at, name), f"{structure.name} has no such field now")
        return (_u32(mask) if has_mask else b"") + b"".join(parts)

    def _union(self, structure: Structure, part: Part, at: Part) -> bytes:
        chosen = int.from_bytes(self.data.read(4), "little")
        names = [each.name for each in structure.fields]
        if part[0] not in names:
            raise wrong((*at, part[0]), f"{structure.name} has no such field now")
        wanted = names.index(str(part[0])) + 1
        each = structure.fields[wanted - 1]
        of, place = type_in(structure.kind, each), (*at, each.name)
        if chosen == wanted:
            return _u32(wanted) + self._field(of, each.rank, part[1:], place)
        if part[1:]:
            raise wrong(place, "it is not what the union holds now, and so has no part that could be written")
        if chosen:
            other = structure.fields[chosen - 1]
            self._kept(type_in(structure.kind, other), other.rank)
        return _u32(wanted) + self.new(of, each.rank)

    def _field(self, of: ValueType, rank: int, part: Part, at: Part) -> bytes:
        if not part:
            self._kept(of, rank)
            return self.new(of, rank)
        if rank:
            return self._element(of, rank, part, at)
        structure = plain_structure(of)
        if structure is None:
            raise wrong(at, "it has no fields now")
        return self.structure(structure, part, at)

    def _element(self, of: ValueType, rank: int, part: Part, at: Part) -> bytes:
        places = [step for step in part[:rank] if isinstance(step, int)]
        if len(places) < rank:
            raise wrong((*at, *places), "a row of a matrix cannot be written; name one of its elements")
        head = self.data.read(4)
        sizes = [int.from_bytes(head, "little", signed=True)]
        if rank > 1:
            raw = self.data.read(4 * max(0, sizes[0]))
            sizes = [int.from_bytes(raw[4 * n : 4 * n + 4], "little", signed=True) for n in range(len(raw) // 4)]
            head += raw
        if len(sizes) != rank or any(place >= size for place, size in zip(places, sizes, strict=True)):
            raise wrong((*at, *places), "the array has no such element now")
        if math.prod(sizes) > len(self.data):  # of values without bytes there would be no end
            raise wrong(at, f"an array of {sizes} values is longer than the structure that carries it")
        wanted = 0
        for place, size in zip(places, sizes, strict=True):
            wanted = wanted * size + place
        parts = [
            self._field(of, 0, part[rank:], (*at, *places)) if number == wanted else self._kept(of, 0)
            for number in range(math.prod(sizes))
        ]
        return head + b"".join(parts)

    def _kept(self, of: ValueType, rank: int) -> bytes:
        before = self.data.copy()
        self.skip(of, rank, self.data)
        return before.read(len(before) - len(self.data))


def _flat(value: Any, sizes: list[int], at: Part) -> Any:
    if not isinstance(value, list) or len(value) != sizes[0]:
        raise wrong(at, f"it has to have {sizes[0]} elements like its neighbours, and has not")
    for number, each in enumerate(value):
        if len(sizes) == 1:
            yield each, (*at, number)
        else:
            yield from _flat(each, sizes[1:], (*at, number))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:59]}…"


def _u32(number: int) -> bytes:
    return number.to_bytes(4, "little")


def _i32(number: int) -> bytes:
    return number.to_bytes(4, "little", signed=True)


def _time(value: Any) -> datetime:
    try:
        if isinstance(value, str) and "T" in value:
            found = datetime.fromisoformat(value)
            return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
    except ValueError:
        pass
    raise ValueError(f"{_shown(value)} is no time; write it as 2026-03-01T06:30:00, in UTC")


def _node_id(value: Any) -> ua.NodeId:
    try:
        found = ua.NodeId.from_string(value)
    except (UaError, ValueError, TypeError, AttributeError):
        found = None
    if found is None or found.to_string() != value:
        raise ValueError(f"{_shown(value)} is no node id such as ns=2;s=Ram")
    return found


def _qualified_name(value: Any) -> ua.QualifiedName:
    index, sign, name = value.partition(":") if isinstance(value, str) else ("", "", "")
    if not sign or not index.isdecimal() or int(index) > 0xFFFF:
        raise ValueError(f"{_shown(value)} is no name with its namespace, such as 2:Ram")
    return ua.QualifiedName(name, ua.UInt16(int(index)))


def _status_code(value: Any) -> ua.StatusCode:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 0xFFFFFFFF:
        raise ValueError(f"{_shown(value)} is no status code, which is a whole number of 32 bits")
    return ua.StatusCode(ua.UInt32(value))


_FROM_JSON: Final[dict[int, Callable[[Any], Any]]] = {
    _DATETIME: _time,
    _NODE_ID: _node_id,
    _STATUS_CODE: _status_code,
    _QUALIFIED_NAME: _qualified_name,
}
