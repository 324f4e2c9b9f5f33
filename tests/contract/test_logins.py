"""Logins and tokens on a real PostgreSQL: the authorization code, refresh tokens, lock-out, sessions, keys."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant
from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.commands import audit
from cloud_ingest.identity.access_tokens import Claims, issue
from cloud_ingest.identity.keys import OVERLAP_MS, KeyRing
from tests.contract.identity_steps import (
    APP,
    BACK,
    ISSUER,
    ME,
    SECRET,
    House,
    authorization,
    given,
    house,
    log_in,
)


async def test_an_app_gets_tokens_for_who_logs_in_and_the_api_knows_them(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna", Grant(Role.OPERATOR, "plant-7", "line-1"), Grant(Role.VIEWER))
        await here.client()
        found = await here.tokens("anna", scope="openid profile")
        assert found.answer["token_type"] == "Bearer"
        me = (await here.ask(found.access, "GET", ME)).json()
        assert (me["subject"], me["name"], me["kind"]) == ("user:anna", "anna", "user")
        assert {"role": "operator", "site": "plant-7", "line": "line-1"} in me["roles"]
        keys = KeySet.import_key_set((await here.ask(None, "GET", "/oauth/jwks")).json())
        told = jwt.decode(found.answer["id_token"], keys, algorithms=["ES256"]).claims
        assert (told["iss"], told["aud"], told["preferred_username"]) == (ISSUER, APP, "anna")
        about = (await here.ask(found.access, "GET", "/oauth/userinfo")).json()
        assert about["sub"] == told["sub"]
        actions = [entry.action async for entry in audit.entries(here.database)]
        assert actions == ["user created", "password set by link", "logged in"]
        assert await audit.verify(here.database) == (3, [])


async def test_metadata_name_the_endpoints_that_there_are(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        for place in ("oauth-authorization-server", "openid-configuration"):
            found = (await here.ask(None, "GET", f"/.well-known/{place}")).json()
            assert found["issuer"] == ISSUER
            assert found["code_challenge_methods_supported"] == ["S256"]
            for name, value in found.items():
                if name.endswith("_endpoint") or name == "jwks_uri":
                    path = value.removeprefix(ISSUER)
                    answers = [(await here.ask(None, method, path)).status_code for method in ("GET", "POST")]
                    assert 404 not in answers, name


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": ""}, "invalid_request"),
        ({"code_challenge": ""}, "invalid_request"),
        ({"code_challenge": "short"}, "invalid_request"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"response_type": "code id_token"}, "unsupported_response_type"),
        ({"scope": "openid everything"}, "invalid_scope"),
        ({"request": "x"}, "request_not_supported"),
        ({"prompt": "none"}, "login_required"),
    ],
)
async def test_what_an_app_may_not_ask_for_is_said_to_it(database_dsn: str, change: dict[str, str], error: str) -> None:
    async with house(database_dsn) as here:
        await here.client()
        answer = await here.ask(None, "GET", "/oauth/authorize", params=authorization(**change)[0])
        told = given(answer)
        assert (told["error"], told["state"], told["iss"]) == (error, "of the app", ISSUER)


@pytest.mark.parametrize(
    "change",
    [
        {"redirect_uri": "https://evil.example/back"},
        {"redirect_uri": BACK + "/x"},
        {"redirect_uri": ""},
        {"client_id": "nobody"},
        {"client_id": "x\x00"},
    ],
)
async def test_nobody_is_sent_to_an_address_that_no_app_has_registered(
    database_dsn: str, change: dict[str, str]
) -> None:
    async with house(database_dsn) as here:
        await here.client()
        answer = await here.ask(None, "GET", "/oauth/authorize", params=authorization(**change)[0])
        assert answer.status_code == 400
        assert "location" not in answer.headers
        assert "cannot begin" in answer.text


async def test_a_code_is_good_once_for_its_app_its_address_and_its_verifier(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        await here.client()
        await here.client("other")
        async with here.browser() as browser:
            asked, verifier = authorization()
            code = await here.code(browser, asked, "anna")
            for change in ({"code_verifier": "x" * 43}, {"redirect_uri": BACK + "x"}, {"client_id": "other"}):
                answer = await here.redeem(code, verifier, **change)
                assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), change
            first = await here.redeem(code, verifier)
            assert first.status_code == 200
            assert (await here.redeem(code, verifier)).json()["error"] == "invalid_grant"
            again = await here.refresh(first.json()["refresh_token"])
            assert again.json()["error"] == "invalid_grant", "a code that was shown twice ends what came of it"
            late, verifier = authorization()
            code = await here.code(browser, late, "anna")
            here.clock.ahead_ms += 61_000
            assert (await here.redeem(code, verifier)).json()["error"] == "invalid_grant"


async def test_a_code_that_is_shown_many_times_at_once_is_good_for_none_or_one(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        await here.client()
        async with here.browser() as browser:
            asked, verifier = authorization()
            code = await here.code(browser, asked, "anna")
        answers = await asyncio.gather(*(here.redeem(code, verifier) for _ in range(6)))
        assert sorted(answer.status_code for answer in answers) in ([200, *[400] * 5], [400] * 6)
        assert {answer.json().get("error", "invalid_grant") for answer in answers} == {"invalid_grant"}


async def test_a_refresh_token_is_used_once_and_its_second_use_ends_the_family(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        await here.client()
        found = await here.tokens("anna")
        newer = (await here.refresh(found.refresh)).json()
        assert (await here.ask(newer["access_token"], "GET", ME)).status_code == 200
        stolen = await here.refresh(found.refresh)
        assert (stolen.status_code, stolen.json()["error"]) == (400, "invalid_grant")
        assert (await here.refresh(newer["refresh_token"])).json()["error"] == "invalid_grant"
        (family,) = await here.fetch("SELECT revoked_why FROM identity_family")
        assert family["revoked_why"] == "a refresh token was shown twice"
        last = [entry async for entry in audit.entries(here.database)][-1]
        assert (last.action, last.actor) == ("tokens revoked", f"client:{APP}")


async def test_of_many_who_show_a_refresh_token_at_once_one_gets_another_and_then_nobody(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        await here.client()
        found = await here.tokens("anna")
        answers = await asyncio.gather(*(here.refresh(found.refresh) for _ in range(6)))
        won = [answer.json() for answer in answers if answer.status_code == 200]
        assert len(won) == 1
        assert (await here.refresh(won[0]["refresh_token"])).status_code == 400


async def test_a_refresh_asks_for_no_more_than_was_given_and_holds_for_its_time(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna", Grant(Role.ADMIN))
        await here.client()
        found = await here.tokens("anna", scope="lines:read orders:read")
        wider = await here.refresh(found.refresh, scope="lines:read identity:manage")
        assert wider.json()["error"] == "invalid_scope"
        narrow = (await here.refresh(found.refresh, scope="lines:read")).json()
        assert narrow["scope"] == "lines:read"
        refused = await here.ask(narrow["access_token"], "GET", "/api/v1/identity/users")
        assert refused.status_code == 403, "an admin's token of a narrow scope may no more than that"
        here.clock.ahead_ms += 15 * 86_400_000
        assert (await here.refresh(narrow["refresh_token"])).json()["error"] == "invalid_grant"


async def test_a_refresh_that_asks_for_no_permission_gets_no_more_than_was_given(database_dsn: str) -> None:
    """A token without permissions in its scope may all that its holder may: of an admin, everything."""
    async with house(database_dsn) as here:
        await here.user("anna", Grant(Role.ADMIN))
        await here.client()
        found = await here.tokens("anna", scope="openid lines:read")
        wider = await here.refresh(found.refresh, scope="openid")
        assert wider.json().get("error") == "invalid_scope"
        kept = (await here.refresh(found.refresh, scope="openid lines:read")).json()
        assert (await here.ask(kept["access_token"], "GET", "/api/v1/identity/users")).status_code == 403


async def test_a_login_that_has_ended_gives_no_tokens_even_for_a_code_that_it_gave_meanwhile(database_dsn: str) -> None:
    """Of two at the same time, the one that ends the session does not see the code that the other one makes."""
    async with house(database_dsn) as here:
        await here.user("anna")
        await here.client()
        async with here.browser() as browser:
            asked, verifier = authorization()
            code = await here.code(browser, asked, "anna")
        await here.fetch("UPDATE identity_session SET ended = now()")
        assert (await here.redeem(code, verifier)).json()["error"] == "invalid_grant"


async def test_what_is_over_of_logins_is_not_kept_for_ever(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        await here.client()
        async with here.browser() as browser:
            await log_in(browser, await browser.get("/login"), "anna")
        token = (await here.tokens("anna")).refresh
        for _ in range(4):
            here.clock.ahead_ms += 5 * 86_400_000
            token = (await here.refresh(token)).json()["refresh_token"]
        await here.tokens("anna")
        (kept,) = await here.fetch("SELECT count(*) AS n FROM identity_refresh")
        (sessions,) = await here.fetch("SELECT count(*) AS n FROM identity_session")
        assert (kept["n"], sessions["n"]) == (4, 2), "a session goes when no app goes on with it"
        assert (await here.refresh(token)).status_code == 200


async def test_an_app_revokes_by_either_token_and_others_cannot(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        await here.client()
        await here.client("other")
        for by in ("access", "refresh"):
            found = await here.tokens("anna")
            shown = getattr(found, by)
            assert (await here.post("/oauth/revoke", token=shown, client_id="other")).status_code == 200
            found_again = (await here.refresh(found.refresh)).json()
            shown = found_again["access_token"] if by == "access" else found_again["refresh_token"]
            assert (await here.post("/oauth/revoke", token=shown, client_id=APP)).status_code == 200
            assert (await here.refresh(found_again["refresh_token"])).status_code == 400
            assert (await here.ask(found_again["access_token"], "GET", ME)).status_code == 401
        assert (await here.post("/oauth/revoke", token="nonsense", client_id=APP)).status_code == 200


async def test_a_service_logs_in_as_itself(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        secret = await here.client("planning", kind="service", grants=(Grant(Role.PLANNER),))
        assert secret is not None
        form = {"grant_type": "client_credentials", "client_id": "planning", "client_secret": secret}
        found = (await here.post("/oauth/token", **form)).json()
        assert "refresh_token" not in found
        me = (await here.ask(found["access_token"], "GET", ME)).json()
        assert (me["subject"], me["kind"]) == ("client:planning", "service")
        async with here.browser() as browser:
            basic = await browser.post(
                "/oauth/token", data={"grant_type": "client_credentials"}, auth=("planning", secret)
            )
            assert basic.status_code == 200
            told = await browser.post(
                "/oauth/introspect", data={"token": found["access_token"]}, auth=("planning", secret)
            )
            assert told.json()["active"] is True
            told = await browser.post("/oauth/introspect", data={"token": "x"}, auth=("planning", secret))
            assert told.json() == {"active": False}
        for change in ({"client_secret": "x"}, {"client_id": "nobody"}, {"client_secret": ""}):
            answer = await here.post("/oauth/token", **{**form, **change})
            assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        answer = await here.post("/oauth/token", **{**form, "grant_type": "password"})
        assert answer.json()["error"] == "unsupported_grant_type"
        answer = await here.post("/oauth/token", **{**form, "grant_type": "authorization_code"})
        assert answer.json()["error"] == "unauthorized_client"


async def test_a_parameter_that_comes_twice_is_refused(database_dsn: str) -> None:
    async with house(database_dsn) as here, here.browser() as browser:
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answer = await browser.post("/oauth/token", content="grant_type=a&grant_type=b", headers=headers)
        assert answer.json()["error"] == "invalid_request"


def forged(body: dict[str, Any], header: dict[str, Any], key: Any) -> str:
    return jwt.encode({"typ": "at+jwt", **header}, body, key, algorithms=[header["alg"]])


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def part(document: dict[str, Any]) -> str:
    return base64url(json.dumps(document).encode())


async def test_forged_expired_and_foreign_tokens_are_refused(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        user_id = await here.user("anna", Grant(Role.ADMIN))
        await here.client()
        found = await here.tokens("anna")
        ring = KeyRing(here.database, here.clock, SECRET, key_s=90 * 86_400, token_s=600)
        key = await ring.signing()
        (family,) = await here.fetch("SELECT family_id FROM identity_family")
        now_s = here.clock.now_ns() // 10**9
        claims = Claims(f"user:{user_id}", 1, APP, "openid", family["family_id"], now_s + 600)
        good = issue(key, claims, issuer=ISSUER, audience=ISSUER, now_s=now_s)
        assert (await here.ask(good, "GET", ME)).status_code == 200
        body = jwt.decode(good, key.key, algorithms=["ES256"]).claims
        header = {"alg": "ES256", "kid": key.key_id}
        head, middle, signature = good.split(".")
        other = ECKey.generate_key("P-256")
        by_secret = f"{part({'alg': 'HS256', 'typ': 'at+jwt', 'kid': key.key_id})}.{middle}"
        mac = hmac.new(key.key.as_pem(private=False), by_secret.encode(), hashlib.sha256).digest()
        bad = {
            "alg none": f"{part({'alg': 'none', 'typ': 'at+jwt', 'kid': key.key_id})}.{middle}.",
            "alg None": f"{part({'alg': 'None', 'typ': 'at+jwt', 'kid': key.key_id})}.{middle}.{signature}",
            "public key as a secret": f"{by_secret}.{base64url(mac)}",
            "key of somebody": forged(body, header, other),
            "key in the header": forged(body, {**header, "jwk": other.as_dict(private=False)}, other),
            "unknown key": forged(body, {"alg": "ES256", "kid": "x"}, other),
            "no key": forged(body, {"alg": "ES256"}, key.key),
            "changed": f"{head}.{part({**body, 'sub': 'user:x'})}.{signature}",
            "without signature": f"{head}.{middle}.",
            "other audience": forged({**body, "aud": "https://other.example"}, header, key.key),
            "no audience": forged({name: body[name] for name in body if name != "aud"}, header, key.key),
            "other issuer": forged({**body, "iss": "https://other.example"}, header, key.key),
            "expired": forged({**body, "exp": now_s - 1}, header, key.key),
            "expires as text": forged({**body, "exp": str(now_s + 600)}, header, key.key),
            "never expires": forged({name: body[name] for name in body if name != "exp"}, header, key.key),
            "of the future": forged({**body, "iat": now_s + 3600}, header, key.key),
            "an ID token": found.answer["id_token"],
            "a refresh token": found.refresh,
            "of another tenant": forged({**body, "tenant": 2}, header, key.key),
            "of nobody": forged({**body, "sub": "user:01ARZ3NDEKTSV4RRFFQ69G5FAV"}, header, key.key),
            "too long": good + "x" * 9000,
            "nonsense": "a.b.c",
            "empty parts": "..",
            "named token": "lineside_nonsense",
        }
        for name, token in bad.items():
            answer = await here.ask(token, "GET", ME)
            assert (answer.status_code, answer.headers.get("www-authenticate")) == (401, "Bearer"), name
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await here.ask(None, "GET", ME)).status_code == 401
        here.clock.ahead_ms += 601_000
        assert (await here.ask(good, "GET", ME)).status_code == 401


async def test_keys_change_by_themselves_and_old_tokens_hold_until_they_are_over(database_dsn: str) -> None:
    async with house(database_dsn, key="1d") as here:
        await here.user("anna")
        await here.client()

        async def published() -> list[str]:
            fresh = House(here.database, here.clock, here.settings)  # another process, that has kept nothing
            return [key["kid"] for key in (await fresh.ask(None, "GET", "/oauth/jwks")).json()["keys"]]

        first = await published()
        here.clock.ahead_ms += 86_400_000 - OVERLAP_MS + 1000
        both = await published()
        assert len(both) == 2
        assert both[0] == first[0], "the next one is published before it signs"
        before = await House(here.database, here.clock, here.settings).tokens("anna")
        assert json.loads(_header(before.access))["kid"] == first[0]
        here.clock.ahead_ms += OVERLAP_MS
        fresh = House(here.database, here.clock, here.settings)
        after = await fresh.tokens("anna")
        assert json.loads(_header(after.access))["kid"] == both[1]
        here.clock.ahead_ms -= OVERLAP_MS - 500_000
        assert (await fresh.ask(before.access, "GET", ME)).status_code == 200, "signed by the key before"
        here.clock.ahead_ms += OVERLAP_MS + 600_000
        assert await published() == both[1:], "no token of the first one can hold any more"
        (gone,) = await here.fetch("SELECT private_key FROM identity_key WHERE retired IS NOT NULL")
        assert gone["private_key"] == ""


def _header(token: str) -> bytes:
    import base64

    part = token.split(".", maxsplit=1)[0]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


async def test_who_reads_the_database_has_no_key_and_another_secret_opens_none(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.ask(None, "GET", "/oauth/jwks")
        (row,) = await here.fetch("SELECT private_key FROM identity_key")
        assert row["private_key"].count(".") == 4, "a JWE"
        ring = KeyRing(here.database, here.clock, SECRET + "x", key_s=86_400, token_s=600)
        with pytest.raises(RequestRefused, match=r"another 'identity.secret'"):
            await ring.signing()


async def test_processes_that_start_together_make_one_key(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        rings = [KeyRing(here.database, here.clock, SECRET, key_s=86_400, token_s=600) for _ in range(6)]
        keys = await asyncio.gather(*(ring.signing() for ring in rings))
        assert len({key.key_id for key in keys}) == 1
