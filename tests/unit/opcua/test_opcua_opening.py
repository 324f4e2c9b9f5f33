"""However a session ends, its connection is closed, and whoever had it goes on or is stopped."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any

import pytest

from connectors.opcua import opening
from connectors.opcua.opening import CLOSE_S_MAX, opened
from tests.virtual_time import virtual_time


class AnsweredWhileGivenUp(asyncio.CancelledError):
    """What asyncua raises on Python 3.11 for a cancellation that comes together with an answer."""


class Client:
    def __init__(self, *, answers: bool) -> None:
        self.answers = answers
        self.is_open = True

    async def close_session(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.answers:
                raise AnsweredWhileGivenUp from None
            raise

    async def close_secure_channel(self) -> None:
        pass

    def disconnect_socket(self) -> None:
        self.is_open = False


def connects_to(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    async def open_session(_device: Any) -> Any:
        return SimpleNamespace(client=client)

    monkeypatch.setattr(opening, "open_session", open_session)


@virtual_time
@pytest.mark.parametrize("answers", [True, False])
async def test_a_server_that_is_slow_to_close_a_session_stops_nobody(
    answers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(answers=answers)
    connects_to(client, monkeypatch)
    async with opened(None):  # type: ignore[arg-type]
        pass
    assert not client.is_open


@virtual_time
async def test_who_is_stopped_while_a_session_closes_leaves_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client(answers=False)
    connects_to(client, monkeypatch)

    async def use() -> None:
        async with opened(None):  # type: ignore[arg-type]
            pass

    using = asyncio.create_task(use())
    await asyncio.sleep(CLOSE_S_MAX / 2)
    using.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await using
    assert using.cancelled()
    assert not client.is_open
