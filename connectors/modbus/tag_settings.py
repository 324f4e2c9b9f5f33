"""What a device file says of one value of a Modbus unit."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import BeforeValidator, Field, field_validator, model_validator

from connectors.configuration.setting_names import listed
from connectors.modbus.addresses import ADDRESS_MAX, Place, Table, parse_place, read_place
from connectors.modbus.orders import Order, OrderName, read_order
from connectors.model.datatypes import DataType, dtype_of
from connectors.ports.settings import DataTypeReader, Duration, HasNoEffect, SettingInvalid, TagSettings

BCD_TYPES: Final = frozenset({DataType.UINT16, DataType.UINT32, DataType.UINT64})
_INTEGERS: Final = BCD_TYPES | {DataType.INT16, DataType.INT32, DataType.INT64}
_NUMBERS: Final = _INTEGERS | {DataType.FLOAT, DataType.DOUBLE}
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
TEXTS_MAX: Final = 1000
HALF_PART: Final = 2.0**-11
HALF_LEAST: Final = 2.0**-25
"""By so large a part of it, or by so much, the nearest float of 16 bits may be off (IEEE 754, binary16)."""


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


def _read_texts(texts: Any) -> Any:
    """``texts`` by numbers: keys of a file are texts themselves."""
    if not isinstance(texts, dict):
        return texts
    return {_read_number(key): text for key, text in texts.items()}


def _read_number(key: Any) -> Any:
    if not isinstance(key, str):
        return key
    if key.strip().lower() in ("false", "true"):
        return int(key.strip().lower() == "true")
    try:
        return int(key, 0)
    except ValueError:
        raise SettingInvalid(
            f"{key!r} is no whole number.", "Write {number: text}, such as {0: stopped, 1: running}."
        ) from None


class ModbusTag(TagSettings):
    """One value of the unit."""

    at: Annotated[
        str,
        BeforeValidator(read_place, json_schema_input_type=str | int),
        Field(
            description="Table and address from 0, e.g. holding 100, input 7, coil 3; holding 100.5 is a bit; 40101 as "
            "in manuals"
        ),
    ]
    base: Annotated[
        Literal[0, 1],
        Field(description="What the first number of a table is called: 1 as in many manuals. Not for 40001 and such"),
    ] = 0
    datatype: Annotated[ModbusDataType | None, Field(alias="type", description="uint16 unless said otherwise")] = None
    encoding: Annotated[
        Literal["binary", "bcd", "half"],
        Field(
            description="bcd: each half of a byte is a decimal digit, of uint16, uint32 or uint64; half: a float of "
            "one register, for which 'type: float16' is enough"
        ),
    ] = "binary"
    order: Annotated[
        Order,
        BeforeValidator(read_order, json_schema_input_type=OrderName),
        Field(
            description="How the bytes of a value arrive. A, B, C, D are the bytes of 32 bits, A the most significant. "
            "ABCD or big: in this order, as the Modbus specification has it; CDAB or word-swap: the register with the "
            "low word first; BADC or byte-swap: the low byte of each register first; DCBA or little: both. 64 bits "
            "follow the same pattern (CDAB is GHEFCDAB), unless eight letters say something else, such as CDABGHEF; of "
            "16 bits, bits and strings only the bytes within each register change places, in BADC and DCBA"
        ),
    ] = "ABCD"
    length: Annotated[int, Field(ge=1, le=STRING_REGISTERS_MAX * 2, description="Bytes of a string")] = 2
    texts: Annotated[
        Annotated[dict[int, str], Field(min_length=1, max_length=TEXTS_MAX)] | None,
        BeforeValidator(_read_texts),
        Field(
            alias="enum",
            description="Texts that the numbers stand for: {0: stopped, 1: running}; the text is reported",
        ),
    ] = None
    poll_s: Annotated[Duration | None, Field(alias="poll", gt=0, description="How often it is read")] = None
    report: Annotated[
        Literal["change", "always"], Field(description="Report a value when it changed, or after every poll")
    ] = "change"

    @model_validator(mode="before")
    @classmethod
    def _half_float(cls, entry: Any) -> Any:
        """``type: float16``: there are no tags of that type, but registers that hold one."""
        if not isinstance(entry, dict) or str(entry.get("type")).strip().lower() != "float16":
            return entry
        return {"encoding": "half", **entry, "type": "float"}

    @field_validator("at")
    @classmethod
    def _place_exists(cls, at: str) -> str:
        parse_place(at)
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
        if "base" in self.model_fields_set or self.place.is_classic:  # else the device says it
            self.refuse_places_outside()
        return self

    def refuse_places_outside(self) -> None:
        """Raises ``SettingInvalid`` when a part of the value is in no table."""
        if self.address < 0:
            raise SettingInvalid(
                f"{self.at!r} is before the first one, as with 'base: 1' tables begin with 1.",
                "Look up in the manual whether it counts from 0, and remove 'base' if it does.",
                ("at",),
            )
        beyond = self.address + self.register_count - (ADDRESS_MAX + 1)
        if beyond > 0:
            last = ADDRESS_MAX + self.base
            kind = "bit" if self.table in ("coil", "discrete") else "register"
            others = ", or 'base: 1' if the manual counts from 1" if beyond == 1 and not self.base else ""
            raise SettingInvalid(
                f"a {self.raw_datatype.label} at {self.at!r} reaches beyond the last {kind}, {last}.",
                f"Write an address up to {self.table} {last + 1 - self.register_count}{others}.",
                ("at",),
            )

    @model_validator(mode="after")
    def _has_effect(self) -> ModbusTag:
        """No setting is taken that would do nothing: who wrote it expects something of it."""
        datatype, given = self.raw_datatype, self.model_fields_set
        self._refuse_odd_texts(datatype)
        self.refuse_arithmetic(self.reported_datatype(datatype))
        self.refuse_limits(self.reported_datatype(datatype))
        if "length" in given and datatype is not DataType.STRING:
            raise HasNoEffect("only a string has a length.", "Remove it, or write 'type: string'.", ("length",))
        if "order" in given and self.is_bit and (self.bit is None or self.order not in ("ABCD", "BADC", "DCBA")):
            raise HasNoEffect("a bit has no order of its words.", "Remove it.", ("order",))
        if len(self.order) == 8 and self.register_count != 4:
            raise SettingInvalid(
                f"{self.order} is an order of 64 bits, which a {datatype.label} does not have.",
                "Write one of four letters.",
                ("order",),
            )
        if "base" in given and self.place.is_classic:
            raise HasNoEffect(f"{self.at!r} counts from 1, as all such numbers do.", "Remove it.", ("base",))
        if self.encoding == "bcd" and datatype not in BCD_TYPES:
            raise SettingInvalid(
                f"decimal digits make no {datatype.label}.", "Write uint16, uint32 or uint64 as 'type'.", ("encoding",)
            )
        if self.encoding == "half" and datatype is not DataType.FLOAT:
            raise SettingInvalid(f"a {datatype.label} has no half.", "Write 'type: float16'.", ("encoding",))
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

    def _refuse_odd_texts(self, datatype: DataType) -> None:
        if self.texts is None:
            return
        if datatype is not DataType.BOOLEAN and datatype not in _INTEGERS:
            raise SettingInvalid(f"a {datatype.label} stands for no texts.", "Remove it.", ("enum",))
        if datatype is DataType.BOOLEAN and not set(self.texts) <= {0, 1}:
            raise SettingInvalid("a bit is 0 or 1.", "Leave the other numbers out.", ("enum",))
        if (strange := self._no_number_of(datatype)) is not None:
            raise SettingInvalid(
                f"no {datatype.label} is {strange}.", "Leave it out, or write another type.", ("enum",)
            )
        texts = list(self.texts.values())
        twice = next((text for text in texts if texts.count(text) > 1), None)
        if twice is not None and self.writable is not None:
            raise SettingInvalid(
                f"{twice!r} stands for several numbers, so nobody knows which one is to be written.",
                "Give each number a text of its own, or remove 'writable'.",
                ("enum",),
            )

    def _no_number_of(self, datatype: DataType) -> int | None:
        """A number that has a text and that the tag can never be."""
        if datatype is DataType.BOOLEAN:
            return None
        limits = np.iinfo(dtype_of(datatype))
        highest = 10 ** (4 * REGISTERS[datatype]) - 1 if self.encoding == "bcd" else int(limits.max)
        return next((number for number in self.texts or () if not limits.min <= number <= highest), None)

    @property
    def place(self) -> Place:
        """Where the value is, as it was written."""
        return parse_place(self.at)

    @property
    def table(self) -> Table:
        """Which of the four tables of the unit."""
        return self.place.table

    @property
    def address(self) -> int:
        """The first register or bit, counted from 0 as on the wire."""
        place = self.place
        return place.number - (1 if place.is_classic else self.base)

    @property
    def bit(self) -> int | None:
        """Which bit of the register (0 is the lowest), or ``None`` for the whole."""
        return self.place.bit

    @property
    def is_bit(self) -> bool:
        """Whether the value is one bit, of a bit table or of a register."""
        place = self.place
        return place.table in ("coil", "discrete") or place.bit is not None

    @property
    def takes_orders(self) -> bool:
        """Whether it is a number of several registers, which may come in any order."""
        return self.register_count > 1 and self.raw_datatype is not DataType.STRING

    @property
    def raw_datatype(self) -> DataType:
        """The type of what is read, before scaling."""
        if self.datatype is not None:
            return self.datatype
        return DataType.BOOLEAN if self.is_bit else DataType.UINT16

    def reported_datatype(self, raw: DataType) -> DataType:
        """See ``TagSettings``; a number that stands for a text is reported as that."""
        return DataType.STRING if self.texts is not None else super().reported_datatype(raw)

    def rounding_of(self, value: float) -> float:
        """See ``TagSettings``."""
        if self.encoding != "half":
            return 0.0
        return max(abs(value - self.scaling_offset) * HALF_PART, abs(self.scale) * HALF_LEAST)

    @property
    def unwritable_reason(self) -> str:
        """See ``TagSettings``."""
        return why_unwritable(self.table, self.register_count)

    @property
    def register_count(self) -> int:
        """How many registers (or bits, in the bit tables) the value takes."""
        if self.raw_datatype is DataType.STRING:
            return (self.length + 1) // 2
        if self.encoding == "half":
            return 1
        return REGISTERS[self.raw_datatype]
