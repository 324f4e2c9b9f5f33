"""Browsers in which somebody has logged in before: there, nobody is locked out by who guesses passwords elsewhere.

OWASP, "Slow down online guessing attacks with device cookies": a browser keeps a mark for each login that has succeeded
in it. Failures of a browser with a mark are counted by that mark, those of all others by account and address.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cloud_ingest.identity.attempts import Place
from cloud_ingest.identity.rules import ACCOUNT_FREE

LOGINS_MAX: Final = 8
"""Of one browser: a terminal at a line is used by several shifts."""
KEPT_S: Final = 180 * 86_400
_CHARS_MAX: Final = 1000
_BETWEEN: Final = "~"


class KnownBrowsers:
    """Makes marks and knows them again, by a key that is made of ``secret``; nothing of them is stored here."""

    def __init__(self, secret: str) -> None:
        self._key = HKDF(SHA256(), length=32, salt=None, info=b"lineside known browsers").derive(secret.encode())

    def place(self, marks: str, login: str) -> Place | None:
        """Where failures of ``login`` are counted in a browser with ``marks``; ``None``: they are not known there."""
        mark = self._find(marks, login)
        return None if mark is None else Place(f"browser:{hashlib.sha256(mark.encode()).hexdigest()}", ACCOUNT_FREE)

    def with_login(self, marks: str, login: str) -> str:
        """The marks of a browser in which ``login`` has succeeded just now."""
        mark = self._find(marks, login)
        if mark is None:
            nonce = secrets.token_urlsafe(16)
            mark = f"{nonce}.{self._mac(nonce, login)}"
        others = [one for one in _split(marks) if one != mark]
        return _BETWEEN.join([mark, *others][:LOGINS_MAX])

    def _find(self, marks: str, login: str) -> str | None:
        for mark in _split(marks):
            nonce, _, mac = mark.partition(".")
            if hmac.compare_digest(mac.encode(), self._mac(nonce, login).encode()):
                return mark
        return None

    def _mac(self, nonce: str, login: str) -> str:
        return hmac.new(self._key, f"{nonce}\n{login}".encode(), hashlib.sha256).hexdigest()


def _split(marks: str) -> list[str]:
    return [one for one in marks.split(_BETWEEN) if one][:LOGINS_MAX] if len(marks) <= _CHARS_MAX else []
