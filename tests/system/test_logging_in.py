"""From an empty database to a command line that is let in: the real cloud-ingest, its pages, and an app with PKCE."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

import httpx
from lineside.servers.mosquitto import MosquittoBroker

from tests.contract.identity_steps import PASSWORD, authorization, form_of, log_in
from tests.patience import WAIT_S_MAX
from tests.system.cloud_process import Cloud

BACK: Final = "http://127.0.0.1:8765/back"


def said(finished: subprocess.CompletedProcess[str]) -> str:
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.strip()


async def test_the_first_admin_sets_a_password_logs_in_by_an_app_and_manages_the_others(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> None:
    cloud = Cloud(tmp_path, mosquitto.url, database_dsn)
    secret = tmp_path / "identity-secret"
    secret.write_text(secrets.token_urlsafe(32))
    issuer = f"http://127.0.0.1:{cloud.port}"
    cloud.add("identity", {"issuer": issuer, "secret": f"${{file:{secret}}}"})
    process = cloud.process("gateway")
    try:
        cloud.wait_ready(process)
        link = said(cloud.command("identity", "create-admin", "Anna@plant.example", "--name", "Anna Berg"))
        assert link.startswith(f"{issuer}/setup?token=")
        said(cloud.command("identity", "add-app", "ui", "--redirect-uri", "http://127.0.0.1/back"))
        async with httpx.AsyncClient(base_url=issuer, timeout=WAIT_S_MAX, trust_env=False) as browser:
            page = await browser.get(link)
            token = form_of(page)["token"]
            done = await browser.post("/setup", data={**form_of(page), "password": PASSWORD, "again": PASSWORD})
            assert (done.status_code, done.headers["location"]) == (303, "/login"), done.text
            assert (await browser.get("/setup", params={"token": token})).status_code == 410
            asked, verifier = authorization(redirect_uri=BACK)
            page = await browser.get("/oauth/authorize", params=asked)
            page = await browser.get(page.headers["location"])
            answer = await log_in(browser, page, "anna@plant.example")
            answer = await browser.get(answer.headers["location"])
            place = answer.headers["location"]
            assert place.startswith(BACK)
            code = parse_qs(urlsplit(place).query)["code"][0]
            form = {"grant_type": "authorization_code", "client_id": "ui", "redirect_uri": BACK}
            tokens = (await browser.post("/oauth/token", data={**form, "code": code, "code_verifier": verifier})).json()
            headers = {"Authorization": f"Bearer {tokens['access_token']}", "Idempotency-Key": "k"}
            body = {"login": "bert", "name": "Bert", "roles": [{"role": "operator", "site": "plant-7"}]}
            made = await browser.post("/api/v1/identity/users", json=body, headers=headers)
            assert made.status_code == 201, made.text
            assert made.json()["link"].startswith(issuer)
            again = await browser.post("/api/v1/identity/users", json=body, headers=headers)
            assert (again.json()["user"], again.json()["link"]) == (made.json()["user"], None)
            assert (await browser.get("/api/v1/agents")).status_code == 401, "with logins, nobody asks without a token"
            listed = json.loads(said(cloud.command("identity", "users", "--json")))
            assert [(row["login"], row["roles"]) for row in listed] == [
                ("anna@plant.example", ["admin"]),
                ("bert", ["operator@plant-7"]),
            ]
            refused = cloud.command("identity", "change-user", "anna@plant.example", "--disable")
            assert (refused.returncode, refused.stderr.strip()) == (1, "this is the last admin: make another one first")
            said(cloud.command("identity", "end-sessions", "anna@plant.example"))
            refresh = {"grant_type": "refresh_token", "client_id": "ui", "refresh_token": tokens["refresh_token"]}
            assert (await browser.post("/oauth/token", data=refresh)).json()["error"] == "invalid_grant"
        secret_of_service = said(cloud.command("identity", "add-service", "planning", "--role", "planner"))
        async with httpx.AsyncClient(base_url=issuer, timeout=WAIT_S_MAX, trust_env=False) as program:
            form, login = {"grant_type": "client_credentials"}, ("planning", secret_of_service)
            service = await program.post("/oauth/token", data=form, auth=login)
        assert service.json()["token_type"] == "Bearer"
        assert "planning" in said(cloud.command("identity", "clients"))
        said(cloud.command("identity", "rotate-key"))
        keys = cloud.get("/oauth/jwks").json()["keys"]
        assert len(keys) in (1, 2), "another one is there, as soon as this process has looked again"
        link = said(cloud.command("identity", "add-tenant", "acme", "carla"))
        assert link.startswith(issuer)
        said(cloud.command("identity", "give-group", "acme", "plant-9"))
        assert "chain is whole" in said(cloud.command("audit", "verify"))
        exported = said(cloud.command("audit", "export", "--tenant", "acme"))
        assert json.loads(exported.splitlines()[0])["action"] == "user created"
    finally:
        process.stop()
