"""Packages and rollouts on a real database: taken once, fetched by an agent's downloader, carried on after any end."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest
from prometheus_client import CollectorRegistry

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.commands import audit
from cloud_ingest.commands.outgoing import end_by_time
from cloud_ingest.commands.requests import Taken
from cloud_ingest.commands.rules import UNFINISHED_MS
from cloud_ingest.gateway.app import make_app
from cloud_ingest.gateway.server import serve
from cloud_ingest.observability.obstacles import OBSTACLES, Obstacles, fault_of
from cloud_ingest.releases import ending, packages, rollouts
from cloud_ingest.releases.ending import TakenBack
from cloud_ingest.releases.rollouts import TASK, Asked, Rollouts
from cloud_ingest.releases.rules import AWAY_MS_MAX, INSTALL_MS_MAX
from connectors.commands.envelope import HEALTH_S_MAX
from connectors.commands.states import CommandState
from connectors.model.delivery import AgentName
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.database import Session
from connectors.releases.package import file_sha256
from edge_agent.releases.download import DownloadFailed, Gateway, download
from tests.contract.command_steps import TENANT, Office, office
from tests.patience import WAIT_S_MAX
from tests.unit.releases import packages as made

AGENTS = ["plant/line-1", "plant/line-2", "plant/line-3"]
SOAK_S = 600.0


class Fleet:
    """An office with three agents and a release."""

    def __init__(self, here: Office, sha256: str) -> None:
        self.here, self.sha256 = here, sha256
        self.rollouts = Rollouts(here.database, here.clock, here.requests)

    async def start(self, *groups: list[str], failures_max: int = 0) -> int:
        asked = Asked("1.1.0", groups or ([AGENTS[0]], ["plant/*"]), SOAK_S, failures_max)
        return await rollouts.start(self.here.database, self.here.clock, TENANT, asked, by="anna")

    async def asked(self) -> list[str]:
        """Who was asked to install something, in order."""
        rows = await self.here.fetch(
            "SELECT group_name || '/' || name AS agent FROM command JOIN agent USING (agent_id) "
            "WHERE action LIKE '%install_release%' ORDER BY command_id"
        )
        return [row["agent"] for row in rows]

    async def becomes(self, agent: str, state: CommandState, version: str = "1.1.0") -> None:
        """The agent's command ends so, and it is born with ``version``."""
        now_ms = self.here.clock.now_ns() // 1_000_000
        await self.here.fetch(
            "UPDATE command SET state = $2, changed_ms = $3 FROM agent WHERE agent.agent_id = command.agent_id "
            "AND group_name || '/' || name = $1 RETURNING 1",
            agent,
            state.value,
            now_ms,
        )
        await self.is_online(agent, online=True, version=version)

    async def is_online(self, agent: str, *, online: bool, version: str = "1.1.0") -> None:
        await self.here.fetch(
            "UPDATE agent SET online = $2, version = $3, online_changed = CASE WHEN online <> $2 "
            "THEN to_timestamp($4::bigint / 1000.0) ELSE online_changed END "
            "WHERE group_name || '/' || name = $1 RETURNING 1",
            agent,
            online,
            version,
            self.here.clock.now_ms(),
        )

    async def stop(self, number: int) -> TakenBack:
        office = self.here
        return await ending.stop(
            office.database, office.clock, office.requests, TENANT, number, by="berta", reason="wrong release"
        )

    async def commands(self) -> dict[str, tuple[str, str | None]]:
        """State and cancellation of the command of each agent that has one."""
        rows = await self.here.fetch(
            "SELECT group_name || '/' || name AS agent, state, cancellation FROM command JOIN agent USING (agent_id)"
        )
        return {row["agent"]: (row["state"], row["cancellation"]) for row in rows}

    async def shown(self, number: int) -> tuple[str, str]:
        found = await rollouts.shown(self.here.database, self.here.clock, TENANT, number)
        return found["state"], found["reason"]

    def soaks(self) -> None:
        self.here.clock.ahead_ms += round(SOAK_S * 1000)


@asynccontextmanager
async def fleet(dsn: str, folder: Path) -> AsyncIterator[Fleet]:
    async with office(dsn) as here:
        for name in AGENTS:
            await here.prepare(AgentName(*name.split("/")))
        package = await packages.add(here.database, here.clock, TENANT, made.package(folder), by="anna")
        yield Fleet(here, package.sha256)


async def test_the_canary_first_then_after_the_soak_the_others(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        number = await here.start()
        for _ in range(3):
            await here.rollouts.look()
        assert await here.asked() == [AGENTS[0]], "once, however often it is looked at"
        await here.becomes(AGENTS[0], CommandState.SUCCEEDED)
        await here.rollouts.look()
        assert await here.asked() == [AGENTS[0]]
        assert "soaks" in (await here.shown(number))[1]
        here.soaks()
        await here.is_online(AGENTS[0], online=False)
        await here.rollouts.look()
        assert await here.asked() == [AGENTS[0]], "it is not online any more"
        await here.is_online(AGENTS[0], online=True, version="1.0.0")
        await here.rollouts.look()
        assert await here.asked() == [AGENTS[0]], "it runs another version"
        await here.is_online(AGENTS[0], online=True)
        await here.rollouts.look()
        assert sorted(await here.asked()) == AGENTS
        for agent in AGENTS[1:]:
            await here.becomes(agent, CommandState.SUCCEEDED)
        here.soaks()
        await here.rollouts.look()
        assert await here.shown(number) == ("done", "3 of 3 agents run it")
        assert await audit.verify(here.here.database) == (6, []), "added, started, three asked, done"


async def test_an_agent_that_goes_away_long_after_its_soak_halts_nothing(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        number = await here.start([AGENTS[0]], [AGENTS[1]], [AGENTS[2]])
        await here.rollouts.look()
        await here.becomes(AGENTS[0], CommandState.SUCCEEDED)
        here.here.clock.ahead_ms += 2 * (round(SOAK_S * 1000) + AWAY_MS_MAX)
        await here.is_online(AGENTS[0], online=False)
        await here.rollouts.look()
        assert (await here.shown(number))[0] == "running", "it has just gone"
        assert await here.asked() == [AGENTS[0]]
        await here.is_online(AGENTS[0], online=True)
        await here.rollouts.look()
        assert await here.asked() == AGENTS[:2]
        await here.is_online(AGENTS[0], online=False)
        here.here.clock.ahead_ms += 2 * AWAY_MS_MAX
        await here.becomes(AGENTS[1], CommandState.SUCCEEDED)
        here.soaks()
        await here.rollouts.look()
        assert await here.asked() == AGENTS, "the group that it is in was through"


async def test_an_installation_that_outlasts_its_command_is_waited_for(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        number = await here.start([AGENTS[0]], [AGENTS[1]])
        await here.rollouts.look()
        await here.becomes(AGENTS[0], CommandState.EXECUTING)
        here.here.clock.ahead_ms += 3_600_000 + UNFINISHED_MS
        assert await end_by_time(here.here.database, here.here.clock.now_ms()) == 1
        assert (await here.commands())[AGENTS[0]][0] == "unknown"
        await here.rollouts.look()
        assert (await here.shown(number))[0] == "running"
        await here.becomes(AGENTS[0], CommandState.SUCCEEDED)
        here.soaks()
        await here.rollouts.look()
        assert await here.asked() == AGENTS[:2]
        await here.becomes(AGENTS[1], CommandState.EXECUTING)
        here.here.clock.ahead_ms += 3_600_000 + INSTALL_MS_MAX
        assert await end_by_time(here.here.database, here.here.clock.now_ms()) == 1
        await here.rollouts.look()
        assert (await here.shown(number))[0] == "halted", "not for ever"


async def test_a_failed_canary_halts_it_for_good(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        number = await here.start()
        await here.rollouts.look()
        await here.becomes(AGENTS[0], CommandState.FAILED, version="1.0.0")
        await here.rollouts.look()
        state, reason = await here.shown(number)
        assert (state, reason.startswith(f"{AGENTS[0]}: failed")) == ("halted", True)
        here.soaks()
        await here.rollouts.look()
        assert await here.asked() == [AGENTS[0]]


async def test_a_process_that_ends_after_asking_asks_nobody_twice(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        await here.start(["plant/*"])
        await here.rollouts.look()
        first = await here.asked()
        assert sorted(first) == AGENTS
        await here.here.fetch("UPDATE rollout_agent SET command_id = NULL RETURNING 1")  # not written before its end
        await Rollouts(here.here.database, here.here.clock, here.here.requests).look()
        assert await here.asked() == first
        rows = await here.here.fetch("SELECT command_id FROM rollout_agent")
        assert all(row["command_id"] for row in rows)


async def test_a_stopped_one_takes_back_what_was_not_sent(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        number = await here.start()
        await here.rollouts.look()
        assert await here.stop(number) == TakenBack(unsent=1, told=0)
        assert await here.shown(number) == ("stopped", "wrong release")
        assert await here.commands() == {AGENTS[0]: ("cancelled", None)}
        with pytest.raises(RequestRefused, match="no rollout"):
            await here.stop(number)


@pytest.mark.parametrize("halts", [True, False])
async def test_after_its_end_nobody_begins_to_install_it(database_dsn: str, tmp_path: Path, halts: bool) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        await here.here.prepare(AgentName("plant", "line-4"))
        number = await here.start(["plant/*"])
        await here.rollouts.look()
        assert len(await here.asked()) == 4
        for agent, state in zip(AGENTS, ("failed", "sent", "executing"), strict=True):
            await here.becomes(agent, CommandState(state))
        if halts:
            await here.rollouts.look()
            assert (await here.shown(number))[0] == "halted"
        else:
            assert await here.stop(number) == TakenBack(unsent=1, told=1)
        commands = await here.commands()
        assert commands["plant/line-4"] == ("cancelled", None), "it may be away: it is not sent it when it comes back"
        assert commands[AGENTS[1]][0] == "sent"
        assert json.loads(commands[AGENTS[1]][1] or "")["reason"].startswith(f"rollout {number}")
        assert commands[AGENTS[2]] == ("executing", None)
        assert await here.rollouts.look()
        assert await here.commands() == commands, "once"
        assert (await audit.verify(here.here.database))[1] == []


async def test_what_a_process_that_ended_has_left_is_taken_back_by_the_next(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        number = await here.start(["plant/*"])
        await here.rollouts.look()
        await ending.end(here.here.database, here.here.clock, TENANT, number, "halted", "line-9", by="cloud")
        await Rollouts(here.here.database, here.here.clock, here.here.requests).look()
        assert {state for state, _ in (await here.commands()).values()} == {"cancelled"}


async def test_a_stop_while_it_is_sent_is_the_last_that_is_asked_for(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        number = await here.start(["plant/*"])
        take, taken = here.here.requests.take, 0

        async def stopped_meanwhile(*args: Any, **named: Any) -> Taken:
            nonlocal taken
            taken += 1
            if taken == 2:
                assert await here.stop(number) == TakenBack(unsent=1, told=0)
            return await take(*args, **named)

        monkeypatch.setattr(here.here.requests, "take", stopped_meanwhile)
        assert await here.rollouts.look()
        assert taken == 2
        assert await here.commands() == {AGENTS[0]: ("cancelled", None)}
        assert await here.shown(number) == ("stopped", "wrong release")


async def test_what_cannot_be_started_is_refused(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        office = here.here
        for groups, code in (
            ((), "no_groups"),
            ((["other/*"],), "empty_group"),
            ((["plant/*"], ["plant/line-1"]), "empty_group"),
        ):
            with pytest.raises(RequestRefused) as caught:
                await rollouts.start(office.database, office.clock, TENANT, Asked("1.1.0", groups, SOAK_S), by="anna")
            assert caught.value.code == code
        with pytest.raises(RequestRefused, match="no release 2"):
            await rollouts.start(
                office.database, office.clock, TENANT, Asked("2.0.0", [["plant/*"]], SOAK_S), by="anna"
            )
        await here.start()
        with pytest.raises(RequestRefused, match="stop it before"):
            await here.start([AGENTS[0]])
        assert len(await rollouts.listed(office.database, TENANT)) == 1


@pytest.mark.parametrize(("health_s", "expires_s"), [(HEALTH_S_MAX + 1, 3600), (4, 3600), (300, 0), (300, 31 * 86_400)])
async def test_what_no_agent_could_be_asked_for_is_refused_at_the_start(
    database_dsn: str, tmp_path: Path, health_s: int, expires_s: int
) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        asked = Asked("1.1.0", [["plant/*"]], SOAK_S, health_s=health_s, expires_s=expires_s)
        with pytest.raises(RequestRefused, match="no agent could be asked for that"):
            await rollouts.start(here.here.database, here.here.clock, TENANT, asked, by="anna")
        assert await rollouts.listed(here.here.database, TENANT) == []


async def test_a_rollout_with_a_fault_is_halted_and_the_others_go_on(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        odd = await here.start([AGENTS[0]])
        await here.here.fetch("UPDATE rollout SET health_s = 900 RETURNING 1")  # as an earlier version has taken it
        good = await here.start([AGENTS[1]])
        assert not await here.rollouts.look()
        assert (await here.shown(odd))[0] == "halted"
        assert "ValidationError" in (await here.shown(odd))[1]
        assert await here.asked() == [AGENTS[1]]
        assert OBSTACLES.reason(fault_of(TASK))
        assert await here.rollouts.look(), "a fault counts once"
        assert not OBSTACLES.reason(fault_of(TASK))
        assert (await here.shown(good))[0] == "running"


async def test_what_the_database_refuses_is_tried_again_and_what_is_away_is_for_the_role_to_wait_for(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        number = await here.start([AGENTS[0]])
        taking = AsyncMock(side_effect=[StatementRefused("read-only", sqlstate="25006"), DatabaseUnavailable("away")])
        with monkeypatch.context() as patched:
            patched.setattr(here.here.requests, "take", taking)
            with pytest.raises(DatabaseUnavailable):
                await here.rollouts.run()
        assert taking.await_count == 2
        assert not OBSTACLES.reason(fault_of(TASK)), "whoever goes on says it"
        assert (await here.shown(number))[0] == "running"
        assert await here.rollouts.look()
        assert await here.asked() == [AGENTS[0]]


async def test_a_package_is_taken_once_and_what_is_none_is_refused(database_dsn: str, tmp_path: Path) -> None:
    async with fleet(database_dsn, tmp_path) as here:
        office = here.here
        await packages.add(office.database, office.clock, TENANT, tmp_path / "release.zip", by="anna")
        (row,) = await packages.listed(office.database, TENANT)
        assert (row["version"], row["sha256"], row["key"]) == ("1.1.0", here.sha256, made.KEY.key_id)
        assert (await packages.named(office.database, TENANT, here.sha256[:8])).sha256 == here.sha256
        (tmp_path / "text").write_text("no package")
        for path in (tmp_path / "text", tmp_path / "nothing"):
            with pytest.raises(RequestRefused):
                await packages.add(office.database, office.clock, TENANT, path, by="anna")


async def test_commands_are_taken_while_a_package_is(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(database_dsn) as here:
        add_pieces = packages._add_pieces

        async def add_slowly(session: Session, tenant_id: int, sha256: str, path: Path) -> None:
            await add_pieces(session, tenant_id, sha256, path)
            async with asyncio.timeout(WAIT_S_MAX):
                await here.ask()

        monkeypatch.setattr(packages, "_add_pieces", add_slowly)
        await packages.add(here.database, here.clock, TENANT, made.package(tmp_path), by="anna")
        assert await audit.verify(here.database) == (2, [])


async def test_an_agent_fetches_it_from_the_gateway_and_goes_on_where_it_broke_off(
    database_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "PIECE_BYTES", 100)
    async with fleet(database_dsn, tmp_path) as here:
        listening = socket.create_server(("127.0.0.1", 0))
        app = make_app(here.here.database, CollectorRegistry(), Obstacles(), here.here.requests)
        serving = asyncio.create_task(serve(listening, app))
        gateway = Gateway(f"http://127.0.0.1:{listening.getsockname()[1]}", None, 1_000_000)
        whole = (tmp_path / "release.zip").read_bytes()
        try:
            for have in (0, 1, 99, 100, 101, len(whole) - 1, len(whole)):
                target = tmp_path / f"fetched-{have}"
                target.write_bytes(whole[:have])
                await asyncio.to_thread(download, gateway, here.sha256, target, threading.Event())
                assert target.read_bytes() == whole
                assert file_sha256(target) == here.sha256
            with pytest.raises(DownloadFailed, match="no such release"):
                await asyncio.to_thread(download, gateway, "0" * 64, tmp_path / "none", threading.Event())
            small = Gateway(gateway.url, None, len(whole) - 1)
            with pytest.raises(DownloadFailed, match="more than"):
                await asyncio.to_thread(download, small, here.sha256, tmp_path / "large", threading.Event())
            assert not (tmp_path / "large").exists()
        finally:
            serving.cancel()
            await asyncio.wait([serving])
            listening.close()
