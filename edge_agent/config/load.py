"""From the agent's file to its configuration, or to everything that is wrong with it.

One mistake never hides another: each file is read as far as it can be, each device is checked by the model of its own
driver, and the sections of the agent are checked whatever the devices are like.
"""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, Final

from pydantic import ValidationError

from connectors.configuration.explain import duplicate_tag, explain, missing_key, problem_at, unknown_key, wrong_type
from connectors.configuration.files import read_document
from connectors.configuration.setting_names import called, counted, listed, nearest, shown
from connectors.configuration.setting_types import FILES_CHECKED_IN_CONTEXT, FOLDER_IN_CONTEXT
from connectors.configuration.yaml_nodes import Document, NodePath, decode_yaml, read_yaml
from connectors.model.errors import ConfigInvalid, Problem
from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource
from connectors.ports.settings import DeviceSettings, DriverType, SettingInvalid
from connectors.sparkplug.topics import id_problem
from edge_agent.config.conditions import condition_problems, note_tags
from edge_agent.config.models import AgentConfig

FILES_MAX: Final = 1000
PROBLEMS_MAX: Final = 1000


def load_config(
    path: Path,
    drivers: Mapping[str, DriverType],
    *,
    environ: Mapping[str, str] | None = None,
    files_checked: bool = False,
    instead: Mapping[Path, bytes] | None = None,
) -> AgentConfig:
    """The configuration in the file ``path`` and in the files that it includes, secrets resolved.

    ``drivers`` are the known drivers by name; ``environ`` is where ``${env:…}`` and systemd's credentials are looked
    up (this process's own environment unless said otherwise). With ``files_checked`` a certificate or key that cannot
    be read now is a problem; a running agent rather acquires, and says so until the file is there. ``instead`` are
    contents that included files would have, by their resolved paths, whether or not they are there now. Raises
    ``ConfigInvalid`` with all problems, in the order of the files and lines, or the first ``PROBLEMS_MAX`` of them and
    how many there are besides.
    """
    loading = _Loading(path, drivers, os.environ if environ is None else environ, files_checked, instead or {})
    config = loading.load()
    if loading.problems or config is None:
        raise ConfigInvalid(loading.sorted_problems())
    return config


@dataclass(slots=True)
class _Loading:
    path: Path
    drivers: Mapping[str, DriverType]
    environ: Mapping[str, str]
    files_checked: bool = False
    instead: Mapping[Path, bytes] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    _files: list[str] = field(default_factory=list)
    _device_places: dict[str, tuple[Document, NodePath]] = field(default_factory=dict)
    _tags: dict[str, set[str]] = field(default_factory=dict)

    def load(self) -> AgentConfig | None:
        """The configuration; when there are ``problems``, what is returned means nothing."""
        main = self._read(self.path, str(self.path))
        if main is None:
            return None
        if not isinstance(main.value, dict):
            self.problems.append(_not_a_config(main))
            return None
        documents = [main, *self._included(main)]
        devices = [device for document in documents for device in self._devices(document)]
        for document in documents:
            self.problems += condition_problems(document, self._tags)
        sections = {key: value for key, value in main.value.items() if key != "devices"}
        if not self.problems:
            sections["devices"] = tuple(devices)
        try:
            return AgentConfig.model_validate(sections, strict=True, context=self._context)
        except ValidationError as exc:
            self.problems += explain(exc, main, (), AgentConfig)
        return None

    def sorted_problems(self) -> list[Problem]:
        """Each problem once, by file and line."""
        order = {where: at for at, where in enumerate(self._files)}
        problems = sorted(
            dict.fromkeys(self.problems),
            key=lambda problem: (order.get(problem.where, len(order)), problem.line, problem.column),
        )
        if len(problems) > PROBLEMS_MAX:
            more = Problem("", 0, 0, f"And {counted(len(problems) - PROBLEMS_MAX, 'more problem')}.")
            problems = [*problems[:PROBLEMS_MAX], more]
        return problems

    @property
    def _context(self) -> dict[str, Any]:
        folder = self.path.parent
        return {
            SOURCE_IN_CONTEXT: SecretSource(self.environ, folder),
            FOLDER_IN_CONTEXT: folder,
            FILES_CHECKED_IN_CONTEXT: self.files_checked,
        }

    def _read(self, path: Path, where: str) -> Document | None:
        self._files.append(where)
        try:
            given = self.instead.get(path.resolve())
            document = read_document(path, where) if given is None else read_yaml(decode_yaml(given, where), where)
        except OSError as exc:
            self.problems.append(Problem(where, 0, 0, f"the file cannot be read: {exc.strerror or exc}."))
            return None
        except ConfigInvalid as exc:
            self.problems += exc.problems
            return None
        self.problems += document.problems
        return document

    def _included(self, main: Document) -> list[Document]:
        """The documents that ``include`` names; each file once, however often it is named."""
        patterns = main.value.get("include")
        if not isinstance(patterns, tuple):
            return []  # absent, or a mistake that the model finds
        seen = {self.path.resolve()}
        documents: list[Document] = []
        for at, pattern in enumerate(patterns[:FILES_MAX]):
            if not isinstance(pattern, str):
                continue
            try:
                paths = _matching(self.path.parent, pattern)
                paths = sorted({*paths, *(path for path in self.instead if self._means(pattern, path))})
            except SettingInvalid as exc:
                self.problems.append(problem_at(main, ("include", at), exc.message, exc.suggestion))
                continue
            for path in paths:
                resolved = path.resolve()
                if resolved in seen:
                    continue
                if len(seen) > FILES_MAX:
                    message = f"more than {FILES_MAX} files are included."
                    self.problems.append(problem_at(main, ("include", at), message, "Put more devices into one file."))
                    return documents
                seen.add(resolved)
                document = self._read(path, str(path))
                if document is not None and self._holds_devices(document):
                    documents.append(document)
        return documents

    def _means(self, pattern: str, path: Path) -> bool:
        """Whether ``include`` means a file that may not be there yet, and is not meant in another spelling already."""
        wanted = self.path.parent.resolve() / pattern
        return path.parent == wanted.parent and fnmatch.fnmatchcase(path.name, wanted.name) and not path.exists()

    def _holds_devices(self, document: Document) -> bool:
        """Whether an included file has what it may have; one in which everything is commented out has nothing."""
        if document.value is None:
            return False
        if not isinstance(document.value, dict):
            self.problems.append(wrong_type(document, (), "group"))
            return False
        for key in document.value:
            if key == "include" or (key in AgentConfig.model_fields and key != "devices"):
                message = f"an included file holds only 'devices', not {shown(key)}."
                self.problems.append(
                    problem_at(document, (key,), message, f"Move it to {self.path.name}.", at_key=True)
                )
            elif key != "devices":
                self.problems.append(unknown_key(document, (key,), ["devices"]))
        return True

    def _devices(self, document: Document) -> Iterator[DeviceSettings]:
        """The devices of one file that nothing is wrong with."""
        entries = document.value.get("devices", ())
        if not isinstance(entries, tuple):
            self.problems.append(wrong_type(document, ("devices",), "list", required=False))
            return
        for at, entry in enumerate(entries):
            path = ("devices", at)
            if not isinstance(entry, dict):
                self.problems.append(wrong_type(document, path, "group"))
                continue
            self._check_names(document, path, entry)
            note_tags(entry, self._tags)
            driver = self._driver(document, path, entry)
            if driver is None:
                continue
            try:
                model = self.drivers[driver].settings
                yield model.model_validate({**entry, "driver": driver}, strict=True, context=self._context)
            except ValidationError as exc:
                self.problems += explain(exc, document, path, model)

    def _driver(self, document: Document, path: NodePath, entry: dict[str, Any]) -> str | None:
        """The driver to check a device with: the one it names or, to find further mistakes, probably means."""
        known = listed(map(repr, sorted(self.drivers)))
        named = entry.get("driver")
        if named is None:
            self.problems.append(missing_key(document, (*path, "driver"), hint=known))
            return None
        if not isinstance(named, str):
            self.problems.append(wrong_type(document, (*path, "driver"), "text"))
            return None
        if named in self.drivers:
            return named
        meant = nearest(named, self.drivers)
        suggestion = f"It can be {known}." if meant is None else f"Did you mean {meant!r}? It can be {known}."
        message = f"there is no driver {shown(named)} for {called(document, path)}."
        self.problems.append(problem_at(document, (*path, "driver"), message, suggestion))
        return meant

    def _check_names(self, document: Document, path: NodePath, entry: dict[str, Any]) -> None:
        """What a model can only say when everything else is right: names that are there twice, and device ids."""
        name, tags = entry.get("name"), entry.get("tags")
        if isinstance(name, str) and name:
            if problem := id_problem(name):
                message = f"{shown(name)} cannot be used as a Sparkplug id: {problem}."
                self.problems.append(problem_at(document, (*path, "name"), message))
            first = self._device_places.setdefault(name.lower(), (document, path))
            if first != (document, path):
                self.problems.append(_duplicate_device(document, path, name, first))
        seen: dict[str, int] = {}
        for at, tag in enumerate(tags if isinstance(tags, tuple) else ()):
            tag_name = tag.get("name") if isinstance(tag, dict) else None
            if isinstance(tag_name, str) and seen.setdefault(tag_name.lower(), at) != at:
                self.problems.append(duplicate_tag(document, path, tag_name, seen[tag_name.lower()], at))


def _not_a_config(main: Document) -> Problem:
    if main.value is None:
        return Problem(main.where, 1, 1, "the file is empty.", "Write at least 'agent', 'uplink' and 'devices'.")
    return wrong_type(main, (), "group")


def _duplicate_device(document: Document, path: NodePath, name: str, first: tuple[Document, NodePath]) -> Problem:
    first_document, first_path = first
    line = first_document.place((*first_path, "name")).value[0]
    where = "" if first_document is document else f" of {first_document.where}"
    message = f"a second device is called {shown(name)}; the first is in line {line}{where}."
    if first_document.get((*first_path, "name")) != name:
        message = f"the device {shown(name)} and that of line {line}{where} differ in capital letters only."
    return problem_at(document, (*path, "name"), message, "Give one of them another name.")


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
