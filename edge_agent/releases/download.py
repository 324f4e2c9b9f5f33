"""The package of a release from the gateway to the disk: resumed where it broke off, bounded, and checked by its hash.

What the gateway gives is not believed: the package counts by its SHA-256, which the command says, and by the release
key that has signed it, whose public half is on the box.
"""

from __future__ import annotations

import http.client
import ssl
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from connectors.model.errors import LinesideError
from connectors.releases.manifest import ReleaseInvalid
from connectors.releases.package import file_sha256

TIME_OUT_S: Final = 30.0
WHOLE_S_MAX: Final = 3600.0
FRUITLESS_MAX: Final = 5
"""So many attempts in a row that bring nothing are the end."""
RETRY_S: Final = 2.0
CHUNK_BYTES: Final = 64 * 1024
_OK, _PARTIAL, _BEYOND = 200, 206, 416


class DownloadFailed(LinesideError):
    """The package is not here; what came of it is kept, and the next attempt goes on from there."""


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where packages are. ``url`` is that of the cloud's gateway."""

    url: str
    ca_file: Path | None
    bytes_max: int


class _Interrupted(Exception):
    """The connection failed; what came before is on the disk."""


def download(gateway: Gateway, sha256: str, path: Path, stop: threading.Event) -> None:
    """Bring the package with this hash to ``path``; ``stop`` ends it soon.

    Raises ``DownloadFailed``, ``ReleaseInvalid`` when the bytes are others, ``OSError`` of the disk.
    """
    end_s = time.monotonic() + WHOLE_S_MAX
    fruitless, reason = 0, ""
    path.parent.mkdir(parents=True, exist_ok=True)
    while fruitless < FRUITLESS_MAX and time.monotonic() < end_s:
        before = path.stat().st_size if path.exists() else 0
        try:
            _attempt(gateway, sha256, path, stop, end_s)
        except _Interrupted as exc:
            reason = str(exc)
            after = path.stat().st_size if path.exists() else 0
            fruitless = 0 if after > before else fruitless + 1
            if stop.wait(RETRY_S):
                raise DownloadFailed("the agent ends") from exc
            continue
        if (found := file_sha256(path)) == sha256:
            return
        path.unlink()
        raise ReleaseInvalid(f"what {gateway.url} gives has the SHA-256 {found}, and not {sha256}")
    raise DownloadFailed(f"{gateway.url}: {reason}")


def _attempt(gateway: Gateway, sha256: str, path: Path, stop: threading.Event, end_s: float) -> None:
    have = path.stat().st_size if path.exists() else 0
    connection, prefix = _connection(gateway)
    try:
        headers = {"Accept": "application/octet-stream"} | ({"Range": f"bytes={have}-"} if have else {})
        connection.request("GET", f"{prefix}/api/v1/releases/{sha256}", headers=headers)
        with connection.getresponse() as answer:
            if answer.status == _BEYOND and have:
                return  # all of it is here, or it is another one: its hash says which
            if answer.status not in (_OK, _PARTIAL):
                said = "has no such release" if answer.status == http.client.NOT_FOUND else "does not give it"
                raise DownloadFailed(f"{gateway.url} {said} (status {answer.status})")
            begin = _begin(answer, have)
            length = answer.length
            if length is None or begin + length > gateway.bytes_max:
                raise DownloadFailed(f"it has more than {gateway.bytes_max:,} bytes, or does not say how many")
            with path.open("r+b" if begin else "wb") as file:
                file.seek(begin)
                file.truncate()
                # read1: what is there, so that of a gateway that trickles, too, each piece is looked at
                while length and (chunk := answer.read1(min(CHUNK_BYTES, length))):
                    file.write(chunk)
                    length -= len(chunk)
                    if stop.is_set() or time.monotonic() > end_s:
                        raise DownloadFailed("it took too long" if not stop.is_set() else "the agent ends")
                if length:
                    raise _Interrupted("the connection was closed in the middle")
    except (OSError, http.client.HTTPException) as exc:
        if isinstance(exc, OSError) and exc.filename is not None:
            raise  # the disk
        raise _Interrupted(f"cannot be reached, or breaks off: {str(exc) or type(exc).__name__}") from exc
    finally:
        connection.close()


def _begin(answer: http.client.HTTPResponse, have: int) -> int:
    """From which byte on the answer is; what came before is dropped unless it goes on just there."""
    if answer.status == _OK:
        return 0
    said = answer.headers.get("Content-Range", "")
    if not said.startswith(f"bytes {have}-"):
        raise DownloadFailed(f"the answer has other bytes than were asked for: {said[:100]!r}")
    return have


def _connection(gateway: Gateway) -> tuple[http.client.HTTPConnection, str]:
    parts = urlsplit(gateway.url)
    host, prefix = parts.hostname or "", parts.path.rstrip("/")
    if parts.scheme == "http":
        return http.client.HTTPConnection(host, parts.port, timeout=TIME_OUT_S), prefix
    try:
        context = ssl.create_default_context(cafile=None if gateway.ca_file is None else str(gateway.ca_file))
    except (OSError, ssl.SSLError) as exc:
        raise DownloadFailed(f"the certificates in {gateway.ca_file} cannot be used: {exc}") from exc
    return http.client.HTTPSConnection(host, parts.port, timeout=TIME_OUT_S, context=context), prefix
