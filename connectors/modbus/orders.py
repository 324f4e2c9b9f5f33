"""The orders in which units send the bytes of a value, by the names that manuals have for them."""

from __future__ import annotations

from typing import Any, Final, Literal

Order = Literal["ABCD", "BADC", "CDAB", "DCBA"]
"""A, B, C, D are the bytes of 32 bits from the most significant on, as they arrive."""
OrderName = Literal[
    "ABCD", "BADC", "CDAB", "DCBA", "ABCDEFGH", "BADCFEHG", "GHEFCDAB", "HGFEDCBA",
    "big", "little", "byte-swap", "word-swap",
]  # fmt: skip

_NAMES: Final[dict[str, Order]] = {
    "ABCDEFGH": "ABCD",
    "BADCFEHG": "BADC",
    "GHEFCDAB": "CDAB",
    "HGFEDCBA": "DCBA",
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
