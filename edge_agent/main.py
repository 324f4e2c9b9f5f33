"""The composition root of the agent: the one place that knows every part, and in which order they start and stop."""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from connectors.model.back_off import BackOff
from connectors.model.delivery import AgentName
from connectors.model.errors import AlreadyRunning, OutboxDamaged
from connectors.model.tags import DeviceName
from connectors.mqtt.session import MqttOptions, MqttSession
from connectors.observability.events import emit
from connectors.observability.version import lineside_version
from connectors.ports.clock import Clock
from connectors.ports.settings import DeviceSettings, DriverType
from connectors.sparkplug.birth import CurrentValue, NodeProperty
from connectors.sparkplug.delivery import format_epoch
from connectors.sparkplug.edge_session import Phase
from edge_agent.acquisition.collector import Collector, CollectorSettings
from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.buffer.bounds import OutboxBounds, WhenFull
from edge_agent.buffer.feed import Feed
from edge_agent.buffer.rows import GapReason, Lane, OpenGap
from edge_agent.buffer.sealing import PLAIN, Sealing
from edge_agent.buffer.writer import OutboxReader, OutboxWriter, check_beside
from edge_agent.command_parts import CommandParts, Surroundings, command_parts
from edge_agent.commands.journal_thread import JournalThread
from edge_agent.config.models import AgentConfig, OutboxSettings, UplinkSettings
from edge_agent.local_api.command_calls import CommandCalls
from edge_agent.local_api.file_calls import file_handlers
from edge_agent.local_api.server import LocalApi
from edge_agent.local_api.views import AgentFacts, AgentView
from edge_agent.observability.agent_events import AgentStarted, AgentStopped, Fault
from edge_agent.observability.outbox_events import BatchesLost, OutboxFailed, OutboxKeyMissing, OutboxSalvaged
from edge_agent.releases.trial import Releases, missing_of
from edge_agent.uplink.options import Delivery, UplinkOptions
from edge_agent.uplink.uplink import Uplink

WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024
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
        devices: list[DeviceAcquisition],
        uplink: Uplink,
        api: LocalApi,
        view: AgentView,
        parts: CommandParts,
        journal: JournalThread,
    ) -> None:
        self._writer = writer
        self._reader = reader
        self._collector = collector
        self._devices = devices
        self._uplink = uplink
        self._api = api
        self._view = view
        self._commands = parts.commands
        self._journal = journal
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
        outbox, sealing = config.outbox, _sealing(config.outbox)
        now_ms = clock.now_ns() // 1_000_000
        writer = await OutboxWriter.open(outbox.path, outbox.durability, now_ms, _bounds(outbox), sealing, suspicion)
        try:
            _report(writer)
            return await cls._of(config, drivers, clock, writer, sealing, around or Surroundings())
        except BaseException:
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
    ) -> Agent:
        outbox = config.outbox
        reader = OutboxReader(outbox.path, writer.epoch, sealing, writer.damage)
        writer.opens_again_with(reader)
        for key_id in sorted(await writer.call(lambda outbox: outbox.missing_keys)):
            emit(OutboxKeyMissing(key_id))
        feed = Feed(reader, monotonic_s=clock.monotonic_s)
        collector = Collector(writer, feed, _collector_settings(config), clock)
        devices: dict[DeviceName, DeviceAcquisition] = {}
        made = {device.name: drivers[device.driver].create(device, clock) for device in config.devices}
        journal = _journal(config, writer, clock)

        def rebirth() -> bool:
            return uplink.rebirth()

        parts = command_parts(config, around, journal, collector, devices, rebirth, clock)
        commands = parts.commands
        uplink = Uplink(
            _uplink_options(config),
            MqttSession(_mqtt_options(config.uplink)),
            writer=writer,
            feed=feed,
            collector=collector,
            values=lambda name: _values(devices, name),
            changed=lambda name: devices[name].changed() if name in devices else [],
            clock=clock,
            commands=commands,
        )
        for settings in config.devices:
            name = DeviceName(settings.name)
            devices[name] = DeviceAcquisition(
                name,
                settings.tag_names(),
                made[name],
                settings.report_rules(),
                writer=writer,
                feed=feed,
                collector=collector,
                listener=uplink,
                clock=clock,
                alarms=settings.alarm_tags(),
                derived=settings.derived,
            )
        commands.is_connected = lambda: uplink.state.phase == Phase.BORN.value
        await _resume(devices, writer, collector)
        view = AgentView(facts_of(config, clock), list(devices.values()), collector, reader, uplink, clock, commands)
        own = {"status": view.status, "tags": view.tags, "watch": view.watch}
        handlers = {**own, **CommandCalls(commands).handlers, **file_handlers(commands, parts.applying)}
        api = LocalApi(config.local_api.socket, config.local_api.mode, handlers)
        _announce(config, writer)
        return cls(
            writer=writer,
            reader=reader,
            collector=collector,
            devices=list(devices.values()),
            uplink=uplink,
            api=api,
            view=view,
            parts=parts,
            journal=journal,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Run until ``stop`` is set, then stop in the order in which nothing is lost.

        Devices first, so that nothing new comes; then the last commit; then the goodbye to the broker. Raises
        ``OutboxDamaged`` when the outbox has to be opened anew.
        """
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
        acquiring = [
            asyncio.create_task(supervised(f"device {device.name}", device.run), name=device.name)
            for device in self._devices
        ]
        stopping = asyncio.create_task(stop.wait(), name="stop")
        failing = asyncio.create_task(damage.found.wait(), name="damage")
        checking = asyncio.create_task(self._check(), name="check of the outbox")
        missing = missing_of(self._devices, self._uplink.state, Phase.BORN.value)
        proving = asyncio.create_task(supervised("trial", lambda: Releases(os.environ).prove(missing)), name="trial")
        everything = [collecting, sending, *serving, *acquiring, commanding, stopping, failing]
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        await cancel_all([commanding], LAST_COMMAND_S_MAX)  # before the devices: a pulse that has begun is ended
        await cancel_all([*acquiring, checking, proving], GOODBYE_S_MAX)
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
        for task in everything:
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _check(self) -> None:
        """A large outbox that was not closed is looked at while it is used."""
        if self._writer.opening.to_check:
            await check_beside(self._writer.path, self._writer.damage)


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
            await run()
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


def _announce(config: AgentConfig, writer: OutboxWriter) -> None:
    tags = sum(len(device.tags) + len(device.derived) for device in config.devices)
    agent, epoch = str(_uplink_options(config).agent), format_epoch(writer.epoch)
    emit(AgentStarted(agent, lineside_version(), epoch, len(config.devices), tags))


def _journal(config: AgentConfig, writer: OutboxWriter, clock: Clock) -> JournalThread:
    epoch = format_epoch(writer.epoch)
    return JournalThread(config.commands.journal, epoch, lambda: clock.now_ns() // 1_000_000)


def _collector_settings(config: AgentConfig) -> CollectorSettings:
    outbox = config.outbox
    return CollectorSettings(
        outbox.commit_interval_s,
        outbox.samples_pending_max,
        outbox.pending_bytes_max,
        config.uplink.packet_bytes_max,
    )


def _values(devices: Mapping[DeviceName, DeviceAcquisition], name: DeviceName) -> dict[int, CurrentValue]:
    device = devices.get(name)
    return {} if device is None else device.values()


def _bounds(outbox: OutboxSettings) -> OutboxBounds:
    policies = {Lane.ALARMS: WhenFull(outbox.when_full_alarms), Lane.SAMPLES: WhenFull(outbox.when_full)}
    return OutboxBounds(outbox.bytes_max, outbox.age_s_max, outbox.free_disk_bytes_min, outbox.ballast_bytes, policies)


def _sealing(outbox: OutboxSettings) -> Sealing:
    encryption = outbox.encryption
    return PLAIN if encryption is None else Sealing(encryption.key_bytes(), encryption.previous_key_bytes())


def _uplink_options(config: AgentConfig) -> UplinkOptions:
    uplink = config.uplink
    properties = (
        NodeProperty("Properties/Software", "Lineside edge-agent"),
        NodeProperty("Properties/Version", lineside_version()),
    )
    return UplinkOptions(
        agent=AgentName(config.agent.group, config.agent.name),
        brokers=uplink.brokers,
        delivery=Delivery(uplink.delivery),
        host=uplink.host,
        wait_for_host=uplink.primary_host,
        properties=properties,
        window_batches_max=uplink.window_batches_max,
        window_bytes_max=WINDOW_BYTES_MAX,
        resend_after_s=uplink.resend_after_s,
        backlog_bytes_per_s_max=uplink.backlog_bytes_per_s_max,
        packet_bytes_max=uplink.packet_bytes_max,
    )


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


def facts_of(config: AgentConfig, clock: Clock) -> AgentFacts:
    """What the configuration says of the agent, for ``status``."""
    insecure = [f"uplink {url}" for url in config.uplink.brokers if url.startswith("mqtt://")]
    insecure += [f"device {device.name} {_endpoint(device)}" for device in config.devices if device.is_insecure]
    return AgentFacts(
        agent=f"{config.agent.group}/{config.agent.name}",
        version=lineside_version(),
        started_ns=clock.now_ns(),
        commissioning=config.agent.commissioning,
        insecure=tuple(insecure),
        endpoints={device.name: (device.driver, _endpoint(device)) for device in config.devices},
    )


def _endpoint(device: DeviceSettings) -> str:
    return str(getattr(device, "endpoint", ""))
