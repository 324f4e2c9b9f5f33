"""The keys of an OpenID provider: found by its metadata (OpenID Connect Discovery), and asked for anew when due."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import httpx
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.observability.identity_events import ProviderKeysFetched, ProviderUnreachable
from connectors.observability.events import emit
from connectors.ports.clock import Clock

PublicKey = RSAKey | ECKey | OKPKey
FRESH_S: Final = 600.0
"""After so long the keys are asked for anew: one that was withdrawn holds no longer than that."""
AGAIN_S: Final = 15.0
"""Not more often, whatever names of keys are shown to us, and while the provider is away."""
KEPT_S: Final = 24 * 3600.0
"""While the provider is away, its last keys hold so long."""
ANSWER_BYTES_MAX: Final = 512 * 1024
TIMEOUT_S: Final = 5.0
FETCH_S: Final = 10.0
"""Of all of it: a provider that sends a byte now and then keeps nobody waiting for longer."""
KEYS_MAX: Final = 100


class ProviderKeys:
    """The keys of one provider, as this process knows them."""

    def __init__(
        self, issuer: str, clock: Clock, *, insecure: bool, client: Callable[[], httpx.AsyncClient] | None = None
    ) -> None:
        self._issuer = issuer
        self._clock = clock
        self._insecure = insecure
        self._client = client or (lambda: httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False))
        self._keys: dict[str, PublicKey] = {}
        self._fetched_s = float("-inf")
        self._tried_s = float("-inf")
        self._turn = asyncio.Lock()

    async def key(self, key_id: str) -> PublicKey | None:
        """The key of that name, if the provider has it. Raises ``RequestRefused`` (503) while that is away."""
        is_known = key_id in self._keys
        is_fresh = self._clock.monotonic_s() - self._fetched_s <= FRESH_S
        if not is_known or not (is_fresh or self._turn.locked()):  # while one asks, the others go on with what is known
            await self._fetch_in_turn()
        if self._clock.monotonic_s() - self._fetched_s > KEPT_S:
            why = f"the OpenID provider {self._issuer} cannot be reached: nobody can log in by it now"
            raise RequestRefused(Why.NOT_SET_UP, "provider_away", why, AGAIN_S)
        return self._keys.get(key_id)

    async def _fetch_in_turn(self) -> None:
        async with self._turn:
            now_s = self._clock.monotonic_s()
            if now_s - self._tried_s < AGAIN_S:
                return
            self._tried_s = now_s
            try:
                async with asyncio.timeout(FETCH_S):
                    self._keys = await self._fetch()
            except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, JoseError, RecursionError) as exc:
                emit(ProviderUnreachable(self._issuer, f"{type(exc).__name__}: {exc}"[:500]))
                return
            self._fetched_s = self._clock.monotonic_s()
            emit(ProviderKeysFetched(self._issuer, len(self._keys)))

    async def _fetch(self) -> dict[str, PublicKey]:
        async with self._client() as client:
            metadata = await _document(client, f"{self._issuer.rstrip('/')}/.well-known/openid-configuration")
            if metadata.get("issuer") != self._issuer:
                raise ValueError(f"its metadata is that of {metadata.get('issuer')!r}")
            place = metadata.get("jwks_uri")
            if not isinstance(place, str) or not (place.startswith("https://") or self._insecure):
                raise ValueError(f"its keys are at {place!r}, without TLS")
            listed = (await _document(client, place)).get("keys")
        if not isinstance(listed, list) or len(listed) > KEYS_MAX:
            raise ValueError(f"its key set is none, or has more than {KEYS_MAX} keys")
        return _usable(listed)


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    async with client.stream("GET", url, headers={"Accept": "application/json"}) as answer:
        if answer.status_code != httpx.codes.OK:
            raise ValueError(f"{url} answers {answer.status_code}")
        data = bytearray()
        async for part in answer.aiter_bytes():
            data += part
            if len(data) > ANSWER_BYTES_MAX:
                raise ValueError(f"{url} answers more than {ANSWER_BYTES_MAX} bytes")
    found = json.loads(bytes(data))
    if not isinstance(found, dict):
        raise ValueError(f"{url} answers no object")
    return found


def _usable(listed: list[Any]) -> dict[str, PublicKey]:
    """Public keys for signatures, by their names; others (for encryption, of kinds we do not know) are left out."""
    found: dict[str, PublicKey] = {}
    for one in listed:
        if not isinstance(one, dict) or one.get("use", "sig") != "sig" or not isinstance(one.get("kid"), str):
            continue
        if one.get("kty") not in ("RSA", "EC", "OKP"):
            continue
        try:
            (key,) = KeySet.import_key_set({"keys": [one]}).keys
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if isinstance(key, RSAKey | ECKey | OKPKey):
            found[one["kid"]] = key
    return found
