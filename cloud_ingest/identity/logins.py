"""Logins and sessions: who has shown a password, in which browser, until when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from cloud_ingest.identity import attempts, rules
from cloud_ingest.identity.passwords import Passwords
from cloud_ingest.identity.secrets_kept import CHARS_MAX, digest, new_secret
from cloud_ingest.observability import identity_events
from connectors.commands.ulid import new_ulid
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

WRONG: Final = "this login and this password do not belong together"
SESSIONS_MAX: Final = 20
"""Of one user at a time: the oldest ends."""
_BROWSER_CHARS: Final = 200
_SESSION: Final = (
    "SELECT session_id, identity_session.tenant_id, user_id, login, name, "
    "extract(epoch FROM identity_session.created)::bigint AS since_s "
    "FROM identity_session JOIN identity_user USING (user_id) WHERE sha256 = $1 AND ended IS NULL "
    "AND expires > to_timestamp($2::bigint / 1000.0) AND disabled IS NULL"
)

_SWEEP: Final = (
    "DELETE FROM identity_session AS old WHERE expires < to_timestamp($1::bigint / 1000.0) - interval '1 day' "
    "AND NOT EXISTS (SELECT FROM identity_family WHERE session_id = old.session_id)"
)
"""A session that is over stays as long as an app goes on with what came of it."""


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Somebody who is logged in. ``since_s``: when they showed their password, in seconds since 1970."""

    session_id: str
    tenant_id: int
    user_id: str
    login: str
    name: str
    since_s: int


@dataclass(frozen=True, slots=True)
class Asker:
    """From where somebody asks, as far as it is known."""

    address: str = ""
    browser: str = ""


class Logins:
    """Checks passwords; gives and takes sessions."""

    def __init__(self, database: Database, clock: Clock, passwords: Passwords, session_s: float) -> None:
        self._database = database
        self._clock = clock
        self._passwords = passwords
        self._attempts = attempts.AttemptBook(database, clock)
        self._session_s = session_s

    async def log_in(
        self, login_text: str, password: str, asker: Asker, known: attempts.Place | None = None
    ) -> tuple[str, LoggedIn]:
        """A new session: its secret, for the browser alone, and whose it is.

        ``known``: where failures of a browser are counted in which they have logged in before (``known_browsers``).
        Raises ``RequestRefused``: 401 in the same words whatever of it is wrong, 429 when too many have failed.
        """
        login = rules.login_of(login_text) or ""
        at = (attempts.account(login), attempts.address(asker.address)) if known is None else (known,)
        await self._tried(asker, *at)
        row = await self._user(login)
        kept = row["password_hash"] if row is not None and row["disabled"] is None else None
        fits, better = await self._passwords.fits(password[: rules.PASSWORD_CHARS_MAX + 1], kept)
        if row is None or not fits:
            await self._tell_failure(login, row, asker)
            raise RequestRefused(Why.NO_TOKEN, "wrong_login", WRONG)
        await self._attempts.succeeded(*at)
        return await self._begin(row, better, asker)

    async def _tried(self, asker: Asker, *at: attempts.Place) -> None:
        try:
            await self._attempts.begin(*at)
        except RequestRefused as exc:
            emit(identity_events.LoginLockedOut(asker.address, exc.retry_after_s or 0.0))
            raise

    async def _user(self, login: str) -> dict[str, Any] | None:
        async with self._database.session() as session:
            rows = await session.fetch("SELECT * FROM identity_user WHERE login = $1", login)
        return dict(rows[0]) if rows else None

    async def _tell_failure(self, login: str, row: dict[str, Any] | None, asker: Asker) -> None:
        emit(identity_events.LoginFailed(asker.address))
        tenant_id = audit.TENANT if row is None else int(row["tenant_id"])
        async with self._database.transaction() as session:
            await audit.tell(session, tenant_id, self._deed(f"user:{login}", "login failed", login, asker))

    async def _begin(self, row: dict[str, Any], better: str | None, asker: Asker) -> tuple[str, LoggedIn]:
        now_ms = self._clock.now_ns() // 1_000_000
        cookie, session_id = new_secret(), new_ulid(now_ms)
        tenant_id, user_id = int(row["tenant_id"]), str(row["user_id"])
        async with self._database.transaction() as session:
            await session.execute(_SWEEP, now_ms)
            if better is not None:
                await session.execute("UPDATE identity_user SET password_hash = $2 WHERE user_id = $1", user_id, better)
            await session.execute(
                "INSERT INTO identity_session (session_id, tenant_id, user_id, sha256, created, expires, address, "
                "browser) VALUES ($1, $2, $3, $4, to_timestamp($5::bigint / 1000.0), "
                "to_timestamp($6::bigint / 1000.0), $7, $8)",
                session_id,
                tenant_id,
                user_id,
                digest(cookie),
                now_ms,
                now_ms + int(self._session_s * 1000),
                asker.address[:100],
                "".join(char for char in asker.browser if char.isprintable())[:_BROWSER_CHARS],
            )
            crowd = await session.fetch(
                "SELECT session_id FROM identity_session WHERE user_id = $1 AND ended IS NULL "
                "ORDER BY session_id DESC OFFSET $2",
                user_id,
                SESSIONS_MAX,
            )
            await end_sessions(session, [str(one["session_id"]) for one in crowd])
            deed = self._deed(f"user:{row['login']}", "logged in", session_id, asker)
            await audit.tell(session, tenant_id, deed)
        emit(identity_events.LoggedIn(str(row["login"]), tenant_id, asker.address))
        return cookie, LoggedIn(session_id, tenant_id, user_id, row["login"], row["name"], now_ms // 1000)

    def _deed(self, actor: str, action: str, subject: str, asker: Asker) -> audit.Deed:
        return audit.Deed(self._clock.now_ns() // 1_000_000, actor, action, subject, {"address": asker.address})

    async def session_of(self, cookie: str) -> LoggedIn | None:
        """Whose browser shows ``cookie``; ``None`` when the session is over, or there is none."""
        if not cookie or len(cookie) > CHARS_MAX:
            return None
        async with self._database.session() as session:
            rows = await session.fetch(_SESSION, digest(cookie), self._clock.now_ns() // 1_000_000)
        return LoggedIn(**dict(rows[0])) if rows else None

    async def log_out(self, who: LoggedIn) -> None:
        """End the session, and all tokens that came of it."""
        async with self._database.transaction() as session:
            await end_sessions(session, [who.session_id])
            await audit.tell(
                session, who.tenant_id, self._deed(f"user:{who.login}", "logged out", who.session_id, Asker())
            )

    async def change_password(
        self, tenant_id: int, user_id: str, old: str, new: str, *, keeps: str | None, asker: Asker
    ) -> None:
        """Another password; every session but ``keeps`` ends, and every token. Raises ``RequestRefused``."""
        async with self._database.session() as session:
            rows = await session.fetch(
                "SELECT login, password_hash FROM identity_user WHERE user_id = $1 AND tenant_id = $2 "
                "AND disabled IS NULL",
                user_id,
                tenant_id,
            )
        if not rows:
            raise RequestRefused(Why.UNKNOWN, "unknown_user", "there is no such user any more")
        login = str(rows[0]["login"])
        places = attempts.account(login), attempts.address(asker.address)
        await self._tried(asker, *places)
        fits, _ = await self._passwords.fits(old[: rules.PASSWORD_CHARS_MAX + 1], rows[0]["password_hash"])
        if not fits:
            raise RequestRefused(Why.FORBIDDEN, "wrong_password", "that is not the password that holds now")
        await self._attempts.succeeded(*places)
        check_password(new, login)
        hashed = await self._passwords.make(new)
        async with self._database.transaction() as session:
            await session.execute(
                "UPDATE identity_user SET password_hash = $2, revision = revision + 1 WHERE user_id = $1",
                user_id,
                hashed,
            )
            await end_all_of(session, user_id, but=keeps)
            await audit.tell(session, tenant_id, self._deed(f"user:{login}", "password changed", login, asker))

    async def link_of(self, secret: str) -> str | None:
        """The login that a one-time link sets a password for; ``None`` when it was used, or is over."""
        async with self._database.session() as session:
            rows = await session.fetch(_LINK.format(lock=""), digest(secret), self._clock.now_ns() // 1_000_000)
        return str(rows[0]["login"]) if rows else None

    async def use_link(self, secret: str, password: str, asker: Asker) -> str:
        """Set the password by a one-time link, which is used up by it: the login. Raises ``RequestRefused``."""
        login = await self.link_of(secret)
        if login is None:
            raise RequestRefused(Why.NO_TOKEN, "link_over", LINK_OVER)
        check_password(password, login)
        hashed = await self._passwords.make(password)
        now_ms = self._clock.now_ns() // 1_000_000
        async with self._database.transaction() as session:
            rows = await session.fetch(_LINK.format(lock="FOR UPDATE OF identity_link"), digest(secret), now_ms)
            if not rows:
                raise RequestRefused(Why.NO_TOKEN, "link_over", LINK_OVER)
            user_id, tenant_id = str(rows[0]["user_id"]), int(rows[0]["tenant_id"])
            await session.execute(  # the others that were made for the same user are over with it
                "UPDATE identity_link SET used = to_timestamp($2::bigint / 1000.0) WHERE user_id = $1 AND used IS NULL",
                user_id,
                now_ms,
            )
            await session.execute(
                "UPDATE identity_user SET password_hash = $2, revision = revision + 1 WHERE user_id = $1",
                user_id,
                hashed,
            )
            await end_all_of(session, user_id)
            await audit.tell(session, tenant_id, self._deed(f"user:{login}", "password set by link", login, asker))
        return login


LINK_OVER: Final = "this link was used already, or is over: have a new one made ('cloud-ingest identity link')"
_LINK: Final = (
    "SELECT user_id, identity_user.tenant_id, login FROM identity_link JOIN identity_user USING (user_id) "
    "WHERE sha256 = $1 AND used IS NULL AND expires > to_timestamp($2::bigint / 1000.0) AND disabled IS NULL {lock}"
)


def check_password(password: str, login: str) -> None:
    """Raises ``RequestRefused`` when it cannot be a password."""
    if problem := rules.password_problem(password, login):
        raise RequestRefused(Why.INVALID, "weak_password", problem)


async def end_sessions(session: Session, ids: list[str]) -> None:
    """End sessions, with the tokens that came of them."""
    if ids:
        await session.execute(
            "UPDATE identity_session SET ended = now() WHERE session_id = ANY($1::text[]) AND ended IS NULL", ids
        )
        await session.execute(
            "UPDATE identity_family SET revoked = now(), revoked_why = 'session ended' "
            "WHERE session_id = ANY($1::text[]) AND revoked IS NULL",
            ids,
        )


async def end_all_of(session: Session, user_id: str, *, but: str | None = None) -> None:
    """End every session of a user except ``but``, and every token that came of the others."""
    await session.execute(
        "UPDATE identity_session SET ended = now() WHERE user_id = $1 AND ended IS NULL "
        "AND session_id IS DISTINCT FROM $2",
        user_id,
        but,
    )
    await session.execute(
        "UPDATE identity_family SET revoked = now(), revoked_why = 'sessions ended' WHERE user_id = $1 "
        "AND revoked IS NULL AND session_id IS DISTINCT FROM $2",
        user_id,
        but,
    )
