"""What a device file says of writing: which tags, within which limits, and which sequences have a name.

Whatever is not named here is never written. None of it is a safety function (ISO 13849, IEC 62061).
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from connectors.ports.setting_model import Duration, SettingInvalid, Settings

STEPS_MAX: Final = 100
ARGUMENTS_MAX: Final = 100
ARGUMENT_SIGN: Final = "$"
"""``$recipe`` in a step stands for the argument ``recipe``."""

Scalar = bool | int | float | str


def read_scalar(value: Any) -> Any:
    """A truth value, a number or a text as it is. Raises ``ValueError`` for anything else, infinities included."""
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a value that is written is a finite number; write a number")
    if not isinstance(value, bool | int | float | str):
        raise ValueError("it is no single value; write true or false, a number or a text")
    return value


def read_condition(text: str) -> str:
    """``text``, when it is a condition over tags. Raises ``SettingInvalid`` with what is wrong with it, and where."""
    from connectors.commands.expression import ExpressionInvalid, parse_expression  # lark is loaded where it is needed

    try:
        parse_expression(text)
    except ExpressionInvalid as exc:
        where = f", at character {exc.column}" if exc.column else ""
        raise SettingInvalid(
            f"it is no condition over tags: {exc}{where}.",
            'Write one such as "press/state == idle and oven/zone1 < 80".',
        ) from exc
    return text


def read_writable(value: Any) -> Any:
    """``true`` is a tag that is writable without more to say, ``false`` one that is not."""
    return {} if value is True else None if value is False else value


AnyScalar = Annotated[Any, BeforeValidator(read_scalar, json_schema_input_type=bool | int | float | str)]
Condition = Annotated[str, Field(max_length=1000), AfterValidator(read_condition)]


class PulseSettings(Settings):
    """A tag that is written for a moment only, such as a start button; a pulse is never repeated."""

    value: Annotated[AnyScalar, Field(description="What is written, and the only value that a command may ask for")]
    back_to: Annotated[AnyScalar, Field(description="What is written afterwards")]
    after_s: Annotated[Duration, Field(alias="after", ge=0.01, le=60, description="How long the value stays")]


class WritableSettings(Settings):
    """That a tag may be written, and what is checked before."""

    minimum: Annotated[float | None, Field(alias="min", description="The smallest value, in the unit of the tag")] = (
        None
    )
    maximum: Annotated[float | None, Field(alias="max", description="The largest value, in the unit of the tag")] = None
    readback: Annotated[float, Field(ge=0, description="How far what is read back may be from what was written")] = 0.0
    readback_within_s: Annotated[
        Duration, Field(alias="readback_within", gt=0, le=60, description="By when the device has to hold the value")
    ] = 2.0
    interval_s: Annotated[
        Duration, Field(alias="interval", ge=0, description="Shortest time between two writes of the tag")
    ] = 0.0
    interlock: Annotated[Condition | None, Field(description="Has to be true, e.g. press/state == idle")] = None
    interlock_age_s: Annotated[
        Duration,
        Field(alias="interlock_age", gt=0, le=3600, description="A value that is older is read anew from its device"),
    ] = 10.0
    approve: Annotated[bool, Field(description="A second person has to agree to each command")] = False
    arm_s: Annotated[
        Duration | None,
        Field(alias="arm", gt=0, le=3600, description="A command has to be armed before, and not longer ago than this"),
    ] = None
    pulse: PulseSettings | None = None

    @model_validator(mode="after")
    def _limits_fit(self) -> WritableSettings:
        if (self.minimum is None) != (self.maximum is None):
            there, missing = ("min", "max") if self.maximum is None else ("max", "min")
            raise SettingInvalid(f"it has {there!r} and no {missing!r}.", "Write both limits.")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise SettingInvalid("it is larger than 'max'.", "Write the smaller number here.", ("min",))
        return self

    @property
    def limits(self) -> tuple[float, float] | None:
        """The smallest and the largest value that may be written; ``None`` where the file names none."""
        return None if self.minimum is None or self.maximum is None else (self.minimum, self.maximum)


class ArgumentSettings(Settings):
    """What a named command is given: its type, and the limits of a number."""

    type: Literal["bool", "int", "float", "text"]
    minimum: Annotated[float | None, Field(alias="min")] = None
    maximum: Annotated[float | None, Field(alias="max")] = None

    @model_validator(mode="after")
    def _limits_fit(self) -> ArgumentSettings:
        is_number = self.type in ("int", "float")
        if is_number and (self.minimum is None or self.maximum is None):
            raise SettingInvalid("a number needs its limits.", "Write 'min' and 'max'.")
        if not is_number and (self.minimum is not None or self.maximum is not None):
            raise SettingInvalid(f"a {self.type} has no limits.", "Remove 'min' and 'max'.")
        return self


class StepSettings(Settings):
    """One step of a named command: write a tag of the device, wait for a condition, or call a method."""

    write: Annotated[str | None, Field(description="A writable tag of this device")] = None
    value: Annotated[AnyScalar, Field(description="What is written; $name stands for an argument")] = None
    wait: Annotated[Condition | None, Field(description="Until this is true, e.g. press/state == running")] = None
    within_s: Annotated[Duration, Field(alias="within", gt=0, le=3600, description="How long it may take")] = 10.0
    call: Annotated[str | None, Field(min_length=1, max_length=1000, description="A method of an OPC UA server")] = None
    arguments: Annotated[
        tuple[AnyScalar, ...], Field(max_length=ARGUMENTS_MAX, description="Of the method; $name for an argument")
    ] = ()

    @model_validator(mode="after")
    def _one_thing(self) -> StepSettings:
        given = self.model_fields_set
        named = [key for key in ("write", "wait", "call") if key in given]
        if len(named) != 1:
            said = "nothing" if not named else " and ".join(named)
            raise SettingInvalid(
                f"a step does one thing, and this one says {said}.", "Write 'write', 'wait' or 'call'."
            )
        if self.write is not None and "value" not in given:
            raise SettingInvalid("it does not say what is written.", "Add 'value'.")
        for key, field, needed in (
            ("value", "value", "write"),
            ("within", "within_s", "wait"),
            ("arguments",) * 2 + ("call",),
        ):
            if field in given and needed not in given:
                raise SettingInvalid(f"it means nothing without {needed!r}.", "Remove it.", (key,))
        return self

    def arguments_used(self) -> tuple[str, ...]:
        """The names of the arguments of the command that stand in this step."""
        values = (self.value, *self.arguments)
        return tuple(value[1:] for value in values if isinstance(value, str) and value.startswith(ARGUMENT_SIGN))


class NamedCommandSettings(Settings):
    """A sequence that is run by its name. ``otherwise`` is done when a step fails after something was written."""

    arguments: Annotated[dict[str, ArgumentSettings], Field(default_factory=dict, max_length=ARGUMENTS_MAX)]
    interlock: Annotated[Condition | None, Field(description="Has to be true, e.g. press/state == idle")] = None
    interlock_age_s: Annotated[Duration, Field(alias="interlock_age", gt=0, le=3600)] = 10.0
    interval_s: Annotated[Duration, Field(alias="interval", ge=0, description="Shortest time between two runs")] = 0.0
    approve: Annotated[bool, Field(description="A second person has to agree to each command")] = False
    arm_s: Annotated[Duration | None, Field(alias="arm", gt=0, le=3600)] = None
    steps: Annotated[tuple[StepSettings, ...], Field(min_length=1, max_length=STEPS_MAX)]
    otherwise: Annotated[tuple[StepSettings, ...], Field(max_length=STEPS_MAX)] = ()

    def problem(self, writable: dict[str, WritableSettings | None]) -> SettingInvalid | None:
        """What does not fit the tags of the device (``None`` for one that is not writable); the path is below this."""
        for part in ("steps", "otherwise"):
            steps: tuple[StepSettings, ...] = getattr(self, part)
            for at, step in enumerate(steps):
                if step.write is not None and writable.get(step.write) is None:
                    said = "is not writable" if step.write in writable else "is none of this device"
                    return SettingInvalid(
                        f"the tag {step.write!r} {said}.", "Name a tag that has 'writable'.", (part, at, "write")
                    )
                unknown = next((name for name in step.arguments_used() if name not in self.arguments), None)
                if unknown is not None:
                    path = (part, at, "value" if step.write is not None else "arguments")
                    return SettingInvalid(
                        f"the command has no argument {unknown!r}.", "Name it among its 'arguments'.", path
                    )
        return None
