"""Notifications of one shape as rows of a NumPy array, for shapes whose values are of a fixed width.

A shape is the mask of a DataValue and, above it, the first byte of its Variant: what follows the client handle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.model.samples import Int64Array
from connectors.opcua.data_values import (
    HAS_SERVER_PICO,
    HAS_SERVER_TIME,
    HAS_SOURCE_PICO,
    HAS_SOURCE_TIME,
    HAS_STATUS,
    HAS_VALUE,
    OPTIONAL_SIZES,
    TAIL_BITS,
)
from connectors.opcua.wire_types import WIRE_TYPES, WireType, ticks_to_ns

_NAMES: Final = {
    HAS_STATUS: ("status", "<u4"),
    HAS_SOURCE_TIME: ("source", "<i8"),
    HAS_SOURCE_PICO: ("source_pico", "<u2"),
    HAS_SERVER_TIME: ("server", "<i8"),
    HAS_SERVER_PICO: ("server_pico", "<u2"),
}


@dataclass(frozen=True, slots=True)
class ItemLayout:
    """Where the fields of one notification are: ``handle``, ``shape``, ``value``, and those that its mask names.

    ``head`` is the first two of them together, as three numbers.
    """

    wire: WireType
    dtype: np.dtype[Any]
    has_status: bool
    times: tuple[str, ...]
    """The fields with a time, the source's before the server's."""

    @property
    def size(self) -> int:
        """The bytes of one notification."""
        return self.dtype.itemsize

    def times_ns(self, items: NDArray[Any], received_ns: int) -> Int64Array:
        """The time of each: of the source, else of the server, else ``received_ns``."""
        ticks: Int64Array | None = None
        for name in self.times:
            column: Int64Array = items[name].astype(np.int64)
            ticks = column if ticks is None else np.where(ticks > 0, ticks, column)
            if (first := int(ticks.min())) > 0:
                return ticks_to_ns(ticks, first)
        if ticks is None:
            return np.full(len(items), received_ns, np.int64)
        return np.where(ticks > 0, ticks_to_ns(np.maximum(ticks, 1)), received_ns)


@cache  # as many as there are masks and types of fixed width: some hundreds at most
def layout_of(mask: int, code: int) -> ItemLayout | None:
    """The layout of a shape; ``None`` when its size is not fixed, or it has no value."""
    wire = WIRE_TYPES.get(code)
    if not mask & HAS_VALUE or wire is None or wire.dtype is None or mask & ~(TAIL_BITS | HAS_VALUE):
        return None
    present = [bit for bit, _ in OPTIONAL_SIZES if mask & bit]
    first: list[tuple[str, Any]] = [("handle", "<u4"), ("shape", "<u2"), ("value", wire.dtype)]
    fields = first + [_NAMES[bit] for bit in present]
    names, formats = ["head"], [np.dtype(("<u2", 3))]
    offsets, size = [0], 0
    for name, form in fields:
        names.append(name)
        formats.append(np.dtype(form))
        offsets.append(size)
        size += formats[-1].itemsize
    dtype = np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": size})
    times = tuple(_NAMES[bit][0] for bit in (HAS_SOURCE_TIME, HAS_SERVER_TIME) if bit in present)
    return ItemLayout(wire, dtype, HAS_STATUS in present, times)
