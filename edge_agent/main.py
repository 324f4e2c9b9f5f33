"""The composition root of the agent: the one place that knows every part, and in which order they start and stop."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from connectors.model.back_off import BackOff
from connectors.model.errors import AlreadyRunning, OutboxDamaged
from connectors.model.tags import DeviceName
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.observability.events import emit, listen, listen_no_more
from connectors.observability.version import lineside_version
from connectors.ports.clock import Clock
from connectors.ports.settings import DeviceSettings, DriverType
from connectors.sparkplug.birth import CurrentValue
from connectors.sparkplug.delivery import format_epoch
from connectors.sparkplug.edge_session import Phase
from connectors.stopping import not_silently
from edge_agent.acquisition.collector import Collector
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.acquisition.running_devices import RunningDevices
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import GapReason, OpenGap
from edge_agent.buffer.sealing import Sealing
from edge_agent.buffer.writer import OutboxReader, OutboxWriter, check_beside
from edge_agent.command_parts import CommandParts, Surroundings, command_parts
from edge_agent.commands.journal_thread import JournalThread
from edge_agent.config.models import AgentConfig, UplinkSettings
from edge_agent.local_api.command_calls import CommandCalls
from edge_agent.local_api.file_calls import file_handlers
from edge_agent.local_api.following import Following
from edge_agent.local_api.server import Handler, LocalApi
from edge_agent.local_api.tag_calls import TagCalls
from edge_agent.local_api.views import AgentFacts, AgentView
from edge_agent.observability.agent_events import AgentStarted, AgentStopped, Fault
from edge_agent.observability.outbox_events import BatchesLost, OutboxFailed, OutboxKeyMissing, OutboxSalvaged
from edge_agent.observability.recent import RecentEvents
from edge_agent.releases.trial import Releases, missing_of
from edge_agent.reloading import Reloading, Running
from edge_agent.slices import bounds, collector_settings, facts_of, uplink_options
from edge_agent.slices import sealing as sealing_of
from edge_agent.uplink.uplink import Uplink

LAST_COMMIT_S_MAX: Final = 20.0
LAST_COMMAND_S_MAX: Final = 5.0
GOODBYE_S_MAX: Final = 5.0
STEADY_S: Final = 60.0
"""A part that ran for longer before its defect showed is started again soon."""


class Agent:
    """The parts of a running agent."""

    def __init__(
        self,
        *,
        writer: OutboxWriter,
        reader: OutboxReader,
        collector: Collector,
        devices: RunningDevices,
        uplink: Uplink,
        api: LocalApi,
        view: AgentView,
        parts: CommandParts,
        journal: JournalThread,
        reloading: Reloading | None,
        recent: RecentEvents,
    ) -> None:
        self._recent = recent
        self._writer = writer
        self._reader = reader
        self._collector = collector
        self._devices = devices
        self._uplink = uplink
        self._api = api
        self._view = view
        self._commands = parts.commands
        self._journal = journal
        self.reloading = reloading
        self._applying = parts.applying

    @classmethod
    async def assemble(
        cls,
        config: AgentConfig,
        drivers: Mapping[str, DriverType],
        clock: Clock,
        suspicion: str = "",
        around: Surroundings | None = None,
    ) -> Agent:
        """Open the outbox and connect the parts; nothing runs yet. ``suspicion``: why it is thought to be damaged.

        Raises ``OutboxUnavailable``, ``OutboxTooNew``.
        """
        outbox, sealing = config.outbox, sealing_of(config.outbox)
        now_ms = clock.now_ns() // 1_000_000
        writer = await OutboxWriter.open(outbox.path, outbox.durability, now_ms, bounds(outbox), sealing, suspicion)
        recent = RecentEvents(clock.now_ns)
        listen(recent.add)  # until the end of ``run``
        try:
            _report(writer)
            agent = await cls._of(config, drivers, clock, writer, sealing, around or Surroundings(), recent)
            _announce(config, writer)
            return agent
        except BaseException:
            listen_no_more(recent.add)
            await writer.close()
            raise

    @classmethod
    async def _of(
        cls,
        config: AgentConfig,
        drivers: Mapping[str, DriverType],
        clock: Clock,
        writer: OutboxWriter,
        sealing: Sealing,
        around: Surroundings,
        recent: RecentEvents,
    ) -> Agent:
        reader = OutboxReader(config.outbox.path, writer.epoch, sealing, writer.damage)
        writer.opens_again_with(reader)
        for key_id in sorted(await writer.call(lambda outbox: outbox.missing_keys)):
            emit(OutboxKeyMissing(key_id))
        feed = Feed(reader, monotonic_s=clock.monotonic_s)
        collector = Collector(writer, feed, collector_settings(config), clock)
        devices = RunningDevices(lambda device: supervised(f"device {device.name}", device.run))
        journal = _journal(config, writer, clock)

        def rebirth() -> bool:
            return uplink.rebirth()

        parts = command_parts(config, around, journal, collector, devices.by_name, rebirth, clock)
        broker = MqttSession(_mqtt_options(config.uplink))
        uplink = Uplink(
            uplink_options(config),
            broker,
            writer=writer,
            feed=feed,
            collector=collector,
            values=lambda name: _values(devices.by_name, name),
            changed=lambda name: devices.by_name[name].changed() if name in devices.by_name else [],
            clock=clock,
            commands=parts.commands,
        )
        make = _maker(drivers, writer, feed, collector, uplink, clock)
        for settings in config.devices:
            devices.add(make(settings))
        parts.commands.is_connected = lambda: uplink.state.phase == Phase.BORN.value
        await _resume(devices.by_name, writer, collector)
        facts = facts_of(config, clock)
        view = AgentView(facts, devices.all, collector, reader, uplink, clock, parts.commands, around.in_use)
        reloading = _reloading(around, devices, make, writer, parts, view, broker, uplink, clock)
        following = Following(devices.by_name, parts.targets, collector, recent)
        api = _api(config, view, devices, parts, following, reloading)
        return cls(
            writer=writer,
            reader=reader,
            collector=collector,
            devices=devices,
            uplink=uplink,
            api=api,
            view=view,
            parts=parts,
            journal=journal,
            reloading=reloading,
            recent=recent,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then stop in the order in which nothing is lost.

        Devices first, so that nothing new comes; then the last commit; then the goodbye to the broker. Raises
        ``OutboxDamaged`` when the outbox has to be opened anew.
        """
        try:
            await self._run(stop)
        finally:
            listen_no_more(self._recent.add)

    async def _run(self, stop: asyncio.Event) -> None:
        damage = self._writer.damage
        collecting = asyncio.create_task(self._collector.run(), name="collector")
        serving = [
            asyncio.create_task(supervised("local api", self._api.run), name="local api"),
            asyncio.create_task(supervised("status", self._view.run), name="status"),
        ]
        commanding = asyncio.create_task(supervised("commands", self._commands.run), name="commands")
        if self._applying is not None:
            serving.append(asyncio.create_task(supervised("device files", self._applying.run), name="device files"))
        sending = asyncio.create_task(supervised("uplink", self._uplink.run), name="uplink")
        if self.reloading is not None:
            serving.append(asyncio.create_task(supervised("reload", self.reloading.run), name="reload"))
        self._devices.start()
        stopping = asyncio.create_task(stop.wait(), name="stop")
        failing = asyncio.create_task(damage.found.wait(), name="damage")
        checking = asyncio.create_task(supervised("check of the outbox", self._check), name="check of the outbox")
        missing = missing_of(self._devices.all, self._uplink.state, Phase.BORN.value)
        proving = asyncio.create_task(supervised("trial", lambda: Releases(os.environ).prove(missing)), name="trial")
        everything = [collecting, sending, *serving, commanding, stopping, failing]
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        await cancel_all([commanding], LAST_COMMAND_S_MAX)  # before the devices: a pulse that has begun is ended
        await asyncio.gather(self._devices.stop(GOODBYE_S_MAX), cancel_all([checking, proving], GOODBYE_S_MAX))
        if not damage.found.is_set():
            self._collector.stop()
            await asyncio.wait([collecting, failing], timeout=LAST_COMMIT_S_MAX, return_when=asyncio.FIRST_COMPLETED)
        lost = self._collector.samples_pending
        await cancel_all([sending, *serving, collecting, stopping, failing], GOODBYE_S_MAX)
        self._reader.close()
        await self._journal.close()
        await self._writer.close()
        if damage.found.is_set():
            emit(OutboxFailed(damage.reason, lost))
            raise OutboxDamaged(damage.reason)
        emit(AgentStopped(lost))
        raise_first(everything)

    async def _check(self) -> None:
        """A large outbox that was not closed is looked at while it is used."""
        if self._writer.opening.to_check:
            await check_beside(self._writer.path, self._writer.damage)


def raise_first(ended: Sequence[asyncio.Task[Any]]) -> None:
    """Raise what the first of them has failed with. One that is stuck is named: what it could lose is on disk."""
    for task in ended:
        if not task.done():
            emit(Fault(task.get_name(), f"it has not ended within {GOODBYE_S_MAX:g} s", ""))
        elif not task.cancelled() and (error := task.exception()) is not None:
            raise error


def _maker(
    drivers: Mapping[str, DriverType],
    writer: OutboxWriter,
    feed: Feed,
    collector: Collector,
    uplink: Uplink,
    clock: Clock,
) -> Callable[[DeviceSettings], DeviceAcquisition]:
    """What makes the acquisition of a device from its settings."""

    def make(settings: DeviceSettings) -> DeviceAcquisition:
        return DeviceAcquisition(
            DeviceName(settings.name),
            settings.tag_names(),
            drivers[settings.driver].create(settings, clock),
            settings.report_rules(),
            writer=writer,
            feed=feed,
            collector=collector,
            listener=uplink,
            clock=clock,
            alarms=settings.alarm_tags(),
            derived=settings.derived,
        )

    return make


async def _resume(devices: Mapping[DeviceName, DeviceAcquisition], writer: OutboxWriter, collector: Collector) -> None:
    """Tell every device what an earlier start knew of it; what happened since is a gap."""
    states = await writer.call(lambda outbox: outbox.device_states())
    forgotten = next((lost for lost in writer.losses if lost.states), None)
    for name, device in devices.items():
        if forgotten is not None and None in states.get(name, (None,)):
            first_ns = forgotten.first_ms * 1_000_000
            collector.open_gap(OpenGap(name, GapReason.OUTBOX_DAMAGED, first_ns, forgotten.detail))
        definition_hash, newest_ns, stored_ns = states.get(name, (None, None, None))
        definition = await writer.definition(definition_hash) if definition_hash else None
        device.resume(definition, newest_ns, stored_ns)


async def supervised(name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a part for as long as the agent lives; a defect in it is logged, counted, and the part started again."""
    back_off, now_s = BackOff(1.0, 60.0), asyncio.get_running_loop().time
    while True:
        begun_s = now_s()
        try:
            await not_silently(run())
            return
        except (AlreadyRunning, asyncio.CancelledError):
            raise
        except Exception as exc:  # the other parts go on: what is acquired must still reach the disk
            emit(Fault(name, f"{type(exc).__name__}: {exc}", traceback.format_exc()))
        if now_s() - begun_s > STEADY_S:
            back_off.reset()
        await asyncio.sleep(back_off.next_s())


def _report(writer: OutboxWriter) -> None:
    """Say how the outbox was found."""
    opening = writer.opening
    if opening.salvaged is not None:
        found = opening.salvaged
        emit(OutboxSalvaged(opening.reason, opening.set_aside, found.batches, found.samples, found.gone))
    for lost in writer.losses:
        emit(BatchesLost(lost.count, lost.detail))


async def cancel_all(tasks: Sequence[asyncio.Task[Any]], longest_s: float) -> None:
    """Cancel ``tasks`` and wait until they have ended, but not longer than that."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=longest_s)


def _reloading(
    around: Surroundings,
    devices: RunningDevices,
    make: Callable[[DeviceSettings], DeviceAcquisition],
    writer: OutboxWriter,
    parts: CommandParts,
    view: AgentView,
    broker: MqttSession,
    uplink: Uplink,
    clock: Clock,
) -> Reloading | None:
    """What reloads the files; nothing for an agent that was not started from files."""
    if around.in_use is None:
        return None

    def use_brokers(config: AgentConfig) -> None:
        broker.use(_mqtt_options(config.uplink))
        uplink.use(config.uplink.brokers)

    def facts(config: AgentConfig) -> AgentFacts:
        return facts_of(config, clock)

    running = Running(devices, make, writer, parts, view, facts, use_brokers, around.files)
    reloading = Reloading(around.in_use, running, clock)
    if parts.applying is not None:
        parts.applying.reload = reloading.try_file
    return reloading


def _api(
    config: AgentConfig,
    view: AgentView,
    devices: RunningDevices,
    parts: CommandParts,
    following: Following,
    reloading: Reloading | None,
) -> LocalApi:
    """The socket, with all that it answers."""
    own = {"status": view.status, "tags": view.tags, "watch": view.watch}
    files = file_handlers(parts.commands, parts.applying)
    handlers: dict[str, Handler] = {
        **own,
        **TagCalls(devices.by_name, parts.targets, parts.commands).handlers,
        **following.handlers,
        **CommandCalls(parts.commands).handlers,
        **files,
        **({} if reloading is None else reloading.handlers),
    }
    return LocalApi(config.local_api.socket, config.local_api.mode, handlers)


def _announce(config: AgentConfig, writer: OutboxWriter) -> None:
    tags = sum(len(device.tags) + len(device.derived) for device in config.devices)
    agent, epoch = str(uplink_options(config).agent), format_epoch(writer.epoch)
    emit(AgentStarted(agent, lineside_version(), epoch, len(config.devices), tags))


def _journal(config: AgentConfig, writer: OutboxWriter, clock: Clock) -> JournalThread:
    epoch = format_epoch(writer.epoch)
    return JournalThread(config.commands.journal, epoch, lambda: clock.now_ns() // 1_000_000)


def _values(devices: Mapping[DeviceName, DeviceAcquisition], name: DeviceName) -> dict[int, CurrentValue]:
    device = devices.get(name)
    return {} if device is None else device.values()


def _mqtt_options(uplink: UplinkSettings) -> MqttOptions:
    return MqttOptions(
        client_id=uplink.client_id,
        user=uplink.user or "",
        password="" if uplink.password is None else uplink.password.get_secret_value(),
        ca_file=uplink.ca_file,
        cert_file=uplink.cert_file,
        key_file=uplink.key_file,
        keep_alive_s=uplink.keep_alive_s,
        version=uplink.mqtt_version,
        leave_with_will=True,
    )
