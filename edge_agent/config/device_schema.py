"""The part of the JSON Schema that devices have: of a driver, of a template, and what defaults may say of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from edge_agent.config.expansion import ANY_DRIVER, NO_DEFAULTS

Definitions = dict[str, Any]
_USE: Final = {
    "template": {"type": "string", "description": "Name of a template"},
    "with": {
        "type": "object",
        "additionalProperties": {"type": ["string", "number", "boolean"]},
        "description": "Values of its parameters",
    },
}


def add_devices(root: dict[str, Any], definitions: Definitions, drivers: Mapping[str, str]) -> None:
    """Complete ``root`` by what stands under ``devices`` and ``defaults``. ``drivers``: definitions by driver."""
    for definition in drivers.values():
        _add_uses(definitions, definition)
    definitions["DeviceOfTemplate"] = {
        "type": "object",
        "required": ["name", "template"],
        "properties": {"name": {"type": "string"}, **_USE},
        "description": "A device as its template says; what stands here counts more",
    }
    references = {name: {"$ref": f"#/$defs/{definition}"} for name, definition in drivers.items()}
    of_template = {"if": {"required": ["template"]}, "then": {"$ref": "#/$defs/DeviceOfTemplate"}}
    root["properties"]["devices"] = {"type": "array", "items": {**of_template, "else": _any_device(references)}}
    defaults = {name: {"$ref": f"#/$defs/{definition}Defaults"} for name, definition in drivers.items()}
    of_all = {
        key: value
        for definition in reversed(list(drivers.values()))
        for key, value in definitions[f"{definition}Defaults"]["properties"].items()
    }
    of_all["tag_defaults"] = {"type": "object"}
    everywhere = {"type": "object", "properties": of_all, "additionalProperties": False}
    described = root["properties"]["defaults"].get("description", "")
    root["properties"]["defaults"] = {
        "type": "object",
        "description": described,
        "properties": {ANY_DRIVER: everywhere, **defaults},
        "additionalProperties": False,
    }


def _add_uses(definitions: Definitions, name: str) -> None:
    """Let a device have defaults for its tags, and tags of templates; define what defaults of its driver may say."""
    device = definitions[name]
    tag = device["properties"]["tags"]["items"]
    tag_name = tag["$ref"].rpartition("/")[2]
    definitions["TagsOfTemplate"] = {
        "type": "object",
        "required": ["template"],
        "properties": dict(_USE),
        "additionalProperties": False,
        "description": "Tags as their template says",
    }
    definitions[f"{tag_name}Defaults"] = _partial(definitions[tag_name], ("name",))
    device["properties"]["tag_defaults"] = {
        "$ref": f"#/$defs/{tag_name}Defaults",
        "description": "For tags that say nothing else",
    }
    device["properties"]["tags"]["items"] = {
        "if": {"required": ["template"]},
        "then": {"$ref": "#/$defs/TagsOfTemplate"},
        "else": tag,
    }
    definitions[f"{name}Defaults"] = _partial(device, NO_DEFAULTS)


def _partial(definition: dict[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    """The same settings, none of them required, and some of them not there."""
    found = {key: value for key, value in definition.items() if key != "required"}
    found["properties"] = {key: value for key, value in definition["properties"].items() if key not in without}
    return found


def _any_device(references: Mapping[str, Any]) -> dict[str, Any]:
    """A device of any driver. Chosen by ``driver``, not tried one by one: an editor then names the one real mistake."""
    return {
        "type": "object",
        "required": ["name", "driver"],
        "properties": {"driver": {"enum": list(references)}},
        "allOf": [
            {
                "if": {"required": ["driver"], "properties": {"driver": {"const": name}}},
                "then": reference,
            }
            for name, reference in references.items()
        ],
    }
