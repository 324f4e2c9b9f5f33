"""People who log in at a real Keycloak, through its form, are let in by their roles there; nobody else is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from lineside.servers.child_process import ProgramMissing, ServerNotStarted
from prometheus_client import CollectorRegistry

from cloud_ingest.gateway.app import make_app
from cloud_ingest.identity.openid_keys import AGAIN_S
from cloud_ingest.identity.part import identity
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.settings.identity import IdentitySettings, OpenIdSettings
from cloud_ingest.store.migrate import migrate
from connectors.ports.clock import SystemClock
from connectors.postgres.database import open_database
from tests.contract.identity_steps import ME, authorization
from tests.servers.keycloak import AUDIENCE, CLIENT, OTHER_CLIENT, PASSWORD, KeycloakServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
BACK: Final = "http://127.0.0.1:8765/back"


class Clock(SystemClock):
    """One whose time can be moved on."""

    ahead_s = 0.0

    def now_ns(self) -> int:
        return super().now_ns() + int(self.ahead_s * 1e9)

    def monotonic_s(self) -> float:
        return super().monotonic_s() + self.ahead_s


@pytest.fixture(scope="module")
def keycloak(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeycloakServer]:
    try:
        server = KeycloakServer(tmp_path_factory.mktemp("keycloak"), BACK)
        server.start()
    except (ProgramMissing, ServerNotStarted) as exc:
        pytest.fail(str(exc), pytrace=False)
    yield server
    server.stop()


async def logged_in(server: KeycloakServer, user: str, client: str = CLIENT) -> dict[str, Any]:
    """The tokens of an app, for who fills in Keycloak's own form."""
    place = f"{server.issuer}/protocol/openid-connect"
    asked, verifier = authorization(client_id=client, redirect_uri=BACK)
    async with httpx.AsyncClient(trust_env=False, timeout=60.0) as browser:
        page = await browser.get(f"{place}/auth", params=asked)
        found = re.search(r'<form[^>]*action="([^"]+)"', page.text)
        assert found is not None, page.text[:2000]
        form = {"username": user, "password": PASSWORD, "credentialId": ""}
        # Keycloak marks its cookies as secure, and browsers count this machine as secure even without TLS.
        kept = "; ".join(one.partition(";")[0] for one in page.headers.get_list("set-cookie"))
        answer = await browser.post(unescape(found[1]), data=form, headers={"Cookie": kept})
        assert answer.status_code == 302, answer.text[:2000]
        code = parse_qs(urlsplit(answer.headers["location"]).query)["code"][0]
        redeemed = {"grant_type": "authorization_code", "code": code, "code_verifier": verifier}
        tokens = await browser.post(f"{place}/token", data={**redeemed, "client_id": client, "redirect_uri": BACK})
    assert tokens.status_code == 200, tokens.text
    return dict(tokens.json())


async def test_who_logs_in_at_keycloak_has_the_roles_that_they_have_there(
    keycloak: KeycloakServer, database_dsn: str
) -> None:
    database = await open_database(database_dsn, connections_max=5, application_name="tests")
    try:
        await migrate(database)
        clock = Clock()
        openid = OpenIdSettings(
            issuer=keycloak.issuer,
            audience=AUDIENCE,
            roles_claim="realm_access.roles",
            roles={"buyers": "customer"},
            customer_claim="customer",
            insecure=True,
        )
        routers, authenticator = identity(IdentitySettings(openid=openid), database, clock)
        app = make_app(database, CollectorRegistry(), Obstacles(), platform=routers, authenticator=authenticator)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://x") as api:

            async def asked(token: str, path: str = ME) -> httpx.Response:
                return await api.get(path, headers={"Authorization": f"Bearer {token}"})

            anna = await logged_in(keycloak, "anna")
            me = (await asked(anna["access_token"])).json()
            assert (me["name"], me["tenant"]) == ("anna", "default")
            assert me["roles"] == [{"role": "operator", "site": "plant-7", "line": None}]
            assert (await asked(anna["access_token"], "/api/v1/identity/users")).status_code == 403
            carla = (await asked((await logged_in(keycloak, "carla"))["access_token"])).json()
            assert (carla["customer"], [role["role"] for role in carla["roles"]]) == ("ACME", ["customer"])
            for refused in (anna["id_token"], anna["refresh_token"]):
                assert (await asked(refused)).status_code == 401, "neither is an access token"
            other = await logged_in(keycloak, "anna", OTHER_CLIENT)
            assert (await asked(other["access_token"])).status_code == 401, "it is for somebody else"
            changed = anna["access_token"][:-8] + "AAAAAAAA"
            assert (await asked(changed)).status_code == 401

            keycloak.add_key()
            newer = await logged_in(keycloak, "anna")
            clock.ahead_s += AGAIN_S + 1
            assert (await asked(newer["access_token"])).status_code == 200, "the new key is fetched when it is seen"
            assert (await asked(anna["access_token"])).status_code == 200, "and the one before holds on"
            clock.ahead_s += 400
            assert (await asked(newer["access_token"])).status_code == 401, "Keycloak's tokens hold for five minutes"
    finally:
        await database.close()
