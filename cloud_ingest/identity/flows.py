"""Authorization codes and refresh tokens. What follows from one login of one app is a family, and ends together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.commands import audit
from cloud_ingest.identity import rules
from cloud_ingest.identity.clients import Client
from cloud_ingest.identity.logins import LoggedIn
from cloud_ingest.identity.rules import Rotation
from cloud_ingest.identity.secrets_kept import CHARS_MAX, digest, new_secret
from cloud_ingest.observability.identity_events import TokensRevoked
from connectors.commands.ulid import new_ulid
from connectors.model.errors import LinesideError
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

CODE_MS: Final = 60_000
"""OAuth 2.1, section 4.1.2: a code lives for as short as it can."""
FAMILIES_MAX: Final = 100
"""Of one user: the oldest ends."""
_CODE_TWICE: Final = "its code was shown twice"
_TOKEN_TWICE: Final = "a refresh token was shown twice"  # noqa: S105  a sentence
_SWEEP: Final = "DELETE FROM identity_family WHERE expires < to_timestamp($1::bigint / 1000.0) - interval '1 day'"


class GrantRefused(LinesideError):
    """No token is given; ``code`` is that of RFC 6749, section 5.2."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Authorization:
    """What an app asks for, checked: the redirect URI is one of its own, the scope is known."""

    client: Client
    redirect_uri: str
    scope: str
    challenge: str
    nonce: str


@dataclass(frozen=True, slots=True)
class Given:
    """What a token is made of. ``refresh``: the refresh token, if there is one; ``since_s``: when they logged in."""

    family: str
    tenant_id: int
    subject: str
    scope: str
    refresh: str | None = None
    nonce: str = ""
    since_s: int = 0


class Flows:
    """Gives codes for sessions, tokens for codes, and new tokens for old ones."""

    def __init__(self, database: Database, clock: Clock, *, refresh_s: float) -> None:
        self._database = database
        self._clock = clock
        self._refresh_ms = int(refresh_s * 1000)

    async def authorize(self, asked: Authorization, who: LoggedIn) -> str:
        """A code for the app, to be used once, within a minute."""
        now_ms = self._now_ms()
        code, family = new_secret(), new_ulid(now_ms)
        async with self._database.transaction() as session:
            await session.execute(_SWEEP, now_ms)
            await session.execute(
                "INSERT INTO identity_family (family_id, tenant_id, client_id, user_id, session_id, scope, "
                "code_sha256, code_expires, redirect_uri, challenge, nonce, created, expires) VALUES "
                "($1, $2, $3, $4, $5, $6, $7, to_timestamp($8::bigint / 1000.0), $9, $10, $11, "
                "to_timestamp($12::bigint / 1000.0), to_timestamp($13::bigint / 1000.0))",
                family,
                who.tenant_id,
                asked.client.client_id,
                who.user_id,
                who.session_id,
                asked.scope,
                digest(code),
                now_ms + CODE_MS,
                asked.redirect_uri,
                asked.challenge,
                asked.nonce,
                now_ms,
                now_ms + self._refresh_ms,
            )
            await session.execute(
                "UPDATE identity_family SET revoked = now(), revoked_why = 'too many' WHERE revoked IS NULL "
                "AND family_id IN (SELECT family_id FROM identity_family WHERE user_id = $1 AND revoked IS NULL "
                "ORDER BY family_id DESC OFFSET $2)",
                who.user_id,
                FAMILIES_MAX,
            )
        return code

    async def redeem(self, client: Client, code: str, redirect_uri: str, verifier: str) -> Given:
        """Tokens for a code. One that comes twice was stolen, or its owner's: all of its family end.

        Raises ``GrantRefused``, in the same words whatever is wrong.
        """
        now_ms, refused = self._now_ms(), GrantRefused("invalid_grant", "this code is none, was used, or is over")
        if len(code) > CHARS_MAX:
            raise refused
        async with self._database.transaction() as session:
            rows = await session.fetch(
                _FAMILY + "WHERE code_sha256 = $1 AND client_id = $2 FOR UPDATE OF identity_family",
                digest(code),
                client.client_id,
            )
            if not rows:
                raise refused
            row = rows[0]
            if row["code_used"]:
                await self._revoke(session, row, _CODE_TWICE)
            fits = row["redirect_uri"] == redirect_uri and rules.challenge_fits(row["challenge"], verifier)
            holds = not (row["code_used"] or row["revoked"] or row["gone"]) and now_ms < row["code_expires_ms"]
            if fits and holds:
                await session.execute(
                    "UPDATE identity_family SET code_used = to_timestamp($2::bigint / 1000.0) WHERE family_id = $1",
                    row["family_id"],
                    now_ms,
                )
                return await self._given(session, row, str(row["scope"]), now_ms)
        raise refused

    async def refresh(self, client: Client, token: str, scope: str) -> Given:
        """New tokens for a refresh token, which is used up. Raises ``GrantRefused``."""
        now_ms, refused = (
            self._now_ms(),
            GrantRefused("invalid_grant", "this refresh token holds no more: log in again"),
        )
        if len(token) > CHARS_MAX:
            raise refused
        async with self._database.transaction() as session:
            rows = await session.fetch(
                _REFRESH + "WHERE identity_refresh.sha256 = $1 AND client_id = $2 FOR UPDATE OF identity_family",
                digest(token),
                client.client_id,
            )
            if not rows:
                raise refused
            row = rows[0]
            # Behind the lock on the family, another one's use of the same token is seen.
            (shown,) = await session.fetch(
                "SELECT used IS NOT NULL AS used FROM identity_refresh WHERE sha256 = $1", digest(token)
            )
            revoked = bool(row["revoked"] or row["gone"])
            step = rules.rotation(
                used=shown["used"], revoked=revoked, expires_ms=row["refresh_expires_ms"], now_ms=now_ms
            )
            if step is Rotation.REVOKE:
                await self._revoke(session, row, _TOKEN_TWICE)
            if step is Rotation.NEW:
                if scope and not rules.is_narrower(scope, row["scope"]):
                    raise GrantRefused("invalid_scope", "this asks for more than was given")
                await session.execute(
                    "UPDATE identity_refresh SET used = to_timestamp($2::bigint / 1000.0) WHERE sha256 = $1",
                    digest(token),
                    now_ms,
                )
                await session.execute(  # of those that are over, one that comes again is refused all the same
                    "DELETE FROM identity_refresh WHERE family_id = $1 AND expires < to_timestamp($2::bigint / 1000.0)",
                    row["family_id"],
                    now_ms,
                )
                return await self._given(session, row, scope or str(row["scope"]), now_ms)
        raise refused

    async def for_service(self, client: Client, scope: str) -> Given:
        """What a service's token is made of; it has no refresh token (OAuth 2.1, section 4.2)."""
        return Given("", client.tenant_id, f"client:{client.client_id}", scope)

    async def revoke(self, client: Client, token: str) -> None:
        """End the family of a refresh token (RFC 7009); of one that is none, nothing is said."""
        async with self._database.transaction() as session:
            rows = await session.fetch(
                _REFRESH + "WHERE identity_refresh.sha256 = $1 AND client_id = $2 FOR UPDATE OF identity_family",
                digest(token),
                client.client_id,
            )
            if rows:
                await self._revoke(session, rows[0], "revoked by the app")

    async def revoke_family(self, client: Client, family: str) -> None:
        """End the family of an access token of this client."""
        async with self._database.transaction() as session:
            rows = await session.fetch(
                _FAMILY + "WHERE family_id = $1 AND client_id = $2 FOR UPDATE OF identity_family",
                family,
                client.client_id,
            )
            if rows:
                await self._revoke(session, rows[0], "revoked by the app")

    async def _revoke(self, session: Session, row: Any, why: str) -> None:
        if row["revoked"]:
            return
        await session.execute(
            "UPDATE identity_family SET revoked = now(), revoked_why = $2 WHERE family_id = $1", row["family_id"], why
        )
        deed = audit.Deed(
            self._now_ms(), f"client:{row['client_id']}", "tokens revoked", str(row["family_id"]), {"why": why}
        )
        await audit.tell(session, int(row["tenant_id"]), deed)
        if why in (_CODE_TWICE, _TOKEN_TWICE):
            emit(TokensRevoked(str(row["client_id"]), str(row["family_id"]), why))

    async def _given(self, session: Session, row: Any, scope: str, now_ms: int) -> Given:
        token = new_secret()
        expires_ms = now_ms + self._refresh_ms
        await session.execute(
            "INSERT INTO identity_refresh (sha256, tenant_id, family_id, expires) "
            "VALUES ($1, $2, $3, to_timestamp($4::bigint / 1000.0))",
            digest(token),
            row["tenant_id"],
            row["family_id"],
            expires_ms,
        )
        await session.execute(
            "UPDATE identity_family SET expires = to_timestamp($2::bigint / 1000.0) WHERE family_id = $1",
            row["family_id"],
            expires_ms,
        )
        return Given(
            str(row["family_id"]),
            int(row["tenant_id"]),
            f"user:{row['user_id']}",
            scope,
            token,
            str(row["nonce"]),
            int(row["since_s"]),
        )

    def _now_ms(self) -> int:
        return self._clock.now_ns() // 1_000_000


_COLUMNS: Final = (
    "identity_family.*, (extract(epoch FROM code_expires) * 1000)::bigint AS code_expires_ms, "
    "coalesce(extract(epoch FROM identity_session.created), 0)::bigint AS since_s, "
    "identity_user.disabled IS NOT NULL OR identity_session.ended IS NOT NULL AS gone"
)
_JOINS: Final = (
    "LEFT JOIN identity_user ON identity_user.user_id = identity_family.user_id "
    "LEFT JOIN identity_session ON identity_session.session_id = identity_family.session_id "
)
_FAMILY: Final = f"SELECT {_COLUMNS} FROM identity_family {_JOINS}"  # noqa: S608  of our own
_REFRESH: Final = (
    f"SELECT {_COLUMNS}, identity_refresh.used, "  # noqa: S608
    "(extract(epoch FROM identity_refresh.expires) * 1000)::bigint AS refresh_expires_ms "
    f"FROM identity_refresh JOIN identity_family USING (family_id) {_JOINS}"
)
