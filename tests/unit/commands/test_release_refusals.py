"""A box that takes no releases refuses them by the path of all commands: journalled, reported, and nothing begun."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors.commands.envelope import InstallRelease
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from edge_agent.commands.agent_actions import Restarting
from edge_agent.commands.release_work import InstallWork
from edge_agent.config.models import AgentConfig, OutboxSettings, ReleaseSettings
from edge_agent.releases.layout import ENV_FOLDER
from edge_agent.releases.trial import Releases
from tests.unit.commands.played_line import Line, running
from tests.virtual_time import virtual_time


@pytest.mark.parametrize(
    ("has_settings", "has_launcher", "says"),
    [(False, True, "no 'releases'"), (True, False, "edge-agent launch"), (True, True, "has no keys")],
)
@virtual_time
async def test_without_keys_settings_or_launcher_a_release_is_refused(
    tmp_path: Path, has_settings: bool, has_launcher: bool, says: str
) -> None:
    document = {"url": "https://cloud.example", "keys": str(tmp_path / "release-keys.json")}
    settings = ReleaseSettings.model_validate(document, strict=True) if has_settings else None
    config = AgentConfig.model_construct(releases=settings, outbox=OutboxSettings())
    environ = {ENV_FOLDER: str(tmp_path / "releases")} if has_launcher else {}
    work = InstallWork(config, Releases(environ), Restarting(lambda _why: None), list)
    async with running(Line(tmp_path, actions={"install_release": work})) as line:
        envelope = line.envelope(action=InstallRelease(version="1.1.0", sha256="0" * 64))
        line.send(envelope, device="")
        report = await line.done(envelope.id)
        assert (report.state, report.code) == (CommandState.REFUSED, Refusal.NO_RELEASES)
        assert says in report.detail
        command = line.journal.journal.command(envelope.id)
        assert command is not None
        assert command.writes == 0
    assert not (tmp_path / "releases").exists()
