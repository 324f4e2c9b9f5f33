"""Lineside's own tables of tags: a column for each setting that any of them has, named as in a device file.

A cell is read as YAML reads it (``0.1``, ``true``, ``500ms``, ``{min: 0, max: 250}``), except for names, addresses,
units and the like, which are text whatever they look like. A number may have a decimal comma where commas divide no
cells, as spreadsheets of many countries write it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connectors.configuration.yaml_nodes import read_yaml
from connectors.model.errors import ConfigInvalid
from edge_agent.tag_lists.imported import Imported, Row, Wanted
from edge_agent.tag_lists.tables import read_table

NEEDED: Final = ("name", "at")
_TEXTS: Final = frozenset(("name", "at", "unit", "description", "type", "order", "lane"))
_WITH_COMMA: Final = re.compile(r"\A([+-]?\d+),(\d+(?:[eE][+-]?\d+)?\s*%?)\Z")
_FIRST: Final = ("device", "name", "at", "type", "unit", "description")


def read_own(data: bytes, wanted: Wanted) -> Imported:  # noqa: ARG001  a Reader
    """See ``Reader``."""
    found = Imported()
    for place, cells, has_decimal_commas in read_table(data, NEEDED, ("tags",)):
        settings: dict[str, Any] = {}
        for key, cell in cells.items():
            if key in _TEXTS:
                settings[key] = cell
            elif key != "device":
                plain = _WITH_COMMA.sub(r"\1.\2", cell) if has_decimal_commas else cell
                try:
                    document = read_yaml(plain, place)
                    problems = document.problems
                except ConfigInvalid as exc:
                    problems = tuple(exc.problems)
                if problems:
                    found.refuse(place, cells.get("name", ""), f"{key!r}: {problems[0].message}")
                    break
                settings[key] = document.value
        else:
            found.rows.append(Row(place, settings, cells.get("device", "")))
    return found


def own_table(devices: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the tags of ``devices``, entries as a device file has them."""
    tags = [(str(device["name"]), tag) for device in devices for tag in device.get("tags", ())]
    keys = dict.fromkeys(key for _, tag in tags for key in tag)
    headings = [*_FIRST, *(key for key in keys if key not in _FIRST)]
    rows = [[device, *(_cell(tag.get(key)) for key in headings[1:])] for device, tag in tags]
    return headings, rows


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
