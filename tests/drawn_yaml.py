"""Configuration files as nobody should write them, and what has to be true of every answer to one."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

from hypothesis import strategies as st

from connectors.model.errors import ConfigInvalid, Problem
from tests.bounded_effort import MEMORY_BYTES, bounded_effort

Place = tuple[Any, ...]
T = TypeVar("T")
READ_AT_ONCE_BYTES: Final = 16 * 1024 * 1024
"""The largest file that is read; room for it is taken before it is known how large it is."""
SECRET: Final = "Hunter2Hunter2"
TEXTS: Final = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20)
WORDS: Final = st.sampled_from(
    ["", " ", "5s", "-1s", "1%", "9" * 400 + "s", "9" * 400 + "GB", "1e400", "holding 70000", "coil ٣", "ns=1;i=1",
     "opcua", "opc-ua", "mqtt://u:p@h", "tcp://u:p@h", "mqtts://[::1]:99999", "${env:NONE}", "${file:/dev/zero}",
     "${credential:a}", "a/b", "Lineside/x", "/dev/zero", "*", "**/*", "../*", "x" * 300, "yes", "0660", "\u2028"]
)  # fmt: skip
YAML_PIECES: Final = st.sampled_from(
    ["agent:", "uplink:", "devices:", "tags:", "include:", "name: x", "driver: modbus", "- ", "  ", "\n", "\t", ": ",
     "{", "}", "[", "]", ",", "&a ", "*a", "!x ", "!!int ", "'", '"', "|", ">", "#", "%YAML 1.2", "---", "...", "? ",
     "<<", "\\", "\\x", "@", "`", "~", "12", "1.5", "0x", ".inf", "true", "ä", "\ufeff", "\x00", "\x85", "\r"]
)  # fmt: skip
ANY_BYTES: Final = st.binary(max_size=200) | st.text(max_size=100).map(
    lambda text: text.encode("utf-8", "surrogatepass")
)


def values(keys: list[str]) -> st.SearchStrategy[Any]:
    """Whatever YAML can have as a value, with the keys of the file among it."""
    return st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | WORDS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(keys) | TEXTS, inner, max_size=3),
        max_leaves=8,
    )


def keys_of(document: Any) -> list[str]:
    """All keys that are used in a document, each once."""
    return sorted(set(re.findall(r'"([a-z_]+)":', json.dumps(document))))


def changes(document: Any) -> st.SearchStrategy[list[tuple[Place, str, Any]]]:
    """Some changes of ``document``: values replaced, removed or added."""
    places = [path for path in paths_of(document) if path]
    how = st.sampled_from(["replace", "remove", "add"])
    return st.lists(st.tuples(st.sampled_from(places), how, values(keys_of(document))), min_size=1, max_size=4)


def as_file(document: Any) -> bytes:
    """A document as a YAML file."""
    return json.dumps(document, ensure_ascii=False).replace("NaN", ".nan").encode()


def paths_of(value: Any, above: Place = ()) -> Iterator[Place]:
    """The places of everything in a document, the document itself first."""
    yield above
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for step, inside in entries:
        yield from paths_of(inside, (*above, step))


def changed(document: Any, changes: list[tuple[Place, str, Any]]) -> Any:
    """A copy of ``document`` with some values replaced, removed or added; a change whose place is gone is left out."""
    document = copy.deepcopy(document)
    for path, how, value in changes:
        target: Any = document
        try:
            for step in path[:-1]:
                target = target[step]
            if how == "replace":
                target[path[-1]] = value
            elif how == "remove":
                del target[path[-1]]
            elif isinstance(target, dict):
                target[str(value)[:30]] = value
            elif isinstance(target, list):
                target.append(value)
        except (KeyError, IndexError, TypeError):
            continue
    return document


def answered(load: Callable[[Path], T], path: Path, data: bytes, *, is_traced: bool = False) -> T | list[Problem]:
    """The configuration in a file of ``data``, or its problems, after checks that hold for any problem."""
    path.write_bytes(data)
    with bounded_effort(len(data), memory_bytes=READ_AT_ONCE_BYTES + MEMORY_BYTES, is_traced=is_traced):
        try:
            return load(path)
        except ConfigInvalid as exc:
            problems = exc.problems
    lines = len(re.split("\r\n|[\r\n\x85\u2028\u2029]", data.decode("utf-8", "replace")))
    assert problems
    if not problems[-1].where:  # too many to be listed
        assert re.fullmatch(r"And [\d,]+ more problems\.", problems.pop().message)
    for problem in problems:
        assert problem.where == str(path)
        assert 0 < problem.line <= lines
        assert problem.column > 0
        assert problem.message.endswith((".", "…"))
        assert problem.suggestion == "" or problem.suggestion.endswith((".", "?"))
        assert len(problem.message) < 600
        assert "\n" not in str(problem)
        assert SECRET not in str(problem)
    return problems


UNFOLDING: Final = {
    "aliases of aliases": b"a: &a [x,x,x,x,x,x,x,x,x]\n"
    + b"".join(b"%c: &%c [%s]\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9)) for n in range(98, 115)),
    "merged again and again": b"a: &a {x: 1}\n"
    + b"".join(b"%c: &%c {<<: [%s], k%c: 1}\n" % (n, n, b",".join([b"*%c" % (n - 1)] * 9), n) for n in range(98, 115)),
    "lists in lists": b"[" * 50_000,
    "groups in groups": b"{a: " * 20_000,
    "blocks in blocks": b"".join(b" " * depth + b"a:\n" for depth in range(400)),
    "an entry without end": b"ingest: '" + b"x" * 500_000,
    "digits": b"ingest: " + b"9" * 100_000,
    "unknown keys": b"".join(b"key%d: 1\n" % n for n in range(1500)),
    "the same key": b"ingest: 1\n" * 5000,
    "keys almost right": b"".join(b"%s%d: 1\n" % (b"ingestion" * 20, n) for n in range(1200)),
    "an anchor each": b"".join(b"- &a%d x\n" % n for n in range(10_000)),
    "tags": b"- !!python/object/apply:os.system ['true']\n" * 2000,
}
"""Files that are short or regular, and long for whoever unfolds, recurs or compares everything with everything."""
