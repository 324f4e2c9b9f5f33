"""Whether the tags exist that conditions of the file name: interlocks, and what a named command waits for.

Looked up in the files as they are written, so that one mistake elsewhere hides none of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from connectors.configuration.explain import problem_at
from connectors.configuration.setting_names import called, nearest
from connectors.configuration.yaml_nodes import NodePath, Source
from connectors.model.errors import Problem


def note_tags(entry: Mapping[str, Any], known: dict[str, set[str]]) -> None:
    """Add the device of ``entry`` with its tags to those that are ``known``."""
    name, lists = entry.get("name"), (entry.get("tags"), entry.get("derived"))
    if isinstance(name, str):
        tags = [tag for tags in lists if isinstance(tags, tuple) for tag in tags if isinstance(tag, dict)]
        names = (tag.get("name") for tag in tags)
        known.setdefault(name, set()).update(tag for tag in names if isinstance(tag, str))


def condition_problems(document: Source, known: Mapping[str, set[str]]) -> Iterator[Problem]:
    """A problem for each tag that a condition names and that is not ``known``, at the line of the condition.

    A condition that cannot be read is no problem here: the model of the settings says what is wrong with it.
    """
    for path in _conditions(document):
        text = document.get(path)
        if not isinstance(text, str):
            continue
        from connectors.commands.expression import ExpressionInvalid, parse_expression  # loaded where it is needed

        try:
            places = sorted(parse_expression(text).tags)
        except ExpressionInvalid:
            continue
        for device, tag in places:
            if device not in known:
                meant = nearest(device, known)
                suggestion = "" if meant is None else f"Did you mean {meant!r}?"
                message = f"{called(document, path)}: there is no device {device!r}."
                yield problem_at(document, path, message, suggestion)
            elif tag not in known[device]:
                meant = nearest(tag, known[device])
                suggestion = "" if meant is None else f"Did you mean {f'{device}/{meant}'!r}?"
                message = f"{called(document, path)}: the device {device!r} has no tag {tag!r}."
                yield problem_at(document, path, message, suggestion)


def _conditions(document: Source) -> Iterator[NodePath]:
    """Where conditions may stand."""
    for at, device in _entries(document.value, "devices"):
        base: NodePath = ("devices", at)
        for number, _ in _entries(device, "tags"):
            yield (*base, "tags", number, "writable", "interlock")
        commands = device.get("commands")
        for name, command in (commands if isinstance(commands, dict) else {}).items():
            yield (*base, "commands", name, "interlock")
            for part in ("steps", "otherwise"):
                for number, _ in _entries(command, part):
                    yield (*base, "commands", name, part, number, "wait")


def _entries(group: Any, key: str) -> Iterator[tuple[int, dict[str, Any]]]:
    entries = group.get(key) if isinstance(group, dict) else None
    for at, entry in enumerate(entries if isinstance(entries, tuple) else ()):
        if isinstance(entry, dict):
            yield at, entry
