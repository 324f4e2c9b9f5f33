"""What identity is made of in a process with a gateway: routes, and the authenticator of all routes."""

from __future__ import annotations

from fastapi import APIRouter

from cloud_ingest.access.principal import Authenticator
from cloud_ingest.commands.held_tokens import TokenAuthenticator
from cloud_ingest.identity.account_routes import account_routes
from cloud_ingest.identity.authenticator import AnyToken, OurTokens
from cloud_ingest.identity.login_routes import login_routes
from cloud_ingest.identity.oauth import oauth_routes
from cloud_ingest.identity.openid import OpenIdTokens
from cloud_ingest.identity.openid_keys import ProviderKeys
from cloud_ingest.identity.passwords import Passwords
from cloud_ingest.identity.routes import management_routes
from cloud_ingest.identity.server import authorization_server
from cloud_ingest.identity.tenant_routes import tenant_routes
from cloud_ingest.settings.identity import IdentitySettings
from connectors.ports.clock import Clock
from connectors.ports.database import Database


def _nothing() -> None:
    """Nobody is remembered."""


def identity(
    settings: IdentitySettings | None,
    database: Database,
    clock: Clock,
    passwords: Passwords | None = None,
    named: Authenticator | None = None,
) -> tuple[list[APIRouter], Authenticator]:
    """The routes, and who finds out who asks; without ``settings`` that is ``named``, for named tokens alone."""
    named = named or TokenAuthenticator(database)
    server = None if settings is None else authorization_server(settings, database, clock, passwords)
    issuer = None if server is None else server.issuer
    routers = [
        management_routes(database, clock, issuer, _nothing if server is None else server.principals.forget),
        tenant_routes(database, clock, issuer),
        account_routes(database, clock, server),
    ]
    if settings is None:
        return routers, named
    ours = openid = None
    if server is not None:
        routers += [oauth_routes(server), login_routes(server)]
        ours = OurTokens(server.ring, server.principals, clock, issuer=server.issuer, audience=server.audience)
    if settings.openid is not None:
        keys = ProviderKeys(settings.openid.issuer, clock, insecure=settings.openid.insecure)
        openid = OpenIdTokens(settings.openid, keys, database, clock)
    return routers, AnyToken(named, ours, openid)
