"""What goes into one message: pieces that fit it, of samples of which none is lost."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.samples import SampleBatch, concatenate
from connectors.model.tags import DefinitionHash, DeviceName
from connectors.sparkplug.bulk_encode import encoded_bytes_max
from connectors.sparkplug.delivery import MESSAGE_OVERHEAD_BYTES_MAX, TICK_BYTES, data_message
from edge_agent.buffer.pieces import split
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.uplink.messages import samples_message
from tests.drawn_batches import batches, plain

PRESS = DeviceName("press")


def wire_bytes_max(part: SampleBatch) -> int:
    return encoded_bytes_max(part) + TICK_BYTES * len(part)


@given(st.lists(batches(size_max=20), min_size=1, max_size=4), st.integers(1, 3000))
def test_pieces_fit_the_message_and_lose_nothing(parts: list[SampleBatch], bytes_max: int) -> None:
    parts = [
        concatenate(group)
        for group in {p.datatype: [q for q in parts if q.datatype is p.datatype] for p in parts}.values()
    ]
    pieces = split(parts, bytes_max)
    for piece in pieces:
        assert all(len(part) for part in piece)
        size = sum(wire_bytes_max(part) for part in piece)
        assert size <= bytes_max or sum(len(part) for part in piece) == 1
        row = StoredBatch(BatchNumber(1 << 62), Epoch((1 << 63) - 1), Kind.SAMPLES, PRESS, DefinitionHash("0" * 32),
                          0, sum(len(part) for part in piece), 0, piece)  # fmt: skip
        delivery, metrics = samples_message(row, historical=True)
        message = data_message(
            publish_ms=1 << 42, seq=255, delivery=delivery, metrics=metrics, ticks=delivery.ticks
        )  # fmt: skip
        assert len(message) <= size + MESSAGE_OVERHEAD_BYTES_MAX
    for part in parts:
        found = [other for piece in pieces for other in piece if other.datatype is part.datatype]
        assert plain(concatenate(found)) == plain(part)


def test_a_long_text_before_short_ones_does_not_make_a_piece_too_large() -> None:
    texts = np.array(["x" * 200, *["y"] * 99], object)
    part = SampleBatch(DataType.STRING, np.zeros(100, np.int32), np.zeros(100, np.int64), texts)
    pieces = split([part], 1000)
    assert all(wire_bytes_max(part) <= 1000 for (part,) in pieces)
    assert sum(len(part) for (part,) in pieces) == 100


def test_a_sample_that_fits_no_message_stays_alone() -> None:
    texts = np.array(["a", "x" * 5000, "b"], object)
    part = SampleBatch(DataType.STRING, np.zeros(3, np.int32), np.zeros(3, np.int64), texts)
    assert [[len(part) for part in piece] for piece in split([part], 1000)] == [[1], [1], [1]]
