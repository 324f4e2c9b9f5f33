"""What the configuration says of a Kafka cluster."""

from __future__ import annotations

import re
import ssl
from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from connectors.configuration.setting_types import FilePath, check_port
from connectors.configuration.tls_files import client_context
from connectors.ports.secrets import Secret
from connectors.ports.settings import Duration, Settings, Size

_ADDRESS: Final = re.compile(r"(\[[0-9A-Fa-f:]+\]|[^\s:/@]+):(\d+)")


class KafkaTls(Settings):
    """TLS to every broker, whose certificate and name are always checked."""

    authority: Annotated[
        FilePath | None, Field(description="PEM file of the authorities to trust; without it, those of the system")
    ] = None
    certificate: Annotated[FilePath | None, Field(description="PEM file of the client's certificate")] = None
    key: Annotated[
        FilePath | None,
        Field(description="PEM file of the client's private key, unless it is in that of the certificate"),
    ] = None

    def context(self) -> ssl.SSLContext:
        """How a connection is secured. Raises ``TlsFileUnusable``."""
        return client_context(self.authority, self.certificate, self.key or self.certificate)


class KafkaLogin(Settings):
    """A user of the cluster (SASL)."""

    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    user: str
    password: Secret


class KafkaLog(Settings):
    """An event log on Kafka 2.8 or later."""

    brokers: Annotated[tuple[str, ...], Field(min_length=1, description="host:port of some brokers, to begin with")]
    tls: KafkaTls | None = None
    login: KafkaLogin | None = None
    insecure: Annotated[bool, Field(description="Allow connections without TLS")] = False
    replication: Annotated[int, Field(ge=1, le=32767, description="Copies of each new topic")] = 3
    in_sync_min: Annotated[
        int, Field(alias="in_sync", ge=1, description="Copies that must have a record before it counts as appended")
    ] = 2
    record_bytes_max: Annotated[
        Size, Field(alias="record_size", gt=0, le=1_073_741_824, description="The largest record of new topics")
    ] = 4_194_304
    timeout_s: Annotated[
        Duration, Field(alias="timeout", gt=0, description="How long an append or a read tries, through retries")
    ] = 10.0
    session_timeout_s: Annotated[
        Duration, Field(alias="session_timeout", ge=6, description="A silent member of a group is replaced after this")
    ] = 10.0

    @field_validator("brokers")
    @classmethod
    def _addresses(cls, brokers: tuple[str, ...]) -> tuple[str, ...]:
        for broker in brokers:
            found = _ADDRESS.fullmatch(broker)
            if found is None:
                raise ValueError(f"{broker!r} is not the address of a broker; write it as host:9093")
            check_port(broker, found[2])
        return brokers

    @model_validator(mode="after")
    def _secured(self) -> KafkaLog:
        if self.tls is None and not self.insecure:
            raise ValueError("the connection to Kafka has no TLS; add tls: {}, or insecure: true if that is meant")
        return self

    @model_validator(mode="after")
    def _enough_copies(self) -> KafkaLog:
        if self.in_sync_min > self.replication:
            raise ValueError(f"in_sync: {self.in_sync_min} can never be reached with replication: {self.replication}")
        return self
