"""The PEM files of a TLS client: read in one place, so that a check and a connect name the same file as wrong."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import NoReturn

from connectors.configuration.setting_types import unreadable
from connectors.model.errors import LinesideError


class TlsFileUnusable(LinesideError):
    """A file of a TLS client cannot be used: the caller names it to the engineer, who corrects ``setting``."""

    def __init__(self, setting: str, message: str, suggestion: str) -> None:
        super().__init__(f"{setting}: {message} {suggestion}")
        self.setting, self.message, self.suggestion = setting, message, suggestion


class _Encrypted(Exception):
    """The private key asks for a passphrase."""


def client_context(ca_file: Path | None, cert_file: Path | None, key_file: Path | None) -> ssl.SSLContext:
    """TLS from version 1.2 on, with these files; without ``ca_file`` the authorities of the system are trusted.

    Raises ``TlsFileUnusable``.
    """
    ca_file, cert_file, key_file = (path and path.absolute() for path in (ca_file, cert_file, key_file))
    for setting, path in (("ca_file", ca_file), ("cert_file", cert_file), ("key_file", key_file)):
        if path is not None and (found := unreadable(path)) is not None:
            raise TlsFileUnusable(setting, *found)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as exc:
        message = f"the file {str(ca_file)!r} holds no certificate of an authority."
        raise TlsFileUnusable("ca_file", message, "Name a PEM file with BEGIN CERTIFICATE in it.") from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if cert_file is not None and key_file is not None:
        _load_own(context, cert_file, key_file)
    return context


def _load_own(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_passphrase)
    except _Encrypted:
        message = f"the private key in {str(key_file)!r} is encrypted, and nobody is there to type its passphrase."
        raise TlsFileUnusable(
            "key_file", message, "Take the passphrase off, and let only this program's user read the file."
        ) from None
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            message = f"the private key in {str(key_file)!r} is not that of the certificate in {str(cert_file)!r}."
            raise TlsFileUnusable("key_file", message, "Name the two files that were made together.") from exc
        if b"-----BEGIN CERTIFICATE-----" not in cert_file.read_bytes():
            message = f"the file {str(cert_file)!r} holds no certificate."
            raise TlsFileUnusable("cert_file", message, "Name a PEM file with BEGIN CERTIFICATE in it.") from exc
        message = f"the file {str(key_file)!r} holds no private key."
        raise TlsFileUnusable("key_file", message, "Name a PEM file with BEGIN PRIVATE KEY in it.") from exc


def _no_passphrase() -> NoReturn:
    """Without it OpenSSL would ask on the terminal, and wait."""
    raise _Encrypted
