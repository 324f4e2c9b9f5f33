"""An example of everything that the API takes and gives, made from its schema: so none can be out of date.

Fields bring their own examples where a made one would say nothing (``Field(examples=[…])``); these are used first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from connectors.commands.envelope import ULID_PATTERN

DEPTH_MAX: Final = 8
_REFERENCE: Final = "#/components/schemas/"
_BY_FORMAT: Final = {
    "date-time": "2026-11-22T08:00:00Z",
    "date": "2026-11-22",
    "time": "06:00:00",
    "duration": "PT1H",
    "uuid": "4f6d0c4e-8a1b-4a57-9a36-1f6b0a3f8f11",
    "email": "anna@plant.example",
    "uri": "https://plant.example/hook",
    "binary": "",
}
_BY_PATTERN: Final = (
    (ULID_PATTERN, "01JDV3W3Z8Q6C0V2B7N4M5K9XR"),
    (r"^[0-9a-f]{64}$", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
)
_TRIED: Final = (
    "press-1", "PRESS-1", "P-100", "12.50", "12", "1", "EUR", "06:00", "01JDV3W3Z8Q6C0V2B7N4M5K9XR", "plant-7/line-3",
    "Europe/Berlin", "anna@plant.example", "https://plant.example/hook", "running", "text", "a", "0" * 64, "2026-11-22",
)  # fmt: skip
"""Texts of which one may match a pattern that is not known."""


def example_of(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 0) -> Any:
    """A value as ``schema`` has it; ``schemas`` are those that it refers to."""
    if "$ref" in schema:
        return example_of(schemas[schema["$ref"].removeprefix(_REFERENCE)], schemas, depth)
    for name in ("example", "const"):
        if name in schema:
            return schema[name]
    for name in ("examples", "enum"):
        if schema.get(name):
            return schema[name][0]
    for name in ("anyOf", "oneOf"):
        if name in schema:
            chosen = [one for one in schema[name] if one.get("type") != "null"] or [{"type": "null"}]
            return example_of(chosen[0], schemas, depth + 1)
    if "allOf" in schema:
        return example_of(schema["allOf"][0], schemas, depth + 1)
    return _by_type(schema, schemas, depth)


def _by_type(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> Any:
    match schema.get("type"):
        case "object":
            return _object(schema, schemas, depth)
        case "array":
            return _array(schema, schemas, depth)
        case "string":
            return schema["default"] if schema.get("default") else _text(schema)
        case "integer" | "number" as kind:
            return _number(schema, kind)
        case "boolean":
            return schema.get("default", True)
        case "null":
            return None
        case _:
            return schema.get("default")


def _object(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> dict[str, Any]:
    required = schema.get("required", ())
    found = {
        name: example_of(one, schemas, depth + 1)
        for name, one in schema.get("properties", {}).items()
        if name in required or depth < DEPTH_MAX
    }
    others = schema.get("additionalProperties")
    if not found and isinstance(others, Mapping) and depth < DEPTH_MAX:
        name = _text(schema.get("propertyNames", {}))
        return {name: example_of(others, schemas, depth + 1)}
    return found


def _array(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int) -> list[Any]:
    if "prefixItems" in schema:
        return [example_of(one, schemas, depth + 1) for one in schema["prefixItems"]]
    if depth >= DEPTH_MAX and not schema.get("minItems"):
        return []
    return [example_of(schema.get("items", {}), schemas, depth + 1)] * max(1, schema.get("minItems", 1))


def _text(schema: Mapping[str, Any]) -> str:
    if (found := _BY_FORMAT.get(schema.get("format", ""))) is not None:
        return found
    shortest: int
    longest: int
    shortest, longest = schema.get("minLength", 0), schema.get("maxLength", 1 << 20)
    pattern = schema.get("pattern")
    if pattern is None:
        return ("text" * (shortest // 4 + 1))[: max(shortest, min(longest, 4))]
    for known, text in _BY_PATTERN:
        if pattern == known:
            return text
    fitting = (text for text in _TRIED if shortest <= len(text) <= longest and re.search(pattern, text))
    return next(fitting, "text")


def _number(schema: Mapping[str, Any], kind: str) -> float:
    if schema.get("default") is not None:
        return float(schema["default"]) if kind == "number" else int(schema["default"])
    least = schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1 if "exclusiveMinimum" in schema else 1)
    most = schema.get("maximum", schema.get("exclusiveMaximum", least + 1))
    found = max(least, min(most, 1))
    return float(found) if kind == "number" else int(found)
