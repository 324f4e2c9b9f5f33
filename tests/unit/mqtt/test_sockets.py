"""How the kernel sends what an MQTT connection gives it."""

from __future__ import annotations

import select
import socket
from collections.abc import Iterator

import pytest

from connectors.mqtt.sockets import send_at_once, sent_together


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection, the first of which sends at once."""
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as one:
        other, _ = listening.accept()
        with other:
            send_at_once(one)
            yield one, other


def test_what_is_sent_together_arrives_together_and_what_follows_at_once(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    here, there = ends
    with sent_together(here):
        for part in (b"one ", b"two ", b"three"):
            here.send(part)
        assert select.select([there], [], [], 0.05)[0] == [], "it is held back"
    assert there.recv(100) == b"one two three"
    here.send(b"four")
    here.send(b"five")
    assert there.recv(4) == b"four"
    assert there.recv(4) == b"five"


def test_a_connection_that_is_lost_or_not_there_holds_nobody_up(ends: tuple[socket.socket, socket.socket]) -> None:
    here, _ = ends
    with sent_together(here):
        here.close()
    with sent_together(here), sent_together(None):
        pass
