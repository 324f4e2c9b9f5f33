"""What a device file says of the way to a Modbus unit: a serial line, or certificates."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, model_validator

from connectors.configuration.setting_types import InputFile, files_are_checked
from connectors.configuration.tls_files import TlsFileUnusable, client_context
from connectors.ports.settings import SettingInvalid, Settings


class SerialLine(Settings):
    """How a serial line is set: the same at all its units."""

    baud: Annotated[
        Literal[1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200], Field(description="Bits per second")
    ] = 19200
    parity: Annotated[
        Literal["none", "even", "odd"],
        Field(description="even is what the specification asks for; with none: 2 stop bits"),
    ] = "even"
    stop_bits: Annotated[Literal[1, 2], Field(description="1; without parity 2")] | None = None
    has_echo: Annotated[
        bool, Field(alias="echo", description="The converter sends every request back before the reply")
    ] = False


class TlsFiles(Settings):
    """Whom we trust, and who we are, in Modbus/TCP Security: PEM files."""

    ca_file: Annotated[
        InputFile | None,
        Field(description="Authorities that sign the certificate of the device, or that certificate itself"),
    ] = None
    cert_file: Annotated[
        InputFile | None, Field(description="Our own certificate: the role in it is what the device lets us do")
    ] = None
    key_file: Annotated[InputFile | None, Field(description="The private key of cert_file")] = None

    @model_validator(mode="after")
    def _usable(self, info: ValidationInfo) -> TlsFiles:
        for has, needs in (("cert_file", "key_file"), ("key_file", "cert_file")):
            if getattr(self, has) is not None and getattr(self, needs) is None:
                raise SettingInvalid(f"it needs {needs!r} beside it.", f"Add {needs!r}.", (has,))
        if files_are_checked(info):
            try:
                client_context(self.ca_file, self.cert_file, self.key_file)
            except TlsFileUnusable as exc:
                raise SettingInvalid(exc.message, exc.suggestion, (exc.setting,)) from exc
        return self
