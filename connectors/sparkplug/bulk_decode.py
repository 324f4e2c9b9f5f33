"""Sparkplug metrics in bytes to samples in columns: the other half of ``bulk_encode``.

Metrics of the same layout (same length, same fields in the same order, varints of the same width) are decoded together
with a few NumPy operations; whatever is left over is decoded by the protobuf library, one metric at a time, with the
same result. Which bytes a sender chose therefore never changes what is stored, only what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from connectors.model.datatypes import DataType, dtype_of
from connectors.model.errors import PayloadInvalid
from connectors.model.samples import SampleBatch, batch_of_rows, concatenate
from connectors.sparkplug import sparkplug_b_pb2 as pb
from connectors.sparkplug.bulk_encode import NS_PER_MS, NS_PER_TICK
from connectors.sparkplug.metric_value import metric_value

GROUP_MIN: Final = 24
"""Fewer metrics of one layout than this are decoded one by one: NumPy's fixed cost would not pay."""

LAYOUTS_MAX: Final = 4
"""So many layouts of metrics of one length are tried before the rest is decoded one by one."""

TIME_MS_LIMIT: Final = (1 << 63) // NS_PER_MS - 1
"""Source times beyond this many milliseconds from 1970 (years 1677 and 2262) do not fit nanoseconds in int64."""


class AliasTypes:
    """The data types behind the aliases of a definition, as a table that NumPy can index."""

    def __init__(self, datatypes: Mapping[int, DataType]) -> None:
        self._base = min(datatypes, default=0)
        size = max(datatypes, default=-1) - self._base + 1
        if size > 1 << 24:
            raise PayloadInvalid(f"the aliases of a definition spread over {size} numbers; 16,777,216 is the limit")
        self._table = np.zeros(max(size, 0) + 1, np.uint8)
        for alias, datatype in datatypes.items():
            self._table[alias - self._base] = datatype

    def of(self, alias: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The data type number behind each alias. Raises ``PayloadInvalid`` naming the first unknown alias."""
        at = alias - self._base
        if at.min() < 0 or at.max() >= len(self._table):
            at = np.where((at < 0) | (at >= len(self._table)), len(self._table) - 1, at)
        found = self._table[at]
        if not found.all():
            raise PayloadInvalid(f"unknown alias {int(alias[np.flatnonzero(found == 0)[0]])}")
        return found

    def one(self, alias: int) -> DataType:
        """The data type behind one alias. Raises ``PayloadInvalid`` when it is unknown."""
        at = alias - self._base
        if not 0 <= at < len(self._table) or not self._table[at]:
            raise PayloadInvalid(f"unknown alias {alias}")
        return DataType(int(self._table[at]))


def decode_metrics(
    body: bytes,
    types: AliasTypes,
    ticks: NDArray[np.uint16] | None = None,
    seams: Sequence[tuple[int, int]] = (),
) -> list[SampleBatch]:
    """The samples in ``body``, a sequence of ``Payload.metrics`` fields and nothing else.

    ``ticks`` (one a metric, units of 100 ns) completes the millisecond timestamps. The batches hold aliases in
    ``tag``; one data type may have several batches, and the order of samples is kept within each data type.

    ``seams`` says where several messages were joined: how many metrics, and how many bytes, come before each seam.

    Raises ``PayloadInvalid`` when the bytes are not metrics, an alias is unknown, a metric has no timestamp, a seam is
    not between the metrics that it says, or the number of ``ticks`` does not fit.
    """
    decoder = _Decoder(body, types, seams)
    decoder.run()
    if ticks is not None and len(ticks) != decoder.count:
        raise PayloadInvalid(f"{len(ticks)} sub-millisecond ticks for {decoder.count} metrics")
    return decoder.batches(ticks)


class _Decoder:
    def __init__(self, body: bytes, types: AliasTypes, seams: Sequence[tuple[int, int]]) -> None:
        self._body = body
        self._seams = seams
        self._types = types
        self._parts: dict[DataType, list[tuple[NDArray[np.int64], SampleBatch]]] = {}
        self._loose: dict[DataType, list[tuple[int, int, Any, int]]] = {}
        self._loose_at: dict[DataType, list[int]] = {}
        self.count = 0

    def run(self) -> None:
        """Find where each metric begins, then decode those of one length together."""
        body = self._body
        if not body:
            return
        stride = self._stride()
        if stride:
            self.count = len(body) // stride
            self._check_seams(all(at == metrics * stride for metrics, at in self._seams))
            head = 2 if stride < 130 else 3
            grid = np.frombuffer(body, np.uint8).reshape(self.count, stride)
            left = self._take_alike(grid, np.arange(self.count), head)
            for position in left.tolist():
                self._take_one(position, position * stride + head, stride - head)
            return
        starts, sizes = _metric_places(body)
        self.count = len(starts)
        self._check_seams(all(_is_seam(starts, sizes, metrics, at) for metrics, at in self._seams))
        at, size_of = np.array(starts, np.int64), np.array(sizes, np.int64)
        flat = np.frombuffer(body, np.uint8)
        for size in np.flatnonzero(np.bincount(np.minimum(size_of, 4096)) >= GROUP_MIN).tolist():
            chosen = np.flatnonzero(size_of == size)
            if size < 4096 and len(chosen):
                grid = flat[at[chosen][:, None] + np.arange(size)]
                left = self._take_alike(grid, chosen, 0)
                size_of[np.setdiff1d(chosen, left, assume_unique=True)] = -1
        for position in np.flatnonzero(size_of >= 0).tolist():
            self._take_one(position, starts[position], sizes[position])

    def _check_seams(self, fit: bool) -> None:
        if not fit:
            raise PayloadInvalid("a message has another number of metrics than it says")

    def _stride(self) -> int:
        """The length of every metric with its head, if all are as long as the first one, else 0."""
        body = self._body
        size, width = _read_varint(body, 1)
        stride = 1 + width + size
        if width > 2 or len(body) % stride or len(body) < stride * GROUP_MIN:
            return 0
        head = body[: 1 + width]
        if body[0] != 0x12 or any(body[k::stride].count(head[k]) * stride != len(body) for k in range(1 + width)):
            return 0
        return stride

    def _take_alike(self, grid: NDArray[np.uint8], positions: NDArray[np.int64], head: int) -> NDArray[np.int64]:
        """Decode the metrics in the rows of ``grid``, layout by layout; the positions that are left over.

        In each row ``head`` bytes (field tag and length) come before the metric.
        """
        for _ in range(LAYOUTS_MAX):
            if len(positions) < GROUP_MIN:
                break
            layout = _layout(grid[0].tobytes(), head)
            if layout is None:
                break
            fits = layout.fits(grid)
            if fits is None:
                return positions[:0] if self._take(grid, positions, layout) else positions
            if fits.sum() < GROUP_MIN or not self._take(grid[fits], positions[fits], layout):
                break
            grid, positions = grid[~fits], positions[~fits]
        return positions

    def _take(self, grid: NDArray[np.uint8], positions: NDArray[np.int64], layout: _Layout) -> bool:
        """Decode metrics that share ``layout``; false, and nothing done, when the field does not fit the type."""
        alias, milliseconds = layout.numbers(grid)
        types = self._types.of(alias)
        first = int(types[0])
        numbers = [first] if (types == first).all() else np.unique(types).tolist()
        found: list[tuple[NDArray[np.int64], SampleBatch]] = []
        time_ns = _to_ns(milliseconds)
        for number in numbers:
            datatype = DataType(number)
            if len(numbers) == 1:
                value = _values(grid, layout, datatype)
                batch = None if value is None else SampleBatch(datatype, alias.astype(np.int32), time_ns, value)
                chosen_positions = positions
            else:
                chosen = np.flatnonzero(types == number)
                value = _values(grid[chosen], layout, datatype)
                tag, time = alias[chosen].astype(np.int32), time_ns[chosen]
                batch = None if value is None else SampleBatch(datatype, tag, time, value)
                chosen_positions = positions[chosen]
            if batch is None:
                return False
            found.append((chosen_positions, batch))
        for at, batch in found:
            self._parts.setdefault(batch.datatype, []).append((at, batch))
        return True

    def _take_one(self, position: int, at: int, size: int) -> None:
        try:
            metric = pb.Metric.FromString(self._body[at : at + size])
        except DecodeError as exc:
            raise PayloadInvalid(f"the metric at byte {at} is not a Sparkplug metric") from exc
        if not metric.HasField("alias"):
            raise PayloadInvalid(f"the metric {metric.name[:80]!r} at byte {at} has no alias")
        if not metric.HasField("timestamp"):
            raise PayloadInvalid(f"the metric with alias {metric.alias} has no timestamp")
        alias = min(metric.alias, 1 << 62)
        datatype = self._types.one(alias)
        value, quality = metric_value(metric, datatype)
        self._loose.setdefault(datatype, []).append((alias, _one_to_ns(metric.timestamp), value, quality))
        self._loose_at.setdefault(datatype, []).append(position)

    def batches(self, ticks: NDArray[np.uint16] | None) -> list[SampleBatch]:
        for datatype, rows in self._loose.items():
            positions = np.array(self._loose_at[datatype], np.int64)
            self._parts.setdefault(datatype, []).append((positions, batch_of_rows(datatype, rows)))
        return [_in_order(parts, ticks) for parts in self._parts.values()]


def _in_order(parts: list[tuple[NDArray[np.int64], SampleBatch]], ticks: NDArray[np.uint16] | None) -> SampleBatch:
    batch = concatenate([part for _, part in parts])
    positions = np.concatenate([at for at, _ in parts])
    if len(parts) > 1 and (np.diff(positions) < 0).any():
        order = np.argsort(positions)
        positions, batch = positions[order], batch.select(order)
    return batch if ticks is None else _with_ticks(batch, ticks[positions])


def _metric_places(body: bytes) -> tuple[list[int], list[int]]:
    """(where the bytes of each metric begin, how many there are). Raises ``PayloadInvalid``."""
    starts: list[int] = []
    sizes: list[int] = []
    at, end = 0, len(body)
    while at < end:
        if body[at] != 0x12:
            raise PayloadInvalid(f"expected a metric at byte {at}, found field tag 0x{body[at]:02X}")
        size, width = (body[at + 1], 1) if at + 1 < end and body[at + 1] < 0x80 else _read_varint(body, at + 1)
        at += 1 + width
        starts.append(at)
        sizes.append(size)
        at += size
    if at != end:
        raise PayloadInvalid(f"the last metric ends at byte {at}, but there are only {end}")
    return starts, sizes


def _is_seam(starts: list[int], sizes: list[int], metrics: int, at: int) -> bool:
    if not 0 < metrics <= len(starts):
        return metrics == at == 0
    return starts[metrics - 1] + sizes[metrics - 1] == at


def _with_ticks(batch: SampleBatch, ticks: NDArray[np.uint16]) -> SampleBatch:
    time_ns = batch.time_ns + ticks.astype(np.int64) * NS_PER_TICK
    return SampleBatch(batch.datatype, batch.tag, time_ns, batch.value, batch.quality, batch.null)


def _to_ns(milliseconds: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.clip(milliseconds, -TIME_MS_LIMIT, TIME_MS_LIMIT) * NS_PER_MS


def _one_to_ns(milliseconds: int) -> int:
    signed = milliseconds - (1 << 64) if milliseconds >> 63 else milliseconds
    return max(-TIME_MS_LIMIT, min(TIME_MS_LIMIT, signed)) * NS_PER_MS


_WEIGHTS: Final = np.array([float(1 << (7 * k)) for k in range(7)])
"""A varint of up to seven bytes (49 bits) is exact as a sum of products in double precision."""


class _Layout:
    """Where alias, timestamp and value of a metric lie, and which bits all metrics of one layout share."""

    __slots__ = ("_bits", "_mask", "_numbers", "_weights", "value", "value_field")

    def __init__(
        self, fixed: list[tuple[int, int, int]], size: int, alias: slice, timestamp: slice, value: slice, field: int
    ) -> None:
        self.value, self.value_field = value, field
        self._mask, self._bits = bytearray(size), bytearray(size)
        for at, mask, bits in fixed:
            self._mask[at], self._bits[at] = mask, bits
        self._numbers = slice(min(alias.start, timestamp.start), max(alias.stop, timestamp.stop))
        self._weights = np.zeros((self._numbers.stop - self._numbers.start, 2))
        for column, span in ((0, alias), (1, timestamp)):
            for k, row in enumerate(range(span.start - self._numbers.start, span.stop - self._numbers.start)):
                self._weights[row, column] = _WEIGHTS[k]

    def fits(self, grid: NDArray[np.uint8]) -> NDArray[np.bool_] | None:
        """Which rows have this layout; ``None`` when all have, which is cheap to find out."""
        rows = len(grid)
        mask, bits = np.frombuffer(self._mask * rows, np.uint8), np.frombuffer(self._bits * rows, np.uint8)
        same = (np.ascontiguousarray(grid).reshape(-1) & mask) == bits
        if same.all():
            return None
        fits: NDArray[np.bool_] = same.reshape(grid.shape).all(axis=1)
        return fits

    def numbers(self, grid: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(aliases, milliseconds) of the rows."""
        parts = (grid[:, self._numbers] & np.uint8(0x7F)).astype(np.float64)
        both = (parts @ self._weights).astype(np.int64)
        return both[:, 0], both[:, 1]


_FIXED_WIDTHS: Final = {12: 4, 13: 8}
_WIRE_TYPES: Final = {2: 0, 3: 0, 4: 0, 5: 0, 10: 0, 11: 0, 12: 5, 13: 1, 14: 0}


def _layout(row: bytes, head: int) -> _Layout | None:
    """The layout of the metric after ``head`` bytes, or ``None`` when only the protobuf library shall read it."""
    at, end = head, len(row)
    fixed: list[tuple[int, int, int]] = [(k, 0xFF, row[k]) for k in range(head)]
    spans: dict[int, slice] = {}
    while at < end:
        field, wire = row[at] >> 3, row[at] & 7
        if _WIRE_TYPES.get(field) != wire or field in spans:
            return None
        fixed.append((at, 0xFF, row[at]))
        at += 1
        width = _FIXED_WIDTHS.get(field) or _varint_width(row, at)
        if field not in _FIXED_WIDTHS:
            fixed += [(at + k, 0x80, row[at + k] & 0x80) for k in range(min(width, end - at))]
        spans[field] = slice(at, at + width)
        at += width
    values = [field for field in spans if field >= 10]
    if at != end or {2, 3} - spans.keys() or len(values) != 1:
        return None
    alias, timestamp = spans[2], spans[3]
    if alias.stop - alias.start > 4 or timestamp.stop - timestamp.start > len(_WEIGHTS):
        return None
    return _Layout(fixed, end, alias, timestamp, spans[values[0]], values[0])


def _varint_width(metric: bytes, at: int) -> int:
    """Bytes of the varint at ``at``; more than there are when it is cut off."""
    for width in range(1, 11):
        if at + width > len(metric) or metric[at + width - 1] < 0x80:
            return width
    return len(metric)


def _read_varint(body: bytes, at: int) -> tuple[int, int]:
    value = 0
    for width in range(10):
        if at + width >= len(body):
            raise PayloadInvalid(f"the number at byte {at} is cut off")
        byte = body[at + width]
        value |= (byte & 0x7F) << (7 * width)
        if byte < 0x80:
            return value, width + 1
    raise PayloadInvalid(f"the number at byte {at} is longer than ten bytes")


def _varints(grid: NDArray[np.uint8]) -> NDArray[np.uint64]:
    value = np.zeros(len(grid), np.uint64)
    for position in range(grid.shape[1]):
        value |= (grid[:, position] & np.uint8(0x7F)).astype(np.uint64) << np.uint64(7 * position)
    return value


def _values(grid: NDArray[np.uint8], layout: _Layout, datatype: DataType) -> NDArray[Any] | None:
    """The value column, or ``None`` when the wire field is not one that the data type may use (decode one by one)."""
    dtype = dtype_of(datatype)
    field = layout.value_field
    if (field, datatype) in ((13, DataType.DOUBLE), (12, DataType.FLOAT)):
        column: NDArray[Any] = grid[:, layout.value].view(f"<f{_FIXED_WIDTHS[field]}")[:, 0]
        return column.astype(dtype)
    value: NDArray[Any] | None = None
    if field == 14 and datatype is DataType.BOOLEAN:
        value = _varints(grid[:, layout.value]) != 0
    elif field in (10, 11) and dtype.kind in "iu":
        # A signed number of 32 bits and fewer is a two's complement: cutting the upper bits off restores it.
        value = _varints(grid[:, layout.value]).astype(dtype)
    return value
