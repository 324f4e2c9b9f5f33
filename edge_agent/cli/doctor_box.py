"""What ``edge-agent doctor`` looks at on the box itself: versions, clock, disk, permissions."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pwd
import sqlite3
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from connectors.observability.version import lineside_version
from edge_agent.cli.findings import Finding
from edge_agent.cli.words import duration, size

EARLIEST_YEAR: Final = 2025
CLOCK_ERROR_S: Final = 2.0
UNSYNCHRONISED: Final = 5
"""``TIME_ERROR`` of adjtimex(2)."""
COMMIT_SLOW_S: Final = 0.5
INODES_MIN: Final = 1000
FORGETFUL: Final = {"tmpfs", "ramfs"}
REMOTE: Final = {"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"}


def versions(status: dict[str, Any] | None) -> Iterator[Finding]:
    """Which ones are installed, and whether the running agent is of the installed one."""
    own, python = lineside_version(), ".".join(map(str, sys.version_info[:3]))
    installed = f"lineside {own}, Python {python}, SQLite {sqlite3.sqlite_version}"
    if status is not None and status["version"] != own:
        said = f"the agent runs lineside {status['version']}; this command is of {own}"
        yield Finding("versions", "look", said, "restart the agent, or call the command of its release")
    else:
        yield Finding("versions", "ok", installed)


def clock(status: dict[str, Any] | None, now_s: float, kernel_state: Callable[[], int]) -> Iterator[Finding]:
    """Whether this box knows the time: by the kernel, and by the host where the agent has heard of it."""
    now = datetime.fromtimestamp(now_s, UTC)
    if now.year < EARLIEST_YEAR:
        yield Finding("clock", "wrong", f"it is {now:%Y-%m-%d} on this box", "set the clock; has its battery failed?")
        return
    error_s = None if status is None else (status.get("uplink") or {}).get("clock_error_s")
    if error_s is not None and abs(error_s) > CLOCK_ERROR_S:
        said = f"the clock is {duration(abs(error_s))} {'ahead of' if error_s > 0 else 'behind'} the host's"
        yield Finding("clock", "wrong", said, "look at the time server of this box (chronyc sources, timedatectl)")
    elif kernel_state() == UNSYNCHRONISED:
        said = f"{now:%Y-%m-%d %H:%M:%S} UTC; no time server keeps it, says the kernel"
        todo = "set up chrony or systemd-timesyncd: times of samples are those of this clock where a device has none"
        yield Finding("clock", "look", said, todo)
    else:
        yield Finding("clock", "ok", f"{now:%Y-%m-%d %H:%M:%S} UTC")


def kernel_clock_state() -> int:
    """What adjtimex(2) says of the clock, without changing it; -1 where it does not say."""
    buffer = ctypes.create_string_buffer(1024)  # larger than ``struct timex`` anywhere; all zero: only asked
    try:
        return int(ctypes.CDLL(None).adjtimex(buffer))
    except (AttributeError, OSError):
        return -1


def disk(folder: Path, *, bytes_max: int, free_bytes_min: int, used_bytes: int, mounts: str) -> Iterator[Finding]:
    """Whether the disk of ``folder``, where the outbox is, has room for what it may become.

    ``mounts``: what /proc/mounts says.
    """
    place = _existing(folder)
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    kind = _kind_of(place, mounts)
    if found.f_flag & os.ST_RDONLY:
        yield Finding("disk", "wrong", f"{place} is mounted read-only", "mount it to be written; look at dmesg")
        return
    if kind in FORGETFUL:
        yield Finding("disk", "wrong", f"{place} is in memory ({kind}): a power cut takes all that waits", _ELSEWHERE)
    elif kind in REMOTE:
        yield Finding("disk", "wrong", f"{place} is on another machine ({kind}): SQLite is not safe there", _ELSEWHERE)
    if free < free_bytes_min:
        said = f"{size(free)} free of {place}; below {size(free_bytes_min)} the outbox does not grow"
        yield Finding("disk", "wrong", said, "make room, or lower outbox.free_disk_min")
    elif (missing := bytes_max - used_bytes - (free - free_bytes_min)) > 0:
        said = f"{size(free)} free: {size(missing)} too little for outbox.size_max ({size(bytes_max)})"
        yield Finding("disk", "look", said, "the disk will bound the outbox first: make room, or lower size_max")
    else:
        yield Finding("disk", "ok", f"{size(free)} free; the outbox may take {size(bytes_max)}")
    if found.f_files and found.f_favail < INODES_MIN:
        yield Finding(
            "disk", "look", f"{found.f_favail} more files can be made there", "remove small files nobody needs"
        )


_ELSEWHERE: Final = "put agent.data_dir on a disk of this box"


def commits(folder: Path) -> Iterator[Finding]:
    """How long the disk takes to make a small write safe; nothing where ``folder`` cannot be written."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return
    begun_s = time.monotonic()
    with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:
        file.write(b"\0" * 4096)
        file.flush()
        os.fsync(file.fileno())
        took_s = time.monotonic() - begun_s
        said = f"a commit takes {1000 * took_s:.0f} ms"
        if took_s > COMMIT_SLOW_S:
            yield Finding("disk", "look", said, "is the disk worn out, or busy? commits carry more samples each")
        else:
            yield Finding("disk", "ok", said)


def permissions(config: Path, folder: Path, secret_files: Sequence[Path], user: int) -> Iterator[Finding]:
    """Who may read and write what. ``user``: whose permissions are looked at (a user id)."""
    findings = [*_folder(folder, user), *_files(config, secret_files)]
    yield from findings
    if not findings:
        yield Finding("permissions", "ok", f"{folder} can be written, and secrets are read by their owner alone")


def is_closed(folder: Path) -> bool:
    """Whether whoever calls this may not look into ``folder``, or not even know whether it is there."""
    return not os.access(_existing(folder), os.R_OK | os.X_OK)


def _folder(folder: Path, user: int) -> Iterator[Finding]:
    if not os.path.isdir(folder):
        place = _existing(folder)
        if os.access(place, os.X_OK):
            todo = "it is made by the first start of the agent"
            yield Finding("permissions", "look", f"{folder} does not exist", todo)
        else:
            todo = f"call it as its user: sudo -u {_user(place.stat().st_uid)} edge-agent doctor"
            yield Finding("permissions", "look", f"{_user(user)} may not look into {place}", todo)
        return
    owner = folder.stat().st_uid
    if owner != user and user != 0:
        name, me = _user(owner), _user(user)
        todo = f"call it as its user: sudo -u {name} edge-agent doctor"
        closed = "; what is in it was not looked at" if is_closed(folder) else ""
        yield Finding("permissions", "look", f"{folder} belongs to {name}, and you are {me}{closed}", todo)
    elif not os.access(folder, os.W_OK | os.X_OK):
        todo = f"chmod u+rwx {folder}"
        yield Finding("permissions", "wrong", f"{folder} cannot be written by {_user(user)}", todo)
    if folder.stat().st_mode & stat.S_IWOTH:
        yield Finding("permissions", "wrong", f"everybody may write {folder}", f"chmod o-w {folder}")


def _files(config: Path, secret_files: Sequence[Path]) -> Iterator[Finding]:
    if os.path.exists(config) and config.stat().st_mode & stat.S_IWOTH:
        yield Finding("permissions", "wrong", f"everybody may change {config}", f"chmod o-w {config}")
    for path in secret_files:
        if os.path.exists(path) and path.stat().st_mode & (stat.S_IRWXO | stat.S_IWGRP):
            yield Finding("permissions", "wrong", f"others may read or change the key {path}", f"chmod 600 {path}")


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _existing(folder: Path) -> Path:
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if os.path.isdir(place))


def _kind_of(place: Path, mounts: str) -> str:
    """The file system of ``place``: that of the longest mount point above it."""
    best, kind = "", ""
    for line in mounts.splitlines():
        parts = line.split()
        point = parts[1].replace("\\040", " ") if len(parts) > 2 else ""
        if point and (place == Path(point) or Path(point) in place.parents) and len(point) >= len(best):
            best, kind = point, parts[2]
    return kind
