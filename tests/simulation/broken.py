"""Builds that break what is promised, each in one place: the simulation must find every one of them.

They replace a piece of the product while they last, and are never in its code.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from cloud_ingest.historian.incoming import Incoming
from cloud_ingest.historian.interpreter import Interpreter
from cloud_ingest.historian.work import KnownAgent, Work
from cloud_ingest.ingest.acknowledging import Acknowledging
from cloud_ingest.ingest.pending import Pending, Taken, batch_of
from connectors.model.delivery import Epoch
from connectors.sparkplug.delivery import Delivery
from edge_agent.acquisition.collector import Collector
from edge_agent.buffer import outbox
from edge_agent.buffer.rows import StoredBatch
from edge_agent.uplink.sender import Sender
from tests.simulation.agents import Box
from tests.simulation.event_loop import current_process


@contextmanager
def _replaced(owner: Any, name: str, replacement: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, replacement)
    try:
        yield
    finally:
        setattr(owner, name, before)


@contextmanager
def delete_before_acknowledgement() -> Iterator[None]:
    """A batch leaves the disk when it has been sent."""
    publish = Sender._publish

    async def broken(self: Sender, batch: StoredBatch) -> None:
        await publish(self, batch)
        self._collector.acknowledged(batch.epoch, batch.number, batch.number)

    with _replaced(Sender, "_publish", broken):
        yield


@contextmanager
def acknowledge_before_the_log_has_it() -> Iterator[None]:
    """A batch is acknowledged when it has come."""
    made: dict[object, Acknowledging] = {}
    init, add = Acknowledging.__init__, Pending.add

    def made_by_process(self: Acknowledging) -> None:
        init(self)
        made[current_process.get()] = self

    def broken(self: Pending, taken: Taken) -> None:
        add(self, taken)
        key = batch_of(taken)
        if key is not None:
            made[current_process.get()].logged(key)

    with _replaced(Acknowledging, "__init__", made_by_process), _replaced(Pending, "add", broken):
        yield


@contextmanager
def no_deduplication() -> Iterator[None]:
    """The historian stores what it has stored before; its ledger is right all the same."""
    of_agent = Interpreter._of_agent

    async def broken(
        self: Interpreter, work: Work, fresh: Any, agent: KnownAgent, incoming: Incoming, delivery: Delivery
    ) -> None:
        if delivery.batch:  # a look at the ledger finds nothing; the batch is entered again at once
            (await self._book.entry(work, agent, delivery.epoch)).arrived.discard(delivery.batch)
        await of_agent(self, work, fresh, agent, incoming, delivery)

    with _replaced(Interpreter, "_of_agent", broken):
        yield


@contextmanager
def epoch_used_again() -> Iterator[None]:
    """Every start of an agent has the epoch of the first, and its outbox does not mind."""
    new_epoch, begin_epoch = Box.new_epoch, outbox.begin_epoch

    def broken(self: Box) -> Epoch:
        return self.epochs[0] if self.epochs else new_epoch(self)

    def begun_again(connection: sqlite3.Connection, epoch: Epoch, first: int, now_ms: int) -> bytes:
        connection.execute("DELETE FROM epoch WHERE epoch=?", (epoch,))
        return begin_epoch(connection, epoch, first, now_ms)

    with _replaced(Box, "new_epoch", broken), _replaced(outbox, "begin_epoch", begun_again):
        yield


@contextmanager
def gap_dropped() -> Iterator[None]:
    """What was missing is not told."""
    with _replaced(Collector, "open_gap", lambda self, gap: None):
        yield


BUILDS: Final[dict[str, Callable[[], Any]]] = {
    build.__name__: build
    for build in (
        delete_before_acknowledgement,
        acknowledge_before_the_log_has_it,
        no_deduplication,
        epoch_used_again,
        gap_dropped,
    )
}
