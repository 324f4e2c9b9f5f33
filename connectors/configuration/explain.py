"""What is wrong with a setting, in the words of the person who wrote the file.

The models find the mistakes; this module turns each into a place, a sentence and a suggestion. Nothing of the
validation library's own wording reaches a message, and neither does a secret.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from connectors.configuration.setting_names import (
    Setting,
    called,
    keys_of,
    listed,
    nearest,
    nearest_key,
    quantity,
    setting_at,
    shown,
    without_credentials,
)
from connectors.configuration.yaml_nodes import NodePath, Source
from connectors.model.errors import Problem
from connectors.ports.settings import DataTypeReader, DuplicateTag, SettingInvalid

MESSAGE_CHARS_MAX: Final = 500
_KEY_WITHOUT_SPACE: Final = re.compile(r"[\w-]+:\S")
_MEANT: Final = {"yes": True, "on": True, "y": True, "1": True, "no": False, "off": False, "n": False, "0": False}
_Sentence = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Mistake:
    """One complaint of a model: the path from the root of the file, the value there, and what the model says of it."""

    document: Source
    path: NodePath
    setting: Setting | None
    context: dict[str, Any]

    @property
    def raw(self) -> Any:
        return self.document.get(self.path)

    @property
    def subject(self) -> str:
        return called(self.document, self.path)


def explain(error: ValidationError, document: Source, base: NodePath, model: type[BaseModel]) -> list[Problem]:
    """Everything that ``error`` says about the part of ``document`` at ``base``, which should have been a ``model``."""
    mistakes: list[tuple[str, _Mistake]] = []
    for entry in error.errors(include_url=False, include_input=False):
        if entry["type"] == "default_factory_not_called":
            continue  # what the default would be follows from a setting that is wrong itself
        path, setting = (*base, *entry["loc"]), setting_at(model, entry["loc"])
        mistake = _Mistake(document, path, setting, entry.get("ctx", {}))
        raw = mistake.raw
        if entry["type"] == "too_short" and isinstance(raw, tuple) and len(raw) >= mistake.context["min_length"]:
            continue  # only entries that are wrong themselves are missing
        mistakes.append((entry["type"], mistake))
    problems: list[Problem] = []
    misspelt: set[NodePath] = set()
    for kind, mistake in mistakes:
        if kind == "extra_forbidden":
            group = setting_at(model, mistake.path[len(base) : -1])
            problem, meant = _unknown_key(document, mistake.path, keys_of(group.model) if group and group.model else [])
            problems.append(problem)
            if meant is not None:
                misspelt.add((*mistake.path[:-1], meant))
    for kind, mistake in mistakes:
        if kind == "missing" and mistake.path not in misspelt:
            problems.append(missing_key(document, mistake.path, mistake.setting))
        elif kind not in ("missing", "extra_forbidden"):
            problems += _wrong_values(kind, mistake)
    return problems


def problem_at(
    document: Source, path: Sequence[str | int], message: str, suggestion: str = "", *, at_key: bool = False
) -> Problem:
    """A problem at the value (or the key) that ``path`` leads to. User names and passwords in addresses are cut."""
    place = document.place(path)
    line, column = place.key if at_key else place.value
    message = without_credentials(message)
    cut = message if len(message) <= MESSAGE_CHARS_MAX else f"{message[:MESSAGE_CHARS_MAX]}…"
    return Problem(place.where or document.where, line, column, cut, without_credentials(suggestion), place.used_by)


def unknown_key(document: Source, path: NodePath, known: Sequence[str]) -> Problem:
    """A key that is not one of ``known``."""
    return _unknown_key(document, path, known)[0]


def _unknown_key(document: Source, path: NodePath, known: Sequence[str]) -> tuple[Problem, str | None]:
    key = str(path[-1])
    where = f" in {called(document, path[:-1])}" if len(path) > 1 else ""
    meant = nearest_key(key, known)
    stuck = key.partition(":")[0]
    if key == "<<":
        suggestion = "Keys cannot be merged into others; write them here."
    elif _KEY_WITHOUT_SPACE.match(key) and stuck in known:
        meant, suggestion = stuck, f"Write a space after the ':' of '{stuck}:'."
    elif meant is not None:
        suggestion = f"Did you mean {meant!r}?"
    else:
        suggestion = f"Known are {listed(sorted(known), 'and')}." if known else ""
    return problem_at(document, path, f"unknown key {shown(key)}{where}.", suggestion, at_key=True), meant


def missing_key(document: Source, path: NodePath, setting: Setting | None = None, hint: str = "") -> Problem:
    """A key that has to be there and is not, at the beginning of the group that needs it."""
    *above, key = path
    hint = hint or (setting.description if setting is not None else "")
    at_key = bool(above) and isinstance(above[-1], str)
    suggestion = f"Add {key!r}: {hint}." if hint else f"Add {key!r}."
    return problem_at(document, above, f"{called(document, above)} needs {key!r}.", suggestion, at_key=at_key)


def wrong_type(document: Source, path: NodePath, wanted: str, *, required: bool = True) -> Problem:
    """A value of another type than ``wanted``, which is one of the keys of ``TYPES``."""
    mistake = _Mistake(document, path, Setting(None, frozenset(), required, ""), {})
    return problem_at(document, path, *_wrong_type(mistake, wanted), at_key=mistake.raw is None)


def duplicate_tag(document: Source, device: NodePath, name: str, first: int, second: int) -> Problem:
    """Two tags of a device with one name, or names that lower case makes one (Sparkplug 3.0, 5.1), at the second."""
    first_path = (*device, "tags", first, "name")
    place, device_called = document.place(first_path), called(document, device)
    other_file = place.where not in ("", document.place((*device, "tags", second, "name")).where or document.where)
    line = f"line {place.value[0]}{f' of {place.where}' if other_file else ''}"
    message = f"{device_called} has a second tag {shown(name)}; the first is in {line}."
    if document.get(first_path) != name:
        message = f"the tag {shown(name)} of {device_called} and that of {line} differ in capital letters only."
    return problem_at(document, (*device, "tags", second, "name"), message, "Give one of them another name.")


def _wrong_values(kind: str, mistake: _Mistake) -> list[Problem]:
    error = mistake.context.get("error")
    if isinstance(error, DuplicateTag):
        return [duplicate_tag(mistake.document, mistake.path, error.name, error.first, error.second)]
    if isinstance(error, SettingInvalid):
        return [_does_not_fit(mistake, each) for each in (error, *error.others)]
    if mistake.raw is None and mistake.document.has(mistake.path):
        return [problem_at(mistake.document, mistake.path, *_empty(mistake), at_key=True)]
    return [problem_at(mistake.document, mistake.path, *SENTENCES.get(kind, _unusable)(mistake))]


def _does_not_fit(mistake: _Mistake, error: SettingInvalid) -> Problem:
    path = (*mistake.path, *error.path)
    return problem_at(mistake.document, path, f"{called(mistake.document, path)}: {error.message}", error.suggestion)


def _empty(mistake: _Mistake) -> _Sentence:
    required = mistake.setting is None or mistake.setting.required
    return f"{mistake.subject} is empty.", "Write a value." if required else "Write a value, or remove the line."


TYPES: Final = {
    "text": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "list": "a list",
    "group": "a group of settings (key: value)",
}


def _wrong_type(mistake: _Mistake, wanted: str) -> _Sentence:
    raw = mistake.raw
    if raw is None:
        return _empty(mistake)
    if isinstance(raw, str):
        got = f"the text {shown(raw)}"
    elif isinstance(raw, (dict, tuple, bool)):
        got = shown(raw)
    else:
        got = f"the number {shown(raw)}"
    return f"{mistake.subject} has to be {TYPES[wanted]}, not {got}.", _right_type(raw, wanted)


def _right_type(raw: Any, wanted: str) -> str:
    if wanted == "text":
        return "" if isinstance(raw, (dict, tuple)) else "Put it in quotes."
    if wanted == "boolean":
        if str(raw).lower() in ("true", "false"):
            return "Take it out of its quotes."
        meant = _MEANT.get(str(raw).lower())
        return "Write true or false." if meant is None else f"Did you mean {shown(meant)}?"
    if wanted in ("integer", "number"):
        number = re.match(r"[-+]?\d+(\.\d+)?", raw) if isinstance(raw, str) else None
        if number is None:
            return f"Write {TYPES[wanted]}."
        return "Remove the quotes." if number[0] == raw else f"Write {TYPES[wanted]}, without a unit."
    if wanted == "list":
        return "Begin every entry with '- '."
    if isinstance(raw, str) and _KEY_WITHOUT_SPACE.match(raw):
        return "Write a space after every ':' that ends a key."
    return "Write its settings below it, indented." if not isinstance(raw, tuple) else "Remove the '- '."


def _type(wanted: str) -> Callable[[_Mistake], _Sentence]:
    return lambda mistake: _wrong_type(mistake, wanted)


def _bound(words: str, limit: str) -> Callable[[_Mistake], _Sentence]:
    def sentence(mistake: _Mistake) -> _Sentence:
        bound = quantity(mistake.setting, mistake.context[limit])
        raw = mistake.raw
        value = raw if isinstance(raw, str) and len(raw) < 40 else shown(raw)
        return f"{mistake.subject} cannot be {value}.", f"Write {words} {bound}."

    return sentence


def _choice(mistake: _Mistake) -> _Sentence:
    choices = [str(choice) for choice in mistake.setting.choices] if mistake.setting is not None else []
    meant = nearest(mistake.raw, choices)
    known = f"It can be {listed(map(repr, choices))}." if choices else ""
    suggestion = f"Did you mean {meant!r}? {known}" if meant is not None else known
    return f"{mistake.subject} cannot be {shown(mistake.raw)}.", suggestion


def _said(mistake: _Mistake) -> _Sentence:
    """The sentence of a model's own check: "what is wrong; write what is right"."""
    raw = mistake.raw
    if isinstance(raw, (dict, tuple)) and (mistake.setting is None or mistake.setting.is_single):
        return f"{mistake.subject} has to be a single value, not {shown(raw)}.", ""
    text = str(mistake.context["error"]).replace("\n", " ")
    if isinstance(raw, (str, bool)) and repr(raw) in text:
        text = text.replace(repr(raw), shown(raw))
    message, divider, suggestion = text.rpartition("; write ")
    suggestion = f"Write {suggestion}." if divider else ""
    readers = () if mistake.setting is None else mistake.setting.readers
    reader = next((reader for reader in readers if isinstance(reader, DataTypeReader)), None)
    if reader is not None and not divider:
        return f"{mistake.subject}: there is no data type {shown(raw)}.", _right_datatype(raw, reader)
    return f"{mistake.subject}: {message if divider else text}.", suggestion


def _right_datatype(raw: Any, reader: DataTypeReader) -> str:
    meant = nearest(raw, reader.known) or nearest(raw, reader.iec)
    return f"Known are {listed(reader.known, 'and')}." if meant is None else f"Did you mean {meant!r}?"


def _entries(words: str, limit: str) -> Callable[[_Mistake], _Sentence]:
    def sentence(mistake: _Mistake) -> _Sentence:
        count = mistake.context[limit]
        return f"{mistake.subject} {words} {count} {'entry' if count == 1 else 'entries'}.", ""

    return sentence


def _too_long(mistake: _Mistake) -> _Sentence:
    return f"{mistake.subject} has more than {mistake.context['max_length']} characters.", "Write less."


def _too_short(mistake: _Mistake) -> _Sentence:
    count = mistake.context["min_length"]
    return _empty(mistake) if count == 1 else (f"{mistake.subject} has less than {count} characters.", "Write more.")


def _not_finite(mistake: _Mistake) -> _Sentence:
    return f"{mistake.subject} is no finite number.", "Write a number."


def _unusable(mistake: _Mistake) -> _Sentence:
    return f"{mistake.subject} cannot be {shown(mistake.raw)}.", ""


SENTENCES: Final[dict[str, Callable[[_Mistake], _Sentence]]] = {
    "string_type": _type("text"),
    "int_type": _type("integer"),
    "float_type": _type("number"),
    "bool_type": _type("boolean"),
    "tuple_type": _type("list"),
    "model_type": _type("group"),
    "dict_type": _type("group"),
    "greater_than": _bound("more than", "gt"),
    "greater_than_equal": _bound("at least", "ge"),
    "less_than": _bound("less than", "lt"),
    "less_than_equal": _bound("at most", "le"),
    "literal_error": _choice,
    "value_error": _said,
    "too_short": _entries("needs at least", "min_length"),
    "too_long": _entries("takes at most", "max_length"),
    "string_too_short": _too_short,
    "string_too_long": _too_long,
    "finite_number": _not_finite,
}
"""By kind of complaint. ``missing`` and ``extra_forbidden`` are treated in ``explain``; a kind that only a driver of
somebody else uses gets a sentence that says little, but says where."""
