"""The keys that our access tokens are signed with: ES256, in the database, each private half encrypted.

They change by themselves. The next key is published a while before it signs, so that everybody has it by then; an old
one is published until the last token that it has signed is over. What decrypts the private halves is in the
configuration alone: who reads the database cannot sign.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from joserfc import jwe
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OctKey

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

ALGORITHM: Final = "ES256"
OVERLAP_MS: Final = 3_600_000
"""So long before it signs, a key is published: longer than anybody keeps our key set (``CACHE_S``)."""
CACHE_S: Final = 300
_LOOK_S: Final = 30.0
"""How old what this process knows of the keys may be."""
_LOCK: Final = 0x6964656B
_HEADER: Final = {"alg": "dir", "enc": "A256GCM"}


@dataclass(frozen=True, slots=True)
class Key:
    """A key of ours: published from the moment it was made, and signing from ``signs_ms`` on."""

    key_id: str
    key: ECKey
    signs_ms: int


class KeyRing:
    """The keys as this process knows them; they are made and changed as they are asked for."""

    def __init__(self, database: Database, clock: Clock, secret: str, *, key_s: float, token_s: float) -> None:
        self._database = database
        self._clock = clock
        self._wrapping = _wrapping_key(secret)
        self._key_ms = int(key_s * 1000)
        self._token_ms = int(token_s * 1000)
        self._keys: list[Key] = []
        self._looked_s = float("-inf")

    async def signing(self) -> Key:
        """The key that signs now. Raises ``RequestRefused`` when the secret is not that of the keys."""
        await self._look()
        now_ms = self._clock.now_ns() // 1_000_000
        signing = [key for key in self._keys if key.signs_ms <= now_ms]
        if not signing:  # the first one was made just now, by a process whose clock is ahead of ours
            return min(self._keys, key=lambda key: key.signs_ms)
        return max(signing, key=lambda key: key.signs_ms)

    async def public(self) -> dict[str, Any]:
        """The key set as everybody may have it (RFC 7517, section 5)."""
        await self._look()
        return {"keys": [_published(key) for key in self._keys]}

    async def verifying(self, key_id: str) -> ECKey | None:
        """The key of that name, if it holds."""
        await self._look()
        found = self._find(key_id)
        if found is None and self._clock.monotonic_s() - self._looked_s > 1.0:  # made by another process just now
            await self._look(at_most_s=1.0)
            found = self._find(key_id)
        return found

    def _find(self, key_id: str) -> ECKey | None:
        return next((key.key for key in self._keys if key.key_id == key_id), None)

    async def rotate(self, by: str) -> str:
        """Publish a new key now, which signs after the overlap: its name. An audit entry says who wanted it."""
        async with self._database.transaction() as session:
            await session.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
            now_ms = self._clock.now_ns() // 1_000_000
            made = await self._make(session, now_ms, now_ms + OVERLAP_MS)
            await audit.tell(session, audit.TENANT, audit.Deed(now_ms, by, "token key made", made))
        self._looked_s = float("-inf")
        return made

    async def _look(self, at_most_s: float = _LOOK_S) -> None:
        if self._keys and self._clock.monotonic_s() - self._looked_s < at_most_s:
            return
        async with self._database.transaction() as session:
            rows = await self._rows(session)
            if self._due(rows):
                await session.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
                await self._keep_up(session, await self._rows(session))
                rows = await self._rows(session)
        self._keys = [Key(row["key_id"], self._opened(row), row["signs_ms"]) for row in rows]
        self._looked_s = self._clock.monotonic_s()

    async def _rows(self, session: Session) -> list[dict[str, Any]]:
        rows = await session.fetch(
            "SELECT key_id, private_key, (extract(epoch FROM signs) * 1000)::bigint AS signs_ms FROM identity_key "
            "WHERE retired IS NULL ORDER BY signs"
        )
        return [dict(row) for row in rows]

    def _due(self, rows: list[dict[str, Any]]) -> bool:
        now_ms = self._clock.now_ns() // 1_000_000
        newest = max((row["signs_ms"] for row in rows), default=None)
        if newest is None or now_ms > newest + self._key_ms - OVERLAP_MS:
            return True
        return bool(self._over(rows, now_ms))

    def _over(self, rows: list[dict[str, Any]], now_ms: int) -> list[str]:
        """Keys whose last token is over: another has signed for longer than a token holds, and clocks may differ."""
        signing = [row for row in rows if row["signs_ms"] <= now_ms - self._token_ms - 2 * 60_000]
        newest = max((row["signs_ms"] for row in signing), default=None)
        return [row["key_id"] for row in signing if row["signs_ms"] != newest]

    async def _keep_up(self, session: Session, rows: list[dict[str, Any]]) -> None:
        now_ms = self._clock.now_ns() // 1_000_000
        newest = max((row["signs_ms"] for row in rows), default=None)
        if newest is None:
            await self._make(session, now_ms, now_ms)
        elif now_ms > newest + self._key_ms - OVERLAP_MS:
            await self._make(session, now_ms, now_ms + OVERLAP_MS)
        for key_id in self._over(rows, now_ms):
            # The private half is gone with it: nobody signs with it any more.
            await session.execute(
                "UPDATE identity_key SET retired = to_timestamp($2::bigint / 1000.0), private_key = '' "
                "WHERE key_id = $1",
                key_id,
                now_ms,
            )

    async def _make(self, session: Session, now_ms: int, signs_ms: int) -> str:
        key = ECKey.generate_key("P-256")
        key_id = key.thumbprint()
        sealed = jwe.encrypt_compact(_HEADER, json.dumps(key.as_dict(private=True)), self._wrapping)
        await session.execute(
            "INSERT INTO identity_key (key_id, public_key, private_key, created, signs) "
            "VALUES ($1, $2, $3, to_timestamp($4::bigint / 1000.0), to_timestamp($5::bigint / 1000.0))",
            key_id,
            json.dumps(key.as_dict(private=False)),
            sealed,
            now_ms,
            signs_ms,
        )
        return key_id

    def _opened(self, row: dict[str, Any]) -> ECKey:
        try:
            plain = jwe.decrypt_compact(
                str(row["private_key"]), self._wrapping, algorithms=["dir", "A256GCM"]
            ).plaintext
            return ECKey.import_key(json.loads(plain or b""))
        except (JoseError, ValueError) as exc:
            why = (
                "the keys of tokens in the database were made with another 'identity.secret': give this process the "
                "one of the others, or delete the rows of identity_key (everybody logs in again)"
            )
            raise RequestRefused(Why.NOT_SET_UP, "identity_secret", why) from exc


def _wrapping_key(secret: str) -> OctKey:
    derived = HKDF(SHA256(), length=32, salt=None, info=b"lineside identity keys").derive(secret.encode())
    return OctKey.import_key(derived)


def _published(key: Key) -> dict[str, Any]:
    return {**key.key.as_dict(private=False), "kid": key.key_id, "use": "sig", "alg": ALGORITHM}
