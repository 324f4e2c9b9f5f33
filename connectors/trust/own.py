"""The agent's own key and certificate as an OPC UA application: made on the first use, renewed when a person says so.

The application URI is the certificate's own, whatever the box is called later: servers have accepted that one. Nothing
is renewed by itself, as each server would refuse the new one until a person there has accepted it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connectors.configuration.durable_files import replace_file
from connectors.trust.certificates import CertificateUnusable, facts_of, read_certificate_file, read_file

CERTIFICATE_FILE: Final = "own.der"
KEY_FILE: Final = "own.key"
VALID_DAYS: Final = 3652
"""Ten years: the life of a machine's controls is longer, and each renewal has to be accepted on each server."""

KEY_BITS: Final = 2048
"""What every policy here takes (2,048 to 4,096), also on the smallest controllers."""

PRODUCT_URI: Final = "urn:lineside:edge-agent"


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """Key and certificate of this application, and the certificates of those that have issued it."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey
    issuers: tuple[x509.Certificate, ...]
    application_uri: str


def own_certificate(folder: Path, agent: str) -> OwnCertificate:
    """That of the agent ``group/name`` in ``folder``, made when there is none. Raises ``CertificateUnusable``."""
    with _alone(folder):
        if not (folder / CERTIFICATE_FILE).exists():  # a key alone is one that a crash has left, before anybody knew it
            _make(folder, agent)
        return load_pair(folder / CERTIFICATE_FILE, folder / KEY_FILE)


def renew_own_certificate(folder: Path, agent: str) -> OwnCertificate:
    """A new key and certificate in the place of those in ``folder``, which are kept as ``….before``.

    Sessions that are opened from then on use them. Raises ``CertificateUnusable``.
    """
    with _alone(folder):
        try:
            for name in (CERTIFICATE_FILE, KEY_FILE):
                if (folder / name).exists():
                    (folder / name).replace(folder / f"{name}.before")
        except OSError as exc:
            raise CertificateUnusable(f"{folder} cannot be written: {exc.strerror}") from exc
        _make(folder, agent)
        return load_pair(folder / CERTIFICATE_FILE, folder / KEY_FILE)


def load_pair(certificate_file: Path, key_file: Path) -> OwnCertificate:
    """Certificate and key from two files, each PEM or DER. Raises ``CertificateUnusable``, also for unequal halves."""
    certificate, *issuers = read_certificate_file(certificate_file)
    key = load_key(key_file)
    if certificate.public_key() != key.public_key():
        raise CertificateUnusable(f"the key in {str(key_file)!r} is not that of {str(certificate_file)!r}")
    return OwnCertificate(certificate, key, tuple(issuers), facts_of(certificate).application_uri)


def load_key(path: Path) -> rsa.RSAPrivateKey:
    """A private key for RSA, without passphrase, that nobody else may read. Raises ``CertificateUnusable``."""
    data = read_file(path)
    try:
        if path.stat().st_mode & 0o077:
            raise CertificateUnusable(f"others may read or change the key {str(path)!r} (chmod 600)")
        key = load_pem_private_key(data, None) if b"-----BEGIN" in data else load_der_private_key(data, None)
    except TypeError as exc:
        raise CertificateUnusable(
            f"the key in {str(path)!r} is encrypted, and nobody is there to type its passphrase; take it off"
        ) from exc
    except (ValueError, OSError) as exc:
        raise CertificateUnusable(f"the file {str(path)!r} holds no private key, as PEM or DER") from exc
    if not isinstance(key, rsa.RSAPrivateKey):
        raise CertificateUnusable(f"the key in {str(path)!r} is not for RSA, which OPC UA's policies need")
    return key


def application_uri(agent: str, host: str) -> str:
    """The name of this application in the world: of its box and its agent (Part 4, 7.2)."""
    parts = [re.sub(r"[^A-Za-z0-9._-]", "-", part) for part in agent.split("/") if part]
    return ":".join(["urn", _host_label(host), "lineside", *parts])


def _host_label(host: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]", "-", host) or "localhost"


def _make(folder: Path, agent: str) -> None:
    host = socket.gethostname()
    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, f"Lineside edge agent {agent}"[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, (agent.partition("/")[0] or "Lineside")[:64]),
        ]
    )
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the server's clock may be behind
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(application_uri(agent, host)), x509.DNSName(_host_label(host))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        for file, content, mode in (
            (folder / KEY_FILE, secret, 0o600),
            (folder / CERTIFICATE_FILE, certificate.public_bytes(Encoding.DER), 0o644),
        ):
            replace_file(file.with_name(f"{file.name}.new"), file, content, mode=mode)
    except OSError as exc:
        raise CertificateUnusable(f"{folder} cannot be written: {exc.strerror}") from exc


def _key_usage() -> x509.KeyUsage:
    """Part 6, 6.2.2: these four for RSA, and keyCertSign for what is signed by itself."""
    return x509.KeyUsage(
        digital_signature=True, content_commitment=True, key_encipherment=True, data_encipherment=True,
        key_cert_sign=True, key_agreement=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold ``folder`` against another process that makes the same now. Raises ``CertificateUnusable``."""
    try:
        make_folder(folder)
        descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as exc:
        raise CertificateUnusable(f"the folder {folder} cannot be used: {exc.strerror}") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Have ``folder`` be there; root gives it to whom the folder above belongs. Raises ``OSError``."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o755, exist_ok=True)
    if os.geteuid() == 0:
        above = folder.parent.stat()
        os.chown(folder, above.st_uid, above.st_gid)
