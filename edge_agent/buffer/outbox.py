"""The outbox: a durable queue of batches in SQLite (WAL).

Invariants, each held by the tests in tests/unit/buffer:

1. A batch is on disk before its number leaves this module; a number is given once in an epoch, in rising order.
2. Every start takes a fresh random epoch. A restored file or a lost WAL can give numbers again, never an
   (epoch, number) pair.
3. A row is deleted only by an acknowledgement (or a refusal, which declares a gap) that names its epoch and number.
4. One ``commit`` is one transaction: rows, device states, gaps that they close, and deletions, all or nothing.
5. An alias belongs to one (device, tag, type) for ever; a definition's row is older than any row that uses it, unless
   the cloud had refused it and the device told it anew (the sender then sends it first).
6. Every start declares the epochs before it, first to last number, until the cloud has acknowledged that it knows.

Not safe for two threads at once: ``writer.py`` gives it a thread of its own.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connectors.model.delivery import BatchNumber, BatchRanges, Epoch, new_epoch
from connectors.model.errors import OutboxDamaged, OutboxUnavailable, PayloadInvalid
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName, TagType
from edge_agent.buffer.acknowledging import delete_acknowledged
from edge_agent.buffer.ballast import Ballast
from edge_agent.buffer.bounds import OutboxBounds
from edge_agent.buffer.damage import is_full, named_errors
from edge_agent.buffer.definitions import Definitions, highest_alias
from edge_agent.buffer.epochs import begin_epoch, learn_from_mark, mark_of_start
from edge_agent.buffer.high_water import EpochBegun, Mark
from edge_agent.buffer.losses import Losses, take_losses
from edge_agent.buffer.new_rows import NewRows
from edge_agent.buffer.outbox_file import Opening, OutboxFile, is_worth_opening_again
from edge_agent.buffer.reading import stored_batch
from edge_agent.buffer.refusing import set_aside
from edge_agent.buffer.relief import Relief, ReliefStatus
from edge_agent.buffer.resealing import seal_names
from edge_agent.buffer.rows import Gap, Kind, NewBatch, OpenGap, StoredBatch
from edge_agent.buffer.schema import Durability
from edge_agent.buffer.sealing import PLAIN, Sealing, gap_place
from edge_agent.buffer.telling import take_sums

OPENINGS_MAX: Final = 8
"""More than there is to give way on a full disk: the files that were set aside, and the ballast."""

_NO_DEFINITION: Final = DefinitionHash("")
_NO_DEVICE: Final = DeviceName("")


@dataclass(slots=True)
class Commit:
    """All that one transaction does."""

    batches: list[NewBatch] = field(default_factory=list)
    opened_gaps: list[OpenGap] = field(default_factory=list)
    closed_gaps: dict[DeviceName, int | None] = field(default_factory=dict)  # None: nothing is missing after all
    declared_gaps: list[Gap] = field(default_factory=list)
    told: tuple[bytes, ...] = ()
    """Records of the kind ``COMMAND``."""
    acknowledged: dict[Epoch, BatchRanges] = field(default_factory=dict)
    refused: list[tuple[Epoch, int, str]] = field(default_factory=list)
    now_ns: int = 0
    now_s: float = 0.0
    """A monotonic time beside ``now_ns``."""
    given_up: list[Gap] = field(default_factory=list)
    """Filled by the outbox: what it gave up to make room."""
    is_telling_owed: bool = False
    """Filled by the outbox: something was lost that a later commit will tell of, were it an empty one."""

    def __bool__(self) -> bool:
        records = self.opened_gaps or self.closed_gaps or self.declared_gaps or self.told
        return bool(self.batches or records or self.acknowledged or self.refused)


class Outbox:
    """The outbox file of one agent, opened for one start of it."""

    def __init__(
        self,
        path: Path,
        durability: Durability,
        *,
        now_ms: int,
        bounds: OutboxBounds | None = None,
        sealing: Sealing = PLAIN,
        suspicion: str = "",
    ) -> None:
        """Open the file, salvage it if it is damaged, and begin a new epoch.

        ``suspicion``: why it is thought to be damaged; then all of it is looked at. On a full disk, what was set aside
        and the ballast give way first. Raises ``OutboxUnavailable`` when the disk does not take it, ``OutboxDamaged``
        when not even what was salvaged can be used, ``OutboxTooNew``.
        """
        self.path = path
        self.epoch = new_epoch()
        self._next = 1
        self._new_rows = NewRows(self.epoch, sealing, self._take_number)
        self._bounds = bounds or OutboxBounds()
        self._sealing = sealing
        self.missing_keys: set[str] = set()
        """Ids of keys that rows are sealed with, and that are not configured; only where the last start had them."""
        self.losses: tuple[Losses, ...] = ()
        """What this start has found to be gone, and declared."""
        self._newest_gap = 0
        self._unsure: tuple[object, list[StoredBatch]] = (None, [])
        self._done: tuple[object, list[StoredBatch]] = (None, [])
        self._made: list[StoredBatch] = []  # rows of making room that no commit has returned yet
        self._has_begun = False
        self.opened_again: list[str] = []
        """Why the file was opened anew after an error of the disk; whoever reports it clears the list."""
        self._file = OutboxFile(path, durability, sealing, self._bounds.free_disk_bytes_min)
        ballast = Ballast(path, self._bounds.ballast_bytes)
        for opening in range(OPENINGS_MAX):
            try:
                self.opening = self._open(now_ms, suspicion)
                return
            except OutboxUnavailable as exc:
                is_last = opening == OPENINGS_MAX - 1
                if is_last or not is_full(exc) or not (self._file.make_way() or ballast.give_up()):
                    self._file.close()
                    raise

    def _open(self, now_ms: int, suspicion: str) -> Opening:
        mark, opening = self._file.open(now_ms, suspicion)
        try:
            self._begin_epoch(mark, now_ms)
        except OutboxDamaged as exc:  # nothing was found, and yet it does not work
            mark, opening = self._file.open(now_ms, str(exc), is_certain=True)
            self._begin_epoch(mark, now_ms)
        return opening

    def _bind(self) -> None:
        self._connection = self._file.connection
        self._definitions = Definitions(self._connection, self._sealing)
        self._relief = Relief(self._connection, self.path, self._bounds, self.epoch, self._sealing)

    def close(self) -> None:
        """Close the file; what was committed stays."""
        was_open = self._file.is_open
        self._file.close()
        if was_open:
            Ballast(self.path, self._bounds.ballast_bytes).hold_some()

    def when_opened_again(self, release: Callable[[], None]) -> None:
        """Call ``release``, in the thread of the outbox, before the file is opened anew after an error of the disk."""
        self._file.release = release

    # -- writing ---------------------------------------------------------------------------------------------------

    def commit(self, work: Commit) -> list[StoredBatch]:
        """Carry out ``work`` in one transaction; the rows it added, in order.

        When a bound is reached, older or newer samples give way first, and are summed up in the same transaction
        (``work.given_up``; see ``telling.py``). Raises ``OutboxUnavailable`` when the disk did not take it; then
        nothing of it happened. Raises ``OutboxDamaged``.
        """
        now_ms = work.now_ns // 1_000_000
        with named_errors(self.path, "written"):
            for again in (False, True):
                try:
                    return self._with_made(self._transaction(lambda rows: self._apply(work, rows), now_ms, work))
                except sqlite3.Error as exc:
                    if not is_full(exc):
                        raise
                self._made += self._make_room(work, again=again)
            return self._with_made(self._transaction(lambda rows: self._apply(work, rows), now_ms, work))

    @property
    def relief(self) -> ReliefStatus:
        """How full the outbox was at the last commit."""
        return self._relief.status

    def define(
        self, device: DeviceName, types: Sequence[TagType], now_ms: int
    ) -> tuple[DeviceDefinition, list[StoredBatch]]:
        """The definition of ``device`` with these tags, and the rows that tell it to the cloud (none when it is known).

        Raises ``OutboxUnavailable``.
        """
        found: list[DeviceDefinition] = []
        with named_errors(self.path, "written"):
            rows = self._transaction(lambda rows: found.append(self._define(device, types, now_ms, rows)), now_ms)
            self._file.high_water.advance(0, alias=highest_alias(self._connection))
        return found[-1], self._with_made(rows)

    def next_bd_seq(self) -> int:
        """The bdSeq of the next CONNECT: one more than that of the last, 0 after 255; kept over restarts."""
        with named_errors(self.path, "written"):
            self._be_open()
            row = self._connection.execute("SELECT value FROM meta WHERE key='bd_seq'").fetchone()
            number = (row[0] + 1) % 256 if row is not None and type(row[0]) is int else 0
            self._connection.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('bd_seq', ?)", (number,))
        return number

    # -- reading ---------------------------------------------------------------------------------------------------

    def definition(self, hash_: DefinitionHash) -> DeviceDefinition | None:
        """The definition with this hash; ``None`` when there is none, it is damaged, or its key is lost."""
        with named_errors(self.path, "read"):
            return self._definitions.read(hash_)

    def waiting_definition(self, hash_: DefinitionHash) -> StoredBatch | None:
        """The row that tells the cloud this definition; ``None`` when none waits. Raises ``OutboxUnavailable``."""
        query = "SELECT * FROM outbox WHERE kind=? AND definition=? ORDER BY batch"
        with named_errors(self.path, "read"):
            found = self._connection.execute(query, (Kind.DEFINITION, hash_)).fetchall()
        rows = [stored_batch(row, self._sealing) for row in found]
        return next((row for row in rows if not row.unreadable), rows[0] if rows else None)

    def acknowledged_definitions(self) -> set[DefinitionHash]:
        """The definitions that the cloud has."""
        with named_errors(self.path, "read"):
            return self._definitions.acknowledged()

    def device_states(self) -> dict[DeviceName, tuple[DefinitionHash, int | None, int | None]]:
        """By device: its newest definition, the source time of its newest stored sample, and when that was stored."""
        query = "SELECT device, definition, last_source_ns, last_commit_ns FROM device_state"
        with named_errors(self.path, "read"):
            rows = self._connection.execute(query).fetchall()
        return {DeviceName(row[0]): (DefinitionHash(row[1]), row[2], row[3]) for row in rows}

    def open_gaps(self) -> dict[DeviceName, OpenGap]:
        """Gaps that have not been closed yet."""
        query = "SELECT device, reason, first_ns, detail FROM gap"
        with named_errors(self.path, "read"):
            rows = self._connection.execute(query).fetchall()
        gaps = [OpenGap(row[0], row[1], row[2], self._gap_detail(row[0], row[3])) for row in rows]
        return {gap.device: gap for gap in gaps}

    # -- inside a transaction --------------------------------------------------------------------------------------

    def _transaction(
        self, work: Callable[[list[StoredBatch]], object], now_ms: int, asked: Commit | None = None
    ) -> list[StoredBatch]:
        """Run ``work``, which adds rows to its list; all or nothing. Raises ``sqlite3.Error``, ``OutboxUnavailable``.

        An error of the disk can leave it open whether it was done: the file is then opened anew, and says so. What was
        done after all is not done again when the same thing is ``asked`` for again; only what the cloud has said since
        is followed.
        """
        self._be_open()
        if asked is not None and self._done[0] is asked:
            self._transaction(lambda _: delete_acknowledged(self._connection, asked.acknowledged), now_ms)
            return self._done[1]
        rows: list[StoredBatch] = []
        before = self._next
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            work(rows)
            self._file.commit()
        except BaseException as exc:
            self._roll_back(before)
            if not self._has_begun or not isinstance(exc, sqlite3.Error) or not is_worth_opening_again(exc):
                raise
            self._unsure = (asked, rows)
            self._file.close_connection()
            self._be_open()
            self.opened_again.append(str(exc))
            if self._done[1] is not rows:
                raise
        self._relief.fold_log()
        self._file.note(self._next - 1, self._newest_gap, now_ms)
        return rows

    def _be_open(self) -> None:
        """Open the file anew after an error of the disk."""
        if self._file.is_open:
            return
        last = self._file.open_again(self._next - 1, self.epoch)
        self._bind()
        if (rows := self._unsure[1]) and rows[0].number <= last:
            self._done, self._next = self._unsure, last + 1
        self._unsure = (None, [])

    def _make_room(self, work: Commit, *, again: bool) -> list[StoredBatch]:
        """The disk is full: what the cloud has leaves at once, and something gives way, in a transaction of its own."""
        self._relief.give_up_ballast()
        now_ms = work.now_ns // 1_000_000
        made: list[Gap] = []

        def give_way(rows: list[StoredBatch]) -> None:
            delete_acknowledged(self._connection, work.acknowledged)
            with self._odd_rows():
                relieved = self._relief.force(now_ms, work.now_s, again=again)
            self._add_gaps(relieved.told, now_ms, rows)
            made[:] = relieved.given_up

        rows = self._transaction(give_way, now_ms)
        work.given_up += made
        return rows

    def _with_made(self, rows: list[StoredBatch]) -> list[StoredBatch]:
        made, self._made = self._made, []
        return made + rows

    @contextlib.contextmanager
    def _odd_rows(self) -> Iterator[None]:
        """What gives way is read; where that fails in another way than SQLite's, what is stored cannot be right.

        A defect here would end the agent at each start for ever; a salvage looks at every row.
        """
        try:
            yield
        except (ArithmeticError, LookupError, TypeError, ValueError) as exc:
            raise OutboxDamaged(f"the outbox {self.path} holds what it cannot: {exc!r}") from exc

    def _define(
        self, device: DeviceName, types: Sequence[TagType], now_ms: int, rows: list[StoredBatch]
    ) -> DeviceDefinition:
        definition = self._definitions.enter(device, types, now_ms)
        if not self._definitions.is_told(definition):
            rows.append(self._add_record(Kind.DEFINITION, device, definition.hash, definition.body, now_ms))
        return definition

    def _apply(self, work: Commit, rows: list[StoredBatch]) -> None:
        now_ms = work.now_ns // 1_000_000
        if work.acknowledged:
            delete_acknowledged(self._connection, work.acknowledged)
        with self._odd_rows():
            relieved = self._relief.relieve(now_ms, work.now_s)
        self._add_gaps(relieved.told, now_ms, rows)
        if rows:
            self._relief.told(rows[0].number, rows[-1].number)
        for epoch, number, reason in work.refused:
            self._add_gaps(set_aside(self._connection, self._sealing, epoch, number, reason, now_ms), now_ms, rows)
        for gap in work.opened_gaps:
            self._connection.execute(
                "INSERT OR IGNORE INTO gap (device, reason, first_ns, detail) VALUES (?,?,?,?)",
                (gap.device, gap.reason, gap.first_ns, self._sealing.seal_text(gap.detail, gap_place(gap.device))),
            )
        for device, last_ns in work.closed_gaps.items():
            self._close_gap(device, last_ns, now_ms, rows)
        self._add_gaps(work.declared_gaps, now_ms, rows)
        rows += [self._add_record(Kind.COMMAND, _NO_DEVICE, _NO_DEFINITION, told, now_ms) for told in work.told]
        if work.batches and (taken := self._relief.takes(work.batches, now_ms, work.now_s)):
            rows += self._new_rows.add_batches(self._connection, taken, work.now_ns)
        work.given_up += relieved.given_up
        work.is_telling_owed = self._relief.is_telling_owed()

    def _add_gaps(self, gaps: Iterable[Gap], now_ms: int, rows: list[StoredBatch]) -> None:
        rows += [self._add_record(Kind.GAP, gap.device, _NO_DEFINITION, gap.to_json(), now_ms) for gap in gaps]

    def _add_record(
        self, kind: Kind, device: DeviceName, definition: DefinitionHash, record: bytes, now_ms: int
    ) -> StoredBatch:
        row = self._new_rows.add_record(self._connection, kind, device, definition, record, now_ms)
        self._newest_gap = row.number if kind is Kind.GAP else self._newest_gap
        return row

    def _close_gap(self, device: DeviceName, last_ns: int | None, now_ms: int, rows: list[StoredBatch]) -> None:
        row = self._connection.execute(
            "DELETE FROM gap WHERE device=? RETURNING reason, first_ns, detail", (device,)
        ).fetchone()
        if row is not None and last_ns is not None:
            detail = self._gap_detail(device, row[2])
            gap = Gap(device, row[0], row[1], max(last_ns, row[1]), detail=detail)
            rows.append(self._add_record(Kind.GAP, device, _NO_DEFINITION, gap.to_json(), now_ms))

    def _gap_detail(self, device: DeviceName, stored: str | bytes) -> str:
        with contextlib.suppress(PayloadInvalid):  # that there is a gap counts more than why
            return self._sealing.open_text(stored, gap_place(device))
        return ""

    def _take_number(self) -> BatchNumber:
        number = BatchNumber(self._next)
        self._next += 1
        return number

    def _roll_back(self, next_number: int) -> None:
        self._next = next_number
        self._relief.rolled_back()
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _begin_epoch(self, mark: Mark | None, now_ms: int) -> None:
        self._bind()

        def begin(rows: list[StoredBatch]) -> None:
            last, forgotten = learn_from_mark(self._connection, mark, now_ms)
            self.losses = tuple(lost for lost in (take_losses(self._connection), forgotten) if lost)
            self._next = last + 1
            self.missing_keys = seal_names(self._connection, self._sealing)
            document = begin_epoch(self._connection, self.epoch, self._next, now_ms)
            rows.append(self._add_record(Kind.EPOCH_START, _NO_DEVICE, _NO_DEFINITION, document, now_ms))
            first = self._next
            self._add_gaps(take_sums(self._connection, self._sealing), now_ms, rows)
            self._relief.told(first, self._next - 1)
            for lost in self.losses:
                self._add_gaps(lost.gaps(), now_ms, rows)

        with named_errors(self.path, "written"):
            first = self._transaction(begin, now_ms)[0].number
            self._newest_gap, self._has_begun = self._next - 1, True
            begun, alias = EpochBegun(self.epoch, first, now_ms), highest_alias(self._connection)
            self._file.high_water.begin(mark_of_start(self._connection, mark, begun, self._next - 1, alias))
