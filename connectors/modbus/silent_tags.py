"""Which tags of a block a unit does not answer for, and how the others are read without them."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from connectors.modbus.plan import Block, PlannedTag, block_of

FRUITLESS_PROBES_MAX: Final = 4
"""So many reads of different parts of a block, none of them answered, mean that all of it is silent."""
PROBES_MAX: Final = 40
"""Each that gets no answer takes the whole timeout: what is not known after so many is set aside too."""

Probe = Callable[[Block], Awaitable[str | None]]
"""Reads a block once: ``None`` when the unit answers, be it with a refusal, else why not, in a sentence."""


@dataclass(frozen=True, slots=True)
class Findings:
    """Blocks that the unit answers for; and neighbouring tags that it does not answer for, with the reason of each."""

    readable: list[Block]
    silent: list[tuple[Block, dict[int, str]]]
    """The reasons by index of the tag."""


async def find_silent(block: Block, probe: Probe, reason: str) -> Findings | None:
    """Divide ``block``, which as a whole gets no answer, for this ``reason``; ``None`` when no part of it gets one.

    Its halves are read, then the halves of those that get no answer, and so on down to single tags: one silent tag
    among ``n`` costs about 2 log2(n) + 2 probes, half of them without an answer. Parts between two silent tags are put
    together again, where the unit answers for them together.
    """
    places = {tag.index: place for place, tag in enumerate(block.tags)}
    answered: list[Sequence[PlannedTag]] = []
    reasons: dict[int, str] = {}
    pending = deque(_halves(block.tags))
    probes = 0
    while pending and probes < PROBES_MAX:
        part = pending.popleft()
        probes += 1
        why = await probe(block_of(part))
        if why is None:
            answered.append(part)
        elif len(part) == 1:
            reasons[part[0].index] = why
        else:
            pending.extend(_halves(part))
        if not answered and probes >= FRUITLESS_PROBES_MAX:
            return None
    if not answered:
        return None
    reasons |= {tag.index: reason for part in pending for tag in part}
    answered.sort(key=lambda part: places[part[0].index])
    silent = [tag for tag in block.tags if tag.index in reasons]
    return Findings(
        [found for run in _runs(answered, places) for found in await _together(run, probe)],
        [
            (block_of(tags := [tag for (tag,) in run]), {tag.index: reasons[tag.index] for tag in tags})
            for run in _runs([(tag,) for tag in silent], places)
        ],
    )


def _halves(tags: Sequence[PlannedTag]) -> list[Sequence[PlannedTag]]:
    middle = len(tags) // 2
    return [tags[:middle], tags[middle:]] if middle else []


def _runs(parts: Sequence[Sequence[PlannedTag]], places: dict[int, int]) -> list[list[Sequence[PlannedTag]]]:
    """``parts``, in their order, in lists of those that follow each other without a tag between them."""
    begun = 0

    def gaps_before(part: Sequence[PlannedTag]) -> int:
        nonlocal begun
        gap, begun = places[part[0].index] - begun, begun + len(part)
        return gap

    return [list(run) for _, run in groupby(parts, gaps_before)]


async def _together(run: list[Sequence[PlannedTag]], probe: Probe) -> list[Block]:
    """One block for all of ``run`` when the unit answers for it; it may have a hole that it does not answer for."""
    whole = block_of([tag for part in run for tag in part])
    if len(run) == 1 or await probe(whole) is None:
        return [whole]
    return [block_of(part) for part in run]
