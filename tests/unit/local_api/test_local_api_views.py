"""What the agent says of itself: every number and reason that the screens show, and only what was asked for."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.delivery import Epoch
from connectors.model.errors import OutboxUnavailable
from connectors.model.quality import BAD_NODE_ID_UNKNOWN, BAD_SENSOR_FAILURE, GOOD
from connectors.model.samples import SampleBatch
from connectors.model.tags import TagName, TagType
from connectors.ports.device import TagProblem
from edge_agent.acquisition.current_values import CurrentValues
from edge_agent.buffer.rows import OutboxStatus
from edge_agent.local_api.outbox_files import outbox_files, waiting_bytes
from edge_agent.local_api.views import AgentFacts, AgentView
from edge_agent.observability.metrics import REGISTRY
from edge_agent.uplink.host_clock import HostClock
from edge_agent.uplink.options import Delivery, UplinkState
from tests.inline_outbox import InlineWriter
from tests.virtual_time import START_NS, VirtualClock, virtual_time

TAGS = ("force", "forec", "photo")
SECOND_NS = 1_000_000_000


class PlayedDevice:
    """What the view looks at of a device."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.tag_names = TAGS
        self.current = CurrentValues(len(TAGS))
        self.problems: tuple[TagProblem, ...] = ()
        self.online_since_ns: int | None = START_NS
        self.offline_reason = self.place = ""
        self.samples = 0
        self.measured = 0
        self.connects = 3
        self.place = ""
        self.taken_s: float | None = None
        self.online_since_s = time.monotonic() - 12.0
        double, text = DataType.DOUBLE, DataType.STRING
        self.current.bind([TagType(0, TagName("force"), double, "kN"), TagType(2, TagName("photo"), text)])

    @property
    def is_online(self) -> bool:
        return self.online_since_ns is not None

    def measure_driver(self) -> None:
        self.measured += 1

    def take(self, value: float, quality: int = GOOD) -> None:
        self.samples += 1
        self.current.update(
            SampleBatch(
                DataType.DOUBLE,
                np.array([0], np.int32),
                np.array([START_NS], np.int64),
                np.array([value]),
                np.array([quality], np.uint16),
            )
        )


class Bench:
    """An agent with two devices; its outbox is a real file."""

    def __init__(self, folder: Path) -> None:
        self.writer = InlineWriter(folder)
        self.devices = [PlayedDevice("press"), PlayedDevice("oven")]
        self.state = UplinkState()
        self.collector = SimpleNamespace(
            samples_pending=3, samples_committed=40, blocked_reason="", relief=self.writer.outbox.relief
        )
        facts = AgentFacts(
            "plant/line", "1.2.3", START_NS, True, ("device oven tcp://o",),
            {"press": ("opcua", "opc.tcp://p"), "oven": ("modbus", "tcp://o")},
        )  # fmt: skip
        options = SimpleNamespace(delivery=Delivery.SPARKPLUG, host="lineside")
        uplink = SimpleNamespace(
            unborn={}, options=options, state=self.state, in_flight=2, is_unanswered=True, host_clock=HostClock()
        )
        reader = SimpleNamespace(path=folder / "outbox.db", status=self._status)
        self.view = AgentView(
            facts, cast(Any, self.devices), cast(Any, self.collector), cast(Any, reader), cast(Any, uplink),
            VirtualClock(),
        )  # fmt: skip

    async def _status(self) -> OutboxStatus:
        oldest_ms = START_NS // 1_000_000
        return OutboxStatus(5, 50, 123, oldest_ms, 77, Epoch(0xABC))


async def first(answers: AsyncIterator[Any]) -> Any:
    """The first answer, as JSON makes it."""
    answer = await anext(answers)
    return json.loads(json.dumps(answer, allow_nan=False))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.writer.outbox.close()


async def test_status_tells_devices_uplink_and_outbox(bench: Bench) -> None:
    press, oven = bench.devices
    press.problems = (TagProblem(TagName("forec"), "the server has no such node", BAD_NODE_ID_UNKNOWN),)
    press.take(1.0, BAD_SENSOR_FAILURE)
    oven.online_since_ns, oven.offline_reason = None, "oven: nobody answers"
    bench.state.phase, bench.state.broker, bench.state.acknowledged = "born", "mqtts://b", 9
    status = await first(bench.view.status({}))
    assert (status["agent"], status["version"], status["commissioning"]) == ("plant/line", "1.2.3", True)
    assert status["insecure"] == ["device oven tcp://o"]
    assert (status["delivery"], "what the broker or host then loses is lost" in status["promise"]) == (
        "sparkplug",
        True,
    )
    seen, away = status["devices"]
    assert (seen["device"], seen["driver"], seen["endpoint"], seen["online"]) == ("press", "opcua", "opc.tcp://p", True)
    assert seen["problems"] == [{"tag": "forec", "reason": "the server has no such node"}]
    assert (seen["tags"], seen["bad"], seen["samples"]) == (3, 2, 1)
    assert seen["not_good"] == [{"quality": "BadSensorFailure", "code": "0x808C0000", "tags": 1, "names": ["force"]}]
    assert seen["without_value"] == {"tags": 1, "names": ["photo"]}
    assert (seen["reconnects"], seen["online_s"] // 12, seen["last_sample_s"]) == (2, 1, None)
    assert (away["online"], away["reason"], away["not_good"]) == (False, "oven: nobody answers", [])
    uplink = status["uplink"]
    assert (uplink["phase"], uplink["broker"], uplink["acknowledged"]) == ("born", "mqtts://b", 9)
    assert (uplink["unanswered"], uplink["in_flight"], uplink["host"]) == (True, 2, "lineside")
    outbox = status["outbox"]
    assert (outbox["batches"], outbox["samples"], outbox["newest_batch"]) == (5, 50, 77)
    assert (outbox["samples_pending"], outbox["samples_committed"], outbox["blocked"]) == (3, 40, "")


async def test_a_tag_that_gives_values_and_is_in_doubt_has_them_and_what_is_said_of_it(bench: Bench) -> None:
    press, _ = bench.devices
    said = "the device file says 'type: int32', and the server says that it is a Double"
    press.problems = (TagProblem(TagName("force"), said, GOOD),)
    assert (await first(bench.view.tags({"search": "force"})))[0]["quality"] is None, "there is none yet"
    press.take(12.5)
    force = (await first(bench.view.tags({"search": "force"})))[0]
    assert (force["value"], force["quality"], force["problem"]) == (12.5, "Good", said)
    seen = (await first(bench.view.status({})))["devices"][0]
    assert (seen["bad"], seen["problems"]) == (1, [{"tag": "force", "reason": said}])
    press.take(13.5, BAD_SENSOR_FAILURE)
    force = (await first(bench.view.tags({"search": "force"})))[0]
    assert (force["quality"], force["problem"]) == ("BadSensorFailure", said)
    seen = (await first(bench.view.status({})))["devices"][0]
    assert (seen["bad"], [each["names"] for each in seen["not_good"]]) == (1, [["force"]])


async def test_what_waits_and_what_the_files_take_are_two_numbers(bench: Bench, tmp_path: Path) -> None:
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.db")) as connection:
        (payload,) = connection.execute("SELECT sum(length(payload)) FROM outbox").fetchone()
    outbox = (await first(bench.view.status({})))["outbox"]
    assert outbox["waiting_bytes"] == payload > 0
    assert outbox["database_bytes"] == (tmp_path / "outbox.db").stat().st_size
    assert outbox["wal_bytes"] == (tmp_path / "outbox.db-wal").stat().st_size > payload
    assert outbox["file_bytes"] == outbox["database_bytes"] + outbox["wal_bytes"]


def test_an_outbox_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    assert outbox_files(tmp_path / "none.db").wal_bytes == outbox_files(tmp_path / "none.db").database_bytes == 0
    (tmp_path / "other.db").write_bytes(b"no database" * 100)
    for name in ("none.db", "other.db"):
        with pytest.raises(OutboxUnavailable, match=f"the outbox .*{name} cannot be read"):
            waiting_bytes(tmp_path / name)


async def test_tags_tell_value_quality_unit_and_problem(bench: Bench) -> None:
    press, oven = bench.devices
    press.take(12.5)
    press.problems = (TagProblem(TagName("forec"), "the server has no such node", BAD_NODE_ID_UNKNOWN),)
    oven.take(float("nan"), BAD_SENSOR_FAILURE)
    oven.online_since_ns = None
    tags = await first(bench.view.tags({}))
    assert [(tag["device"], tag["tag"]) for tag in tags] == [(name, tag) for name in ("press", "oven") for tag in TAGS]
    force, forec, photo = tags[:3]
    assert (force["value"], force["unit"], force["type"], force["samples"]) == (12.5, "kN", "Double", 1)
    assert (force["quality"], force["quality_code"], force["time_ns"], force["stale"]) == (
        "Good", "0x00000000", START_NS, False,
    )  # fmt: skip
    assert (forec["quality"], forec["quality_code"], forec["problem"]) == (
        "BadNodeIdUnknown", "0x80340000", "the server has no such node",
    )  # fmt: skip
    assert (photo["value"], photo["quality"], photo["quality_code"], photo["time_ns"]) == (None, None, None, None)
    assert (tags[3]["value"], tags[3]["quality"], tags[3]["stale"]) == ("nan", "BadSensorFailure", True)


@pytest.mark.parametrize(
    ("args", "found"),
    [
        ({"device": "oven"}, ["oven/force", "oven/forec", "oven/photo"]),
        ({"device": None, "search": "FOR"}, ["press/force", "press/forec", "oven/force", "oven/forec"]),
        ({"device": "press", "search": "photo"}, ["press/photo"]),
        ({"search": "nothing"}, []),
    ],
)
async def test_tags_are_chosen_by_device_and_by_a_part_of_the_name(
    bench: Bench, args: Mapping[str, Any], found: list[str]
) -> None:
    tags = await first(bench.view.tags(args))
    assert [f"{tag['device']}/{tag['tag']}" for tag in tags] == found


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ({"device": "ofen"}, "no device 'ofen'; there are press, oven"),
        ({"search": 5}, "'search' is a part of the name of a tag"),
        ({"interval_s": "fast"}, "'interval_s' is a number of seconds"),
        ({"interval_s": True}, "'interval_s' is a number of seconds"),
        ({"interval_s": float("inf")}, "'interval_s' is a number of seconds"),
    ],
)
async def test_what_cannot_be_asked_for_is_said(bench: Bench, args: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        await first(bench.view.watch(args))


@virtual_time
async def test_watch_tells_all_tags_once_and_then_what_changes(bench: Bench) -> None:
    press, oven = bench.devices
    answers = bench.view.watch({"interval_s": 0.5})
    assert len(await first(answers)) == 6
    assert await first(answers) == []
    press.take(2.0)
    press.take(3.0)
    assert [(tag["device"], tag["tag"], tag["value"]) for tag in await first(answers)] == [("press", "force", 3.0)]
    press.problems = (TagProblem(TagName("forec"), "it is gone", BAD_NODE_ID_UNKNOWN),)
    assert [(tag["tag"], tag["problem"]) for tag in await first(answers)] == [("forec", "it is gone")]
    press.problems = ()
    assert [(tag["tag"], tag["problem"]) for tag in await first(answers)] == [("forec", "")]
    oven.online_since_ns = None
    assert [(tag["device"], tag["stale"]) for tag in await first(answers)] == [("oven", True)] * 3
    assert await first(answers) == []


@virtual_time
async def test_watch_never_asks_more_often_than_ten_times_a_second(bench: Bench) -> None:
    answers = bench.view.watch({"interval_s": -5})
    begin_s = asyncio.get_running_loop().time()
    for _ in range(11):
        await first(answers)
    assert asyncio.get_running_loop().time() - begin_s == pytest.approx(1.0)


@virtual_time
async def test_rates_are_those_of_the_last_seconds(bench: Bench) -> None:
    press = bench.devices[0]
    keeping = asyncio.create_task(bench.view.run())
    for _ in range(60):
        await asyncio.sleep(1.0)
        press.samples += 20
    keeping.cancel()
    assert bench.view._rate(cast(Any, press)) == pytest.approx(20.0, rel=0.2)
    assert press.measured > 20


@virtual_time
async def test_the_rate_of_a_device_that_a_reload_has_made_anew_is_never_negative(bench: Bench) -> None:
    keeping = asyncio.create_task(bench.view.run())
    for _ in range(30):
        await asyncio.sleep(1.0)
        bench.devices[0].samples += 20
    bench.devices[0] = made_anew = PlayedDevice("press")
    seen: list[float] = []
    for _ in range(20):
        seen.append(bench.view._rate(cast(Any, made_anew)))
        await asyncio.sleep(1.0)
        made_anew.samples += 20
    keeping.cancel()
    assert min(seen) == 0.0
    assert seen[-1] == pytest.approx(20.0, rel=0.2)


async def test_the_gauges_say_what_the_status_says(bench: Bench) -> None:
    keeping = asyncio.create_task(bench.view.run())
    await asyncio.sleep(0.05)
    keeping.cancel()
    status = await first(bench.view.status({}))
    uplink, outbox = status["uplink"], status["outbox"]
    names = (
        "uplink_lag_seconds",
        "uplink_in_flight_batches",
        "uplink_unanswered",
        "samples_pending",
        "outbox_refusing",
    )
    found = {name: REGISTRY.get_sample_value(f"lineside_{name}") for name in names}
    assert found == {
        "uplink_lag_seconds": pytest.approx(uplink["lag_s"], abs=0.06),
        "uplink_in_flight_batches": uplink["in_flight"],
        "uplink_unanswered": uplink["unanswered"],
        "samples_pending": outbox["samples_pending"],
        "outbox_refusing": outbox["refuses_samples"],
    }
