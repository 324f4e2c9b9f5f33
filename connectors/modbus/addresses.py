"""Where a value is in a unit, as a device file says it: ``holding 100``, ``holding 100.5``, or 40101 as in a manual."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

from connectors.ports.settings import SettingInvalid

Table = Literal["coil", "discrete", "input", "holding"]
ADDRESS_MAX: Final = 65_535

_PLACE: Final = re.compile(r"(coil|discrete|input|holding)\s+(\d{1,5})(?:\.(\d{1,2}))?", re.ASCII)
_CLASSIC: Final = re.compile(r"([0134])(\d{4,5})(?:\.(\d{1,2}))?", re.ASCII)
_CLASSIC_TABLES: Final[dict[str, Table]] = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}


@dataclass(frozen=True, slots=True)
class Place:
    """A table of the unit, the number in it as it was written, and the bit where one is named.

    Numbers count from 0, as on the wire, unless ``is_classic``: what manuals call 40001 counts from 1. Without it the
    ``base`` of tag or device decides, so that the last one is 65535 or 65536.
    """

    table: Table
    number: int
    bit: int | None
    is_classic: bool = False


def read_place(at: Any) -> Any:
    """``at`` as a text. Raises ``SettingInvalid`` where a number cannot say what is meant."""
    if isinstance(at, bool) or not isinstance(at, int | float | str):
        return at
    if isinstance(at, float):
        raise SettingInvalid(
            f"{at!r} is a number to YAML, for which 40100.1 and 40100.10 are the same.",
            f"Write it in quotes: '{at!r}', or '{at!r}0' if that was meant.",
        )
    text = str(at).strip()
    if re.fullmatch(r"[\d.]+", text) and _classic(text) is None:
        raise SettingInvalid(
            f"{at!r} does not say which table it is in.",
            f"Write the table and the number from 0, such as holding {text[:8]}.",
        )
    return text


def _classic(text: str) -> re.Match[str] | None:
    found = _CLASSIC.fullmatch(text)
    return found if found is not None and 0 < int(found[2]) <= ADDRESS_MAX + 1 else None


@lru_cache(16)  # a tag asks for the parts of its place one after the other
def parse_place(at: str) -> Place:
    """``at`` taken apart. Raises ``ValueError`` with a sentence."""
    text = at.strip()
    found = _PLACE.fullmatch(text)
    if found is not None:
        table: Any = found[1]
        place = Place(table, int(found[2]), None if found[3] is None else int(found[3]))
        if place.number > ADDRESS_MAX + 1:
            raise ValueError(
                f"{at!r}: addresses go from 0 to {ADDRESS_MAX}, or with 'base: 1' from 1 to {ADDRESS_MAX + 1}"
            )
    else:
        classic = _classic(text)
        if classic is None:
            raise ValueError(
                f"{at!r} is not a Modbus address; write a table (coil, discrete, input, holding) and a number from 0, "
                "such as holding 100, or holding 100.5 for one bit"
            )
        bit = None if classic[3] is None else int(classic[3])
        place = Place(_CLASSIC_TABLES[classic[1]], int(classic[2]), bit, is_classic=True)
    if place.bit is not None and (place.table in ("coil", "discrete") or place.bit > 15):
        raise ValueError(f"{at!r}: only the bits 0 to 15 of a register can be named")
    return place
