"""Passwords: Argon2id with the second recommended option of RFC 9106, section 4 (64 MiB, three passes, four lanes)."""

from __future__ import annotations

import asyncio
from typing import Final

from pwdlib import PasswordHash
from pwdlib.exceptions import UnknownHashError
from pwdlib.hashers.argon2 import Argon2Hasher

_AT_ONCE: Final = 2
"""Each takes 64 MiB while it is worked on."""


class Passwords:
    """Makes and checks hashes, in threads, a few at a time."""

    def __init__(self, hasher: Argon2Hasher | None = None) -> None:
        self._hash = PasswordHash(
            (hasher or Argon2Hasher(time_cost=3, memory_cost=64 * 1024, parallelism=4, hash_len=32, salt_len=16),)
        )
        self._turn = asyncio.Semaphore(_AT_ONCE)
        self._nobodys: str | None = None

    async def make(self, password: str) -> str:
        """The hash to keep."""
        async with self._turn:
            return await asyncio.to_thread(self._hash.hash, password)

    async def fits(self, password: str, kept: str | None) -> tuple[bool, str | None]:
        """Whether it is the password of ``kept``; and a new hash to keep where that one was made with less effort.

        It takes as long for an account that does not exist (``None``): the time tells nobody which do.
        """
        if kept is None and self._nobodys is None:
            self._nobodys = await self.make("nobody has this password")
        async with self._turn:
            return await asyncio.to_thread(self._verify, password, kept)

    def _verify(self, password: str, kept: str | None) -> tuple[bool, str | None]:
        try:
            fits, better = self._hash.verify_and_update(password, kept or self._nobodys or "")
        except UnknownHashError:
            return False, None
        return (False, None) if kept is None else (fits, better)
