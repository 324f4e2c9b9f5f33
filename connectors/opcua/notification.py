"""Data changes in bytes to samples in columns (OPC UA Part 4, 7.25.2; binary encoding of Part 6, 5.2).

A run of notifications with the same shape (same DataValue mask, same fixed-width type) has an equal stride and becomes
columns in one step, and shapes that take turns do so when each is gathered; anything else is walked through item by
item, its value decoded by asyncua, with the same result. Property tests hold all ways to asyncua's own reading.
"""

from __future__ import annotations

import struct
from typing import Any, Final

import numpy as np
from asyncua import ua
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, dtype_of
from connectors.model.quality import BAD, BAD_INDEX_RANGE_NO_DATA, BAD_TYPE_MISMATCH, is_good
from connectors.model.samples import SampleBatch, batch_of_rows
from connectors.opcua.data_values import HAS_VALUE, TAIL_BITS, TAILS, leading, rest_of_item, value_at
from connectors.opcua.item_layouts import ItemLayout, layout_of
from connectors.opcua.shapes import Shape
from connectors.opcua.wire_types import STRING, plain_value, ticks_to_ns

RUN_MIN: Final = 8
INTERLEAVED_MIN: Final = 32
"""So many make up for what it costs to gather them."""

_OVERFLOW: Final = 0x0480
"""Info type DataValue and the Overflow bit of a status code (Part 4, 7.39.1)."""

_TEXT_HEAD: Final = struct.Struct("<IBBi")
"""Client handle, DataValue mask, variant type, length of the text."""
_HEAD: Final = struct.Struct("<IH")
"""Client handle, and what follows it: the shape, see ``item_layouts``."""
_NO_RUN: Final = np.zeros((0, 3), np.uint16), np.zeros(0, np.int32)
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
        self._tags: dict[DataType, NDArray[np.int32]] = {}
        """Of each type those that came together last; of what is bound now."""
        self._runs: dict[int, tuple[NDArray[np.uint16], NDArray[np.int32]]] = {}
        """Of each shape the heads of the last run, and its tags; of what is bound now."""

    def bind(self, tag: int, datatype: DataType) -> None:
        """Values of ``tag`` are of this type from now on."""
        self._shapes.pop(tag, None)
        self._forget_runs()
        self.datatypes[tag] = datatype
        self._codes[tag] = datatype
        self.mismatched.discard(tag)

    def bind_shape(self, tag: int, shape: Shape) -> None:
        """Values of ``tag`` are for the tags that ``shape`` names, from now on."""
        for output in shape.outputs:
            self.bind(output.index, output.datatype)
        self._codes[tag] = 0  # its values are never those of a run
        self._forget_runs()
        self._shapes[tag] = shape

    def unbind(self, tag: int) -> None:
        """Values of ``tag`` are passed over from now on."""
        self._shapes.pop(tag, None)
        self._forget_runs()
        self.datatypes[tag] = None
        self._codes[tag] = 0
        self.mismatched.discard(tag)

    def _forget_runs(self) -> None:
        self._tags.clear()
        self._runs.clear()

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
        at, left = 4, _I32.unpack_from(body, 0)[0]
        while left > 0:
            taken, size = self._run(body, at, left, received_ns, found, loose)
            if taken == 0:
                taken, size = self._texts(body, at, left, found, loose)
            if taken == 0:
                taken, size = self._interleaved(body, at, left, received_ns, found, loose)
            at += size
            left -= taken
        _flush(loose, found)
        return found

    def _run(
        self,
        body: bytes,
        at: int,
        left: int,
        received_ns: int,
        found: list[SampleBatch],
        loose: dict[DataType, list[tuple[int, int, Any, int]]],
    ) -> tuple[int, int]:
        """Decode a run of alike notifications at ``at``: (how many, bytes), or (0, 0) when there is none."""
        handle, shape = _HEAD.unpack_from(body, at)
        layout = layout_of(shape & 0xFF, shape >> 8) if left >= RUN_MIN else None
        if layout is None or handle >= len(self.datatypes) or self._codes[handle] != layout.wire.datatype:
            return 0, 0
        count = min(left, (len(body) - at) // layout.size)
        heads, tag = self._runs.get(shape, _NO_RUN)
        if 0 < len(tag) <= count:
            items = np.frombuffer(body, layout.dtype, len(tag), at)
            if not np.count_nonzero(items["head"] != heads):  # the same tags again, as nearly always
                _flush(loose, found)
                found.append(self._columns(items, layout, tag, received_ns))
                return len(tag), len(tag) * layout.size
        if count < RUN_MIN or _HEAD.unpack_from(body, at + layout.size)[1] != shape:
            return 0, 0
        items = np.frombuffer(body, layout.dtype, count, at)
        items = _first(items, leading(items["shape"] == shape))
        tag = self._tags_of(items, layout)
        if len(tag) < RUN_MIN:
            return 0, 0
        _flush(loose, found)
        items = _first(items, len(tag))
        self._runs[shape] = items["head"].copy(), tag
        found.append(self._columns(items, layout, tag, received_ns))
        return len(tag), len(tag) * layout.size

    def _tags_of(self, items: NDArray[Any], layout: ItemLayout) -> NDArray[np.int32]:
        """The tags of ``items`` up to the first that is not of their type; the same array as long as they stay so."""
        handle, datatype = items["handle"], layout.wire.datatype
        before = self._tags.get(datatype)
        if before is not None and len(before) == len(handle) and not np.count_nonzero(before != handle):
            return before
        known = np.minimum(handle, len(self.datatypes))
        count = leading(self._codes[known] == datatype)
        tag: NDArray[np.int32] = known[:count].astype(np.int32)
        tag.flags.writeable = False
        self._tags[datatype] = tag
        return tag

    def _columns(
        self, items: NDArray[Any], layout: ItemLayout, tag: NDArray[np.int32], received_ns: int
    ) -> SampleBatch:
        datatype = layout.wire.datatype
        value: NDArray[Any] = items["value"]
        if datatype is DataType.BOOLEAN:
            value = value != 0
        elif datatype is DataType.DATETIME:
            value = ticks_to_ns(value.astype(np.int64)) // 1_000_000
        else:
            value = value.astype(dtype_of(datatype))
        quality = None
        time_ns = layout.times_ns(items, received_ns)
        if layout.has_status and np.count_nonzero(status := items["status"]):
            quality = (status >> np.uint32(16)).astype(np.uint16)
            overflowed = (status & np.uint32(_OVERFLOW)) == _OVERFLOW
            if overflowed.any():
                self._note_overflows(tag[overflowed].tolist(), time_ns[overflowed].tolist())
        return SampleBatch(datatype, tag, time_ns, value, quality)

    def _texts(
        self,
        body: bytes,
        at: int,
        left: int,
        found: list[SampleBatch],
        loose: dict[DataType, list[tuple[int, int, Any, int]]],
    ) -> tuple[int, int]:
        """Decode good texts that follow each other from ``at`` on: (how many, bytes), or (0, 0)."""
        if body[at + 5] != STRING or left < RUN_MIN:
            return 0, 0
        texts: list[tuple[int, int, str]] = []
        begun = at
        while len(texts) < left and (end := self._text(body, at, texts)):
            at = end
        if len(texts) < RUN_MIN:
            return 0, 0
        _flush(loose, found)
        found.append(_batch_of_texts(texts))
        return len(texts), at - begun

    def _text(self, body: bytes, at: int, texts: list[tuple[int, int, str]]) -> int:
        """Put (tag, ticks, text) of the good text at ``at`` to the others; where it ends, 0 when there is none."""
        if at + _TEXT_HEAD.size > len(body):
            return 0
        handle, mask, code, length = _TEXT_HEAD.unpack_from(body, at)
        if code != STRING or not mask & HAS_VALUE or length < 0 or handle >= len(self.datatypes):
            return 0
        if self.datatypes[handle] is not DataType.STRING or handle in self._shapes:
            return 0
        tail, tail_at = TAILS[mask & TAIL_BITS], at + _TEXT_HEAD.size + length
        if not tail.has_time or tail_at + tail.size > len(body):
            return 0
        status, ticks = tail.status_and_ticks(body, tail_at)
        if status or ticks <= 0:
            return 0
        texts.append((handle, ticks, body[at + _TEXT_HEAD.size : tail_at].decode("utf-8", "replace")))
        return int(tail_at + tail.size)

    def _interleaved(
        self,
        body: bytes,
        at: int,
        left: int,
        received_ns: int,
        found: list[SampleBatch],
        loose: dict[DataType, list[tuple[int, int, Any, int]]],
    ) -> tuple[int, int]:
        """Decode notifications of several shapes in any order, from ``at`` on: (how many, bytes), one at least.

        Those of each shape are gathered. Where there are few of them, or one is out of the ordinary, all that were
        gone through are decoded one by one.
        """
        starts: dict[int, list[int]] = {}
        texts: list[tuple[int, int, str]] = []
        begun, taken = at, 0
        most = left if left >= INTERLEAVED_MIN else 1
        while taken < most and at + _HEAD.size <= len(body):
            shape = _HEAD.unpack_from(body, at)[1]
            layout = layout_of(shape & 0xFF, shape >> 8)
            if layout is not None:
                end = at + layout.size
                if end > len(body):
                    break
                starts.setdefault(shape, []).append(at)
            elif not (end := self._text(body, at, texts)):
                break
            at, taken = end, taken + 1
        gathered = self._gathered(body, starts) if taken >= INTERLEAVED_MIN else None
        if gathered is None:
            at, taken = begun, max(1, taken)
            for _ in range(taken):
                at += self._one(body, at, received_ns, loose)
            return taken, at - begun
        _flush(loose, found)
        found += [self._columns(items, layout, tag, received_ns) for items, layout, tag in gathered]
        found += [_batch_of_texts(texts)] if texts else []
        return taken, at - begun

    def _gathered(
        self, body: bytes, starts: dict[int, list[int]]
    ) -> list[tuple[NDArray[Any], ItemLayout, NDArray[np.int32]]] | None:
        """The notifications of each shape, with their tags; ``None`` when one is not of the type that its tag has.

        Or when a type comes in two shapes: then their order says which sample of a tag is the later one.
        """
        flat = np.frombuffer(body, np.uint8)
        found: list[tuple[NDArray[Any], ItemLayout, NDArray[np.int32]]] = []
        types: set[DataType] = set()
        for shape, begins in starts.items():
            layout = layout_of(shape & 0xFF, shape >> 8)
            assert layout is not None  # noqa: S101  it was there when the shape was met first
            rows = flat[np.array(begins)[:, None] + np.arange(layout.size)]
            items = rows.view(layout.dtype)[:, 0]
            tag = self._tags_of(items, layout)
            if len(tag) < len(items) or layout.wire.datatype in types:
                return None
            types.add(layout.wire.datatype)
            found.append((items, layout, tag))
        return found

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
            absent = BAD_INDEX_RANGE_NO_DATA if output.part and value is not None else BAD
            without = BAD_TYPE_MISMATCH if is_other else absent if is_good(quality) else quality
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


def _first(items: NDArray[Any], count: int) -> NDArray[Any]:
    return items if count == len(items) else items[:count]


def _batch_of_texts(texts: list[tuple[int, int, str]]) -> SampleBatch:
    tags, ticks, values = zip(*texts, strict=True)
    value = np.empty(len(texts), object)
    value[:] = values
    return SampleBatch(DataType.STRING, np.array(tags, np.int32), ticks_to_ns(np.array(ticks, np.int64)), value)
