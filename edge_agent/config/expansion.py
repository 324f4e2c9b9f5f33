"""Devices as their models see them: templates filled in, defaults laid underneath."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel

from connectors.configuration.explain import problem_at, unknown_key, wrong_type
from connectors.configuration.setting_names import called, keys_of, listed, setting_at, shown
from connectors.configuration.yaml_nodes import Document, NodePath, Source
from connectors.model.errors import Problem
from connectors.ports.settings import DriverType
from edge_agent.config.layers import Expanded, ExpandedDocument, Layer, Spot, TagList, Used, merged
from edge_agent.config.parameters import ReferenceInvalid, Room, Scalar, filled
from edge_agent.config.template_settings import OWN_NAME
from edge_agent.config.templates import Template, Templates

DEPTH_MAX: Final = 8
TAGS_MAX: Final = 100_000
USES_MAX: Final = 100_000
ANY_DRIVER: Final = "all"
NO_DEFAULTS: Final = ("name", "driver", "template", "with", "tags", "derived", "commands")
"""What defaults cannot say: it belongs to one device, or is no setting of it."""
_LISTS: Final = ("tags", "derived")
"""What a device and its template have both, entry by entry."""
_OWN_KEYS: Final = ("template", "with", "tag_defaults", *_LISTS)
_USES: Final = frozenset(("template", "with"))


@dataclass(slots=True)
class Expansion:
    """Makes the devices of all files; what is wrong with templates and defaults goes to ``report``."""

    drivers: Mapping[str, DriverType]
    report: Callable[[Problem], None]
    templates: Templates = field(init=False)
    _defaults: dict[str, list[Layer]] = field(default_factory=dict)
    _tags: int = 0
    _uses: int = 0
    _room: Room = field(default_factory=Room)
    _checked: set[tuple[str, NodePath]] = field(default_factory=set)
    _is_whole: bool = True

    def __post_init__(self) -> None:
        self.templates = Templates(self.report)

    def take_defaults(self, document: Document) -> list[Layer]:
        """The defaults in a file, what counts most first."""
        section = document.value.get("defaults") if isinstance(document.value, dict) else None
        if section is None:
            return []
        if not isinstance(section, dict):
            self.report(wrong_type(document, ("defaults",), "group", required=False))
            return []
        found: list[Layer] = []
        for name, value in section.items():
            path: NodePath = ("defaults", name)
            if name != ANY_DRIVER and name not in self.drivers:
                self.report(unknown_key(document, path, [ANY_DRIVER, *sorted(self.drivers)]))
            elif not isinstance(value, dict):
                self.report(wrong_type(document, path, "group", required=False))
            else:
                found.append(self._checked_defaults(Layer(value, document, path)))
        return sorted(found, key=lambda layer: layer.path[-1] == ANY_DRIVER)  # those of a driver count more

    def expand(self, document: Document, defaults: Sequence[Layer]) -> Source:
        """The file with its devices as they are meant; itself, where no template and no default has a part in it."""
        entries = document.value.get("devices", ())
        if not isinstance(entries, tuple) or not (defaults or any(_is_expanded(entry) for entry in entries)):
            return document
        devices = [self._device(document, at, entry, defaults) for at, entry in enumerate(entries)]
        return ExpandedDocument(document, tuple(devices))

    def _checked_defaults(self, layer: Layer) -> Layer:
        """The defaults without what no driver that they are for can have, each of which is a problem."""
        value, source, path = layer
        names = sorted(self.drivers) if path[-1] == ANY_DRIVER else [str(path[-1])]
        known = {key for name in names for key in keys_of(self.drivers[name].settings)} - {*NO_DEFAULTS}
        of_tags = {key for name in names for key in _tag_keys(self.drivers[name].settings)} - {"name"}
        kept = {key: part for key, part in value.items() if key in known}
        for key in value.keys() - known - {"tag_defaults"}:
            if key in NO_DEFAULTS:
                message = f"there are no defaults for {shown(key)}."
                self.report(problem_at(source, (*path, key), message, "Write it at the device.", at_key=True))
            else:
                self.report(unknown_key(source, (*path, key), sorted({*known, "tag_defaults"})))
        if "tag_defaults" in value:
            kept["tag_defaults"] = self._checked_tag_defaults(layer, of_tags)
        return Layer(kept, source, path)

    def _checked_tag_defaults(self, layer: Layer, known: set[str]) -> dict[str, Any]:
        value, path = layer.value["tag_defaults"], (*layer.path, "tag_defaults")
        is_new = (layer.source.where, path) not in self._checked
        self._checked.add((layer.source.where, path))
        if not isinstance(value, dict):
            if is_new:
                self.report(wrong_type(layer.source, path, "group", required=False))
            return {}
        for key in value.keys() - known if is_new else ():
            if key == "name":
                message = "every tag has a name of its own."
                self.report(problem_at(layer.source, (*path, key), message, "Remove the line.", at_key=True))
            else:
                self.report(unknown_key(layer.source, (*path, key), sorted(known)))
        return {key: part for key, part in value.items() if key in known}

    def _device(self, document: Document, at: int, entry: Any, defaults: Sequence[Layer]) -> Expanded:
        path: NodePath = ("devices", at)
        if not isinstance(entry, dict):
            return Expanded(entry, (Spot(document, path),))
        self._is_whole = True
        own = self._with_templates(Layer(entry, document, path))
        driver = next((layer.value["driver"] for layer in own if "driver" in layer.value), None)
        user = _user(document, path)
        model = self.drivers[driver].settings if isinstance(driver, str) and driver in self.drivers else None
        low = [_for_model(layer, model, user) for layer in defaults if layer.path[-1] in (driver, ANY_DRIVER)]
        value: dict[str, Any] = {}
        tag_defaults: dict[str, Any] = {}
        for layer in reversed([*own, *low]):
            value = merged(value, {key: part for key, part in layer.value.items() if key not in _OWN_KEYS})
        of_tags = [layer for layer in [*own, *low] if "tag_defaults" in layer.value]
        known = set(_tag_keys(model)) - {"name"} if model is not None else set[str]()
        for layer in reversed(of_tags):
            is_own = len(layer.path) > 1 and layer.path[0] != "defaults"
            said = self._checked_tag_defaults(layer, known) if is_own else layer.value["tag_defaults"]
            tag_defaults = merged(tag_defaults, said)
        lists = {name: found for name in _LISTS if (found := self._tag_list(own, name)) is not None}
        for name, gathered in lists.items():
            entries = gathered.entries
            if tag_defaults and name == "tags":
                entries = [merged(tag_defaults, tag) if isinstance(tag, dict) else tag for tag in entries]
            value[name] = tuple(entries)
        spots = [tuple(Spot(layer.source, layer.path) for layer in layers) for layers in (own, low)]
        under = tuple(Spot(_seen(layer.source, user), (*layer.path, "tag_defaults")) for layer in of_tags)
        return Expanded(value, spots[0], spots[1], lists, under, self._is_whole)

    def _with_templates(self, layer: Layer) -> list[Layer]:
        """A device, its template, the template of that, and so on; after a mistake, as far as that goes."""
        layers, used, name = [layer], list[str](), layer.value.get("name")
        user = _user(layer.source, layer.path)
        while "template" in layer.value or "with" in layer.value:
            template = self._template(layer, used, of_device=True)
            own: dict[str, Scalar] = {OWN_NAME: name if isinstance(name, str) else ""}
            body = None if template is None else self._filled(template, template.settings.device, layer, own)
            if template is None or body is None:
                self._is_whole = False
                break
            layer = Layer(body, Used(template.document, user), template.body_path)
            layers.append(layer)
        return layers

    def _template(self, layer: Layer, used: list[str], *, of_device: bool) -> Template | None:
        """The template that an entry names; ``used`` are those that it is in already."""
        source, path = layer.source, layer.path
        if "template" not in layer.value:
            message = f"{called(source, path)} has 'with' and no 'template'."
            self.report(problem_at(source, (*path, "with"), message, "Add 'template', or remove it.", at_key=True))
            return None
        template = self.templates.find(source, path, layer.value["template"], of_device=of_device)
        if template is None:
            return None
        if template.name in used or len(used) >= DEPTH_MAX:
            way = listed([*used, template.name], "and then")
            message = f"the templates {way} use each other without an end."
            if template.name not in used:
                message = f"templates use each other more than {DEPTH_MAX} deep."
            self.report(problem_at(source, (*path, "template"), message, "Remove one of them."))
            return None
        used.append(template.name)
        return template

    def _tag_list(self, own: Sequence[Layer], key: str) -> TagList | None:
        """The tags of all layers, those of templates first; what a later one says of the same tag counts more."""
        with_tags = [layer for layer in reversed(own) if key in layer.value]
        if not with_tags:
            return None
        found = TagList()
        for layer in with_tags:
            path = (*layer.path, key)
            before = {name: at for at, tag in enumerate(found.entries) if (name := _name(tag)) is not None}
            said: set[int] = set()
            entries = layer.value[key]
            if not isinstance(entries, tuple):
                self.report(wrong_type(layer.source, path, "list"))
                continue
            for entry, spot, at in self._entries(entries, Spot(layer.source, path), []):
                name = _name(entry) if before else None
                index = None if name is None else before.get(name)
                if index is None:
                    found.add(entry, spot, at)
                elif index in said:  # a second time in one list: a mistake, which is looked for in what comes out
                    found.add(merged(found.entries[index], entry), spot, at)
                else:
                    said.add(index)
                    found.override(index, entry, Spot(spot.source, (*spot.path, at)))
        return found

    def _entries(self, entries: Sequence[Any], spot: Spot, used: list[str]) -> Iterator[tuple[Any, Spot, int]]:
        """The entries of a list of tags, with those that templates stand for in their places."""
        for at, entry in enumerate(entries):
            if self._is_full():
                return
            if not isinstance(entry, dict) or not ("template" in entry or "with" in entry):
                self._count(spot, at)
                yield entry, spot, at
                continue
            layer = Layer(entry, spot.source, (*spot.path, at))
            for key in entry.keys() - {"template", "with"}:
                self.report(unknown_key(layer.source, (*layer.path, key), ["template", "with"]))
            inside = list(used)
            template = self._template(layer, inside, of_device=False)
            body = None if template is None else self._filled(template, template.settings.tags, layer, {})
            if template is None or body is None:
                self._is_whole = False
                continue
            source = Used(template.document, _user(layer.source, layer.path))
            yield from self._entries(body, Spot(source, template.body_path), inside)

    def _filled(self, template: Template, body: Any, layer: Layer, own: dict[str, Scalar]) -> Any:
        """What a template becomes where ``layer`` uses it; ``None`` after a mistake, or when there is no end of it."""
        source, path = layer.source, layer.path
        values = self.templates.values(template, source, path, layer.value.get("with"))
        if values is None or self._is_full():
            return None
        self._uses += 1
        if self._uses > USES_MAX:
            message = f"templates are used more than {USES_MAX:,} times."
            self.report(problem_at(source, (*path, "template"), message, "Use several agents."))
            return None
        try:
            return filled(body, {**values, **own}, self._room)
        except ReferenceInvalid as exc:
            message = f"{called(source, path)} with its template {template.name!r}: {exc.message}"
            self.report(problem_at(source, (*path, "template"), message, exc.suggestion))
            return None

    def _count(self, spot: Spot, at: int) -> None:
        self._tags += 1
        if self._tags == TAGS_MAX + 1:
            self._is_whole = False
            message = f"templates make more than {TAGS_MAX:,} tags."
            self.report(problem_at(spot.source, (*spot.path, at), message, "Use several agents."))

    def _is_full(self) -> bool:
        """Whether there is too much of templates, which is said once."""
        return self._tags > TAGS_MAX or self._uses > USES_MAX


def _is_expanded(entry: Any) -> bool:
    """Whether a template, or defaults of its own, have a part in a device."""
    if not isinstance(entry, dict):
        return False
    if "tag_defaults" in entry or not entry.keys().isdisjoint(_USES):
        return True
    tags = entry.get("tags")
    return isinstance(tags, tuple) and any(
        isinstance(tag, dict) and ("template" in tag or "with" in tag) for tag in tags
    )


def _name(tag: Any) -> str | None:
    name = tag.get("name") if isinstance(tag, dict) else None
    return name if isinstance(name, str) else None


def _tag_keys(model: type[BaseModel]) -> list[str]:
    setting = setting_at(model, ("tags", 0))
    return [] if setting is None or setting.model is None else keys_of(setting.model)


def _for_model(layer: Layer, model: type[BaseModel] | None, user: str) -> Layer:
    """Defaults for one device: of those for every driver, what its own one knows."""
    value = layer.value
    if model is not None and layer.path[-1] == ANY_DRIVER:
        keys, of_tags = {*keys_of(model), "tag_defaults"}, set(_tag_keys(model))
        value = {key: part for key, part in value.items() if key in keys}
        if "tag_defaults" in value:
            value["tag_defaults"] = {key: part for key, part in value["tag_defaults"].items() if key in of_tags}
    return Layer(value, _seen(layer.source, user), layer.path)


def _seen(source: Source, user: str) -> Source:
    return Used(source, user) if isinstance(source, Document) else source


def _user(source: Source, path: NodePath) -> str:
    """Who uses something, with the place: ``device 'press-3', line-3.yaml:40:5``; of a user of a user the first."""
    place = source.place(path)
    if place.used_by:
        return place.used_by
    return f"{called(source, path[:2])}, {source.where}:{place.value[0]}:{place.value[1]}"
