"""What the cloud side answers: its commands with their exit codes, and its REST API."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from cloud_ingest.gateway.answers import SamplePage, TagPage
from cloud_ingest.gateway.route_table import SOCKET
from cloud_ingest.store.migrate import migrations
from connectors.model.datatypes import DataType
from connectors.model.quality import name_of
from docs.permissions_page import whole_gateway
from tests.played_agent import PlayedAgent, Sample
from tests.servers.databases import Databases
from tests.system.cloud_process import Cloud, eventually, line

MINUTE_NS = 60 * 10**9
BEGIN_NS = (time.time_ns() // MINUTE_NS - 30) * MINUTE_NS
BEGIN = datetime.fromtimestamp(BEGIN_NS / 1e9, UTC)
COUNT = 180


@pytest.fixture
def cloud(tmp_path: Path, mosquitto: MosquittoBroker, database_dsn: str) -> Cloud:
    return Cloud(tmp_path / "cloud", mosquitto.url, database_dsn)


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory, databases: Databases) -> Iterator[Cloud]:
    """A cloud with the samples of one agent: a value a second for three minutes, the last three of every kind.

    One for all tests of this file: questions change nothing.
    """
    folder = tmp_path_factory.mktemp("plant")
    broker = MosquittoBroker(folder / "mosquitto")
    broker.start()
    with databases.with_tables() as dsn:
        cloud = Cloud(folder / "cloud", broker.url, dsn)
        process = cloud.process()
        try:
            cloud.wait_ready(process)
            asyncio.run(_deliver(cloud, broker.url))
            yield cloud
        finally:
            process.kill()
            broker.stop()


async def _deliver(cloud: Cloud, broker: str) -> None:
    agent = PlayedAgent()
    types = {"force": DataType.DOUBLE, "state": DataType.STRING, "count": DataType.UINT64, "Running": DataType.BOOLEAN}
    wires = [agent.start(), agent.define("press", types, unit="kN")]
    force = [Sample("force", BEGIN_NS + n * 10**9, float(n)) for n in range(COUNT)]
    force += [
        Sample("force", BEGIN_NS + COUNT * 10**9, None, 0x8000),
        Sample("force", BEGIN_NS + (COUNT + 1) * 10**9, float("nan")),
        Sample("force", BEGIN_NS + (COUNT + 2) * 10**9, float("inf"), 0x4090),
    ]
    others = [
        Sample("state", BEGIN_NS, "läuft"),
        Sample("count", BEGIN_NS, (1 << 64) - 1),
        Sample("Running", BEGIN_NS, True),
    ]
    wires += [agent.samples("press", force), agent.samples("press", others)]
    wires += [agent.gap("press", "device_unavailable", BEGIN_NS, BEGIN_NS + 10**9, count=3, detail="unplugged")]
    async with line(broker) as connection:
        connection.send(agent.born(1, version="1.2.3"), agent.device_born("press"))
        await connection.deliver(agent, *wires, first=1)
    await eventually(lambda: [entry["arrived"] for entry in cloud.get("/api/v1/ledger").json()] == [len(wires)])


def test_the_api_answers(plant: Cloud) -> None:
    (agent,) = plant.get("/api/v1/agents").json()
    assert {key: agent[key] for key in ("agent", "tenant", "acknowledges", "online", "version", "tags")} == {
        "agent": "plant/line-1",
        "tenant": "default",
        "acknowledges": True,
        "online": True,
        "version": "1.2.3",
        "tags": 4,
    }
    assert [(device["device"], device["online"]) for device in agent["devices"]] == [("press", True)]
    assert plant.get("/api/v1/agents", agent="plant/line-9").json() == []

    first = plant.get("/api/v1/tags", limit=3).json()
    rest = plant.get("/api/v1/tags", limit=3, after=first["next"]).json()
    tags = {tag["tag"]: tag for tag in first["tags"] + rest["tags"]}
    assert {name: (tag["type"], tag["unit"], tag["device"]) for name, tag in tags.items()} == {
        "force": ("Double", "kN", "press"),
        "state": ("String", "kN", "press"),
        "count": ("UInt64", "kN", "press"),
        "Running": ("Boolean", "kN", "press"),
    }
    assert rest["next"] is None
    assert [tag["tag"] for tag in plant.get("/api/v1/tags", search="RUN").json()["tags"]] == ["Running"]

    values = {name: plant.get("/api/v1/samples", tag_id=tag["tag_id"], **{"from": BEGIN.isoformat()}).json()["samples"]
              for name, tag in tags.items()}  # fmt: skip
    assert [sample["value"] for sample in values["state"] + values["count"] + values["Running"]] == [
        "läuft",
        str((1 << 64) - 1),
        True,
    ]
    assert [(sample["value"], sample["quality"]) for sample in values["force"][COUNT:]] == [
        (None, "Bad"),
        ("nan", "Good"),
        ("inf", name_of(0x4090)),
    ]

    (ledger,) = plant.get("/api/v1/ledger", agent="plant/line-1").json()
    assert ledger["settled"]
    settled = plant.get("/api/v1/ledger/settled").json()
    assert settled == {"settled": True, "unassigned_dead_letters": 0, "event_letters": 0}
    assert (ledger["arrived"], ledger["missing"], ledger["samples"]) == (5, 0, COUNT + 6)
    assert [(gap["reason"], gap["samples"], gap["detail"]) for gap in ledger["gaps"]] == [
        ("device_unavailable", 3, "unplugged")
    ]


def test_long_answers_are_as_their_models_say(plant: Cloud) -> None:
    page = plant.get("/api/v1/tags")
    assert TagPage.model_validate_json(page.content).model_dump_json().encode() == page.content
    for tag in page.json()["tags"]:
        for more in ({}, {"limit": 1}, {"bucket": "1m"}, {"bucket": "1m", "limit": 1}):
            asked = {"tag_id": tag["tag_id"], "from": BEGIN.isoformat(), **more}
            answer = plant.get("/api/v1/samples", **asked)
            assert SamplePage.model_validate_json(answer.content).model_dump_json().encode() == answer.content


def pages(plant: Cloud, field: str, **parameters: Any) -> list[dict[str, Any]]:
    """All pages of samples or buckets of the tag force."""
    found: list[dict[str, Any]] = []
    begin: str | None = parameters.pop("begin", BEGIN.isoformat())
    while begin is not None:
        page = plant.get(
            "/api/v1/samples", agent="plant/line-1", device="press", tag="force", **{"from": begin}, **parameters
        ).json()
        found += page[field]
        begin = page["next"]
    return found


def test_pages_follow_each_other_without_a_gap(plant: Cloud) -> None:
    end = (BEGIN + timedelta(seconds=COUNT)).isoformat()
    whole = pages(plant, "samples", to=end)
    assert [sample["value"] for sample in whole] == [float(n) for n in range(COUNT)]
    assert pages(plant, "samples", to=end, limit=7) == whole

    begin = (BEGIN + timedelta(seconds=30)).isoformat()
    minutes = pages(plant, "buckets", begin=begin, bucket="1m")
    assert [(bucket["count"], bucket["good"], bucket["mean"], bucket["min"], bucket["max"]) for bucket in minutes] == [
        (30, 30, 44.5, 30.0, 59.0),
        (60, 60, 89.5, 60.0, 119.0),
        (60, 60, 149.5, 120.0, 179.0),
        (3, 1, None, None, None),
    ]
    assert pages(plant, "buckets", begin=begin, bucket="1m", limit=1) == minutes


BAD = [
    ("/api/v1/samples", {}, 400, "name the tag by 'tag_id'"),
    ("/api/v1/samples", {"tag_id": "force"}, 400, "tag_id: "),
    ("/api/v1/samples", {"tag_id": 1 << 40}, 400, "tag_id: "),
    ("/api/v1/samples", {"tag_id": 1_000_000}, 404, "there is no tag id 1000000"),
    ("/api/v1/samples", {"agent": "plant/line-1", "tag": "torque"}, 404, "there is no tag 'torque'"),
    ("/api/v1/samples", {"tag_id": 1, "from": "yesterday"}, 400, "from: "),
    ("/api/v1/samples", {"tag_id": 1, "from": "2026-11-22T08:00:00"}, 400, "need a time zone"),
    ("/api/v1/samples", {"tag_id": 1, "from": "2026-11-22T08:00:00Z", "to": "2026-11-21T08:00:00Z"}, 400, "later than"),
    ("/api/v1/samples", {"tag_id": 1, "from": "0001-01-01T00:00:00+14:00"}, 400, ""),
    ("/api/v1/samples", {"tag_id": 1, "to": "0001-01-01T00:00:00Z"}, 400, ""),
    ("/api/v1/samples", {"tag_id": 1, "bucket": "soon"}, 400, "bucket: "),
    ("/api/v1/samples", {"tag_id": 1, "bucket": "0s"}, 400, "bucket: "),
    ("/api/v1/samples", {"tag_id": 1, "bucket": "99999999d"}, 400, "bucket: "),
    ("/api/v1/samples", {"tag_id": 1, "limit": 0}, 400, "limit: "),
    ("/api/v1/samples", {"tag_id": 1, "limit": 1_000_000}, 400, "limit: "),
    ("/api/v1/samples", {"tag_id": 1, "form": "2026-11-22T08:00:00Z"}, 400, "there is no parameter form here"),
    ("/api/v1/samples", {"agent": "a\0b", "tag": "x"}, 400, "does not take"),
    ("/api/v1/tags", {"after": -1}, 400, "after: "),
    ("/api/v1/tags", {"after": 1 << 40}, 400, "after: "),
    ("/api/v1/tags", {"search": "\0"}, 400, "does not take"),
    ("/api/v1/ledger", {"agents": "plant/line-1"}, 400, "known are agent"),
    ("/api/v1/nowhere", {}, 404, "/api/docs"),
]


def test_a_request_that_cannot_be_answered_gets_a_problem(plant: Cloud) -> None:
    for path, parameters, status, detail in BAD:
        answer = plant.get(path, **parameters)
        assert answer.status_code == status, (path, parameters, answer.text)
        assert answer.headers["content-type"] == "application/problem+json", (path, parameters)
        problem = answer.json()
        assert problem["status"] == status
        assert detail in problem["detail"], (path, parameters, problem)


def test_the_api_describes_itself(plant: Cloud) -> None:
    document = plant.get("/api/openapi.json").json()
    assert set(document["paths"]) == {route.path for route in whole_gateway() if route.method != SOCKET}
    asked = {parameter["name"] for parameter in document["paths"]["/api/v1/samples"]["get"]["parameters"]}
    assert asked == {"tag_id", "agent", "device", "tag", "from", "to", "bucket", "limit"}
    assert plant.get("/api/docs").status_code == 200
    assert (plant.get("/healthz").json()["status"], plant.get("/readyz").json()["status"]) == ("ok", "ok")
    assert plant.metric("lineside_ingest_broker_online") == 1


@pytest.mark.slow
def test_the_commands_answer(plant: Cloud) -> None:
    def answer(*arguments: str, said: str = "") -> Any:
        done = plant.command(*arguments, "--json")
        assert (done.returncode, done.stderr.partition(" shown")[0]) == (0, said)
        return json.loads(done.stdout)

    (agent,) = answer("agents")
    assert (agent["agent"], agent["online"]) == ("plant/line-1", True)
    (tag,) = answer("tags", "--agent", "plant/line-1", "--device", "press", "--search", "forc")
    samples = answer("query", str(tag["tag_id"]), "--from", BEGIN.isoformat(), "--count", "3", said="3 samples")
    assert [sample["value"] for sample in samples] == [0.0, 1.0, 2.0]
    buckets = answer("query", str(tag["tag_id"]), "--from", BEGIN.isoformat(), "--bucket", "1m")
    assert [bucket["count"] for bucket in buckets] == [60, 60, 60, 3]
    ledger = answer("ledger", "--agent", "plant/line-1")
    assert (ledger["agents"][0]["missing"], ledger["unassigned_dead_letters"]) == (0, 0)
    assert answer("migrate") == {"applied": [], "timescaledb": False}

    for arguments, shown in (
        (["agents"], "plant/line-1"),
        (["tags"], "force"),
        (["query", str(tag["tag_id"]), "--from", BEGIN.isoformat()], "Good"),
        (["query", f"plant/line-1/press/{tag['tag']}", "--from", BEGIN.isoformat()], "Good"),
        (["ledger"], "missing 0"),
        (["migrate"], "nothing to do"),
        (["check"], "valid"),
    ):
        done = plant.command(*arguments)
        assert (done.returncode, done.stderr) == (0, ""), arguments
        assert shown in done.stdout, arguments

    for arguments, code, said in (
        (["query", "999999"], 1, "there is no tag id 999999; `cloud-ingest tags` lists the tags with their ids"),
        (["query", "1", "--bucket", "soon"], 2, "soon"),
        (["query", "1", "--bucket", "0s"], 2, "is not between 1ms"),
        (["query", "1", "--from", "soon"], 2, "is not a time"),
        (["query", "1", "--from", "2026-11-22T08:00"], 2, "has no time zone; write 2026-11-22T08:00:00Z"),
        (["query", "1", "--from", "2200-01-01T00:00:00Z"], 2, "'from' is later than 'to'"),
        (["query", "1", "--to", "0001-01-01T00:00:00Z"], 2, "'to' is too early"),
        (["query", "force"], 2, "'force' is no tag: write GROUP/AGENT/DEVICE/TAG, or its id"),
        (["query", "99999999999"], 2, "'99999999999' is no tag"),
        (["query", "plant/line-1/press/forc"], 1, "there is no tag 'forc' of device 'press' of agent 'plant/line-1'"),
        (["run", "--roles", "ingest,historan"], 2, "unknown roles: historan"),
    ):
        done = plant.command(*arguments)
        assert (done.returncode, done.stdout) == (code, ""), arguments
        assert said in in_one_line(done.stderr), (arguments, done.stderr)


def in_one_line(text: str) -> str:
    """What a message says, out of the frame that wraps it."""
    return " ".join(text.replace("│", " ").split())


@pytest.mark.slow
def test_a_table_that_is_not_all_says_so_and_the_next_part_follows_without_a_gap(plant: Cloud) -> None:
    (tag,) = json.loads(plant.command("tags", "--search", "force", "--json").stdout)
    values: list[str] = []
    begin = BEGIN.isoformat()
    for shown in (100, COUNT + 3 - 100):
        done = plant.command("query", str(tag["tag_id"]), "--from", begin)
        assert (done.returncode, done.stderr) == (0, "")
        heading, *rows = done.stdout.splitlines()
        assert heading.split() == ["time", "(UTC)", "value", "quality"]
        if shown == 100:
            note = rows.pop()
            assert note.startswith("100 samples shown, which are the first; more follow. The next: --from 20")
            assert "--count 1000" in note
            begin = note.split("--from ")[1].split()[0]
        values += [row.split()[1] for row in rows]
        assert len(rows) == shown
    assert values[:COUNT] == [f"{number}" for number in range(COUNT)]

    empty = plant.command("query", str(tag["tag_id"]), "--to", "2020-01-01T00:00:00Z")
    span = "from 2019-12-31T23:00:00.000000Z to 2020-01-01T00:00:00.000000Z"
    assert empty.stdout == f"no samples {span}; --from and --to choose another time\n"


@pytest.mark.slow
def test_commands_before_the_first_migration_and_without_a_database(
    tmp_path: Path, mosquitto: MosquittoBroker, empty_database_dsn: str, postgres_server: PostgresServer
) -> None:
    cloud = Cloud(tmp_path / "cloud", mosquitto.url, empty_database_dsn)
    done = cloud.command("agents")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "the database has no tables yet; run 'cloud-ingest migrate'\n"
    done = cloud.command("migrate", "--json")
    names = [f"{migration.number:04d}_{migration.name}" for migration in migrations()]
    assert (done.returncode, json.loads(done.stdout)) == (0, {"applied": names, "timescaledb": False})
    for command in ("agents", "ledger", "tags"):
        done = cloud.command(command)
        assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(cloud.command("agents", "--json").stdout) == []
    postgres_server.stop()
    for command in (["migrate"], ["ledger"], ["agents"], ["tags"], ["query", "1"]):
        done = cloud.command(*command)
        assert (done.returncode, done.stdout) == (3, ""), command
        assert "cannot be reached" in done.stderr


def test_a_database_of_a_newer_version_is_left_alone(cloud: Cloud, database_dsn: str) -> None:
    from connectors.postgres.database import open_database

    async def make_newer() -> None:
        database = await open_database(database_dsn, connections_max=1, application_name="tests")
        async with database.session() as session:
            await session.execute(
                "INSERT INTO schema_migration (number, name, fingerprint) VALUES (9999, 'later', 'x')"
            )
        await database.close()

    assert cloud.command("migrate").returncode == 0
    asyncio.run(make_newer())
    for command in (["migrate"], ["run"]):
        done = cloud.command(*command)
        assert done.returncode == 1
        assert "install the newer version" in done.stderr
