"""Nodes that other people's implementations speak for: decoded and stored, every data type, and nothing lost."""

from __future__ import annotations

import json
from typing import Any, Final

from cloud_ingest.gateway import queries
from cloud_ingest.observability.metrics import TRANSIENT
from connectors.model.delivery import AgentName
from connectors.model.quality import BAD, GOOD, UNCERTAIN_LAST_USABLE_VALUE
from connectors.sparkplug.topics import Topic, Verb
from tests.contract.historian_steps import Counted, RawLogOnPostgres, plant
from tests.contract.test_historian_nodes import NOW_MS
from tests.played_agent import Wire
from tests.servers.sparkplug_peers import Peer

NODE: Final = AgentName("plant", "peer")
HOUR_US: Final = 3_600_000_000


def motor(rpm: int, poles: int) -> dict[str, Any]:
    return {"template": "Motor", "version": "2", "parameters": {"poles": poles}, "members": {"rpm": rpm, "on": True}}


def data_set(first: int) -> dict[str, Any]:
    return {"columns": ["n", "text", "at"], "types": ["Int8", "String", "DateTime"], "rows": [[first, "a", 5]]}


SCALARS: Final[dict[str, tuple[Any, Any]]] = {
    "Int8": (-128, -1),
    "Int16": (-32768, -2),
    "Int32": (-(1 << 31), -3),
    "Int64": (-(1 << 63), -4),
    "UInt8": (255, 0),
    "UInt16": (65535, 1),
    "UInt32": ((1 << 32) - 1, 2),
    "UInt64": (str((1 << 64) - 1), 10),
    "Float": (0.5, -1.25),
    "Double": (1e300, -0.1),
    "Boolean": (True, False),
    "String": ("ä€", ""),
    "DateTime": (NOW_MS, 1),
    "Text": ("text", "t2"),
    "UUID": ("01234567-89ab-cdef-0123-456789abcdef", "u2"),
    "Bytes": (b"\x00\xff", b""),
    "File": (b"MZ", b"\x01"),
}
"""By data type, which is also the metric's name: the value of the birth, and the one that follows."""
STRUCTURED: Final[dict[str, tuple[Any, Any]]] = {
    "DataSet": (data_set(-1), data_set(-2)),
    "Template": (motor(-1480, -2), motor(-1, -3)),
}
ARRAYS: Final[dict[str, tuple[Any, Any]]] = {
    "Int8Array": ([-128, 127], [-1]),
    "Int16Array": ([-32768, 32767], [-1]),
    "Int32Array": ([-(1 << 31), 5], [-1]),
    "Int64Array": ([-(1 << 63), 5], [-1]),
    "UInt8Array": ([0, 255], [1]),
    "UInt16Array": ([0, 65535], [1]),
    "UInt32Array": ([0, (1 << 32) - 1], [1]),
    "UInt64Array": ([(1 << 64) - 1], [1]),
    "FloatArray": ([1.5, -0.25], [0.0]),
    "DoubleArray": ([12.354213, -1e300], [0.0]),
    "BooleanArray": ([True, True, False, True, False, False, True, True, False], [True]),
    "StringArray": (["ABC", "hello"], ["x"]),
    "DateTimeArray": ([1256102875335], [1]),
}


async def test_what_a_peer_writes_is_stored_as_it_was_meant(sparkplug_peer: Peer, database_dsn: str) -> None:
    messages = sparkplug_peer.write(NOW_MS)
    wires = [Wire(str(Topic(NODE, Verb(verb), device)), payload) for verb, device, payload in messages]
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        transient = Counted(TRANSIENT)
        async with made.projecting():
            await made.append(*wires)
            await made.caught_up()
            assert await made.reasons() == []
            assert await made.fetch("SELECT 1 FROM gap") == []
        assert transient.grown() == [1], "a transient value is counted, and not stored"
        found: dict[str, list[tuple[int, Any, int]]] = {}
        for row in sorted(await made.rows(str(NODE)), key=lambda row: row.time_us):
            found.setdefault(row.tag, []).append((row.time_us, row.value, row.quality))
        described = found.pop("Described")
        assert [(value, quality) for _, value, quality in described] == [
            (1.0, GOOD),
            (0.0, UNCERTAIN_LAST_USABLE_VALUE),
            (3.0, GOOD),
        ]
        assert described[1][0] - described[0][0] == HOUR_US, "a historical value keeps its time"
        wanted = SCALARS | STRUCTURED | (ARRAYS if sparkplug_peer.has_arrays else {})
        assert found.keys() == wanted.keys()
        for tag, (first, second) in wanted.items():
            has_json = tag in STRUCTURED or tag in ARRAYS
            values = [json.loads(value) if has_json and value else value for _, value, _ in found[tag]]
            if tag == "UInt64":
                values = [str(value) if value and value > 1 << 63 else value for value in values]
            assert sorted(values, key=repr) == sorted([first, second, *[None] * (len(values) - 2)], key=repr), tag
            nulls = [quality for _, value, quality in found[tag] if value is None]
            assert nulls == ([] if tag in STRUCTURED and not sparkplug_peer.has_arrays else [BAD])
        tags = {tag["tag"]: tag for tag in await queries.tags(made.database, queries.TagChoice())}
        assert {name: tag["type"] for name, tag in tags.items() if name != "Described"} == {
            name: name for name in wanted
        }
        force = tags["Described"]
        assert (force["unit"], force["description"]) == ("kN", "force of the ram")
        assert force["properties"] == {"limits": {"low": -5}, "list": [{"low": -5}]}
