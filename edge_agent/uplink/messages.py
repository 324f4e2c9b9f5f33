"""A stored batch as a Sparkplug message: the last step before the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash
from connectors.sparkplug.bulk_encode import (
    HISTORICAL,
    TRANSIENT,
    encode_metrics,
    encoded_bytes_max,
    sub_millisecond_ticks,
)
from connectors.sparkplug.delivery import (
    COMMAND_REPORT,
    DEFINITION_BODY,
    EPOCH_START,
    GAP,
    HELLO,
    MESSAGE_OVERHEAD_BYTES_MAX,
    TICK_BYTES,
    Delivery,
)
from edge_agent.buffer.rows import Kind, StoredBatch

TOPIC_BYTES_MAX: Final = 512
_HELLO_BEGINS: Final = b'{"kind":"hello"'
"""As ``Hello.to_json`` writes it."""


def samples_message(batch: StoredBatch, *, historical: bool) -> tuple[Delivery, bytes]:
    """The delivery metrics and the tag metrics of a batch of samples."""
    mark = HISTORICAL if historical else b""
    metrics = b"".join([encode_metrics(part, mark) for part in batch.parts])
    ticks = np.concatenate([sub_millisecond_ticks(part) for part in batch.parts])
    delivery = Delivery(
        batch.epoch, batch.number, batch.definition, batch.sample_count, ticks=ticks if ticks.any() else None
    )
    return delivery, metrics


def preview_message(epoch: Epoch, definition: DefinitionHash, parts: Sequence[SampleBatch]) -> tuple[Delivery, bytes]:
    """Newest values ahead of the backlog: batch 0, so that nobody stores or acknowledges them."""
    metrics = b"".join([encode_metrics(part, TRANSIENT) for part in parts])
    return Delivery(epoch, BatchNumber(0), definition, sum(len(part) for part in parts)), metrics


def record_message(batch: StoredBatch) -> Delivery:
    """The delivery metrics of a record, with the record itself."""
    records: dict[str, str | bytes]
    match batch.kind:
        case Kind.DEFINITION:
            records = {DEFINITION_BODY: batch.record}
        case Kind.GAP:
            records = {GAP: batch.record.decode()}
        case Kind.EPOCH_START:
            records = {EPOCH_START: batch.record.decode()}
        case Kind.COMMAND:
            name = HELLO if batch.record.startswith(_HELLO_BEGINS) else COMMAND_REPORT
            records = {name: batch.record.decode()}
        case Kind.SAMPLES:
            raise ValueError("samples are not a record")
    return Delivery(batch.epoch, batch.number, batch.definition, 0, records=dict(records))


def message_bytes_max(batch: StoredBatch) -> int:
    """How large the message of ``batch`` can become."""
    samples = sum(encoded_bytes_max(part) + TICK_BYTES * len(part) for part in batch.parts)
    return MESSAGE_OVERHEAD_BYTES_MAX + samples + len(batch.record)


def too_large(batch: StoredBatch, broker_bytes_max: int) -> str | None:
    """Why a broker cannot take this batch; ``None`` when it can. ``broker_bytes_max``: 0 for no limit."""
    size = message_bytes_max(batch) + TOPIC_BYTES_MAX if broker_bytes_max else 0
    if size <= broker_bytes_max:
        return None
    return f"it takes {size:,} bytes, and the broker takes packets of at most {broker_bytes_max:,}"


def newest_ns(batch: StoredBatch) -> int:
    """The newest source time in a batch of samples."""
    return max(int(part.time_ns.max()) for part in batch.parts)
