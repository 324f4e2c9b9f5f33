"""The endpoints of OAuth 2.1, with revocation (RFC 7009), introspection (RFC 7662) and metadata (RFC 8414).

With ``openid`` in the scope there is an ID token, too, and who has logged in is at the userinfo endpoint (OpenID
Connect Core). Whoever registers an app agrees for all who log in by it: there is no page that asks for consent.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Mapping
from typing import Any, Final
from urllib.parse import unquote_plus, urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.identity import clients, pages, rules
from cloud_ingest.identity.access_tokens import Claims, id_token, issue, verified
from cloud_ingest.identity.brands import brand_of
from cloud_ingest.identity.browsers import Browser, FieldsInvalid, fields, single
from cloud_ingest.identity.clients import Client
from cloud_ingest.identity.flows import Authorization, Given, GrantRefused
from cloud_ingest.identity.keys import ALGORITHM, CACHE_S
from cloud_ingest.identity.logins import LoggedIn
from cloud_ingest.identity.rules import OPENID
from cloud_ingest.identity.server import AuthorizationServer

AUTHORIZE: Final = "/oauth/authorize"
_NO_STORE: Final = {"Cache-Control": "no-store", "Pragma": "no-cache"}
_PUBLIC: Final = {"Cache-Control": f"public, max-age={CACHE_S}", "Access-Control-Allow-Origin": "*"}
STATE_CHARS_MAX: Final = 1000
NONCE_CHARS_MAX: Final = 500


def oauth_routes(server: AuthorizationServer) -> APIRouter:
    """The endpoints of ``server``."""
    api = APIRouter(include_in_schema=False)
    browser = Browser(server)

    @api.get("/.well-known/oauth-authorization-server")
    @api.get("/.well-known/openid-configuration")
    async def metadata() -> JSONResponse:
        return JSONResponse(_metadata(server.issuer), headers=_PUBLIC)

    @api.get("/oauth/jwks")
    async def jwks() -> JSONResponse:
        return JSONResponse(await server.ring.public(), headers=_PUBLIC)

    @api.get(AUTHORIZE)
    async def authorize(request: Request) -> Response:
        try:
            asked = single(request.query_params.multi_items())
            app = await _app(server, asked)
        except FieldsInvalid as exc:
            brand = await brand_of(server.database)
            return pages.page("This login cannot begin", pages.problem(str(exc)), brand, status=400)
        return await _authorize(server, browser, request, asked, app)

    @api.post("/oauth/token")
    async def token(request: Request) -> Response:
        return await _told(_token(server, request))

    @api.post("/oauth/revoke")
    async def revoke(request: Request) -> Response:
        return await _told(_revoke(server, request))

    @api.post("/oauth/introspect")
    async def introspect(request: Request) -> Response:
        return await _told(_introspect(server, request))

    @api.get("/oauth/userinfo")
    async def userinfo(request: Request) -> Response:
        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        claims = await _claims(server, shown.strip()) if scheme.lower() == "bearer" else None
        if claims is None or OPENID not in claims.scope.split():
            header = 'Bearer error="invalid_token"'
            return Response(status_code=401, headers={"WWW-Authenticate": header, **_NO_STORE})
        principal = await server.principals.of(claims)
        return JSONResponse(_about(principal.name, principal.subject, claims), headers=_NO_STORE)

    return api


async def _told(work: Awaitable[Response]) -> Response:
    """The answer of ``work``; what it refuses is said as RFC 6749, section 5.2, has it."""
    try:
        return await work
    except FieldsInvalid as exc:
        return _refused("invalid_request", str(exc))
    except GrantRefused as exc:
        return _refused(exc.code, str(exc))


async def _token(server: AuthorizationServer, request: Request) -> Response:
    asked = await fields(request)
    client = await _client(server, request, asked)
    given = await _grant(server, client, asked)
    return JSONResponse(await _tokens(server, client, given), headers=_NO_STORE)


async def _revoke(server: AuthorizationServer, request: Request) -> Response:
    asked = await fields(request)
    client = await _client(server, request, asked)
    shown = asked.get("token", "")
    claims = await _claims(server, shown)
    if claims is not None and claims.client_id == client.client_id and claims.family:
        await server.flows.revoke_family(client, claims.family)
    elif claims is None:
        await server.flows.revoke(client, shown)
    server.principals.forget()
    return Response(status_code=200, headers=_NO_STORE)


async def _introspect(server: AuthorizationServer, request: Request) -> Response:
    asked = await fields(request)
    client = await _client(server, request, asked)
    if client.secret_sha256 is None:
        raise GrantRefused("unauthorized_client", "who asks about tokens has a secret")
    return JSONResponse(await _standing(server, client, asked.get("token", "")), headers=_NO_STORE)


async def _app(server: AuthorizationServer, asked: Mapping[str, str]) -> Client:
    """The app that asks, and may be answered. Raises ``FieldsInvalid``: then nobody is sent anywhere."""
    client = await clients.client(server.database, asked.get("client_id", ""))
    if client is None or client.kind != "app":
        raise FieldsInvalid("no app of this name is known here (client_id)")
    if not rules.redirect_fits(client.redirect_uris, asked.get("redirect_uri", "")):
        raise FieldsInvalid(f"{client.name!r} has not registered the address that it wants to return to (redirect_uri)")
    if len(asked.get("state", "")) > STATE_CHARS_MAX or len(asked.get("nonce", "")) > NONCE_CHARS_MAX:
        raise FieldsInvalid("'state' or 'nonce' is too long")
    return client


async def _authorize(
    server: AuthorizationServer, browser: Browser, request: Request, asked: dict[str, str], app: Client
) -> Response:
    """Back to the app with a code or an error, or to the login first."""

    def back(**answer: str) -> Response:
        state = {"state": asked["state"]} if asked.get("state") else {}
        place = rules.with_answer(asked["redirect_uri"], {**answer, **state, "iss": server.issuer})  # RFC 9207
        return RedirectResponse(place, 303, {**_NO_STORE, "Referrer-Policy": "no-referrer"})

    if asked.get("response_type") != "code":
        return back(error="unsupported_response_type", error_description="response_type is 'code'")
    if asked.get("code_challenge_method") != "S256" or not rules.is_challenge(asked.get("code_challenge", "")):
        return back(error="invalid_request", error_description="PKCE with S256 is needed")
    scope = rules.scope_of(asked.get("scope", ""))
    if scope is None:
        return back(error="invalid_scope", error_description="a scope is not known")
    if "request" in asked or "request_uri" in asked:
        return back(error="request_not_supported")
    who: LoggedIn | None = await browser.who(request)
    prompt = asked.get("prompt", "").split()
    if "none" in prompt and who is None:
        return back(error="login_required")
    if who is None or "login" in prompt:
        again = urlencode({name: value for name, value in asked.items() if name != "prompt"})
        query = urlencode({"return": f"{AUTHORIZE}?{again}"})
        return RedirectResponse(f"/login?{query}", 303, _NO_STORE)
    if not app.serves(who.tenant_id):
        return back(error="access_denied", error_description="this app is for the people of another tenant")
    challenge, nonce = asked["code_challenge"], asked.get("nonce", "")
    code = await server.flows.authorize(Authorization(app, asked["redirect_uri"], scope, challenge, nonce), who)
    return back(code=code)


async def _client(server: AuthorizationServer, request: Request, asked: Mapping[str, str]) -> Client:
    """The client that asks, by HTTP Basic or in the form. Raises ``GrantRefused``."""
    refused = GrantRefused("invalid_client", "this client is not known, or its secret is not the right one")
    header = request.headers.get("authorization", "")
    name, secret = asked.get("client_id", ""), asked.get("client_secret")
    if header.lower().startswith("basic "):
        if secret is not None:
            raise FieldsInvalid("the client shows its secret in two ways")
        try:
            plain = base64.b64decode(header[6:].strip(), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise refused from None
        shown, _, secret = plain.partition(":")
        basic = unquote_plus(shown)
        if name and name != basic:
            raise refused
        name, secret = basic, unquote_plus(secret)
    elif header:
        raise refused
    client = await clients.client(server.database, name) if "\x00" not in name else None
    if client is None or not client.is_shown(secret):
        raise refused
    return client


async def _grant(server: AuthorizationServer, client: Client, asked: Mapping[str, str]) -> Given:
    kind = asked.get("grant_type", "")
    if kind not in ("authorization_code", "refresh_token", "client_credentials"):
        raise GrantRefused("unsupported_grant_type", "known: authorization_code, refresh_token, client_credentials")
    if (kind == "client_credentials") != (client.kind == "service"):
        raise GrantRefused("unauthorized_client", f"{client.kind} clients have no tokens by {kind}")
    if kind == "authorization_code":
        return await server.flows.redeem(
            client, asked.get("code", ""), asked.get("redirect_uri", ""), asked.get("code_verifier", "")
        )
    scope = rules.scope_of(asked.get("scope", ""))
    if scope is None:
        raise GrantRefused("invalid_scope", "a scope is not known")
    if kind == "refresh_token":
        return await server.flows.refresh(client, asked.get("refresh_token", ""), scope)
    return await server.flows.for_service(client, scope)


async def _tokens(server: AuthorizationServer, client: Client, given: Given) -> dict[str, Any]:
    now_s = server.now_s()
    key = await server.ring.signing()
    claims = Claims(given.subject, given.tenant_id, client.client_id, given.scope, given.family, now_s + server.token_s)
    answer: dict[str, Any] = {
        "access_token": issue(key, claims, issuer=server.issuer, audience=server.audience, now_s=now_s),
        "token_type": "Bearer",
        "expires_in": server.token_s,
        "scope": given.scope,
    }
    if given.refresh is not None:
        answer["refresh_token"] = given.refresh
        if OPENID in given.scope.split():
            try:
                principal = await server.principals.of(claims)
            except RequestRefused as exc:  # it has ended since: the code was shown a second time, or who it is has gone
                raise GrantRefused("invalid_grant", "this code or token is none, was used, or is over") from exc
            body = _about(principal.name, principal.subject, claims)
            body |= {"iss": server.issuer, "aud": client.client_id, "iat": now_s, "exp": claims.expires_s}
            body |= {"auth_time": given.since_s} | ({"nonce": given.nonce} if given.nonce else {})
            answer["id_token"] = id_token(key, body)
    return answer


def _about(name: str, subject: str, claims: Claims) -> dict[str, Any]:
    return {
        "sub": claims.subject,
        "name": name,
        "preferred_username": subject.partition(":")[2],
        "tenant": claims.tenant_id,
    }


async def _claims(server: AuthorizationServer, token: str) -> Claims | None:
    return await verified(server.ring, token, issuer=server.issuer, audience=server.audience, now_s=server.now_s())


async def _standing(server: AuthorizationServer, client: Client, token: str) -> dict[str, Any]:
    """What introspection tells: of tokens of its own tenant alone, and of refresh tokens nothing to others."""
    claims = await _claims(server, token)
    if claims is None or claims.tenant_id != client.tenant_id:
        return {"active": False}
    try:
        principal = await server.principals.of(claims)
    except RequestRefused:
        return {"active": False}
    return {
        "active": True,
        "sub": claims.subject,
        "username": principal.name,
        "client_id": claims.client_id,
        "scope": claims.scope,
        "exp": claims.expires_s,
        "iss": server.issuer,
        "aud": server.audience,
        "token_type": "Bearer",
    }


def _refused(code: str, reason: str) -> Response:
    """As RFC 6749, section 5.2, has it."""
    headers = {**_NO_STORE, "WWW-Authenticate": "Basic"} if code == "invalid_client" else _NO_STORE
    document = {"error": code, "error_description": reason}
    return JSONResponse(document, 401 if code == "invalid_client" else 400, headers)


def _metadata(issuer: str) -> dict[str, Any]:
    secrets_of_services = ["client_secret_basic", "client_secret_post"]
    return {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}{AUTHORIZE}",
        "token_endpoint": f"{issuer}/oauth/token",
        "jwks_uri": f"{issuer}/oauth/jwks",
        "revocation_endpoint": f"{issuer}/oauth/revoke",
        "introspection_endpoint": f"{issuer}/oauth/introspect",
        "userinfo_endpoint": f"{issuer}/oauth/userinfo",
        "scopes_supported": [OPENID, *(permission.value for permission in Permission)],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
        "token_endpoint_auth_methods_supported": ["none", *secrets_of_services],
        "revocation_endpoint_auth_methods_supported": ["none", *secrets_of_services],
        "introspection_endpoint_auth_methods_supported": secrets_of_services,
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": True,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": [ALGORITHM],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "name", "preferred_username"],
        "ui_locales_supported": ["en"],
    }
