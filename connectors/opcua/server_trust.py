"""Whether the certificate that a server shows is taken, and what is kept of it for people to decide on."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from cryptography import x509

from connectors.model.errors import LinesideError
from connectors.opcua.settings import OpcUaDevice
from connectors.trust import FOLDER
from connectors.trust.certificates import CertificateUnusable, der_of, read_chain
from connectors.trust.issuer_files import read_issuers
from connectors.trust.judging import Judgement, judge
from connectors.trust.store import SeenServer, TrustStore


class ServerUntrusted(LinesideError):
    """The server's certificate is not taken: why, and what a person can do."""


def trust_store(device: OpcUaDevice) -> TrustStore:
    """The trust list of the agent of ``device``. Raises ``CertificateUnusable`` when it belongs to none."""
    if device.place is None:
        raise CertificateUnusable(
            "a secured session needs the agent's data folder, with its own certificate: name its file (--config)"
        )
    return TrustStore(device.place.data_dir / FOLDER)


def checked_server(
    device: OpcUaDevice, endpoint: str, data: bytes, application_uri: str | None, now_s: float
) -> x509.Certificate:
    """The certificate that ``data`` (as the server at ``endpoint`` sends it) begins with, when it is taken.

    Reads and writes files. ``application_uri``: what the server calls itself; ``None`` where nobody has asked now.
    Raises ``ServerUntrusted``, ``CertificateUnusable``.
    """
    return _taken(device, endpoint, data, application_uri, now_s, is_news=True)


def still_trusted(device: OpcUaDevice, endpoint: str, data: bytes, now_s: float) -> None:
    """Raise ``ServerUntrusted`` when the certificate of a session that is open would be refused now."""
    _taken(device, endpoint, data, None, now_s, is_news=False)


def _taken(
    device: OpcUaDevice, endpoint: str, data: bytes, application_uri: str | None, now_s: float, *, is_news: bool
) -> x509.Certificate:
    store = trust_store(device)
    chain = _chain(data)
    der = der_of(chain[0])
    judgement = judge(
        chain,
        accepted=store.is_accepted(der),
        issuers=read_issuers(device.security.trust.issuers),
        application_uri=application_uri,
        host=urlsplit(endpoint).hostname or "",
        now_s=now_s,
        allowed=frozenset(device.security.trust.allow),
    )
    refused = judgement.untrusted or bool(judgement.refusals)
    known = ""
    if is_news or refused:
        known = _noted(store, device.name, endpoint, judgement, now_s)
    if refused:
        if judgement.untrusted:
            store.keep_rejected(der)
        raise ServerUntrusted(_refusal(judgement, known))
    return chain[0]


def _noted(store: TrustStore, device: str, endpoint: str, judgement: Judgement, now_s: float) -> str:
    """The thumbprint of the certificate that the server was taken with before, after what it shows now is noted."""
    before = store.server(endpoint)
    known = "" if before is None else before.accepted
    thumbprint = judgement.facts.thumbprint
    problems = (("nobody has accepted it",) if judgement.untrusted else ()) + judgement.refusals
    store.note(
        SeenServer(
            device=device,
            endpoint=endpoint,
            thumbprint=thumbprint,
            accepted=known if problems else thumbprint,
            problems=problems,
            warnings=judgement.warnings,
            time_ms=round(now_s * 1000),
        )
    )
    return known


def _chain(data: bytes) -> Sequence[x509.Certificate]:
    try:
        return read_chain(data)
    except CertificateUnusable as exc:
        raise ServerUntrusted(f"the server shows no certificate that can be read: {exc}") from exc


def _refusal(judgement: Judgement, known: str) -> str:
    facts = judgement.facts
    what = f"the server's certificate {facts.thumbprint} ({facts.subject})"
    if judgement.refusals:
        why = "; ".join(judgement.refusals)
        return (
            f"{what} is refused: {why}. Correct it on the server; security.trust.allow says what is taken all the same"
        )
    told = "is not accepted yet"
    if known and known != facts.thumbprint:
        told = f"has changed: before, it was {known}. The new one {told}"
    return (
        f"{what} {told}. Compare the thumbprint with the server's own, then run: "
        f"edge-agent trust accept {facts.thumbprint}"
    )
