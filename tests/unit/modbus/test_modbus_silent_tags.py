"""A tag for which a unit gives no answer is found, and costs its neighbours nothing."""

from __future__ import annotations

import asyncio
from itertools import chain

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.modbus.plan import Block, block_of, planned_tags
from connectors.modbus.settings import ModbusDevice
from connectors.modbus.silent_tags import FRUITLESS_PROBES_MAX, PROBES_MAX, Findings, find_silent


def block(addresses: list[int]) -> Block:
    tags = [{"name": f"t{at}", "at": f"holding {at}"} for at in addresses]
    device = ModbusDevice.model_validate({"name": "d", "driver": "modbus", "endpoint": "tcp://plc.local", "tags": tags})
    return block_of(planned_tags(device))


def search(whole: Block, ignored: set[int]) -> tuple[Findings | None, int, int]:
    """What is found, after how many probes, and how many of them had no answer."""
    probes = silent = 0

    async def probe(part: Block) -> str | None:
        nonlocal probes, silent
        probes += 1
        if not ignored & set(range(part.address, part.address + part.count)):
            return None
        silent += 1
        return f"no answer for {part.place}"

    return asyncio.run(find_silent(whole, probe, "no answer")), probes, silent


def addresses_of(found: list[Block]) -> list[list[int]]:
    return [[tag.address for tag in part.tags] for part in found]


@settings(max_examples=3 * settings.default.max_examples, deadline=None)
@given(st.lists(st.integers(0, 120), min_size=2, max_size=60, unique=True), st.sets(st.integers(0, 120), max_size=12))
def test_every_tag_is_read_or_set_aside_and_nothing_that_is_read_is_silent(
    addresses: list[int], ignored: set[int]
) -> None:
    whole = block(sorted(addresses))
    findings, probes, _ = search(whole, ignored)
    assert probes <= PROBES_MAX + len(addresses)
    if findings is None:
        assert ignored, "something is ignored, be it in a hole between tags"
        return
    read, aside = addresses_of(findings.readable), addresses_of([part for part, _ in findings.silent])
    assert sorted(chain(*read, *aside)) == sorted(addresses)
    for part in findings.readable:
        assert not ignored & set(range(part.address, part.address + part.count))
    for part, reasons in findings.silent:
        assert set(reasons) == {tag.index for tag in part.tags}
    if probes < PROBES_MAX:
        assert set(chain(*aside)) == ignored & set(addresses)


def test_one_silent_tag_among_many_is_found_in_few_probes_and_leaves_two_blocks() -> None:
    findings, probes, silent = search(block(list(range(100))), {37})
    assert findings is not None
    assert [(part.address, part.count) for part in findings.readable] == [(0, 37), (38, 62)]
    ((aside, reasons),) = findings.silent
    assert (aside.place, list(reasons.values())) == ("holding 37", ["no answer for holding 37"])
    assert probes <= 16
    assert silent <= 7


def test_a_hole_that_is_ignored_divides_the_block_and_silences_no_tag() -> None:
    findings, _, _ = search(block([0, 1, 2, 6, 7]), {4})
    assert findings is not None
    assert not findings.silent
    assert sorted(chain(*addresses_of(findings.readable))) == [0, 1, 2, 6, 7]


def test_a_block_of_which_nothing_is_answered_is_given_up_soon() -> None:
    assert search(block(list(range(100))), set(range(100))) == (None, FRUITLESS_PROBES_MAX, FRUITLESS_PROBES_MAX)
    assert search(block([5]), {5}) == (None, 0, 0)


def test_neighbours_that_are_silent_together_are_set_aside_together() -> None:
    findings, _, _ = search(block(list(range(16))), {5, 6, 11})
    assert findings is not None
    assert addresses_of([part for part, _ in findings.silent]) == [[5, 6], [11]]
    assert addresses_of(findings.readable) == [[0, 1, 2, 3, 4], [7, 8, 9, 10], [12, 13, 14, 15]]
