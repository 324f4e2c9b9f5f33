"""Certificates for tests of trust: of servers, of authorities, and revocation lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

URI = "urn:acme:press"
HOST = "press.plant"
NOW = datetime(2030, 6, 1, tzinfo=UTC)
NOW_S = NOW.timestamp()
USES = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment")
_ALL_USES = (
    *USES, "key_agreement", "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


@lru_cache
def key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """The same key each time for the same name."""
    del name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def certificate(
    name: str = "press",
    *,
    issuer: x509.Certificate | None = None,
    issuer_key: rsa.RSAPrivateKey | None = None,
    own_key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | None = None,
    uri: str = URI,
    hosts: Sequence[str] = (HOST,),
    days: tuple[int, int] = (-10, 10),
    uses: Sequence[str] = USES,
    critical: bool = True,
    ca: bool = False,
) -> x509.Certificate:
    """Signed by itself, or by ``issuer``; valid for these days, counted from ``NOW``."""
    secret = own_key or key(name)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri), *(x509.DNSName(host) for host in hosts)]
    usage: dict[str, Any] = {use: use in uses for use in _ALL_USES}
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject if issuer is None else issuer.subject)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days=days[0]))
        .not_valid_after(NOW + timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=critical)
        .sign(issuer_key or secret, hashes.SHA256())
    )


def authority(name: str = "plant CA", **more: Any) -> x509.Certificate:
    """A certificate that may issue others, whose key is ``key(name)``."""
    return certificate(name, uri="urn:ca", uses=("key_cert_sign", "crl_sign"), ca=True, **more)


def issued(by: str = "plant CA", issuer: x509.Certificate | None = None, **more: Any) -> x509.Certificate:
    """A certificate of the press that the authority ``by`` has issued."""
    return certificate(issuer=issuer or authority(by), issuer_key=key(by), **more)


def revocations(
    *serials: int, by: str = "plant CA", issuer: x509.Certificate, due_days: int = 10
) -> x509.CertificateRevocationList:
    """The list of what ``issuer`` has revoked."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(NOW - timedelta(days=20))
        .next_update(NOW + timedelta(days=due_days))
    )
    for serial in serials:
        revoked = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW - timedelta(days=1))
        builder = builder.add_revoked_certificate(revoked.build())
    return builder.sign(key(by), hashes.SHA256())


def der(certificate: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """Its bytes."""
    return certificate.public_bytes(Encoding.DER)


def pem(certificate: x509.Certificate | x509.CertificateRevocationList) -> bytes:
    """As text."""
    return certificate.public_bytes(Encoding.PEM)
