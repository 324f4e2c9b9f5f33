"""From the agent's file to its configuration, or to everything that is wrong with it.

One mistake never hides another: each file is read as far as it can be, each device is checked by the model of its own
driver, and the sections of the agent are checked whatever the devices are like.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from connectors.configuration.explain import duplicate_tag, explain, missing_key, problem_at, wrong_type
from connectors.configuration.files import ReadFile
from connectors.configuration.setting_names import called, counted, listed, nearest, shown
from connectors.configuration.setting_types import FILES_CHECKED_IN_CONTEXT, FOLDER_IN_CONTEXT
from connectors.configuration.yaml_nodes import Document, NodePath, Source
from connectors.model.errors import ConfigInvalid, Problem
from connectors.ports.secrets import SOURCE_IN_CONTEXT, SecretSource
from connectors.ports.settings import DeviceSettings, DriverType, HasNoEffect
from connectors.sparkplug.topics import id_problem
from edge_agent.config.conditions import condition_problems, note_tags
from edge_agent.config.expansion import Expansion
from edge_agent.config.inclusion import Inclusion
from edge_agent.config.known_drivers import KnownDrivers
from edge_agent.config.layers import ExpandedDocument
from edge_agent.config.models import AgentConfig
from edge_agent.config.widening import Secrets, secrets_of

PROBLEMS_MAX: Final = 1000
EXPANDED_SECTIONS: Final = ("devices", "templates", "defaults")


def load_config(
    path: Path,
    drivers: Mapping[str, DriverType],
    *,
    environ: Mapping[str, str] | None = None,
    files_checked: bool = False,
    instead: Mapping[Path, bytes] | None = None,
    unseen: Callable[[str], None] | None = None,
) -> AgentConfig:
    """The configuration in the file ``path`` and in the files that it includes, secrets resolved.

    ``unseen``: see ``SecretSource``; for who looks at the file of a service. See ``load_with_origins`` for the rest.
    """
    environ = os.environ if environ is None else environ
    loading = _Loading(path, drivers, environ, {}, files_checked, instead or {}, unseen=unseen)
    config = loading.load()
    if loading.problems or config is None:
        raise ConfigInvalid(loading.sorted_problems())
    return config


@dataclass(frozen=True, slots=True)
class LoadedConfig:
    """A configuration, the files (resolved) that were read for it, and by device the references to secrets.

    ``contents`` has the SHA-256 of what each file held when it was read, those of secrets included; ``patterns`` are
    the entries of ``include``, with the folders that they start from.
    """

    config: AgentConfig
    files: tuple[Path, ...]
    secrets: Secrets
    contents: Mapping[Path, str]
    patterns: tuple[tuple[Path, str], ...]


def load_with_origins(
    path: Path,
    drivers: Mapping[str, DriverType],
    *,
    environ: Mapping[str, str] | None = None,
    files_checked: bool = False,
    instead: Mapping[Path, bytes] | None = None,
    contents: dict[Path, str] | None = None,
    main: ReadFile | None = None,
) -> LoadedConfig:
    """The configuration in the file ``path`` and in the files that it includes, secrets resolved.

    ``drivers`` are the known drivers by name; ``environ`` is where ``${env:…}`` and systemd's credentials are looked
    up (this process's own environment unless said otherwise). With ``files_checked`` a certificate or key that cannot
    be read now is a problem; a running agent rather acquires, and says so until the file is there. ``instead`` are
    contents that included files would have, by their resolved paths, whether or not they are there now. ``contents``
    is filled as that of ``LoadedConfig``, also when the configuration is not valid. ``main`` is what ``path`` holds,
    where it was read just now. Raises ``ConfigInvalid`` with all problems, in the order of the files and lines, or the
    first ``PROBLEMS_MAX`` of them and how many there are besides.
    """
    environ, contents = os.environ if environ is None else environ, {} if contents is None else contents
    loading = _Loading(path, drivers, environ, contents, files_checked, instead or {}, main)
    config = loading.load()
    if loading.problems or config is None:
        raise ConfigInvalid(loading.sorted_problems())
    inclusion = loading.inclusion
    return LoadedConfig(
        config, tuple(inclusion.paths), loading.secrets, contents, tuple(dict.fromkeys(inclusion.patterns))
    )


def load_entries(path: Path, drivers: Mapping[str, DriverType]) -> list[dict[str, Any]]:
    """The devices of a valid configuration as they are written, after templates and defaults; secrets as references.

    Credentials that the service alone has are not looked at. Raises ``ConfigInvalid`` as ``load_with_origins`` does.
    """
    loading = _Loading(path, drivers, os.environ, {}, unseen=lambda _name: None)
    loading.load()
    if loading.problems:
        raise ConfigInvalid(loading.sorted_problems())
    return [entry for document in loading.documents for entry in document.value.get("devices", ())]


def places_of_tags(path: Path, drivers: Mapping[str, DriverType]) -> dict[tuple[str, str], str]:
    """Where the tags of a valid configuration stand, as ``file:line``, by the names of device and tag.

    Of one that says a type it is the place of that. Tags that a browse rule finds are not among them.
    """
    loading = _Loading(path, drivers, os.environ, {})
    loading.load()
    found: dict[tuple[str, str], str] = {}
    for document in loading.documents:
        for at, device in enumerate(document.value.get("devices", ())):
            for number, tag in enumerate(device.get("tags", ())):
                entry = ("devices", at, "tags", number)
                place = document.place((*entry, "type") if "type" in tag else entry)
                found[device["name"], tag["name"]] = f"{place.where or document.where}:{place.value[0]}"
    return found


def _note(contents: dict[Path, str], path: Path, content: bytes) -> None:
    contents[path.resolve()] = hashlib.sha256(content).hexdigest()


@dataclass(slots=True)
class _Loading:
    path: Path
    drivers: Mapping[str, DriverType]
    environ: Mapping[str, str]
    contents: dict[Path, str]
    files_checked: bool = False
    instead: Mapping[Path, bytes] = field(default_factory=dict)
    main: ReadFile | None = None
    unseen: Callable[[str], None] | None = None
    problems: list[Problem] = field(default_factory=list)
    secrets: dict[str, dict[str, str]] = field(default_factory=dict)
    inclusion: Inclusion = field(init=False)
    documents: Sequence[Source] = ()
    _device_places: dict[str, tuple[Source, NodePath]] = field(default_factory=dict)
    _ways: dict[str, tuple[object, str]] = field(default_factory=dict)
    """By place that several devices may share: how the first of them reaches it, and the name of that device."""
    _tags: dict[str, set[str]] = field(default_factory=dict)
    _note: Callable[[Path, bytes], None] = field(init=False)

    def __post_init__(self) -> None:
        # No method of this: a circle would keep all that was read, as a start collects no garbage.
        self._note = partial(_note, self.contents)
        self.inclusion = Inclusion(self.path, self.instead, self.problems.append, self._note, self.main)

    def load(self) -> AgentConfig | None:
        """The configuration; when there are ``problems``, what is returned means nothing."""
        main = self.inclusion.read_main()
        if main is None:
            return None
        if not isinstance(main.value, dict):
            self.problems.append(_not_a_config(main))
            return None
        documents = self._expanded([main, *self.inclusion.read_included(main)])
        devices = [device for document in documents for device in self._devices(document)]
        self.documents = documents
        for document in documents:
            self.problems += condition_problems(document, self._tags)
        sections = {key: value for key, value in main.value.items() if key not in EXPANDED_SECTIONS}
        if not self.problems:
            sections["devices"] = tuple(devices)
        try:
            return AgentConfig.model_validate(sections, strict=True, context=self._context)
        except ValidationError as exc:
            is_part = bool(main.value) and main.value.keys() <= {*EXPANDED_SECTIONS, "include"}
            self.problems += [_only_a_part(main)] if is_part else explain(exc, main, (), AgentConfig)
        return None

    def _expanded(self, documents: Sequence[Document]) -> list[Source]:
        """The files with their devices as templates and defaults make them."""
        expansion = Expansion(self.drivers, self.problems.append)
        for document in documents:
            expansion.templates.declare(document)
        for_all = expansion.take_defaults(documents[0])
        found: list[Source] = []
        for at, document in enumerate(documents):
            own = expansion.take_defaults(document) if at else []
            found.append(expansion.expand(document, [*own, *for_all]))
            self.secrets.update(secrets_of(found[-1].value))
        return found

    def sorted_problems(self) -> list[Problem]:
        """Each problem once, by file and line."""
        order = {where: at for at, where in enumerate(self.inclusion.names)}
        problems = sorted(
            _each_place_once(dict.fromkeys(self.problems)),
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
            SOURCE_IN_CONTEXT: SecretSource(self.environ, folder, self._note, self.unseen),
            FOLDER_IN_CONTEXT: folder,
            FILES_CHECKED_IN_CONTEXT: self.files_checked,
        }

    def _devices(self, document: Source) -> Iterator[DeviceSettings]:
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
            note_tags(entry, self._tags)
            if isinstance(document, ExpandedDocument) and not document.devices[at].is_whole:
                continue  # what it lacks is said already
            self._check_names(document, path, entry)
            driver = self._driver(document, path, entry)
            if driver is None:
                continue
            model = self.drivers[driver].settings
            entry = {**entry, "driver": driver}
            while True:
                try:
                    device = model.model_validate(entry, strict=True, context=self._context)
                    self._check_way(document, path, device)
                    yield device
                except ValidationError as exc:
                    idle = list(_idle_defaults(exc, document, path))
                    if idle:
                        entry = _without(entry, idle)
                        continue
                    self.problems += explain(exc, document, path, model)
                break

    def _driver(self, document: Source, path: NodePath, entry: dict[str, Any]) -> str | None:
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
        if isinstance(self.drivers, KnownDrivers) and (problem := self.drivers.problems.get(named)):
            message = f"{called(document, path)}: {problem}."
            self.problems.append(problem_at(document, (*path, "driver"), message, "See 'edge-agent drivers'."))
            return None
        meant = nearest(named, self.drivers)
        other = f"It can be {known}; any other has to be installed first, as a package."
        suggestion = other if meant is None else f"Did you mean {meant!r}? It can be {known}."
        message = f"there is no driver {shown(named)} for {called(document, path)}."
        self.problems.append(problem_at(document, (*path, "driver"), message, suggestion))
        return meant

    def _check_way(self, document: Source, path: NodePath, device: DeviceSettings) -> None:
        """Devices that share a connection reach it in one way; else each way would be a connection of its own."""
        if device.shared_way is None:
            return
        place, way = device.shared_way
        first, name = self._ways.setdefault(place, (way, device.name))
        if first != way:
            message = (
                f"{called(document, path)} reaches {place} in another way than device {shown(name)}, and both share it."
            )
            suggestion = "Write the same 'endpoint' at both, and what is set for the line or for TLS."
            self.problems.append(problem_at(document, (*path, "endpoint"), message, suggestion))

    def _check_names(self, document: Source, path: NodePath, entry: dict[str, Any]) -> None:
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


def _only_a_part(main: Document) -> Problem:
    """Of a file that an agent's file includes, or of one that is only begun."""
    message = "the file has neither 'agent' nor 'uplink': it is a part, which an agent's file includes."
    return problem_at(main, (), message, "Check the agent's file, which names it under 'include', or add both.")


def _not_a_config(main: Document) -> Problem:
    if main.value is None:
        return Problem(main.where, 1, 1, "the file is empty.", "Write at least 'agent', 'uplink' and 'devices'.")
    return wrong_type(main, (), "group")


def _duplicate_device(document: Source, path: NodePath, name: str, first: tuple[Source, NodePath]) -> Problem:
    first_document, first_path = first
    line = first_document.place((*first_path, "name")).value[0]
    where = "" if first_document is document else f" of {first_document.where}"
    message = f"a second device is called {shown(name)}; the first is in line {line}{where}."
    if first_document.get((*first_path, "name")) != name:
        message = f"the device {shown(name)} and that of line {line}{where} differ in capital letters only."
    return problem_at(document, (*path, "name"), message, "Give one of them another name.")


def _each_place_once(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Of what many devices have from one place, the first, and how many they are.

    Messages name the device; what is to be done is the same for each, and another thing for another mistake.
    """
    first: dict[tuple[str, int, int, str], Problem] = {}
    others: dict[tuple[str, int, int, str], int] = {}
    alone: list[Problem] = []
    for problem in problems:
        place = (problem.where, problem.line, problem.column, problem.suggestion)
        if not problem.used_by:
            alone.append(problem)
        elif place in first:
            others[place] = others.get(place, 0) + 1
        else:
            first[place] = problem
    yield from alone
    for place, problem in first.items():
        more = others.get(place, 0)
        used_by = f"{problem.used_by}, and {counted(more, 'more time')}" if more else problem.used_by
        yield replace(problem, used_by=used_by)


def _idle_defaults(error: ValidationError, document: Source, path: NodePath) -> Iterator[NodePath]:
    """The places below ``path`` of defaults that do nothing to what they were laid under: they are for others."""
    if not isinstance(document, ExpandedDocument):
        return
    for entry in error.errors(include_url=False, include_input=False):
        reason = entry.get("ctx", {}).get("error")
        if isinstance(reason, HasNoEffect):
            place = (*entry["loc"], *reason.path)
            if document.is_default((*path, *place)):
                yield place


def _without(value: Any, places: Sequence[NodePath]) -> Any:
    """``value`` without what is at ``places``; what is not changed is shared."""
    inside: dict[str | int, list[NodePath]] = {}
    for first, *rest in places:
        inside.setdefault(first, []).append(tuple(rest))
    if isinstance(value, dict):
        kept = {key: part for key, part in value.items() if () not in inside.get(key, ())}
        return {key: _without(part, inside[key]) if key in inside else part for key, part in kept.items()}
    return tuple(_without(part, inside[at]) if at in inside else part for at, part in enumerate(value))
