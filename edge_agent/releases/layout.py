"""Where releases lie, and the small files by which the agent and the launcher speak to each other.

In the folder ``releases`` of the data folder, each file written by one side only, whole and synced before it is seen:

- ``state.json``, by the launcher: which release counts, which is on trial, and what became of the last order;
- ``switch.json``, by the agent: an order, which the launcher removes;
- ``healthy.json``, by the agent: the order in whose trial it has found itself healthy;
- ``child.json``, by the launcher: the process that it has started;
- ``current``: a link to the release that counts, for people;
- one folder for each release, a virtual environment; ``complete.json`` is the last that is written to it.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from edge_agent.releases.switching import Order, Outcome, State

FOLDER: Final = "releases"
PROGRAM: Final = Path("bin") / "edge-agent"
COMPLETE: Final = "complete.json"
BYTES_MAX: Final = 1_000_000
LASTING: Final = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.ELOOP, errno.ENOEXEC})
"""What says that a program cannot be run here; any other error may pass, as a full table of processes does."""
ENV_FOLDER: Final = "LINESIDE_RELEASES"
"""Set by the launcher: the folder; an agent without it has no launcher."""
ENV_RELEASE: Final = "LINESIDE_RELEASE"
ENV_TRIAL: Final = "LINESIDE_TRIAL"
ENV_PYTHON: Final = "LINESIDE_BASE_PYTHON"
"""That of the base installation, which makes the environments of releases: none depends on another."""


class ReleaseFolder:
    """The folder ``root``. Every method that writes raises ``OSError``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def release(self, name: str) -> Path:
        """The folder of a release."""
        return self.root / name

    def program(self, name: str) -> Path:
        """The agent of a release."""
        return self.root / name / PROGRAM

    def problem(self, name: str) -> str:
        """Why a release cannot be run; empty when it can. Raises ``OSError`` when the disk does not say."""
        if not is_name(name):
            return f"{name[:100]!r} is no name of a release"
        if not _is_file(self.root / name / COMPLETE):
            return f"the release {name} is not installed, or only in part"
        if not _is_file(self.program(name)) or not os.access(self.program(name), os.X_OK):
            return f"the release {name} has no program {PROGRAM}"
        return ""

    def installed(self) -> list[str]:
        """The complete releases, the oldest first."""
        found = [path for path in self.root.glob(f"*/{COMPLETE}") if not path.parent.is_symlink()]
        return [path.parent.name for path in sorted(found, key=lambda path: path.stat().st_mtime_ns)]

    def state(self) -> State:
        """What the launcher knows; when its file is not there or damaged, what the link ``current`` says."""
        document = _read(self.root / "state.json")
        try:
            if document is not None:
                return _state(document)
        except (KeyError, TypeError, ValueError):
            pass
        try:
            name = (self.root / "current").readlink().name
        except OSError:
            return State()
        return State(current=name if is_name(name) else "")

    def keep(self, state: State) -> None:
        """Write what the launcher knows, and then the link."""
        write_whole(self.root / "state.json", asdict(state))
        self.point(state)

    def point(self, state: State) -> None:
        """Have ``current`` lead to the release that counts; there is none for the base installation."""
        link, new = self.root / "current", self.root / "current.new"
        if not state.current:
            link.unlink(missing_ok=True)
            return
        if link.is_symlink() and os.readlink(link) == state.current:
            return
        new.unlink(missing_ok=True)
        new.symlink_to(state.current)
        new.replace(link)
        sync_folder(self.root)

    def order(self) -> Order | None:
        """The order that waits, if one does."""
        document = _read(self.root / "switch.json")
        try:
            return None if document is None else _order(document)
        except (KeyError, TypeError, ValueError):
            return None

    def give_order(self, order: Order) -> None:
        """Have the launcher go to another release."""
        write_whole(self.root / "switch.json", asdict(order))

    def remove_order(self) -> None:
        """The order is in the state, or cannot be read."""
        (self.root / "switch.json").unlink(missing_ok=True)

    def healthy(self) -> str:
        """The order in whose trial the agent has found itself healthy."""
        document = _read(self.root / "healthy.json")
        return str(document.get("order", "")) if document is not None else ""

    def say_healthy(self, order: str) -> None:
        """The agent that was started in the trial of ``order`` is healthy."""
        write_whole(self.root / "healthy.json", {"order": order})

    def child(self) -> tuple[int, str]:
        """The process that a launcher has started last, and when that was, as the kernel counts; 0 for none."""
        document = _read(self.root / "child.json") or {}
        process, begun = document.get("process"), document.get("begun")
        return (process, begun) if isinstance(process, int) and isinstance(begun, str) else (0, "")

    def keep_child(self, process: int, begun: str) -> None:
        """Write down which process was started."""
        write_whole(self.root / "child.json", {"process": process, "begun": begun})


def is_name(name: str) -> bool:
    """Whether ``name`` can be the folder of a release."""
    return bool(name) and name[0].isdigit() and all(char.isalnum() or char in ".+-" for char in name) and len(name) < 80


def write_whole(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON so that a reader, also after a power cut, finds the old file or the new one, whole."""
    new = path.with_name(f"{path.name}.new")
    with new.open("w", encoding="utf-8") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Have the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.stat().st_mode)
    except OSError as exc:
        if exc.errno in LASTING:
            return False
        raise


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as file:
            document = json.loads(file.read(BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _order(document: Mapping[str, Any]) -> Order:
    devices = document["devices"]
    if not isinstance(devices, list):
        raise TypeError("devices")
    limit_s = float(document["limit_s"])
    return Order(str(document["order"]), str(document["to"]), limit_s, tuple(map(str, devices)))


def _state(document: Mapping[str, Any]) -> State:
    trial, outcome = document["trial"], document["outcome"]
    return State(
        current=str(document["current"]),
        previous=str(document["previous"]),
        trial=None if trial is None else _order(trial),
        starts=int(document["starts"]),
        outcome=None if outcome is None else Outcome(**outcome),
    )
