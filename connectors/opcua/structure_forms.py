"""How structures and their fields are written: as a whole from JSON, or one field of what the server has now.

A server takes the value of a variable, or elements of it, and no field of a structure (Part 4, 5.10.4 and 7.27): one
field is written by reading the structure, changing the bytes of that field, and writing the structure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import pack_uatype, struct_to_binary

from connectors.model.errors import PayloadInvalid
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.open_types import Held, encoded_open, has_open_types, held_type, typed_tree
from connectors.opcua.parts import Part, wrong
from connectors.opcua.structure_writing import ELEMENTS_MAX, Encoder, Rewriting, json_value
from connectors.opcua.structures import VARIANT, StructureTypes, ValueType, plain_structure, read_field
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.values import NUMBERS, variant_of
from connectors.opcua.write_forms import number_of
from connectors.ports.device import Value

_NO_LIMITS: Final = "a structure has no 'min' and 'max'; remove them, and write them to tags of its fields"


@dataclass(frozen=True, slots=True)
class StructureForm:
    """Of a variable whose value is a structure, or an array of them: how the part is written that a tag is.

    ``rank``: the dimensions of the whole value; ``encoding``: the node id of the bytes of one structure (``None``: not
    known); ``has_names``: enumerations are written by names. ``node`` is for ``WriteForm`` alone.
    """

    types: StructureTypes
    of: ValueType
    rank: int
    part: Part
    encoding: ua.NodeId | None
    has_names: bool = False
    node: None = None

    @property
    def index_range(self) -> str | None:
        """The element of an array of structures that is written, or read before."""
        return ",".join(map(str, self.part[: self.rank])) or None

    @property
    def fields(self) -> Part:
        """The part within one structure; empty when it is written as a whole."""
        return self.part[self.rank :]

    @property
    def needs_present(self) -> bool:
        """Whether it has to be read before what the server has now.

        That is of one field all others, and of fields whose type is open the type.
        """
        return bool(self.fields) or has_open_types(self.of)

    def variant(
        self, value: Value, tag: OpcUaTag, rules: Mapping[Part, OpcUaTag], present: ua.Variant | None = None
    ) -> ua.Variant:
        """What the server is sent so that the tag has ``value``.

        ``rules``: the tags that are fields of the same variable and have limits, by their parts. ``present``: what the
        server has now, when ``needs_present``. Raises ``ValueError`` with a sentence.
        """
        now = None if present is None else present.Value
        for _ in self.part[: self.rank]:  # of an element that was read by its place
            now = now[0] if isinstance(now, list) and len(now) == 1 else None
        encoder = Encoder(self.has_names, rules, self._types_of(now))
        if self.fields:
            made: Any = self._rewritten(value, tag, encoder, now)
        elif tag.writable is not None and tag.writable.limits is not None:
            raise ValueError(_NO_LIMITS)
        elif self.rank and not self.part:
            return self._array(value, encoder)
        else:
            made = self._extension(encoder, json_value(value, "structure"), self.part)
        for _ in self.part[: self.rank]:
            made = [made]
        return ua.Variant(made, ua.VariantType.ExtensionObject)

    def _types_of(self, present: Any) -> Callable[[Part], Held]:
        """The types of open fields by their parts, of what the server has now."""
        if not has_open_types(self.of):
            return lambda _: None
        try:
            tree = typed_tree(self.types, present)
        except DECODING_ERRORS as exc:
            raise ValueError(f"what the server has now is not as it describes it: {exc}") from exc
        outside = len(self.part[: self.rank])
        return lambda at: held_type(tree, at[outside:])

    def _array(self, value: Value, encoder: Encoder) -> ua.Variant:
        elements = json_value(value, "array of structures")
        if not isinstance(elements, list):
            raise ValueError("it is no array; write its structures in brackets")
        if len(elements) > ELEMENTS_MAX:
            raise ValueError(f"an array of {len(elements):,} elements is longer than the {ELEMENTS_MAX:,} allowed")
        made = [self._extension(encoder, each, (number,)) for number, each in enumerate(elements)]
        return ua.Variant(made, ua.VariantType.ExtensionObject, is_array=True)

    def _extension(self, encoder: Encoder, value: Any, at: Part) -> ua.ExtensionObject:
        structure = plain_structure(self.of)
        if structure is None or self.encoding is None:
            raise ValueError("the server does not say how such a structure is encoded; it cannot be written as a whole")
        return _extension_object(self.encoding, encoder.structure(structure, value, at))

    def _rewritten(self, value: Value, tag: OpcUaTag, encoder: Encoder, present: Any) -> ua.ExtensionObject:
        """The structure that the server has now with another field."""
        found = _in_bytes(present)
        if found is None:
            raise ValueError("the structure has no value now, of which a field could be changed; write it as a whole")
        structure = plain_structure(self.of) if self.of.known else self.types.by_encoding.get(found.TypeId)
        if structure is None or found.Body is None:
            raise ValueError(f"the type of the structure is not known ({found.TypeId.to_string()}); it is left alone")
        rewriting = Rewriting(
            Buffer(found.Body),
            lambda of, rank, data: read_field(self.types, of, rank, data),
            lambda of, rank: self._field(of, rank, value, tag, encoder),
        )
        try:
            body = rewriting.structure(structure, self.fields, self.part[: self.rank])
        except (PayloadInvalid, *DECODING_ERRORS) as exc:
            if type(exc) is ValueError:
                raise
            raise ValueError(f"what the server has now is no {structure.name} as it describes it: {exc}") from exc
        if len(rewriting.data):
            raise ValueError(f"what the server has now is longer than a {structure.name} as it describes it")
        return _extension_object(found.TypeId, body)

    def _field(self, of: ValueType, rank: int, value: Value, tag: OpcUaTag, encoder: Encoder) -> bytes:
        limits = None if tag.writable is None else tag.writable.limits
        if rank or plain_structure(of) is not None:
            if plain_structure(of) is not None and limits is not None:
                raise wrong(self.part, _NO_LIMITS)
            if rank and of.built_in in NUMBERS and limits is None:
                raise wrong(self.part, "numbers are written within limits only: writable: {min: …, max: …}")
            return encoder.encoded(of, rank, json_value(value, "array" if rank else "structure"), self.part)
        if of.built_in == VARIANT:
            held = encoder.present(self.part)
            return encoded_open(held, value, self.part, lambda now, size: self._field(now, size, value, tag, encoder))
        try:
            if of.names is not None and self.has_names:
                value = number_of(value, of.names)
            made = variant_of(value, of.built_in, scale=tag.scale, offset=tag.scaling_offset)
        except ValueError as exc:
            raise wrong(self.part, str(exc)) from exc
        return pack_uatype(made.VariantType, made.Value)


def form_of(
    types: StructureTypes, of: ValueType, rank: int, part: Part, *, encoding: ua.NodeId | None, has_names: bool
) -> StructureForm | None:
    """How a part of a value that is made of structures is written; ``None``: it cannot be."""
    places = [step for step in part[:rank] if isinstance(step, int)]
    if plain_structure(of) is None or (len(places) < rank and (part or rank > 1)):
        return None
    return StructureForm(types, of, rank, part, encoding, has_names)


def encoding_of(of: ValueType, value: Any) -> ua.NodeId | None:
    """The node id of the encoding of a structure, by one that the server has now, or by what it says of the type."""
    while isinstance(value, list) and value:
        value = value[0]
    found = _in_bytes(value)
    if found is not None:
        return found.TypeId
    return None if of.structure is None else of.structure.encoding


def _in_bytes(value: Any) -> ua.ExtensionObject | None:
    """A structure as the server sends it; asyncua has decoded those that it knows."""
    if type(value) is ua.ExtensionObject:
        return value if value.Body is not None else None
    encoding = ua.typeid_by_extension_objects.get(type(value))
    return None if encoding is None else _extension_object(encoding, struct_to_binary(value))


def _extension_object(encoding: ua.NodeId, body: bytes) -> ua.ExtensionObject:
    return ua.ExtensionObject(TypeId=encoding, Body=ua.ByteString(body))
