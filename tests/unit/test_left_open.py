"""What a test leaves open fails that test."""

from __future__ import annotations

import socket

import pytest

from tests import left_open


class _Circle:
    """Part of a circle, so that it is there until the garbage collector comes."""

    def __init__(self, held: socket.socket) -> None:
        self.held, self.itself = held, self


def test_a_socket_that_only_the_garbage_collector_finds_is_told() -> None:
    _Circle(socket.socket())
    with pytest.raises(pytest.fail.Exception, match=r"left open, found by the garbage collector: .*unclosed <socket"):
        left_open.fail_for_what_is_open()


def test_what_was_closed_is_nothing_to_tell() -> None:
    with socket.socket() as closed:
        _Circle(closed)
    left_open.fail_for_what_is_open()
