"""Devices made of lists of tags: each tag checked by the model of its driver, and written as a device file."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from connectors.ports.settings import DeviceSettings
from edge_agent.tag_lists.imported import Imported, Refused, Row

_PLAIN: Final = re.compile(r"[A-Za-z_][\w /.-]*(?<=[\w.])|[A-Za-z_]")
_SAID: Final = {"extra_forbidden": "there is no such setting", "missing": "it is missing"}
_NEEDED: Final = {
    "float_type": "no number, such as 0.1", "float_parsing": "no number, such as 0.1", "int_type": "no whole number",
    "int_parsing": "no whole number", "int_from_float": "no whole number", "bool_type": "neither true nor false",
    "string_type": "no text", "model_type": "no group of settings, such as {min: 0, max: 250}",
    "dict_type": "no group of settings, such as {0: stopped, 1: running}", "tuple_type": "no list, such as [a, b]",
}  # fmt: skip
"""What a cell of a wrong kind is not."""
_NAMES_TAGS: Final = frozenset(("commands", "derived"))
"""What of a device is about tags by their names: right or wrong with all of them, never with one alone."""
_WORDS: Final = frozenset(("true", "false", "null", "yes", "no", "on", "off", "y", "n", "inf", "nan"))


def checked(rows: Sequence[Row], device: Mapping[str, Any], model: type[DeviceSettings], found: Imported) -> list[Row]:
    """Those of ``rows`` that are tags of a device; of the others ``found`` gets to know why they are none."""
    good: list[Row] = []
    names: dict[str, str] = {}
    around = {key: value for key, value in device.items() if key not in _NAMES_TAGS}
    for row in rows:
        name = row.settings.get("name", "")
        if (first := names.setdefault(str(name).lower(), row.place)) != row.place:
            found.refused.append(Refused(row.place, name, f"another tag is called so, in {first}"))
            continue
        try:
            model.model_validate({**around, "tags": (row.settings,)}, strict=True)
        except ValidationError as exc:
            found.refused += [Refused(row.place, name, reason) for reason in _reasons(exc)[:1]]
            del names[str(name).lower()]
            continue
        good.append(row)
    return good


def device_problems(device: Mapping[str, Any], rows: Sequence[Row], model: type[DeviceSettings]) -> list[str]:
    """What is wrong with the device itself, when its tags are right one by one."""
    try:
        model.model_validate({**device, "tags": tuple(row.settings for row in rows)}, strict=True)
    except ValidationError as exc:
        return _reasons(exc)
    return []


def _reasons(error: ValidationError) -> list[str]:
    """In sentences, those of tags first."""
    found: list[tuple[bool, str]] = []
    for entry in error.errors(include_url=False):
        cause = entry.get("ctx", {}).get("error")
        message = str(cause) if cause is not None else _SAID.get(entry["type"], entry["msg"])
        if entry["type"] in _NEEDED and entry["loc"][:1] == ("tags",):  # a tag has no secrets
            message = f"{entry['input']!r} is {_NEEDED[entry['type']]}"
        path = (*entry["loc"], *getattr(cause, "path", ()))
        inside = path[2:] if path[:1] == ("tags",) else path
        where = f"{'.'.join(map(str, inside))}: " if inside else ""
        found.append((path[:1] != ("tags",), f"{where}{message}"))
    return [reason for _, reason in sorted(found, key=lambda each: each[0])]


def device_file(devices: Iterable[tuple[Mapping[str, Any], Sequence[Mapping[str, Any]]]], heading: str) -> str:
    """The text of a file that ``include`` takes: devices without their tags, and their tags."""
    lines = [f"# {line}" for line in heading.splitlines()]
    lines.append("devices:")
    for device, tags in devices:
        sign = "-"
        for key, value in device.items():
            lines.append(f"  {sign} {key}: {flow(value)}")
            sign = " "
        lines.append("    tags:")
        lines += [f"      - {flow(tag)}" for tag in tags]
    return "\n".join(lines) + "\n"


def flow(value: Any) -> str:
    """A value in one line of YAML; text is quoted unless it can only be a text."""
    if isinstance(value, str):
        plain = _PLAIN.fullmatch(value) and value.lower() not in _WORDS
        return value if plain else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(str(key))}: {flow(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    return json.dumps(value)
