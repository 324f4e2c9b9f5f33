"""Node ids as a device file writes them (Part 6, 5.3.1.10), taken apart without a server and without a library."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

NAMESPACE_INDEX_MAX: Final = (1 << 16) - 1
NUMBER_MAX: Final = (1 << 32) - 1
IDENTIFIER_LENGTH_MAX: Final = 4096
"""Of a text in characters, of opaque bytes in bytes (Part 3, 8.2.3)."""

_SHAPE: Final = re.compile(r"(?:(?:ns=(?P<index>[0-9]+)|nsu=(?P<uri>[^;]+));)?(?P<kind>[isgb])=(?P<rest>.+)", re.DOTALL)
_NUMBER: Final = re.compile(r"[0-9]{1,10}")
_GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")

_BETWEEN: Final = re.compile(r" / (?=(?:ns=|nsu=|i=|s=|g=|b=))")


@dataclass(frozen=True, slots=True)
class WrittenNodeId:
    """A node id whose namespace is an index, or a URI that the server has to translate into one."""

    namespace: int | str
    identifier: int | str | UUID | bytes


def parse_written(at: str) -> WrittenNodeId:
    """The node id that ``at`` writes. Raises ``ValueError`` with what is wrong and what to write."""
    found = _SHAPE.fullmatch(at)
    if found is None:
        raise ValueError(
            f"{at!r} is not a node id; write it as nsu=<namespace uri>;s=<identifier>, or ns=<index>;s=<identifier> "
            "(i=<number> where it is one)"
        )
    return WrittenNodeId(
        found["uri"] or _index(at, found["index"] or "0"), _identifier(at, found["kind"], found["rest"])
    )


def split_method(written: str) -> tuple[str | None, str]:
    """The node ids of object and method of which ``object / method`` is written; of the method alone no object.

    Raises ``ValueError`` when that is no node id, or two.
    """
    for between in _BETWEEN.finditer(written):
        owner, method = written[: between.start()], written[between.end() :]
        parse_written(owner)
        parse_written(method)
        return owner, method
    parse_written(written)
    return None, written


def _index(at: str, digits: str) -> int:
    if not _NUMBER.fullmatch(digits) or int(digits) > NAMESPACE_INDEX_MAX:
        raise ValueError(
            f"{at!r}: the index of a namespace goes from 0 to {NAMESPACE_INDEX_MAX}; write the one that the server has "
            "given it, or nsu=<namespace uri>"
        )
    return int(digits)


def _identifier(at: str, kind: str, rest: str) -> int | str | UUID | bytes:
    match kind:
        case "i":
            if not _NUMBER.fullmatch(rest) or int(rest) > NUMBER_MAX:
                raise ValueError(f"{at!r}: after i= comes a number from 0 to {NUMBER_MAX}; write s= before a text")
            return int(rest)
        case "g":
            if not _GUID.fullmatch(rest):
                raise ValueError(
                    f"{at!r}: after g= comes a GUID; write it with all its digits, such as "
                    "g=09087e75-8e5e-499b-954f-f2a9603db28a"
                )
            return UUID(rest)
        case "b":
            return _bytes(at, rest)
        case _:
            if len(rest) > IDENTIFIER_LENGTH_MAX:
                raise ValueError(
                    f"the text after s= has {len(rest)} characters, and OPC UA allows {IDENTIFIER_LENGTH_MAX}"
                )
            return rest


def _bytes(at: str, rest: str) -> bytes:
    try:
        found = base64.b64decode(rest, validate=True)
    except (binascii.Error, ValueError):  # ValueError: a character that is not even ASCII
        raise ValueError(
            f"{at!r}: after b= come bytes in base64; write them such as b=M/RbKBsRVkePCePcx24oRA=="
        ) from None
    if len(found) > IDENTIFIER_LENGTH_MAX:
        raise ValueError(f"after b= come {len(found)} bytes, and OPC UA allows {IDENTIFIER_LENGTH_MAX}")
    return found
