"""One tag that a unit refuses is found, and costs its neighbours nothing."""

from __future__ import annotations

import asyncio
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.modbus.plan import Block, block_of, planned_tags
from connectors.modbus.refused_tags import Findings, find_refused
from connectors.modbus.settings import ModbusDevice


def block(addresses: list[int], kind: str = "uint16") -> Block:
    tags = [{"name": f"t{at}", "at": f"holding {at}", "type": kind} for at in addresses]
    device = ModbusDevice.model_validate({"name": "d", "driver": "modbus", "endpoint": "tcp://plc.local", "tags": tags})
    return block_of(planned_tags(device))


def search(whole: Block, illegal: set[int], code: int = 2, other: int = 0) -> tuple[Findings, int]:
    reads = 0

    async def read(part: Block) -> int:
        nonlocal reads
        reads += 1
        touches = illegal & set(range(part.address, part.address + part.count))
        return code if touches else other

    return asyncio.run(find_refused(whole, read)), reads


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(
    st.lists(st.integers(0, 120), min_size=1, max_size=40, unique=True),
    st.sets(st.integers(0, 125), max_size=12),
    st.sampled_from(["uint16", "float"]),
)
def test_exactly_the_tags_at_illegal_addresses_are_refused(addresses: list[int], illegal: set[int], kind: str) -> None:
    whole = block(sorted(addresses), kind)
    findings, _ = search(whole, illegal)
    refused = {tag.index for tag, _code in findings.refused}
    for tag in whole.tags:
        assert (tag.index in refused) == bool(illegal & set(range(tag.address, tag.address + tag.count)))
    kept = [tag.index for part in findings.readable for tag in part.tags]
    assert sorted(kept) == sorted({tag.index for tag in whole.tags} - refused)
    for part in findings.readable:
        assert not illegal & set(range(part.address, part.address + part.count))


def test_one_refused_tag_among_many_is_found_in_few_reads_and_leaves_two_blocks() -> None:
    findings, reads = search(block(list(range(100))), {37})
    assert [tag.address for tag, _ in findings.refused] == [37]
    assert [(part.address, part.count) for part in findings.readable] == [(0, 37), (38, 62)]
    assert reads <= math.log2(100) + 5


def test_a_hole_between_two_good_tags_divides_the_block_and_refuses_none() -> None:
    findings, _ = search(block([0, 1, 5, 6]), {3})
    assert findings.refused == []
    assert [(part.address, part.count) for part in findings.readable] == [(0, 2), (5, 2)]


def test_a_table_that_the_unit_does_not_have_is_found_with_one_read() -> None:
    findings, reads = search(block(list(range(50))), set(range(60)), code=1)
    assert (len(findings.refused), findings.readable, reads) == (50, [], 1)


@pytest.mark.parametrize("passing", [4, 6, 11])
def test_a_failure_that_may_pass_is_no_reason_to_give_up_a_tag(passing: int) -> None:
    findings, _ = search(block([0, 1, 2]), {1}, other=passing)
    assert [tag.address for tag, _ in findings.refused] == [1]
