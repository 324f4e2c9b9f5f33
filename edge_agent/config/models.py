"""What the agent's file says, section by section: parsed once, frozen, defaults and all.

Every section is the slice that one part of the agent gets. Names in the file are the field aliases; names in the code
carry the unit. Relative file names start from the folder of the configuration file (``FOLDER_IN_CONTEXT``), and those
of the outbox and the socket from ``agent.data_dir``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializeAsAny,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)

from connectors.configuration.broker_settings import BrokerSettings
from connectors.configuration.setting_types import DataPath, FilePath, SparkplugId, checked_sparkplug_id
from connectors.ports.settings import AgentPlace, DeviceSettings, Duration, SettingInvalid, Settings, Size
from edge_agent.config.encryption import EncryptionSettings
from edge_agent.config.template_settings import TemplateSettings

SOCKET_PATH_BYTES_MAX: Final = 107
"""unix(7): ``sun_path`` has 108 bytes, the last of them a zero."""
MQTT_PACKET_BYTES_MAX: Final = 268_435_455
"""MQTT 5.0, section 1.5.5: the largest Remaining Length."""


def parse_file_mode(value: Any) -> int:
    """The bits of a file mode from text such as ``0660``. A bare number would be read as decimal, and is refused."""
    if isinstance(value, str) and re.fullmatch(r"0?[0-7]{3}", value):
        return int(value, 8)
    raise ValueError(f'{value!r} is not a file mode; write four octal digits in quotes, such as "0660"')


FileMode = Annotated[
    int, BeforeValidator(parse_file_mode), WithJsonSchema({"type": "string", "pattern": "^0?[0-7]{3}$"})
]


class AgentSettings(Settings):
    """Who this agent is, and where it keeps its data."""

    group: Annotated[SparkplugId, Field(description="Sparkplug group, for example the plant")]
    name: Annotated[SparkplugId, Field(description="Sparkplug edge node, unique within the group")]
    description: Annotated[str, Field(max_length=1000)] = ""
    data_dir: Annotated[FilePath, Field(description="Folder of the outbox and the command journal")] = Path(
        "/var/lib/lineside"
    )
    commissioning: Annotated[
        bool, Field(description="Read-only: nothing is written to any device, whatever else is configured")
    ] = False
    remote_commands: Annotated[
        bool, Field(description="Take commands of the cloud and of other hosts; local ones are taken all the same")
    ] = True

    remote_files: Annotated[
        Literal["refuse", "narrow", "any"],
        Field(description="Device files that the cloud sends: none; such as allow no more than before; or any"),
    ] = "narrow"

    @field_validator("group")
    @classmethod
    def _free_for_groups(cls, group: str) -> str:
        if group == "STATE":
            raise ValueError("'STATE' cannot be a group: Sparkplug keeps the name for hosts")
        return group


class UplinkSettings(BrokerSettings):
    """How the agent reaches the cloud."""

    delivery: Annotated[
        Literal["acknowledged", "sparkplug"],
        Field(description="acknowledged: keep data until the cloud has it; sparkplug: for other hosts"),
    ] = "acknowledged"
    host: Annotated[SparkplugId, Field(description="Sparkplug host whose STATE is followed")] = "lineside"
    primary_host: Annotated[
        bool,
        Field(
            default_factory=lambda data: data.get("delivery") == "sparkplug",
            description="Send nothing until the host says that it is online; always so with delivery: sparkplug",
        ),
    ]
    client_id: Annotated[
        str, Field(min_length=1, max_length=256, description="MQTT client id; derived from group and name")
    ] = ""
    window_batches_max: Annotated[
        int, Field(alias="window", ge=1, le=65_535, description="Batches sent and not acknowledged yet")
    ] = 256
    resend_after_s: Annotated[
        Duration, Field(alias="resend_after", ge=1, le=3600, description="Send again what is not acknowledged by then")
    ] = 10.0
    packet_bytes_max: Annotated[
        Size, Field(alias="packet_max", ge=16 * 1024, le=MQTT_PACKET_BYTES_MAX, description="Largest MQTT message")
    ] = 256 * 1024

    backlog_bytes_per_s_max: Annotated[
        Size | None,
        Field(alias="backlog_rate", ge=1000, description="Bytes a second for what had to wait; unlimited without it"),
    ] = None

    @field_validator("primary_host")
    @classmethod
    def _host_for_sparkplug(cls, primary_host: bool, info: ValidationInfo) -> bool:
        if not primary_host and info.data.get("delivery") == "sparkplug":
            raise SettingInvalid(
                "with 'delivery: sparkplug' the agent always waits for its host.", "Write true, or remove the line."
            )
        return primary_host


class OutboxSettings(Settings):
    """The durable queue between the devices and the cloud."""

    path: Annotated[DataPath, Field(description="The database; relative to agent.data_dir")] = Path("outbox.db")
    commit_interval_s: Annotated[
        Duration,
        Field(alias="commit_interval", ge=0.001, le=60, description="Between two commits to the disk, at least"),
    ] = 0.2
    durability: Annotated[
        Literal["full", "normal"],
        Field(description="full: a commit survives a power cut; normal: only a crash of the agent"),
    ] = "full"
    samples_pending_max: Annotated[
        int, Field(ge=1000, le=100_000_000, description="Samples that wait in memory for a commit; then devices wait")
    ] = 500_000
    pending_bytes_max: Annotated[
        Size, Field(alias="pending_max", ge=1_000_000, le=1 << 40, description="The same in bytes, for long texts")
    ] = 64_000_000
    bytes_max: Annotated[
        Size,
        Field(alias="size_max", ge=64_000_000, le=1 << 50, description="Database and its log; then when_full decides"),
    ] = 2_000_000_000
    age_s_max: Annotated[
        Duration | None,
        Field(alias="age_max", ge=60, description="Give up what is older, by the agent's clock; never, without it"),
    ] = None
    free_disk_bytes_min: Annotated[
        Size,
        Field(alias="free_disk_min", ge=0, le=1 << 50, description="While the disk has less, the file does not grow"),
    ] = 200_000_000
    ballast_bytes: Annotated[
        Size,
        Field(alias="ballast", ge=0, le=1 << 40, description="Disk space that is held for the day when it is full"),
    ] = 32_000_000
    when_full: Annotated[
        Literal["drop_oldest", "drop_newest", "thin"],
        Field(description="Which samples give way; thin: of each tag a value every 1 s, then 10 s, then 60 s is kept"),
    ] = "drop_oldest"
    when_full_alarms: Annotated[
        Literal["drop_oldest", "drop_newest"],
        Field(description="Which samples of the lane alarms give way, when no others are left"),
    ] = "drop_oldest"
    encryption: Annotated[
        EncryptionSettings | None, Field(description="Keys that rows are sealed with on the disk; plain without it")
    ] = None

    @field_validator("encryption", mode="before")
    @classmethod
    def _not_empty(cls, encryption: Any) -> Any:
        if encryption is None:
            raise SettingInvalid("it is empty, so nothing would be encrypted.", "Add 'key', or remove the line.")
        return encryption


class CommandSettings(Settings):
    """Commands from the cloud, and the journal of all that is written."""

    trusted_keys: Annotated[DataPath, Field(description="Public keys of the cloud; relative to agent.data_dir")] = Path(
        "trusted-keys.json"
    )
    journal: Annotated[DataPath, Field(description="The command journal; relative to agent.data_dir")] = Path(
        "commands.db"
    )


class ReleaseSettings(Settings):
    """Where releases of Lineside come from, and whose count. Without this section none is taken."""

    url: Annotated[
        str,
        Field(
            pattern=r"^https?://[^/?#@\s]+(/[^?#@\s]*)?$",
            description="The cloud's gateway, such as https://cloud.example",
        ),
    ]
    insecure: Annotated[
        bool, Field(validate_default=True, description="Allow http: others on the way see what is installed")
    ] = False
    ca_file: Annotated[
        FilePath | None, Field(description="Authorities of the gateway's certificate; else the system's")
    ] = None
    keys: Annotated[FilePath, Field(description="Public release keys, which the cloud cannot write")]
    package_bytes_max: Annotated[
        Size, Field(alias="package_max", ge=1_000_000, le=500_000_000, description="Largest package that is fetched")
    ] = 300_000_000
    keep: Annotated[int, Field(ge=2, le=20, description="So many releases stay on the disk")] = 3

    @field_validator("insecure")
    @classmethod
    def _encrypted(cls, insecure: bool, info: ValidationInfo) -> bool:
        if not insecure and str(info.data.get("url", "")).startswith("http://"):
            raise SettingInvalid("the way to the gateway is not encrypted.", "Write https://, or 'insecure: true'.")
        return insecure


class LocalApiSettings(Settings):
    """The socket that the ``edge-agent`` command speaks to."""

    socket: Annotated[DataPath, Field(description="Relative to agent.data_dir")] = Path("agent.sock")
    mode: Annotated[FileMode, Field(description="Who may open the socket, in octal")] = 0o660


class MetricsSettings(Settings):
    """Where Prometheus reads the agent's metrics."""

    host: Annotated[str, Field(min_length=1, max_length=255, description="Address to listen on")] = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)]


class ObservabilitySettings(Settings):
    """What the agent tells of itself."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Annotated[
        Literal["auto", "json", "console"],
        Field(description="auto: console, for people, where the agent runs at a terminal; JSON lines anywhere else"),
    ] = "auto"
    metrics: MetricsSettings | None = None


class ReloadSettings(Settings):
    """What happens when somebody changes the files of a running agent; ``edge-agent reload`` works in any case."""

    watch: Annotated[bool, Field(description="Reload by itself when a file has changed and is valid")] = False
    settle_s: Annotated[
        Duration,
        Field(alias="settle", ge=0.1, le=3600, description="With watch: files have been left alone for so long"),
    ] = 2.0


class AgentConfig(Settings):
    """The whole configuration of an agent."""

    agent: Annotated[AgentSettings, Field(description="{group: plant-7, name: line-3}")]
    uplink: Annotated[UplinkSettings, Field(description="{brokers: [mqtts://host:8883]}")]
    outbox: Annotated[OutboxSettings, Field(validate_default=True)] = OutboxSettings()
    commands: Annotated[CommandSettings, Field(validate_default=True)] = CommandSettings()
    releases: Annotated[
        ReleaseSettings | None, Field(description="{url: https://cloud.example, keys: release-keys.json}")
    ] = None
    local_api: Annotated[LocalApiSettings, Field(validate_default=True)] = LocalApiSettings()
    observability: ObservabilitySettings = ObservabilitySettings()
    reload: ReloadSettings = ReloadSettings()
    include: Annotated[
        tuple[str, ...],
        Field(max_length=1000, description="Further files with 'devices', e.g. devices/*.yaml; relative to this file"),
    ] = ()
    templates: Annotated[
        dict[str, TemplateSettings],
        Field(default_factory=dict, description="Devices or tags that are written once and used many times"),
    ]
    defaults: Annotated[
        dict[str, dict[str, Any]],
        Field(
            default_factory=dict,
            description="For devices that say nothing else: {all: {…}, modbus: {timeout: 1s, tag_defaults: {…}}}",
        ),
    ]
    devices: tuple[SerializeAsAny[DeviceSettings], ...] = ()

    @field_validator("uplink")
    @classmethod
    def _derived_client_id(cls, uplink: UplinkSettings, info: ValidationInfo) -> UplinkSettings:
        agent = _agent(info.data)
        if uplink.client_id or agent is None:
            return uplink
        return uplink.model_copy(update={"client_id": f"lineside-{agent.group}-{agent.name}"})

    @field_validator("outbox")
    @classmethod
    def _outbox_in_data_dir(cls, outbox: OutboxSettings, info: ValidationInfo) -> OutboxSettings:
        agent = _agent(info.data)
        return outbox if agent is None else outbox.model_copy(update={"path": agent.data_dir / outbox.path})

    @field_validator("commands")
    @classmethod
    def _commands_in_data_dir(cls, commands: CommandSettings, info: ValidationInfo) -> CommandSettings:
        agent = _agent(info.data)
        paths = {"trusted_keys": commands.trusted_keys, "journal": commands.journal}
        if agent is None:
            return commands
        return commands.model_copy(update={key: agent.data_dir / path for key, path in paths.items()})

    @field_validator("local_api")
    @classmethod
    def _socket_in_data_dir(cls, local_api: LocalApiSettings, info: ValidationInfo) -> LocalApiSettings:
        agent = _agent(info.data)
        socket = local_api.socket if agent is None else agent.data_dir / local_api.socket
        if len(str(socket).encode()) > SOCKET_PATH_BYTES_MAX:
            raise SettingInvalid(
                f"the path of a socket has at most {SOCKET_PATH_BYTES_MAX} bytes; {str(socket)!r} is longer.",
                "Write a shorter one, such as /run/lineside/agent.sock.",
                ("socket",),
            )
        return local_api.model_copy(update={"socket": socket})

    @field_validator("devices")
    @classmethod
    def _own_names(cls, devices: tuple[DeviceSettings, ...]) -> tuple[DeviceSettings, ...]:
        seen: set[str] = set()
        for device in devices:
            if device.name in seen:
                raise ValueError(f"two devices are called {device.name!r}")
            seen.add(checked_sparkplug_id(device.name))
        return devices

    @field_validator("devices")
    @classmethod
    def _devices_of_agent(cls, devices: tuple[DeviceSettings, ...], info: ValidationInfo) -> tuple[DeviceSettings, ...]:
        agent = _agent(info.data)
        if agent is None:
            return devices
        place = AgentPlace(f"{agent.group}/{agent.name}", agent.data_dir)
        return tuple(device.placed(place) for device in devices)


def _agent(data: Mapping[str, Any]) -> AgentSettings | None:
    """The section that was validated before; ``None`` when something is wrong with it, which is reported as it is."""
    agent = data.get("agent")
    return agent if isinstance(agent, AgentSettings) else None
