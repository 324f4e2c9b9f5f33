"""Data changes in bytes to samples in columns (OPC UA Part 4, 7.25.2; binary encoding of Part 6, 5.2).

A run of notifications with the same shape (same DataValue mask, same fixed-width type) has an equal stride and becomes
columns in one step; anything else is walked through item by item, its value decoded by asyncua, with the same result.
Property tests hold both ways to asyncua's own reading.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, dtype_of
from connectors.model.quality import BAD, BAD_TYPE_MISMATCH, is_good
from connectors.model.samples import SampleBatch, batch_of_rows
from connectors.opcua.data_values import (
    HAS_SERVER_TIME,
    HAS_SOURCE_TIME,
    HAS_STATUS,
    HAS_VALUE,
    TAIL_BITS,
    TAILS,
    fixed_size,
    leading,
    places,
    rest_of_item,
    value_at,
)
from connectors.opcua.shapes import Shape
from connectors.opcua.wire_types import BOOLEAN, DATETIME, STRING, WIRE_TYPES, plain_value, ticks_to_ns

RUN_MIN: Final = 8
_OVERFLOW: Final = 0x0480
"""Info type DataValue and the Overflow bit of a status code (Part 4, 7.39.1)."""

_TEXT_HEAD: Final = struct.Struct("<IBBi")
"""Client handle, DataValue mask, variant type, length of the text."""
_I32: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")


class DataChangeDecoder:
    """Decodes the data changes of one connection; client handles are tag indices.

    ``datatypes`` is the type of each tag as it was bound. A value of another type is converted where that loses
    nothing, else it becomes a bad sample without value, and ``mismatched`` remembers the tag.
    """

    def __init__(self, tag_count: int) -> None:
        self.datatypes: list[DataType | None] = [None] * tag_count
        self._codes = np.zeros(tag_count + 1, np.uint8)
        self.mismatched: set[int] = set()
        self.unknown_handles = 0
        self.overflows = 0
        self._overflowed: list[tuple[int, int]] = []
        self._shapes: dict[int, Shape] = {}

    def bind(self, tag: int, datatype: DataType) -> None:
        """Values of ``tag`` are of this type from now on."""
        self._shapes.pop(tag, None)
        self.datatypes[tag] = datatype
        self._codes[tag] = datatype
        self.mismatched.discard(tag)

    def bind_shape(self, tag: int, shape: Shape) -> None:
        """Values of ``tag`` are for the tags that ``shape`` names, from now on."""
        for output in shape.outputs:
            self.bind(output.index, output.datatype)
        self._codes[tag] = 0  # its values are never those of a run
        self._shapes[tag] = shape

    def unbind(self, tag: int) -> None:
        """Values of ``tag`` are passed over from now on."""
        self._shapes.pop(tag, None)
        self.datatypes[tag] = None
        self._codes[tag] = 0
        self.mismatched.discard(tag)

    def take_overflowed(self) -> list[tuple[int, int]]:
        """(tag, source time) of the samples with the Overflow bit that were decoded since the last call.

        Before each of them the server's queue has lost others of the tag (Part 4, 5.12.1.5). The bit is one of those
        below the quality, which does not show it.
        """
        found, self._overflowed = self._overflowed, []
        return found

    def decode(self, body: bytes, received_ns: int) -> list[SampleBatch]:
        """The samples of one DataChangeNotification body, in order within each data type.

        A sample without source time gets the server's, else ``received_ns``. Raises an error of the decoder when the
        bytes are not such a body.
        """
        found: list[SampleBatch] = []
        loose: dict[DataType, list[tuple[int, int, Any, int]]] = {}
        flat = np.frombuffer(body, np.uint8)
        at, left = 4, _I32.unpack_from(body, 0)[0]
        while left > 0:
            taken, size = self._run(flat, body, at, left, received_ns, found, loose)
            if taken == 0:
                taken, size = self._texts(body, at, left, found, loose)
            if taken == 0:
                size = self._one(body, at, received_ns, loose)
                taken = 1
            at += size
            left -= taken
        _flush(loose, found)
        return found

    def _run(
        self,
        flat: NDArray[np.uint8],
        body: bytes,
        at: int,
        left: int,
        received_ns: int,
        found: list[SampleBatch],
        loose: dict[DataType, list[tuple[int, int, Any, int]]],
    ) -> tuple[int, int]:
        """Decode a run of alike notifications at ``at``: (how many, bytes), or (0, 0) when there is none."""
        handle, mask, code = _U32.unpack_from(body, at)[0], body[at + 4], body[at + 5]
        wire = WIRE_TYPES.get(code)
        if not mask & HAS_VALUE or wire is None or wire.dtype is None or left < RUN_MIN:
            return 0, 0
        if handle >= len(self.datatypes) or self._codes[handle] != wire.datatype:
            return 0, 0
        stride = 4 + fixed_size(mask, code)
        count = min(left, (len(body) - at) // stride)
        if count < RUN_MIN or body[at + stride + 4] != mask or body[at + stride + 5] != code:
            return 0, 0
        grid = flat[at : at + count * stride].reshape(count, stride)
        count = leading(grid[:, 4:6].view("<u2")[:, 0] == (mask | code << 8))
        tag = grid[:count, 0:4].view("<u4")[:, 0].astype(np.int64)
        count = leading(self._codes[np.minimum(tag, len(self.datatypes))] == wire.datatype)
        if count < RUN_MIN:
            return 0, 0
        _flush(loose, found)
        found.append(self._columns(grid[:count], mask, code, tag[:count].astype(np.int32), received_ns))
        return count, count * stride

    def _columns(
        self, grid: NDArray[np.uint8], mask: int, code: int, tag: NDArray[np.int32], received_ns: int
    ) -> SampleBatch:
        wire = WIRE_TYPES[code]
        assert wire.dtype is not None  # noqa: S101  callers checked
        width = wire.dtype.itemsize
        value: NDArray[Any] = grid[:, 6 : 6 + width].view(wire.dtype)[:, 0]
        if code == BOOLEAN:
            value = value != 0
        elif code == DATETIME:
            value = ticks_to_ns(value.astype(np.int64)) // 1_000_000
        else:
            value = value.astype(dtype_of(wire.datatype))
        where = places(mask, 6 + width)
        quality = None
        time_ns = _times(grid, where, received_ns)
        if HAS_STATUS in where:
            status = grid[:, where[HAS_STATUS] : where[HAS_STATUS] + 4].view("<u4")[:, 0]
            if status.any():
                quality = (status >> np.uint32(16)).astype(np.uint16)
                overflowed = (status & np.uint32(_OVERFLOW)) == _OVERFLOW
                if overflowed.any():
                    self._note_overflows(tag[overflowed].tolist(), time_ns[overflowed].tolist())
        return SampleBatch(wire.datatype, tag, time_ns, value, quality)

    def _texts(
        self,
        body: bytes,
        at: int,
        left: int,
        found: list[SampleBatch],
        loose: dict[DataType, list[tuple[int, int, Any, int]]],
    ) -> tuple[int, int]:
        """Decode good texts of one shape that follow each other from ``at`` on: (how many, bytes), or (0, 0)."""
        shape = body[at + 4]
        tail = TAILS[shape & TAIL_BITS]
        if body[at + 5] != STRING or not shape & HAS_VALUE or not tail.has_time or left < RUN_MIN:
            return 0, 0
        handles: list[int] = []
        ticks: list[int] = []
        texts: list[str] = []
        datatypes, shapes, known, end, start = self.datatypes, self._shapes, len(self.datatypes), len(body), at
        head, read, extra = _TEXT_HEAD.unpack_from, tail.status_and_ticks, tail.size
        while len(texts) < left and at + 10 <= end:
            handle, mask, code, length = head(body, at)
            tail_at = at + 10 + length
            if mask != shape or code != STRING or length < 0 or tail_at + extra > end:
                break
            status, time_ticks = read(body, tail_at)
            if (
                status
                or time_ticks <= 0
                or handle >= known
                or datatypes[handle] is not DataType.STRING
                or handle in shapes
            ):
                break
            handles.append(handle)
            ticks.append(time_ticks)
            texts.append(body[at + 10 : tail_at].decode("utf-8", "replace"))
            at = tail_at + extra
        if len(texts) < RUN_MIN:
            return 0, 0
        _flush(loose, found)
        value = np.empty(len(texts), object)
        value[:] = texts
        time_ns = ticks_to_ns(np.array(ticks, np.int64))
        found.append(SampleBatch(DataType.STRING, np.array(handles, np.int32), time_ns, value))
        return len(texts), at - start

    def _one(
        self,
        body: bytes,
        at: int,
        received_ns: int,
        loose: dict[DataType, list[tuple[int, int, Any, int]]],
    ) -> int:
        """Decode the notification at ``at``; how many bytes it has."""
        handle, mask = _U32.unpack_from(body, at)[0], body[at + 4]
        end, value = value_at(body, at + 5) if mask & HAS_VALUE else (at + 5, None)
        size, status, time_ns = rest_of_item(body, at, end, mask, received_ns)
        datatype = self.datatypes[handle] if handle < len(self.datatypes) else None
        if datatype is None:
            self.unknown_handles += 1
            return size
        shape = self._shapes.get(handle)
        if status & _OVERFLOW == _OVERFLOW:
            handles = [handle] if shape is None else [output.index for output in shape.outputs]
            self._note_overflows(handles, [time_ns] * len(handles))
        quality = status >> 16
        if shape is not None:
            self._parts(shape, value, quality, time_ns, loose)
            return size
        if isinstance(value, ua.Variant) or (value is not None and datatype is not DataType.STRING):
            value, quality = self._converted(handle, value, quality, datatype)
        if value is None and is_good(quality):
            quality = BAD
        loose.setdefault(datatype, []).append((handle, time_ns, value, quality))
        return size

    def _parts(
        self,
        shape: Shape,
        value: Any,
        quality: int,
        time_ns: int,
        loose: dict[DataType, list[tuple[int, int, Any, int]]],
    ) -> None:
        """The samples of the tags that one value is for."""
        for output, part, is_other in shape.values(value.Value if isinstance(value, ua.Variant) else value):
            if is_other:
                self.mismatched.add(output.index)
            without = BAD_TYPE_MISMATCH if is_other else BAD if is_good(quality) else quality
            row = (output.index, time_ns, part, quality if part is not None else without)
            loose.setdefault(output.datatype, []).append(row)

    def _note_overflows(self, tags: list[int], times_ns: list[int]) -> None:
        self._overflowed += zip(tags, times_ns, strict=True)
        self.overflows += len(tags)

    def _converted(self, handle: int, value: Any, quality: int, datatype: DataType) -> tuple[Any, int]:
        variant = value if isinstance(value, ua.Variant) else ua.Variant(value, ua.VariantType.String)
        if variant.Value is None:
            return None, quality
        try:
            return plain_value(variant, datatype), quality
        except (TypeError, ValueError, OverflowError):
            self.mismatched.add(handle)
            return None, BAD_TYPE_MISMATCH


def _flush(loose: dict[DataType, list[tuple[int, int, Any, int]]], found: list[SampleBatch]) -> None:
    """Turn the samples that were decoded one by one into batches, so that their order against runs is kept."""
    found.extend(batch_of_rows(datatype, rows) for datatype, rows in loose.items() if rows)
    loose.clear()


def _times(grid: NDArray[np.uint8], where: dict[int, int], received_ns: int) -> NDArray[np.int64]:
    ticks: NDArray[np.int64] | None = None
    for bit in (HAS_SOURCE_TIME, HAS_SERVER_TIME):
        if bit not in where:
            continue
        column = grid[:, where[bit] : where[bit] + 8].view("<i8")[:, 0].astype(np.int64)
        ticks = column if ticks is None else np.where(ticks > 0, ticks, column)
        if (ticks > 0).all():
            return ticks_to_ns(ticks)
    if ticks is None:
        return np.full(len(grid), received_ns, np.int64)
    return np.where(ticks > 0, ticks_to_ns(np.maximum(ticks, 1)), received_ns)
