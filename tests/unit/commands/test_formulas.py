"""Formulas of derived tags: what they calculate in columns, what has no value, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.commands.expression import ExpressionFailed, ExpressionInvalid, TagPlace, parse_expression
from connectors.commands.formula import Column, Kind, parse_formula, stray_words
from connectors.model.tags import DeviceName, TagName

_KINDS: dict[type, tuple[Kind, Any]] = {
    bool: (Kind.TRUTH, np.bool_),
    float: (Kind.NUMBER, np.float64),
    int: (Kind.NUMBER, np.float64),
    str: (Kind.TEXT, object),
}


def column(*values: Any) -> Column:
    """``None`` is a row without a value."""
    kind, dtype = next(_KINDS[type(value)] for value in values if value is not None)
    empty = {Kind.TEXT: "", Kind.TRUTH: False, Kind.NUMBER: 0}[kind]
    filled = np.array([empty if value is None else value for value in values], dtype)
    return Column(kind, filled, np.array([value is None for value in values]))


def calculated(text: str, **inputs: Column) -> list[Any]:
    rows = len(next(iter(inputs.values())).values)
    result = parse_formula(text, inputs).calculate(inputs, rows)
    return [None if missing else value for value, missing in zip(result.values.tolist(), result.missing, strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a * 1.8 + 32", [50.0, 212.0]),
        ("(a - 10) / 4", [0.0, 22.5]),
        ("-a", [-10.0, -100.0]),
        ("min(a, 20)", [10.0, 20.0]),
        ("max(a, 20, 30)", [30.0, 100.0]),
        ("abs(5 - a)", [5.0, 95.0]),
        ("round(a / 3)", [3.0, 33.0]),
        ("sqrt(a * a)", [10.0, 100.0]),
        ("a > 50", [False, True]),
        ("a >= 10 and not a == 100", [True, False]),
        ("if(a > 50, 1, 0)", [0.0, 1.0]),
        ("if(a > 50, hot, 'not hot')", ["not hot", "hot"]),
        ("bit(a, 1)", [True, False]),
        ("bitand(a, 6)", [2.0, 4.0]),
        ("bitor(a, 1)", [11.0, 101.0]),
        ("bitxor(a, 3)", [9.0, 103.0]),
        ("shift(a, 4)", [160.0, 1600.0]),
        ("shift(a, -2)", [2.0, 25.0]),
        ("bitand(shift(a, -1), 3)", [1.0, 2.0]),
    ],
)
def test_whole_columns_are_calculated_with(text: str, expected: list[Any]) -> None:
    assert calculated(text, a=column(10, 100)) == expected


def test_texts_and_truths_are_compared_and_chosen() -> None:
    state, door = column("idle", "run"), column(True, False)
    assert calculated("state == idle and door", state=state, door=door) == [True, False]
    assert calculated("if(door, open, state)", state=state, door=door) == ["open", "run"]


NO_VALUE = [
    "1 / a", "sqrt(a - 1)", "bit(a + 0.5, 1)", "bit(1, a - 1)", "bit(1, a + 64)", "bitor(a + 3e6 * 3e6 * 3e6, 1)",
    "shift(1, a + 60)", "shift(1, a + 600)", "(a + 1) * 1e308 * 1e308",
]  # fmt: skip


@pytest.mark.parametrize("text", NO_VALUE)
def test_what_has_no_value_is_missing_in_its_row_alone(text: str) -> None:
    other, value = ("true", True) if text.startswith("bit(") else ("7", 7.0)
    assert calculated(f"if(b, {text}, {other})", a=column(0, 0), b=column(True, False)) == [None, value]


def test_a_row_without_an_input_has_no_value_and_what_is_not_chosen_does_not_count() -> None:
    assert calculated("a + b", a=column(1, None, 3), b=column(1, 1, None)) == [2.0, None, None]
    assert calculated("if(b, a, 0)", a=column(None, 3), b=column(False, True)) == [0.0, 3.0]


def test_a_word_is_a_tag_where_there_is_one_and_a_name_with_signs_is_quoted() -> None:
    tags = {"idle": column(1), "zone1/temperature": column(2), "Füllstand [%]": column(3)}
    formula = parse_formula("idle + zone1/temperature + `Füllstand [%]`", tags)
    assert formula.inputs == frozenset(tags)
    assert formula.calculate(tags, 1).values.tolist() == [6.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "breaks off"),
        ("a +", "breaks off"),
        ("1 + 2", "it depends on no tag"),
        ("forse * 2", "it depends on no tag: there is none called 'forse'"),
        ("if(on, yes, no)", "it depends on no tag: there is none called 'no' or 'on' or 'yes'"),
        ("bit(a)", "'bit' takes 2 values, not 1"),
        ("sqrt(a, a)", "'sqrt' takes 1 value, not 2"),
        ("__import__('os')", ""),
        ("a.real", ""),
        ("a[0]", ""),
        ("a ** a", ""),
        ("lambda: a", ""),
        ("(" * 60 + "a" + ")" * 60 + "-" * 60, ""),
        ("-" * 60 + "a", "it is nested more than 50 deep"),
        ("a" + " + a" * 400, "at most 1000 characters"),
    ],
)
def test_what_is_no_formula_is_refused(text: str, said: str) -> None:
    with pytest.raises(ExpressionInvalid) as caught:
        parse_formula(text, ["a"])
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a + s", "it calculates with a text"),
        ("a and t", "a number is neither true nor false"),
        ("a == s", "'==' compares a number with a text"),
        ("t < t", "'<' has no meaning for true and false"),
        ("if(t, a, s)", "'if' chooses between a number and a text"),
        ("bit(t, 1)", "it calculates with true or false"),
    ],
)
def test_kinds_that_do_not_go_together_are_told_before_there_is_a_value(text: str, said: str) -> None:
    kinds = {"a": Kind.NUMBER, "s": Kind.TEXT, "t": Kind.TRUTH}
    with pytest.raises(ExpressionInvalid) as caught:
        parse_formula(text, kinds).kind(kinds)
    assert said in str(caught.value)


def test_a_word_that_is_neither_tag_nor_compared_text_is_told() -> None:
    assert stray_words(parse_formula("a + sped", ["a"])) == ["sped"]
    assert stray_words(parse_formula("if(a == idle, stopped, running)", ["a"])) == []


_WHOLE = st.integers(-(2**53), 2**53)
_CALLS = st.sampled_from(["bitand(a, b)", "bitor(a, b)", "bitxor(a, b)", "bit(a, b)", "shift(a, b)", "min(a, b)",
                          "a + b", "a - b", "a * b", "a / b", "a < b", "abs(a)", "round(a / 7)"])  # fmt: skip


@given(_CALLS, _WHOLE, st.one_of(_WHOLE, st.integers(-64, 64)))
def test_a_formula_has_the_value_that_a_condition_of_the_same_words_has(text: str, a: int, b: int) -> None:
    found = calculated(text, a=column(a), b=column(b))[0]
    written = text.replace("(a", "(d/a").replace("b)", "d/b)")
    written = written if "(" in text else text.replace("a", "d/a").replace("b", "d/b")
    place = {TagPlace(DeviceName("d"), TagName(name)): float(value) for name, value in (("a", a), ("b", b))}
    try:
        expected: Any = parse_expression(written).evaluate(place)
    except ExpressionFailed:
        expected = None
    if expected is None or found is None:
        assert found is expected
    else:
        assert math.isclose(found, expected, rel_tol=1e-15)
