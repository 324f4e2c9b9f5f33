"""What a device file says of one variable of an OPC UA server."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from pydantic import BeforeValidator, Field, field_validator, model_validator

from connectors.opcua.browse_paths import is_path, parse_path
from connectors.opcua.node_ids import parse_written
from connectors.opcua.parts import parse_part
from connectors.ports.settings import DataTypeSetting, Duration, SettingInvalid, Settings, TagSettings

QUEUE_SIZE_MAX: Final = 10_000
_OF_VALUES: Final = {
    "datatype": "type",
    "sampling_s": "sampling",
    "poll_s": "poll",
    "scale": "scale",
    "scaling_offset": "offset",
    "deadband": "deadband",
    "report_interval_s_min": "min_interval",
    "report_interval_s_max": "max_interval",
    "writable": "writable",
    "unit": "unit",
    "part": "part",
    "enum_names": "enum_names",
}
"""What is said of a value, by the field: the keys in the file."""


def check_address(at: str) -> None:
    """Raises ``ValueError``, with what to write, when ``at`` is neither a node id nor a browse path."""
    if is_path(at):
        parse_path(at)
    else:
        parse_written(at)


def refuse_beside_poll(settings: Settings, poll_s: float | None) -> None:
    """Raises ``SettingInvalid`` when ``settings`` say of something that is polled what only subscriptions have."""
    for key, field in (("sampling", "sampling_s"), ("queue_size", "queue_size")):
        if poll_s is not None and field in settings.model_fields_set:
            raise SettingInvalid("it does nothing to a tag that is polled.", "Remove it, or 'poll'.", (key,))


class OpcUaEvents(Settings):
    """Which events of an object are read."""

    severity_min: Annotated[
        int, Field(alias="severity", ge=0, le=1000, description="Only events that are at least so severe (1 to 1000)")
    ] = 0


def _read_events(written: object) -> object:
    return {} if written is True else written


class OpcUaTag(TagSettings):
    """One variable of the server, or the events of one of its objects."""

    at: Annotated[
        str,
        Field(
            description="Node id, e.g. nsu=http://acme.example/press;s=Ram.Force or ns=2;i=1001, or browse path, e.g. "
            "/Objects/2:Press/Ram/Force"
        ),
    ]
    datatype: Annotated[
        DataTypeSetting | None, Field(alias="type", description="Only where the server does not say it")
    ] = None
    sampling_s: Annotated[
        Duration | None, Field(alias="sampling", ge=0, description="How often the server looks at the value")
    ] = None
    queue_size: Annotated[
        int | None, Field(ge=1, le=QUEUE_SIZE_MAX, description="Values the server keeps between two publishes")
    ] = None

    poll_s: Annotated[
        Duration | None,
        Field(alias="poll", gt=0, description="Read it this often instead of subscribing to it, e.g. 1s"),
    ] = None

    part: Annotated[
        str,
        Field(max_length=500, description="Of an array or structure: one of its values, e.g. [3] or Corners[1].Y"),
    ] = ""
    enum_names: Annotated[bool, Field(description="Of an enumeration: the names of its values, as text")] = False

    @field_validator("part")
    @classmethod
    def _part(cls, part: str) -> str:
        parse_part(part)
        return part

    devices_say_ranges: ClassVar[bool] = True

    @model_validator(mode="after")
    def _range_is_the_servers(self) -> OpcUaTag:
        """The server keeps such a deadband, which it does of whole values that are subscribed to."""
        if self.deadband is not None and self.deadband.percent_of_range:
            other = "poll" if self.poll_s is not None else "part" if self.part else "enum_names"
            if self.poll_s is not None or self.part or self.enum_names:
                raise SettingInvalid(
                    f"the server keeps a part of the range as a deadband, and with {other!r} it keeps none.",
                    f"Write it in units of the value, such as 0.5, or remove {other!r}.",
                    ("deadband",),
                )
        return self

    @model_validator(mode="after")
    def _names_have_no_limits(self) -> OpcUaTag:
        if self.enum_names and self.writable is not None and self.writable.limits is not None:
            raise SettingInvalid("the names of an enumeration have no limits.", "Write true.", ("writable",))
        return self

    events: Annotated[
        OpcUaEvents | None,
        BeforeValidator(_read_events, json_schema_input_type=OpcUaEvents | bool | None),
        Field(description="'at' is an object, and its events and conditions are read, e.g. {severity: 500}, or true"),
    ] = None

    @model_validator(mode="after")
    def _no_value(self) -> OpcUaTag:
        if self.events is not None:
            for field, key in _OF_VALUES.items():
                if field in self.model_fields_set:
                    raise SettingInvalid("events have no value for which it could hold.", "Remove it.", (key,))
        return self

    @model_validator(mode="after")
    def _one_way_to_read(self) -> OpcUaTag:
        refuse_beside_poll(self, self.poll_s)
        return self

    @model_validator(mode="after")
    def _has_effect(self) -> OpcUaTag:
        if self.datatype is not None:
            self.refuse_arithmetic(self.datatype)
            self.refuse_limits(self.datatype)
        return self

    @field_validator("at")
    @classmethod
    def _address(cls, at: str) -> str:
        check_address(at)
        return at
