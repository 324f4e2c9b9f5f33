"""Where the gRPC API listens, and how it is secured."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from cloud_ingest.settings.gateway import OWN_MACHINE
from connectors.configuration.setting_types import FilePath, HostName
from connectors.ports.settings import SettingInvalid, Settings


class GrpcTls(Settings):
    """The server's certificate. Files that are exchanged are used for the connections that are made from then on."""

    certificate: Annotated[FilePath, Field(description="PEM file of the certificate, with those between it and its CA")]
    key: Annotated[FilePath, Field(description="PEM file of the private key, without a passphrase")]
    clients: Annotated[
        FilePath | None,
        Field(description="PEM file of authorities: clients show a certificate of one of them, beside their token"),
    ] = None


class GrpcSettings(Settings):
    """The gRPC API ``lineside.v1``, served by the role gateway where this section is there."""

    insecure: Annotated[bool, Field(description="Allow other machines to ask without TLS")] = False
    host: HostName = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 50_051
    tls: Annotated[GrpcTls | None, Field(description="{certificate: …, key: …}")] = None
    streams_per_principal: Annotated[
        int, Field(ge=1, le=1000, description="Streams that one user, program or token may have open at this process")
    ] = 20
    reflection: Annotated[bool, Field(description="Tell clients such as grpcurl what methods there are")] = True

    @model_validator(mode="after")
    def _encrypted(self) -> GrpcSettings:
        if self.host not in OWN_MACHINE and self.tls is None and not self.insecure:
            raise SettingInvalid(
                f"whoever is on the way to {self.host!r} can read tokens and answers: the gRPC API has no TLS.",
                "Add 'tls: {certificate: …, key: …}', or allow it with 'insecure: true'.",
                ("host",),
            )
        return self
