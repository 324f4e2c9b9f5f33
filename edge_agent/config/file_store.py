"""Device files on the disk: replaced atomically, tried, and put back; whatever moment the agent is ended at.

Invariants, held by tests/unit/config/test_file_store.py, which cuts it off before every operation of the disk:

1. A file is always one whole content: the one before, or the one on trial.
2. The content before is on the disk, kept, before the file is replaced.
3. That a trial begins is on the disk before the file is replaced; so the next start knows of it.
4. A trial that the agent does not survive is ended by the start after the next, before it reads its configuration.
5. What somebody changes by hand meanwhile is never overwritten: not by putting something back, and not by a version
   that was checked against what was there before.

Every method does its work on the disk before it returns, and raises ``OSError`` when that cannot be done.
"""

from __future__ import annotations

import functools
import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypeVar

from pydantic import ValidationError

from connectors.configuration.durable_files import replace_file, sync_folder
from edge_agent.config.file_records import Content, Ending, Failure, Records, Trial, printable

FOLDER: Final = "device-files"
FILE_BYTES_MAX: Final = 16 * 1024 * 1024
FILE_MODE: Final = 0o640
_MESSAGE_CHARS_MAX: Final = 1500


P = ParamSpec("P")
T = TypeVar("T")


def _alone(method: Callable[Concatenate[FileStore, P], T], /) -> Callable[Concatenate[FileStore, P], T]:
    """One at a time: a trial is judged in a thread, and the agent may end meanwhile."""

    @functools.wraps(method)
    def alone(store: FileStore, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with store.lock:
            return method(store, *args, **kwargs)

    return alone


class FileStore:
    """The files below ``config_dir``, the folder of the agent's own file, and what is kept of them in ``data_dir``."""

    def __init__(self, config_dir: Path, data_dir: Path) -> None:
        self.config_dir = config_dir
        self.folder = data_dir / FOLDER
        self.lock = threading.Lock()
        self._state = self.folder / "state.json"

    def records(self) -> Records:
        """What is remembered; nothing where the file of it is missing or damaged: then no version is known."""
        try:
            return Records.model_validate_json(self._state.read_bytes())
        except (FileNotFoundError, ValidationError):
            return Records()

    def path(self, name: str) -> Path:
        """Where the file ``name`` is."""
        return self.config_dir / name

    def sha256(self, name: str) -> str:
        """Of the file as it is now; empty when there is none."""
        try:
            return _sha256(_bytes(self.path(name)))
        except FileNotFoundError:
            return ""

    def content(self, sha256: str) -> bytes:
        """A content that was kept."""
        found = _bytes(self.folder / sha256)
        if _sha256(found) != sha256:
            raise OSError(f"what was kept as {self.folder / sha256} is damaged")
        return found

    @_alone
    def begin(self, trial: Trial, content: bytes) -> None:
        """Keep what is there and what comes, note the trial, and replace the file, if it still is ``trial.before``."""
        before = self._as_checked(trial.name, trial.before)
        self._make_folder()
        if before:
            self._keep(before, trial.before)
        self._keep(content, trial.sha256)
        self._write(self.records().model_copy(update={"trial": trial}))
        self._as_checked(trial.name, trial.before)  # the disk took its time
        self._put(trial.name, content)

    @_alone
    def before_start(self) -> Trial | None:
        """Called before the configuration is read: ends a trial that an earlier start did not survive.

        The trial that goes on with this start, if one does.
        """
        records = self.records()
        trial = records.running
        if trial is None:
            return None
        now = self.sha256(trial.name)
        if trial.ending == "rolling_back":
            self._put_back(records, trial, trial.reason)
        elif now == trial.before and trial.starts == 0:
            self._end(records, trial, "untouched", "the agent ended before the file was replaced: it is as it was")
        elif now != trial.sha256:
            self._end(records, trial, "overtaken", "somebody has changed the file during its trial: that stays")
        elif trial.starts > 0:
            said = "the agent ended in the trial without having been asked to"
            self._put_back(records, trial, said)
        else:
            trial = trial.model_copy(update={"starts": 1})
            self._write(records.model_copy(update={"trial": trial}))
            return trial
        return None

    @_alone
    def tried(self) -> None:
        """This run of the agent tries the version, without a restart: from now on a crash is one in the trial."""
        records = self.records()
        if (trial := records.running) is not None:
            self._write(records.model_copy(update={"trial": trial.model_copy(update={"starts": 1})}))

    @_alone
    def stopped(self) -> None:
        """The agent ends as it was asked to: the trial goes on with its next start."""
        records = self.records()
        if (trial := records.running) is not None and not trial.ending:
            self._write(records.model_copy(update={"trial": trial.model_copy(update={"starts": 0})}))

    @_alone
    def keep(self, now_ms: int) -> None:
        """The version on trial is good."""
        records = self.records()
        if (trial := records.running) is None or trial.ending:
            return
        before = records.of(trial.name).current
        if trial.before and (before is None or before.sha256 != trial.before):
            before = Content(version=0, sha256=trial.before, since_ms=trial.begun_ms)
        content = Content(version=trial.version, sha256=trial.sha256, since_ms=now_ms)
        kept = records.used(trial.name, content, before if trial.before else None)
        self._write(kept.model_copy(update={"trial": trial.model_copy(update={"ending": "kept"})}))
        self._forget(kept)

    @_alone
    def known(self, name: str, sha256: str, version: int, now_ms: int) -> None:
        """The file has the content of this version already."""
        content = Content(version=version, sha256=sha256, since_ms=now_ms)
        found = self._as_checked(name, sha256)
        self._make_folder()
        self._keep(found, sha256)
        records = self.records()
        self._write(records.used(name, content, records.of(name).current))

    @_alone
    def use(self, name: str, content: Content, now_ms: int) -> None:
        """Use a content that is kept, without a trial: no agent runs. What is there now is kept."""
        self._make_folder()
        records, now = self.records(), self.sha256(name)
        before = records.of(name).current
        if now:
            self._keep(self._as_checked(name, now), now)
            if before is None or before.sha256 != now:
                before = Content(version=0, sha256=now, since_ms=now_ms)
        self._put(name, self.content(content.sha256))
        self._write(records.used(name, content.model_copy(update={"since_ms": now_ms}), before if now else None))

    @_alone
    def roll_back(self, reason: str) -> None:
        """The version on trial is not good: the file is as it was before."""
        records = self.records()
        if (trial := records.running) is not None:
            self._put_back(records, trial, reason)

    def _put_back(self, records: Records, trial: Trial, reason: str) -> None:
        """Idempotent: what was cut off is done again by the next start."""
        reason = printable(reason)[:_MESSAGE_CHARS_MAX]
        if trial.ending != "rolling_back":
            trial = trial.model_copy(update={"ending": "rolling_back", "reason": reason})
            records = records.model_copy(update={"trial": trial})
            self._write(records)
        if self.sha256(trial.name) == trial.sha256:
            if trial.before:
                self._put(trial.name, self.content(trial.before))
            else:
                self.path(trial.name).unlink()
                sync_folder(self.path(trial.name).parent)
        elif self.sha256(trial.name) != trial.before:
            self._end(records, trial, "overtaken", f"{reason}; and somebody has changed the file meanwhile: that stays")
            return
        self._end(records, trial, "rolled_back", reason)

    def _end(self, records: Records, trial: Trial, ending: Ending, reason: str) -> None:
        failure = Failure(version=trial.version, message=reason, time_ms=trial.begun_ms)
        ended = trial.model_copy(update={"ending": ending, "reason": reason})
        self._write(records.failed(trial.name, failure).model_copy(update={"trial": ended}))

    def _as_checked(self, name: str, sha256: str) -> bytes:
        """The content of a file, nothing for none. Raises ``OSError`` when it is not the one with this SHA-256."""
        try:
            found = _bytes(self.path(name))
        except FileNotFoundError:
            if not sha256:
                return b""
            raise
        if _sha256(found) != sha256:
            raise OSError(f"{self.path(name)} was changed since it was looked at, and stays as it is")
        return found

    def _make_folder(self) -> None:
        if not self.folder.is_dir():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(self.folder.parent)

    def _put(self, name: str, content: bytes) -> None:
        path = self.path(name)
        replace_file(path.with_name(f".{path.name}.new"), path, content, mode=FILE_MODE)

    def _keep(self, content: bytes, sha256: str) -> None:
        path = self.folder / sha256
        try:
            is_kept = _sha256(_bytes(path)) == sha256
        except FileNotFoundError:
            is_kept = False
        if not is_kept:
            replace_file(path.with_name(f"{sha256}.new"), path, content, mode=0o600)

    def _write(self, records: Records) -> None:
        replace_file(self._state.with_suffix(".new"), self._state, records.model_dump_json().encode(), mode=0o600)

    def _forget(self, records: Records) -> None:
        """Remove what is needed no more; what is left over by a crash goes with the next one."""
        needed = records.contents()
        for path in self.folder.iterdir():
            if len(path.name) == 64 and path.name not in needed:
                path.unlink(missing_ok=True)


def _bytes(path: Path) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        found = file.read(FILE_BYTES_MAX + 1)
    if len(found) > FILE_BYTES_MAX:
        raise OSError(f"{path} is larger than {FILE_BYTES_MAX:,} bytes")
    return found


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
