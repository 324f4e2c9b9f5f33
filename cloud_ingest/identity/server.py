"""The authorization server: what its routes are made of, from the settings of ``identity``."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from cloud_ingest.identity.flows import Flows
from cloud_ingest.identity.keys import KeyRing
from cloud_ingest.identity.known_browsers import KnownBrowsers
from cloud_ingest.identity.logins import Logins
from cloud_ingest.identity.passwords import Passwords
from cloud_ingest.identity.principals import Principals
from cloud_ingest.settings.identity import IdentitySettings
from connectors.ports.clock import Clock
from connectors.ports.database import Database


@dataclass(frozen=True, slots=True)
class AuthorizationServer:
    """Its parts; one of them in each process with a gateway, all on the same tables."""

    issuer: str
    audience: str
    token_s: int
    session_s: int
    database: Database
    clock: Clock
    ring: KeyRing
    logins: Logins
    flows: Flows
    principals: Principals
    known: KnownBrowsers

    @property
    def origin(self) -> str:
        """Where browsers see our pages."""
        parts = urlsplit(self.issuer)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def has_tls(self) -> bool:
        """Whether browsers reach us by TLS."""
        return self.issuer.startswith("https://")

    def now_s(self) -> int:
        """Seconds since 1970."""
        return self.clock.now_ns() // 1_000_000_000


def authorization_server(
    settings: IdentitySettings, database: Database, clock: Clock, passwords: Passwords | None = None
) -> AuthorizationServer | None:
    """The server, where ``settings`` have logins of our own."""
    if settings.issuer is None or settings.secret is None:
        return None
    secret = settings.secret.get_secret_value()
    return AuthorizationServer(
        settings.issuer,
        settings.our_audience,
        int(settings.access_token_s),
        int(settings.session_s),
        database,
        clock,
        KeyRing(database, clock, secret, key_s=settings.key_s, token_s=settings.access_token_s),
        Logins(database, clock, passwords or Passwords(), settings.session_s),
        Flows(database, clock, refresh_s=settings.refresh_token_s),
        Principals(database, clock),
        KnownBrowsers(secret),
    )
