"""Batches of samples to rows: all batches of one definition together, as one run of columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud_ingest.historian.identities import DefinitionTags
from cloud_ingest.historian.incoming import Incoming
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch
from connectors.sparkplug.bulk_decode import decode_metrics

METRIC_BYTES_MIN: Final = 4
"""The shortest metric of a sample: its tag and its length, and an alias."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The samples of some batches of one definition (``tag`` holds aliases), and the batches that cannot be read."""

    batches: list[SampleBatch]
    refused: list[tuple[Incoming, str]]


def decode_batches(incoming: Sequence[Incoming], tags: DefinitionTags) -> Decoded:
    """Decode DDATA messages that name one definition, in their order.

    All are decoded at once; when that fails, or gives another number of samples than they say, one by one: a message
    that cannot be read is refused alone.
    """
    try:
        return Decoded(_decode(incoming, tags), [])
    except PayloadInvalid as exc:
        if len(incoming) == 1:
            return Decoded([], [(incoming[0], str(exc))])
    decoded = Decoded([], [])
    for message in incoming:
        try:
            decoded.batches.extend(_decode([message], tags))
        except PayloadInvalid as exc:
            decoded.refused.append((message, str(exc)))
    return decoded


def by_message(
    incoming: Sequence[Incoming], decoded: Sequence[SampleBatch], tags: DefinitionTags
) -> list[tuple[SampleBatch, ...]]:
    """The samples of each of ``incoming``, which ``decode_batches`` read together, and refused none of."""
    if len(incoming) == 1:
        return [tuple(decoded)]
    if len(decoded) > 1:
        return [tuple(_decode([message], tags)) for message in incoming]
    parts: list[tuple[SampleBatch, ...]] = []
    at = 0
    for message in incoming:
        count = 0 if message.delivery is None else message.delivery.count
        parts.append((decoded[0].select(slice(at, at + count)),) if count else ())
        at += count
    return parts


def _decode(incoming: Sequence[Incoming], tags: DefinitionTags) -> list[SampleBatch]:
    bodies: list[bytes] = []
    seams: list[tuple[int, int]] = []
    wanted = at = 0
    has_ticks = False
    for message in incoming:
        delivery = message.delivery
        assert delivery is not None  # noqa: S101  only delivered batches come here
        seams.append((wanted, at))
        bodies.append(message.message.payload[delivery.body_at :])
        if delivery.count > len(bodies[-1]) // METRIC_BYTES_MIN:  # before anything is made as large as it says
            raise PayloadInvalid(f"{delivery.count} samples were announced in {len(bodies[-1])} bytes")
        wanted += delivery.count
        at += len(bodies[-1])
        has_ticks = has_ticks or delivery.ticks is not None
    ticks = _ticks(incoming) if has_ticks else None
    batches = decode_metrics(b"".join(bodies), tags.types, ticks, seams)
    count = sum(len(batch) for batch in batches)
    if count != wanted:
        raise PayloadInvalid(f"{count} samples where {wanted} were announced")
    return batches


def _ticks(incoming: Sequence[Incoming]) -> NDArray[np.uint16]:
    columns: list[NDArray[np.uint16]] = []
    for message in incoming:
        delivery = message.delivery
        assert delivery is not None  # noqa: S101  only delivered batches come here
        ticks = np.zeros(delivery.count, np.uint16) if delivery.ticks is None else delivery.ticks
        if len(ticks) != delivery.count:
            raise PayloadInvalid(f"{len(ticks)} sub-millisecond ticks for {delivery.count} metrics")
        columns.append(ticks)
    return np.concatenate(columns)
