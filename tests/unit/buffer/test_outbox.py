"""The outbox against a model, through crashes, restarts and restored copies of its file."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from outbox_model import Held, OutboxModel, content, stored

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchRanges, Epoch
from connectors.model.tags import DeviceName, TagName, TagType
from edge_agent.buffer.outbox import Commit, Outbox
from edge_agent.buffer.rows import NewBatch, OpenGap
from edge_agent.buffer.sealing import PLAIN, Sealing
from tests.drawn_batches import batches
from tests.exploration import histories

DEVICES = st.sampled_from([DeviceName("press"), DeviceName("oven")])
TYPES = st.lists(
    st.tuples(st.sampled_from(["force", "state"]), st.sampled_from([DataType.DOUBLE, DataType.STRING])),
    min_size=1,
    max_size=2,
    unique_by=lambda drawn: drawn[0],
)
SAMPLES = batches(datatypes=st.sampled_from([DataType.DOUBLE, DataType.STRING]), size_max=2)
SPANS = st.lists(st.tuples(st.integers(-2, 30), st.integers(0, 4)), min_size=1, max_size=3)


class OutboxMachine(RuleBasedStateMachine):
    """Every rule is something that happens to an agent; after each, the disk holds what the model says."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="outbox-"))
        self.path = self.folder / "outbox.db"
        self.model = OutboxModel()
        self.now_ms = 1_795_000_000_000
        self.backup: Held | None = None
        self.sealing: Sealing = PLAIN
        self.outbox: Outbox

    def teardown(self) -> None:
        if hasattr(self, "outbox"):
            self.outbox.close()
        shutil.rmtree(self.folder)

    @initialize()
    def begin(self) -> None:
        self._open()

    @rule(device=DEVICES, types=TYPES)
    def define(self, device: DeviceName, types: list[tuple[str, DataType]]) -> None:
        tags = [TagType(at, TagName(name), datatype, unit="kN") for at, (name, datatype) in enumerate(types)]
        definition, rows = self.outbox.define(device, tags, self._tick())
        self.model.defined(device, tags, definition.hash, [content(row) for row in rows])
        assert self.outbox.definition(definition.hash) == definition

    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        held = self.model.held
        work = Commit(now_ns=self._tick() * 1_000_000)
        for device in data.draw(
            st.lists(st.sampled_from(sorted(held.newest)), max_size=3) if held.newest else st.just([])
        ):
            parts = tuple(data.draw(st.lists(SAMPLES, min_size=1, max_size=2)))
            work.batches.append(NewBatch(device, held.newest[device][0], parts))
        for device in data.draw(st.lists(DEVICES, max_size=2)):
            work.opened_gaps.append(OpenGap(device, f"reason {self.now_ms}", data.draw(st.integers(0, 10**18)), "why"))
        for device in data.draw(st.lists(DEVICES, max_size=2, unique=True)):
            work.closed_gaps[device] = data.draw(st.integers(0, 10**18))
        epochs = [start.epoch for start in held.starts] + [Epoch(7)]
        for at in data.draw(st.lists(st.integers(0, len(epochs) - 1), max_size=2, unique=True)):
            epoch = epochs[at]
            newest = max(number for _, number in self.model.given)
            spans = [(newest - back - more, newest - back) for back, more in data.draw(SPANS)]
            work.acknowledged[epoch] = BatchRanges(spans)
        for at in data.draw(st.lists(st.integers(0, len(self.model.given) - 1), max_size=1)):
            work.refused.append((*list(self.model.given)[at], "too large"))
        rows = self.outbox.commit(work)
        self.model.committed(work, [content(row) for row in rows])

    @rule()
    def count_bd_seq(self) -> None:
        before = self.model.held.bd_seq
        self.model.held.bd_seq = self.outbox.next_bd_seq()
        assert self.model.held.bd_seq == (0 if before is None else (before + 1) % 256)

    @rule()
    def stop_and_start(self) -> None:
        self.outbox.close()
        self._open()

    @rule()
    def crash_and_start(self) -> None:
        """As kill -9 leaves it: the file and the write-ahead log, nothing of what the process knew."""
        crashed = self.outbox
        self._copy(self.path, self.folder / "left")
        crashed.close()
        self._copy(self.folder / "left", self.path)
        self._open()

    @rule()
    def back_up(self) -> None:
        self._copy(self.path, self.folder / "copy")
        self.backup = self.model.copy_of_held()

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore(self) -> None:
        assert self.backup is not None
        self.outbox.close()
        self._copy(self.folder / "copy", self.path)
        self.model.held, self.backup = self.backup, None
        self._open()

    @invariant()
    def the_disk_holds_what_was_committed_and_not_acknowledged(self) -> None:
        held = self.model.held
        assert stored(self.path, self.sealing) == [held.rows[key] for key in sorted(held.rows, key=lambda key: key[1])]
        assert self.outbox.open_gaps() == held.gaps
        assert self.outbox.acknowledged_definitions() == {hash_ for hash_, known in held.definitions.items() if known}
        assert self.outbox.device_states() == held.newest
        connection = sqlite3.connect(self.path)
        try:
            assert set(connection.execute("SELECT epoch, batch FROM refused")) == held.refused
        finally:
            connection.close()

    def was_refused(self, definition: str) -> bool:
        query = "SELECT 1 FROM refused WHERE definition=? AND sample_count=0"
        return self.outbox._connection.execute(query, (definition,)).fetchone() is not None

    @invariant()
    def no_row_is_older_than_the_definition_it_uses_unless_that_was_refused(self) -> None:
        begun: dict[Any, int] = {}
        for row in self.model.held.rows.values():
            if row[2].name == "DEFINITION":
                begun[row[4]] = row[0]
        for row in self.model.held.rows.values():
            if row[2].name == "SAMPLES" and row[4] in begun and not self.was_refused(row[4]):
                assert begun[row[4]] < row[0]

    def _open(self) -> None:
        self.outbox = Outbox(self.path, "normal", now_ms=self._tick(), sealing=self.sealing)
        self.model.started(self.outbox.epoch, stored(self.path, self.sealing))

    def _tick(self) -> int:
        self.now_ms += 1
        return self.now_ms

    def _copy(self, source: Path, target: Path) -> None:
        for end in ("", "-wal", "-shm", ".mark"):
            target.with_name(target.name + end).unlink(missing_ok=True)
        for end in ("", "-wal", ".mark"):
            file = source.with_name(source.name + end)
            if file.exists():
                shutil.copy(file, target.with_name(target.name + end))


OutboxMachine.TestCase.settings = settings(max_examples=histories(50), stateful_step_count=25)
TestOutbox = OutboxMachine.TestCase
