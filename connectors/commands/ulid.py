"""Identities that sort by the time when they were given: https://github.com/ulid/spec."""

from __future__ import annotations

import secrets
from typing import Final

_DIGITS: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LENGTH: Final = 26
_RANDOM_BITS: Final = 80


def new_ulid(time_ms: int) -> str:
    """A new one: 48 bits of time in milliseconds since 1970, then 80 random bits."""
    number = (time_ms & ((1 << 48) - 1)) << _RANDOM_BITS | secrets.randbits(_RANDOM_BITS)
    return "".join(_DIGITS[(number >> (5 * place)) & 31] for place in reversed(range(_LENGTH)))
