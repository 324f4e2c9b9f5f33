"""What a device has, as a tree for a person, as a device file, and as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

from connectors.configuration.setting_names import counted
from connectors.ports.survey import Survey, SurveyedVariable
from edge_agent.cli.words import shortened, value_text

HEADINGS: Final = ("type", "value", "unit", "at")
VALUE_COLUMNS_MAX: Final = 24
NAME_COLUMNS_MIN: Final = 24
_PLAIN: Final = re.compile(r"[A-Za-z°][\w°./³²-]*")
_WORDS: Final = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})


class SurveyTree:
    """The variables as a tree. Where they are stands beside them if the screen is wide enough."""

    def __init__(self, survey: Survey) -> None:
        self._survey = survey

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        rows = list(_rows([each.path for each in self._survey.variables]))
        known = {each.path: each for each in self._survey.variables}
        cells = [_cells(known.get(path)) for _, path in rows]
        widths = [max(map(len, column)) + 2 for column in zip(HEADINGS, *cells, strict=True)]
        name_columns = max((len(label) for label, _ in rows), default=0) + 2
        has_room = name_columns + sum(widths) <= options.max_width
        left = options.max_width - sum(widths if has_room else widths[:3])
        table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column(self._survey.under, no_wrap=True, overflow="ellipsis", max_width=max(NAME_COLUMNS_MIN, left))
        headings = HEADINGS if has_room else HEADINGS[:3]
        for heading in headings:
            table.add_column(heading, no_wrap=True, justify="right" if heading == "value" else "left")
        for (label, _), cell in zip(rows, cells, strict=True):
            table.add_row(Text(label), *(Text(text) for text in cell[: len(headings)]))
        yield table
        yield Text(_summary(self._survey, has_room))


def _rows(paths: Sequence[tuple[str, ...]]) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each node on the way to ``paths`` with its branches, and its path; parents before children."""
    every = sorted({path[:length] for path in paths for length in range(1, len(path) + 1)})
    children: dict[tuple[str, ...], list[tuple[str, ...]]] = {}
    for path in every:
        children.setdefault(path[:-1], []).append(path)

    def below(parent: tuple[str, ...], indent: str) -> Iterator[tuple[str, tuple[str, ...]]]:
        siblings = children.get(parent, [])
        for number, path in enumerate(siblings):
            is_last = number == len(siblings) - 1
            name = value_text(path[-1])
            yield f"{indent}{'└─ ' if is_last else '├─ '}{name}", path
            yield from below(path, indent + ("   " if is_last else "│  "))

    yield from below((), "")


def _cells(variable: SurveyedVariable | None) -> tuple[str, str, str, str]:
    if variable is None:
        return "", "", "", ""
    value = variable.quality or value_text(variable.value)
    return variable.type, shortened(value, VALUE_COLUMNS_MAX), value_text(variable.unit), variable.at


def _summary(survey: Survey, has_room: bool) -> str:
    text = counted(len(survey.variables), "variable")
    if survey.left_out:
        text += f", and {survey.left_out} more: raise --max, or narrow it down with --under and --match"
    return text if has_room or not survey.variables else f"{text}; where they are: use a wider terminal, or --yaml"


def survey_json(survey: Survey) -> dict[str, Any]:
    """For programs."""
    variables = [
        {
            "path": list(each.path),
            "name": each.name,
            "at": each.at,
            "type": each.type,
            "value": _json_value(each.value),
            "unit": each.unit,
            "description": each.description,
            "writable": each.is_writable,
            "quality": each.quality or "Good",
            "problem": each.problem,
        }
        for each in survey.variables
    ]
    return {"endpoint": survey.endpoint, "under": survey.under, "variables": variables, "left_out": survey.left_out}


def _json_value(value: Any) -> Any:
    return str(value) if isinstance(value, float) and value - value != 0 else value


def device_file(survey: Survey, heading: str, entry: Sequence[str], rules: Sequence[str]) -> str:
    """A file with one device: the lines of its ``entry``, its browse rules, and the variables as its tags."""
    lines = [f"# {heading}", "devices:"]
    lines += [f"  {'- ' if number == 0 else '  '}{line}" for number, line in enumerate(entry)]
    if rules:
        lines += ["    browse:", *(f"      - {rule}" for rule in rules)]
    if survey.variables or not rules:
        lines.append("    tags:")
    lines += [f"      - {_tag(each)}" for each in survey.variables]
    if survey.left_out:
        lines.append(f"      # {survey.left_out} more variables were left out: raise --max")
    return "\n".join([*lines, ""])


def _tag(variable: SurveyedVariable) -> str:
    parts = [f"name: {quoted(variable.name)}", f"at: {quoted(variable.at)}"]
    if variable.unit:
        parts.append(f"unit: {quoted(variable.unit)}")
    if variable.description:
        parts.append(f"description: {quoted(variable.description)}")
    about = variable.type + (", the server lets it be written" if variable.is_writable else "")
    return f"{{{', '.join(parts)}}}  # {about}"


def quoted(text: str) -> str:
    """``text`` as a YAML value within braces."""
    return text if _PLAIN.fullmatch(text) and text.lower() not in _WORDS else json.dumps(text, ensure_ascii=False)
