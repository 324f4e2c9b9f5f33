"""``install_release`` on the agent: what is checked before anything runs, and how the next start tells the outcome."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from connectors.commands.envelope import Envelope, InstallRelease
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.releases.manifest import Schemas
from connectors.releases.package import file_sha256
from edge_agent.buffer.schema import SCHEMA_VERSION
from edge_agent.cli.releases import releases
from edge_agent.commands import release_work
from edge_agent.commands.agent_actions import Restarting
from edge_agent.commands.journal_file import SCHEMA_VERSION as JOURNAL_VERSION
from edge_agent.commands.journal_rows import AGENT_LINE, Command, Lock
from edge_agent.commands.release_work import InstallWork
from edge_agent.commands.targets import Refused
from edge_agent.commands.writing import Outcome
from edge_agent.config.models import AgentConfig, OutboxSettings, ReleaseSettings
from edge_agent.releases import installation
from edge_agent.releases.installation import Box, clear
from edge_agent.releases.layout import ENV_FOLDER, ENV_RELEASE, ENV_TRIAL, ReleaseFolder
from edge_agent.releases.switching import Order, State, given_up, ordered, proved
from edge_agent.releases.trial import Releases, missing_of
from tests.patience import WAIT_S_MAX
from tests.unit.releases import packages as made
from tests.unit.releases.test_download import Server, serving

ID = "01JDV3W3Z8Q6C0V2B7N4M5K9XR"
HERE = Box.here(Schemas(outbox=SCHEMA_VERSION, journal=JOURNAL_VERSION))


def command(version: str = "1.1.0", sha256: str = "0" * 64) -> Command:
    action = InstallRelease(version=version, sha256=sha256)
    envelope = Envelope(id=ID, agent="plant/line", action=action, issuer="anna", issued_ms=1, expires_ms=2)
    return Command(
        number=1, id=ID, source="cloud", actor="anna", envelope=envelope, target="install_release(1.1.0)",
        state=CommandState.EXECUTING, step=2, code=None, detail="", before=None, after=None, writes=1, received_ms=1,
        changed_ms=1,
    )  # fmt: skip


class Agent:
    """An agent whose gateway is ``server``."""

    def __init__(self, root: Path, gateway: str, *, launcher: bool = True, keys: bool = True) -> None:
        self.root = root / "data" / "releases"
        self.root.mkdir(parents=True)
        self.folder = ReleaseFolder(self.root)
        document = {made.KEY.key_id: made.KEY.public_jwk()} if keys else {}
        (root / "keys.json").write_text(json.dumps({"keys": document}))
        settings = ReleaseSettings.model_validate(
            {"url": gateway, "insecure": True, "keys": str(root / "keys.json")}, strict=True
        )
        environ = {ENV_FOLDER: str(self.root), ENV_RELEASE: "1.0.0-a"} if launcher else {}
        self.begun: list[str] = []
        config = AgentConfig.model_construct(releases=settings, outbox=OutboxSettings())
        self.held: list[str] = []
        restarting = Restarting(lambda _why: None)
        restarting.hold, restarting.let_go = self.held.append, self.held.remove
        self.work = InstallWork(config, Releases(environ), restarting, lambda: ["oven", "press"])

    async def begin(self, step: str) -> Refused | None:
        self.begun.append(step)
        return None


@pytest.fixture
def packed(tmp_path: Path) -> Iterator[tuple[Server, str, str]]:
    manifest = made.manifest_of(python=HERE.python, platform=HERE.platform, schemas=HERE.schemas)
    path = made.package(tmp_path, manifest=manifest)
    with serving(body=path.read_bytes()) as (server, gateway):
        yield server, gateway.url, file_sha256(path)


async def fake_make(place: Path, *_more: Any) -> None:
    program = place / "bin" / "edge-agent"
    program.parent.mkdir(parents=True)
    program.write_text("")
    program.chmod(0o755)


async def test_a_good_release_is_installed_and_the_launcher_gets_its_order(
    tmp_path: Path, packed: tuple[Server, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url, sha256 = packed
    monkeypatch.setattr(installation, "_make", fake_make)
    agent = Agent(tmp_path, url)
    asked = command(sha256=sha256)
    assert await agent.work.refused(asked) is None
    doing = asyncio.create_task(agent.work.do(asked, agent.begin))
    async with asyncio.timeout(WAIT_S_MAX):
        while agent.folder.order() is None:  # noqa: ASYNC110  a file
            await asyncio.sleep(0.01)
    name = f"1.1.0-{sha256[:12]}"
    assert agent.folder.order() == Order(ID, name, 300.0, ("oven", "press"))
    assert agent.begun == ["install 1.1.0", f"go to {name}"]
    assert agent.folder.problem(name) == ""
    assert [path.name for path in agent.root.glob("*/*") if "downloads" in path.parts] == []
    assert agent.held == [ID], "no command to a device begins, as the agent is about to end"
    doing.cancel()
    await asyncio.wait([doing])


async def test_a_launcher_that_does_not_come_keeps_no_command_to_a_device_waiting_for_ever(
    tmp_path: Path, packed: tuple[Server, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url, sha256 = packed
    monkeypatch.setattr(installation, "_make", fake_make)
    monkeypatch.setattr(release_work, "LAUNCHER_S_MAX", 0.05)
    agent = Agent(tmp_path, url)
    doing = asyncio.create_task(agent.work.do(command(sha256=sha256), agent.begin))
    async with asyncio.timeout(WAIT_S_MAX):
        while agent.folder.order() is None or agent.held:  # noqa: ASYNC110  a file
            await asyncio.sleep(0.01)
    assert not doing.done(), "the launcher may come still"
    doing.cancel()
    await asyncio.wait([doing])


async def test_an_operator_who_locks_the_agent_meanwhile_keeps_it_from_going_there(
    tmp_path: Path, packed: tuple[Server, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, url, sha256 = packed
    monkeypatch.setattr(installation, "_make", fake_make)
    agent = Agent(tmp_path, url)
    agent.work.locks = lambda: {AGENT_LINE: Lock(AGENT_LINE, "night shift", "karl", 1)}
    outcome = await agent.work.do(command(sha256=sha256), agent.begin)
    assert isinstance(outcome, Outcome)
    assert (outcome.state, "karl has locked" in outcome.detail) == (CommandState.FAILED, True)
    assert agent.folder.order() is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"python": "3.9"}, "Python 3.9"),
        ({"platform": "win_amd64"}, "win_amd64"),
        ({"schemas": Schemas(outbox=SCHEMA_VERSION + 1, journal=JOURNAL_VERSION)}, "no way back"),
        ({"installed_bytes": 1_999_999_999}, "lacks"),
    ],
)
async def test_what_does_not_fit_the_box_fails_and_nothing_of_it_runs(
    tmp_path: Path, changes: dict[str, Any], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(installation, "free_bytes", lambda _folder: 1_500_000_000)
    fitting = {"python": HERE.python, "platform": HERE.platform, "schemas": HERE.schemas}
    path = made.package(tmp_path, manifest=made.manifest_of(**{**fitting, **changes}))
    with serving(body=path.read_bytes()) as (_, gateway):
        agent = Agent(tmp_path, gateway.url)
        outcome = await agent.work.do(command(sha256=file_sha256(path)), agent.begin)
    assert isinstance(outcome, Outcome)
    assert outcome.state is CommandState.FAILED
    assert says in outcome.detail
    assert agent.folder.order() is None
    assert agent.folder.installed() == []
    assert not list(agent.root.rglob("*.whl"))


async def test_a_package_that_no_release_key_has_signed_is_never_unpacked(tmp_path: Path) -> None:
    path = made.package(tmp_path, made.OTHER)
    with serving(body=path.read_bytes()) as (_, gateway):
        agent = Agent(tmp_path, gateway.url)
        outcome = await agent.work.do(command(sha256=file_sha256(path)), agent.begin)
    assert isinstance(outcome, Outcome)
    assert "does not count here" in outcome.detail
    assert not list(agent.root.rglob("*.whl"))


async def test_another_version_than_the_command_says_is_not_installed(
    tmp_path: Path, packed: tuple[Server, str, str]
) -> None:
    _, url, sha256 = packed
    agent = Agent(tmp_path, url)
    outcome = await agent.work.do(command("1.2.0", sha256), agent.begin)
    assert isinstance(outcome, Outcome)
    assert "1.2.0 as the command says" in outcome.detail


async def test_without_launcher_keys_or_settings_nothing_is_begun(tmp_path: Path) -> None:
    for number, how in enumerate(({"launcher": False}, {"keys": False})):
        (tmp_path / str(number)).mkdir()
        agent = Agent(tmp_path / str(number), "http://127.0.0.1:1", **how)
        refused = await agent.work.refused(command())
        assert refused is not None
        assert refused.code is Refusal.NO_RELEASES
        found = await agent.work.do(command(), agent.begin)
        assert isinstance(found, Refused)
        assert agent.begun == []


async def test_the_next_start_says_what_became_of_it(tmp_path: Path) -> None:
    agent = Agent(tmp_path, "http://127.0.0.1:1")
    trial = ordered(State(current="1.0.0-a"), Order(ID, "1.1.0-b", 60.0), "", 1)

    async def said(state: State) -> Outcome | None:
        agent.folder.keep(state)
        async with asyncio.timeout(WAIT_S_MAX):
            return await agent.work.recovered(command())

    done = await said(proved(trial, ID, 2))
    assert done is not None
    assert (done.state, done.detail) == (CommandState.SUCCEEDED, "1.1.0-b runs")
    back = await said(given_up(trial, "it hangs", 2))
    assert back is not None
    assert back.state is CommandState.FAILED
    assert "1.0.0-a runs again: it hangs" in back.detail
    never = await said(State(current="1.0.0-a"))
    assert never is not None
    assert never.state is CommandState.FAILED
    assert "nothing has changed" in never.detail
    agent.folder.give_order(Order(ID, "1.1.0-b", 60.0))
    assert await said(State(current="1.0.0-a")) is None, "the launcher is about to end this start"
    agent.folder.remove_order()
    agent.folder.keep(trial)
    waiting = asyncio.create_task(agent.work.recovered(command()))
    await asyncio.sleep(3 * release_work.LOOK_S)
    assert not waiting.done(), "a trial is not over before the launcher says so"
    agent.folder.give_order(Order(ID, "1.1.0-b", 60.0))
    await asyncio.sleep(3 * release_work.LOOK_S)
    assert not waiting.done(), "an order that the launcher could not remove does not keep the trial from being reported"
    agent.folder.keep(proved(trial, ID, 2))
    found = await waiting
    assert found is not None
    assert found.state is CommandState.SUCCEEDED


async def test_the_agent_says_that_it_is_healthy_only_in_its_own_trial_and_when_nothing_is_missing(
    tmp_path: Path,
) -> None:
    folder = ReleaseFolder(tmp_path)
    folder.keep(ordered(State(), Order(ID, "1.1.0-b", 60.0, ("oven",)), "", 1))
    environ = {ENV_FOLDER: str(tmp_path), ENV_RELEASE: "1.1.0-b"}
    await Releases(environ).prove(lambda _before: "")  # it was not started in a trial
    assert folder.healthy() == ""
    asked: list[frozenset[str]] = []

    def missing(before: frozenset[str]) -> str:
        asked.append(before)
        return "" if len(asked) in (2, 4, 5) else "not yet"

    async with asyncio.timeout(WAIT_S_MAX):
        await Releases({**environ, ENV_TRIAL: ID}).prove(missing)
    assert folder.healthy() == ID
    assert (len(asked), asked[0]) == (5, frozenset({"oven"})), "twice in a row"


def test_healthy_is_connected_acknowledged_and_reading_what_was_read() -> None:
    class Device:
        def __init__(self, name: str, is_read: bool) -> None:
            self.name, self.is_read = name, is_read

    class Uplink:
        phase, acknowledged, sent = "born", 1, 1

    uplink = Uplink()
    devices = [Device("oven", True), Device("press", False)]
    missing = missing_of(devices, uplink, "born")
    assert missing(frozenset({"oven", "gone"})) == ""
    assert "press" in missing(frozenset({"oven", "press"}))
    uplink.acknowledged = 0
    assert "acknowledged" in missing(frozenset({"oven"}))
    uplink.phase = "connecting"
    assert "connecting" in missing(frozenset())


def test_releases_beyond_the_bound_and_what_was_broken_off_are_removed_and_those_that_may_run_are_not(
    tmp_path: Path,
) -> None:
    folder = ReleaseFolder(tmp_path)
    for number, name in enumerate(("1.0-a", "1.1-b", "1.2-c", "1.3-d", "1.4-e")):
        (tmp_path / name).mkdir()
        mark = tmp_path / name / "complete.json"
        mark.write_text("{}")
        os.utime(mark, ns=(number, number))
    (tmp_path / "1.5-f").mkdir()
    (tmp_path / "downloads").mkdir()
    for name in ("a" * 64, "b" * 64):
        (tmp_path / "downloads" / name).write_text("part")
    state = State(current="1.1-b", previous="1.0-a")
    folder.keep(state)
    clear(folder, state, 3, but="b" * 64)
    assert folder.installed() == ["1.0-a", "1.1-b", "1.4-e"]
    assert not (tmp_path / "1.5-f").exists()
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["b" * 64]
    clear(folder, replace(state, trial=Order(ID, "1.4-e", 1.0)), 1)
    assert folder.installed() == ["1.0-a", "1.1-b", "1.4-e"]
    assert folder.state() == state


def test_the_operator_sees_which_release_runs_and_why_the_last_one_was_left(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("agent: {group: plant, name: line, data_dir: data}\n")
    folder = ReleaseFolder(tmp_path / "data" / "releases")
    folder.root.mkdir(parents=True)
    app = typer.Typer()
    app.command()(releases)

    def said(*words: str) -> str:
        done = CliRunner().invoke(app, ["--config", str(config), *words])
        assert done.exit_code == 0, done.output
        return done.stdout

    assert said() == "runs: the base installation\n"
    trial = ordered(State(current="1.0.0-a"), Order(ID, "1.1.0-b", 60.0), "", 1)
    folder.keep(trial)
    assert "runs: 1.1.0-b (on trial)\ncounts until that has proved itself: 1.0.0-a\n" in said()
    folder.keep(given_up(trial, "it hangs", 2))
    assert "runs: 1.0.0-a\n" in said()
    assert "1.1.0-b was left again: it hangs" in said()
    document = json.loads(said("--json"))
    assert (document["runs"], document["outcome"]["succeeded"]) == ("1.0.0-a", False)
