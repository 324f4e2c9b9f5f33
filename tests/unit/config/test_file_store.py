"""Device files survive an end at every moment: always one whole content, and what no start survives is put back."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.configuration.durable_files import replace_file
from edge_agent.config import file_store
from edge_agent.config.file_records import KEPT_MAX, Trial
from edge_agent.config.file_store import FileStore

OLD, NEW = b"devices: [] # old\n", b"devices: [] # new\n"
NAME = "devices/press.yaml"


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def trial(version: int = 1, content: bytes = NEW, before: bytes | None = OLD) -> Trial:
    return Trial(
        command=f"command {version}", name=NAME, version=version, sha256=sha(content),
        before="" if before is None else sha(before), health_s=60, begun_ms=1000 + version,
    )  # fmt: skip


class Box:
    """A folder of configuration and one of data, on which one start follows the other."""

    def __init__(self, folder: Path, content: bytes | None = OLD) -> None:
        self.folder = folder
        self.file = folder / "etc" / NAME
        self.file.parent.mkdir(parents=True)
        (folder / "data").mkdir()
        if content is not None:
            self.file.write_bytes(content)

    def start(self) -> FileStore:
        return FileStore(self.folder / "etc", self.folder / "data")

    @property
    def content(self) -> bytes | None:
        return self.file.read_bytes() if self.file.exists() else None


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path)


class Killed(BaseException):
    """kill -9."""


def cut_at(monkeypatch: pytest.MonkeyPatch, count: int, *, between: bool) -> Callable[[], bool]:
    """End the program at the ``count``-th file that is written: before it, or when it is beside and not renamed yet."""
    done = 0

    def cut(beside: Path, path: Path, content: bytes, *, mode: int) -> None:
        nonlocal done
        done += 1
        if done == count:
            if between:
                beside.write_bytes(content)
            raise Killed
        replace_file(beside, path, content, mode=mode)

    monkeypatch.setattr(file_store, "replace_file", cut)
    return lambda: done >= count


def test_a_good_version_is_kept_and_the_one_before_stays_at_hand(box: Box) -> None:
    box.start().begin(trial(), NEW)
    assert box.content == NEW
    store = box.start()
    running = store.before_start()
    assert running is not None
    assert (running.starts, running.command) == (1, "command 1")
    store.keep(2000)
    record = store.records().of(NAME)
    assert record.current is not None
    assert (record.current.version, record.current.sha256) == (1, sha(NEW))
    assert [(one.version, store.content(one.sha256)) for one in record.before] == [(0, OLD)]
    assert store.records().trial is not None
    assert box.start().before_start() is None
    assert box.content == NEW


def test_a_version_that_is_no_good_is_put_back(box: Box) -> None:
    box.start().begin(trial(), NEW)
    store = box.start()
    store.before_start()
    store.roll_back("the press is not read")
    assert box.content == OLD
    found = store.records()
    assert found.trial is not None
    assert (found.trial.ending, found.trial.reason) == ("rolled_back", "the press is not read")
    failure = found.of(NAME).failure
    assert failure is not None
    assert (failure.version, failure.message) == (1, "the press is not read")
    assert box.start().before_start() is None


def test_a_new_file_that_is_no_good_is_gone_again(tmp_path: Path) -> None:
    box = Box(tmp_path, None)
    box.start().begin(trial(before=None), NEW)
    store = box.start()
    store.before_start()
    store.roll_back("no")
    assert box.content is None


def test_an_end_in_the_trial_puts_it_back_and_an_end_that_was_asked_for_does_not(box: Box) -> None:
    box.start().begin(trial(), NEW)
    first = box.start()
    assert first.before_start() is not None
    first.stopped()
    again = box.start()
    assert again.before_start() is not None, "SIGTERM: it is tried again"
    crashed = box.start()
    assert crashed.before_start() is None
    assert box.content == OLD
    found = crashed.records().trial
    assert found is not None
    assert found.ending == "rolled_back"


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("count", range(1, 5))
def test_whenever_it_is_ended_while_it_begins_the_file_is_whole_and_the_next_start_knows(
    box: Box, count: int, between: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_at(monkeypatch, count, between=between)
    with pytest.raises(Killed):
        box.start().begin(trial(), NEW)
    assert box.content == OLD, "it comes last"
    monkeypatch.undo()
    store = box.start()
    assert store.before_start() is None
    found = store.records().trial
    assert (None if found is None else found.ending) == (None if count < 4 else "untouched")
    store.begin(trial(2), NEW)
    assert box.start().before_start() is not None
    assert box.content == NEW


@pytest.mark.parametrize("between", [False, True])
@pytest.mark.parametrize("count", range(1, 4))
def test_whenever_it_is_ended_while_it_is_put_back_the_next_start_goes_on_with_that(
    box: Box, count: int, between: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.start().begin(trial(), NEW)
    store = box.start()
    store.before_start()
    cut_at(monkeypatch, count, between=between)
    with pytest.raises(Killed):
        store.roll_back("the press is not read")
    assert box.content in (OLD, NEW)
    monkeypatch.undo()
    after = box.start()
    assert after.before_start() is None
    assert box.content == OLD
    found = after.records().trial
    assert found is not None
    assert found.ending == "rolled_back"
    assert found.reason == ("the press is not read" if count > 1 else found.reason)


@pytest.mark.parametrize("between", [False, True])
def test_ended_while_it_is_kept_it_was_not_survived(box: Box, between: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    box.start().begin(trial(), NEW)
    store = box.start()
    store.before_start()
    cut_at(monkeypatch, 1, between=between)
    with pytest.raises(Killed):
        store.keep(2000)
    monkeypatch.undo()
    assert box.start().before_start() is None
    assert box.content == OLD


@pytest.mark.parametrize("starts", [0, 1])
def test_what_somebody_changes_during_the_trial_stays(box: Box, starts: int) -> None:
    box.start().begin(trial(), NEW)
    store = box.start()
    for _ in range(starts):
        store.before_start()
    box.file.write_bytes(b"by hand")
    if starts:
        store.roll_back("the press is not read")
    else:
        store.before_start()
    assert box.content == b"by hand"
    found = store.records().trial
    assert found is not None
    assert found.ending == "overtaken"


def test_of_many_versions_the_newest_are_kept_and_the_others_leave_the_disk(box: Box) -> None:
    before = OLD
    for version in range(1, KEPT_MAX + 6):
        content = b"devices: [] # %d\n" % version
        box.start().begin(trial(version, content, before), content)
        store = box.start()
        store.before_start()
        store.keep(version)
        before = content
    record = store.records().of(NAME)
    assert [one.version for one in record.before] == list(range(KEPT_MAX + 4, 4, -1))
    kept = [path for path in store.folder.iterdir() if len(path.name) == 64]
    assert len(kept) == KEPT_MAX + 1
    assert all(store.content(one.sha256) for one in record.before)


def test_a_kept_content_that_is_damaged_is_not_put_back(box: Box) -> None:
    box.start().begin(trial(), NEW)
    store = box.start()
    store.before_start()
    (store.folder / sha(OLD)).write_bytes(b"damaged")
    with pytest.raises(OSError, match="damaged"):
        store.roll_back("no")
    assert box.content == NEW


def test_a_record_that_is_damaged_knows_nothing_and_keeps_nobody_from_starting(box: Box) -> None:
    box.start().begin(trial(), NEW)
    (box.folder / "data" / "device-files" / "state.json").write_bytes(b"{")
    assert box.start().before_start() is None
    assert box.content == NEW


@pytest.mark.parametrize("there", [b"by hand", None])
@pytest.mark.parametrize("before", [OLD, None])
def test_a_file_that_is_not_the_one_that_was_checked_is_not_replaced(
    tmp_path: Path, there: bytes | None, before: bytes | None
) -> None:
    box = Box(tmp_path, there)
    if there == before:
        return
    with pytest.raises(OSError, match=r"was changed since|No such file"):
        box.start().begin(trial(before=before), NEW)
    assert box.content == there
    assert box.start().records().trial is None
    with pytest.raises(OSError, match=r"was changed since|No such file"):
        box.start().known(NAME, sha(NEW), 1, 1000)
    assert box.start().records().of(NAME).current is None


def test_an_edit_in_the_moment_before_it_is_replaced_stays(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def edited(beside: Path, path: Path, content: bytes, *, mode: int) -> None:
        replace_file(beside, path, content, mode=mode)
        if path.name == "state.json":
            box.file.write_bytes(b"by hand")

    monkeypatch.setattr(file_store, "replace_file", edited)
    with pytest.raises(OSError, match="was changed since"):
        box.start().begin(trial(), NEW)
    monkeypatch.undo()
    store = box.start()
    assert store.before_start() is None
    found = store.records().trial
    assert found is not None
    assert (found.ending, box.content) == ("overtaken", b"by hand")


def test_a_kept_content_that_is_damaged_is_kept_anew_before_it_may_be_needed(box: Box) -> None:
    box.start().begin(trial(), NEW)
    store = box.start()
    store.before_start()
    store.roll_back("no")
    (store.folder / sha(OLD)).write_bytes(b"damaged")
    store.begin(trial(2), NEW)
    store.roll_back("no again")
    assert box.content == OLD
