"""What a device file says of a Modbus unit."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from connectors.configuration.setting_names import listed
from connectors.configuration.setting_types import check_port
from connectors.modbus.endpoint import Route, parse_endpoint
from connectors.modbus.line_settings import SerialLine, TlsFiles
from connectors.modbus.orders import Order, OrderName, read_order
from connectors.model.datatypes import DataType
from connectors.model.report_by_exception import ReportRule
from connectors.ports.settings import (
    DataTypeReader,
    DeviceSettings,
    Duration,
    HasNoEffect,
    SettingInvalid,
    TagSettings,
)

Table = Literal["coil", "discrete", "input", "holding"]

_PLACE: Final = re.compile(r"(coil|discrete|input|holding)\s+(\d{1,5})(?:\.(\d{1,2}))?")
_CLASSIC: Final = re.compile(r"([0134])(\d{4,5})(\.\d{1,2})?")
_CLASSIC_TABLES: Final = {"0": "coil", "1": "discrete", "3": "input", "4": "holding"}
_NUMBERS: Final = frozenset(
    {
        DataType.INT16,
        DataType.UINT16,
        DataType.INT32,
        DataType.UINT32,
        DataType.INT64,
        DataType.UINT64,
        DataType.FLOAT,
        DataType.DOUBLE,
    }
)
ModbusDataType = Annotated[
    DataType,
    BeforeValidator(DataTypeReader({*_NUMBERS, DataType.BOOLEAN, DataType.STRING}), json_schema_input_type=str),
]
REGISTERS: Final = {
    DataType.INT16: 1,
    DataType.UINT16: 1,
    DataType.BOOLEAN: 1,
    DataType.INT32: 2,
    DataType.UINT32: 2,
    DataType.FLOAT: 2,
    DataType.INT64: 4,
    DataType.UINT64: 4,
    DataType.DOUBLE: 4,
}
STRING_REGISTERS_MAX: Final = 125
REGISTERS_PER_WRITE_MAX: Final = 123
"""Modbus Application Protocol 1.1b3, section 6.12."""
IN_FLIGHT_MAX: Final = 16


def _as_the_wire_counts(at: Any) -> Any:
    """``at``, unless it is a number: what manuals call 30001 and 40001 are ``input 0`` and ``holding 0``."""
    if isinstance(at, bool) or not isinstance(at, int | float | str) or not re.fullmatch(r"[\d.]+", str(at).strip()):
        return at
    classic = _CLASSIC.fullmatch(str(at).strip())
    if classic is None or not 0 < int(classic[2]) <= 65_536:
        raise SettingInvalid(
            f"{at!r} does not say which table it is in.",
            f"Write the table and the number from 0, such as holding {str(at).strip()[:8]}.",
        )
    bit = classic[3] if classic[3] is not None and classic[1] in "34" else ""
    place = f"{_CLASSIC_TABLES[classic[1]]} {int(classic[2]) - 1}{bit}"
    raise SettingInvalid(
        f"{at!r} is the way in which manuals count, from 1 and with the table as the first digit.",
        f"Write {place}: Lineside names the table and counts from 0, as on the wire.",
    )


def why_unwritable(table: Table, register_count: int) -> str:
    """Why nobody can write so much into this table, in a sentence; empty when that can be."""
    if table in ("input", "discrete"):
        return "nobody can write to the tables input and discrete"
    if register_count > REGISTERS_PER_WRITE_MAX:
        return (
            f"the tag takes {register_count} registers, and one request can write {REGISTERS_PER_WRITE_MAX}; the unit "
            "would see it in parts"
        )
    return ""


class ModbusTag(TagSettings):
    """One value of the unit."""

    at: Annotated[
        str,
        BeforeValidator(_as_the_wire_counts),
        Field(description="Table and address from 0, e.g. holding 100, input 7, coil 3; holding 100.5 is a bit"),
    ]
    datatype: Annotated[ModbusDataType | None, Field(alias="type", description="uint16 unless said otherwise")] = None
    order: Annotated[
        Order,
        BeforeValidator(read_order, json_schema_input_type=OrderName),
        Field(
            description="How the bytes of a value arrive. A, B, C, D are the bytes of 32 bits, A the most significant. "
            "ABCD: in this order, as the Modbus specification has it; CDAB: the register with the low word first; "
            "BADC: the low byte of each register first; DCBA: both. 64 bits follow the same pattern (CDAB is "
            "GHEFCDAB). Also by name: big (ABCD), little (DCBA), word-swap (CDAB), byte-swap (BADC). Of 16 bits, bits "
            "and strings only the bytes within each register change places, in BADC and DCBA"
        ),
    ] = "ABCD"
    length: Annotated[int, Field(ge=1, le=STRING_REGISTERS_MAX * 2, description="Bytes of a string")] = 2
    poll_s: Annotated[Duration | None, Field(alias="poll", gt=0, description="How often it is read")] = None
    report: Annotated[
        Literal["change", "always"], Field(description="Report a value when it changed, or after every poll")
    ] = "change"

    @field_validator("at")
    @classmethod
    def _place(cls, at: str) -> str:
        found = _PLACE.fullmatch(at.strip())
        if found is None:
            raise ValueError(
                f"{at!r} is not a Modbus address; write a table (coil, discrete, input, holding) and a number from 0, "
                "such as holding 100, or holding 100.5 for one bit"
            )
        if int(found[2]) > 65_535:
            raise ValueError(f"{at!r}: addresses go from 0 to 65535")
        if found[3] is not None and (found[1] in ("coil", "discrete") or int(found[3]) > 15):
            raise ValueError(f"{at!r}: only the bits 0 to 15 of a register can be named")
        return at.strip()

    @model_validator(mode="after")
    def _type_fits_table(self) -> ModbusTag:
        datatype = self.raw_datatype
        if self.is_bit:
            if datatype is not DataType.BOOLEAN:
                raise SettingInvalid(
                    f"{self.at!r} is a bit, and no {datatype.label}.", "Write bool, or remove it.", ("type",)
                )
        elif datatype is DataType.BOOLEAN:
            raise SettingInvalid(
                f"{self.at!r} is a register, and 'type' says that it is a bit.",
                f"Write {self.at}.0 for its lowest bit, up to {self.at}.15.",
                ("at",),
            )
        elif datatype is not DataType.STRING and datatype not in _NUMBERS:
            known = sorted(known.label.lower() for known in _NUMBERS)
            raise SettingInvalid(
                f"a register cannot hold the type {datatype.label}.", f"Write {listed([*known, 'string'])}.", ("type",)
            )
        if self.address + self.register_count > 65_536:
            raise SettingInvalid(
                f"a {datatype.label} at {self.at!r} reaches beyond the last register, 65535.",
                f"Write an address up to {self.table} {65_536 - self.register_count}.",
                ("at",),
            )
        return self

    @model_validator(mode="after")
    def _has_effect(self) -> ModbusTag:
        """No setting is taken that would do nothing: who wrote it expects something of it."""
        datatype, given = self.raw_datatype, self.model_fields_set
        self.refuse_arithmetic(datatype)
        self.refuse_limits(datatype)
        if "length" in given and datatype is not DataType.STRING:
            raise HasNoEffect("only a string has a length.", "Remove it, or write 'type: string'.", ("length",))
        if "order" in given and self.is_bit and (self.bit is None or self.order == "CDAB"):
            raise HasNoEffect("a bit has no order of its words.", "Remove it.", ("order",))
        if self.report == "always" and "deadband" in given:
            raise SettingInvalid(
                "with 'report: always' a value is reported after every poll, however little it moved.",
                "Leave one of the two out.",
                ("deadband",),
            )
        if self.report == "always" and self.report_interval_s_min > 0:
            raise SettingInvalid(
                "with 'report: always' a value is reported after every poll.",
                "Leave one of the two out, or give the tag a longer 'poll'.",
                ("min_interval",),
            )
        return self

    @property
    def _parts(self) -> tuple[str, str, str | None]:
        found = _PLACE.fullmatch(self.at)
        assert found is not None  # noqa: S101  validated above
        return found[1], found[2], found[3]

    @property
    def table(self) -> Table:
        """Which of the four tables of the unit."""
        table: Any = self._parts[0]
        return table  # type: ignore[no-any-return]

    @property
    def address(self) -> int:
        """The first register or bit, counted from 0 as on the wire."""
        return int(self._parts[1])

    @property
    def bit(self) -> int | None:
        """Which bit of the register (0 is the lowest), or ``None`` for the whole."""
        part = self._parts[2]
        return None if part is None else int(part)

    @property
    def is_bit(self) -> bool:
        """Whether the value is one bit, of a bit table or of a register."""
        return self.table in ("coil", "discrete") or self.bit is not None

    @property
    def raw_datatype(self) -> DataType:
        """The type of what is read, before scaling."""
        if self.datatype is not None:
            return self.datatype
        return DataType.BOOLEAN if self.is_bit else DataType.UINT16

    @property
    def unwritable_reason(self) -> str:
        """See ``TagSettings``."""
        return why_unwritable(self.table, self.register_count)

    @property
    def register_count(self) -> int:
        """How many registers (or bits, in the bit tables) the value takes."""
        if self.raw_datatype is DataType.STRING:
            return (self.length + 1) // 2
        return REGISTERS[self.raw_datatype]


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
