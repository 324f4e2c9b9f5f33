"""Changed files of the configuration are used without a restart: what is as it was goes on, and misses nothing.

One reload at a time. The files are read and checked in full beside what runs; unless all of them are valid, nothing
happens. Then, while no command begins, what has changed is ended and begun anew. A reload leaves nothing on the disk
but the gaps that it declares: whatever ends the agent meanwhile, the next start reads the files as they are.

What is changed, and what waits for a restart: ``edge_agent/config/changes.py``.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import traceback
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from connectors.model.errors import ConfigInvalid, LinesideError, OutboxUnavailable
from connectors.model.tags import DeviceName
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.settings import DeviceSettings
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.acquisition.running_devices import RunningDevices
from edge_agent.buffer.rows import GapReason
from edge_agent.buffer.writer import OutboxWriter
from edge_agent.command_parts import CommandParts
from edge_agent.config.changes import Changes
from edge_agent.config.device_files import DeviceFiles
from edge_agent.config.in_use import ConfigInUse, Sync
from edge_agent.config.models import AgentConfig
from edge_agent.local_api.callers import CALLER
from edge_agent.local_api.views import AgentFacts, AgentView
from edge_agent.observability.agent_events import Fault
from edge_agent.observability.config_events import (
    ConfigurationInSync,
    ConfigurationLooked,
    ConfigurationNotReloaded,
    ConfigurationOutOfSync,
    ConfigurationReloaded,
)

LOOK_S: Final = 1.0
QUIET_S_MAX: Final = 10.0
QUIET_LOOK_S: Final = 0.05
ASKED_MAX: Final = 16
"""So many may ask for a reload at once; more are told to come back."""
GATE: Final = "reload"
WATCHING: Final = "file watching"


class NotReloaded(LinesideError):
    """Nothing was changed, for a reason that passes."""


@dataclass(slots=True)
class _Asked:
    by: str
    dry_run: bool = False
    is_trial: bool = False
    answer: asyncio.Future[dict[str, Any]] | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The running parts that a reload changes.

    ``make`` makes a device, ``facts`` says of a configuration what ``status`` shows of it, and ``use_brokers`` has the
    uplink connect anew as a configuration says.
    """

    devices: RunningDevices
    make: Callable[[DeviceSettings], DeviceAcquisition]
    writer: OutboxWriter
    parts: CommandParts
    view: AgentView
    facts: Callable[[AgentConfig], AgentFacts]
    use_brokers: Callable[[AgentConfig], None]
    files: DeviceFiles | None


class Reloading:
    """See the module."""

    def __init__(self, in_use: ConfigInUse, running: Running, clock: Clock) -> None:
        self._in_use = in_use
        self._running = running
        self._clock = clock
        self._asked: asyncio.Queue[_Asked] = asyncio.Queue(ASKED_MAX)
        self._settling: tuple[object, float] = (None, 0.0)
        self._given_up: object = None
        self.handlers: Mapping[str, Callable[[Mapping[str, Any]], AsyncIterator[Any]]] = {"reload": self._call}

    def ask(self, by: str) -> None:
        """Somebody wants the files to be used; nobody waits for what comes of it."""
        with contextlib.suppress(asyncio.QueueFull):  # as many as that are asked for already
            self._asked.put_nowait(_Asked(by))

    async def reload(self, by: str, *, dry_run: bool = False, is_trial: bool = False) -> dict[str, Any]:
        """Use the files as they are now, or with ``dry_run`` say what that would change. Raises ``NotReloaded``.

        While a device file is on trial, only who tries it (``is_trial``) has this done.
        """
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        try:
            self._asked.put_nowait(_Asked(by, dry_run, is_trial, answer))
        except asyncio.QueueFull as exc:
            raise NotReloaded(f"{ASKED_MAX} others have asked for a reload and wait; try again") from exc
        return await answer

    async def try_file(self) -> str:
        """A device file was replaced, or put back: use it. Empty, or why that was not possible."""
        try:
            answer = await self.reload("a device file", is_trial=True)
        except NotReloaded as exc:
            return str(exc)
        return "" if answer["done"] else "; ".join(answer["reasons"])

    async def run(self) -> None:
        """Reload when it is asked for, and look at the files now and then; until cancelled."""
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    asked = await self._asked.get()
            except TimeoutError:
                await self._look()
                continue
            try:
                answer = await self._answer(asked)
            except BaseException:  # nobody waits for it for ever
                if asked.answer is not None and not asked.answer.done():
                    asked.answer.set_exception(NotReloaded("the agent has stopped, or has failed, in the middle of it"))
                raise
            if asked.answer is not None and not asked.answer.done():
                asked.answer.set_result(answer)

    async def _call(self, args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Reload, for the person at the socket."""
        yield await self.reload(CALLER.get(), dry_run=args.get("dry_run") is True)

    # -- looking -------------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        files = await asyncio.to_thread(self._in_use.look)
        if self._in_use.looked(files):
            emit(ConfigurationOutOfSync(", ".join(files)) if files else ConfigurationInSync())
        emit(ConfigurationLooked(self._in_use.status.state is Sync.IN_SYNC))
        settings = self._in_use.config.reload
        if not settings.watch or not files:
            return
        marks, now_s = await asyncio.to_thread(self._in_use.marks), self._clock.monotonic_s()
        if marks != self._settling[0]:  # editors write in several steps
            self._settling = marks, now_s
        elif now_s - self._settling[1] >= settings.settle_s and marks != self._given_up:
            answer = await self._answer(_Asked(WATCHING))
            self._given_up = None if answer["done"] or answer["passes"] else marks

    # -- reloading -----------------------------------------------------------------------------------------------------

    async def _answer(self, asked: _Asked) -> dict[str, Any]:
        """Do it, and say what has come of it."""
        begun_s = self._clock.monotonic_s()
        answer: dict[str, Any] = {"done": False, "passes": False, "dry_run": asked.dry_run, "reasons": []}
        try:
            changes = await self._reload(asked)
        except (ConfigInvalid, NotReloaded, OutboxUnavailable) as exc:
            error = exc if isinstance(exc, ConfigInvalid) else str(exc)
            reasons = [str(problem) for problem in exc.problems] if isinstance(exc, ConfigInvalid) else [str(exc)]
            if not asked.dry_run:
                self._in_use.refused(error, asked.by)
                self._in_use.looked(await asyncio.to_thread(self._in_use.look))
                emit(ConfigurationNotReloaded(asked.by, len(reasons), reasons[0]))
                emit(ConfigurationLooked(False))
            return {**answer, "passes": not isinstance(exc, ConfigInvalid), "reasons": reasons}
        except Exception as exc:  # a defect must not end what runs: logged and counted
            emit(Fault("reload", f"{type(exc).__name__}: {exc}", traceback.format_exc()))
            said = f"a defect of the agent: {type(exc).__name__}: {exc}; restart it"
            self._in_use.refused(said, asked.by)
            return {**answer, "reasons": [said]}
        seconds = round(self._clock.monotonic_s() - begun_s, 3)
        if not asked.dry_run:
            _tell(changes, asked.by, seconds)
        return {
            **answer,
            "done": not asked.dry_run,
            "devices": [asdict(change) for change in changes.devices],
            "settings": list(changes.live),
            "restart": list(changes.restart),
            "seconds": seconds,
        }

    async def _reload(self, asked: _Asked) -> Changes:
        """Raises ``ConfigInvalid``, ``NotReloaded``, ``OutboxUnavailable``: then all is as it was."""
        if not asked.is_trial:
            await self._refuse_in_trial()
        gc.disable()  # most of what is loaded stays: the collector would look at it again and again
        try:
            loaded, changes = await asyncio.to_thread(self._in_use.load)
        finally:
            gc.enable()
        if asked.dry_run:
            return changes
        await self._apply(changes)
        self._in_use.adopt(loaded, changes, asked.by)
        if self._running.files is not None:
            await asyncio.to_thread(self._running.files.adopt, changes.config.include, loaded.contents)
        if (applying := self._running.parts.applying) is not None:
            applying.look_soon()
        _let_go()
        return changes

    async def _refuse_in_trial(self) -> None:
        files = self._running.files
        if files is not None and (trial := (await asyncio.to_thread(files.store.records)).running) is not None:
            said = f"{trial.name} is on trial, for at most {trial.health_s} s"
            raise NotReloaded(f"{said}: nothing else is changed meanwhile; try again")

    async def _apply(self, changes: Changes) -> None:
        running, settings = self._running, {device.name: device for device in changes.config.devices}
        made = [running.make(settings[name]) for name in changes.of("added", "changed")]
        added = [device for device in made if device.name in changes.of("added")]
        gate = running.parts.commands.executor.gate
        gate.close(GATE)
        try:
            await self._quiet(changes.of("removed", "changed", "adjusted"))
            await self._resume(added)
            await self._replace(changes, made)
            running.parts.adopt(changes.config)
            facts = running.facts(changes.config)
            running.view.facts = replace(facts, started_ns=running.view.facts.started_ns)
            running.devices.sort(settings)
            running.devices.start()
        finally:
            gate.open(GATE)
        for name in changes.of("adjusted"):
            device = settings[name]
            await running.devices.by_name[DeviceName(name)].adjust(device.report_rules(), device.alarm_tags())
        if changes.uplink:
            running.use_brokers(changes.config)

    async def _resume(self, added: Collection[DeviceAcquisition]) -> None:
        """What is known of devices that were read before, and were not in the configuration since."""
        if not added:
            return
        writer = self._running.writer
        states = await writer.call(lambda outbox: outbox.device_states())
        for device in added:
            definition_hash, newest_ns, stored_ns = states.get(device.name, (None, None, None))
            definition = await writer.definition(definition_hash) if definition_hash else None
            said = "it was not in the configuration"
            device.resume(definition, newest_ns, stored_ns, GapReason.RECONFIGURED, said)

    async def _quiet(self, devices: Collection[str]) -> None:
        """Wait until no command is being done on these. Raises ``NotReloaded`` when that takes too long."""
        end_s, executor = self._clock.monotonic_s() + QUIET_S_MAX, self._running.parts.commands.executor
        while busy := executor.busy(devices):
            if self._clock.monotonic_s() >= end_s:
                said = ", ".join(busy[:5])
                raise NotReloaded(f"commands are still being done after {QUIET_S_MAX:g} s: {said}; try again")
            await asyncio.sleep(QUIET_LOOK_S)

    async def _replace(self, changes: Changes, made: list[DeviceAcquisition]) -> None:
        """End what is not read any more as it was, and put the others in its place; they are not started yet."""
        removed = changes.of("removed")
        names = [DeviceName(name) for name in changes.of("removed", "changed")]
        ended = {device.name: device for device in await self._running.devices.end(names)}
        await asyncio.gather(
            *(
                device.end(
                    "removed from the configuration" if name in removed else "its configuration was changed",
                    removed=name in removed,
                )
                for name, device in ended.items()
            )
        )
        for device in made:
            if device.name in ended:
                device.go_on_from(ended[device.name])
            self._running.devices.add(device)


def _let_go() -> None:
    """Free what was replaced, and keep the collector from looking at the rest again and again, as after the start.

    What is frozen is never freed when it refers to itself, as devices and their drivers do.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()


def _tell(changes: Changes, by: str, seconds: float) -> None:
    names = [", ".join(changes.of(how)) for how in ("added", "removed", "changed", "adjusted")]
    added, removed, changed, adjusted = names
    settings, restart = ", ".join(changes.live), ", ".join(changes.restart)
    emit(ConfigurationReloaded(by, added, removed, changed, adjusted, settings, restart, seconds))
    emit(ConfigurationLooked(not changes.restart))
