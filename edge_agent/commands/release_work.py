"""``install_release``: fetch a package, check it, install it beside what runs, and have the launcher go to it.

Nothing that runs has changed before the order to the launcher is on the disk. The agent that is running after that,
which may be the new one or the old one again, finds in the launcher's state what became of it.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from connectors.commands.envelope import InstallRelease
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.model.errors import LinesideError
from connectors.observability.events import emit
from edge_agent.commands.agent_actions import Begin, Restarting
from edge_agent.commands.journal_file import SCHEMA_VERSION as JOURNAL_FORMAT
from edge_agent.commands.journal_rows import AGENT_LINE, Command, Lock
from edge_agent.commands.pinned_keys import KeysUnreadable, read_pinned_keys
from edge_agent.commands.targets import Refused
from edge_agent.commands.writing import Outcome
from edge_agent.config.models import AgentConfig, ReleaseSettings
from edge_agent.observability.release_events import ReleaseInstalled, ReleaseNotInstalled
from edge_agent.releases.layout import ReleaseFolder
from edge_agent.releases.switching import Order
from edge_agent.releases.trial import Releases

if TYPE_CHECKING:
    from connectors.commands.signing import TrustedKeys

LOOK_S: Final = 0.2
LAUNCHER_S_MAX: Final = 30.0
"""For so long commands to devices wait for the launcher, which looks for orders four times a second."""


class InstallWork:
    """See the module. ``online`` names the devices that are read now; ``releases`` is this box."""

    def __init__(
        self, config: AgentConfig, releases: Releases, restarting: Restarting, online: Callable[[], Sequence[str]]
    ) -> None:
        self._settings = config.releases
        self._outbox = config.outbox
        self._releases = releases
        self._restarting = restarting
        self._online = online
        self.locks: Callable[[], Mapping[str, Lock]] = dict
        """The lines that operators have locked; the operators know."""

    async def refused(self, _command: Command) -> Refused | None:
        """See ``AgentWork``."""
        found = self._ready()
        if isinstance(found, str):
            return Refused(Refusal.NO_RELEASES, found)
        if self._releases.state().trial is not None:
            return Refused(Refusal.BUSY, f"the release {self._releases.name} is on trial")
        return None

    def _ready(self) -> tuple[ReleaseSettings, ReleaseFolder, TrustedKeys] | str:
        if self._settings is None:
            return "its file has no 'releases'"
        if self._releases.folder is None:
            return "the agent was not started by 'edge-agent launch', and nobody could go back"
        try:
            keys = read_pinned_keys(self._settings.keys)
        except KeysUnreadable as exc:
            return str(exc)
        return (self._settings, self._releases.folder, keys) if len(keys) else f"{self._settings.keys} has no keys"

    async def do(self, command: Command, begin: Begin) -> Outcome | Refused:
        """See ``AgentWork``."""
        action = command.envelope.action
        assert isinstance(action, InstallRelease)  # noqa: S101  by the mapping
        found = self._ready()
        if isinstance(found, str):
            return Refused(Refusal.NO_RELEASES, found)
        settings, folder, keys = found
        if (refused := await begin(f"install {action.version}")) is not None:
            return refused
        try:
            name = await self._install(settings, folder, keys, action)
        except (LinesideError, OSError) as exc:
            emit(ReleaseNotInstalled(action.sha256, str(exc)))
            return Outcome(CommandState.FAILED, f"not installed, and nothing has changed: {exc}")
        if name == self._releases.name:
            return Outcome(CommandState.SUCCEEDED, f"{name} runs already")
        if (lock := self.locks().get(AGENT_LINE)) is not None:  # since the download began
            return Outcome(CommandState.FAILED, f"installed, and not used: {lock.actor} has locked the agent")
        if (busy := await self._restarting.quiet(command.id)) is not None:
            return Outcome(CommandState.FAILED, f"installed, and not used: {busy.detail}")
        if (refused := await begin(f"go to {name}")) is not None:
            return Outcome(CommandState.FAILED, f"installed, and not used: {refused.detail}")
        emit(ReleaseInstalled(name))
        order = Order(command.id, name, float(action.health_s), tuple(self._online()))
        try:
            await asyncio.to_thread(folder.give_order, order)
        except OSError as exc:
            if folder.order() != order:
                return Outcome(CommandState.FAILED, f"installed, and not used: the launcher's order: {exc}")
        await asyncio.sleep(LAUNCHER_S_MAX)
        self._restarting.let_go(command.id)  # its disk may refuse it for long: meanwhile the machines are worked with
        await asyncio.Future[None]()  # the launcher ends this agent
        raise AssertionError("a future that nobody sets")

    async def _install(
        self, settings: ReleaseSettings, folder: ReleaseFolder, keys: TrustedKeys, action: InstallRelease
    ) -> str:
        """The name of the release, installed. Raises ``LinesideError``, ``OSError``."""
        from connectors.releases.manifest import ReleaseInvalid, Schemas
        from connectors.releases.package import verified
        from edge_agent.buffer.schema import SCHEMA_VERSION
        from edge_agent.releases import installation
        from edge_agent.releases.download import Gateway, download

        state = folder.state()
        await asyncio.to_thread(installation.clear, folder, state, settings.keep - 1, but=action.sha256)
        package = folder.root / installation.DOWNLOADS / action.sha256
        room_bytes = self._room_bytes(folder, 0)
        stop = threading.Event()
        try:
            gateway = Gateway(settings.url, settings.ca_file, min(settings.package_bytes_max, room_bytes))
            await asyncio.to_thread(download, gateway, action.sha256, package, stop)
        finally:
            stop.set()
        manifest = await asyncio.to_thread(verified, package, keys, sha256=action.sha256)
        if manifest.version != action.version:
            raise ReleaseInvalid(f"it is {manifest.version}, and not {action.version} as the command says")
        self._room_bytes(folder, installation.bytes_needed(manifest))
        box = installation.Box.here(Schemas(outbox=SCHEMA_VERSION, journal=JOURNAL_FORMAT))
        name = await installation.install(folder, package, keys, sha256=action.sha256, box=box)
        package.unlink()
        return name

    def _room_bytes(self, folder: ReleaseFolder, needed_bytes: int) -> int:
        """What the disk has left beside ``needed_bytes`` and the outbox. Raises ``InstallationFailed`` for nothing."""
        from edge_agent.releases.installation import InstallationFailed, free_bytes

        left = free_bytes(folder.root) - needed_bytes - self._outbox.free_disk_bytes_min
        if left < 0:
            raise InstallationFailed(f"the disk of {folder.root} lacks {-left:,} bytes for it, beside the outbox")
        return left

    async def recovered(self, command: Command) -> Outcome | None:
        """See ``AgentWork``."""
        folder = self._releases.folder
        if folder is None:
            return Outcome(CommandState.FAILED, "the agent was started without its launcher, so not in a new release")
        while True:
            waiting = folder.order()  # before the state: the launcher writes that first, and then removes the order
            state = folder.state()
            if state.outcome is not None and state.outcome.order == command.id:
                outcome = state.outcome
                runs = outcome.runs or "the base installation"
                if outcome.succeeded:
                    return Outcome(CommandState.SUCCEEDED, f"{runs} runs")
                return Outcome(CommandState.FAILED, f"{outcome.to} was tried, and {runs} runs again: {outcome.reason}")
            is_on_trial = state.trial is not None and state.trial.order == command.id
            if waiting is not None and waiting.order == command.id and not is_on_trial:
                return None
            if not is_on_trial:
                return Outcome(CommandState.FAILED, "the agent ended before it was installed, and nothing has changed")
            await asyncio.sleep(LOOK_S)
