"""Our access tokens: JWTs as RFC 9068 has them, signed with ES256, short-lived, for one audience."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from cloud_ingest.identity.keys import ALGORITHM, Key, KeyRing

SKEW_S: Final = 60
TOKEN_CHARS_MAX: Final = 8192
_TYPE: Final = "at+jwt"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token of ours says. ``family``: what it is revoked with; ``subject``: ``user:…`` or ``client:…``."""

    subject: str
    tenant_id: int
    client_id: str
    scope: str
    family: str
    expires_s: int


def issue(key: Key, claims: Claims, *, issuer: str, audience: str, now_s: int) -> str:
    """The token, to be shown as ``Authorization: Bearer``."""
    body = {
        "iss": issuer,
        "aud": audience,
        "sub": claims.subject,
        "client_id": claims.client_id,
        "scope": claims.scope,
        "tenant": claims.tenant_id,
        "family": claims.family,
        "iat": now_s,
        "exp": claims.expires_s,
        "jti": secrets.token_urlsafe(16),
    }
    return jwt.encode({"alg": ALGORITHM, "typ": _TYPE, "kid": key.key_id}, body, key.key, algorithms=[ALGORITHM])


def id_token(key: Key, body: dict[str, Any]) -> str:
    """A signed statement for an app of who has logged in (OpenID Connect Core, section 2)."""
    return jwt.encode({"alg": ALGORITHM, "typ": "JWT", "kid": key.key_id}, body, key.key, algorithms=[ALGORITHM])


async def verified(ring: KeyRing, token: str, *, issuer: str, audience: str, now_s: int) -> Claims | None:
    """What a token of ours says; ``None`` for every other, and for one that is over.

    The signature is of ES256 by a key of ours, whatever the token's header says; the type keeps an ID token from
    passing as an access token (RFC 9068, section 4).
    """
    if len(token) > TOKEN_CHARS_MAX:
        return None
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError, AttributeError, RecursionError):
        return None
    if header.get("alg") != ALGORITHM or str(header.get("typ", "")).lower() not in (_TYPE, f"application/{_TYPE}"):
        return None
    key_id = header.get("kid")
    key = await ring.verifying(key_id) if isinstance(key_id, str) else None
    return None if key is None else read(key, token, issuer=issuer, audience=audience, now_s=now_s)


def read(key: ECKey, token: str, *, issuer: str, audience: str, now_s: int) -> Claims | None:
    """What ``token`` says, if ``key`` has signed it and it holds now."""
    try:
        body = jwt.decode(token, key, algorithms=[ALGORITHM]).claims
    except (JoseError, ValueError, TypeError, RecursionError):
        return None
    audiences = body.get("aud")
    if body.get("iss") != issuer or audience not in (audiences if isinstance(audiences, list) else [audiences]):
        return None
    expires_s, issued_s = body.get("exp"), body.get("iat")
    if type(expires_s) is not int or type(issued_s) is not int or now_s >= expires_s or issued_s > now_s + SKEW_S:
        return None
    texts = [body.get(name) for name in ("sub", "client_id", "scope", "family")]
    tenant_id = body.get("tenant")
    if type(tenant_id) is not int or not all(isinstance(text, str) for text in texts):
        return None
    subject, client_id, scope, family = (str(text) for text in texts)
    return Claims(subject, tenant_id, client_id, scope, family, expires_s)
