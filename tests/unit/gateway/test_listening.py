"""Taking a port at the start: an earlier process is waited for, anything else is said in one sentence."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs

from cloud_ingest.gateway import listening
from cloud_ingest.gateway.listening import PortUnavailable, listen
from tests.patience import WAIT_S_MAX

LOOPBACK = "127.0.0.1"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "TAKEN_S_MAX", 0.3)
    monkeypatch.setattr(listening, "RETRY_S", 0.01)


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    with socket.create_server((LOOPBACK, 0)) as server:
        yield server


async def test_a_port_that_stays_taken_ends_the_start_with_a_sentence(taken: socket.socket) -> None:
    port = taken.getsockname()[1]
    with capture_logs() as logs, pytest.raises(PortUnavailable) as caught:
        await listen("gateway", LOOPBACK, port)
    assert str(caught.value) == (
        f"'gateway' cannot listen at {LOOPBACK}:{port}: another program has the port (ss -ltnp 'sport = :{port}' shows "
        "which). Stop that program, or write another 'port' under 'gateway'."
    )
    assert [(log["event"], log["place"]) for log in logs] == [("port_waiting", f"{LOOPBACK}:{port}")], "said once"


async def test_a_port_that_an_earlier_process_gives_back_is_taken(
    taken: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "TAKEN_S_MAX", 2 * WAIT_S_MAX)
    waiting = asyncio.create_task(listen("gateway", LOOPBACK, taken.getsockname()[1]))
    await asyncio.sleep(0.03)
    assert not waiting.done()
    port = taken.getsockname()[1]
    taken.close()
    async with asyncio.timeout(WAIT_S_MAX):
        own = await waiting
    assert own.getsockname() == (LOOPBACK, port)
    own.close()


@pytest.mark.parametrize(
    ("host", "why"),
    [
        ("192.0.2.1", "that is no address of this machine. Write 127.0.0.1, or one that it has, as 'host' under 'metr"),
        ("nowhere.example", "that is no address of this machine."),
        ("2001:db8::1", "cannot listen at [2001:db8::1]:8080: that is no address of this machine."),
    ],
)
async def test_an_address_of_another_machine_is_said_at_once(host: str, why: str) -> None:
    with pytest.raises(PortUnavailable) as caught:
        await listen("metrics", host, 8080)
    assert why in str(caught.value)


async def test_a_port_for_administrators_only_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_args: object, **_options: object) -> socket.socket:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(listening.socket, "create_server", refuses)
    with pytest.raises(PortUnavailable, match="only an administrator may use a port below 1024"):
        await listen("gateway", LOOPBACK, 80)


async def test_answers_go_out_without_waiting_for_the_acknowledgement_of_their_beginning() -> None:
    with await listen("gateway", LOOPBACK, 0) as server:
        server.listen()
        with socket.create_connection(server.getsockname()), server.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
