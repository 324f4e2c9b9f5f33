"""What comes out of a list of tags, whatever made it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from connectors.model.errors import LinesideError


class ListUnreadable(LinesideError):
    """The file as a whole cannot be read: the caller shows the sentence."""


@dataclass(frozen=True, slots=True)
class Row:
    """A tag; ``settings`` as a device file has them, ``place`` where it stands in the list."""

    place: str
    settings: dict[str, Any]
    device: str = ""


@dataclass(frozen=True, slots=True)
class Refused:
    """Something of the list that becomes no tag, and why."""

    place: str
    name: str
    reason: str


@dataclass(slots=True)
class Imported:
    """All of a list, in its order; ``notes`` are for whoever imports it."""

    rows: list[Row] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def refuse(self, place: str, name: str, reason: str) -> None:
        """Say why something becomes no tag."""
        self.refused.append(Refused(place, name, reason))


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the person who imports has said: the driver, and how node ids are made of names (``{tag}``)."""

    driver: str = "opcua"
    node: str = ""
    array_max: int = 0
    """Elements of an array that become a tag each, at most; 0: arrays are refused."""


DIGITS_MAX: Final = 9
VALUES_MAX: Final = 200_000
"""Types within types make a file of some kilobytes as large as anybody likes."""


def whole_number(text: str, otherwise: int) -> int:
    """The number that an attribute of an export is; ``otherwise`` when it is none, or absurdly long."""
    plain = text.strip().removeprefix("-")
    return int(text) if plain.isdecimal() and len(plain) <= DIGITS_MAX else otherwise


Reader = Callable[[bytes, Wanted], Imported]
