"""What a device file says of derived tags: values that the agent calculates from other tags of the same device."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from connectors.model.datatypes import DataType, parse_datatype
from connectors.ports.setting_model import SettingInvalid, Settings

DERIVED_MAX: Final = 10_000
_TYPES: Final = frozenset(DataType) - {DataType.DATETIME, DataType.BYTES, DataType.UUID, DataType.TEXT}


def read_derived_type(value: Any) -> DataType:
    """The data type that ``value`` names. Raises ``ValueError`` for one that no formula can have."""
    datatype = value if isinstance(value, DataType) else parse_datatype(str(value))
    if datatype not in _TYPES:
        raise ValueError(f"no formula has a {datatype.label} as its value")
    return datatype


class DerivedValue(Settings):
    """The part of a derived tag that says what it is."""

    name: Annotated[str, Field(min_length=1, max_length=255, description="Unique within the device, e.g. power/total")]
    formula: Annotated[
        str,
        Field(
            alias="value",
            max_length=1000,
            description="Over tags of this device: zone1/temperature * 1.8 + 32, if(state == idle, 0, speed)",
        ),
    ]
    datatype: Annotated[
        DataType | None,
        BeforeValidator(read_derived_type, json_schema_input_type=str),
        Field(alias="type", description="Without it Double, or Boolean for a condition"),
    ] = None
    unit: Annotated[str, Field(max_length=40, description="Engineering unit, shown as it is written")] = ""
    description: Annotated[str, Field(max_length=1000)] = ""


def formula_problems(derived: Sequence[DerivedValue], tags: Sequence[str]) -> Iterator[tuple[int, str, SettingInvalid]]:
    """What is wrong with the formulas, beside their own syntax: ``(index, key, problem)``."""
    from connectors.commands.expression import ExpressionInvalid
    from connectors.commands.formula import parse_formula, stray_words

    own = {tag.name: at for at, tag in enumerate(derived)}
    known = {*tags, *own}
    needs: dict[str, frozenset[str]] = {}
    for at, tag in enumerate(derived):
        try:
            formula = parse_formula(tag.formula, known)
        except ExpressionInvalid as exc:
            where = f", at character {exc.column}" if exc.column else ""
            said = SettingInvalid(f"it is no formula: {exc}{where}.", "Write one such as zone1/temperature * 1.8 + 32.")
            yield at, "value", said
            continue
        unknown = [*sorted(formula.inputs - known), *stray_words(formula)]
        for name in unknown:
            yield at, "value", SettingInvalid(f"the device has no tag {name!r}.", _meant(name, known))
        if not unknown:
            needs[tag.name] = formula.inputs
    for name in _in_a_circle(needs):
        said = SettingInvalid("it depends on itself, by way of others or directly.", "Calculate it from other tags.")
        yield own[name], "value", said


def _meant(name: str, known: set[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, n=1)
    return f"Did you mean {near[0]!r}?" if near else "Put a name that is no plain word in `backquotes`."


def _in_a_circle(needs: Mapping[str, frozenset[str]]) -> list[str]:
    """Those of ``needs`` that depend on themselves."""
    left = {name: {of for of in inputs if of in needs} for name, inputs in needs.items()}
    while True:
        used = set().union(*left.values()) if left else set[str]()
        free = [name for name, inputs in left.items() if not inputs or name not in used]
        if not free:
            return list(left)
        for name in free:
            del left[name]
        for inputs in left.values():
            inputs.difference_update(free)
