"""What the cloud side's file says, section by section: parsed once, frozen, defaults and all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, model_validator

from cloud_ingest.settings.catalog import DocumentsSettings, KeptLogsSettings
from cloud_ingest.settings.gateway import OWN_MACHINE, GatewaySettings
from cloud_ingest.settings.grpc import GrpcSettings
from cloud_ingest.settings.identity import IdentitySettings
from cloud_ingest.settings.integrations import IntegrationsSettings
from cloud_ingest.settings.notifications import NotificationSettings
from cloud_ingest.settings.orders import OrdersSettings
from connectors.configuration.broker_settings import BrokerSettings
from connectors.configuration.explain import problem_at
from connectors.configuration.files import load_settings, read_document
from connectors.configuration.setting_names import called
from connectors.configuration.setting_types import FilePath, HostName, SparkplugId, unreadable
from connectors.configuration.tls_files import TlsFileUnusable, client_context
from connectors.configuration.yaml_nodes import Document
from connectors.kafka.settings import KafkaLog
from connectors.model.errors import ConfigInvalid, Problem
from connectors.ports.secrets import Secret
from connectors.ports.settings import Duration, SettingInvalid, Settings, Size

Role = Literal[
    "ingest", "historian", "commands", "lines", "orders", "inventory", "analytics", "catalog", "integrations", "gateway"
]
NEED_LOG: frozenset[Role] = frozenset(
    {"ingest", "historian", "commands", "lines", "orders", "inventory", "analytics", "catalog", "integrations"}
)
"""The roles that cannot do without the event log."""
USE_LOG: frozenset[Role] = NEED_LOG | {"gateway"}
"""The gateway takes live values from it, and tells them later without."""
KEY_ADVICE = "Make the key: 'cloud-ingest keys create'. If it is there, let this user read it, and nobody else."
PLATFORM: frozenset[Role] = NEED_LOG - {"ingest", "historian", "commands"}
"""The parts of the platform: they meet through events of the domain alone."""
ROLES: tuple[Role, ...] = (
    "ingest",
    "historian",
    "commands",
    "lines",
    "inventory",
    "catalog",
    "integrations",
    "orders",
    "analytics",
    "gateway",
)


class IngestSettings(BrokerSettings):
    """The broker, and how batches are acknowledged."""

    host: Annotated[SparkplugId, Field(description="Sparkplug host id: agents follow its STATE")] = "lineside"
    client_id: Annotated[str, Field(max_length=200, description="Beginning of the MQTT client id")] = "lineside-ingest"
    acknowledge: Annotated[
        Literal["logged", "projected", "auto"],
        Field(
            description="logged: when the event log has a batch; projected: when it is stored; auto: as safe as the log"
        ),
    ] = "auto"
    ack_interval_s: Annotated[Duration, Field(alias="ack_interval", ge=0.001, le=10)] = 0.25
    share: Annotated[
        bool,
        Field(
            description="All processes share the agents' batches, by a shared subscription; else one takes everything, "
            "and the others stand by"
        ),
    ] = False
    pending_bytes_max: Annotated[
        Size,
        Field(
            alias="pending_max", ge=1_000_000, description="Waiting for the event log; then agents have to send again"
        ),
    ] = 64 * 1024 * 1024


class DatabaseSettings(Settings):
    """PostgreSQL."""

    insecure: Annotated[bool, Field(description="Allow a connection without TLS")] = False
    host: HostName = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 5432
    name: Annotated[str, Field(min_length=1, max_length=63)] = "lineside"
    user: Annotated[str, Field(min_length=1, max_length=63)] = "lineside"
    password: Annotated[Secret | None, Field(description="${credential:NAME}, ${file:/path} or ${env:NAME}")] = None
    tls: Annotated[Literal["verify-full", "verify-ca", "require"] | None, Field(description="As libpq's sslmode")] = (
        None
    )
    ca_file: Annotated[FilePath | None, Field(description="Authorities that sign PostgreSQL's certificate")] = None
    connections_max: Annotated[int, Field(ge=6, le=200, description="Of one process, whatever its roles")] = 20

    @model_validator(mode="after")
    def _encrypted(self) -> DatabaseSettings:
        if self.tls is None and not self.insecure:
            raise SettingInvalid(
                "the connection to PostgreSQL is not encrypted.",
                "Add 'tls: verify-full', or allow it with 'insecure: true'.",
            )
        return self

    @property
    def dsn(self) -> str:
        """The address as a URL, password included."""
        password = "" if self.password is None else f":{quote(self.password.get_secret_value(), safe='')}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        ssl = f"?sslmode={self.tls}" if self.tls is not None else "?sslmode=disable"
        if self.tls is not None and self.ca_file is not None:
            ssl += f"&sslrootcert={quote(str(self.ca_file), safe='')}"
        user, name = quote(self.user, safe=""), quote(self.name, safe="")
        return f"postgresql://{user}{password}@{host}:{self.port}/{name}{ssl}"


class EventLogSettings(Settings):
    """Where every message goes first. With ``kafka`` it is a Kafka cluster, without it the database."""

    kafka: KafkaLog | None = None
    partitions: Annotated[int, Field(ge=1, le=1000, description="Of each new topic")] = 4
    retention_s: Annotated[Duration, Field(alias="retention", ge=3600, description="How long messages are kept")] = (
        7 * 86_400.0
    )


class HistorianSettings(Settings):
    """The store of samples."""

    retention_s: Annotated[
        Duration,
        Field(
            alias="retention", ge=86_400, description="Samples are kept so long: by source time, odd ones since stored"
        ),
    ] = 400 * 86_400.0
    minute_retention_s: Annotated[
        Duration, Field(alias="minute_retention", description="Rollups of a minute; not less than retention")
    ] = 5 * 366 * 86_400.0
    hour_retention_s: Annotated[
        Duration, Field(alias="hour_retention", description="Rollups of an hour; not less than minute_retention")
    ] = 20 * 366 * 86_400.0
    gap_retention_s: Annotated[
        Duration, Field(alias="gap_retention", ge=86_400, description="Gaps that name no batches; others are kept")
    ] = 5 * 366 * 86_400.0
    dead_letter_retention_s: Annotated[
        Duration, Field(alias="dead_letter_retention", ge=86_400, description="Contents of closed dead letters")
    ] = 400 * 86_400.0
    pack_after_s: Annotated[
        Duration,
        Field(alias="pack_after", ge=3600, description="So long after its end, a day is packed into one row an hour"),
    ] = 3 * 86_400.0
    publish_samples: Annotated[
        bool | None,
        Field(
            description="Publish decoded samples as lineside.samples.v1, too; unless said, where this process has the "
            "role lines, which reads them"
        ),
    ] = None
    reorder_timeout_s: Annotated[
        Duration,
        Field(
            alias="reorder_timeout",
            ge=0,
            le=600,
            description="How long a message of another maker's node may come late, before it is asked for a rebirth",
        ),
    ] = 2.0

    @model_validator(mode="after")
    def _in_order(self) -> HistorianSettings:
        kept = (
            ("minute_retention", self.minute_retention_s, "retention", self.retention_s),
            ("hour_retention", self.hour_retention_s, "minute_retention", self.minute_retention_s),
        )
        for longer, longer_s, shorter, shorter_s in kept:
            if longer_s < shorter_s:
                raise SettingInvalid(
                    f"{longer!r} is shorter than {shorter!r}: what is asked for by the minute or hour would be absent.",
                    f"Write at least {shorter_s / 86_400:g}d.",
                    (longer,),
                )
        return self


class CommandsSettings(Settings):
    """Commands to agents. Without ``signing_key`` none is sent."""

    signing_key: Annotated[
        FilePath | None, Field(description="Private JSON Web Key, made by 'cloud-ingest keys create'")
    ] = None
    client_id: Annotated[str, Field(max_length=200, description="Beginning of the MQTT client id")] = (
        "lineside-commands"
    )
    approve: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=1000)], ...],
        Field(
            max_length=1000,
            description="What a second person has to approve, as group/name/device/tag with * and ?; an agent's device "
            "file can ask for it, too",
        ),
    ] = ()


class MetricsSettings(Settings):
    """Where Prometheus reads metrics when this process has no gateway."""

    host: HostName = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)]


class ObservabilitySettings(Settings):
    """What the program tells of itself."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["json", "console"] = "json"
    metrics: MetricsSettings | None = None


class CloudConfig(Settings):
    """The whole configuration of ``cloud-ingest``."""

    ingest: Annotated[IngestSettings, Field(description="{brokers: [mqtts://host:8883]}")]
    database: Annotated[DatabaseSettings, Field(description="{host: …, password: …}")]
    event_log: EventLogSettings = EventLogSettings()
    historian: HistorianSettings = HistorianSettings()
    commands: CommandsSettings = CommandsSettings()
    gateway: GatewaySettings = GatewaySettings()
    grpc: Annotated[GrpcSettings | None, Field(description="{port: 50051}; without it, REST and WebSockets alone")] = (
        None
    )
    integrations: Annotated[IntegrationsSettings, Field(default_factory=IntegrationsSettings)]
    notifications: Annotated[NotificationSettings, Field(default_factory=NotificationSettings)]
    orders: OrdersSettings = OrdersSettings()
    documents: DocumentsSettings = DocumentsSettings()
    logs: KeptLogsSettings = KeptLogsSettings()
    identity: Annotated[
        IdentitySettings | None, Field(description="{issuer: https://…, secret: …}; without it, named tokens alone")
    ] = None
    observability: ObservabilitySettings = ObservabilitySettings()

    @model_validator(mode="after")
    def _logins_are_asked_for(self) -> CloudConfig:
        if self.identity is not None and self.gateway.login == "open":
            raise SettingInvalid(
                "where people log in ('identity'), nobody asks without a token.",
                "Write 'login: required', or leave it out.",
                ("gateway", "login"),
            )
        return self

    @model_validator(mode="after")
    def _grpc_is_as_closed_as_the_gateway(self) -> CloudConfig:
        grpc = self.grpc
        if grpc is not None and grpc.host not in OWN_MACHINE and self.gateway.login == "open" and not grpc.insecure:
            raise SettingInvalid(
                f"whoever reaches {grpc.host!r} can read everything: 'gateway' asks for no login.",
                "Write 'login: required' under 'gateway', or allow it with 'insecure: true' here.",
                ("grpc", "host"),
            )
        return self


def load_cloud_config(path: Path, *, unseen: Callable[[str], None] | None = None) -> CloudConfig:
    """The configuration in the file ``path``. Raises ``ConfigInvalid`` with all problems.

    ``unseen`` is called with each credential that systemd gives to the service alone, where the file is only looked at.
    """
    return load_settings(path, CloudConfig, unseen=unseen)


def check_files(path: Path, config: CloudConfig, roles: Collection[Role]) -> None:
    """Look whether the files can be used that ``config``, read from ``path``, names for TLS and keys of ``roles``.

    The database is needed by every role, and by the commands, which have none. Raises ``ConfigInvalid`` with all
    problems.
    """
    document = read_document(path, str(path))
    named = _tls_files(config, frozenset(roles))
    problems = [problem for files in named for problem in _unusable(document, files)]
    key = config.commands.signing_key
    if key is not None and "commands" in roles and (why := unreadable(key)) is not None:
        place = ("commands", "signing_key")
        problems.append(problem_at(document, place, f"{called(document, place)}: {why[0]}", KEY_ADVICE))
    if problems:
        raise ConfigInvalid(sorted(problems, key=lambda problem: (problem.line, problem.column)))


@dataclass(frozen=True, slots=True)
class _TlsFiles:
    """The files of one TLS client: in which section of the configuration they stand, and under which keys."""

    section: tuple[str, ...]
    ca: tuple[str, Path | None]
    cert: tuple[str, Path | None] = ("cert_file", None)
    key: tuple[str, Path | None] = ("key_file", None)


def _tls_files(config: CloudConfig, roles: frozenset[Role]) -> Iterator[_TlsFiles]:
    ingest, kafka = config.ingest, config.event_log.kafka
    if config.database.tls is not None:
        yield _TlsFiles(("database",), ("ca_file", config.database.ca_file))
    if "ingest" in roles or "commands" in roles:
        cert, key = ("cert_file", ingest.cert_file), ("key_file", ingest.key_file)
        yield _TlsFiles(("ingest",), ("ca_file", ingest.ca_file), cert, key)
    if config.grpc is not None and config.grpc.tls is not None and "gateway" in roles:
        served = config.grpc.tls
        own = ("certificate", served.certificate), ("key", served.key)
        yield _TlsFiles(("grpc", "tls"), ("clients", served.clients), *own)
    if kafka is not None and kafka.tls is not None and not roles.isdisjoint(USE_LOG):
        tls = kafka.tls
        cert = ("certificate", tls.certificate)
        key = cert if tls.key is None else ("key", tls.key)  # it can be in the file of the certificate
        yield _TlsFiles(("event_log", "kafka", "tls"), ("authority", tls.authority), cert, key)


def _unusable(document: Document, files: _TlsFiles) -> Iterator[Problem]:
    settings = {"ca_file": files.ca, "cert_file": files.cert, "key_file": files.key}

    def problem(key: str, message: str, suggestion: str) -> Problem:
        place = (*files.section, key)
        return problem_at(document, place, f"{called(document, place)}: {message}", suggestion)

    missing = [problem(key, *why) for key, path in dict(settings.values()).items()
               if path is not None and (why := unreadable(path)) is not None]  # fmt: skip
    yield from missing
    if not missing:
        try:
            client_context(*(path for _, path in settings.values()))
        except TlsFileUnusable as exc:
            yield problem(settings[exc.setting][0], exc.message, exc.suggestion)
