"""How either program reaches an MQTT broker."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

from connectors.configuration.setting_types import BrokerUrl, InputFile, files_are_checked
from connectors.configuration.tls_files import TlsFileUnusable, client_context
from connectors.ports.secrets import Secret
from connectors.ports.settings import Duration, SettingInvalid, Settings


def _mqtt_version(value: Any) -> Any:
    return "5" if value == 5 and not isinstance(value, bool) else value


class BrokerSettings(Settings):
    """The brokers, and who we are to them."""

    insecure: Annotated[bool, Field(description="Allow brokers without TLS (mqtt://)")] = False
    brokers: Annotated[
        tuple[BrokerUrl, ...],
        Field(min_length=1, max_length=16, description="mqtts://host:8883, tried in this order"),
    ]
    user: Annotated[str, Field(min_length=1, max_length=1000)] | None = None
    password: Annotated[Secret | None, Field(description="${credential:NAME}, ${file:/path} or ${env:NAME}")] = None
    ca_file: Annotated[InputFile | None, Field(description="Authorities that sign the broker's certificate")] = None
    cert_file: Annotated[InputFile | None, Field(description="Our own certificate")] = None
    key_file: Annotated[InputFile | None, Field(description="The private key of cert_file")] = None
    keep_alive_s: Annotated[Duration, Field(alias="keep_alive", ge=1, le=65_535)] = 30.0
    mqtt_version: Annotated[
        Literal["5", "3.1.1"], BeforeValidator(_mqtt_version, json_schema_input_type=Literal["5", "3.1.1", 5])
    ] = "5"

    @field_validator("brokers")
    @classmethod
    def _encrypted(cls, brokers: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        plain = next((at for at, url in enumerate(brokers) if url.startswith("mqtt://")), None)
        if plain is not None and info.data.get("insecure") is False:
            raise SettingInvalid(
                f"{brokers[plain]!r} is not encrypted: anybody on the network can read and change what is sent.",
                "Write mqtts://, or allow it with 'insecure: true' beside 'brokers'.",
                (plain,),
            )
        return brokers

    @model_validator(mode="after")
    def _pairs(self) -> BrokerSettings:
        for has, needs in (("password", "user"), ("cert_file", "key_file"), ("key_file", "cert_file")):
            if getattr(self, has) is not None and getattr(self, needs) is None:
                raise SettingInvalid(f"it needs {needs!r} beside it.", f"Add {needs!r}.", (has,))
        return self

    @model_validator(mode="after")
    def _usable_files(self, info: ValidationInfo) -> BrokerSettings:
        if files_are_checked(info):
            try:
                client_context(self.ca_file, self.cert_file, self.key_file)
            except TlsFileUnusable as exc:
                raise SettingInvalid(exc.message, exc.suggestion, (exc.setting,)) from exc
        return self
