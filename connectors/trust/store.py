"""The trust list: certificates of servers that people here have accepted, and those that wait for that, as files.

``trusted`` and ``rejected`` hold certificates in DER, each under its thumbprint; ``servers`` what was seen of each
endpoint. Whatever programs use it at once, each file is whole; what counts is the file in ``trusted``, byte for byte,
so that what a person accepts counts from the next connect on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from connectors.configuration.durable_files import replace_file
from connectors.trust.certificates import (
    CertificateFacts,
    CertificateUnusable,
    der_of,
    facts_of,
    read_certificate_file,
    thumbprint_of,
)
from connectors.trust.own import make_folder

REJECTED_MAX: Final = 100
SERVERS_MAX: Final = 1000
THUMBPRINT_DIGITS_MIN: Final = 6
_THUMBPRINT: Final = re.compile(r"[0-9A-F]+")

State = Literal["trusted", "rejected"]


@dataclass(frozen=True, slots=True)
class SeenServer:
    """What one endpoint has shown last. ``accepted``: the thumbprint that it was last connected with."""

    device: str
    endpoint: str
    thumbprint: str
    accepted: str = ""
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    time_ms: int = 0

    @property
    def has_changed(self) -> bool:
        """Whether it shows another certificate than the one it was connected with."""
        return bool(self.accepted) and self.accepted != self.thumbprint


@dataclass(frozen=True, slots=True)
class Entry:
    """One certificate of the list, and the servers that have shown it last."""

    state: State
    facts: CertificateFacts
    path: Path
    servers: tuple[SeenServer, ...]

    def to_json(self) -> dict[str, Any]:
        """As ``--json`` shows it."""
        servers = [{**asdict(server), "changed": server.has_changed} for server in self.servers]
        return {"state": self.state, **self.facts.to_json(), "path": str(self.path), "servers": servers}


class TrustStore:
    """The list in ``folder``. Methods that write raise ``CertificateUnusable`` when the disk does not let them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def is_accepted(self, der: bytes) -> bool:
        """Whether a person has accepted exactly this certificate."""
        try:
            return self._path("trusted", thumbprint_of(der)).read_bytes() == der
        except OSError:
            return False

    def entries(self) -> list[Entry]:
        """All of them, trusted ones first; files that hold no certificate are left out."""
        seen = list(self.servers())
        found: list[Entry] = []
        states: tuple[State, ...] = ("trusted", "rejected")
        for state in states:
            for path in sorted((self.folder / state).glob("*.der")):
                with contextlib.suppress(CertificateUnusable):
                    facts = facts_of(read_certificate_file(path)[0])
                    shown = tuple(server for server in seen if server.thumbprint == facts.thumbprint)
                    found.append(Entry(state, facts, path, shown))
        return found

    def entry(self, thumbprint: str) -> Entry:
        """The one whose thumbprint begins so (colons and spaces do not count). Raises ``CertificateUnusable``."""
        wanted = re.sub(r"[\s:]", "", thumbprint).upper()
        if len(wanted) < THUMBPRINT_DIGITS_MIN or not _THUMBPRINT.fullmatch(wanted):
            raise CertificateUnusable(
                f"{thumbprint!r} is not a thumbprint; give at least {THUMBPRINT_DIGITS_MIN} of its hexadecimal digits"
            )
        found = [entry for entry in self.entries() if entry.facts.thumbprint.startswith(wanted)]
        if len({entry.facts.thumbprint for entry in found}) > 1:
            raise CertificateUnusable(f"several certificates begin with {wanted}; give more of the thumbprint")
        if not found:
            raise CertificateUnusable(
                f"there is no certificate {wanted}; 'edge-agent trust list' shows those that servers have presented"
            )
        return found[0]

    def accept(self, thumbprint: str) -> Entry:
        """Trust a certificate that waits for that; the next connect takes it."""
        return self._moved(self.entry(thumbprint), "trusted")

    def reject(self, thumbprint: str) -> Entry:
        """Trust a certificate no more."""
        return self._moved(self.entry(thumbprint), "rejected")

    def accept_file(self, path: Path) -> Entry:
        """Trust the certificate in ``path`` before its server was ever connected to."""
        der = der_of(read_certificate_file(path)[0])
        self._write("trusted", der)
        return self.entry(thumbprint_of(der))

    def keep_rejected(self, der: bytes) -> None:
        """Keep a certificate that was refused, for a person to look at; the oldest ones leave."""
        if not self._path("rejected", thumbprint_of(der)).exists():
            self._write("rejected", der)
            _prune(self.folder / "rejected", "*.der", REJECTED_MAX)

    def server(self, endpoint: str) -> SeenServer | None:
        """What was seen of an endpoint."""
        return _read_server(self._server_path(endpoint))

    def servers(self) -> Iterator[SeenServer]:
        """What was seen of each endpoint."""
        for path in sorted((self.folder / "servers").glob("*.json")):
            if (server := _read_server(path)) is not None:
                yield server

    def note(self, server: SeenServer) -> None:
        """Remember what an endpoint shows; written only when it is other than before."""
        before = self.server(server.endpoint)
        if before is not None and {**asdict(before), "time_ms": 0} == {**asdict(server), "time_ms": 0}:
            return
        path = self._server_path(server.endpoint)
        with self._named():
            self._make(path.parent)
            content = json.dumps(asdict(server), ensure_ascii=False).encode()
            replace_file(_beside(path), path, content, mode=0o644)
            _prune(path.parent, "*.json", SERVERS_MAX)

    def _moved(self, entry: Entry, state: State) -> Entry:
        if entry.state == state:
            return entry
        target = self._path(state, entry.facts.thumbprint)
        with self._named():
            self._make(target.parent)
            entry.path.replace(target)
        return Entry(state, entry.facts, target, entry.servers)

    def _write(self, state: State, der: bytes) -> None:
        path = self._path(state, thumbprint_of(der))
        with self._named():
            self._make(path.parent)
            replace_file(_beside(path), path, der, mode=0o644)
            if state == "trusted":
                self._path("rejected", thumbprint_of(der)).unlink(missing_ok=True)

    def _make(self, folder: Path) -> None:
        make_folder(self.folder)
        make_folder(folder)

    def _path(self, state: State, thumbprint: str) -> Path:
        return self.folder / state / f"{thumbprint}.der"

    def _server_path(self, endpoint: str) -> Path:
        return self.folder / "servers" / f"{hashlib.sha256(endpoint.encode()).hexdigest()[:32]}.json"

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            raise CertificateUnusable(f"the trust list {self.folder} cannot be written: {exc.strerror}") from exc


def _beside(path: Path) -> Path:
    """Where this thread alone writes what is to be ``path``: devices connect side by side, each in a thread."""
    return path.with_name(f"{path.name}.{os.getpid()}-{threading.get_native_id()}.new")


def _read_server(path: Path) -> SeenServer | None:
    try:
        document = json.loads(path.read_bytes())
        lists = {name: tuple(map(str, document[name])) for name in ("problems", "warnings")}
        texts = {name: str(document[name]) for name in ("device", "endpoint", "thumbprint", "accepted")}
        return SeenServer(**texts, **lists, time_ms=int(document["time_ms"]))  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _prune(folder: Path, pattern: str, count_max: int) -> None:
    """Remove the oldest files when there are too many. Raises ``OSError``."""
    paths = list(folder.glob(pattern))
    if len(paths) <= count_max:
        return
    paths.sort(key=lambda path: path.stat().st_mtime)
    for path in paths[: len(paths) - count_max]:
        path.unlink(missing_ok=True)
