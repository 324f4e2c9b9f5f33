"""The orders in which units send the bytes of a value, by the names that manuals have for them. Pure."""

from __future__ import annotations

from typing import Any, Final, Literal

Order = Literal["ABCD", "BADC", "CDAB", "DCBA", "CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC"]
"""A, B, C, D … are the bytes of a value from the most significant on, as they arrive.

The orders of four letters are for 32 bits, and what units that use them make of 64: the same, with all registers in one
direction. Those of eight are for 64 bits whose halves are ordered in another way than the registers in them; of 32
bits such an order means the same within the half.
"""
OrderName = Literal[
    "ABCD", "BADC", "CDAB", "DCBA", "CDABGHEF", "DCBAHGFE", "EFGHABCD", "FEHGBADC",
    "ABCDEFGH", "BADCFEHG", "GHEFCDAB", "HGFEDCBA", "AB", "BA",
    "big", "little", "byte-swap", "word-swap",
]  # fmt: skip

BYTES_SWAPPED: Final[frozenset[Order]] = frozenset({"BADC", "DCBA", "DCBAHGFE", "FEHGBADC"})
"""The low byte of each register comes first."""
WORDS_SWAPPED: Final[frozenset[Order]] = frozenset({"CDAB", "DCBA", "CDABGHEF", "DCBAHGFE"})
"""Of 32 bits, the register with the low half comes first."""
_FOUR: Final[dict[Order, tuple[int, ...]]] = {
    "CDAB": (3, 2, 1, 0),
    "DCBA": (3, 2, 1, 0),
    "CDABGHEF": (1, 0, 3, 2),
    "DCBAHGFE": (1, 0, 3, 2),
    "EFGHABCD": (2, 3, 0, 1),
    "FEHGBADC": (2, 3, 0, 1),
}
_NAMES: Final[dict[str, Order]] = {
    "ABCDEFGH": "ABCD",
    "BADCFEHG": "BADC",
    "GHEFCDAB": "CDAB",
    "HGFEDCBA": "DCBA",
    "CDABGHEF": "CDABGHEF",
    "DCBAHGFE": "DCBAHGFE",
    "EFGHABCD": "EFGHABCD",
    "FEHGBADC": "FEHGBADC",
    "AB": "ABCD",
    "BA": "BADC",
    "BIG": "ABCD",
    "BYTE-SWAP": "BADC",
    "WORD-SWAP": "CDAB",
    "LITTLE": "DCBA",
}


def read_order(value: Any) -> Any:
    """``value`` as an ``Order``, where it is a name of one; else as it is."""
    if not isinstance(value, str):
        return value
    name = value.strip().upper().replace("_", "-")
    return _NAMES.get(name, name if name in _NAMES.values() else value)


def registers_by_weight(order: Order, count: int) -> tuple[int, ...]:
    """Where each register of a number arrives, the most significant one first; ``count`` is 1, 2 or 4."""
    if count == 4:
        return _FOUR.get(order, (0, 1, 2, 3))
    return tuple(reversed(range(count))) if order in WORDS_SWAPPED else tuple(range(count))


def arranged(words: list[int], order: Order) -> list[int]:
    """The registers of a number, the most significant one first, as they are sent; the same step leads back."""
    sent = list(words)
    for word, at in zip(words, registers_by_weight(order, len(words)), strict=True):
        sent[at] = word
    return swapped(sent) if order in BYTES_SWAPPED else sent


def swapped(words: list[int]) -> list[int]:
    """``words`` with the two bytes of each exchanged."""
    return [word >> 8 | (word & 0xFF) << 8 for word in words]
