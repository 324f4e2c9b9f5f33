"""The files of ``trust.issuers``: certificates of authorities and their revocation lists, PEM or DER."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from cryptography import x509

from connectors.trust.certificates import CertificateUnusable, read_chain, read_file
from connectors.trust.judging import Issuers

_END = b"-----END X509 CRL-----"


def read_issuers(paths: Iterable[Path]) -> Issuers:
    """All that ``paths`` hold. Raises ``CertificateUnusable``, with the file."""
    certificates: list[x509.Certificate] = []
    lists: list[x509.CertificateRevocationList] = []
    for path in paths:
        data = read_file(path)
        try:
            if b"-----BEGIN" in data:
                blocks = data.split(_END)
                lists += [x509.load_pem_x509_crl(_from_begin(block) + _END) for block in blocks[:-1]]
                if b"BEGIN CERTIFICATE-----" in data:
                    certificates += x509.load_pem_x509_certificates(data)
            else:
                _read_der(data, certificates, lists)
        except (ValueError, CertificateUnusable) as exc:
            raise CertificateUnusable(
                f"the file {str(path)!r} holds neither a certificate nor a revocation list, as PEM or DER: {exc}"
            ) from exc
    return Issuers(certificates, lists)


def _from_begin(block: bytes) -> bytes:
    return block[block.rfind(b"-----BEGIN X509 CRL-----") :]


def _read_der(data: bytes, certificates: list[x509.Certificate], lists: list[x509.CertificateRevocationList]) -> None:
    try:
        lists.append(x509.load_der_x509_crl(data))
    except ValueError:
        certificates += read_chain(data)
