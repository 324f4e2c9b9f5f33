"""Keeps an outbox within its bounds: called in each of its transactions, before anything new is stored."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connectors.model.delivery import Epoch
from edge_agent.buffer.ballast import Ballast
from edge_agent.buffer.bounds import HIGH_MARK, LOW_MARK, Limit, OutboxBounds, Room, WhenFull, limit_of
from edge_agent.buffer.giving_up import BYTES_AT_ONCE_MAX, GivingUp, MayGo, always
from edge_agent.buffer.rows import Gap, GapReason, Lane, NewBatch
from edge_agent.buffer.schema import BUSY_MS, PAGE_BYTES, limit_log
from edge_agent.buffer.sealing import PLAIN, Sealing
from edge_agent.buffer.set_aside import forget_oldest
from edge_agent.buffer.telling import NOT_TAKEN, Telling, note_not_taken, sum_up
from edge_agent.buffer.thinning import Thinning

LOOK_EVERY_S: Final = 1.0
FORCED_BYTES_MIN: Final = 64 * 1024
"""At least so much is given up at once when the disk refuses a commit."""

DISK_AGAIN_S: Final = 10.0
"""What comes is refused for so long after the disk has taken no commit, unless so much as above becomes free."""

CLOCK_SET_MS: Final = 1_577_836_800_000
"""2020: a row that was committed before was written by a clock that had not been set. How old it is nobody knows, but
it is at least as old as this start of the agent; and what this start has written is no older."""


@dataclass(frozen=True, slots=True)
class ReliefStatus:
    """How full the outbox is: bytes in use, the bound that counts, and what happens at it."""

    used_bytes: int
    bytes_max: int
    free_disk_bytes: int
    reason: str
    refuses: bool
    ballast_held: bool


@dataclass(slots=True)
class Relieved:
    """``given_up``: what one transaction gives up, for whoever reports it. ``told``: the gap records that it adds."""

    given_up: list[Gap] = field(default_factory=list)
    told: list[Gap] = field(default_factory=list)


class Relief:
    """The bounds of one open outbox."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        path: Path,
        bounds: OutboxBounds,
        epoch: Epoch,
        sealing: Sealing = PLAIN,
    ) -> None:
        self._connection = connection
        self._sealing = sealing
        self._path = path
        self._wal = path.with_name(path.name + "-wal")
        self._bounds = bounds
        self._epoch = epoch
        self._ballast = Ballast(path, bounds.ballast_bytes)
        self._thinning = Thinning()
        self._telling = Telling(connection, sealing)
        self._refusing: dict[Lane, str] = {}
        self._disk_refused: tuple[float, int] | None = None
        self._oldest_after: dict[Lane, int] = {}
        """By lane: a number up to which no row of it is left, so that what stands before is not gone through again."""
        self._relieved = Relieved()
        self._wal_pages = limit_log(connection, bounds.bytes_max)
        self._looked_s = float("-inf")
        self._started_s: float | None = None
        self._free_disk_bytes = 0
        self._wal_bytes = 0
        self.status = ReliefStatus(0, bounds.bytes_max, 0, "", refuses=False, ballast_held=self._ballast.is_held)

    def relieve(self, now_ms: int, now_s: float) -> Relieved:
        """Make room, if a bound asks for it, and tell of it when that is due. ``now_s`` is monotonic."""
        self._started_s = now_s if self._started_s is None else self._started_s
        self._relieved = Relieved()
        looks = now_s - self._looked_s >= LOOK_EVERY_S
        if looks:
            self._looked_s = now_s
            self._look()
            self._too_old(now_ms, now_s)
        room = self._room()
        limit = limit_of(self._bounds, room)
        if looks:
            self._trim_ballast(limit)
        excess = limit.excess_bytes(room.used_bytes)
        if excess:
            self._make_room(limit, excess, now_ms, now_s)
        elif limit.is_relieved(room.used_bytes) and not self._disk_still_refuses(room, now_s):
            self._refusing.clear()
            self._thinning.begin_anew()
        if looks:
            due = self._telling.due(now_s)
            self._relieved.told += due
            self._relieved.given_up += [gap for gap in due if gap.detail == NOT_TAKEN]
        self.status = ReliefStatus(
            room.used_bytes,
            limit.bytes_max,
            room.free_disk_bytes,
            limit.reason,
            refuses=bool(self._refusing),
            ballast_held=self._ballast.is_held,
        )
        return self._relieved

    def is_telling_owed(self) -> bool:
        """Whether a later transaction is to tell of something, even if there is nothing else to do."""
        return self._telling.is_owed()

    def told(self, first: int, last: int) -> None:
        """The records of ``Relieved.told`` have these numbers."""
        self._telling.told(first, last)

    def rolled_back(self) -> None:
        """What was given up is there after all."""
        self._oldest_after.clear()

    def takes(self, batches: Sequence[NewBatch], now_ms: int, now_s: float) -> list[NewBatch]:
        """The batches that there is room for; of the others it is noted what they were."""
        if not self._refusing:
            return list(batches)
        taken: list[NewBatch] = []
        for batch in batches:
            reason = self._refusing.get(batch.lane)
            if reason is None:
                taken.append(batch)
            else:
                note_not_taken(self._connection, batch.device, batch.parts, reason, now_ms)
                self._telling.lost(now_s)
        return taken

    def give_up_ballast(self) -> bool:
        """The disk is full: free what is held for that, damaged files first; false when nothing is."""
        return forget_oldest(self._path) or self._ballast.give_up()

    def force(self, now_ms: int, now_s: float, *, again: bool) -> Relieved:
        """The disk has refused a commit: something gives way, whatever the bounds say.

        Where that is what comes, nothing that is stored does, unless the commit is refused ``again`` without it.
        """
        self._looked_s = float("-inf")
        self._relieved = Relieved()
        room = self._room()
        wanted = max(FORCED_BYTES_MIN, int(room.used_bytes * (HIGH_MARK - LOW_MARK)))
        policy = self._bounds.policies[Lane.SAMPLES]
        if policy is WhenFull.DROP_NEWEST and not again:
            self._refusing[Lane.SAMPLES] = GapReason.DISK_FULL
            self._disk_refused = (now_s, room.used_bytes)
            return self._relieved
        wanted = FORCED_BYTES_MIN if policy is WhenFull.DROP_NEWEST else wanted
        wanted -= self._forget_refused(wanted)
        if policy is WhenFull.THIN and not again and not self._thinning.is_exhausted:
            wanted -= self._thin(wanted, now_ms, now_s)
        if wanted > 0:
            self._drop(Limit(max(0, room.used_bytes - wanted), GapReason.DISK_FULL), wanted, now_ms, now_s)
        return self._relieved

    def _disk_still_refuses(self, room: Room, now_s: float) -> bool:
        if self._disk_refused is None:
            return False
        since_s, used_bytes = self._disk_refused
        if now_s - since_s < DISK_AGAIN_S and room.used_bytes > used_bytes - FORCED_BYTES_MIN:
            return True
        self._disk_refused = None
        return False

    def _make_room(self, limit: Limit, excess_bytes: int, now_ms: int, now_s: float) -> None:
        excess_bytes -= self._forget_refused(excess_bytes)
        policy = self._bounds.policies[Lane.SAMPLES]
        if policy is WhenFull.DROP_NEWEST:
            self._refusing[Lane.SAMPLES] = limit.reason
        elif policy is WhenFull.THIN and not self._thinning.is_exhausted and excess_bytes > 0:
            self._thin(excess_bytes, now_ms, now_s)
        if policy is not WhenFull.DROP_OLDEST and not self._thinning.is_exhausted:
            # It may not be enough: alarms fill an outbox that takes no samples, thin rows leave pages half full.
            excess_bytes = self._room().used_bytes - limit.bytes_max
        if excess_bytes > 0:
            self._drop(limit, excess_bytes, now_ms, now_s)

    def _thin(self, bytes_min: int, now_ms: int, now_s: float) -> int:
        """Thin rows until so much is free, or all are; bytes that this freed."""
        thinned = GivingUp(self._connection, GapReason.THINNED, self._thinning.detail, self._sealing, now_ms)
        self._thinning.thin(self._connection, thinned, bytes_min)
        self._add(thinned, now_s)
        return thinned.freed_bytes

    def _drop(self, limit: Limit, bytes_min: int, now_ms: int, now_s: float) -> None:
        giving_up = self._giving_up(limit.reason, now_ms)
        self._drop_oldest(giving_up, Lane.SAMPLES, bytes_min)
        if giving_up.freed_bytes < bytes_min and self._room().used_bytes > limit.bytes_max:
            if self._bounds.policies[Lane.ALARMS] is WhenFull.DROP_NEWEST:
                self._refusing[Lane.ALARMS] = limit.reason
            else:
                self._drop_oldest(giving_up, Lane.ALARMS, bytes_min)
        self._add(giving_up, now_s)

    def _too_old(self, now_ms: int, now_s: float) -> None:
        if self._bounds.age_s_max is None or self._started_s is None:
            return
        age_max_ms = self._bounds.age_s_max * 1000
        up_ms = (now_s - self._started_s) * 1000

        def is_too_old(epoch: Epoch, created_ms: int) -> bool:
            age_ms = now_ms - created_ms if created_ms >= CLOCK_SET_MS else up_ms
            return (min(age_ms, up_ms) if epoch == self._epoch else age_ms) > age_max_ms

        giving_up = self._giving_up(GapReason.TOO_OLD, now_ms)
        for lane in (Lane.SAMPLES, Lane.ALARMS):
            self._drop_oldest(giving_up, lane, BYTES_AT_ONCE_MAX, is_too_old)
        self._add(giving_up, now_s)

    def _drop_oldest(self, giving_up: GivingUp, lane: Lane, bytes_min: int, may_go: MayGo = always) -> None:
        after = self._oldest_after.get(lane, 0)
        self._oldest_after[lane] = giving_up.drop_oldest(lane, bytes_min, may_go, after)

    def _add(self, giving_up: GivingUp, now_s: float) -> None:
        """Sum up what was given up, in the same transaction."""
        self._relieved.given_up += giving_up.gaps()
        self._relieved.told += giving_up.damaged
        if giving_up.has_losses:
            sum_up(self._connection, giving_up)
            self._telling.lost(now_s)

    def _giving_up(self, reason: str, now_ms: int) -> GivingUp:
        bounds = self._bounds
        details = {
            GapReason.OUTBOX_FULL: f"the outbox has reached its {bounds.bytes_max / 1e6:,.0f} MB (outbox.size_max)",
            GapReason.DISK_FULL: "the disk has no room for more (outbox.free_disk_min)",
            GapReason.TOO_OLD: f"older than {(bounds.age_s_max or 0) / 3600:g} h (outbox.age_max)",
        }
        return GivingUp(self._connection, reason, details[reason], self._sealing, now_ms)

    def _forget_refused(self, bytes_min: int) -> int:
        """Batches that the cloud has refused are declared already: they give way first. Bytes that this freed."""
        freed = 0
        while freed < bytes_min:
            row = self._connection.execute(
                "DELETE FROM refused WHERE rowid IN (SELECT rowid FROM refused ORDER BY refused_ms LIMIT 1) "
                "RETURNING length(payload)"
            ).fetchone()
            if row is None:
                break
            freed += row[0]
        return freed

    def _look(self) -> None:
        try:
            disk = os.statvfs(self._path.parent)
            self._free_disk_bytes = disk.f_bavail * disk.f_frsize
        except OSError:
            self._free_disk_bytes = 0
        try:
            self._wal_bytes = self._wal.stat().st_size
        except OSError:
            self._wal_bytes = 0

    def _room(self) -> Room:
        (pages,) = self._connection.execute("PRAGMA page_count").fetchone()
        (free,) = self._connection.execute("PRAGMA freelist_count").fetchone()
        # as large as it will be: the last commit goes beyond its share. A reader that stays may let it grow without
        # end; more than half of the room is not given up for it.
        wal_bytes = min(max(self._wal_bytes, self._wal_pages * PAGE_BYTES * 5 // 4), self._bounds.bytes_max // 2)
        return Room((pages - free) * PAGE_BYTES, pages * PAGE_BYTES, wal_bytes, self._free_disk_bytes)

    def fold_log(self) -> None:
        """After a commit: when the log has become larger than its share, let it begin anew, which cuts it off.

        A commit that gives up much, or a reader that stays, makes it grow; SQLite alone would never make it smaller.
        It is not emptied: on a full disk its place is needed to delete with.
        """
        if self._wal_bytes <= self._wal_pages * PAGE_BYTES * 5 // 4:
            return
        execute = self._connection.execute
        with contextlib.suppress(sqlite3.Error):
            execute("PRAGMA busy_timeout=0")  # while somebody reads, no commit waits for it
            try:
                (busy, _, _) = execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
            finally:
                execute(f"PRAGMA busy_timeout={BUSY_MS}")
            if not busy:
                self._wal_bytes = 0  # the next commit cuts it off

    def _trim_ballast(self, limit: Limit) -> None:
        if limit.reason == GapReason.DISK_FULL and self._free_disk_bytes < self._bounds.free_disk_bytes_min:
            self.give_up_ballast()
        else:
            self._ballast.restore(self._free_disk_bytes, self._bounds.free_disk_bytes_min)
