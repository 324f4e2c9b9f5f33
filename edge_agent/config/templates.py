"""The templates of a configuration: declared once, checked where they are declared, filled where they are used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import ValidationError

from connectors.configuration.explain import explain, missing_key, problem_at, unknown_key, wrong_type
from connectors.configuration.setting_names import called, nearest, shown
from connectors.configuration.yaml_nodes import Document, NodePath, Source
from connectors.model.errors import Problem
from edge_agent.config.parameters import Kind, Reference, ReferenceInvalid, Scalar, pieces_of
from edge_agent.config.template_settings import OWN_NAME, TemplateSettings

TEMPLATES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Template:
    """One template, and where it stands."""

    name: str
    settings: TemplateSettings
    document: Document
    path: NodePath

    @property
    def is_device(self) -> bool:
        """Whether it is one of devices, and not of tags."""
        return self.settings.device is not None

    @property
    def body_path(self) -> NodePath:
        """Where its device, or its list of tags, stands."""
        return (*self.path, "device" if self.is_device else "tags")


@dataclass(slots=True)
class Templates:
    """All templates, whatever file they stand in. What is wrong with them goes to ``report``."""

    report: Callable[[Problem], None]
    _known: dict[str, Template] = field(default_factory=dict)
    _broken: set[str] = field(default_factory=set)

    def declare(self, document: Document) -> None:
        """Take the templates of a file."""
        section = document.value.get("templates") if isinstance(document.value, dict) else None
        if section is None:
            return
        if not isinstance(section, dict):
            self.report(wrong_type(document, ("templates",), "group", required=False))
            return
        for name, value in section.items():
            if len(self._known) >= TEMPLATES_MAX:
                self.report(problem_at(document, ("templates",), f"there are more than {TEMPLATES_MAX} templates."))
                return
            self._declare(document, str(name), value)

    def _declare(self, document: Document, name: str, value: Any) -> None:
        path: NodePath = ("templates", name)
        if (first := self._known.get(name)) is not None:
            line = first.document.place(first.path).key[0]
            where = "" if first.document is document else f" of {first.document.where}"
            message = f"a second template is called {shown(name)}; the first is in line {line}{where}."
            self.report(problem_at(document, path, message, "Give one of them another name.", at_key=True))
            return
        try:
            settings = TemplateSettings.model_validate(value, strict=True)
        except ValidationError as exc:
            self._broken.add(name)
            for problem in explain(exc, document, path, TemplateSettings):
                self.report(problem)
            return
        self._known[name] = template = Template(name, settings, document, path)
        problems = list(_reference_problems(template))
        if problems:
            del self._known[name]
            self._broken.add(name)
        for problem in problems:
            self.report(problem)

    def find(self, source: Source, path: NodePath, name: Any, *, of_device: bool) -> Template | None:
        """The template that a ``template: name`` at ``path`` means; ``None`` when something is wrong with that."""
        path = (*path, "template")
        if not isinstance(name, str):
            self.report(wrong_type(source, path, "text"))
            return None
        template = self._known.get(name)
        if template is None:
            if name not in self._broken:  # what is wrong with that one is said already
                meant = nearest(name, self._known)
                suggestion = "" if meant is None else f"Did you mean {meant!r}?"
                declare = suggestion or "Declare it under 'templates'."
                message = f"there is no template {shown(name)} for {called(source, path[:-1])}."
                self.report(problem_at(source, path, message, declare))
            return None
        if template.is_device is not of_device:
            what, under = ("tags", "tags") if of_device else ("a device", "devices")
            message = f"{shown(name)} is a template of {what}."
            self.report(problem_at(source, path, message, f"Use it under '{under}'."))
            return None
        return template

    def values(self, template: Template, source: Source, path: NodePath, given: Any) -> dict[str, Scalar] | None:
        """The values of the parameters for one use, which says ``given`` under ``with``; ``None`` after a mistake."""
        parameters, path = template.settings.parameters, (*path, "with")
        if given is None:
            given = {}
        if not isinstance(given, dict):
            self.report(wrong_type(source, path, "group"))
            return None
        values: dict[str, Scalar] = {}
        is_right = True
        for key in given.keys() - parameters.keys():
            self.report(unknown_key(source, (*path, key), sorted(parameters)))
            is_right = False
        for name, parameter in parameters.items():
            if name not in given:
                if parameter.default is None:
                    self.report(self._missing(template, source, (*path, name)))
                    is_right = False
                else:
                    values[name] = parameter.default
            elif (problem := parameter.problem_of(given[name])) is not None:
                self.report(
                    problem_at(source, (*path, name), f"{called(source, (*path, name))}: {problem[0]}", problem[1])
                )
                is_right = False
            else:
                values[name] = given[name]
        return values if is_right else None

    def _missing(self, template: Template, source: Source, path: NodePath) -> Problem:
        parameter = template.settings.parameters[str(path[-1])]
        if source.has(path[:-1]):
            return missing_key(source, path, hint=parameter.description)
        message = f"{called(source, path[:-2])} needs a value of {path[-1]!r} for its template {template.name!r}."
        return problem_at(source, (*path[:-2], "template"), message, f"Add 'with: {{{path[-1]}: …}}'.")


def _reference_problems(template: Template) -> Iterator[Problem]:
    """What is wrong with the references of a template, and the parameters that nothing refers to."""
    document, parameters = template.document, template.settings.parameters
    kinds: dict[str, Kind] = {name: parameter.kind for name, parameter in parameters.items()}
    if template.is_device:
        kinds[OWN_NAME] = "text"
    used: set[str] = set()
    if template.settings.device is not None and "name" in template.settings.device:
        path = (*template.body_path, "name")
        yield problem_at(
            document, path, "a template has no name for its devices.", "Name them under 'devices'.", at_key=True
        )
    for path, text in _texts(document.get(template.body_path), template.body_path):
        try:
            references = [piece for piece in pieces_of(text) if not isinstance(piece, str)]
        except ReferenceInvalid as exc:
            yield problem_at(document, path, exc.message, exc.suggestion)
            continue
        for reference in references:
            used.update(reference.names)
            if (problem := _reference_problem(reference, kinds)) is not None:
                yield problem_at(document, path, *problem)
    for name in parameters:
        if name not in used:
            message = f"the parameter {shown(name)} of template {shown(template.name)} is used nowhere."
            path = (*template.path, "parameters", name)
            yield problem_at(document, path, message, f"Write $({name}) where it belongs, or remove it.", at_key=True)


def _reference_problem(reference: Reference, kinds: Mapping[str, Kind]) -> tuple[str, str] | None:
    for name in reference.names:
        if name not in kinds:
            meant = nearest(name, kinds)
            suggestion = f"Declare {name!r} under 'parameters'." if meant is None else f"Did you mean $({meant})?"
            return f"'{reference.written}': there is no parameter {name!r}.", suggestion
        if reference.calculation is not None and kinds[name] not in ("integer", "number"):
            message = f"'{reference.written}' calculates with {name!r}, which is no number."
            return message, "Declare it as an integer or a number."
    return None


def _texts(value: Any, path: NodePath) -> Iterator[tuple[NodePath, str]]:
    """Every text that may hold references, with its path."""
    if isinstance(value, str):
        if "$(" in value:
            yield path, value
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(part, (*path, key))
    elif isinstance(value, tuple):
        for at, part in enumerate(value):
            yield from _texts(part, (*path, at))
