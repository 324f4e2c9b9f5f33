"""Samples in pieces that each fit one message."""

from __future__ import annotations

from collections.abc import Sequence

from connectors.model.samples import SampleBatch
from connectors.sparkplug.bulk_encode import encoded_bytes_max
from connectors.sparkplug.delivery import TICK_BYTES


def split(parts: Sequence[SampleBatch], bytes_max: int) -> list[tuple[SampleBatch, ...]]:
    """``parts`` in pieces that each fit one message; a single sample that does not fit stays alone."""
    pieces: list[tuple[SampleBatch, ...]] = []
    current: list[SampleBatch] = []
    room = bytes_max
    stack = list(reversed(parts))
    while stack:
        part = stack.pop()
        size = message_bytes_max(part)
        if size <= room:
            current.append(part)
            room -= size
            continue
        count = len(part) * room // size
        while count and (size := message_bytes_max(part.select(slice(0, count)))) > room:  # long texts come first
            count = min(count - 1, count * room // size)
        if count == 0 and not current:
            count = 1
        if count:
            current.append(part.select(slice(0, count)))
            if count < len(part):
                stack.append(part.select(slice(count, None)))
        else:
            stack.append(part)
        pieces.append(tuple(current))
        current, room = [], bytes_max
    if current:
        pieces.append(tuple(current))
    return pieces


def message_bytes_max(part: SampleBatch) -> int:
    """How many bytes of a message ``part`` takes at most."""
    return encoded_bytes_max(part) + TICK_BYTES * len(part)
