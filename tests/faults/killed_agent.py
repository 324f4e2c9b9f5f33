"""``edge-agent run``, killing itself (kill -9) at a chosen moment: ``python -m tests.faults.killed_agent FILE WHERE``.

``WHERE``: ``never``; ``commit:N:before`` and ``commit:N:after``, at the N-th transaction of the command journal after
the first command has come; ``write:before`` and ``write:after``, at the write to the device.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_agent.acquisition.device import DeviceAcquisition
from edge_agent.commands.journal import Journal
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers
from edge_agent.lives import run_agent


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_commit(number: int, *, after: bool) -> None:
    """Of the journal, counted from the one that takes the first command."""
    really, take = Journal._transaction, Journal.take
    state = {"counts": False, "number": 0}

    @contextmanager
    def transaction(self: Journal) -> Iterator[sqlite3.Connection]:
        state["number"] += state["counts"]
        is_it = state["number"] == number
        with really(self) as connection:
            yield connection
            if is_it and not after:
                die()
        if is_it:
            die()

    def counted(self: Journal, *args: Any) -> Any:
        state["counts"] = True
        return take(self, *args)

    Journal._transaction = transaction  # type: ignore[method-assign]
    Journal.take = counted  # type: ignore[method-assign]


def die_at_write(*, after: bool) -> None:
    really = DeviceAcquisition.write

    async def write(self: DeviceAcquisition, tag: str, value: Any) -> None:
        if not after:
            die()
        await really(self, tag, value)
        die()

    DeviceAcquisition.write = write  # type: ignore[method-assign]


def main() -> None:
    file, where = Path(sys.argv[1]), sys.argv[2].split(":")
    if where[0] == "commit":
        die_at_commit(int(where[1]), after=where[2] == "after")
    elif where[0] == "write":
        die_at_write(after=where[1] == "after")
    drivers = built_in_drivers()
    asyncio.run(run_agent(load_config(file, drivers), drivers))


if __name__ == "__main__":
    main()
