"""How templates and their parameters are written in a file."""

from __future__ import annotations

from typing import Annotated, Any, Final, get_args

from pydantic import BeforeValidator, Field, field_validator, model_validator

from connectors.configuration.setting_names import listed, nearest, shown
from connectors.ports.command_settings import AnyScalar
from connectors.ports.settings import SettingInvalid, Settings
from edge_agent.config.parameters import Kind, Scalar, is_parameter_name, kind_of

KINDS: Final = get_args(Kind)
OWN_NAME: Final = "name"
"""The parameter that every template of a device has without declaring it: the name of the device."""
_CALLED: Final = {"text": "a text", "integer": "a whole number", "number": "a number", "boolean": "true or false"}


def read_parameter(value: Any) -> Any:
    """A declaration, also in short: the type alone, or without a type where the default tells it."""
    if isinstance(value, str):
        if value not in KINDS:
            meant = nearest(value, KINDS)
            suggestion = f"Did you mean {meant!r}? " if meant is not None else ""
            raise SettingInvalid(
                f"there is no type {shown(value)} of a parameter.",
                f"{suggestion}It can be {listed(map(repr, KINDS))}.",
            )
        return {"type": value}
    if isinstance(value, dict) and "type" not in value and (kind := kind_of(value.get("default"))) is not None:
        return {"type": kind, **value}
    return value


class ParameterSettings(Settings):
    """One parameter of a template."""

    kind: Annotated[Kind, Field(alias="type")] = "text"
    default: Annotated[
        AnyScalar | None, Field(description="The value of devices that say none; without it each has to")
    ] = None
    minimum: Annotated[float | None, Field(alias="min", description="The smallest number")] = None
    maximum: Annotated[float | None, Field(alias="max", description="The largest number")] = None
    choices: Annotated[tuple[AnyScalar, ...], Field(max_length=1000, description="All that it can be")] = ()
    description: Annotated[str, Field(max_length=1000)] = ""

    @model_validator(mode="after")
    def _bounds_are_for_numbers(self) -> ParameterSettings:
        if self.kind in ("text", "boolean"):
            for key, bound in (("min", self.minimum), ("max", self.maximum)):
                if bound is not None:
                    raise SettingInvalid(f"{_CALLED[self.kind]} has no bounds.", "Remove it.", (key,))
        for at, choice in enumerate(self.choices):
            if not self._has_kind(choice):
                raise SettingInvalid(f"it is not {_CALLED[self.kind]}.", "Write another one.", ("choices", at))
        if self.default is not None and (problem := self.problem_of(self.default)) is not None:
            raise SettingInvalid(problem[0], problem[1], ("default",))
        return self

    def problem_of(self, value: Any) -> tuple[str, str] | None:
        """Why the parameter cannot have this value, and what to write; ``None`` when it can."""
        if value is None:
            return "it is empty.", "Write a value."
        if not self._has_kind(value):
            quotes = " Put it in quotes." if self.kind == "text" and kind_of(value) is not None else ""
            return f"it has to be {_CALLED[self.kind]}, not {shown(value)}.", quotes.strip()
        if self.choices and value not in self.choices:
            meant = nearest(value, [choice for choice in self.choices if isinstance(choice, str)])
            known = f"It can be {listed(shown(choice) for choice in self.choices)}."
            return f"it cannot be {shown(value)}.", known if meant is None else f"Did you mean {meant!r}? {known}"
        if self.minimum is not None and value < self.minimum:
            return f"it cannot be {shown(value)}.", f"Write at least {self.minimum:g}."
        if self.maximum is not None and value > self.maximum:
            return f"it cannot be {shown(value)}.", f"Write at most {self.maximum:g}."
        return None

    def _has_kind(self, value: Scalar) -> bool:
        kind = kind_of(value)
        return kind == self.kind or (self.kind == "number" and kind == "integer")


Parameter = Annotated[
    ParameterSettings, BeforeValidator(read_parameter, json_schema_input_type=Kind | ParameterSettings)
]


class TemplateSettings(Settings):
    """A device, or a group of tags, that is written once and used many times with other values."""

    description: Annotated[str, Field(max_length=1000)] = ""
    parameters: Annotated[
        dict[str, Parameter],
        Field(default_factory=dict, max_length=100, description="What differs: {host: text, unit: {default: 1}}"),
    ]
    device: Annotated[
        dict[str, Any] | None, Field(description="A device as under 'devices', with $(name) of parameters in texts")
    ] = None
    tags: Annotated[
        tuple[dict[str, Any], ...] | None, Field(description="Instead of 'device': tags for any device")
    ] = None

    @field_validator("parameters")
    @classmethod
    def _usable_names(cls, parameters: dict[str, ParameterSettings]) -> dict[str, ParameterSettings]:
        for name in parameters:
            if not is_parameter_name(name):
                raise SettingInvalid(
                    f"a parameter cannot be called {shown(name)}.",
                    "Use letters, digits and _, and none of Python's words.",
                    (name,),
                )
        return parameters

    @model_validator(mode="after")
    def _one_of_two(self) -> TemplateSettings:
        if (self.device is None) == (self.tags is None):
            raise SettingInvalid("it is either of a device or of tags.", "Write 'device' or 'tags' below it.")
        if self.device is not None and OWN_NAME in self.parameters:
            raise SettingInvalid(
                "every device has '$(name)' already, its own name.",
                "Give the parameter another name.",
                ("parameters", OWN_NAME),
            )
        return self
