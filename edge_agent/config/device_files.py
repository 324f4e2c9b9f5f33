"""The device files of an agent: those that its own file includes; checked as ``edge-agent check`` does."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Final

from connectors.commands.reports import DETAIL_CHARS_MAX, NAME_CHARS_MAX
from connectors.configuration.yaml_nodes import decode_yaml, read_yaml
from connectors.model.errors import ConfigInvalid, Problem
from connectors.ports.settings import DriverType
from edge_agent.config.file_records import FILES_MAX, Records, printable
from edge_agent.config.file_store import FileStore
from edge_agent.config.load import load_config, load_with_origins
from edge_agent.config.models import AgentConfig
from edge_agent.config.widening import secrets_of, widened

_ROOM_FOR_MORE: Final = 60


@dataclass(frozen=True, slots=True)
class FileNow:
    """A file as it is. ``version`` is 0 when its content is no version of the cloud's.

    ``state``: ``in_use``; ``trial``; ``changed`` by hand since its last version; ``local`` when it never had one;
    ``failed``: the newest version could not be used, and the one before is. ``loaded`` is false for a content that the
    agent uses after a reload or with its next start.
    """

    name: str
    sha256: str
    version: int
    state: str
    loaded: bool = True
    message: str = ""


class DeviceFiles:
    """See the module. ``path`` is the agent's own file; ``environ`` is where secrets are looked up.

    ``include`` is what the agent's file includes, as it was loaded; without it, as it stands there now.
    """

    def __init__(
        self,
        path: Path,
        data_dir: Path,
        drivers: Mapping[str, DriverType],
        environ: Mapping[str, str] | None = None,
        include: tuple[str, ...] | None = None,
    ) -> None:
        self._path = path
        self._drivers = drivers
        self._environ = os.environ if environ is None else environ
        self._include = include
        self.store = FileStore(path.parent, data_dir)
        self._seen: dict[str, tuple[tuple[int, int, int], str]] = {}
        self.left_out: tuple[str, ...] = ()
        """Files with a name that is no UTF-8, or too long for a report: they are read, and nothing is told of them."""
        self._loaded = {name: self._sha256(name) for name in self._names()}

    def adopt(self, include: tuple[str, ...], contents: Mapping[Path, str]) -> None:
        """Other contents are loaded, without a restart; by their resolved paths."""
        self._include = include
        self._loaded = {name: contents.get(self.store.path(name).resolve(), "") for name in self._names()}

    def naming_problem(self, name: str, include: tuple[str, ...]) -> str:
        """Why there can be no device file ``name``; empty when there can."""
        path = self.store.path(name)
        if path.resolve() == self._path.resolve():
            return "the agent's own file is not changed from afar"
        if path.is_symlink() or path.parent.resolve() != (self._path.parent.resolve() / name).parent:
            return f"{name} is reached by a link"
        if not path.parent.is_dir():
            return f"there is no folder {path.parent}"
        for pattern in include:
            wanted = PurePath(pattern)
            if wanted.parent == PurePath(name).parent and fnmatch.fnmatchcase(PurePath(name).name, wanted.name):
                return ""
        return f"'include' of {self._path.name} names no file {name}"

    def check(self, name: str, content: bytes) -> AgentConfig:
        """The configuration with ``content`` as the file ``name``. Raises ``ConfigInvalid``."""
        instead = {self.store.path(name).resolve(): content}
        return load_config(self._path, self._drivers, environ=self._environ, instead=instead)

    def wider(self, name: str, content: bytes, after: AgentConfig, running: AgentConfig) -> list[str]:
        """What ``content`` allows that is not allowed now: by the files as they are, or by those that are loaded."""
        instead = {self.store.path(name).resolve(): content}
        coming = load_with_origins(self._path, self._drivers, environ=self._environ, instead=instead).secrets
        try:
            loaded = load_with_origins(self._path, self._drivers, environ=self._environ)
            before, now = loaded.config, loaded.secrets
        except ConfigInvalid:
            before, now = running, self._secrets(name)
            if "templates" not in _value(content, name):  # what it says is of its own devices alone
                own = self.devices_in(name, content)
                now |= {device: dict(known) for device, known in coming.items() if device not in own}
        devices = [{device.name: device for device in one.devices} for one in (before, running, after)]
        found = [*widened(devices[0], devices[2], now, coming), *widened(devices[1], devices[2], now, coming)]
        return list(dict.fromkeys(found))

    def devices_in(self, name: str, content: bytes | None = None) -> set[str]:
        """The names of the devices in a file, or in what it would be."""
        return set(self._secrets(name) if content is None else secrets_of(_value(content, name)))

    def now(self, records: Records | None = None) -> list[FileNow]:
        """Every file, by name."""
        records = self.store.records() if records is None else records
        names = self._names()
        for gone in self._seen.keys() - set(names):
            self._seen.pop(gone, None)
        return [self._now(name, records) for name in names]

    def _now(self, name: str, records: Records) -> FileNow:
        sha256, record = self._sha256(name), records.of(name)
        loaded = self._loaded.get(name, sha256) == sha256
        if (trial := records.running) is not None and trial.name == name and trial.sha256 == sha256:
            return FileNow(name, sha256, trial.version, "trial", loaded)
        if record.current is None:
            found = FileNow(name, sha256, 0, "local", loaded)
        elif record.current.sha256 == sha256:
            found = FileNow(name, sha256, record.current.version, "in_use", loaded)
        else:
            found = FileNow(name, sha256, 0, "changed", loaded)
        if record.failure is not None and found.state != "changed":
            failure = record.failure
            return replace(found, state="failed", message=f"version {failure.version}: {failure.message}")
        return found

    def _names(self) -> list[str]:
        """What is included and lies below the folder of the agent's own file."""
        folder, found = self._path.parent, set[str]()
        for pattern in self._patterns():
            if isinstance(pattern, str) and not any(char in str(PurePath(pattern).parent) for char in "*?["):
                found |= _matching(folder, PurePath(pattern))
        tellable = {name for name in found if len(name) <= NAME_CHARS_MAX and printable(name) == name}
        self.left_out = tuple(sorted(printable(name) for name in found - tellable)[:FILES_MAX])
        return sorted(tellable)[:FILES_MAX]

    def _patterns(self) -> tuple[object, ...]:
        if self._include is not None:
            return self._include
        try:
            include = _value(self._path.read_bytes(), self._path.name).get("include", ())
        except (OSError, ConfigInvalid):
            return ()
        return include if isinstance(include, tuple) else ()

    def _sha256(self, name: str) -> str:
        """Of a file that is looked at again and again: read only when it is another one, or was written to."""
        try:
            found = self.store.path(name).lstat()
            mark = (found.st_ino, found.st_mtime_ns, found.st_size)
            seen = self._seen.get(name)
            if seen is None or seen[0] != mark:
                seen = self._seen[name] = (mark, self.store.sha256(name))
            return seen[1]
        except OSError:
            return ""

    def _secrets(self, name: str) -> dict[str, dict[str, str]]:
        try:
            return secrets_of(_value(self.store.path(name).read_bytes(), name))
        except (OSError, ConfigInvalid):
            return {}


def problems_text(problems: list[Problem], folder: Path) -> str:
    """The messages of the checker as a report has room for them, and how many there are besides."""
    lines = [str(problem).removeprefix(f"{folder}/") for problem in problems]
    return shortened(lines)


def shortened(lines: list[str]) -> str:
    """As many of ``lines`` as a report has room for, and how many there are besides."""
    said: list[str] = []
    lines = [printable(line) for line in lines]
    left = DETAIL_CHARS_MAX - _ROOM_FOR_MORE
    for line in lines:
        if said and len(line) + 1 > left:
            break
        said.append(line[:left])
        left -= len(said[-1]) + 1
    more = len(lines) - len(said)
    return "\n".join([*said, *([f"and {more} more"] if more else [])])


def _matching(folder: Path, pattern: PurePath) -> set[str]:
    parent = folder / pattern.parent
    try:
        names = [path.name for path in parent.iterdir() if fnmatch.fnmatchcase(path.name, pattern.name)]
    except OSError:
        return set()
    found = {str(pattern.parent / name) for name in names if not name.startswith(".")}
    return {name for name in found if not PurePath(name).is_absolute() and ".." not in PurePath(name).parts}


def _value(content: bytes, where: str) -> dict[str, object]:
    value = read_yaml(decode_yaml(content, where), where).value
    return value if isinstance(value, dict) else {}
