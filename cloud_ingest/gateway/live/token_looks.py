"""Whether tokens still hold, looked up once for all connections that show the same one."""

from __future__ import annotations

import asyncio

from cloud_ingest.access.principal import Authenticator, Principal


class TokenLooks:
    """Keeps whose a token is for a moment; a refusal is kept for nobody."""

    def __init__(self) -> None:
        self._found: dict[str | None, Principal] = {}
        self._until_s = 0.0

    async def principal(self, token: str | None, authenticator: Authenticator, kept_s: float) -> Principal:
        """Who shows ``token``, as it was found no longer ago than ``kept_s``. Raises what the authenticator raises."""
        now_s = asyncio.get_running_loop().time()
        if now_s >= self._until_s:
            self._found, self._until_s = {}, now_s + kept_s
        found = self._found
        if token not in found:
            found[token] = await authenticator.principal(token)
        return found[token]
