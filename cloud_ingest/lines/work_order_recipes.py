"""Where the values of a recipe are written, and what is written before a work order runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands.values import LIMITS, beyond, fitted
from connectors.commands.envelope import TEXT_MAX
from connectors.ports.database import Row, Session

PARAMETERS_MAX: Final = 200
UNKNOWN_PARAMETER: Final = "unknown_parameter"
VALUE_UNFIT: Final = "value_unfit"
NAME_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._ /-]{0,99}$"
ParameterName = Annotated[str, Field(pattern=NAME_PATTERN)]
Value = bool | int | float | str


class Parameter(BaseModel):
    """Where a parameter of the line's recipes is written. They are written in the order in which they stand."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"examples": [{"agent": "plant-7/line-3", "device": "press", "tag": "setpoint"}]},
    )

    agent: Annotated[str, Field(pattern=r"^[^/]+/[^/]+$", max_length=511, description="group/name")]
    device: Annotated[str, Field(min_length=1, max_length=255)]
    tag: Annotated[str, Field(min_length=1, max_length=1000)]
    value: Annotated[
        Literal["recipe", "quantity", "product", "work_order"],
        Field(description="What is written: the recipe's value of this name, or what the work order says"),
    ] = "recipe"
    arm: Annotated[bool, Field(description="Arm it with a command of its own, then execute it")] = False
    precondition: Annotated[
        str, Field(max_length=TEXT_MAX, description="A condition on tags of the agent that has to hold")
    ] = ""
    value_min: Annotated[float | None, Field(description="The smallest number that a recipe may have here")] = None
    value_max: Annotated[
        float | None,
        Field(description="The largest; beside both, the limits of the device file hold"),
    ] = None

    @model_validator(mode="after")
    def _range(self) -> Parameter:
        if self.value_min is not None and self.value_max is not None and self.value_min > self.value_max:
            raise ValueError(f"value_min {self.value_min:g} is above value_max {self.value_max:g}")
        return self


Parameters = Annotated[dict[ParameterName, Parameter], Field(max_length=PARAMETERS_MAX)]
_PARAMETERS: Final[TypeAdapter[dict[str, Parameter]]] = TypeAdapter(Parameters)


def read_parameters(text: str) -> dict[str, Parameter]:
    """Those of a row of ``work_order_line``."""
    return _PARAMETERS.validate_json(text)


def parameters_text(parameters: Mapping[str, Parameter]) -> str:
    """As a row of ``work_order_line`` has them."""
    return _PARAMETERS.dump_json(dict(parameters)).decode()


def check_recipe(where: str, recipe: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> None:
    """Raises ``RequestRefused`` when the recipe has a value for which the line has no place."""
    known = [name for name, parameter in parameters.items() if parameter.value == "recipe"]
    if unknown := sorted(set(recipe) - set(known)):
        raise RequestRefused(
            Why.CONFLICT,
            UNKNOWN_PARAMETER,
            f"{where} has no parameter {', '.join(map(repr, unknown[:5]))}; it has {', '.join(sorted(known)) or 'none'}"
            f". Name it in the line's settings: PUT /api/v1/work-orders/lines/{where}/settings",
        )


async def check_values(
    session: Session, tenant_id: int, where: str, recipe: Mapping[str, Any], parameters: Mapping[str, Parameter]
) -> None:
    """Raises ``RequestRefused`` when a value of the recipe cannot be written to its tag, as far as is known of that.

    That is its type, the limits of the device file as the agent has told them, and the range of the line's settings.
    """
    asked = {name: parameters[name] for name in recipe if name in parameters and parameters[name].value == "recipe"}
    tags = await _tags(session, tenant_id, asked) if asked else {}
    for name, parameter in asked.items():
        try:
            tag = tags.get(name)
            value = recipe[name] if tag is None else fitted(recipe[name], int(tag["datatype"]))
            if why := _outside(value, parameter) or (tag is not None and beyond(value, tag)):
                raise ValueError(why)
        except ValueError as exc:
            place = f"{parameter.agent}/{parameter.device}/{parameter.tag}"
            said = f"{name!r} of the recipe for {where} cannot be written to {place}: {exc}"
            raise RequestRefused(Why.CONFLICT, VALUE_UNFIT, said) from exc


def _outside(value: Value, parameter: Parameter) -> str:
    low, high = parameter.value_min, parameter.value_max
    if low is None and high is None:
        return ""
    if isinstance(value, bool | str):
        return f"{value!r} is no number, and the line's settings give a range"
    if (low is None or value >= low) and (high is None or value <= high):
        return ""
    span = " ".join([*([] if low is None else [f"from {low:g}"]), *([] if high is None else [f"to {high:g}"])])
    return f"{value:g} is outside of what the line's settings allow ({span})"


async def _tags(session: Session, tenant_id: int, parameters: Mapping[str, Parameter]) -> dict[str, Row]:
    """The parameters' tags, of those that have been heard of."""
    rows = await session.fetch(
        f"SELECT given.name, datatype, {LIMITS} FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) "  # noqa: S608  of our own
        "AS given (name, agent, device, tag) JOIN agent ON group_name || '/' || agent.name = given.agent "
        "JOIN tag ON tag.agent_id = agent.agent_id AND tag.device = given.device AND tag.name = given.tag "
        "WHERE agent.tenant_id = $1",
        tenant_id,
        [*parameters],
        [one.agent for one in parameters.values()],
        [one.device for one in parameters.values()],
        [one.tag for one in parameters.values()],
    )
    return {row["name"]: row for row in rows}


async def check_routing(session: Session, tenant_id: int, steps: Sequence[tuple[str, str, Mapping[str, Any]]]) -> None:
    """``check_values`` for the recipes of ``steps`` (site, line, recipe), where lines have places for them by now."""
    for site, line, recipe in steps:
        if recipe:
            parameters = await _parameters(session, tenant_id, site, line)
            await check_values(session, tenant_id, f"{site}/{line}", recipe, parameters)


async def _parameters(session: Session, tenant_id: int, site: str, line: str) -> dict[str, Parameter]:
    rows = await session.fetch(
        "SELECT parameters FROM work_order_line WHERE tenant_id = $1 AND site = $2 AND line = $3", tenant_id, site, line
    )
    return read_parameters(rows[0]["parameters"]) if rows else {}


async def write_recipe(session: Session, tenant_id: int, row: Row, attempt: int) -> int:
    """Note what this start of a work order writes to the machines; how many values. Raises ``RequestRefused``."""
    parameters = await _parameters(session, tenant_id, row["site"], row["line"])
    recipe: dict[str, Any] = json.loads(row["recipe"])
    check_recipe(f"{row['site']}/{row['line']}", recipe, parameters)
    writes = [
        (name, parameter, _value(name, parameter, recipe, row))
        for name, parameter in parameters.items()
        if parameter.value != "recipe" or name in recipe
    ]
    await session.execute_many(
        "INSERT INTO work_order_write (work_order_id, tenant_id, attempt, place, parameter, agent, device, tag, value, "
        "is_armed, precondition) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        [
            (
                row["work_order_id"],
                tenant_id,
                attempt,
                place,
                name,
                parameter.agent,
                parameter.device,
                parameter.tag,
                json.dumps(value),
                parameter.arm,
                parameter.precondition,
            )
            for place, (name, parameter, value) in enumerate(writes)
        ],
    )
    return len(writes)


def _value(name: str, parameter: Parameter, recipe: Mapping[str, Any], row: Row) -> Value:
    match parameter.value:
        case "recipe":
            value: Value = recipe[name]
            return value
        case "quantity":
            quantity: Decimal = row["quantity"]
            return int(quantity) if quantity == quantity.to_integral_value() else float(quantity)
        case "product":
            return str(row["product"])
        case "work_order":
            return str(row["work_order_id"])
