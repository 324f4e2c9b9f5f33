"""Conditions over tags, such as ``press/state == idle and oven/zone1 < 80``: for interlocks and preconditions.

A tag is written ``device/name``, in backquotes when it has other characters than letters, digits and ``_ . - /``; a
bare word is a text. ``/`` with spaces around it divides. Comparisons do not chain, and nothing is converted:
``1 == true`` is a mistake and not true. ``FUNCTIONS`` are written ``min(a, b)``; ``if(condition, a, b)`` chooses,
``bit(a, 3)`` tells whether that bit of a whole number is set (0 is the lowest), ``bitand``, ``bitor`` and ``bitxor``
join whole numbers bit by bit, ``shift(a, n)`` moves the bits up by n places, or down where n is negative. ``formula``
calculates with the same language.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from connectors.model.errors import LinesideError
from connectors.model.tags import DeviceName, TagName

if TYPE_CHECKING:
    from lark import Lark, Token, Tree

TEXT_CHARS_MAX: Final = 1000
NESTING_MAX: Final = 50
Value = bool | int | float | str

_GRAMMAR: Final = r"""
    ?start: either
    ?either: both ("or" both)*
    ?both: negated ("and" negated)*
    ?negated: "not" negated -> no
        | comparison
    ?comparison: sum (COMPARED sum)?
    ?sum: product (ADDED product)*
    ?product: signed (MULTIPLIED signed)*
    ?signed: "-" signed -> minus
        | atom
    ?atom: FUNCTION "(" either ("," either)* ")" -> call
        | NUMBER -> number
        | "true" -> true
        | "false" -> false
        | STRING -> text
        | TAG -> tag
        | QUOTED_TAG -> quoted_tag
        | WORD -> word
        | "(" either ")"
    COMPARED: "==" | "!=" | "<=" | ">=" | "<" | ">"
    ADDED: "+" | "-"
    MULTIPLIED: "*" | /\/(?=\s)/
    NUMBER: /(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?/
    STRING: /"[^"]*"|'[^']*'/
    TAG.2: /[^\W\d][\w.-]*(\/[\w.-]+)+/
    QUOTED_TAG: /`[^`]+`/
    FUNCTION.3: /(min|max|abs|round|sqrt|if|bit|bitand|bitor|bitxor|shift)(?=\s*\()/
    WORD: /[^\W\d]\w*/
    %import common.WS
    %ignore WS
"""
_COMPARE: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ARITHMETIC: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
}
_JOINED: Final[dict[str, Callable[[int, int], int]]] = {
    "bitand": operator.and_,
    "bitor": operator.or_,
    "bitxor": operator.xor,
}
FUNCTIONS: Final = {
    "min": (1, 100), "max": (1, 100), "abs": (1, 1), "round": (1, 1), "sqrt": (1, 1), "if": (3, 3),
    "bit": (2, 2), "bitand": (2, 2), "bitor": (2, 2), "bitxor": (2, 2), "shift": (2, 2),
}  # fmt: skip
"""How many arguments each function takes, at least and at most."""
WHOLE_MAX: Final = 2**53
"""Bits are those of whole numbers to this one, either side of 0: a 64-bit float has no exact value beyond it."""
BIT_MAX: Final = 63


class TagPlace(NamedTuple):
    """A tag of a device."""

    device: DeviceName
    tag: TagName

    def __str__(self) -> str:
        return f"{self.device}/{self.tag}"


class ExpressionInvalid(LinesideError):
    """The text is no expression: the caller shows the sentence. ``column`` counts from 1."""

    def __init__(self, reason: str, column: int = 0) -> None:
        super().__init__(reason)
        self.column = column


class ExpressionFailed(LinesideError):
    """The values do not go together (a text and a number compared, a division by 0): the condition does not hold."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression; ``tags`` are those whose values it needs."""

    text: str
    tags: frozenset[TagPlace]
    _tree: Tree[Token]

    def evaluate(self, values: Mapping[TagPlace, Value]) -> Value:
        """Its value. Raises ``ExpressionFailed``; ``KeyError`` when a tag has no value in ``values``."""
        return _evaluate(self._tree, values)

    def holds(self, values: Mapping[TagPlace, Value]) -> bool:
        """Whether it is true. Raises as ``evaluate``, also when its value is neither true nor false."""
        return _truth(self.evaluate(values))


def parse_expression(text: str) -> Expression:
    """The expression in ``text``. Raises ``ExpressionInvalid`` with what was expected, and where."""
    tree = parse_tree(text)
    nodes = [node for node in tree.iter_subtrees() if node.data in ("tag", "quoted_tag")]
    for node in nodes:
        written = str(node.children[0])
        if not all(written.strip("`").partition("/")[::2]):
            raise ExpressionInvalid(f"{written} names no tag of a device: write it as `device/tag`")
    return Expression(text, frozenset(_place(node) for node in nodes), tree)


def parse_tree(text: str) -> Tree[Token]:
    """What ``text`` says, whatever its tags are. Raises ``ExpressionInvalid``."""
    from lark.exceptions import LarkError, UnexpectedInput, UnexpectedToken

    if len(text) > TEXT_CHARS_MAX:
        raise ExpressionInvalid(f"an expression has at most {TEXT_CHARS_MAX} characters; this one has {len(text)}")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as exc:
        if isinstance(exc, UnexpectedToken) and exc.token.type == "$END":
            raise ExpressionInvalid(f"{text!r} breaks off: a value or ')' is missing", len(text) + 1) from exc
        column = max(1, exc.column)
        raise ExpressionInvalid(f"{text[column - 1 : column + 20]!r} is not expected here", column) from exc
    except LarkError as exc:
        raise ExpressionInvalid(f"{text!r} is not an expression: {exc}") from exc
    if _depth(tree) > NESTING_MAX:
        raise ExpressionInvalid(f"it is nested more than {NESTING_MAX} deep")
    for node in tree.iter_subtrees():
        if node.data == "call":
            name, count = str(node.children[0]), len(node.children) - 1
            least, most = FUNCTIONS[name]
            if not least <= count <= most:
                raise ExpressionInvalid(f"'{name}' takes {least} value{'s' if least > 1 else ''}, not {count}")
    return tree


@lru_cache(maxsize=1)
def _parser() -> Lark:
    from lark import Lark  # an agent without conditions does not load it

    return Lark(_GRAMMAR, parser="lalr", maybe_placeholders=False)


def _depth(tree: Tree[Token]) -> int:
    deepest, waiting = 0, [(tree, 1)]
    while waiting:
        node, depth = waiting.pop()
        deepest = max(deepest, depth)
        waiting += [(child, depth + 1) for child in node.children if not isinstance(child, str)]
    return deepest


def _place(node: Tree[Token]) -> TagPlace:
    device, _, tag = str(node.children[0]).strip("`").partition("/")
    return TagPlace(DeviceName(device), TagName(tag))


def _evaluate(node: Tree[Token], values: Mapping[TagPlace, Value]) -> Value:
    kind = str(node.data)
    if kind in ("tag", "quoted_tag"):
        return values[_place(node)]
    if kind in ("number", "text", "word", "true", "false"):
        return _literal(node, kind)
    return _computed(node, kind, values)


def _literal(node: Tree[Token], kind: str) -> Value:
    if kind in ("true", "false"):
        return kind == "true"
    written = str(node.children[0])
    if kind == "number":
        return int(written) if written.isdigit() else float(written)
    return written[1:-1] if kind == "text" else written


def _computed(node: Tree[Token], kind: str, values: Mapping[TagPlace, Value]) -> Value:
    if kind == "call":
        return _called(str(node.children[0]), [child for child in node.children if not isinstance(child, str)], values)
    parts = [child if isinstance(child, str) else _evaluate(child, values) for child in node.children]
    if kind in ("either", "both"):
        truths = [_truth(part) for part in parts]  # all of them: a mistake shows whatever the others are
        return any(truths) if kind == "either" else all(truths)
    if kind == "no":
        return not _truth(parts[0])
    if kind == "minus":
        return -_number(parts[0])
    if kind == "comparison":
        return _compared(parts[0], str(parts[1]), parts[2])
    result = _number(parts[0])
    for sign, part in zip(parts[1::2], parts[2::2], strict=True):
        result = _calculated(result, str(sign), _number(part))
    return result


def _called(name: str, arguments: list[Tree[Token]], values: Mapping[TagPlace, Value]) -> Value:
    if name == "if":
        return _evaluate(arguments[1 if _truth(_evaluate(arguments[0], values)) else 2], values)
    numbers = [_number(_evaluate(argument, values)) for argument in arguments]
    if name in ("min", "max"):
        return min(numbers) if name == "min" else max(numbers)
    if name.startswith("bit") or name == "shift":
        return _of_bits(name, [_whole(number) for number in numbers])
    if name == "sqrt" and numbers[0] < 0:
        raise ExpressionFailed(f"sqrt({numbers[0]:g}) has no value")
    return abs(numbers[0]) if name == "abs" else round(numbers[0]) if name == "round" else math.sqrt(numbers[0])


def _of_bits(name: str, wholes: list[int]) -> bool | int:
    first, second = wholes
    if name in ("bitand", "bitor", "bitxor"):
        return _JOINED[name](first, second)
    if not (0 if name == "bit" else -BIT_MAX) <= second <= BIT_MAX:
        raise ExpressionFailed(f"{name}({first}, {second}) has no value: there are {BIT_MAX + 1} bits")
    if name == "bit":
        return bool(first >> second & 1)
    return _whole(first << second if second >= 0 else first >> -second)


def _whole(number: int | float) -> int:
    if number != int(number) or abs(number) > WHOLE_MAX:
        raise ExpressionFailed(f"{number} is no whole number with exact bits")
    return int(number)


def _compared(left: Value, sign: str, right: Value) -> bool:
    if _kind(left) is not _kind(right):
        raise ExpressionFailed(
            f"{left!r} and {right!r} cannot be compared: one is a {_kind(left)}, one a {_kind(right)}"
        )
    if _kind(left) == "truth value" and sign not in ("==", "!="):
        raise ExpressionFailed(f"{left!r} and {right!r} have no order")
    for value in (left, right):
        if isinstance(value, float) and not math.isfinite(value):
            raise ExpressionFailed(f"{value!r} is not a number to compare with")
    return _COMPARE[sign](left, right)


def _calculated(left: float, sign: str, right: float) -> float:
    try:
        result: float = _ARITHMETIC[sign](left, right)
    except (ZeroDivisionError, OverflowError) as exc:
        raise ExpressionFailed(f"{left:g} {sign} {right:g} has no value") from exc
    return result


def _number(value: Value) -> float:
    if _kind(value) != "number" or (isinstance(value, float) and not math.isfinite(value)):
        raise ExpressionFailed(f"{value!r} is not a number to calculate with")
    return value  # type: ignore[return-value]


def _truth(value: Value) -> bool:
    if not isinstance(value, bool):
        raise ExpressionFailed(f"{value!r} is neither true nor false")
    return value


def _kind(value: Value) -> str:
    return "truth value" if isinstance(value, bool) else "text" if isinstance(value, str) else "number"
