"""YAML text to Python values, with the place of every key and value.

Values follow the YAML 1.2 core schema: ``true``, ``false``, ``null`` and numbers are what they say; everything else
(``on``, ``yes``, ``12:30``, dates) is text, and so is everything in quotes. Lists come out as tuples. Keys are always
text, as they are written.

What is refused, so that no file can make the agent slow or large: more than one document, keys that are not text, tags
such as ``!include``, nesting deeper than ``DEPTH_MAX``, and aliases that stand for more than ``COST_MAX`` when they
are written out. The parser is driven event by event: no recursion, so no depth of nesting can exhaust the stack.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn, Protocol

import yaml
from yaml import events

from connectors.configuration.yaml_syntax import syntax_problem, unprintable_problem
from connectors.model.errors import ConfigInvalid, Problem

FILE_BYTES_MAX: Final = 16 * 1024 * 1024
DEPTH_MAX: Final = 32
NUMBER_CHARS_MAX: Final = 64
PROBLEMS_MAX: Final = 1000
COST_MAX: Final = 2 * FILE_BYTES_MAX
"""Characters of all texts plus ``_NODE_COST`` for each value, with aliases counted as often as they are used."""
_NODE_COST: Final = 8

_WORDS: Final[dict[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_SPECIAL_FLOAT: Final = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")

NodePath = tuple[str | int, ...]
_PARSER: Final[Any] = getattr(yaml, "CBaseLoader", yaml.BaseLoader)
"""libyaml where PyYAML was built with it; else PyYAML's own parser, which takes some twenty times as long."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: (line, column), from 1, of its key (or of the list entry) and of its value.

    ``where`` is the file, if it is another one than the document's own; ``used_by`` says who has it from there.
    """

    key: tuple[int, int]
    value: tuple[int, int]
    where: str = ""
    used_by: str = ""


class Source(Protocol):
    """Values with their places: a file, or what templates and defaults have made of it."""

    @property
    def where(self) -> str:
        """The file."""
        ...

    @property
    def value(self) -> Any:
        """All of it."""
        ...

    def place(self, path: Sequence[str | int]) -> Place:
        """Where the value at ``path`` stands; for a path that leads nowhere, the last part of it that exists."""
        ...

    def has(self, path: Sequence[str | int]) -> bool:
        """Whether there is a value at ``path``, ``null`` included."""
        ...

    def get(self, path: Sequence[str | int]) -> Any:
        """The value at ``path``, or ``None`` when there is none."""
        ...


# The marks of a key (or list entry) and of its value, and the same for everything inside.
_Spot = tuple[Any, Any, "dict[str, _Spot] | list[_Spot] | None"]


@dataclass(frozen=True, slots=True)
class Document:
    """A file that was read: its value, the places in it, and what is wrong but did not stop the reading.

    Of a key that is there twice, ``value`` has the first; a caller that uses ``value`` reports ``problems`` too.
    """

    where: str
    value: Any
    problems: tuple[Problem, ...]
    _root: _Spot | None

    def place(self, path: Sequence[str | int]) -> Place:
        """Where the value at ``path`` stands; for a path that leads nowhere, the last part of it that exists."""
        if self._root is None:
            return Place((1, 1), (1, 1))
        key, value, inside = self._root
        for step in path:
            found = entry_of(inside, step)
            if found is None:
                break
            key, value, inside = found
        return Place((key.line + 1, key.column + 1), (value.line + 1, value.column + 1))

    def has(self, path: Sequence[str | int]) -> bool:
        """Whether there is a value at ``path``, ``null`` included."""
        inside: Any = self._root and self._root[2]
        for step in path:
            if (found := entry_of(inside, step)) is None:
                return False
            inside = found[2]
        return True

    def get(self, path: Sequence[str | int]) -> Any:
        """The value at ``path``, or ``None`` when there is none."""
        value = self.value
        for step in path:
            value = entry_of(value, step)
        return value


def entry_of(container: Any, step: str | int) -> Any:
    """The entry ``step`` of a mapping or a list; ``None`` when there is none, or it is neither."""
    if isinstance(container, dict):
        return container.get(step)
    if isinstance(container, (list, tuple)) and isinstance(step, int) and 0 <= step < len(container):
        return container[step]
    return None


def decode_yaml(data: bytes, where: str) -> str:
    """The text of a YAML file. Raises ``ConfigInvalid`` when it is too large or not UTF-8."""
    if len(data) > FILE_BYTES_MAX:
        raise ConfigInvalid([Problem(where, 0, 0, "the file is larger than 16 MiB.", "Split it with 'include'.")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        before = data[: exc.start].decode("utf-8-sig")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
    raise ConfigInvalid([Problem(where, line, column, "this is not UTF-8 text.", "Save the file as UTF-8.")])


def read_yaml(text: str, where: str) -> Document:
    """The one document in ``text``; nothing at all is the value ``None``.

    Raises ``ConfigInvalid``, naming ``where`` with line and column, when it cannot be read to its end.
    """
    if len(text) > FILE_BYTES_MAX:
        raise ConfigInvalid([Problem(where, 0, 0, "the file is larger than 16 MiB.", "Split it with 'include'.")])
    if (unprintable := unprintable_problem(where, text)) is not None:
        raise ConfigInvalid([unprintable])
    reader = _Reader(where)
    try:
        reader.read(_PARSER(text))
        # Nothing at all stands, for libyaml, behind the end of the file.
        return Document(where, reader.value, tuple(reader.problems), None if reader.value is None else reader.root)
    except yaml.YAMLError as exc:
        problem = syntax_problem(where, text, exc, reader.inside)
    raise ConfigInvalid([*reader.problems, problem])


@dataclass(slots=True)
class _Open:
    """A list or mapping that has begun and not ended; ``key`` is the key whose value comes next."""

    value: Any
    spots: Any
    mark: Any
    anchor: str | None
    key: str | None = None
    key_mark: Any = None
    cost: int = _NODE_COST
    height: int = 1


@dataclass(slots=True)
class _Anchored:
    """What an alias stands for."""

    value: Any
    spots: Any
    cost: int
    height: int


@dataclass(slots=True)
class _Reader:
    where: str
    value: Any = None
    root: _Spot | None = None
    problems: list[Problem] = field(default_factory=list)
    _stack: list[_Open] = field(default_factory=list)
    _anchors: dict[str, _Anchored] = field(default_factory=dict)
    _scalars: dict[str, Any] = field(default_factory=dict)
    _documents: int = 0
    _cost: int = 0

    def read(self, parser: Any) -> None:
        """Take all events. Raises ``yaml.YAMLError`` and ``ConfigInvalid``."""
        next_event = parser.get_event
        scalar, mapping, sequence = events.ScalarEvent, events.MappingStartEvent, events.SequenceStartEvent
        while (event := next_event()) is not None:
            kind = type(event)
            if kind is scalar:
                self._scalar(event)
            elif kind is mapping:
                self._begin(event, {}, {})
            elif kind is sequence:
                self._begin(event, [], [])
            elif kind is events.MappingEndEvent or kind is events.SequenceEndEvent:
                self._end()
            elif kind is events.AliasEvent:
                self._alias(event)
            elif kind is events.DocumentStartEvent:
                self._documents += 1
                if self._documents > 1:
                    self._stop(event.start_mark, "a second document begins here.", "Keep one document in a file.")

    @property
    def inside(self) -> tuple[int, int] | None:
        """Where the innermost list or mapping begins that has not ended, counted from 0."""
        mark = self._stack[-1].mark if self._stack else None
        return None if mark is None else (mark.line, mark.column)

    def _scalar(self, event: Any) -> None:
        text, mark = event.value, event.start_mark
        plain = not event.style
        top = self._stack[-1] if self._stack else None
        if event.tag is not None:
            self._tag(event)
        if top is not None and top.key is None and type(top.value) is dict:
            if plain and not text:
                self._wrong(mark, "there is no key before this ':'.", "Write it as key: value.")
            self._key(top, text, mark)
            return
        value = self._plain(text, mark) if plain else self._quoted(text, mark)
        cost = _NODE_COST + len(text)
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(value, None, cost, 0)
        self._spend(cost, mark)
        self._put(value, None, mark, cost, 0)

    def _key(self, top: _Open, text: str, mark: Any) -> None:
        top.key, top.key_mark = text, mark
        top.cost += len(text)
        self._spend(len(text), mark)
        if (first := top.spots.get(text)) is not None:
            self._wrong(
                mark,
                f"the key {text[:80]!r} is here a second time; the first is in line {first[0].line + 1}.",
                "Remove one of them.",
            )

    def _plain(self, text: str, mark: Any) -> Any:
        """The value of a scalar without quotes, by the rules of the YAML 1.2 core schema."""
        try:
            return self._scalars[text]
        except KeyError:
            pass
        value: Any = text
        if text in _WORDS:
            value = _WORDS[text]
        elif text[0] in "+-.0123456789":
            if _SPECIAL_FLOAT.fullmatch(text):
                value = float(text.replace(".", ""))
            elif _FLOAT.fullmatch(text) or _INTEGER.fullmatch(text):
                if len(text) > NUMBER_CHARS_MAX:
                    self._wrong(mark, f"a number of {len(text)} characters is too long.", "Put it in quotes.")
                elif _INTEGER.fullmatch(text):
                    value = int(text, 0) if text[:2] in ("0o", "0x") else int(text)
                else:
                    value = float(text)
        self._scalars[text] = value
        return value

    def _quoted(self, text: str, mark: Any) -> str:
        # PyYAML's own parser lets "\ud800" through, which is no character and cannot be written to any file.
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            self._wrong(mark, "this text contains half of a surrogate pair.", "Write the character itself.")
            return text.encode("utf-8", "replace").decode()
        return text

    def _begin(self, event: Any, value: Any, spots: Any) -> None:
        mark = event.start_mark
        if event.tag is not None:
            self._tag(event)
        if self._stack:
            top = self._stack[-1]
            if top.key is None and type(top.value) is dict:
                self._stop(mark, "a list or a group cannot be a key.", "Put text that begins with { or [ in quotes.")
            if len(self._stack) >= DEPTH_MAX:
                self._stop(mark, f"this is nested more than {DEPTH_MAX} levels deep.", "Write it flatter.")
        if event.anchor is not None:
            # Until it is complete: an alias inside of what it names would have no end.
            self._anchors.pop(event.anchor, None)
        self._cost += _NODE_COST
        self._stack.append(_Open(value, spots, mark, event.anchor))

    def _end(self) -> None:
        done = self._stack.pop()
        value = tuple(done.value) if type(done.value) is list else done.value
        if done.anchor is not None:
            self._anchors[done.anchor] = _Anchored(value, done.spots, done.cost, done.height)
        self._put(value, done.spots, done.mark, done.cost, done.height)

    def _alias(self, event: Any) -> None:
        top = self._stack[-1] if self._stack else None
        if top is not None and top.key is None and type(top.value) is dict:
            self._stop(event.start_mark, "an alias cannot be a key.", "Put text that begins with * in quotes.")
        known = self._anchors.get(event.anchor)
        if known is None:
            self._stop(
                event.start_mark,
                f"there is no '&{event.anchor[:80]}' above for this '*{event.anchor[:80]}'.",
                "Put text that begins with * in quotes.",
            )
        if len(self._stack) + known.height > DEPTH_MAX:
            self._stop(event.start_mark, f"this is nested more than {DEPTH_MAX} levels deep.", "Write it flatter.")
        self._spend(known.cost, event.start_mark)
        self._put(known.value, known.spots, event.start_mark, known.cost, known.height)

    def _put(self, value: Any, spots: Any, mark: Any, cost: int, height: int) -> None:
        """Give a complete value to the list or mapping that is open; the first of two equal keys is kept."""
        if not self._stack:
            self.value, self.root = value, (mark, mark, spots)
            return
        top = self._stack[-1]
        top.cost += cost
        if height >= top.height:
            top.height = height + 1
        if top.key is None:
            top.value.append(value)
            top.spots.append((mark, mark, spots))
            return
        if top.key not in top.spots:
            top.value[top.key] = value
            top.spots[top.key] = (top.key_mark, mark, spots)
        top.key = None

    def _spend(self, cost: int, mark: Any) -> None:
        self._cost += cost
        if self._cost > COST_MAX:
            self._stop(mark, "the file says too much, aliases written out.", "Split it into several agents.")

    def _tag(self, event: Any) -> None:
        written = event.tag.removeprefix("tag:yaml.org,2002:")
        self._wrong(
            event.start_mark,
            f"the YAML tag {written[:80]!r} is not used here.",
            "Other files are named under 'include'."
            if "include" in written
            else "Remove it, or put text that begins with ! in quotes.",
        )

    def _wrong(self, mark: Any, message: str, suggestion: str) -> None:
        self.problems.append(Problem(self.where, mark.line + 1, mark.column + 1, message, suggestion))
        if len(self.problems) >= PROBLEMS_MAX:
            raise ConfigInvalid(self.problems)

    def _stop(self, mark: Any, message: str, suggestion: str) -> NoReturn:
        problem = Problem(self.where, mark.line + 1, mark.column + 1, message, suggestion)
        raise ConfigInvalid([*self.problems, problem])
