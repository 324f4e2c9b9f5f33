"""X.509 certificates as OPC UA has them (Part 6, 6.2.2): read from bytes or a file, and what they say of themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding

from connectors.model.errors import LinesideError

FILE_BYTES_MAX: Final = 1_000_000
CHAIN_MAX: Final = 10
"""Certificates in one message or file: more than any hierarchy has."""


class CertificateUnusable(LinesideError):
    """Bytes or a file hold no certificate or key that can be used: a sentence for whoever has named them."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """What a certificate says of itself, as people compare it. Times are Unix time in seconds, UTC."""

    thumbprint: str
    sha256: str
    subject: str
    issuer: str
    application_uri: str
    hosts: tuple[str, ...]
    not_before_s: int
    not_after_s: int
    key_bits: int
    self_signed: bool

    @property
    def is_rsa(self) -> bool:
        """Whether its key is one that the policies of OPC UA here can use."""
        return self.key_bits > 0

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        return {
            "thumbprint": self.thumbprint,
            "sha256": self.sha256,
            "subject": self.subject,
            "issuer": self.issuer,
            "application_uri": self.application_uri,
            "hosts": list(self.hosts),
            "not_before": iso_utc(self.not_before_s),
            "not_after": iso_utc(self.not_after_s),
            "key_bits": self.key_bits,
            "self_signed": self.self_signed,
        }


def iso_utc(time_s: int) -> str:
    """A time of a certificate to read: ``2031-04-12T08:00:00Z``."""
    return datetime.fromtimestamp(time_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def thumbprint_of(der: bytes) -> str:
    """The SHA-1 of a certificate, by which OPC UA tools name it (Part 4, 7.2); whether two are the same, bytes say."""
    return hashlib.sha1(der).hexdigest().upper()  # noqa: S324  a name, not a proof


def facts_of(certificate: x509.Certificate) -> CertificateFacts:
    """What ``certificate`` says of itself. Raises ``CertificateUnusable`` when an extension of it cannot be read."""
    der = der_of(certificate)
    try:
        uris, hosts = _alternative_names(certificate)
        key = certificate.public_key()
        return CertificateFacts(
            thumbprint=thumbprint_of(der),
            sha256=hashlib.sha256(der).hexdigest().upper(),
            subject=certificate.subject.rfc4514_string(),
            issuer=certificate.issuer.rfc4514_string(),
            application_uri=uris[0] if uris else "",
            hosts=tuple(hosts),
            not_before_s=int(certificate.not_valid_before_utc.timestamp()),
            not_after_s=int(certificate.not_valid_after_utc.timestamp()),
            key_bits=key.key_size if isinstance(key, RSAPublicKey) else 0,
            self_signed=certificate.subject == certificate.issuer,
        )
    except (ValueError, TypeError, x509.DuplicateExtension) as exc:
        raise CertificateUnusable(f"the certificate {thumbprint_of(der)} is not well formed: {exc}") from exc


def _alternative_names(certificate: x509.Certificate) -> tuple[list[str], list[str]]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return [], []
    hosts = [str(host) for host in names.get_values_for_type(x509.DNSName)]
    hosts += [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return [str(uri) for uri in names.get_values_for_type(x509.UniformResourceIdentifier)], hosts


def der_of(certificate: x509.Certificate) -> bytes:
    """The bytes that a thumbprint is taken of."""
    return certificate.public_bytes(Encoding.DER)


def read_chain(data: bytes) -> list[x509.Certificate]:
    """The certificates in a ByteString of OPC UA: the application's own, then those that have issued it, in DER.

    (Part 6, 6.2.6.) Raises ``CertificateUnusable``, also when there is none.
    """
    try:
        found = [x509.load_der_x509_certificate(part) for part in _der_parts(data)]
    except ValueError as exc:
        raise CertificateUnusable(f"what should be a certificate is none: {exc}") from exc
    if not found:
        raise CertificateUnusable("there is no certificate")
    return found


def _der_parts(data: bytes) -> Iterator[bytes]:
    """The SEQUENCEs that follow one another in ``data`` (X.690, 8.1.3). Raises ``ValueError``."""
    at = 0
    for _ in range(CHAIN_MAX):
        if at >= len(data):
            return
        if len(data) - at < 2 or data[at] != 0x30:
            raise ValueError("it does not begin as one")
        size, head = data[at + 1], 2
        if size & 0x80:
            count = size & 0x7F
            if not 1 <= count <= 4 or len(data) - at < 2 + count:
                raise ValueError("its length cannot be read")
            size, head = int.from_bytes(data[at + 2 : at + 2 + count], "big"), 2 + count
        if at + head + size > len(data):
            raise ValueError("it is cut off")
        yield data[at : at + head + size]
        at += head + size
    if at < len(data):
        raise ValueError(f"there are more than {CHAIN_MAX}")


def read_certificate_file(path: Path) -> list[x509.Certificate]:
    """The certificates of a file, PEM or DER. Raises ``CertificateUnusable``."""
    data = read_file(path)
    try:
        return x509.load_pem_x509_certificates(data) if b"-----BEGIN" in data else read_chain(data)
    except (ValueError, CertificateUnusable) as exc:
        raise CertificateUnusable(f"the file {str(path)!r} holds no certificate, as PEM or DER: {exc}") from exc


def read_file(path: Path) -> bytes:
    """The content of a small file. Raises ``CertificateUnusable``."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES_MAX + 1)
    except OSError as exc:
        raise CertificateUnusable(f"the file {str(path)!r} cannot be read: {exc.strerror}") from exc
    if len(data) > FILE_BYTES_MAX:
        raise CertificateUnusable(f"the file {str(path)!r} is too large to be a certificate or key")
    return data
