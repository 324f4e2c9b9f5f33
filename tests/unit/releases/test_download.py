"""What comes from a gateway that breaks off, lies, or sends without end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from connectors.releases.manifest import ReleaseInvalid
from edge_agent.releases import download as module
from edge_agent.releases.download import DownloadFailed, Gateway, download
from tests.patience import WAIT_S_MAX

WHOLE = bytes(range(256)) * 40
HASH = sha256(WHOLE).hexdigest()


class Server(ThreadingHTTPServer):
    """Answers with ``body``; of the first ``broken`` answers only ``bytes_each`` bytes come."""

    daemon_threads = True
    body = WHOLE
    broken = 0
    bytes_each = 1000
    ignores_range = False
    says_length = True
    status = 0
    trickle_s = 0.0
    begins: list[int]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, body = self.server, self.server.body
        asked = self.headers.get("Range", "")
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and not server.ignores_range else 0
        server.begins.append(begin)
        if server.status:
            self.send_error(server.status)
            return
        if begin >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if begin else 200)
        if begin:
            self.send_header("Content-Range", f"bytes {begin}-{len(body) - 1}/{len(body)}")
        if server.says_length:
            self.send_header("Content-Length", str(len(body) - begin))
        self.end_headers()
        part = body[begin:]
        if server.broken > 0:
            server.broken -= 1
            part = part[: server.bytes_each]
        try:
            for byte in part if server.trickle_s else b"":
                self.wfile.write(bytes([byte]))
                time.sleep(server.trickle_s)
            self.wfile.write(b"" if server.trickle_s else part)
        except ConnectionError:
            pass  # the agent has ended

    def log_message(self, *_args: Any) -> None:
        pass


@contextmanager
def serving(**how: Any) -> Iterator[tuple[Server, Gateway]]:
    with Server(("127.0.0.1", 0), Handler) as server:
        server.begins = []
        for name, value in how.items():
            setattr(server, name, value)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, Gateway(f"http://127.0.0.1:{server.server_address[1]}", None, 20_000)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.0)


def test_it_goes_on_where_it_broke_off_however_often(tmp_path: Path) -> None:
    with serving(broken=9) as (server, gateway):
        download(gateway, HASH, tmp_path / "package", threading.Event())
        assert (tmp_path / "package").read_bytes() == WHOLE
        assert server.begins == [1000 * number for number in range(10)]


def test_a_gateway_that_knows_no_ranges_is_heard_from_the_beginning(tmp_path: Path) -> None:
    (tmp_path / "package").write_bytes(b"rubbish of before")
    with serving(ignores_range=True) as (_, gateway):
        download(gateway, HASH, tmp_path / "package", threading.Event())
    assert (tmp_path / "package").read_bytes() == WHOLE


def test_what_is_here_already_and_is_another_is_fetched_anew_the_next_time(tmp_path: Path) -> None:
    (tmp_path / "package").write_bytes(b"x" * 100)
    with serving() as (_, gateway):
        with pytest.raises(ReleaseInvalid, match="SHA-256"):
            download(gateway, HASH, tmp_path / "package", threading.Event())
        assert not (tmp_path / "package").exists()
        download(gateway, HASH, tmp_path / "package", threading.Event())
    assert (tmp_path / "package").read_bytes() == WHOLE


def test_other_bytes_than_were_asked_for_are_refused(tmp_path: Path) -> None:
    with serving(body=WHOLE[::-1]) as (_, gateway), pytest.raises(ReleaseInvalid, match="SHA-256"):
        download(gateway, HASH, tmp_path / "package", threading.Event())


@pytest.mark.parametrize("how", [{"body": WHOLE * 2}, {"says_length": False}])
def test_more_than_is_taken_is_refused_before_it_comes(tmp_path: Path, how: dict[str, Any]) -> None:
    with serving(**how) as (_, gateway), pytest.raises(DownloadFailed, match="more than"):
        download(Gateway(gateway.url, None, len(WHOLE)), HASH, tmp_path / "package", threading.Event())
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("status", [404, 500, 302])
def test_what_the_gateway_does_not_give_is_said(tmp_path: Path, status: int) -> None:
    with serving(status=status) as (server, gateway):
        with pytest.raises(DownloadFailed, match=str(status)):
            download(gateway, HASH, tmp_path / "package", threading.Event())
        assert len(server.begins) == 1


def test_who_brings_nothing_is_given_up(tmp_path: Path) -> None:
    with serving(broken=100, bytes_each=0) as (server, gateway):
        with pytest.raises(DownloadFailed, match=r"breaks off|closed"):
            download(gateway, HASH, tmp_path / "package", threading.Event())
        assert len(server.begins) == module.FRUITLESS_MAX
    stop = threading.Event()
    stop.set()
    with pytest.raises(DownloadFailed, match="the agent ends"):
        download(Gateway("http://127.0.0.1:1", None, 20_000), HASH, tmp_path / "package", stop)


def test_of_a_gateway_that_trickles_each_piece_is_looked_at_for_an_end_and_for_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop = threading.Event()
    with serving(trickle_s=0.02) as (_, gateway):
        begun_s = time.monotonic()
        ending = threading.Timer(0.2, stop.set)
        ending.start()
        with pytest.raises(DownloadFailed, match="the agent ends"):
            download(gateway, HASH, tmp_path / "package", stop)
        assert 0 < (tmp_path / "package").stat().st_size < 1000, "what came is kept"
        monkeypatch.setattr(module, "WHOLE_S_MAX", 0.2)
        with pytest.raises(DownloadFailed, match="too long"):
            download(gateway, HASH, tmp_path / "package", threading.Event())
        assert time.monotonic() - begun_s < WAIT_S_MAX, "all of it would take three minutes"
        ending.join()
