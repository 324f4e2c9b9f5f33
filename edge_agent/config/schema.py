"""The JSON Schema (draft 2020-12) of the agent's file, by which editors complete keys and mark mistakes while typing.

``python -m edge_agent.config.schema [FILE]`` writes it, to ``config/agent.schema.json`` unless said otherwise. It is
made from the models, so that it cannot say anything else than they do; it says less: what fits together (unique names,
pairs of settings) only the agent itself checks.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from connectors.configuration.setting_names import Setting, keys_of, quantity, setting_at
from connectors.ports.settings import (
    DataTypeReader,
    DriverType,
    parse_duration,
    parse_size,
)
from edge_agent.config.device_schema import add_devices
from edge_agent.config.models import AgentConfig, parse_file_mode

SCHEMA_FILE: Final = Path("config/agent.schema.json")
DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_REFERENCE: Final = "#/$defs/"
_DURATION: Final = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(ms|s|m|min|h|d)\s*$"}
_SIZE: Final = {"type": "string", "pattern": r"^\s*[0-9]+(\.[0-9]+)?\s*(B|kB|KB|MB|GB|KiB|MiB|GiB)\s*$"}


def agent_schema(drivers: Mapping[str, DriverType]) -> dict[str, Any]:
    """The schema of a file whose devices are of ``drivers``."""
    models: list[type[BaseModel]] = [AgentConfig, *(drivers[name].settings for name in sorted(drivers))]
    names, schema = models_json_schema([(model, "validation") for model in models])
    definitions: dict[str, Any] = schema["$defs"]
    for model in _with_parts(models):
        definition = definitions[model.__name__]
        for key in keys_of(model):
            setting = setting_at(model, (key,))
            if setting is not None:
                definition["properties"][key] = _property(definition["properties"][key], setting)
        definition.pop("title", None)
    root = definitions.pop(AgentConfig.__name__)
    of_drivers = {name: names[drivers[name].settings, "validation"]["$ref"] for name in sorted(drivers)}
    add_devices(root, definitions, {name: ref.removeprefix(_REFERENCE) for name, ref in of_drivers.items()})
    used = _used(root, definitions)
    return {
        "$schema": DIALECT,
        "title": "Configuration of a Lineside agent",
        **root,
        "$defs": {name: definition for name, definition in sorted(definitions.items()) if name in used},
    }


def schema_text(drivers: Mapping[str, DriverType]) -> str:
    """The schema as it is written to the file."""
    return json.dumps(agent_schema(drivers), indent=2, ensure_ascii=False) + "\n"


def _property(generated: dict[str, Any], setting: Setting) -> dict[str, Any]:
    """What the generator says of one setting, with quantities as the file writes them and without noise.

    "Or null" is left out: an empty value is no mistake where a setting is optional, but nothing to suggest either.
    """
    found = {key: value for key, value in generated.items() if key not in ("title", "anyOf")}
    choices = [choice for choice in generated.get("anyOf", ()) if choice != {"type": "null"}]
    found |= choices[0] if len(choices) == 1 else {"anyOf": choices} if choices else {}
    default = found.pop("default", None)
    if default not in (None, "", []) and not isinstance(default, dict):
        found["default"] = default
    for reader, written in ((parse_duration, _DURATION), (parse_size, _SIZE)):
        if reader in setting.readers:
            found = {key: value for key, value in found.items() if key in ("description", "default")} | written
            if "default" in found:
                found["default"] = quantity(setting, found["default"])
    if parse_file_mode in setting.readers and "default" in found:
        found["default"] = f"{found['default']:04o}"
    for reader in setting.readers:
        if isinstance(reader, DataTypeReader):
            labels = [datatype.label for datatype in reader.possible]
            spellings = {*reader.known, *labels, *reader.iec, *(name.upper() for name in reader.iec)}
            found["enum"] = sorted(spellings, key=lambda spelling: (spelling.lower(), spelling))
    return found


def _with_parts(models: list[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """``models`` and all models that they are made of, each once."""
    seen: set[type[BaseModel]] = set()
    waiting = list(models)
    while waiting:
        model = waiting.pop()
        if model in seen:
            continue
        seen.add(model)
        yield model
        for key in keys_of(model):
            for path in ((key,), (key, 0), (key, "name")):
                setting = setting_at(model, path)
                if setting is not None and setting.model is not None:
                    waiting.append(setting.model)


def _used(root: dict[str, Any], definitions: Mapping[str, Any]) -> set[str]:
    """The names of the definitions that ``root`` needs."""
    used: set[str] = set()
    waiting: list[Any] = [root]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            reference = part.get("$ref")
            name = reference.removeprefix(_REFERENCE) if isinstance(reference, str) else ""
            if name and name not in used:
                used.add(name)
                waiting.append(definitions[name])
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part
    return used


def main() -> None:
    """Write the schema of the drivers that come with the agent."""
    from edge_agent.drivers import built_in_drivers

    target = Path(sys.argv[1]) if len(sys.argv) > 1 else SCHEMA_FILE
    target.write_text(schema_text(built_in_drivers()), encoding="utf-8")
    print(f"{target} is written.")


if __name__ == "__main__":
    main()
