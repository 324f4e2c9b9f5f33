"""Tags that are calculated from others of their device, between its driver and report by exception.

A batch of a driver is calculated with as a whole: of each derived tag that has an input in it, one value for each
sample of an input, by the newest values of the other inputs at that place of the batch; of several with the same time,
the last one. Its quality is the worst of its inputs', its time the newest of theirs. Without a value of each input
since the device came, nothing is calculated.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from connectors.commands.expression import ExpressionInvalid
from connectors.commands.formula import Column, Formula, Kind, parse_formula
from connectors.model.datatypes import DataType, ValueFamily, dtype_of, family_of
from connectors.model.quality import BAD, BAD_CONFIGURATION_ERROR, BAD_OUT_OF_RANGE
from connectors.model.samples import Int32Array, SampleBatch, concatenate
from connectors.model.tags import TagName, TagType
from connectors.ports.device import Reading, TagProblem
from connectors.ports.settings import DerivedTagSettings

_KINDS: Final = {
    ValueFamily.FLOAT: Kind.NUMBER,
    ValueFamily.INT: Kind.NUMBER,
    ValueFamily.UINT: Kind.NUMBER,
    ValueFamily.BOOL: Kind.TRUTH,
    ValueFamily.TEXT: Kind.TEXT,
}
_DATATYPES: Final = {Kind.NUMBER: DataType.DOUBLE, Kind.TRUTH: DataType.BOOLEAN, Kind.TEXT: DataType.STRING}
_COLUMNS: Final[dict[Kind, Any]] = {Kind.NUMBER: np.float64, Kind.TRUTH: np.bool_, Kind.TEXT: object}


class _Series(NamedTuple):
    """The samples of one tag, in columns; ``at``: where in the batch each of them belongs."""

    at: NDArray[np.intp]
    column: Column
    time_ns: NDArray[np.int64]
    quality: NDArray[np.uint16]

    def rows(self, chosen: NDArray[Any]) -> _Series:
        """Some of them."""
        column = Column(self.column.kind, self.column.values[chosen], self.column.missing[chosen])
        return _Series(self.at[chosen], column, self.time_ns[chosen], self.quality[chosen])


@dataclass(frozen=True, slots=True)
class _Bound:
    """A derived tag whose inputs are known with their types; ``inputs`` are tag indices."""

    index: int
    formula: Formula
    datatype: DataType
    inputs: tuple[int, ...]
    names: tuple[str, ...]


class DerivedTags:
    """The derived tags of one device; their indices follow those of the tags that its file names."""

    def __init__(self, tag_names: Sequence[str], derived: Sequence[DerivedTagSettings]) -> None:
        """``tag_names``: all of them, those of the driver first. The settings are valid."""
        self._names = tuple(tag_names)
        self.first = len(tag_names) - len(derived)
        self._settings = tuple(derived)
        self._formulas = [parse_formula(tag.formula, tag_names) for tag in derived]
        self._order = _order(self._formulas, {name: at for at, name in enumerate(tag_names)}, self.first)
        self._bound: list[_Bound] = []
        self._is_input = np.zeros(len(tag_names), np.bool_)
        self._newest: dict[int, _Series] = {}
        self._kinds: dict[int, Kind] = {}

    def extend(self, tag_count: int) -> None:
        """So many tags of the driver follow; they are no inputs."""
        self._is_input = np.concatenate([self._is_input, np.zeros(tag_count, np.bool_)])

    def is_derived(self, index: int) -> bool:
        """Whether this is a derived tag."""
        return self.first <= index < self.first + len(self._settings)

    def bind(self, types: Sequence[TagType], problems: Sequence[TagProblem]) -> tuple[list[TagType], list[TagProblem]]:
        """``types`` and ``problems`` of the driver with those of the derived tags."""
        known = {str(tag.name): tag for tag in types}
        wrong = {str(problem.tag): problem for problem in problems}
        self._bound = []
        self._is_input[:] = False
        for at in self._order:
            index, settings, formula = self.first + at, self._settings[at], self._formulas[at]
            name = TagName(settings.name)
            absent = next((of for of in sorted(formula.inputs) if of not in known), None)
            if absent is not None:
                if (cause := wrong.get(absent)) is not None:
                    reason = f"its input {absent!r} has a problem: {cause.reason}"
                    wrong[settings.name] = TagProblem(name, reason, cause.quality)
                continue
            try:
                kind = formula.kind({of: _kind_of(known[of].datatype, of) for of in formula.inputs})
                datatype = _DATATYPES[kind] if settings.datatype is None else settings.datatype
                if _KINDS[family_of(datatype)] is not kind:
                    raise ExpressionInvalid(f"its value is {kind.value}, and no {datatype.label}")
            except ExpressionInvalid as exc:
                wrong[settings.name] = TagProblem(name, f"{settings.formula!r}: {exc}", BAD_CONFIGURATION_ERROR)
                continue
            known[settings.name] = TagType(index, name, datatype, settings.unit, settings.description)
            names = tuple(sorted(formula.inputs))
            inputs = tuple(known[of].index for of in names)
            self._kinds |= {known[of].index: _kind_of(known[of].datatype, of) for of in names}
            self._bound.append(_Bound(index, formula, datatype, inputs, names))
            self._is_input[list(inputs)] = True
        kept = {at: series for at, series in self._newest.items() if self._kinds.get(at) is series.column.kind}
        self._newest = kept
        return list(known.values()), list(wrong.values())

    def forget(self) -> None:
        """The device is away: what it said before is no input of anything any more."""
        self._newest.clear()

    def dependents(self, tags: Int32Array) -> Int32Array:
        """``tags``, and the derived tags that depend on them."""
        found = set(tags.tolist())
        for tag in self._bound:
            if not found.isdisjoint(tag.inputs):
                found.add(tag.index)
        return np.array(sorted(found), np.int32)

    def derive(self, batch: SampleBatch) -> list[SampleBatch]:
        """What follows from ``batch``, a batch a data type."""
        if not self._is_input[batch.tag].any():
            return []
        fresh: dict[int, _Series] = {}
        for index in np.unique(batch.tag[self._is_input[batch.tag]]).tolist():
            fresh[index] = _series(batch, np.flatnonzero(batch.tag == index))
        made: dict[DataType, list[SampleBatch]] = {}
        for tag in self._bound:
            if any(index in fresh for index in tag.inputs) and (found := self._calculate(tag, fresh)) is not None:
                derived = _batch(tag, found)
                fresh[tag.index] = _series(derived, np.arange(len(derived)))._replace(at=found.at)
                made.setdefault(tag.datatype, []).append(derived)
        for index, series in fresh.items():
            self._newest[index] = series.rows(np.array([-1]))
        return [concatenate(batches) for batches in made.values()]

    async def read(self, index: int, read: Callable[[int], Awaitable[Reading]]) -> Reading:
        """The value of a derived tag now, by values that ``read`` gives of the driver's tags."""
        tag = next((tag for tag in self._bound if tag.index == index), None)
        if tag is None:
            return Reading(None, BAD_CONFIGURATION_ERROR, 0)
        readings = [await (read(of) if of < self.first else self.read(of, read)) for of in tag.inputs]
        fresh = {of: _of_reading(reading, self._kinds[of]) for of, reading in zip(tag.inputs, readings, strict=True)}
        found = self._calculate(tag, fresh)
        if found is None:
            return Reading(None, BAD, 0)
        _, time_ns, value, quality = next(_batch(tag, found).rows())
        return Reading(value, quality, time_ns)

    def _calculate(self, tag: _Bound, fresh: Mapping[int, _Series]) -> _Series | None:
        """Its values for the samples in ``fresh``; ``None`` when an input has none."""
        at = np.unique(np.concatenate([fresh[index].at for index in tag.inputs if index in fresh]))
        series: list[_Series] = []
        for index in tag.inputs:
            found = self._filled(index, fresh.get(index), at)
            if found is None:
                return None
            series.append(found)
        is_known = np.logical_and.reduce([part.at >= 0 for part in series])
        time_ns = np.maximum.reduce([part.time_ns for part in series])
        is_last = np.append(time_ns[1:] != time_ns[:-1], True)
        chosen = np.flatnonzero(is_known & is_last)
        if not len(chosen):
            return None
        inputs = {name: part.rows(chosen).column for name, part in zip(tag.names, series, strict=True)}
        qualities = np.stack([part.quality[chosen] for part in series])
        worst = np.take_along_axis(qualities, np.argmax(qualities >> 14, axis=0)[None], 0)[0]
        return _Series(at[chosen], tag.formula.calculate(inputs, len(chosen)), time_ns[chosen], worst)

    def _filled(self, index: int, fresh: _Series | None, at: NDArray[np.intp]) -> _Series | None:
        """The newest sample of an input at each place; ``at`` of it is -1 where there is none yet."""
        before = self._newest.get(index)
        if fresh is None:
            return None if before is None else before.rows(np.zeros(len(at), np.intp))._replace(at=at)
        rows = np.searchsorted(fresh.at, at, side="right") - 1
        found = fresh.rows(np.maximum(rows, 0))
        early = rows < 0
        if not early.any():
            return found
        if before is None or before.column.kind is not found.column.kind:
            return found._replace(at=np.where(early, -1, found.at))
        values, missing = found.column.values.copy(), found.column.missing.copy()
        values[early], missing[early] = before.column.values[0], before.column.missing[0]
        time_ns, quality = found.time_ns.copy(), found.quality.copy()
        time_ns[early], quality[early] = before.time_ns[0], before.quality[0]
        return _Series(at, Column(found.column.kind, values, missing), time_ns, quality)


def _order(formulas: Sequence[Formula], index: Mapping[str, int], first: int) -> list[int]:
    """The derived tags, each after those that it depends on."""
    order: list[int] = []
    left = {at: {index[name] - first for name in formula.inputs} for at, formula in enumerate(formulas)}
    while left:
        free = [at for at, needs in left.items() if needs.isdisjoint(left)]
        if not free:
            raise ValueError("derived tags depend on themselves")
        order += free
        for at in free:
            del left[at]
    return order


def _kind_of(datatype: DataType, name: str) -> Kind:
    kind = _KINDS.get(family_of(datatype))
    if kind is None:
        raise ExpressionInvalid(f"nothing can be calculated with {name!r}, which is a {datatype.label}")
    return kind


def _series(batch: SampleBatch, at: NDArray[np.intp]) -> _Series:
    kind = _KINDS.get(family_of(batch.datatype), Kind.TEXT)
    column = Column(kind, batch.value[at].astype(_COLUMNS[kind]), batch.nulls()[at])
    return _Series(at, column, batch.time_ns[at], batch.qualities()[at])


def _of_reading(reading: Reading, kind: Kind) -> _Series:
    value = reading.value
    values = np.zeros(1, _COLUMNS[kind]) if value is None else np.array([value], _COLUMNS[kind])
    missing = np.array([value is None])
    at, time_ns = np.zeros(1, np.intp), np.array([reading.time_ns], np.int64)
    return _Series(at, Column(kind, values, missing), time_ns, np.array([reading.quality], np.uint16))


def _batch(tag: _Bound, found: _Series) -> SampleBatch:
    """The samples of a derived tag in its type; what does not fit into that has no value."""
    values, missing = found.column.values, found.column.missing
    dtype = dtype_of(tag.datatype)
    if dtype.kind in "iu":
        values = np.rint(values)
        limits = np.iinfo(dtype)
        top = 2.0 ** (limits.bits - (dtype.kind == "i"))
        missing = missing | ~((values >= limits.min) & (values < top))
        values = np.where(missing, 0, values)
    elif dtype.kind == "f":
        with np.errstate(over="ignore"):
            missing = missing | ~np.isfinite(values.astype(dtype))
    empty: Any = "" if dtype.kind == "O" else 0
    values = np.where(missing, empty, values).astype(dtype)
    worst = found.quality
    quality = np.where(missing & (worst >> 15 == 0), BAD_OUT_OF_RANGE, worst).astype(np.uint16)
    tags = np.full(len(values), tag.index, np.int32)
    return SampleBatch(
        tag.datatype,
        tags,
        found.time_ns,
        values,
        quality if quality.any() else None,
        missing if missing.any() else None,
    )
