"""From what a line tells to its OEE: hour by hour, corrected by what comes late, and in reports."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import httpx
import openpyxl
import pytest

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.analytics import computing, questions, reports
from cloud_ingest.analytics.computing import compute_due
from cloud_ingest.analytics.marking import mark_passed
from cloud_ingest.analytics.published import report_mail
from cloud_ingest.analytics.questions import Choice
from cloud_ingest.analytics.reports import DueReports
from cloud_ingest.analytics.role import AnalyticsRole, marks_projection
from cloud_ingest.event_log.consuming import PartitionConsumer
from cloud_ingest.event_log.domain_events import event_record
from cloud_ingest.event_log.relaying import EventRelay
from cloud_ingest.event_log.topics import LINE_EVENTS
from connectors.ports.event_log import LogRecord, TopicSpec
from tests.contract.historian_steps import RawLog, eventually
from tests.contract.line_steps import T0, Plant, S, plant
from tests.contract.whole_gateway import URL, whole_app

EVENTS: Final = TopicSpec(LINE_EVENTS, 1)
FIRST: Final = datetime.fromtimestamp(T0 // S, UTC)
HOUR: Final = FIRST.replace(minute=0, second=0)
LENGTH: Final = timedelta(hours=1)


class Heard:
    """Analytics of a plant, which hears of it when it is told to."""

    def __init__(self, here: Plant) -> None:
        self._here = here
        none: Any = None
        self._reader = PartitionConsumer(here.database, none, marks_projection(EVENTS), "identity", 0)
        self._read = 0

    async def hear(self) -> list[datetime]:
        """Hear of everything that is new; the hours that it touches."""
        rows = await self._here.fetch(
            "SELECT number, key, event FROM event_outbox WHERE topic = $1 AND number > $2 ORDER BY number",
            LINE_EVENTS,
            self._read,
        )
        records = [event_record(LINE_EVENTS, row["number"], row["key"], row["event"], 0) for row in rows]
        if records:
            offset = await self._reader._place.read()
            read = [LogRecord(offset + at, one.key, one.value, 0) for at, one in enumerate(records)]
            self._reader._next = offset
            await self._reader.take(read)
            self._read = rows[-1]["number"]
        return [row["hour"] for row in await self._here.fetch("SELECT hour FROM analytics_due ORDER BY hour")]

    async def oee(self, *by: questions.By, now: datetime | None = None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The figures of the day, after all that is due was worked out."""
        while await compute_due(self._here.database, now or HOUR + 24 * LENGTH, 10):
            pass
        async with self._here.database.session() as session:
            return await questions.oee(session, Choice(1, HOUR, HOUR + 24 * LENGTH), by or ("hour",))


@asynccontextmanager
async def heard_plant(dsn: str) -> AsyncIterator[tuple[Plant, Heard]]:
    async with plant(dsn) as here:
        yield here, Heard(here)


async def produce(here: Plant) -> None:
    """Runs for ten minutes with 60 good and 6 rejects, then stands for five with a jam, and runs again."""
    await here.take((0, "state", 1), (0, "good", 0), (0, "reject", 0))
    for minute in range(1, 11):
        await here.take((60 * minute, "good", 6 * minute), (60 * minute, "reject", minute * 6 // 10))
    await here.take((600, "state", 3))
    await here.take((900, "state", 1))
    await here.take((960, "good", 70))


async def test_what_a_line_tells_becomes_its_oee(database_dsn: str) -> None:
    async with heard_plant(database_dsn) as (here, analytics):
        await produce(here)
        assert await analytics.hear() == [HOUR]
        end = FIRST + timedelta(seconds=1200)
        total, _ = await analytics.oee(now=end)
        assert (total["good"], total["reject"]) == ("70", "6")
        assert (total["stopped_ms"], total["running_ms"]) == (300_000, 900_000)
        assert total["availability"] == 0.75
        assert (total["performance"], total["oee"]) == (None, None), "nobody has said how long a piece takes"
        assert total["notice"].startswith("the ideal cycle time of 76 pieces is not known")
        assert total["quality"] == 70 / 76
        async with here.database.session() as session:
            (loss,) = await questions.losses(session, Choice(1, HOUR, HOUR + LENGTH))
        assert (loss["reason"], loss["ms"], loss["stops"], loss["share"]) == ("jam", 300_000, 1, 1.0)


async def test_what_comes_late_corrects_its_own_hour_and_no_other(database_dsn: str) -> None:
    async with heard_plant(database_dsn) as (here, analytics):
        await produce(here)
        await here.take((4000, "good", 100), (7700, "good", 130))
        await analytics.hear()
        _, before = await analytics.oee()
        assert [group["good"] for group in before] == ["70", "30", "30"]
        computed: list[datetime] = []
        compute = computing.compute

        async def watched(session: Any, one: computing.LineHour, now: datetime) -> Any:
            computed.append(one.hour)
            return await compute(session, one, now)

        computing.compute = watched  # type: ignore[assignment]
        try:
            await here.take((2000, "state", 2), (2300, "state", 1), at_s=7700)
            assert await analytics.hear() == [HOUR]
            _, after = await analytics.oee()
        finally:
            computing.compute = compute
        assert computed == [HOUR]
        assert after[0]["stopped_ms"] == before[0]["stopped_ms"] + 300_000
        assert after[1:] == before[1:]


async def test_the_time_of_a_line_that_says_nothing_passes_all_the_same(database_dsn: str) -> None:
    async with heard_plant(database_dsn) as (here, analytics):
        await here.take((0, "state", 1), (60, "state", 3), at_s=120)
        await analytics.hear()
        now = HOUR + 3 * LENGTH
        here.clock.now = int(now.timestamp()) * S
        async with here.database.transaction() as session:
            await mark_passed(session, now)
        _, groups = await analytics.oee(now=now)
        assert [group["stopped_ms"] for group in groups][1:] == [3_600_000, 3_600_000]
        async with here.database.transaction() as session:
            assert await mark_passed(session, now) == 1, "the hour that has begun, and none of those that have passed"


async def test_two_processes_work_out_each_hour_once(database_dsn: str) -> None:
    async with heard_plant(database_dsn) as (here, analytics):
        await produce(here)
        await analytics.hear()
        async with here.database.session() as session:
            await session.execute(
                "INSERT INTO analytics_due (tenant_id, site, line, hour) SELECT 1, 'berlin', 'press-1', hour FROM "
                "generate_series($1::timestamptz, $2::timestamptz, interval '1 hour') AS hour ON CONFLICT DO NOTHING",
                HOUR,
                HOUR + 39 * LENGTH,
            )
        counts = await asyncio.gather(*(compute_due(here.database, HOUR + 40 * LENGTH, 20) for _ in range(4)))
        assert sum(counts) == 40
        total, _ = await analytics.oee(now=HOUR + 40 * LENGTH)
        assert total["good"] == "70"


async def test_the_role_hears_of_lines_on_a_log_and_works_out_their_hours(database_dsn: str, raw_log: RawLog) -> None:
    await raw_log.clear()
    log = await raw_log.open()
    try:
        async with plant(database_dsn, log) as here:
            await produce(here)
            await log.ensure(EVENTS)
            relay = EventRelay(here.database, log, here.clock, {LINE_EVENTS: EVENTS})
            while await relay.publish():
                pass
            here.clock.now = T0 + 1200 * S
            task = asyncio.create_task(AnalyticsRole(here.database, log, here.clock, EVENTS).run())
            try:

                async def is_known() -> bool:
                    rows = await here.fetch("SELECT sum(good) AS good FROM analytics_hour")
                    return bool(rows[0]["good"] == 70)

                await eventually(is_known)
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
    finally:
        await log.close()


async def test_a_report_is_made_once_when_its_time_has_come_and_announced_with_who_gets_it(database_dsn: str) -> None:
    async with heard_plant(database_dsn) as (here, analytics):
        await produce(here)
        await analytics.hear()
        await analytics.oee()
        app = whole_app(here.database)
        plan = {
            "name": "=Every day",
            "site": "berlin",
            "period": "day",
            "zone": "Europe/Berlin",
            "at_minute": 360,
            "formats": ["html", "pdf", "xlsx", "csv"],
            "recipients": ["shift@plant.example"],
        }
        asking = {"Authorization": "Bearer planner", "Idempotency-Key": "k"}
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url=URL, headers=asking) as client:
            made = (await client.post("/api/v1/reports", json=plan)).raise_for_status().json()
            async with here.database.session() as session:
                await session.execute("UPDATE report_plan SET since = $1", HOUR - 24 * LENGTH)
            local = FIRST.astimezone().date()
            early = datetime.combine(local + timedelta(days=1), datetime.min.time(), UTC) + timedelta(
                hours=3, minutes=50
            )
            due, late = DueReports(here.database), early + timedelta(hours=1)
            before = await due.make(early)
            assert (before, await due.make(late)) == (1, 0), "its hours are not worked out yet"
            async with here.database.transaction() as session:
                await mark_passed(session, late)
            await analytics.oee(now=late)
            assert (await due.make(late), await due.make(late)) == (1, 0)
            listed = (await client.get(f"/api/v1/reports/{made['id']}/made")).raise_for_status().json()["made"]
            assert [one["day"] for one in listed] == [local.isoformat(), (local - timedelta(days=1)).isoformat()]
            found = {}
            for kind in plan["formats"]:
                answer = await client.get(f"/api/v1/reports/{made['id']}/made/{local.isoformat()}/{kind}")
                found[kind] = answer.raise_for_status().content
        assert found["pdf"].startswith(b"%PDF")
        page = found["html"].decode()
        assert all(text in page for text in ("<h1>=Every day</h1>", "jam", "92.1 %", "press-1", "To look at"))
        book = openpyxl.load_workbook(io.BytesIO(found["xlsx"]))
        assert book["Report"]["A1"].value == "'=Every day", "a name that a spreadsheet would calculate is text"
        assert [cell.value for cell in book["By line"][2]][:2] == ["berlin", "press-1"]
        assert found["csv"].decode("utf-8-sig").splitlines()[0] == "'=Every day"
        told = await here.fetch("SELECT event FROM event_outbox WHERE topic LIKE '%analytics%' ORDER BY number")
        assert len(told) == 2
        assert "shift@plant.example" in told[1]["event"]
        async with here.database.session() as session:
            mail = await report_mail(session, 1, made["id"], date.fromisoformat(local.isoformat()))
        assert [file.name for file in mail.files] == [
            f"every-day-{local}.{kind}" for kind in ("csv", "html", "pdf", "xlsx")
        ]


async def test_an_hour_and_a_report_that_cannot_be_made_keep_no_other_one_waiting(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with heard_plant(database_dsn) as (here, analytics):
        await produce(here)
        await here.take((4000, "good", 100))
        await analytics.hear()
        async with here.database.session() as session:
            for name in ("a", "b"):
                await session.execute(
                    "INSERT INTO report_plan (report_id, tenant_id, name, period, zone, at_minute, formats, "
                    "recipients, since, created_by) VALUES ($1, 1, $1, 'day', 'UTC', 0, '{html}', '{}', $2, 'anna')",
                    name,
                    HOUR,
                )
            # what a glitch of a counter has left behind: more than a column of the figures holds
            await session.execute("UPDATE line_minute SET good = 1e13 WHERE end_ns < $1", T0 + 960 * S)
        _, groups = await analytics.oee()
        assert [group["good"] for group in groups] == ["30"]
        assert await here.fetch("SELECT FROM analytics_due WHERE marked > now()"), "it is tried again later"
        made = reports.contents

        async def refused_for_one(session: Any, title: str, choice: Choice) -> Any:
            if title == "a":
                raise ValueError("as a library has it")
            return await made(session, title, choice)

        monkeypatch.setattr(reports, "contents", refused_for_one)
        async with here.database.transaction() as session:
            await mark_passed(session, HOUR + 30 * LENGTH)
        await analytics.oee(now=HOUR + 30 * LENGTH)
        due = reports.DueReports(here.database)
        assert (await due.make(HOUR + 30 * LENGTH), await due.make(HOUR + 30 * LENGTH)) == (1, 0)
        async with here.database.session() as session:
            await session.execute("UPDATE line_minute SET good = 40 WHERE good = 1e13")
            await session.execute("UPDATE analytics_due SET marked = now()")  # ten minutes have passed
        _, groups = await analytics.oee(now=HOUR + 30 * LENGTH)
        assert sum(int(group["good"]) for group in groups) > 30
        assert not await here.fetch("SELECT FROM analytics_due WHERE marked > now()")


async def test_who_may_see_one_line_sees_no_other(database_dsn: str) -> None:
    async with heard_plant(database_dsn) as (here, analytics):
        await produce(here)
        await analytics.hear()
        await analytics.oee()
        async with here.database.session() as session:
            sums = [
                (await questions.oee(session, Choice(1, HOUR, HOUR + LENGTH, places=places), ["line"]))[0]["good"]
                for places in (None, (("berlin", None),), (("berlin", "press-1"),), (("berlin", "x"),), (("x", None),))
            ]
        assert sums == ["70", "70", "70", "0", "0"]


async def test_a_report_is_changed_and_removed_by_who_may_have_it_made_and_not_by_who_may_see_it(
    database_dsn: str,
) -> None:
    body = {"name": "Every day", "site": "berlin", "period": "day"}
    async with plant(database_dsn) as here:
        app = whole_app(here.database)
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=URL, trust_env=False) as client:

            async def ask(method: str, path: str, *grants: Grant) -> httpx.Response:
                app.state.authenticator = Granted(grants)
                headers = {"Authorization": "Bearer x", "Idempotency-Key": f"k{path}", "If-Match": "*"}
                said = {"recipients": ["me@home.example"]} if path.endswith("mail") else body
                return await client.request(method, f"/api/v1/reports{path}", json=said, headers=headers)

            mine, seeing = Grant(Role.PLANNER, "berlin"), (Grant(Role.VIEWER), Grant(Role.PLANNER, "hamburg"))
            made = (await ask("POST", "", mine)).json()["id"]
            body["site"] = "hamburg"
            day = f"{datetime.now(UTC):%Y-%m-%d}"
            files = f"/{made}/made/{day}"
            for method, path in (
                ("PUT", f"/{made}"),
                ("DELETE", f"/{made}"),
                ("POST", files),
                ("POST", f"{files}/mail"),
            ):
                assert (await ask(method, path, *seeing)).status_code == 403, path
            assert (await ask("GET", f"/{made}", *seeing)).json()["site"] == "berlin"
            assert (await ask("DELETE", f"/{made}", mine)).status_code == 204


class Granted:
    """An authenticator to whom everybody is one with ``grants``."""

    def __init__(self, grants: tuple[Grant, ...]) -> None:
        self.grants = grants

    async def principal(self, token: str | None) -> Principal:
        return Principal(1, "user:pia", "pia", "user", self.grants)
