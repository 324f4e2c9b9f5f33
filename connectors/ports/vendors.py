"""What all vendors behind ports have alike: why a call was not done, named by what the caller does next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from connectors.model.errors import LinesideError

CALL_S_MAX: Final = 30.0
"""So long an adapter waits for an answer before the call counts as uncertain."""
REPLAY_WINDOW_S: Final = 300
"""A webhook that was signed longer ago, or in a future farther away, is refused."""


class VendorUnavailable(LinesideError):
    """Nothing was done: the caller asks again, not before ``retry_after_s`` where the vendor has said so."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class CallUncertain(LinesideError):
    """It was sent, and nobody knows whether it was done: the caller asks after it before it asks again."""


class CallRefused(LinesideError):
    """The vendor says no and will not change its mind: the caller never asks the same again."""

    def __init__(self, reason: str, code: str = "") -> None:
        super().__init__(reason)
        self.code = code


class AccessRefused(LinesideError):
    """The vendor does not take our key: nothing was done, and every call waits until a person has mended that."""


class WebhookRefused(LinesideError):
    """A message is not the vendor's, or too old: the caller answers 400 and believes nothing of it."""


Headers = Mapping[str, str]
"""Of a webhook, with names in lower case."""


class VendorMemory(Protocol):
    """What a built-in vendor remembers: documents by their keys, each changed by one at a time."""

    async def change(self, key: str, change: Callable[[dict[str, Any] | None], dict[str, Any]]) -> dict[str, Any]:
        """Put what ``change`` makes of the document ``key`` (``None``: there is none yet) in its place, and give it.

        It holds when this returns. Raises what ``change`` raises, and then nothing has changed.
        """
        ...

    async def get(self, key: str) -> dict[str, Any] | None:
        """The document ``key``, if there is one."""
        ...


class MemoryInProcess:
    """A memory that is gone with its process; for tests."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, Any]] = {}
        self._lock = asyncio.Lock()

    async def change(self, key: str, change: Callable[[dict[str, Any] | None], dict[str, Any]]) -> dict[str, Any]:
        """See ``VendorMemory``."""
        async with self._lock:
            known = self._documents.get(key)
            self._documents[key] = made = change(None if known is None else dict(known))
            return dict(made)

    async def get(self, key: str) -> dict[str, Any] | None:
        """See ``VendorMemory``."""
        known = self._documents.get(key)
        return None if known is None else dict(known)

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with ``prefix``."""
        return [key for key in self._documents if key.startswith(prefix)]
