"""A token that is shown again and again is looked up now and then; one that is revoked is forgotten at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from cloud_ingest.commands import held_tokens
from cloud_ingest.commands.held_tokens import HELD_S, HeldTokens
from cloud_ingest.commands.tokens import REVOKED_CHANNEL, Holder
from connectors.model.errors import DatabaseUnavailable

ANNA = Holder(1, "anna", "operator")
TOKEN, OTHER = "lineside_anna", "lineside_other"


class Store:
    """A database with tokens, which counts how often it is asked for one."""

    def __init__(self) -> None:
        self.holders: dict[str, Holder] = {TOKEN: ANNA}
        self.looks = 0
        self.is_there = True
        self.heard: asyncio.Queue[bool] = asyncio.Queue()
        self.hears = asyncio.Event()
        self.answers = asyncio.Event()
        self.answers.set()

    @asynccontextmanager
    async def notified(self, channel: str) -> AsyncIterator[Store]:
        assert channel == REVOKED_CHANNEL
        if not self.is_there:
            raise DatabaseUnavailable("the database is away")
        self.hears.set()
        yield self

    async def wait(self, _timeout_s: float) -> None:
        if not await self.heard.get():
            raise DatabaseUnavailable("the connection is lost")

    async def holder_of(self, _database: Any, token: str) -> Holder | None:
        self.looks += 1
        found = self.holders.get(token)
        await self.answers.wait()
        return found


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def hearing(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Store, HeldTokens, Clock]]:
    store, clock = Store(), Clock()
    monkeypatch.setattr(held_tokens, "holder_of", store.holder_of)
    held = HeldTokens(store, clock)  # type: ignore[arg-type]
    task = asyncio.create_task(held.hear_forever())
    await store.hears.wait()
    await turns()
    try:
        yield store, held, clock
    finally:
        task.cancel()
        await asyncio.wait([task])


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_token_is_looked_up_once_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hearing(monkeypatch) as (store, held, clock):
        assert [await held.holder_of(TOKEN) for _ in range(3)] == [ANNA] * 3
        assert store.looks == 1
        clock.now_s += HELD_S + 0.1
        assert await held.holder_of(TOKEN) == ANNA
        assert store.looks == 2


async def test_a_revoked_one_is_forgotten_as_soon_as_that_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hearing(monkeypatch) as (store, held, _clock):
        assert await held.holder_of(TOKEN) == ANNA
        store.holders.clear()
        store.heard.put_nowait(True)
        await turns()
        assert await held.holder_of(TOKEN) is None


async def test_what_was_being_looked_up_when_it_was_revoked_is_not_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hearing(monkeypatch) as (store, held, _clock):
        store.answers.clear()
        asked = asyncio.create_task(held.holder_of(TOKEN))
        await turns()
        store.holders.clear()
        store.heard.put_nowait(True)
        await turns()
        store.answers.set()
        assert await asked == ANNA  # it held when it was asked
        assert await held.holder_of(TOKEN) is None


async def test_one_that_is_not_known_is_looked_up_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hearing(monkeypatch) as (store, held, _clock):
        assert await held.holder_of(OTHER) is None
        store.holders[OTHER] = ANNA
        assert await held.holder_of(OTHER) == ANNA


async def test_while_nothing_is_heard_every_one_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async with hearing(monkeypatch) as (store, held, _clock):
        assert await held.holder_of(TOKEN) == ANNA
        store.is_there = False
        store.holders.clear()
        store.heard.put_nowait(False)
        await turns()
        assert await held.holder_of(TOKEN) is None
        store.holders[TOKEN] = ANNA
        looks = store.looks
        assert [await held.holder_of(TOKEN) for _ in range(3)] == [ANNA] * 3
        assert store.looks == looks + 3


async def test_of_many_no_more_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_tokens, "HELD_MAX", 2)
    async with hearing(monkeypatch) as (store, held, _clock):
        store.holders = {f"lineside_{number}": ANNA for number in range(4)}
        for token in store.holders:
            await held.holder_of(token)
        looks = store.looks
        assert [await held.holder_of(token) for token in store.holders] == [ANNA] * 4
        assert store.looks == looks + 2
