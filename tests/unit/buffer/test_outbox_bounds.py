"""An outbox that is full or too old: what gives way, and that every sample is stored, delivered or declared."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filling_outbox import HOUR_S, MEGABYTE, NOW_NS, OVEN, PRESS, SAMPLES, Filling
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.buffer.bounds import OutboxBounds, WhenFull
from edge_agent.buffer.giving_up import GivingUp
from edge_agent.buffer.outbox import Commit
from edge_agent.buffer.reading import file_bytes
from edge_agent.buffer.rows import Kind, Lane
from edge_agent.buffer.schema import open_reader
from edge_agent.buffer.telling import QUIET_S, TELL_EVERY_S
from edge_agent.buffer.thinning import Thinning
from tests.drawn_batches import plain

Made = Callable[..., Filling]


@pytest.fixture
def filling(tmp_path: Path) -> Iterator[Made]:
    opened: list[Filling] = []

    def make(when_full: WhenFull = WhenFull.DROP_OLDEST, **bounds: Any) -> Filling:
        policies = {Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: when_full}
        opened.append(Filling(tmp_path / f"{len(opened)}.db", OutboxBounds(policies=policies, **bounds)))
        return opened[-1]

    yield make
    for each in opened:
        each.outbox.close()


def test_the_oldest_samples_give_way_and_a_gap_names_device_tags_times_and_numbers(filling: Made) -> None:
    full = filling(bytes_max=2 * MEGABYTE)
    for _ in range(300):
        full.commit()
        assert full.outbox.relief.used_bytes <= 2 * MEGABYTE
    full.tell()
    assert full.is_complete()
    (first, *_) = full.stored()
    assert first.number > max(full.explained()) - 2 * len(full.gaps()), "what is left is the newest"
    gap = next(gap for gap in full.gaps() if gap["device"] == PRESS)
    assert (gap["reason"], gap["tags"]) == ("outbox_full", ["t0", "t1", "t2"])
    assert gap["first_ns"] == NOW_NS
    assert gap["first_ns"] < gap["last_ns"] < int(first.parts[0].time_ns.min())
    assert "has reached its 2 MB (outbox.size_max)" in gap["detail"]
    assert full.path.stat().st_size <= 2 * MEGABYTE


def test_what_is_new_gives_way_where_that_is_asked_for_and_is_told_of_when_there_is_room(filling: Made) -> None:
    full = filling(WhenFull.DROP_NEWEST, bytes_max=2 * MEGABYTE)
    while full.made < 300:
        full.commit()
    before = [row.number for row in full.stored()]
    assert full.outbox.relief.refuses
    assert full.gaps() == []
    alarms = full.commit(Lane.ALARMS)
    assert [row.lane for row in alarms] == [Lane.ALARMS], "alarms are still taken"
    assert [row.number for row in full.stored()][:-1] == before, "and nothing that is stored gives way"
    count = sum(row.sample_count for row in full.stored())
    full.acknowledge_all()
    full.idle(1.0)
    gaps = full.gaps()
    assert {gap["device"] for gap in gaps} == {PRESS, OVEN}
    assert sum(gap["count"] for gap in gaps) == full.made * SAMPLES - count
    assert not full.outbox.relief.refuses
    assert full.commit(), "samples are taken again"


def test_what_was_not_taken_before_a_restart_is_told_of_after_it(filling: Made) -> None:
    full = filling(WhenFull.DROP_NEWEST, bytes_max=2 * MEGABYTE)
    while full.made < 300:
        full.commit()
    full.outbox.close()
    full.open()
    assert full.is_complete() or sum(g["count"] for g in full.gaps()) == full.made * SAMPLES - sum(
        row.sample_count for row in full.stored()
    )
    assert len(full.gaps()) == 2


def test_a_long_refusal_is_told_of_while_it_lasts(filling: Made) -> None:
    full = filling(WhenFull.DROP_NEWEST, bytes_max=2 * MEGABYTE)
    while not full.outbox.relief.refuses:
        full.commit()
    since_s = full.now_s
    while full.now_s < since_s + TELL_EVERY_S - 10.0:
        full.now_s += 0.8 * QUIET_S  # never so long that it counts as over
        full.commit()
    assert full.gaps() == []
    while full.now_s < since_s + TELL_EVERY_S + 10.0:
        full.now_s += 0.8 * QUIET_S
        full.commit()
    assert {gap["reason"] for gap in full.gaps()} == {"outbox_full"}


def test_thinning_keeps_one_value_a_second_of_each_tag_and_rows_keep_their_numbers(filling: Made) -> None:
    full = filling(WhenFull.THIN, bytes_max=2 * MEGABYTE)
    while full.thinned_until() < 30:
        full.commit()
    full.tell()
    assert full.is_complete()
    assert {gap["reason"] for gap in full.gaps()} == {"thinned"}
    oldest = [row for row in full.stored() if row.device == PRESS and row.number < full.thinned_until()]
    seconds = [
        (tag, time // 10**9)
        for row in oldest
        for part in row.parts
        for tag, time in zip(part.tag.tolist(), part.time_ns.tolist(), strict=True)
    ]
    assert len(seconds) == len(set(seconds)), "one value of each tag in a second"
    assert {tag for tag, _ in seconds} == set(full.aliases[PRESS][:3])
    assert {second - NOW_NS // 10**9 for _, second in seconds} >= {0, 1, 2}


def test_thinning_keeps_every_change_of_quality(filling: Made) -> None:
    full = filling(WhenFull.THIN, bytes_max=2 * MEGABYTE)
    for number in range(4):
        full.commit(quality=(0, 0, 0x8000, 0x8000)[number])
    while full.thinned_until() < 10:
        full.commit()
    bad = [int((part.qualities() != 0).sum()) for row in full.stored() for part in row.parts]
    assert sum(bad) == 6, "of each device and tag the first bad value, though a good one was kept in that second"


def test_each_walk_through_the_outbox_thins_with_a_longer_interval(filling: Made) -> None:
    full = filling()
    for _ in range(300):
        full.commit()
        full.idle(0.9)
    thinning, left = Thinning(), []
    while not thinning.is_exhausted:
        walk = GivingUp(full.outbox._connection, "thinned", thinning.detail)
        thinning.thin(full.outbox._connection, walk, 1 << 60)
        left.append(sum(row.sample_count for row in full.stored()))
    assert left == [900, 180, 36], "of three tags of two devices in 300 s: the oven's first value comes a second later"


def test_when_thinning_frees_nothing_the_oldest_gives_way(filling: Made) -> None:
    full = filling(WhenFull.THIN, bytes_max=2 * MEGABYTE)
    for _ in range(300):
        full.commit(states=True)
        assert full.outbox.relief.used_bytes <= 2 * MEGABYTE
    full.tell()
    assert full.is_complete()
    assert {gap["reason"] for gap in full.gaps()} == {"outbox_full"}
    assert all(row.sample_count == SAMPLES for row in full.stored()), "a state is no number, and never thinned"


def test_alarms_outlast_all_samples_and_records_outlast_the_alarms(filling: Made) -> None:
    full = filling(bytes_max=2 * MEGABYTE)
    for number in range(100):
        full.commit(Lane.ALARMS if number % 10 == 0 else Lane.SAMPLES)
    for _ in range(100):
        full.commit()
    assert sum(row.lane is Lane.ALARMS for row in full.stored()) == 10, "samples gave way, alarms did not"
    for _ in range(200):
        full.commit(Lane.ALARMS)
    assert all(row.lane is Lane.ALARMS for row in full.stored())
    assert [row.kind for row in full.rows()][:3] == [Kind.EPOCH_START, Kind.DEFINITION, Kind.DEFINITION]
    assert full.is_complete()


def test_what_is_too_old_is_given_up_with_that_reason(filling: Made) -> None:
    aged = filling(age_s_max=HOUR_S)
    for _ in range(10):
        aged.commit()
    aged.idle(HOUR_S - 10.0)
    assert len(aged.stored()) == 10
    aged.commit()
    aged.idle(20.0)
    aged.tell()
    assert [(gap["reason"], gap["count"]) for gap in aged.gaps()] == [("too_old", 5000)] * 2
    assert len(aged.stored()) == 1
    assert aged.is_complete()


def test_a_clock_that_is_set_makes_nothing_too_old(filling: Made) -> None:
    aged = filling(age_s_max=HOUR_S)
    aged.clock_error_s = -NOW_NS / 1e9  # 1970, until the time server answers
    aged.outbox.close()
    aged.open()
    aged.commit()
    aged.clock_error_s = 0.0
    aged.commit()
    aged.idle(10.0)
    assert len(aged.stored()) == 2, "how old a row of 1970 is, nobody knows"
    aged.clock_error_s = 80 * 365 * 86_400.0
    aged.idle(10.0)
    assert len(aged.stored()) == 2, "what this start has written is no older than this start"
    aged.idle(2 * HOUR_S)
    assert aged.stored() == [], "now all of it is older"


def disk_with(monkeypatch: pytest.MonkeyPatch, free_bytes: int) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _path: SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096))


def test_while_the_disk_is_low_the_file_does_not_grow_and_ballast_is_given_up(
    filling: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk_with(monkeypatch, 1000 * MEGABYTE)
    low = filling(free_disk_bytes_min=100 * MEGABYTE, ballast_bytes=MEGABYTE)
    ballast = low.path.with_name(low.path.name + ".ballast")
    for _ in range(100):
        low.commit()
    assert ballast.stat().st_size == MEGABYTE
    disk_with(monkeypatch, 50 * MEGABYTE)
    for _ in range(20):
        low.commit()
    assert not ballast.exists()
    low.outbox._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size = low.path.stat().st_size
    for _ in range(200):
        low.commit()
    low.outbox._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert low.path.stat().st_size <= size * 1.01
    low.tell()
    assert {gap["reason"] for gap in low.gaps()} == {"disk_full"}
    assert low.is_complete()
    disk_with(monkeypatch, 103 * MEGABYTE)
    low.idle(2.0)
    assert low.outbox.relief.ballast_held, "it is taken again when the disk can spare it"


def test_a_commit_that_the_disk_refuses_succeeds_when_older_samples_have_given_way(filling: Made) -> None:
    full = filling()
    for _ in range(50):
        full.commit()
    (pages,) = full.outbox._connection.execute("PRAGMA page_count").fetchone()
    full.outbox._connection.execute(f"PRAGMA max_page_count={pages + 2}")
    for _ in range(100):
        full.commit()
    full.tell()
    assert {gap["reason"] for gap in full.gaps()} == {"disk_full"}
    assert full.is_complete()


def test_batches_that_the_cloud_had_refused_give_way_before_all_others(filling: Made) -> None:
    full = filling(bytes_max=2 * MEGABYTE)
    rows = [full.commit()[0] for _ in range(90)]
    work = Commit(refused=[(row.epoch, row.number, "too large") for row in rows[:60]], now_ns=full.now_ns)
    full.outbox.commit(work)
    full.tell()
    declared = len(full.gaps())
    for _ in range(25):
        full.commit()
    assert (len(full.gaps()), full.summed_up()) == (declared, 0), "they are declared already"
    assert full.outbox._connection.execute("SELECT count(*) FROM refused").fetchone()[0] < 60


@given(
    when_full=st.sampled_from(WhenFull),
    steps=st.lists(st.sampled_from(["samples", "samples", "alarms", "idle", "acknowledge", "restart"]), max_size=60),
    megabytes=st.floats(0.2, 1.5),
)
def test_whatever_happens_every_sample_is_stored_delivered_or_declared(
    tmp_path_factory: pytest.TempPathFactory, when_full: WhenFull, steps: list[str], megabytes: float
) -> None:
    policies = {Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: when_full}
    bounds = OutboxBounds(int(megabytes * MEGABYTE), policies=policies)
    filling = Filling(tmp_path_factory.mktemp("bounds") / "outbox.db", bounds)
    delivered = 0
    for step in steps:
        if step in ("samples", "alarms"):
            for _ in range(5):
                filling.commit(Lane[step.upper()])
        elif step == "idle":
            filling.idle(60.0)
        elif step == "acknowledge":
            delivered += sum(row.sample_count for row in filling.stored())
            filling.acknowledge_all()
        else:
            filling.outbox.close()
            filling.open()
    delivered += sum(row.sample_count for row in filling.stored())
    filling.acknowledge_all()
    filling.idle(1.0)
    filling.outbox.close()
    filling.open()
    values = [plain(part) for row in filling.stored() for part in row.parts]
    assert values == []
    assert delivered + sum(gap["count"] for gap in filling.gaps()) == filling.made * SAMPLES
    filling.outbox.close()


@pytest.mark.parametrize("when_full", WhenFull)
def test_database_and_log_together_stay_within_the_bound(filling: Made, when_full: WhenFull) -> None:
    full = filling(when_full, bytes_max=4 * MEGABYTE)
    largest = 0
    for _ in range(600):
        full.commit()
        largest = max(largest, file_bytes(full.path))
    assert 3 * MEGABYTE < largest <= 4 * MEGABYTE


def test_a_log_that_a_reader_has_let_grow_counts_and_is_cut_off_when_the_reader_has_gone(filling: Made) -> None:
    full = filling(bytes_max=8 * MEGABYTE)
    for _ in range(100):
        full.commit()
    reader = open_reader(full.path)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM outbox").fetchone()
    for _ in range(150):
        full.commit()
    wal = full.path.with_name(full.path.name + "-wal")
    assert wal.stat().st_size > 2.5 * MEGABYTE
    assert full.outbox.relief.bytes_max < 5.6 * MEGABYTE, "what the log takes, the database may not"
    reader.close()
    for _ in range(40):
        full.commit()
    assert wal.stat().st_size <= 2 * MEGABYTE
    assert file_bytes(full.path) <= 8 * MEGABYTE
