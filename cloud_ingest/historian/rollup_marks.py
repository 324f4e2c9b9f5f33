"""Which minutes of which tags a transaction has added samples to: their rollups are due.

Too many tags in a mark cost the upkeep a look each, too few would make a rollup wrong. So marks are made as small as is
cheap: runs of tag ids, with small holes filled.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cloud_ingest.historian.sample_rows import SampleRows

MINUTE_US: Final = 60_000_000
HOLE_TAGS_MAX: Final = 16
RUNS_MAX: Final = 200
"""Of one mark; then wider holes are filled."""
_DENSE: Final = 64
"""As long as the span of the ids is at most so many times their number, they are marked in an array of that span."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The rollup of ``minute`` (since 1970) is due for the tags of ``tags``, as text of an ``int4multirange``."""

    tenant_id: int
    minute: int
    tags: str


def marks_of(parts: Iterable[SampleRows]) -> list[Mark]:
    """The marks of all of ``parts``, by tenant and minute."""
    by_tenant: dict[int, list[SampleRows]] = {}
    for part in parts:
        by_tenant.setdefault(part.tenant_id, []).append(part)
    return [mark for tenant_id, rows in by_tenant.items() for mark in _of_tenant(tenant_id, rows)]


def _of_tenant(tenant_id: int, parts: Sequence[SampleRows]) -> Iterator[Mark]:
    tags = np.concatenate([part.batch.tag for part in parts])
    minutes = np.concatenate([part.time_us for part in parts]) // MINUTE_US
    if not len(tags):
        return
    first, last = int(minutes.min()), int(minutes.max())
    if first == last:
        yield Mark(tenant_id, first, _multirange(_distinct(tags)))
        return
    order = np.argsort(minutes, kind="stable")
    minutes, tags = minutes[order], tags[order]
    begins = np.flatnonzero(np.diff(minutes, prepend=minutes[0] - 1))
    ends = [*begins[1:].tolist(), len(minutes)]
    for begin, end in zip(begins.tolist(), ends, strict=True):
        yield Mark(tenant_id, int(minutes[begin]), _multirange(_distinct(tags[begin:end])))


def _distinct(tags: NDArray[np.int32]) -> NDArray[np.int64]:
    """The different ids in order."""
    lowest, highest = int(tags.min()), int(tags.max())
    if highest - lowest > _DENSE * len(tags):
        return np.unique(tags).astype(np.int64)
    present = np.zeros(highest - lowest + 1, np.bool_)
    present[tags - lowest] = True
    return np.flatnonzero(present) + lowest


def _multirange(ids: NDArray[np.int64]) -> str:
    """``ids``, in order, as runs; holes of up to ``HOLE_TAGS_MAX`` are filled, wider ones beyond ``RUNS_MAX`` runs."""
    holes = np.diff(ids)
    wide = np.flatnonzero(holes > HOLE_TAGS_MAX + 1)
    if len(wide) >= RUNS_MAX:
        wide = np.sort(np.argpartition(holes, -(RUNS_MAX - 1))[-(RUNS_MAX - 1) :])
    begins = [int(ids[0]), *ids[wide + 1].tolist()]
    ends = [*ids[wide].tolist(), int(ids[-1])]
    return "{" + ",".join(f"[{begin},{end + 1})" for begin, end in zip(begins, ends, strict=True)) + "}"
