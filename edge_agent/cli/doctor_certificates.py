"""What ``edge-agent doctor`` looks at of certificates: until when each of them holds, and who waits to be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from connectors.trust.certificates import CertificateUnusable, facts_of, read_certificate_file
from connectors.trust.own import CERTIFICATE_FILE
from connectors.trust.store import TrustStore
from edge_agent.cli.findings import Finding
from edge_agent.cli.words import duration

SOON_S: Final = 30 * 86_400.0
"""A certificate that ends sooner is one to renew now: authorities and approvals take weeks."""


def certificate_files(files: Mapping[str, Path], now_s: float) -> Iterator[Finding]:
    """Until when the certificates in ``files`` hold; keys say what they are for."""
    for name, path in files.items():
        try:
            facts = [facts_of(one) for one in read_certificate_file(path)]
        except CertificateUnusable as exc:
            yield Finding("certificates", "wrong", f"{name}: {exc}", "'edge-agent check' says what it has to be")
            continue
        first = min(facts, key=lambda one: one.not_after_s)
        yield validity(f"{name} ({path.name})", first.not_before_s, first.not_after_s, now_s, "renew it")


def validity(name: str, not_before_s: float, not_after_s: float, now_s: float, todo: str) -> Finding:
    """Whether a certificate holds now, and for a while."""
    left_s = not_after_s - now_s
    if left_s <= 0:
        return Finding("certificates", "wrong", f"{name} has expired {duration(-left_s)} ago", todo)
    if now_s < not_before_s:
        said = f"{name} holds only in {duration(not_before_s - now_s)}"
        return Finding("certificates", "wrong", said, "is the clock of this box right? Otherwise wait, or renew it")
    if left_s < SOON_S:
        return Finding("certificates", "look", f"{name} expires in {duration(left_s)}", todo)
    return Finding("certificates", "ok", f"{name} holds for {duration(left_s)}")


def trust_list(folder: Path, now_s: float) -> Iterator[Finding]:
    """The agent's own certificate, those that are trusted, and servers whose certificates wait for a person."""
    store = TrustStore(folder)
    own = folder / CERTIFICATE_FILE
    if own.exists():
        todo = "edge-agent trust own --renew; every server has to accept the new one"
        for found in certificate_files({"of this agent": own}, now_s):
            yield Finding(found.area, found.state, found.said, todo if found.todo else "")
    for entry in store.entries():
        shown = next((server for server in entry.servers if server.thumbprint == entry.facts.thumbprint), None)
        if shown is None:
            continue  # no server shows it any more
        name = f"of {shown.device} ({shown.endpoint})"
        if entry.state == "trusted":
            facts = entry.facts
            yield validity(name, facts.not_before_s, facts.not_after_s, now_s, "have it renewed in the server")
        else:
            short = entry.facts.thumbprint[:12]
            todo = f"compare it with what the server itself shows, then: edge-agent trust accept {short}"
            yield Finding("certificates", "wrong", f"{name} is not trusted: {short}…", todo)
