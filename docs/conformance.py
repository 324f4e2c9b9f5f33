"""Which test shows that which statement of the Sparkplug specification is held: the source of a reference page.

The statements stand in ``tests/conformance/sparkplug.yaml``; a test names those that it shows in its mark.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

CHECKOUT: Final = Path(__file__).parents[1]
STATEMENTS: Final = CHECKOUT / "tests" / "conformance" / "sparkplug.yaml"
PREFIX: Final = "tck-id-"
MARK: Final = "sparkplug"
_HEAD: Final = """\
# Sparkplug B 3.0, statement by statement

Made from `tests/conformance/sparkplug.yaml` and the marks of the tests by `make generated`.

The specification names its normative statements. Here are all {statements} of them in our own words, in {rules} rules:
those that say the same stand together. {held} are held, and the tests that show it are named; {others} do not apply,
and the reason is given. How Lineside speaks Sparkplug is in [sparkplug.md](sparkplug.md).

Beside these tests, two implementations of other people read what an agent writes, and write what the historian stores:
Eclipse Tahu and the npm package sparkplug-payload (`tests/contract/test_sparkplug_interop_*.py`).
"""


@dataclass(frozen=True, slots=True)
class Rule:
    """Statements that say the same, by their ids with prefix."""

    ids: tuple[str, ...]
    says: str
    not_applicable: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """Rules under one title."""

    title: str
    rules: tuple[Rule, ...]


def sections() -> list[Section]:
    """All statements."""
    document = yaml.safe_load(STATEMENTS.read_text(encoding="utf-8"))
    return [
        Section(
            part["title"],
            tuple(Rule(**(rule | {"ids": tuple(PREFIX + each for each in rule["ids"])})) for rule in part["rules"]),
        )
        for part in document
    ]


def marks(folder: Path = CHECKOUT / "tests") -> dict[str, list[str]]:
    """By id: the tests (``file::name``, sorted) that say that they show it."""
    found: dict[str, set[str]] = {}
    for path in sorted(folder.rglob("test_*.py")):
        text = path.read_text(encoding="utf-8")
        if f"mark.{MARK}(" in text:
            for name, ids in _marked(ast.parse(text)):
                for each in ids:
                    found.setdefault(each, set()).add(f"{path.relative_to(folder.parent)}::{name}")
    return {each: sorted(tests) for each, tests in found.items()}


def page() -> str:
    """The reference page, as Markdown."""
    parts, shown = sections(), marks()
    rules = [rule for part in parts for rule in part.rules]
    others = sum(len(rule.ids) for rule in rules if rule.not_applicable)
    total = sum(len(rule.ids) for rule in rules)
    text = [_HEAD.format(statements=total, rules=len(rules), held=total - others, others=others)]
    for part in parts:
        text.append(
            f"\n## {part.title}\n\n| statement | what it says | held | shown by, or why not |\n|---|---|---|---|\n"
        )
        text += [_row(rule, shown) for rule in part.rules]
    return "".join(text)


def shown_by(rule: Rule, shown: Mapping[str, Sequence[str]]) -> list[str]:
    """The tests that show any of its statements."""
    return sorted({test for each in rule.ids for test in shown.get(each, ())})


def _row(rule: Rule, shown: Mapping[str, Sequence[str]]) -> str:
    ids = "<br>".join(f"`{each}`" for each in rule.ids)
    says = rule.says + (f" *{rule.note}*" if rule.note else "")
    if rule.not_applicable:
        return f"| {ids} | {says} | n/a | {rule.not_applicable} |\n"
    tests = "<br>".join(f"`{test}`" for test in shown_by(rule, shown))
    return f"| {ids} | {says} | yes | {tests} |\n"


def _marked(module: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == f"pytest.mark.{MARK}":
                    yield node.name, [ast.literal_eval(argument) for argument in decorator.args]
