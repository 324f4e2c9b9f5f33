"""YAML is read by the rules of version 1.2, every value has its place, and no file can exhaust the reader."""

from __future__ import annotations

import math
from typing import Any

import pytest
import yaml

from connectors.configuration import yaml_nodes
from connectors.configuration.yaml_nodes import DEPTH_MAX, FILE_BYTES_MAX, Place, decode_yaml, read_yaml
from connectors.model.errors import ConfigInvalid

BOTH_PARSERS = [yaml.CBaseLoader, yaml.BaseLoader]


@pytest.fixture(params=BOTH_PARSERS, ids=["libyaml", "python"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_nodes, "_PARSER", request.param)


def problems_of(text: str) -> list[str]:
    """What is wrong with ``text``, whether or not it stops the reading."""
    try:
        return [str(problem) for problem in read_yaml(text, "f.yaml").problems]
    except ConfigInvalid as exc:
        return [str(problem) for problem in exc.problems]


def test_libyaml_is_used_where_it_is_there() -> None:
    assert yaml_nodes._PARSER is yaml.CBaseLoader


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("true", True),
        ("True", True),
        ("FALSE", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("0", 0),
        ("-17", -17),
        ("+3", 3),
        ("007", 7),
        ("0o17", 15),
        ("0x1F", 31),
        ("0.5", 0.5),
        ("-.5", -0.5),
        ("1.", 1.0),
        ("1e3", 1000.0),
        ("1.5E-2", 0.015),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("No", "No"),
        ("y", "y"),
        ("tRUE", "tRUE"),
        ("12:30", "12:30"),
        ("2026-11-22", "2026-11-22"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("0o8", "0o8"),
        ("-0x1F", "-0x1F"),
        ("1e", "1e"),
        (".", "."),
        ("-", None),
        ("+", "+"),
        ("۱۲", "۱۲"),
        ("100ms", "100ms"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("''", ""),
        ("|\n  12\n", "12\n"),
        ("[]", ()),
        ("{}", {}),
        ("[1, [a, ~]]", (1, ("a", None))),
    ],
)
@pytest.mark.usefixtures("_parser")
def test_values_follow_the_core_schema(written: str, value: Any) -> None:
    if written == "-":  # an entry of a list, not a text
        assert read_yaml("-", "f").value == (None,)
        return
    read = read_yaml(f"key: {written}\n", "f")
    assert read.problems == ()
    assert read.value == {"key": value}
    assert type(read.value["key"]) is type(value)


@pytest.mark.usefixtures("_parser")
def test_not_a_number_is_one() -> None:
    assert math.isnan(read_yaml(".nan", "f").value)


@pytest.mark.usefixtures("_parser")
def test_keys_are_text_as_they_are_written() -> None:
    assert read_yaml("{1: a, true: b, ~: c, 'x y': d, 0x1: e}", "f").value == {
        "1": "a",
        "true": "b",
        "~": "c",
        "x y": "d",
        "0x1": "e",
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n"])
@pytest.mark.usefixtures("_parser")
def test_nothing_is_null(text: str) -> None:
    assert read_yaml(text, "f").value is None


@pytest.mark.usefixtures("_parser")
def test_every_key_and_value_has_its_place() -> None:
    read = read_yaml(
        "agent: {group: plant, name: 'line'}\n"
        "devices:\n"
        "  # a comment\n"
        "  - name: press\n"
        "    tags:\n"
        "      - {name: ä, at: x}\n"
        "  -   name: oven\n",
        "f",
    )
    assert read.place(("agent",)) == Place((1, 1), (1, 8))
    assert read.place(("agent", "name")) == Place((1, 23), (1, 29))
    assert read.place(("devices",)) == Place((2, 1), (4, 3))
    assert read.place(("devices", 0)) == Place((4, 5), (4, 5))
    assert read.place(("devices", 0, "tags", 0, "at")) == Place((6, 19), (6, 23))
    assert read.place(("devices", 1, "name")) == Place((7, 7), (7, 13))
    assert read.get(("devices", 0, "tags", 0, "name")) == "ä"


@pytest.mark.usefixtures("_parser")
def test_a_path_that_leads_nowhere_ends_at_its_last_part_that_exists() -> None:
    read = read_yaml("a:\n  b: [1]\n", "f")
    for path in [("a", "x"), ("a", "x", 0), ("a", 0)]:
        assert read.place(path) == read.place(("a",))
        assert read.get(path) is None
        assert not read.has(path)
    assert read.place(("a", "b", 1)) == read.place(("a", "b"))
    assert read.place(("a", "b", 0, "deeper")) == read.place(("a", "b", 0))
    assert read.has(("a", "b", 0))
    assert read.get(("a", "b", 0, 0)) is None


@pytest.mark.usefixtures("_parser")
def test_a_null_is_there() -> None:
    read = read_yaml("a:\n", "f")
    assert read.has(("a",))
    assert read.get(("a",)) is None


@pytest.mark.usefixtures("_parser")
def test_an_alias_stands_for_its_anchor() -> None:
    read = read_yaml("a: &limits {min: 1}\nb: *limits\nc: [&x 5, *x, *x]\n", "f")
    assert read.value == {"a": {"min": 1}, "b": {"min": 1}, "c": (5, 5, 5)}
    assert read.place(("b",)).value == (2, 4)
    assert read.place(("b", "min")).value == (1, 18), "what is wrong inside is repaired where it is written"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("agent:\n\tgroup: a\n", "2:1: this line is indented with a tab. Use spaces: YAML takes no tabs at the beginning of a line."),  # noqa: E501
        ("a:\n  b: 1\n  \tc: 2\n", "3:3: this line is indented with a tab. Use spaces: YAML takes no tabs at the beginning of a line."),  # noqa: E501
        ("a:\n-\tb: 1\n\tc: 2\n", "2:2: there is a tab here. Use spaces instead."),
        ("agent:\n  group a\n  name: b\n", "2:3: this line has no ':' after its key. Write it as key: value."),
        ("agent:\n  group: a\n  name b\n  x: 1\n", "3:3: this line has no ':' after its key. Write it as key: value."),
        ("agent\n# comment\n\nuplink: 1\n", "1:1: this line has no ':' after its key. Write it as key: value."),
        ("agent:\n  group:a\n  name: b\n", "2:8: there is no space after this ':'. Write it as key: value."),
        ("a:\n  x: 1\n  group:a\n  name: b\n", "3:8: there is no space after this ':'. Write it as key: value."),
        ("a: b: c\n", "1:4: this text contains ':' followed by a space, as if it were a key. Put the text in quotes."),
        ("a:\n  b: 1\n    c: 2\n", "3:5: this line is indented further than the line above allows. Give both the same indentation."),  # noqa: E501
        ("a:\n    b: 1\n  c: 2\n", "3:3: the indentation of this line fits none of the lines above. Begin it in the same column as its neighbours."),  # noqa: E501
        ("a:\n  - b: 1\n   - b: 2\n", "3:4: the indentation of this line fits none of the lines above. Begin it in the same column as its neighbours."),  # noqa: E501
        ("a:\n  - b: 1\n    c: 2\n   - b: 2\n", "4:4: the indentation of this line fits none of the lines above. Begin it in the same column as its neighbours."),  # noqa: E501
        ("a:\n  b: 1\n  - c: 2\n", "3:3: the indentation of this line fits none of the lines above. Begin it in the same column as its neighbours."),  # noqa: E501
        ("devices: - name: a\n", "1:10: a list cannot begin on this line. Begin it on the next line, with '- ' before each entry."),  # noqa: E501
        ("unit: %\n", "1:7: a text cannot begin with '%'. Put the text in quotes."),
        ("at: @x\n", "1:5: a text cannot begin with '@'. Put the text in quotes."),
        ("at: `x`\n", "1:5: a text cannot begin with '`'. Put the text in quotes."),
        ("at: * x\n", "1:5: a text cannot begin with '*' or '&'. Put the text in quotes."),
        ("at: &\n", "1:5: a text cannot begin with '*' or '&'. Put the text in quotes."),
        ("at: !x!y z\n", "1:5: a text cannot begin with '!'. Put the text in quotes."),
        ("at: >=5\n", "1:5: a text cannot begin with '|' or '>'. Put the text in quotes."),
        ("at: ? b\n", "1:5: a text cannot begin with '? '. Put the text in quotes."),
        ("at: *other\n", "1:5: there is no '&other' above for this '*other'. Put text that begins with * in quotes."),
        ("at: !include x\n", "1:5: the YAML tag '!include' is not used here. Other files are named under 'include'."),
        ("at: !!int 3\n", "1:5: the YAML tag 'int' is not used here. Remove it, or put text that begins with ! in quotes."),  # noqa: E501
        ("at: !!map {}\n", "1:5: the YAML tag 'map' is not used here. Remove it, or put text that begins with ! in quotes."),  # noqa: E501
        ("a: \"b\nc: d\n", "1:4: the quote that begins here is not closed. Add the closing quote."),
        ("a: 'b\nc: d\n", "1:4: the quote that begins here is not closed. Add the closing quote."),
        ("a: 'b\n--- c'\n", "1:4: the quote that begins here is not closed. Add the closing quote."),
        ("a: 'b' c\n", "1:8: there is more text after the closing quote. Put the whole text in quotes; inside of single quotes, write ' twice."),  # noqa: E501
        ("a: \"C:\\data\"\n", "1:4: in double quotes, a '\\' begins a special character, and this is none. Put the text in single quotes, or write every '\\' twice."),  # noqa: E501
        ("a: {b: 1\nc: 2\n", "1:4: this '{' is not closed. Add '}' at its end."),
        ("a: [1, 2\nc: 2\n", "1:4: this '[' is not closed. Add ']' at its end."),
        ("a: {b: 1 c: 2}\n", "1:11: a ',' or '}' is missing before this. Put text that contains any of , : { } [ ] in quotes."),  # noqa: E501
        ("a: {p: ${env:X}}\n", "1:9: a ',' or '}' is missing before this. Put text that contains any of , : { } [ ] in quotes."),  # noqa: E501
        ("a: [1, 2}\n", "1:9: a ',' or ']' is missing before this. Put text that contains any of , : { } [ ] in quotes."),  # noqa: E501
        ("a:\n  b: [1,\n\n", "2:6: this '[' is not closed. Add ']' at its end."),
        ("a: [", "1:4: this '[' is not closed. Add ']' at its end."),
        ("a: ]\n", "1:4: a value is missing before this, or there is a bracket too many. Check the brackets and commas."),  # noqa: E501
        ("a: {{ x }}\n", "1:5: a list or a group cannot be a key. Put text that begins with { or [ in quotes."),
        ("a: &x 1\n*x : 2\n", "2:1: an alias cannot be a key. Put text that begins with * in quotes."),
        ("a: 1\n: 2\n", "2:1: there is no key before this ':'. Write it as key: value."),
        ("a: 1\n---\nb: 2\n", "2:1: a second document begins here. Keep one document in a file."),
        ("a: 1\n...\nb: 2\n", "3:1: this stands after the end of the document. Check the indentation and the line above."),  # noqa: E501
        ("%YAML 3.0\n---\na: 1\n", "1:1: a line cannot begin with '%'. Remove the line, or put the text in quotes."),
        ("a: 1\r\nb: \x07\r\n", "2:4: the character U+0007 cannot stand in a YAML file. Remove it."),
        ("a: \ufeff1\n", "1:4: the character U+FEFF cannot stand in a YAML file. Remove it."),
        ("a: 1\nb: 2\na: 3\n", "3:1: the key 'a' is here a second time; the first is in line 1. Remove one of them."),
        ("a: {b: 1, 'b': 2}\n", "1:11: the key 'b' is here a second time; the first is in line 1. Remove one of them."),
        ("a: " + "1" * 65, "1:4: a number of 65 characters is too long. Put it in quotes."),
        ("k" * 1025 + ": 1\n", "1:1: a key has at most 1024 characters. Put the text in quotes."),
        ("a: &a [*a]\n", "1:8: there is no '&a' above for this '*a'. Put text that begins with * in quotes."),
        ("[" * 33, "1:33: this is nested more than 32 levels deep. Write it flatter."),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("_parser")
def test_malformed_yaml_is_explained(text: str, said: str) -> None:
    assert problems_of(text) == [f"f.yaml:{said}"]


def test_a_tab_after_the_colon_is_white_space() -> None:
    assert read_yaml("a:\tb\n", "f").value == {"a": "b"}


def test_half_a_surrogate_pair_is_refused() -> None:
    assert problems_of('a: "\\ud800"\n') != []


def test_half_a_surrogate_pair_is_refused_without_libyaml_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml_nodes, "_PARSER", yaml.BaseLoader)
    read = read_yaml('a: "\\ud800"\n', "f.yaml")
    assert [str(problem) for problem in read.problems] == [
        "f.yaml:1:4: this text contains half of a surrogate pair. Write the character itself."
    ]
    read.value["a"].encode()


def test_what_does_not_stop_the_reading_does_not_hide_the_rest() -> None:
    read = read_yaml("a: 1\na: 2\nb: !x 3\nc: {d: 4, d: 5}\n", "f")
    assert [problem.line for problem in read.problems] == [2, 3, 4]
    assert read.value == {"a": 1, "b": 3, "c": {"d": 4}}


def test_what_was_wrong_before_a_syntax_error_is_said_with_it() -> None:
    with pytest.raises(ConfigInvalid) as caught:
        read_yaml("a: 1\na: 2\nb: [\n", "f")
    assert [problem.line for problem in caught.value.problems] == [2, 3]


@pytest.mark.usefixtures("_parser")
def test_aliases_cannot_multiply_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    [said] = problems_of("\n".join(lines))
    assert said.endswith("the file says too much, aliases written out. Split it into several agents.")


def test_a_long_text_cannot_be_multiplied_by_aliases() -> None:
    text = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 1000)}]\n"
    [said] = problems_of(text)
    assert "aliases written out" in said


def test_aliases_cannot_nest_deeper_than_brackets() -> None:
    deep = DEPTH_MAX - 2
    text = f"a: &a {'[' * deep}{']' * deep}\nb: {'[' * deep}*a{']' * deep}\n"
    assert problems_of(text) == [f"f.yaml:2:{4 + deep}: this is nested more than 32 levels deep. Write it flatter."]
    assert problems_of(f"a: &a {'[' * 15}{']' * 15}\nb: {'[' * 15}*a{']' * 15}\n") == []


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, "{" * 100_000, "- " * 100_000, "? " * 100_000, "a: &" * 50_000, "!!" * 100_000, "'" * 100_001],
)
def test_hostile_text_ends_in_a_sentence(text: str) -> None:
    assert len(problems_of(text)) == 1


def test_the_number_of_problems_is_bounded() -> None:
    assert len(problems_of("a: 1\n" * 5000)) == yaml_nodes.PROBLEMS_MAX


def test_a_file_has_a_largest_size() -> None:
    with pytest.raises(ConfigInvalid) as of_bytes:
        decode_yaml(b"#" * (FILE_BYTES_MAX + 1), "f")
    with pytest.raises(ConfigInvalid) as of_text:
        read_yaml("#" * (FILE_BYTES_MAX + 1), "f")
    assert str(of_bytes.value) == str(of_text.value) == "f: the file is larger than 16 MiB. Split it with 'include'."
    assert read_yaml(decode_yaml(b"#" * FILE_BYTES_MAX, "f"), "f").value is None


def test_a_byte_order_mark_is_skipped() -> None:
    read = read_yaml(decode_yaml(b"\xef\xbb\xbfa: 1\n", "f"), "f")
    assert read.value == {"a": 1}
    assert read.place(("a",)).key == (1, 1)


@pytest.mark.parametrize(("data", "place"), [(b"a: 1\nb: \xe4\n", "2:4"), ("a: 1".encode("utf-16"), "1:1")])
def test_a_file_that_is_not_utf_8_is_refused_where_it_begins_to_be(data: bytes, place: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        decode_yaml(data, "f.yaml")
    assert str(caught.value) == f"f.yaml:{place}: this is not UTF-8 text. Save the file as UTF-8."
