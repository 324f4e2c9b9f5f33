"""``cloud-ingest orders`` on a real database: what is stuck, why, and what to do."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import urlsplit

from typer.testing import CliRunner

from cloud_ingest.cli.app import app
from tests.contract.order_steps import shop


def test_what_is_stuck_is_listed_with_why_and_shown_with_what_to_do(database_dsn: str, tmp_path: Path) -> None:
    order = asyncio.run(a_stuck_order(database_dsn))
    at = urlsplit(database_dsn)
    config = tmp_path / "cloud.yaml"
    (tmp_path / "password").write_text(at.password or "", encoding="utf-8")
    (tmp_path / "password").chmod(0o600)
    config.write_text(
        "ingest: {brokers: [mqtt://127.0.0.1], insecure: true}\n"
        f"database: {{host: {at.hostname}, port: {at.port}, name: {at.path[1:]}, user: {at.username}, insecure: true, "
        f"password: '${{file:{tmp_path / 'password'}}}'}}\n",
        encoding="utf-8",
    )

    def run(*words: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, ["orders", *words, "-c", str(config)])
        return ended.exit_code, ended.output

    code, screen = run("list", "--stuck")
    assert (code, order in screen) == (0, True), screen
    assert "no routing says how it is made" in screen
    code, screen = run("show", order)
    assert code == 1, "it is stuck"
    for said in ("what to do: Book stock of the product", "released", "11.90 EUR have come in", "The order was placed"):
        assert said in screen
    code, document = run("show", order, "--json")
    assert (code, json.loads(document)["lines"][0]["product"]) == (1, "bought")
    assert run("list", "--state", "closed")[1].strip() == "no order fits"
    assert run("show", "01ARZ3NDEKTSV4RRFFQ69G5FAV")[0] == 1
    assert run("list", "--tenant", "theirs") == (0, "no order fits\n"), "another tenant has none"
    code, said = run("list", "--tenant", "nobody")
    assert (code, "there is no tenant 'nobody'" in said) == (1, True)


async def a_stuck_order(dsn: str) -> str:
    async with shop(dsn) as here:
        await here.sell("bought", made=False)
        order = await here.place(("bought", 1))
        await here.pump()
        return order
