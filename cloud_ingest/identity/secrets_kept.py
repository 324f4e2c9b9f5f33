"""Secrets that are random: shown once, kept as their SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from typing import Final

BYTES: Final = 32
CHARS_MAX: Final = 200


def new_secret(prefix: str = "") -> str:
    """256 random bits, behind ``prefix``, by which it is recognised where it should not be."""
    return prefix + secrets.token_urlsafe(BYTES)


def digest(secret: str) -> bytes:
    """What is kept of it: random bits need no slow hash, as nobody guesses them."""
    return hashlib.sha256(secret.encode()).digest()
