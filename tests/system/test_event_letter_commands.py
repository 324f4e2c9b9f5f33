"""``cloud-ingest event-letters`` as people use it: a count that stock could not take is booked after a fix, once."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker

from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.lines.events import Counted, LineKey, counted
from connectors.postgres.database import open_database
from tests.patience import WAIT_S_MAX
from tests.system.cloud_process import Cloud, eventually

RULE = "ALTER TABLE stock_movement ADD CONSTRAINT sensible CHECK (quantity < 100)"


@pytest.mark.slow
async def test_a_count_that_stock_could_not_take_is_booked_after_a_fix_exactly_once(
    tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str
) -> None:
    cloud = Cloud(tmp_path, mosquitto.url, database_dsn)
    process = cloud.process("gateway,inventory,orders")

    def said(*words: str, code: int = 0) -> str:
        if "retry" in words and "--wait" not in words:
            words += ("--wait", str(WAIT_S_MAX / 2))  # the command itself may last so long as a test waits
        done = cloud.command(*words)
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    def letters(*words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(said("event-letters", "list", "--json", *words))
        return found

    async def are(count: int) -> bool:
        return len(letters()) == count

    try:
        cloud.wait_ready(process)
        database = await open_database(database_dsn, connections_max=1, application_name="tests")
        try:

            async def count(good: int) -> None:
                async with unit_of_work(database, 1) as work:
                    now = time.time_ns()
                    one = Counted(now, now, Decimal(good), Decimal(0), "pump", "", late=False)
                    work.announce(counted(LineKey(1, "berlin", "line-1"), one))

            async def on_hand() -> Decimal:
                async with database.session() as session:
                    rows = await session.fetch(
                        "SELECT coalesce(sum(on_hand), 0) AS n FROM stock_balance WHERE item = 'pump' "
                        "AND location NOT LIKE '@%'"
                    )
                return Decimal(rows[0]["n"])

            async def has(quantity: int) -> bool:
                return await on_hand() == quantity

            assert said("event-letters", "list") == "every part of the platform has taken every event\n"
            async with database.session() as session:
                await session.execute(RULE)
            for good in (1, 100, 2, 200):
                await count(good)
            await eventually(lambda: has(3))
            await eventually(lambda: are(2))
            one, two = (str(letter["number"]) for letter in letters("--part", "inventory"))
            assert "sensible" in said("event-letters", "list")
            assert '"good": "100"' in said("event-letters", "show", one)
            exported = [json.loads(line) for line in said("event-letters", "export").splitlines()]
            assert [letter["number"] for letter in exported] == [int(one), int(two)]
            assert "2 events that a part of the platform could not take" in said("ledger", code=1)
            stages = {one["stage"]: one for one in json.loads(said("status", "--json", code=1))["stages"]}
            assert stages["inventory"]["reasons"] == ["2 events could not be taken: `cloud-ingest event-letters list`"]
            assert stages["orders"]["ok"]
            assert "lines" not in stages, "it does not run, and has nothing to say"
            settled = cloud.get("/api/v1/ledger/settled").json()
            assert (settled["settled"], settled["event_letters"]) == (False, 2)

            assert f"{one}: cannot be taken: " in said("event-letters", "retry", one, code=1)
            (page,) = [cloud.get("/api/v1/event-letters", part="inventory").json()["event_letters"]]
            assert [(letter["retries"], letter["key"]) for letter in page] == [
                (1, "berlin/line-1"),
                (0, "berlin/line-1"),
            ]
            async with database.session() as session:
                await session.execute("ALTER TABLE stock_movement DROP CONSTRAINT sensible")
            assert said("event-letters", "retry", one) == f"{one}: taken\n"
            assert await on_hand() == 103
            assert said("event-letters", "retry", one) == f"{one}: taken\n"
            assert await on_hand() == 103

            process.kill()
            assert "nobody has taken it yet" in said("event-letters", "retry", two, "--wait", "0.1", code=1)
            assert said("event-letters", "close", two, "--reason", "counted by hand") == f"{two}: closed\n"
            assert "has been closed before" in said("event-letters", "close", two, "--reason", "again")
            assert "there is no event letter 99" in said("event-letters", "close", "99", "--reason", "x", code=1)
            said("ledger")
            assert await on_hand() == 103
        finally:
            await database.close()
    finally:
        process.kill()
