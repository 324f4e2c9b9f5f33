"""The files of a configuration: the agent's own, and those that ``include`` names, and theirs."""

from __future__ import annotations

import contextlib
import fnmatch
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Final

from connectors.configuration.explain import problem_at, unknown_key, wrong_type
from connectors.configuration.files import ReadFile, nothing_read, read_document
from connectors.configuration.setting_names import listed, shown
from connectors.configuration.yaml_nodes import Document, decode_yaml, read_yaml
from connectors.model.errors import ConfigInvalid, Problem
from connectors.ports.settings import SettingInvalid
from edge_agent.config.models import AgentConfig

FILES_MAX: Final = 1000
INCLUDED_KEYS: Final = ("devices", "templates", "defaults", "include")
"""What an included file may have."""


@dataclass(slots=True)
class Inclusion:
    """Reads the files, each once. ``instead`` are contents by resolved path, whether or not the files are there.

    What is wrong goes to ``report``; of a mistake in an entry of ``include``, the other entries are read all the same.
    ``read`` is called with each file and with what it holds.
    """

    path: Path
    instead: Mapping[Path, bytes]
    report: Callable[[Problem], None]
    read: Callable[[Path, bytes], None] = nothing_read
    main: ReadFile | None = None
    """The agent's own file, where it was read already."""
    names: list[str] = field(default_factory=list)
    """Of every file that was looked into, in this order, as messages name it."""
    paths: list[Path] = field(default_factory=list)
    """The same files, resolved."""
    patterns: list[tuple[Path, str]] = field(default_factory=list)
    """Every entry of ``include``, with the folder that it starts from."""
    _is_full: bool = False

    def read_main(self) -> Document | None:
        """The agent's own file; ``None`` when it cannot be read."""
        return self._read(self.path, self.main)

    def read_included(self, document: Document, way: tuple[Path, ...] = ()) -> Iterator[Document]:
        """The files that ``document`` includes, each followed by those that it includes itself.

        ``way``: the resolved files that lead to ``document``, itself the last.
        """
        way = way or (self.path.resolve(),)
        folder = self.path.parent if len(way) == 1 else Path(document.where).parent
        patterns = document.value.get("include")
        if not isinstance(patterns, tuple):
            if len(way) > 1 and patterns is not None:
                self.report(wrong_type(document, ("include",), "list", required=False))
            return  # of the agent's own file, a mistake that the model finds
        if way[-1] in self.instead:
            message = "a device file that is sent includes no others."
            self.report(problem_at(document, ("include",), message, "Remove 'include' from it.", at_key=True))
            return
        for at, pattern in enumerate(patterns[:FILES_MAX]):
            if not isinstance(pattern, str):
                if len(way) > 1:
                    self.report(wrong_type(document, ("include", at), "text"))
                continue
            self.patterns.append((folder, pattern))
            try:
                paths = _matching(folder, pattern)
            except SettingInvalid as exc:
                self.report(problem_at(document, ("include", at), exc.message, exc.suggestion))
                continue
            if len(way) == 1:
                paths = sorted({*paths, *(path for path in self.instead if self._means(pattern, path))})
            yield from self._these(document, at, paths, way)
            if self._is_full:
                return

    def _these(self, document: Document, at: int, paths: list[Path], way: tuple[Path, ...]) -> Iterator[Document]:
        is_pattern = any(char in document.value["include"][at] for char in "*?[")
        for path in paths:
            resolved = path.resolve()
            if resolved in way and not is_pattern:
                names = listed([*(step.name for step in way[way.index(resolved) :]), resolved.name], "and then")
                message = f"this leads back to the file itself: {names}."
                self.report(problem_at(document, ("include", at), message, "Remove the entry."))
            if resolved in self.paths:
                continue
            if len(self.paths) > FILES_MAX:
                message = f"more than {FILES_MAX} files are included."
                self.report(problem_at(document, ("include", at), message, "Put more devices into one file."))
                self._is_full = True
                return
            found = self._read(path)
            if found is not None and self._holds_devices(found):
                yield found
                yield from self.read_included(found, (*way, resolved))
                if self._is_full:
                    return

    def _read(self, path: Path, before: ReadFile | None = None) -> Document | None:
        where, resolved = str(path), path.resolve()
        self.names.append(where)
        self.paths.append(resolved)
        try:
            given = self.instead.get(resolved)
            if given is not None:
                document = read_yaml(decode_yaml(given, where), where)
            elif before is not None:
                document = before.document
                self.read(path, before.content)
            else:
                document = read_document(path, where, self.read)
        except OSError as exc:
            self.report(Problem(where, 0, 0, f"the file cannot be read: {exc.strerror or exc}."))
            return None
        except ConfigInvalid as exc:
            for problem in exc.problems:
                self.report(problem)
            return None
        for problem in document.problems:
            self.report(problem)
        return document

    def _means(self, pattern: str, path: Path) -> bool:
        """Whether ``include`` means a file that may not be there yet, and is not meant in another spelling already."""
        wanted = self.path.parent.resolve() / pattern
        return path.parent == wanted.parent and fnmatch.fnmatchcase(path.name, wanted.name) and not path.exists()

    def _holds_devices(self, document: Document) -> bool:
        """Whether an included file has what it may have; one in which everything is commented out has nothing."""
        if document.value is None:
            return False
        if not isinstance(document.value, dict):
            self.report(wrong_type(document, (), "group"))
            return False
        for key in document.value:
            if key in AgentConfig.model_fields and key not in INCLUDED_KEYS:
                message = f"an included file holds {listed(map(repr, INCLUDED_KEYS), 'and')}, not {shown(key)}."
                self.report(problem_at(document, (key,), message, f"Move it to {self.path.name}.", at_key=True))
            elif key not in INCLUDED_KEYS:
                self.report(unknown_key(document, (key,), INCLUDED_KEYS))
        return True


def included_now(patterns: Iterable[tuple[Path, str]]) -> set[Path]:
    """The files, resolved, that entries of ``include`` mean now; see ``Inclusion.patterns``."""
    found: set[Path] = set()
    for folder, pattern in patterns:
        with contextlib.suppress(SettingInvalid):
            found.update(path.resolve() for path in _matching(folder, pattern))
    return found


def _matching(folder: Path, pattern: str) -> list[Path]:
    """The files that one entry of ``include`` means, sorted by name.

    Wildcards stand for file names only, never for folders, so that an entry cannot search a whole disk. Raises
    ``SettingInvalid``.
    """
    if not pattern.strip() or any(ord(char) < 32 for char in pattern):
        raise SettingInvalid(f"{shown(pattern)} is not the name of a file.", "Write a path such as devices/press.yaml.")
    parent, name = PurePath(pattern).parent, PurePath(pattern).name
    if any(char in str(parent) for char in "*?["):
        raise SettingInvalid(
            f"{shown(pattern)} has a wildcard in the name of a folder.", "Use wildcards in the name of the file only."
        )
    wanted = folder / pattern
    try:
        if not any(char in name for char in "*?["):
            if not wanted.is_file():
                raise SettingInvalid(f"there is no file {str(wanted)!r}.", "Check the spelling, or remove the entry.")
            return [wanted]
        if not wanted.parent.is_dir():
            raise SettingInvalid(f"there is no folder {str(wanted.parent)!r}.", "Create it, or remove the entry.")
        found = sorted(path for path in wanted.parent.iterdir() if fnmatch.fnmatchcase(path.name, name))
        return [path for path in found if path.is_file() and not path.name.startswith(".")]
    except OSError as exc:
        raise SettingInvalid(f"{shown(pattern)} cannot be looked up: {exc.strerror}.", "Write another path.") from exc
