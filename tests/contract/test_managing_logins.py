"""The routes by which users and programs are managed: each does what it says, at once, and for one tenant alone."""

from __future__ import annotations

from typing import Any, Final

import httpx

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant
from cloud_ingest.commands import audit
from tests.contract.identity_steps import BACK, ME, PASSWORD, House, form_of, house, log_in

USERS: Final = "/api/v1/identity/users"
CLIENTS: Final = "/api/v1/identity/clients"
DATA: Final = "/api/v1/agents"
NOBODY: Final = "01JDV3W3Z8Q6C0V2B7N4M5K9XS"


class Desk:
    """An admin at work."""

    def __init__(self, here: House, token: str) -> None:
        self.here, self.token = here, token

    async def ask(self, method: str, path: str, *, key: str = "", match: str = "", **more: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key} if key else {}
        return await self.here.ask(
            self.token, method, path, headers=headers | ({"If-Match": match} if match else {}), **more
        )

    async def code(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        answer = await self.ask(method, path, **more)
        return answer.status_code, str(answer.json().get("code"))

    async def change(self, place: str, **body: Any) -> httpx.Response:
        """Change what is at ``place``, as it was seen just now."""
        seen = await self.ask("GET", place)
        return await self.ask("PUT", place, json=body, match=seen.headers["etag"])


async def desk_of(here: House) -> Desk:
    await here.user("admin", Grant(Role.ADMIN))
    await here.client()
    return Desk(here, (await here.tokens("admin")).access)


async def set_password(here: House, link: str, password: str = PASSWORD) -> int:
    """Follow a link, as its user does: the status of the answer."""
    path = link.partition("://")[2].partition("/")[2]
    async with here.browser() as browser:
        page = await browser.get(f"/{path}")
        if page.status_code != 200:
            return page.status_code
        return (
            await browser.post(
                "/setup", data={**form_of(page), "token": path.partition("token=")[2], "password": password,
                                "again": password},
            )
        ).status_code  # fmt: skip


async def test_a_user_is_made_once_sets_a_password_and_is_what_the_roles_say_at_once(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        desk = await desk_of(here)
        asked = {"login": "Anna", "name": "Anna A.", "roles": [{"role": "operator"}]}
        made = await desk.ask("POST", USERS, json=asked, key="k")
        assert made.status_code == 201
        again = await desk.ask("POST", USERS, json=asked, key="k")
        assert again.json() == {**made.json(), "link": None}, "a link is shown once"
        assert await desk.code("POST", USERS, json=asked, key="k2") == (409, "login_taken")
        place = f"{USERS}/{made.json()['user']}"
        assert made.headers["location"] == place
        seen = await desk.ask("GET", place)
        assert (seen.json()["login"], seen.json()["has_password"]) == ("anna", False)
        assert await set_password(here, made.json()["link"]) == 303
        assert await set_password(here, made.json()["link"]) == 410, "it is good once"
        anna = (await here.tokens("anna")).access
        assert "operator" in (await here.ask(anna, "GET", ME)).text
        assert (await here.ask(anna, "GET", USERS)).status_code == 403
        pages, after = [], ""
        while after is not None:
            page = (await desk.ask("GET", USERS, params={"limit": 1, "after": after})).json()
            pages += [one["login"] for one in page["users"]]
            after = page["next"]
        assert pages == ["admin", "anna"]
        body = {"name": "Anna B.", "roles": [{"role": "admin"}]}
        assert (await desk.ask("PUT", place, json=body)).status_code == 428
        assert await desk.code("PUT", place, json=body, match=seen.headers["etag"]) == (412, "changed_since")
        changed = await desk.change(place, **body)
        assert (changed.status_code, changed.json()["name"]) == (200, "Anna B.")
        assert (await here.ask(anna, "GET", USERS)).status_code == 200, "the role holds at once"


async def test_who_is_disabled_is_out_everywhere_with_the_answer_and_comes_back_when_enabled(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        desk = await desk_of(here)
        place = f"{USERS}/{await here.user('anna')}"
        tokens = await here.tokens("anna")
        body = {"name": "Anna", "roles": [{"role": "operator"}]}
        async with here.browser() as browser:
            await log_in(browser, await browser.get("/login"), "anna")
            assert (await browser.get("/account")).status_code == 200
            assert (await here.ask(tokens.access, "GET", ME)).status_code == 200
            assert (await desk.change(place, **body, disabled=True)).json()["disabled"] is True
            assert (await here.ask(tokens.access, "GET", ME)).status_code == 401, "at once, though it was known"
            assert (await here.refresh(tokens.refresh)).status_code == 400
            assert (await browser.get("/account")).status_code != 200
            assert (await log_in(browser, await browser.get("/login"), "anna")).status_code == 401
        assert await desk.code("POST", f"{place}/link") == (409, "user_disabled")
        assert (await desk.change(place, **body)).json()["disabled"] is False
        assert (await here.ask(tokens.access, "GET", ME)).status_code == 401, "what was ended stays ended"
        assert (await here.ask((await here.tokens("anna")).access, "GET", ME)).status_code == 200


async def test_a_new_link_sets_another_password_and_the_last_admin_stays(database_dsn: str) -> None:
    async with house(database_dsn) as here:
        desk = await desk_of(here)
        place = f"{USERS}/{await here.user('anna')}"
        link = (await desk.ask("POST", f"{place}/link")).json()["link"]
        assert (await here.tokens("anna")).access, "the old password holds until then"
        assert await set_password(here, link, "green conveyors sing at noon") == 303
        async with here.browser() as browser:
            assert (await log_in(browser, await browser.get("/login"), "anna")).status_code == 401
        me = next(one["user"] for one in (await desk.ask("GET", USERS)).json()["users"] if one["login"] == "admin")
        for body in ({"roles": [{"role": "viewer"}]}, {"roles": [{"role": "admin"}], "disabled": True}):
            answer = await desk.change(f"{USERS}/{me}", name="Admin", **body)
            assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
        assert await desk.code("GET", f"{USERS}/{NOBODY}") == (404, "unknown_user")
        assert await desk.code("POST", f"{USERS}/{NOBODY}/link") == (404, "unknown_user")


async def test_a_service_has_a_secret_that_is_shown_once_replaced_and_worth_nothing_when_disabled(
    database_dsn: str,
) -> None:
    async with house(database_dsn) as here:
        desk = await desk_of(here)
        asked = {"client": "erp", "kind": "service", "name": "ERP", "roles": [{"role": "viewer"}]}
        made = await desk.ask("POST", CLIENTS, json=asked, key="k")
        assert made.status_code == 201
        first = made.json()["secret"]
        assert (await desk.ask("POST", CLIENTS, json=asked, key="k")).json()["secret"] is None
        assert await desk.code("POST", CLIENTS, json=asked, key="k2") == (409, "client_taken")

        async def token(secret: str) -> httpx.Response:
            return await here.post(
                "/oauth/token", grant_type="client_credentials", client_id="erp", client_secret=secret
            )

        access = (await token(first)).json()["access_token"]
        assert (await here.ask(access, "GET", DATA)).status_code == 200
        second = (await desk.ask("POST", f"{CLIENTS}/erp/secret")).json()["secret"]
        assert ((await token(first)).status_code, (await token(second)).status_code) == (401, 200)
        place = f"{CLIENTS}/erp"
        assert (await desk.change(place, name="ERP", roles=[{"role": "viewer"}], disabled=True)).status_code == 200
        assert (await here.ask(access, "GET", DATA)).status_code == 401, "at once"
        assert (await token(second)).status_code == 401
        assert (await desk.change(place, name="ERP 2", roles=[])).json()["name"] == "ERP 2"
        access = (await token(second)).json()["access_token"]
        assert (await here.ask(access, "GET", DATA)).status_code == 403, "it has no role any more"
        assert await desk.code("POST", f"{CLIENTS}/ui/secret") == (409, "no_secret")
        assert [one["client"] for one in (await desk.ask("GET", CLIENTS)).json()["clients"]] == ["erp", "ui"]
        assert (await desk.ask("GET", f"{CLIENTS}/ui")).json()["redirect_uris"] == [BACK]
        assert await desk.code("GET", f"{CLIENTS}/nobody") == (404, "unknown_client")


async def test_a_manager_reaches_nobody_of_another_tenant_and_every_change_is_in_the_own_audit_log(
    database_dsn: str,
) -> None:
    async with house(database_dsn) as here:
        desk = await desk_of(here)
        made = await desk.ask("POST", "/api/v1/identity/tenants", key="k",
                              json={"tenant": "theirs", "login": "olga", "name": "Olga"})  # fmt: skip
        assert made.status_code == 201
        assert await set_password(here, made.json()["link"]) == 303
        theirs = Desk(here, (await here.tokens("olga")).access)
        anna = await here.user("anna")
        await here.client("erp", kind="service")
        for method, path, body in (
            ("GET", f"{USERS}/{anna}", None),
            ("PUT", f"{USERS}/{anna}", {"name": "Mine", "roles": [], "disabled": True}),
            ("POST", f"{USERS}/{anna}/link", None),
            ("GET", f"{CLIENTS}/erp", None),
            ("PUT", f"{CLIENTS}/erp", {"name": "Mine", "roles": []}),
            ("POST", f"{CLIENTS}/erp/secret", None),
        ):
            status, code = await theirs.code(method, path, match="*", **({} if body is None else {"json": body}))
            assert (status, code.startswith("unknown_")) == (404, True), (method, path)
        assert [one["login"] for one in (await theirs.ask("GET", USERS)).json()["users"]] == ["olga"]
        assert await theirs.code("GET", "/api/v1/identity/tenants") == (403, "not_your_tenant")
        assert (await theirs.ask("POST", USERS, key="k", json={"login": "per", "name": "Per", "roles": []})).is_success
        (tenant,) = await here.fetch("SELECT tenant_id FROM tenant WHERE name = 'theirs'")
        told = [one.subject async for one in audit.entries(here.database, tenant_id=tenant["tenant_id"])]
        assert ("per" in told, "anna" in told) == (True, False)
        own = [one.subject async for one in audit.entries(here.database)]
        assert ("per" in own, "anna" in own) == (False, True)
