"""When the certificates end that connections of an agent rest on: its own, those of servers, and named files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from connectors.trust.certificates import CertificateUnusable, facts_of, iso_utc, read_certificate_file
from connectors.trust.own import CERTIFICATE_FILE
from connectors.trust.store import TrustStore

Whose = Literal["own", "server", "file"]
DAY_S = 86_400
_ADVICE: dict[Whose, str] = {
    "own": "'edge-agent trust own --renew' makes a new one, which every server has to accept",
    "server": "renew it on the server, and accept the new one (edge-agent trust list)",
    "file": "put a new one in its place",
}


@dataclass(frozen=True, slots=True)
class CertificateEnd:
    """One certificate: whose it is and what it is for, in words, and when it ends (Unix time in seconds)."""

    whose: Whose
    what: str
    thumbprint: str
    not_after_s: int

    def days_left(self, now_s: float) -> int:
        """Whole days until it ends; negative when it has."""
        return int((self.not_after_s - now_s) // DAY_S)

    def sentence(self, now_s: float) -> str:
        """When it ends, and what to do."""
        left_s = self.not_after_s - now_s
        days = self.days_left(now_s)
        when = "has expired" if left_s < 0 else "ends today" if days == 0 else f"ends in {days} days"
        return f"{self.what} {when} ({iso_utc(self.not_after_s)}): {_ADVICE[self.whose]}"


def certificate_ends(folder: Path, endpoints: Iterable[str], files: Mapping[Path, str]) -> Sequence[CertificateEnd]:
    """The certificates of the trust list in ``folder`` and in ``files`` (by path, what each is for), soonest first.

    Of servers those that ``endpoints`` were connected with last. What cannot be read has no end: whoever needs it says
    so. Reads files.
    """
    found: list[CertificateEnd] = []
    _add(found, "own", "the agent's own certificate", folder / CERTIFICATE_FILE)
    store, wanted = TrustStore(folder), set(endpoints)
    for server in store.servers():
        if server.endpoint in wanted and server.accepted == server.thumbprint:
            path = folder / "trusted" / f"{server.accepted}.der"
            _add(found, "server", f"the certificate of {server.device} ({server.endpoint})", path)
    for path, what in files.items():
        _add(found, "file", f"{what} ({path})", path)
    return sorted(found, key=lambda each: each.not_after_s)


def _add(found: list[CertificateEnd], whose: Whose, what: str, path: Path) -> None:
    """Of a file with several certificates, the one that ends first."""
    if not path.exists():
        return
    try:
        facts = [facts_of(each) for each in read_certificate_file(path)]
    except CertificateUnusable:
        return
    if facts:
        first = min(facts, key=lambda each: each.not_after_s)
        found.append(CertificateEnd(whose, what, first.thumbprint, first.not_after_s))
