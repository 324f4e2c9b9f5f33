"""Access tokens of an OpenID provider, as principals: signature, issuer, audience and times first, then roles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.identity import rules
from cloud_ingest.identity.access_tokens import SKEW_S, TOKEN_CHARS_MAX
from cloud_ingest.identity.authenticator import NOT_GENUINE
from cloud_ingest.identity.openid_keys import ProviderKeys
from cloud_ingest.settings.identity import OpenIdSettings
from connectors.ports.clock import Clock
from connectors.ports.database import Database

TENANTS_MAX: Final = 1000
_TENANT_S: Final = 60.0
_TEXT_CHARS_MAX: Final = 200
_OTHER_KINDS: Final = frozenset({"ID", "Refresh", "Offline", "Logout"})
_HEADER_TYPES: Final = frozenset({"", "jwt", "at+jwt", "application/at+jwt"})


class OpenIdTokens:
    """Tokens of the provider that ``settings`` name."""

    def __init__(self, settings: OpenIdSettings, keys: ProviderKeys, database: Database, clock: Clock) -> None:
        self._settings = settings
        self._keys = keys
        self._database = database
        self._clock = clock
        self._tenants: dict[str, tuple[int, float]] = {}

    @property
    def issuer(self) -> str:
        """As its tokens have it."""
        return self._settings.issuer

    async def principal(self, token: str) -> Principal:
        """Who shows ``token``. Raises ``RequestRefused``."""
        body = await self._verified(token)
        settings = self._settings
        tenant = settings.tenant if settings.tenant_claim is None else claim(body, settings.tenant_claim)
        customer = None if settings.customer_claim is None else claim(body, settings.customer_claim)
        grants = grants_of(claim(body, settings.roles_claim), settings.roles)
        customer = customer if isinstance(customer, str) and 0 < len(customer) <= _TEXT_CHARS_MAX else None
        if customer is not None or any(grant.role is Role.CUSTOMER for grant in grants):
            # Who asks for a customer sees theirs alone, and who asks for none is no customer.
            grants = tuple(one for one in grants if customer is not None and one.role is Role.CUSTOMER)
        name = claim(body, settings.name_claim)
        shown = name if isinstance(name, str) and name else str(body["sub"])
        return Principal(
            await self._tenant(tenant), f"openid:{body['sub']}", shown[:_TEXT_CHARS_MAX], "user", grants, customer
        )

    async def _verified(self, token: str) -> dict[str, Any]:
        refused = RequestRefused(Why.NO_TOKEN, "invalid_token", NOT_GENUINE)
        if len(token) > TOKEN_CHARS_MAX:
            raise refused
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
            raise refused from None
        key_id, algorithm, kind = header.get("kid"), header.get("alg"), header.get("typ", "")
        if algorithm not in self._settings.algorithms or str(kind).lower() not in _HEADER_TYPES:
            raise refused
        key = await self._keys.key(key_id) if isinstance(key_id, str) else None
        if key is None:
            raise refused
        try:
            body = jwt.decode(token, key, algorithms=list(self._settings.algorithms)).claims
        except (JoseError, ValueError, TypeError, RecursionError):
            raise refused from None
        if not holds(body, self._settings, self._clock.now_ns() / 1e9):
            raise refused
        return body

    async def _tenant(self, name: Any) -> int:
        known = self._tenants.get(name) if isinstance(name, str) else None
        if known is not None and self._clock.monotonic_s() - known[1] < _TENANT_S:
            return known[0]
        rows = []
        if isinstance(name, str) and "\x00" not in name:
            async with self._database.session() as session:
                rows = list(await session.fetch("SELECT tenant_id FROM tenant WHERE name = $1", name))
        if not rows:
            why = f"the provider names the tenant {str(name)[:100]!r}, which is not known here"
            raise RequestRefused(Why.FORBIDDEN, "unknown_tenant", why)
        if len(self._tenants) >= TENANTS_MAX:
            self._tenants.clear()
        self._tenants[name] = (int(rows[0]["tenant_id"]), self._clock.monotonic_s())
        return int(rows[0]["tenant_id"])


def holds(body: Mapping[str, Any], settings: OpenIdSettings, now_s: float) -> bool:
    """Whether an access token with these claims is for us, and holds at ``now_s``; clocks may differ by a minute."""
    audiences = body.get("aud")
    if body.get("iss") != settings.issuer:
        return False
    if settings.audience not in (audiences if isinstance(audiences, list) else [audiences]):
        return False
    if body.get("typ") in _OTHER_KINDS or "at_hash" in body or not isinstance(body.get("sub"), str) or not body["sub"]:
        return False
    begin = body.get("nbf", body.get("iat", 0))
    expires = body.get("exp")
    if not isinstance(expires, int | float) or not isinstance(begin, int | float):
        return False
    return now_s < expires + SKEW_S and begin <= now_s + SKEW_S


def claim(body: Mapping[str, Any], path: str) -> Any:
    """What stands at ``path``: a name of its own first (some have dots), then step by step."""
    if path in body:
        return body[path]
    found: Any = body
    for step in path.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def grants_of(claimed: Any, ours: Mapping[str, str]) -> tuple[Grant, ...]:
    """Our roles for those that the provider names, in a list or a text with spaces; others mean nothing here."""
    names = claimed.split() if isinstance(claimed, str) else claimed if isinstance(claimed, list) else []
    found: dict[Grant, None] = {}
    for name in names[:_TEXT_CHARS_MAX]:
        if not isinstance(name, str):
            continue
        theirs, at, place = name.partition("@")
        role = ours.get(name) or ours.get(theirs)
        if role is None and theirs.startswith("lineside-"):
            role = theirs.removeprefix("lineside-")
        if role is None:
            continue
        try:
            grant = rules.parse_grant(role if name in ours else f"{role}{at}{place}")
        except ValueError:
            continue
        if rules.grants_problem([grant], "x" if grant.role is Role.CUSTOMER else None) is None:
            found[grant] = None
    return tuple(found)
