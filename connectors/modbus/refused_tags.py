"""Which tags of a block a unit refuses, and how the others are read without them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from connectors.modbus.exception_codes import ILLEGAL_FUNCTION, REFUSALS
from connectors.modbus.plan import Block, PlannedTag, block_of

Read = Callable[[Block], Awaitable[int]]
"""Reads a block; 0 or the exception code. It raises when there is no answer."""


@dataclass(slots=True)
class Findings:
    """Blocks that the unit reads, and single tags that it refuses, with the exception code."""

    readable: list[Block] = field(default_factory=list)
    refused: list[tuple[PlannedTag, int]] = field(default_factory=list)


async def find_refused(block: Block, read: Read) -> Findings:
    """Divide ``block``, which the unit refuses as a whole.

    From the first tag on, the longest run of tags that can be read together is found by bisection; a tag that is
    refused on its own is put aside. One refused tag among ``n`` costs about log2(n) + 3 reads, ``n`` of them cost
    ``n``; a hole in the unit's addresses between two good tags ends a block and harms no tag.
    """
    findings = Findings()
    rest: Sequence[PlannedTag] = block.tags
    while rest:
        code = await read(block_of(rest[:1]))
        if code == ILLEGAL_FUNCTION:
            findings.refused += [(tag, code) for tag in rest]
            break
        if code in REFUSALS:
            findings.refused.append((rest[0], code))
            rest = rest[1:]
            continue
        count = await _readable_count(rest, read, whole_is_refused=len(rest) == len(block.tags))
        findings.readable.append(block_of(rest[:count]))
        rest = rest[count:]
    return findings


async def _readable_count(tags: Sequence[PlannedTag], read: Read, *, whole_is_refused: bool) -> int:
    """How many of ``tags``, from the first on, can be read in one request; the first one can."""
    if len(tags) == 1 or (not whole_is_refused and await read(block_of(tags)) not in REFUSALS):
        return len(tags)
    good, bad = 1, len(tags)
    while bad - good > 1:
        middle = (good + bad) // 2
        if await read(block_of(tags[:middle])) in REFUSALS:
            bad = middle
        else:
            good = middle
    return good
