"""Fields whose data type their value chooses: BaseDataType, Number and the like (Part 3, 5.8.2; Part 6, 5.2.2.16).

Such a value says its type in the bytes, and JSON has no place for that. So a field keeps the type that its value has on
the server now, and a value that does not fit it is refused: nothing is guessed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from asyncua import ua

from connectors.opcua.parts import Part, part_of, wrong
from connectors.opcua.structures import VARIANT, StructureTypes, ValueType, plain_structure, type_in

_IS_ARRAY: Final = 0x80
"""In the first byte of a Variant, above its type."""


Held: TypeAlias = tuple[int, int] | None
"""Built-in type and dimensions of a value; ``None``: there is none."""


class BeyondLimits(ValueError):
    """A number that its type can hold is not one that a tag allows."""


class _Typed(StructureTypes):
    def tree(self, value: Any, names: Any = None, depth: int = 0) -> Any:
        """See ``StructureTypes``; Variants are left as they are."""
        return value if isinstance(value, ua.Variant) else super().tree(value, names, depth)


def typed_tree(types: StructureTypes, value: Any) -> Any:
    """``types.tree`` of a value, in which fields whose type is open are Variants. Raises ``PayloadInvalid``."""
    typed = _Typed()
    typed.by_encoding = types.by_encoding
    return typed.tree(value)


def has_open_types(of: ValueType, above: tuple[int, ...] = ()) -> bool:
    """Whether values of this type have a field, however deep, whose type is open."""
    structure = plain_structure(of)
    if structure is None:
        return of.built_in == VARIANT
    if id(structure) in above:
        return False
    inside = (*above, id(structure))
    return any(has_open_types(type_in(structure.kind, each), inside) for each in structure.fields)


def held_type(tree: Any, part: Part) -> Held:
    """What the open field ``part`` of a ``typed_tree`` has."""
    held = part_of(tree, part)
    if not isinstance(held, ua.Variant) or held.VariantType == ua.VariantType.Null:
        return None
    is_array = bool(held.is_array) or isinstance(held.Value, list)
    return int(held.VariantType.value), max(1, len(held.Dimensions or ())) if is_array else 0


def encoded_open(held: Held, value: Any, at: Part, encode: Callable[[ValueType, int], bytes]) -> bytes:
    """The bytes of an open field that has the type ``held`` on the server now, with ``value`` in JSON.

    ``encode`` makes bytes of the value, as this type and of so many dimensions. Raises ``ValueError``.
    """
    if held is None:
        if value is None:
            return b"\0"
        said = "its type is that of its value, and the server has none there now"
        raise wrong(at, f"{said}; let the PLC or another client write it first")
    built_in, rank = held
    if rank > 1:
        raise wrong(at, "it is a matrix whose type is that of its value, which cannot be written")
    try:
        return bytes([built_in | (_IS_ARRAY if rank else 0)]) + encode(ValueType(built_in=built_in), rank)
    except BeyondLimits:
        raise
    except ValueError as exc:
        raise ValueError(f"{exc}; a field whose type is that of its value keeps the one that it has now") from exc
