"""Who asks, by whatever token they show: a named one, one of ours, or one of the OpenID provider that is configured."""

from __future__ import annotations

import json
from typing import Protocol

from joserfc import jws
from joserfc.errors import JoseError

from cloud_ingest.access.principal import Authenticator, Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands.tokens import PREFIX
from cloud_ingest.identity.access_tokens import TOKEN_CHARS_MAX, verified
from cloud_ingest.identity.keys import KeyRing
from cloud_ingest.identity.principals import Principals
from connectors.ports.clock import Clock

NOT_GENUINE = "this token is not genuine, is over, or is not for us: log in again"


class OpenId(Protocol):
    """Tokens of an OpenID provider."""

    @property
    def issuer(self) -> str:
        """As its tokens have it."""
        ...

    async def principal(self, token: str) -> Principal:
        """Who shows ``token``. Raises ``RequestRefused``."""
        ...


class OurTokens:
    """Access tokens that this installation has issued."""

    def __init__(self, ring: KeyRing, principals: Principals, clock: Clock, *, issuer: str, audience: str) -> None:
        self.issuer = issuer
        self._ring, self._principals, self._clock, self._audience = ring, principals, clock, audience

    async def principal(self, token: str) -> Principal:
        """Who shows ``token``. Raises ``RequestRefused``."""
        now_s = self._clock.now_ns() // 1_000_000_000
        claims = await verified(self._ring, token, issuer=self.issuer, audience=self._audience, now_s=now_s)
        if claims is None:
            raise RequestRefused(Why.NO_TOKEN, "invalid_token", NOT_GENUINE)
        return await self._principals.of(claims)


class AnyToken:
    """See ``Authenticator``. With logins, nobody asks without a token."""

    def __init__(self, named: Authenticator, ours: OurTokens | None, openid: OpenId | None) -> None:
        self._named = named
        self._by_issuer = {one.issuer: one for one in (openid, ours) if one is not None}

    async def principal(self, token: str | None) -> Principal:
        """See ``Authenticator``."""
        if token is None:
            raise RequestRefused(Why.NO_TOKEN, "no_token", "show a token (Authorization: Bearer …): log in first")
        if token.startswith(PREFIX):
            return await self._named.principal(token)
        one = self._by_issuer.get(_issuer(token))
        if one is None:
            raise RequestRefused(Why.NO_TOKEN, "invalid_token", NOT_GENUINE)
        return await one.principal(token)


def _issuer(token: str) -> str:
    """Whose token it says to be; what it says is believed by nobody before its signature was looked at."""
    if len(token) > TOKEN_CHARS_MAX:
        return ""
    try:
        body = json.loads(jws.extract_compact(token.encode()).payload)
    except (JoseError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
    issuer = body.get("iss") if isinstance(body, dict) else None
    return issuer if isinstance(issuer, str) else ""
