"""The task that keeps the pieces of the PostgreSQL log in order, of which nobody waits for the end."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace
from typing import Any

import pytest

from connectors.postgres.event_log import MAINTENANCE_S, PostgresEventLog
from tests.virtual_time import virtual_time


@virtual_time
async def test_a_defect_in_it_is_logged_and_the_next_round_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rounds: list[bool] = []

    async def maintain(_log: Any, *, compacting: bool) -> None:
        rounds.append(compacting)
        if len(rounds) == 1:
            raise ZeroDivisionError("a defect")

    async def close() -> None:
        pass

    monkeypatch.setattr(PostgresEventLog, "maintain", maintain)
    caplog.set_level(logging.ERROR)
    log = PostgresEventLog(SimpleNamespace(standing=None, close=close))  # type: ignore[arg-type]
    await asyncio.sleep(2.5 * MAINTENANCE_S)
    await log.close()
    assert rounds == [True, True, False]
    assert "a defect" in caplog.text
