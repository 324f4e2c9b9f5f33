"""The replies of a scan to columns of samples, by index arrays that are computed once.

The data bytes of all blocks lie one after the other in one area. For each data type one gather takes the bytes of all
its tags out of the area, already in the order of this machine; what a poll costs does not grow with a Python step
per tag or per register.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.modbus.exception_codes import REFUSALS, meaning_of
from connectors.modbus.orders import BYTES_SWAPPED, registers_by_weight
from connectors.modbus.plan import Block, PlannedTag
from connectors.model.datatypes import DataType, dtype_of
from connectors.model.quality import BAD, BAD_DECODING_ERROR, GOOD, UNCERTAIN
from connectors.model.samples import SampleBatch, UInt16Array, rows_of
from connectors.model.scaling import ratio_of

NOT_READ: Final = -1
"""What became of a block in a scan: 0 when it was answered, the exception code of the unit, or this."""

_FACTOR_MAX: Final = 1e280
"""A whole number of 64 bits, times less than this, is far from an overflow."""

Area = NDArray[np.uint8]
IndexArray = NDArray[np.intp]


class DecodePlan:
    """How the replies of some blocks become samples.

    ``area`` is where the data bytes of block ``i`` (what follows the byte count of its reply) are put, from
    ``starts[i]`` on. Batches share their tag column from poll to poll, so it is read-only; every other column is new.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        # Every block begins at an even byte, so that registers can be gathered as 16-bit words.
        *starts, size = accumulate((block.byte_count + block.byte_count % 2 for block in blocks), initial=0)
        self.starts: tuple[int, ...] = tuple(starts)
        self.area: Area = np.zeros(size, np.uint8)
        by_type: dict[DataType, list[tuple[int, PlannedTag]]] = defaultdict(list)
        for number, block in enumerate(blocks):
            for tag in block.tags:
                by_type[tag.reported].append((number, tag))
        self._columns = [_TypeColumns(by_type[kind], blocks, self.starts, self.area) for kind in sorted(by_type)]

    def decode(self, codes: Sequence[int], arrived_ns: Sequence[int]) -> list[SampleBatch]:
        """The samples of one scan, one batch a data type.

        ``codes[i]`` says what became of block ``i``, ``arrived_ns[i]`` when its reply arrived. The tags of a block
        that was not read, or that the unit refuses, have no samples; those of any other exception have samples
        without a value and with the quality that fits the exception.
        """
        arrived = np.array(arrived_ns, np.int64)
        if not any(codes):
            return [columns.good(arrived) for columns in self._columns]
        given = np.array([code != NOT_READ and code not in REFUSALS for code in codes], np.bool_)
        quality = np.array([meaning_of(code).quality if code > 0 else 0 for code in codes], np.uint16)
        batches = [columns.mixed(arrived, given, quality) for columns in self._columns]
        return [batch for batch in batches if len(batch)]


class _TypeColumns:
    """All tags of a plan that are reported with one data type."""

    def __init__(
        self, members: Sequence[tuple[int, PlannedTag]], blocks: Sequence[Block], starts: Sequence[int], area: Area
    ) -> None:
        parts: dict[tuple[object, ...], list[tuple[int, PlannedTag]]] = defaultdict(list)
        for number, tag in members:
            swaps_bytes = tag.order in BYTES_SWAPPED
            parts[tag.datatype, tag.is_scaled, swaps_bytes, tag.encoding, tag.texts is None].append((number, tag))
        self._datatype = members[0][1].reported
        self._parts: list[_Part] = []
        ordered: list[tuple[int, PlannedTag]] = []
        for part in parts.values():
            self._parts.append(_column_of([_Place(blocks[number], starts[number], tag) for number, tag in part], area))
            ordered += part
        self._tag = np.array([tag.index for _number, tag in ordered], np.int32)
        self._tag.flags.writeable = False
        self._block: IndexArray = np.array([number for number, _tag in ordered], np.intp)
        self._judges = any(part.judges for part in self._parts)

    def good(self, arrived: NDArray[np.int64]) -> SampleBatch:
        """The samples when every block was answered."""
        if self._judges:
            return self.mixed(arrived, np.ones(len(arrived), np.bool_), np.zeros(len(arrived), np.uint16))
        return SampleBatch(self._datatype, self._tag, arrived.take(self._block), self._values())

    def mixed(self, arrived: NDArray[np.int64], given: NDArray[np.bool_], quality: NDArray[np.uint16]) -> SampleBatch:
        """The samples when some blocks have none (``given`` is false) or a ``quality`` instead of values."""
        qualities = quality.take(self._block)
        value = self._values()
        if self._judges:
            own = np.concatenate([part.quality() for part in self._parts])
            qualities = np.where(qualities == GOOD, own, qualities)
        null = qualities >= BAD
        value[null] = "" if value.dtype == np.dtype(object) else 0
        every = SampleBatch(self._datatype, self._tag, arrived.take(self._block), value, qualities, null)
        return every.select(given.take(self._block))

    def _values(self) -> NDArray[Any]:
        if len(self._parts) == 1:
            return self._parts[0].values()
        return np.concatenate([part.values() for part in self._parts])


class _Place:
    """Where in the area one tag lies."""

    def __init__(self, block: Block, start: int, tag: PlannedTag) -> None:
        self.tag = tag
        self.swaps_bytes = tag.order in BYTES_SWAPPED
        self._distance = tag.address - block.address
        self._start = start
        self._in_bits = block.is_bits

    def words(self) -> list[int]:
        """Positions of the registers of a number, counted in words.

        The most significant one is first, or last where the unit sends the low byte of a register first: either way
        the bytes then follow each other as in one plain big-endian, or little-endian, number.
        """
        first = self._start // 2 + self._distance
        words = [first + at for at in registers_by_weight(self.tag.order, self.tag.count)]
        return words[::-1] if self.swaps_bytes else words

    def characters(self) -> list[int]:
        """Positions of the bytes of a string; their order within a register follows the order of the tag."""
        at = self._start + self._distance * 2
        return [at + (position ^ self.swaps_bytes) for position in range(self.tag.length_bytes)]

    def bit(self) -> tuple[int, int]:
        """The position of the byte that holds the bit, and the mask of the bit in it."""
        if self._in_bits:
            return self._start + self._distance // 8, 1 << self._distance % 8
        number = self.tag.bit or 0
        in_high_byte = number >= 8
        return self._start + self._distance * 2 + (in_high_byte == self.swaps_bytes), 1 << number % 8


class _Part:
    """Values of the same kind, which are decoded together."""

    judges = False
    """Whether values may have a quality of their own, though the unit has answered."""

    def __init__(self, places: Sequence[_Place]) -> None:
        self.count = len(places)

    def values(self) -> NDArray[Any]:
        """The column as the area is now."""
        raise NotImplementedError

    def quality(self) -> UInt16Array:
        """Of the values that were made last."""
        return np.zeros(self.count, np.uint16)


class _Numbers(_Part):
    """Numbers of one data type, all scaled or none, all with the same order of the bytes in a register."""

    def __init__(self, places: Sequence[_Place], area: Area) -> None:
        super().__init__(places)
        tags = [place.tag for place in places]
        self._dtype = dtype_of(tags[0].datatype)
        sent = np.dtype(np.float16) if tags[0].encoding == "half" else self._dtype
        self._sent_dtype = sent.newbyteorder("<" if places[0].swaps_bytes else ">")
        self._area = area.view(np.uint16)
        self._words = rows_of(np.array([place.words() for place in places], np.intp).reshape(-1))
        self._ratio: _RatioColumns | None = None
        if tags[0].is_scaled:
            self._ratio = _RatioColumns(tags, is_whole=self._dtype.kind in "iu")

    def values(self) -> NDArray[Any]:
        raw = self._raw()
        return raw if self._ratio is None else self._ratio.scaled(raw)

    def _raw(self) -> NDArray[Any]:
        words = np.ascontiguousarray(self._area[self._words])
        raw: NDArray[Any] = words.view(self._sent_dtype).astype(self._dtype)  # a copy: the next poll fills the area
        return raw


class _RatioColumns:
    """Scale and offset of several numbers of one data type; see ``connectors.model.scaling``."""

    def __init__(self, tags: Sequence[PlannedTag], *, is_whole: bool) -> None:
        ratios = [ratio_of(tag.scale, tag.scaling_offset) for tag in tags]
        self._factor = np.array([ratio.factor for ratio in ratios])
        self._addend = np.array([ratio.addend for ratio in ratios])
        self._divisor = np.array([ratio.divisor for ratio in ratios])
        self._has_end = is_whole and bool((np.abs(self._factor) < _FACTOR_MAX).all())

    def scaled(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        """``raw`` in engineering units."""
        if self._has_end:
            return self._computed(raw)
        # A register may hold any bits: an infinity, a signalling NaN or an overflow is a value, not a mistake of ours.
        with np.errstate(invalid="ignore", over="ignore"):
            return self._computed(raw)

    def _computed(self, raw: NDArray[Any]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = raw * self._factor
        scaled += self._addend
        scaled /= self._divisor
        return scaled


class _Decimals(_Numbers):
    """Numbers whose decimal digits take four bits each; what is no digit makes no number."""

    judges = True

    def _raw(self) -> NDArray[Any]:
        rest = super()._raw().astype(np.uint64)
        number = np.zeros(self.count, np.uint64)
        self._is_odd = np.zeros(self.count, np.bool_)
        for place in range(2 * self._dtype.itemsize):
            digit = rest & np.uint64(15)
            self._is_odd |= digit > 9
            number += digit * np.uint64(10**place)
            rest >>= np.uint64(4)
        number[self._is_odd] = 0
        return number.astype(self._dtype)

    def quality(self) -> UInt16Array:
        return np.where(self._is_odd, np.uint16(BAD_DECODING_ERROR), np.uint16(GOOD))


class _Bits(_Part):
    """Bits of registers, coils and discrete inputs."""

    def __init__(self, places: Sequence[_Place], area: Area) -> None:
        super().__init__(places)
        bits = [place.bit() for place in places]
        self._area = area
        self._bytes: IndexArray = np.array([position for position, _mask in bits], np.intp)
        self._masks = np.array([mask for _position, mask in bits], np.uint8)

    def values(self) -> NDArray[Any]:
        value: NDArray[Any] = (self._area.take(self._bytes) & self._masks) != 0
        return value


class _Named(_Part):
    """Numbers or bits that stand for texts. One without a text is shown as it is, and uncertain."""

    judges = True

    def __init__(self, numbers: _Part, places: Sequence[_Place]) -> None:
        super().__init__(places)
        self._numbers = numbers
        self._known: list[Mapping[int, str]] = [place.tag.texts or {} for place in places]
        self._last: NDArray[Any] | None = None
        self._texts = np.full(self.count, "", object)
        self._is_unknown = np.zeros(self.count, np.bool_)

    def values(self) -> NDArray[Any]:
        numbers = self._numbers.values()
        changed = np.arange(self.count) if self._last is None else np.flatnonzero(numbers != self._last)
        for at in changed:
            number, known = int(numbers[at]), self._known[at]
            self._texts[at] = known.get(number, str(number))
            self._is_unknown[at] = number not in known
        self._last = numbers
        return self._texts.copy()

    def quality(self) -> UInt16Array:
        own = np.where(self._is_unknown, np.uint16(UNCERTAIN), np.uint16(GOOD))
        return np.maximum(self._numbers.quality(), own)


class _Texts(_Part):
    """Strings. Texts rarely change, so only those whose bytes did are made anew."""

    def __init__(self, places: Sequence[_Place], area: Area) -> None:
        super().__init__(places)
        characters = [place.characters() for place in places]
        self._area = area
        self._bytes: IndexArray = np.array([position for text in characters for position in text], np.intp)
        ends = np.cumsum([len(text) for text in characters])
        self._spans = [(int(end) - len(text), int(end)) for text, end in zip(characters, ends, strict=True)]
        self._last = b"\0" * len(self._bytes)
        self._texts = np.full(len(self._spans), "", object)

    def values(self) -> NDArray[Any]:
        found = self._area.take(self._bytes).tobytes()
        if found != self._last:
            for at, (begin, end) in enumerate(self._spans):
                if found[begin:end] != self._last[begin:end]:
                    self._texts[at] = text_of(found[begin:end])
            self._last = found
        return self._texts.copy()


def text_of(data: bytes) -> str:
    """The text of a string: up to the first NUL, without white space at its ends, each byte one Latin-1 character."""
    return data.partition(b"\0")[0].strip().decode("latin-1")


def _column_of(places: Sequence[_Place], area: Area) -> _Part:
    first = places[0].tag
    if first.datatype is DataType.STRING:
        return _Texts(places, area)
    numbers: _Part
    if first.datatype is DataType.BOOLEAN:
        numbers = _Bits(places, area)
    else:
        numbers = _Decimals(places, area) if first.encoding == "bcd" else _Numbers(places, area)
    return numbers if first.texts is None else _Named(numbers, places)
