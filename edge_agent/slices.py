"""What each part gets of the configuration: its own slice, in its own terms."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from connectors.model.delivery import AgentName
from connectors.observability.version import lineside_version
from connectors.ports.clock import Clock
from connectors.ports.settings import DeviceSettings
from connectors.sparkplug.birth import NodeProperty
from connectors.trust import FOLDER as TRUST_FOLDER
from edge_agent.acquisition.collector import CollectorSettings
from edge_agent.buffer.bounds import OutboxBounds, WhenFull
from edge_agent.buffer.rows import Lane
from edge_agent.buffer.sealing import PLAIN, Sealing
from edge_agent.config.models import AgentConfig, OutboxSettings
from edge_agent.local_api.certificate_watch import CertificatePlaces
from edge_agent.local_api.views import AgentFacts
from edge_agent.uplink.options import Delivery, UplinkOptions

WINDOW_BYTES_MAX: Final = 8 * 1024 * 1024


def collector_settings(config: AgentConfig) -> CollectorSettings:
    """Bounds of the collector."""
    outbox = config.outbox
    return CollectorSettings(
        outbox.commit_interval_s,
        outbox.samples_pending_max,
        outbox.pending_bytes_max,
        config.uplink.packet_bytes_max,
    )


def bounds(outbox: OutboxSettings) -> OutboxBounds:
    """Where the outbox is full, and what gives way."""
    policies = {Lane.ALARMS: WhenFull(outbox.when_full_alarms), Lane.SAMPLES: WhenFull(outbox.when_full)}
    return OutboxBounds(outbox.bytes_max, outbox.age_s_max, outbox.free_disk_bytes_min, outbox.ballast_bytes, policies)


def sealing(outbox: OutboxSettings) -> Sealing:
    """How rows are sealed on the disk."""
    encryption = outbox.encryption
    return PLAIN if encryption is None else Sealing(encryption.key_bytes(), encryption.previous_key_bytes())


def uplink_options(config: AgentConfig) -> UplinkOptions:
    """What the uplink is to do."""
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
        certificates=CertificatePlaces(
            folder=config.agent.data_dir / TRUST_FOLDER,
            endpoints=tuple(place for device in config.devices for place in device.endpoints),
            files=_certificate_files(config),
        ),
    )


def _certificate_files(config: AgentConfig) -> dict[Path, str]:
    """Files with certificates that connections rest on, and what each is for."""
    broker = config.uplink.cert_file
    files = {} if broker is None else {broker: "the certificate for the broker"}
    for device in config.devices:
        files |= dict.fromkeys(device.certificate_files(), f"a certificate for {device.name}")
    return files


def _endpoint(device: DeviceSettings) -> str:
    return str(getattr(device, "endpoint", ""))
