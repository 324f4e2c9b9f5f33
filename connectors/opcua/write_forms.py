"""How tags are written: single values, whole arrays, elements of arrays, and names that stand for numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from asyncua import ua

from connectors.configuration.setting_names import listed
from connectors.opcua.parts import Part
from connectors.opcua.tag_settings import OpcUaTag
from connectors.opcua.values import NUMBERS, variant_of
from connectors.ports.device import Value

ELEMENTS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class WriteForm:
    """``built_in``: the type of a single value, ``None`` of what cannot be written.

    ``rank``: the dimensions of the whole array that is written; ``index_range``: the one element that is (Part 4,
    7.27); ``names``: of the numbers of an enumeration, for which a name is written. ``node``: the component variable
    that is the field of a structure, and is written in place of the whole structure.
    """

    built_in: int | None
    rank: int = 0
    index_range: str | None = None
    names: Mapping[int, str] | None = None
    node: ua.NodeId | None = None

    def variant(self, value: Value, tag: OpcUaTag) -> ua.Variant:
        """``value`` as the server is sent it. Raises ``ValueError`` with a sentence when it cannot be."""
        if self.rank:
            return self._array(value, tag)
        if self.names is not None:
            value = number_of(value, self.names)
        variant = variant_of(value, self.built_in, scale=tag.scale, offset=tag.scaling_offset)
        if self.index_range is None:
            return variant
        found: Any = variant.Value
        for _ in self.index_range.split(","):
            found = [found]
        return ua.Variant(found, variant.VariantType)

    def _array(self, value: Value, tag: OpcUaTag) -> ua.Variant:
        if self.rank > 1:
            raise ValueError("a matrix cannot be written as a whole; name its elements, with a part such as [1][0]")
        try:
            elements = json.loads(str(value)) if isinstance(value, str) else None
        except (ValueError, RecursionError):
            elements = None
        if not isinstance(elements, list):
            raise ValueError(f"{value!r} is no array; write it as JSON, such as [1.5, 2, 3]")
        if len(elements) > ELEMENTS_MAX:
            raise ValueError(f"an array of {len(elements):,} elements is longer than the {ELEMENTS_MAX:,} allowed")
        if self.built_in is None:
            raise ValueError("such an array cannot be written")
        made = [self._element(number, element, tag) for number, element in enumerate(elements)]
        return ua.Variant(made, ua.VariantType(self.built_in), is_array=True)

    def _element(self, number: int, element: Any, tag: OpcUaTag) -> Any:
        if element is None or isinstance(element, list | dict):
            raise ValueError(f"element {number} is {json.dumps(element)}, and no single value")
        try:
            made = variant_of(element, self.built_in).Value
        except ValueError as exc:
            raise ValueError(f"element {number}: {exc}") from exc
        if self.built_in in NUMBERS and tag.writable is not None:
            if tag.writable.limits is None:
                raise ValueError("numbers are written within limits only: writable: {min: …, max: …}")
            low, high = tag.writable.limits
            if not low <= element <= high:
                raise ValueError(f"element {number} takes {low:g} to {high:g}, and not {element:g}")
        return made


def form_of_part(part: Part, rank: int, built_in: int | None, names: Mapping[int, str] | None) -> WriteForm | None:
    """How a part of a value of ``rank`` dimensions is written; ``None``: it cannot be.

    ``names``: of the numbers of the part, where names are written for them.
    """
    if rank or built_in is None or not all(isinstance(step, int) for step in part):
        return None
    return WriteForm(built_in, 0, ",".join(map(str, part)) or None, names)


def number_of(value: Value, names: Mapping[int, str]) -> int:
    """The number with the name ``value``. Raises ``ValueError`` with the names that there are."""
    for number, name in names.items():
        if name == value:
            return number
    raise ValueError(f"{value!r} is none of the names; write {listed([repr(name) for name in names.values()])}")
