"""``$(host)`` and ``$(base + 10 * (zone - 1))`` in the texts of a template: what stands there, and what becomes of it.

A text that is one reference and nothing else becomes the value of the parameter with its type; in any other text the
value is written out. ``$$(`` stands for ``$(``. References to secrets, ``${…}``, are no concern of this module.
"""

from __future__ import annotations

import ast
import keyword
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal

Scalar = bool | int | float | str
Kind = Literal["text", "integer", "number", "boolean"]
CALCULATION_CHARS_MAX: Final = 200
WHOLE_NUMBER_MAX: Final = (1 << 63) - 1
TEXT_CHARS_MAX: Final = 100_000
ALL_CHARS_MAX: Final = 64 * 1024 * 1024
"""Of all texts together that are filled in: templates that use each other can double a text many times."""
_NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SIGNS: Final[dict[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


class ReferenceInvalid(ValueError):
    """A ``$(…)`` that cannot be read: a sentence, and what to write instead."""

    def __init__(self, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.message, self.suggestion = message, suggestion


@dataclass(slots=True)
class Room:
    """How many characters may still be filled in."""

    left_chars: int = ALL_CHARS_MAX

    def take(self, size_chars: int) -> None:
        """Take so much of it for one text. Raises ``ReferenceInvalid`` when that is too long, or nothing is left."""
        self.left_chars -= size_chars
        if size_chars > TEXT_CHARS_MAX:
            raise ReferenceInvalid(
                f"a text that is filled in has more than {TEXT_CHARS_MAX:,} characters.", "Use shorter values."
            )
        if self.left_chars < 0:
            raise ReferenceInvalid("templates make more text than an agent can hold.", "Use several agents.")


@dataclass(frozen=True, slots=True)
class Reference:
    """One ``$(…)``: the names of the parameters in it; ``calculation`` is ``None`` for a name alone."""

    written: str
    names: tuple[str, ...]
    calculation: ast.expr | None

    def value(self, values: Mapping[str, Scalar]) -> Scalar:
        """Its value. Raises ``KeyError`` for a parameter without one, ``ReferenceInvalid`` when it is too large."""
        return values[self.names[0]] if self.calculation is None else _number(self.calculation, values)


Pieces = tuple[str | Reference, ...]


def is_parameter_name(name: str) -> bool:
    """Whether a parameter can have this name."""
    return _NAME.fullmatch(name) is not None and not keyword.iskeyword(name)


@lru_cache(maxsize=4096)
def pieces_of(text: str) -> Pieces:
    """``text`` in texts and references, in their order. Raises ``ReferenceInvalid``."""
    return tuple(_pieces(text))


def filled(value: Any, values: Mapping[str, Scalar], room: Room) -> Any:
    """A part of a template with its references replaced. Raises as ``pieces_of``, ``Reference.value`` and ``Room``.

    What holds no reference is returned as it is: instances share it.
    """
    if isinstance(value, str):
        return _filled_text(value, values, room) if "$" in value else value
    if isinstance(value, dict):
        changed = {key: filled(part, values, room) for key, part in value.items()}
        return changed if any(changed[key] is not part for key, part in value.items()) else value
    if isinstance(value, tuple):
        entries = [filled(part, values, room) for part in value]
        return tuple(entries) if any(new is not old for new, old in zip(entries, value, strict=True)) else value
    return value


def written_out(value: Scalar) -> str:
    """A value inside of a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    return str(value)


def kind_of(value: Any) -> Kind | None:
    """The type that a value of a parameter has, or ``None`` when no parameter can have it."""
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int):
        return "integer"
    if isinstance(value, float):
        return "number" if math.isfinite(value) else None
    return "text" if isinstance(value, str) else None


def _filled_text(text: str, values: Mapping[str, Scalar], room: Room) -> Scalar:
    pieces = pieces_of(text)
    if len(pieces) == 1 and not isinstance(pieces[0], str):
        return pieces[0].value(values)
    parts: list[str] = []
    size = 0
    for piece in pieces:
        parts.append(piece if isinstance(piece, str) else written_out(piece.value(values)))
        size += len(parts[-1])
        if size > TEXT_CHARS_MAX:
            break
    room.take(size)
    return "".join(parts)


def _pieces(text: str) -> Iterator[str | Reference]:
    begun, at = 0, text.find("$(")
    while at >= 0:
        if at > begun and text[at - 1] == "$":
            yield f"{text[begun : at - 1]}$("
            begun = at + 2
        else:
            if at > begun:
                yield text[begun:at]
            end = _end(text, at + 2)
            yield _reference(text[at + 2 : end])
            begun = end + 1
        at = text.find("$(", begun)
    if begun < len(text) or not text:
        yield text[begun:]


def _end(text: str, begun: int) -> int:
    depth = 1
    for at in range(begun, len(text)):
        depth += {"(": 1, ")": -1}.get(text[at], 0)
        if depth == 0:
            return at
    raise ReferenceInvalid(f"the '$(' of {text[begun - 2 : begun + 20]!r} is not closed.", "Write $(name).")


def _reference(written: str) -> Reference:
    inside = written.strip()
    if is_parameter_name(inside):
        return Reference(f"$({written})", (inside,), None)
    if len(inside) > CALCULATION_CHARS_MAX:
        raise ReferenceInvalid("a calculation in '$(…)' is too long.", f"Use {CALCULATION_CHARS_MAX} characters.")
    try:
        tree = ast.parse(inside, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        tree = ast.expr()
    names = tuple(dict.fromkeys(_names(tree, inside)))
    if not names:
        raise ReferenceInvalid(f"'$({written})' names no parameter.", "Write $(name), or $$( for the text $(.")
    return Reference(f"$({written})", names, tree)


def _names(node: ast.expr, written: str) -> Iterator[str]:
    """The parameters of a calculation. Raises ``ReferenceInvalid`` for anything that is none."""
    match node:
        case ast.Name():
            yield node.id
        case ast.Constant() if type(node.value) in (int, float):
            return
        case ast.UnaryOp(op=ast.USub()):
            yield from _names(node.operand, written)
        case ast.BinOp() if type(node.op) in _SIGNS:
            yield from _names(node.left, written)
            yield from _names(node.right, written)
        case _:
            raise ReferenceInvalid(
                f"'$({written})' is no calculation.",
                "Write the name of a parameter, or numbers and parameters with + - * and brackets.",
            )


def _number(node: ast.expr, values: Mapping[str, Scalar]) -> Any:
    match node:
        case ast.Name():
            return values[node.id]
        case ast.Constant():
            return node.value
        case ast.UnaryOp():
            return -_number(node.operand, values)
        case ast.BinOp():
            return _calculated(_SIGNS[type(node.op)], _number(node.left, values), _number(node.right, values))
        case _:
            raise TypeError(ast.dump(node))


def _calculated(sign: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """A sum, difference or product. Raises ``ReferenceInvalid`` when a setting cannot be so large."""
    found = sign(left, right)
    if not (math.isfinite(found) if isinstance(found, float) else abs(found) <= WHOLE_NUMBER_MAX):
        raise ReferenceInvalid("a calculation has a result that is too large.", "Use smaller numbers.")
    return found
