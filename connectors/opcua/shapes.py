"""Tags that are parts of values, whole structures, or names of numbers: what becomes of the values they come in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from connectors.model.datatypes import DataType
from connectors.opcua.data_values import DECODING_ERRORS
from connectors.opcua.parts import Part, part_of
from connectors.opcua.structure_forms import StructureForm
from connectors.opcua.structures import Enumerated, StructureTypes, ValueType, json_ready, structure_of
from connectors.opcua.wire_types import WIRE_TYPES, json_text, plain
from connectors.opcua.write_forms import WriteForm

Form: TypeAlias = WriteForm | StructureForm


@dataclass(frozen=True, slots=True)
class Output:
    """One tag that a value is for: which part of it, as which type; ``has_names``: names stand for numbers.

    ``form``: how the part is written, where it can be.
    """

    index: int
    part: Part
    datatype: DataType
    has_names: bool = False
    form: Form | None = None

    def value_of(self, tree: Any) -> Any:
        """The value of the tag; ``None`` when it has none now. Raises what ``plain`` raises."""
        found = part_of(tree, self.part)
        if found is None:
            return None
        if isinstance(found, Enumerated) and self.has_names:
            return found.text
        if self.datatype is DataType.STRING and isinstance(found, dict | list):
            return json_text(json_ready(found, has_names=self.has_names))
        return plain(int(found) if isinstance(found, Enumerated) else found, self.datatype)


@dataclass(frozen=True, slots=True)
class Shape:
    """What one value of the server is for; ``names`` are those of its numbers when it is an enumeration."""

    types: StructureTypes
    outputs: tuple[Output, ...]
    names: Mapping[int, str] | None = None

    def values(self, value: Any) -> Iterator[tuple[Output, Any, bool]]:
        """Of each tag its value (``None``: it has none now), and whether it cannot be of its type."""
        try:
            tree = self.types.tree(value, self.names)
        except DECODING_ERRORS:
            yield from ((output, None, True) for output in self.outputs)
            return
        for output in self.outputs:
            try:
                yield output, output.value_of(tree), False
            except (TypeError, ValueError, OverflowError):
                yield output, None, True


def type_of_part(of: ValueType, rank: int, part: Part) -> tuple[ValueType, int]:
    """The type, and the dimensions, of a part of a value of this type. Raises ``ValueError`` with what there is."""
    for step in part:
        if isinstance(step, int):
            if rank == 0:
                raise ValueError(f"there is [{step}] in 'part', and that is no array")
            rank -= 1
            continue
        structure = structure_of(of.known) if of.known is not None else of.structure
        if rank or structure is None:
            what = "an array: write [0] for its first one" if rank else "no structure"
            raise ValueError(f"there is {step!r} in 'part', and that is {what}")
        known = {each.name: each for each in structure.fields}
        if step not in known:
            raise ValueError(f"{structure.name} has no field {step!r}; it has {', '.join(list(known)[:20])}")
        of, rank = known[step].type, known[step].rank
    return of, rank


def datatype_of(of: ValueType, rank: int, *, has_names: bool) -> DataType:
    """The data type that values of this type have in tags: JSON where no other can be."""
    if rank or of.built_in not in WIRE_TYPES or (has_names and of.names is not None):
        return DataType.STRING
    return WIRE_TYPES[of.built_in].datatype
