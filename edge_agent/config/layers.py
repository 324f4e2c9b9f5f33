"""Devices that templates and defaults have had a part in: their values, and where each of them stands.

A device is made of layers, the entry of the file first, then its template, then the defaults. Values are merged once;
where one of them stands is looked up only when there is something to say about it, so that ten thousand tags need no
place each.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from connectors.configuration.yaml_nodes import Document, NodePath, Place, Source, entry_of
from connectors.model.errors import Problem


class Layer(NamedTuple):
    """Some settings, and where they stand."""

    value: dict[str, Any]
    source: Source
    path: NodePath


class Spot(NamedTuple):
    """Where a value stands."""

    source: Source
    path: NodePath


@dataclass(frozen=True, slots=True)
class Used:
    """A part of a file, as ``user`` has it from there."""

    document: Document
    user: str

    @property
    def where(self) -> str:
        """See ``Source``."""
        return self.document.where

    @property
    def value(self) -> Any:
        """See ``Source``."""
        return self.document.value

    def place(self, path: Sequence[str | int]) -> Place:
        """See ``Source``."""
        return replace(self.document.place(path), where=self.document.where, used_by=self.user)

    def has(self, path: Sequence[str | int]) -> bool:
        """See ``Source``."""
        return self.document.has(path)

    def get(self, path: Sequence[str | int]) -> Any:
        """See ``Source``."""
        return self.document.get(path)


@dataclass(slots=True)
class TagList:
    """The entries of a list such as ``tags``, gathered from several lists, and where each of them stands."""

    entries: list[Any] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    _runs: list[tuple[Spot, int]] = field(default_factory=list)
    _over: dict[int, list[Spot]] = field(default_factory=dict)

    def add(self, entry: Any, spot: Spot, at: int) -> None:
        """Append ``entry``, which is number ``at`` of the list at ``spot``."""
        index = len(self.entries)
        if not self._runs or self._runs[-1] != (spot, at - (index - self._starts[-1])):
            self._starts.append(index)
            self._runs.append((spot, at))
        self.entries.append(entry)

    def override(self, index: int, entry: dict[str, Any], spot: Spot) -> None:
        """Let what ``entry``, which stands at ``spot``, says count more than what is there."""
        self.entries[index] = merged(self.entries[index], entry)
        self._over.setdefault(index, []).insert(0, spot)

    def spots(self, index: int) -> Iterator[Spot]:
        """Where the parts of an entry stand, what counts most first."""
        yield from self._over.get(index, ())
        if 0 <= index < len(self.entries):
            run = bisect_right(self._starts, index) - 1
            (source, path), first = self._runs[run]
            yield Spot(source, (*path, first + index - self._starts[run]))


@dataclass(slots=True)
class Expanded:
    """One device: its value, and the layers it is made of; not ``is_whole`` when a template of it is wrong."""

    value: Any
    own: tuple[Spot, ...]
    defaults: tuple[Spot, ...] = ()
    lists: dict[str, TagList] = field(default_factory=dict)
    tag_defaults: tuple[Spot, ...] = ()
    is_whole: bool = True

    def find(self, path: NodePath) -> tuple[Spot, bool]:
        """Where the value at ``path`` of the device stands, and whether it is a default.

        For a value that is nowhere, where the group stands that it would be in.
        """
        own, defaults, inside = self.own, self.defaults, path
        if len(path) > 1 and isinstance(path[1], int) and (tags := self.lists.get(str(path[0]))) is not None:
            own, defaults, inside = tuple(tags.spots(path[1])), self.tag_defaults if path[0] == "tags" else (), path[2:]
        for length in range(len(inside), -1, -1):
            for spots, is_default in ((own, False), (defaults, True)):
                for source, base in spots:
                    if source.has((*base, *inside[:length])):
                        return Spot(source, (*base, *inside)), is_default
        return self.own[0], False


@dataclass(frozen=True, slots=True)
class ExpandedDocument:
    """A file whose devices are as templates and defaults make them; a ``Source``."""

    document: Document
    devices: tuple[Expanded, ...]

    @property
    def where(self) -> str:
        """See ``Source``."""
        return self.document.where

    @property
    def value(self) -> Any:
        """See ``Source``."""
        return {"devices": tuple(device.value for device in self.devices)}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the file itself."""
        return self.document.problems

    def place(self, path: Sequence[str | int]) -> Place:
        """See ``Source``."""
        device = self._device(path)
        if device is None:
            return self.document.place(path)
        (source, inside), _ = device.find(tuple(path[2:]))
        place = source.place(inside)
        return place if place.where else replace(place, where=source.where)

    def has(self, path: Sequence[str | int]) -> bool:
        """See ``Source``."""
        device = self._device(path)
        if device is None:
            return self.document.has(path)
        value: Any = device.value
        for step in path[2:]:
            if not (isinstance(value, dict) and step in value) and entry_of(value, step) is None:
                return False
            value = entry_of(value, step)
        return True

    def get(self, path: Sequence[str | int]) -> Any:
        """See ``Source``."""
        device = self._device(path)
        if device is None:
            return self.document.get(path)
        value: Any = device.value
        for step in path[2:]:
            value = entry_of(value, step)
        return value

    def is_default(self, path: Sequence[str | int]) -> bool:
        """Whether the value at ``path`` comes from defaults."""
        device = self._device(path)
        return device is not None and device.find(tuple(path[2:]))[1]

    def _device(self, path: Sequence[str | int]) -> Expanded | None:
        if len(path) < 2 or path[0] != "devices" or not isinstance(path[1], int):
            return None
        return self.devices[path[1]] if 0 <= path[1] < len(self.devices) else None


def merged(low: Any, high: Any) -> Any:
    """Two groups of settings as one; where both say something, ``high`` counts."""
    if not isinstance(low, dict) or not isinstance(high, dict):
        return high
    both = {**low, **high}
    for key in low.keys() & high.keys():
        both[key] = merged(low[key], high[key])
    return both
