"""Which samples and gaps of an outbox are asked for, and samples with the names of their tags."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from connectors.model.datatypes import DataType
from connectors.model.samples import SampleBatch
from edge_agent.buffer.contents import TagNames
from edge_agent.buffer.rows import StoredBatch


@dataclass(frozen=True)
class Selection:
    """Devices and tags by name (``*`` stands for any characters; none: all), and source times from … to before …."""

    devices: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    from_ns: int | None = None
    until_ns: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return not self.devices and not self.tags and self.from_ns is None and self.until_ns is None

    def takes_device(self, device: str) -> bool:
        """Whether anything of this device is asked for."""
        return not self.devices or self._device.fullmatch(device) is not None

    def takes_tag(self, name: str | None) -> bool:
        """Whether this tag is asked for; one whose name nobody knows is only where all are."""
        return not self.tags or (name is not None and self._tag.fullmatch(name) is not None)

    def takes_gap(self, gap: dict[str, Any]) -> bool:
        """Whether a gap has to do with what is asked for; ``last_ns`` is missing in one that is open."""
        if not self.takes_device(gap["device"]) or (self.until_ns is not None and gap["first_ns"] >= self.until_ns):
            return False
        if self.from_ns is not None and gap.get("last_ns") is not None and gap["last_ns"] < self.from_ns:
            return False
        return gap.get("tags") is None or any(self.takes_tag(name) for name in gap["tags"])

    def takes_times(self, time_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of these source times are asked for."""
        keep = np.ones(len(time_ns), np.bool_)
        if self.from_ns is not None:
            keep &= time_ns >= self.from_ns
        if self.until_ns is not None:
            keep &= time_ns < self.until_ns
        return keep

    @cached_property
    def _device(self) -> re.Pattern[str]:
        return _pattern(self.devices)

    @cached_property
    def _tag(self) -> re.Pattern[str]:
        return _pattern(self.tags)


@dataclass(frozen=True, slots=True)
class NamedSamples:
    """Samples of one data type out of one batch: ``index`` is the place of each in its batch, from 0."""

    batch: StoredBatch
    part: SampleBatch
    index: NDArray[np.int64]
    tags: list[str | None]

    @property
    def datatype(self) -> DataType:
        """Of all these values."""
        return self.part.datatype

    def times(self) -> list[str | None]:
        """Source times in UTC with nanoseconds, as ISO 8601 has them; ``None`` for the one that NumPy cannot say."""
        texts: list[str] = np.datetime_as_string(self.part.time_ns.view("datetime64[ns]")).tolist()
        return [None if text == "NaT" else f"{text}Z" for text in texts]

    def values(self) -> list[Any]:
        """Values as Python has them; ``None`` where there is none."""
        values: list[Any] = self.part.value.tolist()
        if self.part.null is not None:
            return [None if null else value for value, null in zip(values, self.part.null.tolist(), strict=True)]
        return values


def named_samples(batch: StoredBatch, names: TagNames, selection: Selection) -> Iterator[NamedSamples]:
    """The samples of ``batch`` that are asked for, a part for each data type run, in their order."""
    first = 0
    for part in batch.parts:
        index = np.arange(first, first + len(part))
        first += len(part)
        aliases, inverse = np.unique(part.tag, return_inverse=True)
        called = [names.name(batch.definition, alias) for alias in aliases.tolist()]
        keep = selection.takes_times(part.time_ns)
        if selection.tags:
            keep &= np.array([selection.takes_tag(name) for name in called], np.bool_)[inverse]
        if not keep.any():
            continue
        if not keep.all():
            part, index, inverse = part.select(keep), index[keep], inverse[keep]
        table = np.empty(len(called), object)
        table[:] = called
        yield NamedSamples(batch, part, index, table[inverse].tolist())


def _pattern(names: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(".*".join(map(re.escape, name.split("*"))) for name in names), re.DOTALL)
