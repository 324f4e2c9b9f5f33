"""What a device file says of a Modbus unit."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from connectors.configuration.setting_types import check_port
from connectors.modbus.endpoint import Route, parse_endpoint
from connectors.modbus.line_settings import SerialLine, TlsFiles
from connectors.modbus.orders import Order, OrderName, read_order
from connectors.modbus.tag_settings import ModbusTag
from connectors.model.report_by_exception import ReportRule
from connectors.ports.settings import DeviceSettings, Duration, SettingInvalid, TagSettings

__all__ = ["IN_FLIGHT_MAX", "ModbusDevice", "ModbusTag"]

IN_FLIGHT_MAX: Final = 16
NEAR_THE_END: Final = "65"
"""It is in the numbers from which a value may reach beyond a table, 65412 to 65536: others need no look."""


class ModbusDevice(DeviceSettings):
    """One Modbus unit, on a bus that it may share with other units."""

    driver: Literal["modbus"]
    endpoint: Annotated[
        str,
        Field(description="tcp://host:502, tls://host:802, rtu+tcp://host:4001 or serial:///dev/ttyUSB0"),
    ]
    line: Annotated[SerialLine | None, Field(alias="serial", description="How the serial line is set")] = None
    tls: Annotated[TlsFiles | None, Field(description="Certificates for tls://host:802 (Modbus/TCP Security)")] = None
    unit_id: Annotated[int, Field(ge=0, le=255)] = 1
    base: Annotated[Literal[0, 1], Field(description="See the tags: for those that say nothing else")] = 0
    order: Annotated[
        Order | None,
        BeforeValidator(read_order, json_schema_input_type=OrderName),
        Field(description="See the tags: for numbers of several registers that say nothing else"),
    ] = None
    poll_s: Annotated[Duration, Field(alias="poll", gt=0, description="For tags that say nothing else")] = 1.0
    timeout_s: Annotated[
        Duration, Field(alias="timeout", gt=0, description="For one request, of several in flight for the oldest")
    ] = 2.0
    retries: Annotated[
        int, Field(ge=0, le=10, description="Of a read that got no answer, before it counts as failed")
    ] = 1
    retry_s: Annotated[
        Duration,
        Field(
            alias="retry",
            gt=0,
            description="How often tags that the unit refuses, or does not answer for, are tried again",
        ),
    ] = 60.0
    in_flight_max: Annotated[
        int,
        Field(
            alias="in_flight",
            ge=1,
            le=IN_FLIGHT_MAX,
            description="Requests on the wire at once: what the unit's manual allows (Modbus Messaging on TCP/IP "
            "Implementation Guide V1.0b, 4.4.1.2, NumberMaxOfClientTransaction); 1 is right for gateways to serial "
            "lines",
        ),
    ] = 1
    hole_registers_max: Annotated[
        int, Field(alias="max_hole", ge=0, le=124, description="Unused registers that one read may bridge")
    ] = 8
    block_registers_max: Annotated[int, Field(alias="max_block", ge=1, le=125, description="Registers in one read")] = (
        125
    )
    one_per_tag: Annotated[
        bool,
        Field(alias="one_request_per_tag", description="Read each place alone: for units that answer nothing longer"),
    ] = False
    write_function: Annotated[
        Literal[16, 23] | None,
        Field(
            description="By which function registers are written: unless said otherwise 6 for one and 16 for several; "
            "16 for all; 23, whose reply holds what they have then"
        ),
    ] = None
    pause_s: Annotated[Duration, Field(alias="pause", ge=0, description="Between two requests")] = 0.0
    report_interval_s_max: Annotated[
        Duration, Field(alias="max_interval", gt=0, description="Report unchanged values at least this often")
    ] = 60.0
    tags: Annotated[tuple[ModbusTag, ...], Field(min_length=1)]

    @field_validator("endpoint")
    @classmethod
    def _known_endpoint(cls, endpoint: str) -> str:
        found = parse_endpoint(endpoint)
        if found.host:
            check_port(endpoint, str(found.port))
        return endpoint

    @model_validator(mode="after")
    def _line_fits_endpoint(self) -> ModbusDevice:
        endpoint = self.route.endpoint
        if self.line is not None and not endpoint.is_rtu:
            raise SettingInvalid(
                f"{self.endpoint!r} is no serial line.", "Remove it, or write serial:///dev/… as endpoint.", ("serial",)
            )
        if self.line is not None and endpoint.kind != "serial" and self.line.model_fields_set - {"has_echo"}:
            raise SettingInvalid(
                f"the converter at {endpoint.place} has the speed and the parity of the line in its own settings.",
                "Leave only 'echo' here.",
                ("serial",),
            )
        if self.tls is not None and endpoint.kind != "tls":
            raise SettingInvalid(
                f"{self.endpoint!r} is not encrypted, so nothing would look at certificates.",
                f"Write tls://{endpoint.host or 'host'}:802 as endpoint, or remove it.",
                ("tls",),
            )
        if endpoint.is_rtu and self.in_flight_max > 1:
            raise SettingInvalid(
                "a serial line carries one request at a time.", "Remove it, or write 1.", ("in_flight",)
            )
        if endpoint.is_rtu and not 1 <= self.unit_id <= 247:
            raise SettingInvalid(
                f"on a serial line units have the ids 1 to 247, and {self.unit_id} is none of them.",
                "Look it up in the settings of the unit.",
                ("unit_id",),
            )
        return self

    @model_validator(mode="after")
    def _tags_take_over(self) -> ModbusDevice:
        """Tags that say nothing else count and order as the device says."""
        for index, tag in enumerate(self.tags):
            is_near_end = NEAR_THE_END in tag.at
            if (self.base or is_near_end) and "base" not in tag.model_fields_set and not tag.place.is_classic:
                if self.base:
                    object.__setattr__(tag, "base", self.base)  # a frozen model, which nobody has seen yet
                try:
                    tag.refuse_places_outside()
                except SettingInvalid as exc:
                    raise SettingInvalid(exc.message, exc.suggestion, ("tags", index, "at")) from exc
            if self.order is not None and "order" not in tag.model_fields_set and tag.takes_orders:
                object.__setattr__(tag, "order", self.order)
        return self

    @model_validator(mode="after")
    def _intervals_of_tags_fit(self) -> ModbusDevice:
        for index, tag in enumerate(self.tags):
            if tag.report_interval_s_max is None and tag.report_interval_s_min > self.report_interval_s_max:
                raise SettingInvalid(
                    f"a value is reported at least every {self.report_interval_s_max:g} s, as 'max_interval' of "
                    f"device {self.name!r} says, and cannot be reported at most as often as this.",
                    "Make it shorter, or give the tag a 'max_interval' of its own.",
                    ("tags", index, "min_interval"),
                )
        return self

    @model_validator(mode="after")
    def _blocks_are_wanted(self) -> ModbusDevice:
        for key, field in (("max_hole", "hole_registers_max"), ("max_block", "block_registers_max")):
            if self.one_per_tag and field in self.model_fields_set:
                raise SettingInvalid(
                    "with 'one_request_per_tag' no two places are read together.", "Leave one of the two out.", (key,)
                )
        return self

    @model_validator(mode="after")
    def _a_pause_needs_turns(self) -> ModbusDevice:
        if self.pause_s and self.in_flight_max > 1:
            raise SettingInvalid(
                "'pause' is the time between a reply and the next request, and with 'in_flight' requests do not wait "
                "for replies.",
                "Leave one of the two out.",
                ("in_flight",),
            )
        return self

    @property
    def is_insecure(self) -> bool:
        """See ``DeviceSettings``; a serial port is no network."""
        return self.route.endpoint.kind in ("tcp", "rtu+tcp")

    def certificate_files(self) -> tuple[Path, ...]:
        """See ``DeviceSettings``; those of authorities outlive what they have signed."""
        return () if self.tls is None or self.tls.cert_file is None else (self.tls.cert_file,)

    @property
    def shared_way(self) -> tuple[str, object]:
        """See ``DeviceSettings``: the bus."""
        return self.route.endpoint.place, self.route

    @cached_property
    def route(self) -> Route:
        """How the unit is reached."""
        endpoint, line = parse_endpoint(self.endpoint), self.line
        if self.tls is not None:
            return Route(endpoint, tls=(self.tls.ca_file, self.tls.cert_file, self.tls.key_file))
        if line is None:
            return Route(endpoint)
        stop_bits = line.stop_bits or (2 if line.parity == "none" else 1)
        return Route(endpoint, line.baud, line.parity, stop_bits, line.has_echo)

    @cached_property
    def lag_s_max(self) -> float:
        """The longest time between two polls of a tag."""
        return max((self.poll_s if tag.poll_s is None else tag.poll_s for tag in self.tags), default=self.poll_s)

    def _report_rule(self, tag: TagSettings) -> ReportRule:
        """A poll is only a question: what is reported is the change, and a sign of life."""
        longest_s = self.report_interval_s_max if tag.report_interval_s_max is None else tag.report_interval_s_max
        always = isinstance(tag, ModbusTag) and tag.report == "always"
        return replace(super()._report_rule(tag), always=always, interval_s_max=longest_s)
