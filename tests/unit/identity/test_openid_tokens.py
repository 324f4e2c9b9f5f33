"""Tokens of an OpenID provider that is played: what is believed of them, and how its keys are asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey

from cloud_ingest.access.permissions import Permission, Role
from cloud_ingest.access.principal import Grant
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.identity import openid_keys
from cloud_ingest.identity.openid import OpenIdTokens, claim, grants_of, holds
from cloud_ingest.identity.openid_keys import ProviderKeys
from cloud_ingest.settings.identity import IdentitySettings, OpenIdSettings
from connectors.ports.settings import SettingInvalid
from tests.patience import WAIT_S_MAX

ISSUER = "https://login.plant.example/realms/plant"
NOW_S = 1_790_000_000
SETTINGS = OpenIdSettings(issuer=ISSUER, audience="lineside", customer_claim="customer")
RSA = RSAKey.generate_key(2048, {"kid": "rsa", "use": "sig"})
EC = ECKey.generate_key("P-256", {"kid": "ec", "use": "sig"})


class Clock:
    """Stands still until it is moved."""

    now_s = 1000.0

    def now_ns(self) -> int:
        return NOW_S * 10**9

    def monotonic_s(self) -> float:
        return self.now_s


class Tenants:
    """A database that knows the tenant ``default``."""

    @asynccontextmanager
    async def session(self, tenant_id: int | None = None) -> Any:
        yield self

    async def fetch(self, _sql: str, name: str) -> list[dict[str, int]]:
        return [{"tenant_id": 1}] if name == "default" else []


class Provider:
    """Answers as a provider does, and counts how often it is asked for its keys."""

    def __init__(self) -> None:
        self.keys: list[Any] = [RSA, EC]
        self.asked = 0
        self.answer: Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]] = self._answer

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("openid-configuration"):
            return httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"})
        self.asked += 1
        return httpx.Response(200, json={"keys": [key.as_dict(private=False) for key in self.keys]})

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(transport=httpx.MockTransport(self.answer))


class House:
    def __init__(self, settings: OpenIdSettings = SETTINGS) -> None:
        self.clock, self.provider = Clock(), Provider()
        keys = ProviderKeys(settings.issuer, self.clock, insecure=False, client=self.provider.client)
        self.tokens = OpenIdTokens(settings, keys, Tenants(), self.clock)  # type: ignore[arg-type]


def body(**more: Any) -> dict[str, Any]:
    return {"iss": ISSUER, "aud": ["lineside", "account"], "sub": "f3", "exp": NOW_S + 300, "iat": NOW_S,
            "preferred_username": "anna", "roles": ["lineside-operator@plant-7"], **more}  # fmt: skip


def signed(document: dict[str, Any], key: Any = RSA, algorithm: str = "RS256", **header: Any) -> str:
    names = {"kid": key.kid} if key.kid else {}
    return jwt.encode({"alg": algorithm, **names, **header}, document, key, algorithms=[algorithm])


async def refusal(here: House, token: str) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        await here.tokens.principal(token)
    return caught.value


async def test_a_token_of_the_provider_is_a_principal() -> None:
    here = House()
    for key, algorithm in ((RSA, "RS256"), (EC, "ES256")):
        found = await here.tokens.principal(signed(body(), key, algorithm))
        assert (found.tenant_id, found.subject, found.name) == (1, "openid:f3", "anna")
        assert found.grants == (Grant(Role.OPERATOR, "plant-7"),)
    assert here.provider.asked == 1, "its keys are kept"


@pytest.mark.parametrize(
    "token",
    [
        signed(body(iss="https://other.example")),
        signed(body(aud="account")),
        signed(body(aud=None)),
        signed(body(exp=NOW_S - 61)),
        signed(body(exp=None)),
        signed(body(exp="2099")),
        signed(body(nbf=NOW_S + 61)),
        signed(body(iat=NOW_S + 61)),
        signed(body(sub="")),
        signed(body(sub=7)),
        signed(body(typ="ID")),
        signed(body(typ="Refresh")),
        signed(body(at_hash="x")),
        signed(body(), typ="logout+jwt"),
        signed(body(), RSA, "RS512"),
        signed(body(), RSA, "PS256"),
        signed(body(), RSAKey.generate_key(2048, {"kid": "rsa"})),
        signed(body(), EC, "ES256", kid="rsa"),
        signed(body(), OctKey.generate_key(256, {"kid": "rsa"}), "HS256"),
        "eyJhbGciOiJub25lIiwia2lkIjoicnNhIn0.eyJpc3MiOiJ4In0.",
        signed(body())[:-6] + "AAAAAA",
        "x" * 9000,
    ],
)
async def test_what_is_not_genuine_not_for_us_or_over_is_refused(token: str) -> None:
    found = await refusal(House(), token)
    assert (found.why, found.code) == (Why.NO_TOKEN, "invalid_token")


@given(st.integers(-200, 200), st.integers(-200, 200))
def test_a_token_holds_between_its_times_give_or_take_a_minute(begins_in_s: int, ends_in_s: int) -> None:
    token = body(nbf=NOW_S + begins_in_s, exp=NOW_S + ends_in_s)
    assert holds(token, SETTINGS, float(NOW_S)) == (begins_in_s <= 60 and ends_in_s > -60)


async def test_keys_are_asked_for_when_a_new_one_is_seen_but_not_again_and_again() -> None:
    here = House()
    await here.tokens.principal(signed(body()))
    newer = RSAKey.generate_key(2048, {"kid": "newer"})
    for _ in range(5):
        await refusal(here, signed(body(), newer))
    assert here.provider.asked == 1, "whoever shows names of keys does not make us ask"
    here.provider.keys = [newer]
    here.clock.now_s += openid_keys.AGAIN_S
    assert (await here.tokens.principal(signed(body(), newer))).name == "anna"
    assert here.provider.asked == 2
    await refusal(here, signed(body()))


async def test_a_provider_that_is_away_is_done_without_for_a_day() -> None:
    here = House()
    await here.tokens.principal(signed(body()))
    here.provider.answer = lambda _request: httpx.Response(500)
    here.clock.now_s += openid_keys.KEPT_S - 1
    assert (await here.tokens.principal(signed(body()))).name == "anna"
    here.clock.now_s += 60
    found = await refusal(here, signed(body()))
    assert (found.why, found.code) == (Why.NOT_SET_UP, "provider_away")


async def test_while_the_provider_takes_its_time_keys_that_are_known_hold() -> None:
    here = House()
    await here.tokens.principal(signed(body()))
    asked, answers = asyncio.Event(), asyncio.Event()

    async def slow(_request: httpx.Request) -> httpx.Response:
        asked.set()
        await answers.wait()
        return httpx.Response(500)

    here.provider.answer = slow
    here.clock.now_s += openid_keys.FRESH_S + 1
    waiting = asyncio.create_task(here.tokens.principal(signed(body())))
    async with asyncio.timeout(WAIT_S_MAX):
        await asked.wait()
        assert (await here.tokens.principal(signed(body()))).name == "anna", "one asks, and the others go on"
        answers.set()
        assert (await waiting).name == "anna"


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(404),
        lambda _: httpx.Response(302, headers={"location": "https://evil.example"}),
        lambda _: httpx.Response(200, content=b"x" * (openid_keys.ANSWER_BYTES_MAX + 1)),
        lambda _: httpx.Response(200, json=[]),
        lambda _: httpx.Response(200, content=b"[" * 100_000),
        lambda _: httpx.Response(200, json={"issuer": "https://evil.example", "jwks_uri": "https://evil.example/k"}),
        lambda _: httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": "http://login.plant.example/keys"}),
        lambda _: httpx.Response(200, json={"issuer": ISSUER, "jwks_uri": f"{ISSUER}/k", "keys": [{}] * 101}),
    ],
)
async def test_a_provider_that_answers_something_else_gives_no_keys(
    answer: Callable[[httpx.Request], httpx.Response],
) -> None:
    here = House()
    here.provider.answer = answer
    assert (await refusal(here, signed(body()))).code == "provider_away"


async def test_keys_that_are_none_or_for_something_else_are_left_out() -> None:
    here = House()
    odd = [{"kid": "x"}, {"kty": "oct", "k": "AAAA", "kid": "secret"}, {**EC.as_dict(private=False), "use": "enc"}, 7]
    keys = KeySet([RSA]).as_dict(private=False)["keys"]
    here.provider.answer = lambda request: httpx.Response(
        200, json={"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys", "keys": [*odd, *keys]}
    )
    assert (await here.tokens.principal(signed(body()))).name == "anna"
    await refusal(here, signed(body(), EC, "ES256"))


@pytest.mark.parametrize(
    ("claimed", "found"),
    [
        (["lineside-viewer", "lineside-viewer"], (Grant(Role.VIEWER),)),
        ("lineside-viewer lineside-planner", (Grant(Role.VIEWER), Grant(Role.PLANNER))),
        (["press crew"], (Grant(Role.OPERATOR),)),
        (["press crew@plant-7/line-1"], (Grant(Role.OPERATOR, "plant-7", "line-1"),)),
        (["Line one"], (Grant(Role.ENGINEER),)),
        (["admin", "operator", "lineside-king", "lineside-", "@plant-7", "lineside-viewer@/x", 7, None], ()),
        (["lineside-viewer@Plant 7"], ()),
        ({"lineside-admin": True}, ()),
        (None, ()),
    ],
)
def test_roles_of_the_provider_mean_what_was_configured(claimed: Any, found: tuple[Grant, ...]) -> None:
    assert grants_of(claimed, {"press crew": "operator", "Line one": "engineer"}) == found


async def test_who_asks_for_a_customer_sees_theirs_alone_and_who_names_none_sees_nothing() -> None:
    here = House()
    both = ["lineside-customer", "lineside-admin"]
    found = await here.tokens.principal(signed(body(roles=both, customer="ACME")))
    assert (found.customer, found.grants) == ("ACME", (Grant(Role.CUSTOMER),))
    assert not found.may_somewhere(Permission.IDENTITY_MANAGE)
    found = await here.tokens.principal(signed(body(roles=both)))
    assert (found.customer, found.grants) == (None, ())
    found = await here.tokens.principal(signed(body(roles=["lineside-admin"], customer="ACME")))
    assert found.grants == (), "who belongs to a customer is none of ours"


async def test_a_tenant_that_is_not_known_is_none() -> None:
    settings = OpenIdSettings(issuer=ISSUER, audience="lineside", tenant_claim="org.name")
    here = House(settings)
    assert (await here.tokens.principal(signed(body(org={"name": "default"})))).tenant_id == 1
    for org in ({"name": "acme"}, {"name": 7}, {}, None):
        assert (await refusal(here, signed(body(org=org)))).code == "unknown_tenant"


def test_a_claim_is_found_by_its_name_or_step_by_step() -> None:
    document = {"https://plant.example/roles": 1, "a": {"b": {"c": 2}}, "a.b": 3}
    assert claim(document, "https://plant.example/roles") == 1
    assert claim(document, "a.b.c") == 2
    assert claim(document, "a.b") == 3
    assert claim(document, "a.x") is None


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"issuer": "https://x.example"},
        {"secret": "s" * 40},
        {"issuer": "http://x.example", "secret": "s" * 40},
        {"issuer": "https://x.example/?a=1", "secret": "s" * 40},
        {"issuer": "https://user@x.example", "secret": "s" * 40},
        {"issuer": "https://x.example", "secret": "short"},
        {"openid": {"issuer": "http://login.example", "audience": "a"}},
        {"openid": {"issuer": ISSUER, "audience": "a", "algorithms": ["none"]}},
        {"openid": {"issuer": ISSUER, "audience": "a", "algorithms": ["HS256"]}},
        {"openid": {"issuer": ISSUER, "audience": "a", "algorithms": []}},
    ],
)
def test_settings_that_would_let_in_anybody_are_refused(settings: dict[str, Any]) -> None:
    from pydantic import SecretStr, ValidationError

    if "secret" in settings:
        settings = {**settings, "secret": SecretStr(settings["secret"])}
    with pytest.raises((ValidationError, SettingInvalid)):
        IdentitySettings(**settings)
