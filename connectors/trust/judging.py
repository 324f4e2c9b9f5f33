"""Whether a server's certificate is taken: the steps of OPC UA Part 4, 6.1.3, and what each leads to here. Pure.

Refused always: what cannot be read, a signature or chain that does not hold, a key too short, what nobody has accepted,
what its issuer has revoked. Refused unless the device file allows it: an application URI that is not the server's, a
use that the certificate rules out, and a time that is over, of a certificate that counts for its issuer alone. Only
said: a host name that it does not have, a revocation list that is missing or old, and a time that is over, of a
certificate that a person here has accepted by itself: that one is known by its key, and a line does not stop at
midnight.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from connectors.trust.certificates import CHAIN_MAX, CertificateFacts, der_of, facts_of, iso_utc

KEY_BITS_MIN, KEY_BITS_MAX = 2048, 4096
"""Of the three policies (Part 7: Basic256Sha256, Aes128-Sha256-RsaOaep, Aes256-Sha256-RsaPss)."""

Allowed = Literal["expired", "application_uri", "key_usage"]
ALLOWABLE: Final[tuple[Allowed, ...]] = ("expired", "application_uri", "key_usage")


@dataclass(frozen=True, slots=True)
class Issuers:
    """Authorities whose certificates count, and their revocation lists."""

    certificates: Sequence[x509.Certificate] = ()
    revocation_lists: Sequence[x509.CertificateRevocationList] = ()


@dataclass(frozen=True, slots=True)
class Judgement:
    """What came of it: taken when ``refusals`` is empty. ``untrusted``: accepting it would help."""

    facts: CertificateFacts
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    untrusted: bool = False


@dataclass(slots=True)
class _Said:
    allowed: frozenset[Allowed]
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse_unless(self, allowed: Allowed, sentence: str) -> None:
        (self.warnings if allowed in self.allowed else self.refusals).append(sentence)


def judge(
    chain: Sequence[x509.Certificate],
    *,
    accepted: bool,
    issuers: Issuers,
    application_uri: str | None,
    host: str,
    now_s: float,
    allowed: frozenset[Allowed] = frozenset(),
) -> Judgement:
    """Judge the first certificate of ``chain``; the others may be needed to find its issuer.

    ``accepted``: a person has accepted exactly this one. ``application_uri``: what the server calls itself; ``None``
    where nobody has asked. Raises ``CertificateUnusable``.
    """
    certificate = chain[0]
    facts = facts_of(certificate)
    said = _Said(allowed)
    _judge_key(facts, said)
    above = None if accepted else _path(certificate, [*chain[1:], *issuers.certificates], issuers.certificates, said)
    untrusted = not accepted and above is None
    if above is not None:
        _judge_revocation([certificate, *above], issuers.revocation_lists, now_s, said)
    _judge_time("it", facts, now_s, said, accepted=accepted or untrusted)  # what accepting it would overcome
    for each in above or ():
        _judge_time(f"its issuer {each.subject.rfc4514_string()}", facts_of(each), now_s, said, accepted=False)
    if application_uri is not None and facts.application_uri != application_uri:
        said.refuse_unless(
            "application_uri",
            f"it is for the application {facts.application_uri or '(none)'}, and the server calls itself "
            f"{application_uri or '(nothing)'}",
        )
    if host and host.lower() not in {name.lower() for name in facts.hosts}:
        named = ", ".join(facts.hosts[:5]) or "no host"
        said.warnings.append(f"it names {named}, and not {host}, under which the server is reached")
    _judge_usage(certificate, said)
    return Judgement(facts, tuple(said.refusals), tuple(said.warnings), untrusted)


def _judge_key(facts: CertificateFacts, said: _Said) -> None:
    if not facts.is_rsa:
        said.refusals.append("its key is not for RSA")
    elif not KEY_BITS_MIN <= facts.key_bits <= KEY_BITS_MAX:
        said.refusals.append(f"its key has {facts.key_bits} bits; {KEY_BITS_MIN} to {KEY_BITS_MAX} are taken")


def _judge_time(who: str, facts: CertificateFacts, now_s: float, said: _Said, *, accepted: bool) -> None:
    if now_s < facts.not_before_s:
        sentence = f"{who} is valid from {iso_utc(facts.not_before_s)} on: check the clocks here and there"
    elif now_s > facts.not_after_s:
        sentence = f"{who} has expired on {iso_utc(facts.not_after_s)}"
    else:
        return
    if accepted:
        said.warnings.append(sentence)
    else:
        said.refuse_unless("expired", sentence)


def _judge_usage(certificate: x509.Certificate, said: _Said) -> None:
    """A use that is ruled out refuses it where the extension is critical, and is only said where it is not."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
    except x509.ExtensionNotFound:
        said.warnings.append("it does not say what its key may be used for")
        return
    missing = [
        name
        for name, has in (
            ("digitalSignature", usage.value.digital_signature),
            ("keyEncipherment", usage.value.key_encipherment),
            ("dataEncipherment", usage.value.data_encipherment),
        )
        if not has
    ]
    if missing:
        sentence = f"its key may not be used for {', '.join(missing)}"
        if usage.critical:
            said.refuse_unless("key_usage", sentence)
        else:
            said.warnings.append(sentence)


def _path(
    certificate: x509.Certificate,
    candidates: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    said: _Said,
) -> list[x509.Certificate] | None:
    """The issuers from that of ``certificate`` to a trusted one; ``None`` when they do not lead to one.

    A certificate that stands in the file of issuers itself counts, too.
    """
    known = {der_of(each) for each in trusted}
    if der_of(certificate) in known:
        return []
    found: list[x509.Certificate] = []
    current = certificate
    for _ in range(CHAIN_MAX):
        issuer = next((each for each in candidates if _has_issued(each, current)), None)
        if issuer is None or issuer in found:
            return None
        if not _may_issue(issuer):
            said.refusals.append(f"its issuer {issuer.subject.rfc4514_string()} may not issue certificates")
        found.append(issuer)
        if der_of(issuer) in known:
            return found
        current = issuer
    return None


def _has_issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _may_issue(issuer: x509.Certificate) -> bool:
    try:
        return bool(issuer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca)
    except x509.ExtensionNotFound:
        return False


def _judge_revocation(
    path: Sequence[x509.Certificate], lists: Sequence[x509.CertificateRevocationList], now_s: float, said: _Said
) -> None:
    for certificate, issuer in itertools.pairwise(path):
        own = list(_lists_of(issuer, lists))
        who = issuer.subject.rfc4514_string()
        if any(each.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None for each in own):
            said.refusals.append(f"its issuer {who} has revoked {certificate.subject.rfc4514_string()}")
        if not own:
            said.warnings.append(f"there is no revocation list of its issuer {who}")
            continue
        due = [each.next_update_utc for each in own if each.next_update_utc is not None]
        if due and max(due) < datetime.fromtimestamp(now_s, UTC):
            said.warnings.append(f"the revocation list of its issuer {who} was to be replaced by {max(due):%Y-%m-%d}")


def _lists_of(
    issuer: x509.Certificate, lists: Sequence[x509.CertificateRevocationList]
) -> Iterator[x509.CertificateRevocationList]:
    key = issuer.public_key()
    for each in lists:
        if each.issuer == issuer.subject and isinstance(key, RSAPublicKey) and each.is_signature_valid(key):
            yield each
