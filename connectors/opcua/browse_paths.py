"""Browse paths as a device file writes them, such as ``/Objects/2:Press/Ram/Force`` (after Part 4, Annex A.2).

A path begins at the root of the address space. Each of its names is a browse name: ``2:Press`` with the index of its
namespace, or ``nsu=<uri>;Press`` with its URI; a name without either is in the namespace of the name before it. What
follows ``&`` stands for itself, so that a name may have ``/``, ``&`` or, before a colon, digits in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from connectors.opcua.node_ids import NAMESPACE_INDEX_MAX

NAMES_MAX: Final = 100
NAME_LENGTH_MAX: Final = 512
"""Of a browse name, in characters (Part 3, 8.3)."""

_INDEX: Final = re.compile(r"([0-9]{1,10}):")
_STEP: Final = re.compile(r"(?:[^/&]|&.)*", re.DOTALL)
_ESCAPED: Final = re.compile(r"&(.)", re.DOTALL)
_RESERVED: Final = re.compile(r"[/&]|\A[0-9]+(?=:)|\Ansu(?==)")


@dataclass(frozen=True, slots=True)
class BrowseName:
    """One name of a path; its namespace is an index, or a URI that the server has to translate into one."""

    namespace: int | str
    name: str


def is_path(at: str) -> bool:
    """Whether ``at`` writes a browse path, and not a node id."""
    return at.startswith("/")


def parse_path(at: str) -> tuple[BrowseName, ...]:
    """The names of the path that ``at`` writes. Raises ``ValueError`` with what is wrong and what to write."""
    names: list[BrowseName] = []
    place, namespace = 0, 0
    written: int | str = namespace
    while place < len(at):
        place += 1  # the slash
        if at.startswith("nsu=", place):
            end = at.find(";", place)
            if end < 0:
                raise ValueError(f"{at!r}: after nsu= come the URI of a namespace, ';' and a name")
            written, place = at[place + 4 : end], end + 1
        elif (index := _INDEX.match(at, place)) is not None:
            written, place = int(index[1]), index.end()
            if written > NAMESPACE_INDEX_MAX:
                raise ValueError(f"{at!r}: the index of a namespace goes from 0 to {NAMESPACE_INDEX_MAX}")
        step = _STEP.match(at, place)
        assert step is not None  # noqa: S101  it matches the empty text
        name = _ESCAPED.sub(r"\1", step[0])
        place = step.end()
        if not name or (place < len(at) and at[place] != "/"):
            raise ValueError(
                f"{at!r}: there is an empty name in this browse path, or a '&' at its end; write it such as "
                "/Objects/2:Press/Ram/Force"
            )
        if len(name) > NAME_LENGTH_MAX:
            raise ValueError(f"a name in a browse path has {len(name)} characters, and OPC UA allows {NAME_LENGTH_MAX}")
        names.append(BrowseName(written, name))
    if len(names) > NAMES_MAX:
        raise ValueError(f"a browse path of {len(names)} names is longer than any tree, {NAMES_MAX} are allowed")
    return tuple(names)


def path_of(names: Iterable[BrowseName]) -> str:
    """The shortest path that ``parse_path`` reads as ``names``."""
    parts: list[str] = []
    before: int | str = 0
    for each in names:
        name = _RESERVED.sub(lambda found: f"{found[0][:-1]}&{found[0][-1]}", each.name)
        if each.namespace != before:
            before = each.namespace
            name = f"nsu={before};{name}" if isinstance(before, str) else f"{before}:{name}"
        parts.append("/" + name)
    return "".join(parts)
