"""``cloud-ingest inventory`` as people use it, and a process with the role that is killed while lines count."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path

import pytest

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.lines.events import Counted, LineKey, counted
from connectors.postgres.database import PostgresDatabase
from tests.contract.inventory_steps import NOW, SITE, TENANT, store
from tests.system.cloud_process import Cloud, eventually

ITEMS = "code,kind,unit,reorder_point\nscrew,component,pcs,100\npump,product,pcs,\n"
COUNTS = 400
"""In four steps; the process is killed after the first and the third of them."""


async def count(database: PostgresDatabase, times: int) -> None:
    """The lines tell of so many counts, each of a good piece and a rejected one."""
    for _ in range(times // 20):
        async with unit_of_work(database, TENANT) as work:
            now = time.time_ns()
            one = Counted(now, now, Decimal(1), Decimal(1), "pump", "WO-1", late=False)
            for number in range(20):
                work.announce(counted(LineKey(TENANT, SITE, f"line-{number % 5}"), one))


@pytest.mark.slow
async def test_every_count_is_in_the_stock_once_whenever_the_process_is_killed_and_the_commands_show_it(
    tmp_path: Path, database_dsn: str
) -> None:
    cloud = Cloud(tmp_path / "cloud", "mqtt://127.0.0.1:1", database_dsn)

    def said(*words: str, code: int = 0) -> str:
        done = cloud.command("inventory", *words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    async with store(database_dsn) as here:
        file = tmp_path / "items.csv"
        file.write_text(ITEMS.replace("product", "thing"))
        assert "line 3: kind: Input should be 'raw', 'component' or 'product'" in said(
            "import-items", str(file), code=1
        )
        file.write_text(ITEMS)
        assert "2 items would be added" in said("import-items", str(file), "--dry-run")
        assert said("import-items", str(file)) == "2 items added, 0 changed, 0 as they were\n"
        file.write_text(ITEMS.replace("100", "200"))
        assert said("import-items", str(file)) == "0 items added, 1 changed, 1 as they were\n"
        await here.bom("pump", ("screw", "2"), since=NOW.replace(year=2020))
        await here.receive("screw", "10000", SITE)

        async def is_booked(pumps: int) -> bool:
            return await here.at("pump", SITE) >= pumps

        process = cloud.process("inventory")
        try:
            for step in range(4):
                await count(here.database, COUNTS // 4)
                if step % 2 == 0:
                    await eventually(lambda step=step: is_booked(COUNTS // 4 * step + 1))
                    process.kill()
                    process = cloud.process("inventory")
            await eventually(lambda: is_booked(COUNTS))
        finally:
            process.kill()
        shown = json.loads(said("stock", "--json"))
        assert {(one["item"], Decimal(one["on_hand"])) for one in shown} == {
            ("pump", COUNTS),
            ("screw", 10_000 - 4 * COUNTS),
        }
        assert "nothing found" in said("verify")
        assert "screw" in said("stock", "--item", "screw")
        await here.say("UPDATE stock_balance SET on_hand = on_hand + 1 WHERE item = 'pump' AND location = $1", SITE)
        assert "on hand is not what the ledger says" in said("verify", code=1)
        await here.say("UPDATE stock_balance SET on_hand = on_hand - 1 WHERE item = 'pump' AND location = $1", SITE)
