"""Formulas of derived tags, such as ``zone1/temperature * 1.8 + 32``: whole columns are calculated at once.

The language is that of ``expression``, with two differences: tags are those of one device and are written by their
names alone, and a bare word is a tag when there is one of that name, else a text. Numbers are calculated as 64-bit
floats. What has no value (a division by 0, the square root of a negative number, an input without value) makes the
result have none, row by row; the part of an ``if`` that is not chosen does not count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from connectors.commands.expression import BIT_MAX, WHOLE_MAX, ExpressionInvalid, parse_tree

if TYPE_CHECKING:
    from lark import Token, Tree

    Node = Tree[Token]

BoolColumn = NDArray[np.bool_]
_COMPARE: Final[dict[str, Any]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_ARITHMETIC: Final[dict[str, Any]] = {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}


class Kind(Enum):
    """What a value is, and how a column of them is stored."""

    NUMBER = "a number"
    TRUTH = "true or false"
    TEXT = "a text"


@dataclass(frozen=True, slots=True)
class Column:
    """Values of one kind, and in which rows there is none (``missing``); float64, bool or object."""

    kind: Kind
    values: NDArray[Any]
    missing: BoolColumn


@dataclass(frozen=True)
class Formula:
    """A parsed formula; ``inputs`` are the names of the tags that it needs."""

    text: str
    inputs: frozenset[str]
    _tree: Node
    _names: frozenset[str]

    def kind(self, kinds: Mapping[str, Kind]) -> Kind:
        """The kind of its value, when its inputs have these. Raises ``ExpressionInvalid`` when they do not fit."""
        rows = np.zeros(0)
        empty = {name: Column(kind, rows.astype(_DTYPES[kind]), np.zeros(0, np.bool_)) for name, kind in kinds.items()}
        return self.calculate(empty, 0).kind

    def calculate(self, inputs: Mapping[str, Column], rows: int) -> Column:
        """Its values, a row for each of ``inputs``. Raises ``ExpressionInvalid`` when the kinds do not fit."""
        with np.errstate(all="ignore"):
            return _Calculation(inputs, rows, self._names).of(self._tree)


_DTYPES: Final[dict[Kind, Any]] = {Kind.NUMBER: np.float64, Kind.TRUTH: np.bool_, Kind.TEXT: object}


def parse_formula(text: str, tags: Collection[str]) -> Formula:
    """The formula in ``text`` over ``tags``. Raises ``ExpressionInvalid``; a name that is no tag is not told here."""
    tree = parse_tree(text)
    names = frozenset(tags)
    found = {
        _name(node)
        for node in tree.iter_subtrees()
        if node.data in ("tag", "quoted_tag") or (node.data == "word" and _name(node) in names)
    }
    if not found:
        words = sorted({_name(node) for node in tree.iter_subtrees() if node.data == "word"})
        called = f": there is none called {' or '.join(map(repr, words[:3]))}" if words else ""
        raise ExpressionInvalid(f"it depends on no tag{called}")
    return Formula(text, frozenset(found), tree, names)


def stray_words(formula: Formula) -> list[str]:
    """Words that are no tags, where a text makes no sense: everywhere but beside ``==``, ``!=`` and in an ``if``."""
    return sorted(set(_stray(formula._tree, formula._names, is_text_right=True)))  # noqa: SLF001


def _stray(node: Node, names: frozenset[str], *, is_text_right: bool) -> list[str]:
    kind = str(node.data)
    if kind == "word":
        return [] if is_text_right or _name(node) in names else [_name(node)]
    if kind == "comparison":
        inside = str(node.children[1]) in ("==", "!=")
    else:
        inside = kind == "call" and str(node.children[0]) == "if"
    children = [child for child in node.children if not isinstance(child, str)]
    return [word for child in children for word in _stray(child, names, is_text_right=inside)]


def _name(node: Node) -> str:
    return str(node.children[0]).strip("`")


@dataclass(frozen=True, slots=True)
class _Calculation:
    inputs: Mapping[str, Column]
    rows: int
    names: frozenset[str]

    def of(self, node: Node) -> Column:
        """The column of a part of the formula."""
        kind = str(node.data)
        if kind in ("tag", "quoted_tag") or (kind == "word" and _name(node) in self.names):
            return self.inputs[_name(node)]
        if kind in ("number", "text", "word", "true", "false"):
            return self._constant(node, kind)
        if kind == "call":
            return self._called(node)
        children = [child if isinstance(child, str) else self.of(child) for child in node.children]
        columns = [child for child in children if isinstance(child, Column)]
        signs = [str(child) for child in children if isinstance(child, str)]
        missing = _any([column.missing for column in columns])
        if kind in ("either", "both", "no"):
            return self._logical(kind, columns, missing)
        if kind == "comparison":
            return _compared(columns[0], signs[0], columns[1], missing)
        if kind == "minus":
            return _numbers(-_numeric(columns[0]), missing)
        result = _numeric(columns[0])
        for sign, column in zip(signs, columns[1:], strict=True):
            result = _ARITHMETIC[sign](result, _numeric(column))
            missing = missing | ~np.isfinite(result)
        return _numbers(result, missing)

    def _constant(self, node: Node, kind: str) -> Column:
        written = str(node.children[0]) if node.children else kind
        none = np.zeros(self.rows, np.bool_)
        if kind == "number":
            return Column(Kind.NUMBER, np.full(self.rows, float(written)), none)
        if kind in ("true", "false"):
            return Column(Kind.TRUTH, np.full(self.rows, kind == "true"), none)
        text = written[1:-1] if kind == "text" else written
        return Column(Kind.TEXT, np.full(self.rows, text, object), none)

    def _logical(self, kind: str, columns: list[Column], missing: BoolColumn) -> Column:
        truths = [_truths(column) for column in columns]
        if kind == "no":
            return Column(Kind.TRUTH, ~truths[0], missing)
        result = np.logical_or.reduce(truths) if kind == "either" else np.logical_and.reduce(truths)
        return Column(Kind.TRUTH, result, missing)

    def _called(self, node: Node) -> Column:
        name = str(node.children[0])
        columns = [self.of(child) for child in node.children[1:] if not isinstance(child, str)]
        if name == "if":
            return _chosen(*columns)
        numbers = [_numeric(column) for column in columns]
        missing = _any([column.missing for column in columns])
        if name in ("min", "max"):
            return _numbers((np.minimum if name == "min" else np.maximum).reduce(numbers), missing)
        if name.startswith("bit") or name == "shift":
            return _of_bits(name, numbers[0], numbers[1], missing)
        result = {"abs": np.abs, "round": np.rint, "sqrt": np.sqrt}[name](numbers[0])
        return _numbers(result, missing | ~np.isfinite(result))


def _of_bits(name: str, left: NDArray[Any], right: NDArray[Any], missing: BoolColumn) -> Column:
    """As of 64-bit integers; what is no exact whole number has no bits."""
    missing = missing | ~(_is_whole(left) & _is_whole(right))
    first, second = np.where(missing, 0, left).astype(np.int64), np.where(missing, 0, right).astype(np.int64)
    if name in ("bitand", "bitor", "bitxor"):
        joined = {"bitand": np.bitwise_and, "bitor": np.bitwise_or, "bitxor": np.bitwise_xor}[name](first, second)
        return _numbers(joined.astype(np.float64), missing)
    missing = missing | (second > BIT_MAX) | (second < (0 if name == "bit" else -BIT_MAX))
    places = np.where(missing, 0, second)
    if name == "bit":
        return Column(Kind.TRUTH, first >> places & 1 == 1, missing)
    moved = np.where(places >= 0, np.ldexp(first.astype(np.float64), places), first >> np.maximum(-places, 0))
    return _numbers(moved, missing | ~_is_whole(moved))


def _is_whole(values: NDArray[Any]) -> BoolColumn:
    whole: BoolColumn = (np.rint(values) == values) & (np.abs(values) <= WHOLE_MAX)
    return whole


def _chosen(condition: Column, first: Column, second: Column) -> Column:
    if first.kind is not second.kind:
        raise ExpressionInvalid(f"'if' chooses between {first.kind.value} and {second.kind.value}")
    truth = _truths(condition)
    missing = condition.missing | np.where(truth, first.missing, second.missing)
    return Column(first.kind, np.where(truth, first.values, second.values), missing)


def _compared(left: Column, sign: str, right: Column, missing: BoolColumn) -> Column:
    if left.kind is not right.kind:
        raise ExpressionInvalid(f"'{sign}' compares {left.kind.value} with {right.kind.value}")
    if left.kind is Kind.TRUTH and sign not in ("==", "!="):
        raise ExpressionInvalid(f"'{sign}' has no meaning for true and false")
    return Column(Kind.TRUTH, _COMPARE[sign](left.values, right.values).astype(np.bool_), missing)


def _numbers(values: NDArray[Any], missing: BoolColumn) -> Column:
    return Column(Kind.NUMBER, values, missing)


def _numeric(column: Column) -> NDArray[Any]:
    if column.kind is not Kind.NUMBER:
        raise ExpressionInvalid(f"it calculates with {column.kind.value}")
    return column.values


def _truths(column: Column) -> BoolColumn:
    if column.kind is not Kind.TRUTH:
        raise ExpressionInvalid(f"{column.kind.value} is neither true nor false")
    return column.values


def _any(masks: list[BoolColumn]) -> BoolColumn:
    found: BoolColumn = np.logical_or.reduce(masks)
    return found
