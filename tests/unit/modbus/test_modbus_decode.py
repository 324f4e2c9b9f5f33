"""Columns decoded at once hold what a slow decoder finds tag by tag."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.modbus.decode import NOT_READ, DecodePlan, text_of
from connectors.modbus.plan import Block, PlannedTag, coalesce, planned_tags
from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType, dtype_of
from connectors.model.quality import BAD_DEVICE_FAILURE, BAD_NO_COMMUNICATION
from connectors.model.scaling import ratio_of

CELLS = 320
FORMATS = {
    DataType.INT16: ">h",
    DataType.UINT16: ">H",
    DataType.INT32: ">i",
    DataType.UINT32: ">I",
    DataType.FLOAT: ">f",
    DataType.INT64: ">q",
    DataType.UINT64: ">Q",
    DataType.DOUBLE: ">d",
}
ORDERS = ["ABCD", "BADC", "CDAB", "DCBA"]
Image = dict[str, list[int]]


def device(tags: list[dict[str, Any]]) -> ModbusDevice:
    numbered = [{"name": f"t{index}"} | tag for index, tag in enumerate(tags)]
    return ModbusDevice.model_validate(
        {"name": "d", "driver": "modbus", "endpoint": "tcp://plc.local:502", "tags": numbered}
    )


def reply_bytes(block: Block, image: Image) -> bytes:
    cells = image[block.table][block.address : block.address + block.count]
    if not block.is_bits:
        return struct.pack(f">{len(cells)}H", *cells)
    packed = bytearray((len(cells) + 7) // 8)
    for at, cell in enumerate(cells):
        packed[at // 8] |= (cell & 1) << at % 8
    return bytes(packed)


def slow_value(tag: PlannedTag, image: Image) -> Any:
    cells = image[tag.table][tag.address : tag.address + tag.count]
    if tag.table in ("coil", "discrete"):
        return bool(cells[0] & 1)
    swaps = tag.order in ("BADC", "DCBA")
    registers = [cell.to_bytes(2, "little" if swaps else "big") for cell in cells]
    if tag.datatype is DataType.STRING:
        text = b"".join(registers)[: tag.length_bytes]
        return text[: text.index(0)].strip().decode("latin-1") if 0 in text else text.strip().decode("latin-1")
    if tag.datatype is DataType.BOOLEAN:
        assert tag.bit is not None
        return bool(int.from_bytes(registers[0], "big") >> tag.bit & 1)
    if tag.order in ("CDAB", "DCBA"):
        registers.reverse()
    raw = struct.unpack(FORMATS[tag.datatype], b"".join(registers))[0]
    return ratio_of(tag.scale, tag.scaling_offset).scaled(raw) if tag.is_scaled else raw


def filled(plan: DecodePlan, blocks: tuple[Block, ...], image: Image) -> DecodePlan:
    for start, block in zip(plan.starts, blocks, strict=True):
        data = reply_bytes(block, image)
        plan.area[start : start + len(data)] = np.frombuffer(data, np.uint8)
    return plan


NUMBERS = st.fixed_dictionaries(
    {
        "at": st.builds("{} {}".format, st.sampled_from(["holding", "input"]), st.integers(0, CELLS - 4)),
        "type": st.sampled_from([datatype.label for datatype in FORMATS]),
        "order": st.sampled_from(ORDERS),
    },
    optional={"scale": st.sampled_from([0.1, -2.0, 0.00125, 1 / 3, 1e300]), "offset": st.sampled_from([-40.0, 0.5])},
)
BITS = st.one_of(
    st.builds(lambda table, at: {"at": f"{table} {at}"}, st.sampled_from(["coil", "discrete"]), st.integers(0, 319)),
    st.builds(
        lambda at, bit, order: {"at": f"holding {at}.{bit}", "order": order},
        st.integers(0, CELLS - 1),
        st.integers(0, 15),
        st.sampled_from(["ABCD", "BADC", "DCBA"]),
    ),
)
TEXTS = st.builds(
    lambda at, length, order: {"at": f"holding {at}", "type": "string", "length": length, "order": order},
    st.integers(0, 300),
    st.integers(1, 40),
    st.sampled_from(ORDERS),
)
CELL = st.one_of(st.integers(0, 0xFFFF), st.sampled_from([0, 1, 0x2020, 0x4142, 0x7F80, 0x7FF0, 0x8000, 0xFFFF]))


@st.composite
def images(draw: st.DrawFn) -> Image:
    cells = draw(st.lists(CELL, min_size=40, max_size=40))
    turns = {"holding": 0, "input": 7, "coil": 13, "discrete": 21}
    return {table: [cells[(at * 3 + at // 40 + turn) % 40] for at in range(CELLS)] for table, turn in turns.items()}


@settings(max_examples=max(1, settings.default.max_examples * 2 // 100) * settings.default.max_examples, deadline=None)
@given(st.lists(st.one_of(NUMBERS, NUMBERS, BITS, TEXTS), min_size=1, max_size=40), images(), images())
def test_columns_hold_what_a_slow_decoder_finds(tags: list[dict[str, Any]], image: Image, second: Image) -> None:
    planned = planned_tags(device(tags))
    blocks = coalesce(planned, 8, 125)
    plan = DecodePlan(blocks)
    arrived = [10**18 + number for number in range(len(blocks))]
    of_block = {tag.index: number for number, block in enumerate(blocks) for tag in block.tags}
    for cells in (image, second, image):
        batches = filled(plan, blocks, cells).decode([0] * len(blocks), arrived)
        assert len({batch.datatype for batch in batches}) == len(batches)
        rows: dict[int, tuple[DataType, int, Any]] = {}
        for batch in batches:
            assert batch.value.dtype == dtype_of(batch.datatype)
            assert (batch.quality, batch.null) == (None, None)
            assert [batch.tag.dtype, batch.time_ns.dtype] == [np.dtype(np.int32), np.dtype(np.int64)]
            rows |= {row[0]: (batch.datatype, row[1], row[2]) for row in batch.rows()}
        assert sorted(rows) == list(range(len(tags)))
        for tag in planned:
            datatype, time_ns, value = rows[tag.index]
            expected = slow_value(tag, cells)
            assert datatype is tag.reported
            assert time_ns == arrived[of_block[tag.index]]
            assert value == expected or (value != value and expected != expected)


@pytest.mark.parametrize(
    ("order", "registers"),
    [
        ("ABCD", (0x0A0B, 0x0C0D)),
        ("BADC", (0x0B0A, 0x0D0C)),
        ("CDAB", (0x0C0D, 0x0A0B)),
        ("DCBA", (0x0D0C, 0x0B0A)),
    ],
)
def test_the_letters_name_the_bytes_from_the_most_significant_on(order: str, registers: tuple[int, int]) -> None:
    blocks = coalesce(planned_tags(device([{"at": "holding 0", "type": "uint32", "order": order}])), 8, 125)
    image = {"holding": [*registers]}
    (batch,) = filled(DecodePlan(blocks), blocks, image).decode([0], [0])
    assert batch.value.tolist() == [0x0A0B0C0D]


def three_blocks() -> tuple[DecodePlan, tuple[Block, ...]]:
    tags = [{"at": f"holding {at}"} for at in (0, 1, 100, 101, 200)] + [{"at": "holding 102", "type": "string"}]
    blocks = coalesce(planned_tags(device(tags)), 8, 125)
    image = {"holding": [7] * CELLS}
    return filled(DecodePlan(blocks), blocks, image), blocks


def test_the_tags_of_a_block_that_failed_have_no_value_and_a_bad_quality() -> None:
    plan, blocks = three_blocks()
    numbers, texts = plan.decode([0, 6, 4], [1, 2, 3])
    assert [block.address for block in blocks] == [0, 100, 200]
    assert list(numbers.rows()) == [
        (0, 1, 7, 0),
        (1, 1, 7, 0),
        (2, 2, None, BAD_NO_COMMUNICATION),
        (3, 2, None, BAD_NO_COMMUNICATION),
        (4, 3, None, BAD_DEVICE_FAILURE),
    ]
    assert list(texts.rows()) == [(5, 2, None, BAD_NO_COMMUNICATION)]
    assert numbers.value.tolist() == [7, 7, 0, 0, 0]


@pytest.mark.parametrize("code", [NOT_READ, 1, 2, 3])
def test_the_tags_of_a_block_that_was_not_read_or_is_refused_have_no_samples(code: int) -> None:
    plan, _ = three_blocks()
    (numbers,) = plan.decode([0, code, 0], [1, 2, 3])
    assert [row[0] for row in numbers.rows()] == [0, 1, 4]
    assert plan.decode([code] * 3, [1, 2, 3]) == []


def test_batches_stay_as_they_are_when_the_next_replies_arrive() -> None:
    plan, _ = three_blocks()
    first = plan.decode([0, 0, 0], [1, 2, 3])
    before = [list(batch.rows()) for batch in first]
    plan.area[:] = 0x41
    plan.decode([0, 0, 0], [4, 5, 6])
    assert [list(batch.rows()) for batch in first] == before


def test_a_signalling_not_a_number_and_an_overflow_raise_no_warning() -> None:
    tags = [{"at": f"holding {at}", "type": kind, "scale": 1e10} for at, kind in ((0, "float"), (2, "double"))]
    blocks = coalesce(planned_tags(device(tags)), 8, 125)
    image = {"holding": [0x7F80, 0x0001, 0x7FEF, 0xFFFF, 0xFFFF, 0xFFFF]}
    (batch,) = filled(DecodePlan(blocks), blocks, image).decode([0], [0])
    assert np.isnan(batch.value[0])
    assert batch.value[1] == float("inf")


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"PRESS-1\0\0\0", "PRESS-1"),
        (b"  padded  ", "padded"),
        (b"new\0older text", "new"),
        (b"\0left over", ""),
        (b"gr\xfcn \xb0C", "grün °C"),
    ],
)
def test_a_text_ends_at_the_first_nul_and_has_no_spaces_around_it(data: bytes, text: str) -> None:
    assert text_of(data) == text
