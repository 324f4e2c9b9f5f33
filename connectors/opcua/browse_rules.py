"""What a device file says of variables that it does not name one by one: all those below a node that fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from connectors.model.datatypes import DataType
from connectors.opcua.globs import Globs
from connectors.opcua.tag_settings import QUEUE_SIZE_MAX, OpcUaTag, check_address, refuse_beside_poll
from connectors.ports.settings import (
    DataTypeSetting,
    Deadband,
    Duration,
    Settings,
    check_intervals,
    parse_deadband,
    refuse_range,
)

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_PLACEHOLDERS: Final = ("path", "name", "id")
VARIABLES_MAX: Final = 50_000


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Patterns = Annotated[
    tuple[str, ...], BeforeValidator(_listed, json_schema_input_type=str | list[str]), Field(max_length=100)
]


class OpcUaBrowse(Settings):
    """All variables below one node that fit become tags when the device connects."""

    under: Annotated[str, Field(description="Node id or browse path of an object, e.g. /Objects/2:Press")]
    match: Annotated[Patterns, Field(min_length=1, description="Paths below it, e.g. Ram/* or **/Temperature")] = (
        "**",
    )
    exclude: Annotated[Patterns, Field(description="Paths that are left out, with all below them")] = ()
    depth_max: Annotated[int, Field(alias="depth", ge=1, le=50, description="So many names below it at most")] = 20
    types: Annotated[
        tuple[DataTypeSetting, ...], Field(description="Variables of these types only, e.g. [double]")
    ] = ()
    properties: Annotated[bool, Field(description="Take properties, too, such as EURange")] = False
    name: Annotated[
        str,
        Field(min_length=1, max_length=255, description="Of the tags: {path} below 'under', {name}, {id} of the node"),
    ] = "{path}"
    variables_max: Annotated[
        int, Field(alias="max", ge=1, le=VARIABLES_MAX, description="So many variables at most; more is a problem")
    ] = 5000
    sampling_s: Annotated[Duration | None, Field(alias="sampling", ge=0, description="As for a tag")] = None
    queue_size: Annotated[int | None, Field(ge=1, le=QUEUE_SIZE_MAX, description="As for a tag")] = None
    poll_s: Annotated[Duration | None, Field(alias="poll", gt=0, description="As for a tag")] = None
    deadband: Annotated[
        Deadband | None,
        BeforeValidator(parse_deadband, json_schema_input_type=float | str),
        Field(description="As for a tag; of numbers"),
    ] = None
    report_interval_s_min: Annotated[Duration, Field(alias="min_interval", ge=0, description="As for a tag")] = 0.0
    report_interval_s_max: Annotated[Duration | None, Field(alias="max_interval", gt=0, description="As for a tag")] = (
        None
    )
    lane: Annotated[Literal["samples", "alarms"], Field(description="As for a tag")] = "samples"

    @field_validator("under")
    @classmethod
    def _address(cls, under: str) -> str:
        check_address(under)
        return under

    @model_validator(mode="after")
    def _fits_together(self) -> OpcUaBrowse:
        refuse_beside_poll(self, self.poll_s)
        refuse_range(self.deadband)
        check_intervals(self.report_interval_s_min, self.report_interval_s_max)
        return self

    @field_validator("match", "exclude")
    @classmethod
    def _patterns(cls, patterns: tuple[str, ...]) -> tuple[str, ...]:
        Globs(patterns)
        return patterns

    @field_validator("name")
    @classmethod
    def _placeholders(cls, name: str) -> str:
        found = _PLACEHOLDER.findall(name)
        unknown = [each for each in found if each not in _PLACEHOLDERS]
        known = ", ".join(f"{{{each}}}" for each in _PLACEHOLDERS)
        if unknown:
            raise ValueError(f"there is nothing to put in for {{{unknown[0]}}}; known are {known}")
        if not found:
            raise ValueError(f"all variables would have the name {name!r}; write one of {known} in it")
        return name

    def tag_name(self, placeholders: Mapping[str, str]) -> str:
        """The name of the tag of a variable with these ``{path}``, ``{name}`` and ``{id}``."""
        return _PLACEHOLDER.sub(lambda found: placeholders[found[1]], self.name)

    @cached_property
    def _pattern_tag(self) -> OpcUaTag:
        return OpcUaTag.model_construct(
            name="",
            at="",
            sampling_s=self.sampling_s,
            queue_size=self.queue_size,
            poll_s=self.poll_s,
            deadband=self.deadband,
            report_interval_s_min=self.report_interval_s_min,
            report_interval_s_max=self.report_interval_s_max,
            lane=self.lane,
        )

    def tag(self, name: str, at: str) -> OpcUaTag:
        """The tag of one variable: read and reported as this rule says, and never writable."""
        return self._pattern_tag.model_copy(update={"name": name, "at": at})

    def takes(self, datatype: DataType | None) -> bool:
        """Whether variables of this type are wanted; ``None`` is a type that is not known."""
        return not self.types or datatype in self.types
