"""What is known of nodes that come late, die or are not heard of, in PostgreSQL: gaps, rebirths, and stale tags."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cloud_ingest.gateway import queries
from cloud_ingest.historian.nodes import SEQUENCE_GAP
from cloud_ingest.ingest.host_book import HostBook
from connectors.model.delivery import AgentName
from connectors.sparkplug.topics import Verb
from tests.contract.historian_steps import Plant, RawLogOnPostgres, plant
from tests.contract.test_historian_nodes import NOW_MS, Node
from tests.played_agent import PlayedAgent

HOST = "lineside"


async def stale(made: Plant) -> dict[tuple[str, str], bool]:
    """By device and tag."""
    found = await queries.tags(made.database, queries.TagChoice())
    return {(tag["device"], tag["tag"]): tag["stale"] for tag in found}


async def wanted(made: Plant) -> tuple[bool, bool]:
    """Whether a rebirth is wanted, and whether it is due."""
    (row,) = await made.fetch("SELECT rebirth_wanted IS NOT NULL AS wanted, rebirth_wanted <= now() AS due FROM agent")
    return row["wanted"], bool(row["due"])


async def gaps(made: Plant) -> int:
    (row,) = await made.fetch("SELECT count(*) AS n FROM gap WHERE reason = $1", SEQUENCE_GAP)
    return int(row["n"])


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-host-reordering-start", "tck-id-operational-behavior-host-reordering-success"
)
async def test_a_message_that_comes_late_takes_its_gap_and_the_rebirth_back(database_dsn: str) -> None:
    node = Node()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made, made.projecting(reorder_ms=300_000):
        await made.append(*node.births(), node.force(1.0))
        await made.caught_up()
        overtaken, following = node.force(2.0), node.force(3.0)
        await made.append(following)
        await made.caught_up()
        assert (await wanted(made), await gaps(made)) == ((True, False), 1), "declared at once, asked for later"
        await made.append(overtaken)
        await made.caught_up()
        assert (await wanted(made), await gaps(made)) == ((False, False), 0)
        values = await made.fetch("SELECT value_double FROM sample JOIN tag USING (tag_id) WHERE name = 'Force'")
        assert sorted(row["value_double"] for row in values) == [1.0, 1.5, 2.0, 3.0]


@pytest.mark.sparkplug("tck-id-operational-behavior-host-reordering-rebirth")
async def test_what_does_not_come_within_the_reorder_timeout_is_asked_for(database_dsn: str) -> None:
    node = Node()
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made, made.projecting(reorder_ms=300_000):
        await made.append(*node.births())
        node.force(1.0)
        await made.append(node.force(2.0))
        await made.caught_up()
        book = HostBook(made.database, HOST)
        assert await book.rebirths_due() == []
        await made.fetch("UPDATE agent SET rebirth_wanted = rebirth_wanted - interval '300 seconds' RETURNING 1")
        assert await book.rebirths_due() == [node.name]
        assert await gaps(made) == 1


async def test_a_node_is_asked_once_a_second_at_most_whoever_asks(database_dsn: str) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        for number in range(20):
            node = Node()
            node.name = AgentName("plant", f"node-{number}")
            await made.append(node.force(1.0))
        async with made.projecting():
            await made.caught_up()
        # As if they had been asked just now, however long this machine has taken since.
        want = (
            "UPDATE agent SET rebirth_wanted = now(), rebirth_asked = rebirth_asked + (now() - rebirth_asked) "
            "RETURNING 1"
        )
        asked: list[AgentName] = []
        for _ in range(5):
            await made.fetch(want)
            hosts = [HostBook(made.database, f"host-{number}") for number in range(6)]
            asked += [node for due in await asyncio.gather(*(book.rebirths_due() for book in hosts)) for node in due]
        assert sorted(str(node) for node in asked) == sorted(f"plant/node-{number}" for number in range(20))
        await made.fetch("UPDATE agent SET rebirth_asked = rebirth_asked - interval '1 second' RETURNING 1")
        assert len(await hosts[0].rebirths_due()) == 20, "a second later they may be asked again"


@pytest.mark.sparkplug(
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ddeath-devices-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-node-tags-stale",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-offline",
    "tck-id-operational-behavior-edge-node-termination-host-action-ndeath-devices-tags-stale",
)
@pytest.mark.parametrize("acknowledges", [False, True])
async def test_what_a_death_ends_is_offline_since_then_and_its_tags_are_stale(
    database_dsn: str, acknowledges: bool
) -> None:
    node, agent = Node(), PlayedAgent()
    agent.name = node.name
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made, made.projecting():
        await HostBook(made.database, HOST).came("mqtts://one", NOW_MS - 1000)
        if acknowledges:
            await made.append(
                agent.start(), agent.define("press", {"Force": 10}), agent.born(), agent.device_born("press")
            )
        else:
            await made.append(*node.births())
        await made.caught_up()
        assert set((await stale(made)).values()) == {False}
        died_ms = NOW_MS - 7_000
        await made.append(node.message(Verb.DDEATH, "press", at_ms=died_ms))
        await made.caught_up()
        (device,) = await made.fetch(
            "SELECT online, (extract(epoch FROM online_changed)*1000)::bigint AS ms FROM device"
        )
        assert (device["online"], device["ms"]) == (False, died_ms), "the time that the DDEATH says"
        assert await stale(made) == {key: key[0] == "press" for key in await stale(made)}
        await made.append(node.message(Verb.NDEATH, at_ms=died_ms), received_ms=NOW_MS + 5)
        await made.caught_up()
        (row,) = await made.fetch("SELECT online, (extract(epoch FROM online_changed)*1000)::bigint AS ms FROM agent")
        assert (row["online"], row["ms"]) == (False, NOW_MS + 5), "the host's own time"
        assert set((await stale(made)).values()) == {True}


@pytest.mark.sparkplug("tck-id-g")
async def test_without_a_host_on_the_broker_every_tag_is_stale_until_its_node_is_heard_of(database_dsn: str) -> None:
    node, soon_ms = Node(), NOW_MS + 3_600_000  # a node that is new is heard of now
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made, made.projecting():
        book = HostBook(made.database, HOST)
        await made.append(*node.births(), received_ms=soon_ms)
        await made.caught_up()
        assert set((await stale(made)).values()) == {True}, "no host has ever come"
        await book.came("mqtts://one", soon_ms - 10)
        assert set((await stale(made)).values()) == {False}
        await book.left(soon_ms - 10, soon_ms + 100)
        assert set((await stale(made)).values()) == {True}
        await book.came("mqtts://two", soon_ms + 200)
        assert set((await stale(made)).values()) == {True}, "the node may have died in the meantime"
        await made.append(node.force(2.0), received_ms=soon_ms + 300)
        await made.caught_up()
        assert set((await stale(made)).values()) == {False}
        await made.fetch("UPDATE host SET alive = now() - interval '16 seconds' RETURNING 1")
        assert set((await stale(made)).values()) == {True}, "its process was killed"
        await book.rebirths_due()
        assert set((await stale(made)).values()) == {False}


async def test_a_host_that_leaves_says_nothing_of_the_one_that_has_come_since(database_dsn: str) -> None:
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made:
        book = HostBook(made.database, HOST)
        await book.came("mqtts://one", NOW_MS)
        await book.came("mqtts://one", NOW_MS + 1)
        await book.left(NOW_MS, NOW_MS + 2)
        rows: list[Any] = await made.fetch("SELECT online FROM host")
        assert [row["online"] for row in rows] == [True]


@pytest.mark.sparkplug("tck-id-topic-structure-namespace-duplicate-device-id-across-edge-node")
async def test_devices_of_one_id_below_two_nodes_are_two(database_dsn: str) -> None:
    nodes = [Node(), Node()]
    nodes[1].name = AgentName("plant", "other")
    async with plant(RawLogOnPostgres(database_dsn), database_dsn) as made, made.projecting():
        for node in nodes:
            await made.append(*node.births())
        await made.append(nodes[0].message(Verb.DDEATH, "press"))
        await made.caught_up()
        rows = await made.fetch(
            "SELECT agent.name, device.online FROM device JOIN agent USING (agent_id) ORDER BY agent.name"
        )
        assert [tuple(row.values()) for row in rows] == [("other", True), ("stranger", False)]
        assert len(await queries.tags(made.database, queries.TagChoice(device="press"))) == 4
