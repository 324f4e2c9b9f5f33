"""PKCE, redirect URIs, scopes, lock-out, rotation and passwords: the rules alone."""

from __future__ import annotations

import base64
import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cloud_ingest.access.permissions import Permission, Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.identity import rules
from cloud_ingest.identity.rules import Attempts, Rotation

VERIFIERS = st.text(string.ascii_letters + string.digits + "-._~", min_size=43, max_size=128)


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def test_the_example_of_rfc_7636_fits() -> None:
    assert rules.challenge_fits(
        "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    )


@given(VERIFIERS, VERIFIERS)
def test_a_challenge_fits_its_own_verifier_alone(one: str, other: str) -> None:
    challenge = s256(one)
    assert rules.is_challenge(challenge)
    assert rules.challenge_fits(challenge, one)
    assert rules.challenge_fits(challenge, other) == (one == other)
    assert not rules.challenge_fits(one, one), "a verifier that is shown as its own challenge (method 'plain')"


@pytest.mark.parametrize("verifier", ["", "a" * 42, "a" * 129, "a" * 42 + "é", "a" * 42 + "\n", "a" * 42 + "="])
def test_what_is_no_verifier_fits_nothing(verifier: str) -> None:
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert not rules.challenge_fits(made, verifier)


@pytest.mark.parametrize(
    ("registered", "asked", "fits"),
    [
        ("https://ui.example/cb", "https://ui.example/cb", True),
        ("https://ui.example/cb", "https://ui.example/cb/", False),
        ("https://ui.example/cb", "https://ui.example/cb?x=1", False),
        ("https://ui.example/cb", "https://ui.example:444/cb", False),
        ("https://ui.example/cb", "https://ui.example.evil/cb", False),
        ("https://ui.example/cb", "http://ui.example/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/cb", True),
        ("http://127.0.0.1:80/cb", "http://127.0.0.1:51004/cb", True),
        ("http://127.0.0.1/cb", "http://127.0.0.1:51004/other", False),
        ("http://127.0.0.1/cb", "http://user@127.0.0.1:51004/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1.evil/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.2:1/cb", False),
        ("http://127.0.0.1/cb", "http://127.0.0.1:99999999/cb", False),
        ("http://[::1]/cb", "http://[::1]:4/cb", True),
    ],
)
def test_a_redirect_uri_is_the_registered_one(registered: str, asked: str, fits: bool) -> None:
    assert rules.redirect_fits([registered], asked) == fits


@pytest.mark.parametrize(
    "uri", ["http://ui.example/cb", "javascript:alert(1)", "https://ui.example/#x", "//x", "https://", "https://[", "https://u\n"]
)  # fmt: skip
def test_what_is_no_redirect_uri_is_not_registered(uri: str) -> None:
    assert rules.redirect_problem(uri) is not None


@given(st.text(max_size=30), st.text(max_size=30))
def test_an_answer_is_added_to_an_address_and_nothing_of_it_leaks_out(state: str, code: str) -> None:
    from urllib.parse import parse_qs, urlsplit

    made = urlsplit(rules.with_answer("https://ui.example/cb?a=1", {"code": code, "state": state}))
    assert (made.scheme, made.netloc, made.path, made.fragment) == ("https", "ui.example", "/cb", "")
    assert parse_qs(made.query, keep_blank_values=True) == {"a": ["1"], "code": [code], "state": [state]}


@given(st.lists(st.sampled_from([permission.value for permission in Permission] + ["openid"]), max_size=6))
def test_a_scope_is_kept_as_a_set_and_cuts_down_what_a_token_may(words: list[str]) -> None:
    scope = rules.scope_of(" ".join(words))
    assert scope is not None
    assert scope.split() == sorted(set(words))
    named = {Permission(word) for word in words if word != "openid"}
    assert rules.scopes_of(scope) == (named or None)
    admin = Principal(1, "user:a", "a", "user", (Grant(Role.ADMIN),), scopes=rules.scopes_of(scope))
    for permission in Permission:
        assert admin.may(permission) == (not named or permission in named)
        assert admin.may_somewhere(permission) == admin.may(permission)


def test_a_scope_that_nobody_knows_is_none() -> None:
    assert rules.scope_of("openid root") is None


@given(
    st.lists(st.floats(0, 3 * rules.FORGOTTEN_S, allow_nan=False), max_size=40),
    st.sampled_from([rules.ACCOUNT_FREE, rules.ADDRESS_FREE]),
)
def test_the_delay_grows_with_failures_and_never_beyond_its_limit(pauses_s: list[float], free: int) -> None:
    now_s, held = 1_790_000_000.0, Attempts()
    for pause_s in pauses_s:
        now_s += pause_s
        before, held = held, held.failed(now_s, free)
        assert 0 <= held.wait_s(now_s) <= rules.DELAY_LONGEST_S
        if pause_s > rules.FORGOTTEN_S:
            assert (held.failures, held.wait_s(now_s)) == (1, 0)
        else:
            assert held.failures == before.failures + 1
            assert rules.delay_s(held.failures, free) >= rules.delay_s(before.failures, free)
        assert (held.wait_s(now_s) > 0) == (held.failures > free)


def test_a_failure_that_costs_no_waiting_closes_nothing_for_who_came_at_the_same_time() -> None:
    assert Attempts().failed(100.5, rules.ACCOUNT_FREE).wait_s(100.0) == 0


@given(st.integers(0, 10_000))
def test_many_failures_keep_the_longest_delay(failures: int) -> None:
    assert rules.delay_s(failures + 40, rules.ACCOUNT_FREE) == rules.DELAY_LONGEST_S


@given(st.booleans(), st.booleans(), st.integers(0, 10), st.integers(0, 10))
def test_a_refresh_token_is_good_once_and_one_that_comes_again_ends_its_family(
    used: bool, revoked: bool, expires_ms: int, now_ms: int
) -> None:
    found = rules.rotation(used=used, revoked=revoked, expires_ms=expires_ms, now_ms=now_ms)
    assert (found is Rotation.NEW) == (not used and not revoked and now_ms < expires_ms)
    assert (found is Rotation.REVOKE) == (used and not revoked), "also a long time later"


@pytest.mark.parametrize(
    "password", ["short", "aaaaaaaaaaaaaaaa", "Password1234", "anna@plant.example", "anna1234567890!", "x" * 257]
)
def test_a_password_that_is_tried_first_is_not_taken(password: str) -> None:
    assert rules.password_problem(password, "anna@plant.example") is not None


@pytest.mark.parametrize("password", ["correct horse battery", "tüf6-Ø9!kkelQz", "anna likes blue presses"])
def test_a_long_password_is_taken_whatever_it_is_made_of(password: str) -> None:
    assert rules.password_problem(password, "anna@plant.example") is None


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (" Anna@Plant.Example ", "anna@plant.example"),
        ("", None),
        ("a b", None),
        ("a\n", "a"),
        ("ä", None),
        ("x" * 201, None),
    ],
)
def test_a_login_is_kept_in_one_way(text: str, kept: str | None) -> None:
    assert rules.login_of(text) == kept


@given(
    st.sampled_from(list(Role)),
    st.one_of(st.none(), st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)),
    st.one_of(st.none(), st.from_regex(r"[a-z0-9][a-z0-9-]{0,20}", fullmatch=True)),
)
def test_a_role_is_read_as_it_was_written(role: Role, site: str | None, line: str | None) -> None:
    grant = Grant(role, site, line if site is not None else None)
    assert rules.parse_grant(rules.grant_text(grant)) == grant


@pytest.mark.parametrize(
    ("grants", "customer", "holds"),
    [
        ((Grant(Role.OPERATOR, "plant-7", "line-1"),), None, True),
        ((Grant(Role.OPERATOR, None, "line-1"),), None, False),
        ((Grant(Role.OPERATOR, "Plant 7"),), None, False),
        ((Grant(Role.CUSTOMER),), "acme", True),
        ((Grant(Role.CUSTOMER),), None, False),
        ((Grant(Role.CUSTOMER, "plant-7"),), "acme", False),
        ((Grant(Role.CUSTOMER), Grant(Role.VIEWER)), "acme", False),
        ((Grant(Role.VIEWER),), "acme", False),
        ((), None, True),
    ],
)
def test_roles_that_cannot_be_are_not_given(grants: tuple[Grant, ...], customer: str | None, holds: bool) -> None:
    assert (rules.grants_problem(grants, customer) is None) == holds


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ("/oauth/authorize?client_id=x", "/oauth/authorize?client_id=x"),
        ("https://evil.example/", "/account"),
        ("//evil.example/oauth/authorize?", "/account"),
        ("/oauth/authorize?\r\nSet-Cookie: x", "/account"),
        ("/oauth/authorize?\\x", "/account"),
        ("", "/account"),
    ],
)
def test_a_login_leads_nowhere_but_to_our_own_pages(asked: str, place: str) -> None:
    assert rules.return_place(asked) == place
