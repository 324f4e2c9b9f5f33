"""What a YAML parser's complaint means to the person who wrote the file: where to look, and what to write instead."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import yaml

from connectors.model.errors import Problem

_LINE_BREAK: Final = re.compile("\r\n|[\r\n\x85\u2028\u2029]")
_LEADING_TAB: Final = re.compile(r" *\t")
_KEY_WITHOUT_SPACE: Final = re.compile(r"\s*(?:- )?[\w-]+:[^\s/:]")
_UNPRINTABLE: Final = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
KEY_CHARS_MAX: Final = 1024
"""YAML 1.2.2, section 7.4.2: a key on the line of its ':' has no more."""
_QUOTE_IT: Final = "Put the text in quotes."


@dataclass(frozen=True, slots=True)
class _Complaint:
    """What the parser said, at a 0-based line and column; ``context`` is where the thing it was reading began."""

    text: str
    lines: list[str]
    line: int
    column: int
    context_line: int
    context_column: int

    @property
    def here(self) -> str:
        """The line that the parser points to."""
        return self.lines[self.line] if self.line < len(self.lines) else ""

    @property
    def char(self) -> str:
        """The character that the parser points to; empty at the end of a line."""
        return self.here[self.column : self.column + 1]

    def line_above(self) -> int:
        """The nearest line above that says something; -1 when there is none."""
        for number in range(self.line - 1, -1, -1):
            if self.lines[number].strip() and not self.lines[number].lstrip().startswith("#"):
                return number
        return -1


@dataclass(frozen=True, slots=True)
class _Finding:
    """A sentence and what to do, at a 0-based line and column."""

    line: int
    column: int
    message: str
    suggestion: str


def unprintable_problem(where: str, text: str) -> Problem | None:
    """The first character of ``text`` that no YAML file may contain, or ``None``."""
    found = _UNPRINTABLE.search(text)
    if found is None:
        return None
    lines = _LINE_BREAK.split(text[: found.start()])
    return Problem(
        where,
        len(lines),
        len(lines[-1]) + 1,
        f"the character U+{ord(found[0]):04X} cannot stand in a YAML file.",
        "Remove it.",
    )


def syntax_problem(where: str, text: str, error: yaml.YAMLError, inside: tuple[int, int] | None) -> Problem:
    """The complaint ``error`` about ``text`` as a sentence with a place.

    ``inside`` is where (0-based line and column) the innermost list or mapping begins that has not ended yet.
    """
    complaint = _complaint(text, error, inside)
    finding = _finding(complaint)
    line = min(finding.line, len(complaint.lines) - 1)  # the parser counts a line that a file without an end lacks
    return Problem(where, line + 1, finding.column + 1, finding.message, finding.suggestion)


def _complaint(text: str, error: yaml.YAMLError, inside: tuple[int, int] | None) -> _Complaint:
    lines = _LINE_BREAK.split(text)
    if not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return _Complaint(str(error), lines, 0, 0, 0, 0)
    mark, context = error.problem_mark, error.context_mark or error.problem_mark
    said = f"{error.context or ''}: {error.problem or ''}"
    if inside is not None and "node content" in said and not "".join(lines[mark.line :])[mark.column :].strip():
        # The file ends where a bracket is open: what matters is where that was opened.
        return _Complaint("while parsing a flow sequence: ", lines, mark.line, mark.column, *inside)
    return _Complaint(said, lines, mark.line, mark.column, context.line, context.column)


def _finding(complaint: _Complaint) -> _Finding:
    for line in (complaint.line, complaint.context_line):
        indent = _LEADING_TAB.match(complaint.lines[line]) if line < len(complaint.lines) else None
        if indent is not None:
            return _Finding(
                line,
                indent.end() - 1,
                "this line is indented with a tab.",
                "Use spaces: YAML takes no tabs at the beginning of a line.",
            )
    for words, explain in _RULES:
        if any(word in complaint.text for word in words):
            return explain(complaint)
    return _Finding(
        complaint.line,
        complaint.column,
        "this cannot be read as YAML.",
        "Check the indentation, the quotes and the ':' of this line and of the one above.",
    )


def _colon_in_the_way(complaint: _Complaint) -> _Finding:
    """A ':' where none can be: in a text, after a line that lost its own, or on a line that is indented too far."""
    before = complaint.here[: complaint.column]
    if len(before.strip()) > KEY_CHARS_MAX:
        return _Finding(complaint.line, 0, f"a key has at most {KEY_CHARS_MAX} characters.", _QUOTE_IT)
    if ": " in before or before.rstrip().endswith(":"):
        at = before.index(":") + 1
        return _Finding(
            complaint.line,
            at + len(before[at:]) - len(before[at:].lstrip()),
            "this text contains ':' followed by a space, as if it were a key.",
            _QUOTE_IT,
        )
    above = complaint.line_above()
    line = complaint.lines[above] if above >= 0 else ""
    indent = len(line) - len(line.lstrip())
    if above >= 0 and _KEY_WITHOUT_SPACE.match(line):
        return _missing_space(complaint, above)
    if above >= 0 and not re.search(r":(\s|$)", line):
        return _Finding(above, indent, "this line has no ':' after its key.", "Write it as key: value.")
    return _Finding(
        complaint.line,
        len(before) - len(before.lstrip()),
        "this line is indented further than the line above allows.",
        "Give both the same indentation.",
    )


def _missing_space(complaint: _Complaint, line: int) -> _Finding:
    return _Finding(
        line, complaint.lines[line].index(":"), "there is no space after this ':'.", "Write it as key: value."
    )


def _no_colon(complaint: _Complaint) -> _Finding:
    line = complaint.context_line
    if line < len(complaint.lines) and _KEY_WITHOUT_SPACE.match(complaint.lines[line]):
        return _missing_space(complaint, line)
    return _Finding(line, complaint.context_column, "this line has no ':' after its key.", "Write it as key: value.")


def _after_the_end(complaint: _Complaint) -> _Finding:
    above = complaint.line_above()
    line = complaint.lines[above] if above >= 0 else ""
    if above >= 0 and ":" not in line and line.strip() != "...":
        return _Finding(above, 0, "this line has no ':' after its key.", "Write it as key: value.")
    return _Finding(
        complaint.line,
        complaint.column,
        "this stands after the end of the document.",
        "Check the indentation and the line above.",
    )


def _bad_indentation(complaint: _Complaint) -> _Finding:
    if complaint.char == ":":
        return _Finding(complaint.line, complaint.column, "there is no key before this ':'.", "Write it as key: value.")
    before = complaint.here[: complaint.column].rstrip()
    if before.endswith(('"', "'")):
        return _Finding(
            complaint.line,
            complaint.column,
            "there is more text after the closing quote.",
            "Put the whole text in quotes; inside of single quotes, write ' twice.",
        )
    if before.strip(" -"):
        return _Finding(complaint.line, complaint.column, "this text does not belong here.", _QUOTE_IT)
    return _Finding(
        complaint.line,
        complaint.column,
        "the indentation of this line fits none of the lines above.",
        "Begin it in the same column as its neighbours.",
    )


def _open_bracket(complaint: _Complaint) -> _Finding:
    line, column = complaint.context_line, complaint.context_column
    opened = complaint.lines[line][column : column + 1] if line < len(complaint.lines) else ""
    closing = "}" if opened == "{" else "]"
    if complaint.line > line or not complaint.char:
        return _Finding(line, column, f"this '{opened}' is not closed.", f"Add '{closing}' at its end.")
    return _Finding(
        complaint.line,
        complaint.column,
        f"a ',' or '{closing}' is missing before this.",
        "Put text that contains any of , : { } [ ] in quotes.",
    )


def _bad_start(complaint: _Complaint) -> _Finding:
    char = complaint.char
    if char == "\t":
        message, suggestion = "there is a tab here.", "Use spaces instead."
    else:
        message, suggestion = f"a text cannot begin with {char!r}.", _QUOTE_IT
    return _Finding(complaint.line, complaint.column, message, suggestion)


def _fixed(message: str, suggestion: str, *, at_context: bool = False) -> Callable[[_Complaint], _Finding]:
    def explain(complaint: _Complaint) -> _Finding:
        if at_context:
            return _Finding(complaint.context_line, complaint.context_column, message, suggestion)
        return _Finding(complaint.line, complaint.column, message, suggestion)

    return explain


# Words of libyaml and of PyYAML's own parser, which say the same things differently; the first that matches counts.
_RULES: Final[tuple[tuple[tuple[str, ...], Callable[[_Complaint], _Finding]], ...]] = (
    (("mapping values are not allowed",), _colon_in_the_way),
    (("could not find expected ':'",), _no_colon),
    (("cannot start any token",), _bad_start),
    (
        ("found unexpected end of stream", "found unexpected document"),
        _fixed("the quote that begins here is not closed.", "Add the closing quote.", at_context=True),
    ),
    (
        ("while parsing a quoted scalar", "while scanning a double-quoted scalar"),
        _fixed(
            "in double quotes, a '\\' begins a special character, and this is none.",
            "Put the text in single quotes, or write every '\\' twice.",
            at_context=True,
        ),
    ),
    (
        ("sequence entries are not allowed",),
        _fixed("a list cannot begin on this line.", "Begin it on the next line, with '- ' before each entry."),
    ),
    (("mapping keys are not allowed",), _fixed("a text cannot begin with '? '.", _QUOTE_IT)),
    (("while parsing a flow mapping: ", "while parsing a flow sequence: "), _open_bracket),
    (
        ("while scanning an alias", "while scanning an anchor"),
        _fixed("a text cannot begin with '*' or '&'.", _QUOTE_IT, at_context=True),
    ),
    (
        ("while scanning a tag", "while parsing a tag", "tag handle"),
        _fixed("a text cannot begin with '!'.", _QUOTE_IT, at_context=True),
    ),
    (("while scanning a block scalar",), _fixed("a text cannot begin with '|' or '>'.", _QUOTE_IT, at_context=True)),
    (
        ("expected node content", "expected the node content"),
        _fixed("a value is missing before this, or there is a bracket too many.", "Check the brackets and commas."),
    ),
    (
        ("irective", "incompatible YAML document"),
        _fixed("a line cannot begin with '%'.", "Remove the line, or put the text in quotes."),
    ),
    (("document start>",), _after_the_end),
    (("expected key", "expected '-' indicator", "expected <block end>"), _bad_indentation),
)
