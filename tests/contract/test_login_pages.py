"""Logins by login and password, on a real PostgreSQL: lock-out, forms of other sites, links, sessions."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant
from cloud_ingest.identity import people, rules
from cloud_ingest.identity.people import By
from cloud_ingest.identity.principals import HELD_S
from tests.contract.identity_steps import ISSUER, ME, PASSWORD, House, authorization, form_of, house, log_in


async def attempt(here: House, login: str, password: str, address: str = "192.0.2.7") -> httpx.Response:
    async with here.browser(address) as browser:
        return await log_in(browser, await browser.get("/login"), login, password)


async def test_an_account_is_closed_for_longer_and_longer_whether_it_exists_or_not(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        for login in ("anna", "nobody"):
            said = set()
            for number in range(rules.ACCOUNT_FREE + 1):
                answer = await attempt(here, login, "wrong", f"192.0.2.{number}")
                said.add((answer.status_code, "do not belong together" in answer.text))
            assert said == {(401, True)}
            answer = await attempt(here, login, PASSWORD, "192.0.2.99")
            assert answer.status_code == 429, "the right password, too, is not looked at"
            assert answer.headers["retry-after"] == "1"
            here.clock.ahead_ms += 1100
            await attempt(here, login, "wrong", "192.0.2.98")
            assert (await attempt(here, login, PASSWORD, "192.0.2.97")).headers["retry-after"] == "2"
        here.clock.ahead_ms += 2100
        assert (await attempt(here, "anna", PASSWORD)).status_code == 303
        assert (await attempt(here, "anna", "wrong")).status_code == 401, "and counted from the beginning"


async def test_an_address_is_closed_that_tries_many_accounts(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        for number in range(rules.ADDRESS_FREE + 1):
            await attempt(here, f"guess{number}", "wrong", "198.51.100.1")
        assert (await attempt(here, "anna", PASSWORD, "198.51.100.1")).status_code == 429
        assert (await attempt(here, "anna", PASSWORD, "198.51.100.2")).status_code == 303


async def test_who_guesses_elsewhere_locks_nobody_out_of_their_own_browser(
    database_dsn: str,
) -> None:
    async with house(database_dsn) as here, here.browser() as own:
        await here.user("anna")
        await here.user("bert")
        for login in ("anna", "bert"):  # a terminal of two shifts
            assert (await log_in(own, await own.get("/login"), login)).status_code == 303
        for _ in range(rules.ADDRESS_FREE + 2):
            await attempt(here, "anna", "wrong")
        assert (await attempt(here, "anna", PASSWORD)).status_code == 429
        for login in ("bert", "anna"):
            assert (await log_in(own, await own.get("/login"), login)).status_code == 303, "also from the same address"
        for _ in range(rules.ACCOUNT_FREE + 1):
            assert (await log_in(own, await own.get("/login"), "anna", "wrong")).status_code == 401
        assert (await log_in(own, await own.get("/login"), "anna")).status_code == 429, "it is counted by itself"


async def test_who_is_locked_out_is_let_in_by_the_browser_in_which_they_set_a_password_by_a_link(
    database_dsn: str,
) -> None:
    async with house(database_dsn) as here, here.browser("192.0.2.50") as own:
        user = await here.user("anna")
        for _ in range(rules.ACCOUNT_FREE + 1):
            await attempt(here, "anna", "wrong")
        async with here.database.transaction() as session:
            secret, _ = await people.new_link(session, By(1, "test", here.clock.now_ms()), user)
        page = await own.get("/setup", params={"token": secret})
        new = "green presses hum by day"
        await own.post("/setup", data={**form_of(page), "token": secret, "password": new, "again": new})
        assert (await attempt(here, "anna", new, "192.0.2.51")).status_code == 429
        assert (await log_in(own, await own.get("/login"), "anna", new)).status_code == 303


async def test_attempts_at_once_are_no_more_than_one_after_the_other(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        answers = await asyncio.gather(*(attempt(here, "anna", f"wrong{n}", f"192.0.2.{n}") for n in range(20)))
        looked_at = [answer for answer in answers if answer.status_code == 401]
        assert len(looked_at) == rules.ACCOUNT_FREE + 1


@pytest.mark.parametrize(
    "change",
    [
        {"cookie": "another"},
        {"form": ""},
        {"form": "another form of somebody"},
        {"headers": {"Origin": "https://evil.example"}},
        {"headers": {"Origin": "null"}},
        {"headers": {"Sec-Fetch-Site": "cross-site"}},
    ],
)
async def test_a_form_of_another_site_logs_nobody_in(database_dsn: str, change: dict[str, Any]) -> None:
    async with house(database_dsn) as here, here.browser() as browser:
        await here.user("anna")
        page = await browser.get("/login")
        if "cookie" in change:
            browser.cookies.clear()
        form = {**form_of(page), "login": "anna", "password": PASSWORD}
        if "form" in change:
            form["form"] = change["form"]
        answer = await browser.post("/login", data=form, headers=change.get("headers", {}))
        assert answer.status_code == 403
        assert not any("session" in name for name in browser.cookies)


async def test_pages_are_kept_to_themselves(database_dsn: str) -> None:
    async with house(database_dsn) as here, here.browser() as browser:
        await here.client()
        answer = await browser.get("/oauth/authorize", params=authorization()[0])
        page = await browser.get(answer.headers["location"])
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self' https://ui.plant.example;" in policy
        assert "<script" not in page.text
        assert page.headers["cache-control"] == "no-store"
        cookie = page.headers["set-cookie"]
        assert cookie.startswith("__Host-lineside_form=")
        assert all(word in cookie for word in ("Secure", "HttpOnly", "SameSite=lax", "Path=/"))


async def test_a_link_sets_a_password_once_and_for_a_day(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        user_id = await here.user("anna", Grant(Role.ADMIN))
        await here.client()
        admin = await here.tokens("anna")
        made = (await here.ask(admin.access, "POST", f"/api/v1/identity/users/{user_id}/link")).json()
        token = made["link"].rpartition("token=")[2]
        other = "seven grey stones in a row"
        async with here.browser() as browser:
            page = await browser.get("/setup", params={"token": token})
            form = {**form_of(page), "token": token}
            for wrong in ({"password": other, "again": "x"}, {"password": "short", "again": "short"}):
                assert (await browser.post("/setup", data={**form, **wrong})).status_code == 400
            assert (await browser.post("/setup", data={**form, "password": other, "again": other})).status_code == 303
            again = await browser.post("/setup", data={**form, "password": other, "again": other})
            assert again.status_code == 401 or again.status_code == 410
            assert "used already" in again.text
        assert (await attempt(here, "anna", PASSWORD)).status_code == 401
        assert (await attempt(here, "anna", other)).status_code == 303
        here.clock.ahead_ms += 1000
        assert (await here.refresh(admin.refresh)).status_code == 400, "who sets a password is logged out elsewhere"


async def test_who_is_disabled_or_logged_out_is_out_within_seconds(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("admin", Grant(Role.ADMIN))
        user_id = await here.user("anna")
        await here.client()
        admin, anna = await here.tokens("admin"), await here.tokens("anna")
        assert (await here.ask(anna.access, "GET", ME)).status_code == 200
        place = f"/api/v1/identity/users/{user_id}"
        seen = await here.ask(admin.access, "GET", place)
        body = {"name": "Anna", "roles": [{"role": "viewer"}], "disabled": True}
        headers = {"If-Match": seen.headers["etag"]}
        assert (await here.ask(admin.access, "PUT", place, json=body, headers=headers)).status_code == 200
        assert (await here.ask(admin.access, "PUT", place, json=body, headers=headers)).status_code == 412
        assert (await attempt(here, "anna", PASSWORD)).status_code == 401
        assert (await here.refresh(anna.refresh)).status_code == 400
        fresh = House(here.database, here.clock, here.settings)
        assert (await fresh.ask(anna.access, "GET", ME)).status_code == 401
        here.app.state.authenticator._by_issuer[ISSUER]._principals._clock = _Later(here.clock)
        assert (await here.ask(anna.access, "GET", ME)).status_code == 401, "also where they were known before"


class _Later:
    """A monotonic clock that is so much further that nothing that was looked up is fresh."""

    def __init__(self, clock: Any) -> None:
        self._clock = clock

    def now_ns(self) -> int:
        return int(self._clock.now_ns())

    def monotonic_s(self) -> float:
        return float(self._clock.monotonic_s()) + HELD_S + 1


async def test_one_sees_ones_sessions_ends_them_and_changes_the_password(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        await here.user("anna")
        async with here.browser() as one, here.browser() as two:
            for browser in (one, two):
                await log_in(browser, await browser.get("/login"), "anna")
            page = await one.get("/account")
            assert page.text.count("End the session") == 2
            assert "(this one)" in page.text
            (theirs,) = await here.fetch("SELECT session_id FROM identity_session ORDER BY session_id DESC LIMIT 1")
            form = form_of(page)
            ended = await one.post("/account/end", data={"form": form["form"], "session": theirs["session_id"]})
            assert ended.status_code == 303
            assert (await two.get("/account")).status_code == 303, "sent to the login"
            new = "seven grey stones in a row"
            wrong = {"form": form["form"], "old": "x", "password": new, "again": new}
            assert "not the password that holds now" in (await one.post("/account/password", data=wrong)).text
            changed = await one.post("/account/password", data={**wrong, "old": PASSWORD})
            assert "was changed" in changed.text
            await one.post("/logout", data={"form": form["form"]})
            assert (await one.get("/account")).status_code == 303
        assert (await attempt(here, "anna", PASSWORD)).status_code == 401
        assert (await attempt(here, "anna", new)).status_code == 303
