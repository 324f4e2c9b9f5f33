"""The port to a store of documents: JSON objects by collection and id, and entries that are kept by time.

Every tenant has collections of its own; what one asks never sees another's. Every method raises ``DatabaseUnavailable``
while the store cannot be reached or used; after that of one that writes, it may have been done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from connectors.model.errors import DocumentInvalid

BODY_BYTES_MAX: Final = 256 * 1024
"""Of a document or an entry, as JSON in UTF-8."""
DEPTH_MAX: Final = 20
ID_CHARS_MAX: Final = 200
PAGE_MAX: Final = 1001
ENTRY_OVERHEAD_BYTES: Final = 100
"""What an entry counts in its collection's size beside its body."""

Scalar = str | int | float | bool
Asked = Scalar | tuple[Scalar, ...]
"""A value, or any of several."""
Bound = str | float | None


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents of one kind. ``fields``: what is asked for often, as ``a.b`` for ``b`` within the object ``a``."""

    name: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CappedCollection:
    """Entries in the order of their times: of each tenant so many bytes, and none that is older than ``age_s_max``."""

    name: str
    bytes_max: int
    age_s_max: float
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is stored. Its revision grows with each change, and none comes twice under one id."""

    id: str
    revision: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Find:
    """Which documents: those that fulfil all of it, by their ids (code point by code point), behind ``after``.

    ``equal``: the field has the value, or one of a tuple's; of a field that is a list, it has it among its elements.
    ``between``: from <= value < to, where ``None`` is no bound; texts are compared with texts, code point by code
    point, and numbers with numbers, and a field of another type is not among them. ``prefix``: the field is a text that
    begins so. Both are for fields with a single value. ``words``: see ``document_words.matches``.
    """

    equal: Mapping[str, Asked] = field(default_factory=dict)
    between: Mapping[str, tuple[Bound, Bound]] = field(default_factory=dict)
    prefix: Mapping[str, str] = field(default_factory=dict)
    words: str = ""
    after: str = ""
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a capped collection; ``id`` tells entries of one time apart, and says which one is there already."""

    id: str
    time_ns: int
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class FindEntries:
    """Which entries: from <= time < to, newest first (of one time, the greatest id first), older than ``before``."""

    begin_ns: int | None = None
    end_ns: int | None = None
    equal: Mapping[str, Asked] = field(default_factory=dict)
    words: str = ""
    before: tuple[int, str] | None = None
    limit: int = 100


class DocumentStore(Protocol):
    """Documents and entries of all tenants."""

    async def prepare(self, collections: Sequence[Collection | CappedCollection]) -> None:
        """See to it that ``collections`` can be used, and are fast by their fields. Several may call it at once."""
        ...

    async def get(self, tenant_id: int, collection: Collection, document_id: str) -> Document | None:
        """The document, or ``None`` when there is none."""
        ...

    async def put(self, tenant_id: int, collection: Collection, document: Document, *, text: str = "") -> int:
        """Store ``document`` over the one whose revision is ``document.revision`` (0: there is none yet); the new one.

        ``text`` is what it is found by in ``Find.words``. Raises ``RevisionMoved`` with the revision that is there
        (0: none), and ``DocumentInvalid`` for what ``check_body`` refuses; then nothing was changed.
        """
        ...

    async def delete(self, tenant_id: int, collection: Collection, document_id: str, revision: int) -> None:
        """Delete the document of that revision. Raises ``RevisionMoved``."""
        ...

    async def find(self, tenant_id: int, collection: Collection, find: Find) -> Sequence[Document]:
        """Up to ``find.limit`` documents."""
        ...

    async def append(self, tenant_id: int, collection: CappedCollection, entries: Sequence[tuple[Entry, str]]) -> None:
        """Add entries, each with the text that it is found by. One whose id is there already is left out.

        Raises ``DocumentInvalid``, when none was added.
        """
        ...

    async def entries(self, tenant_id: int, collection: CappedCollection, find: FindEntries) -> Sequence[Entry]:
        """Up to ``find.limit`` entries."""
        ...

    async def trim(self, collection: CappedCollection, now_ns: int) -> int:
        """Delete of every tenant what is too old, and the oldest of what is too much; how many entries it was.

        Between two trims a collection may be larger than its bounds.
        """
        ...

    async def close(self) -> None:
        """Let connections go. Never raises."""
        ...


def check_body(document_id: str, body: Mapping[str, Any]) -> str:
    """``body`` as JSON. Raises ``DocumentInvalid`` for what a store does not take, or gives back as something else.

    That is: an id or a body beyond its bounds; a number beyond 64 bits, or none (NaN, infinity); the character U+0000,
    and half of a surrogate pair; a key that is empty, begins with ``$`` or has a dot in it.
    """
    if not 0 < len(document_id) <= ID_CHARS_MAX:
        raise DocumentInvalid(f"an id has 1 to {ID_CHARS_MAX} characters: {document_id[:50]!r}")
    _check_text(document_id)
    _check(body, 0)
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if len(text.encode()) > BODY_BYTES_MAX:
        raise DocumentInvalid(f"{document_id!r} is larger than {BODY_BYTES_MAX // 1024} KiB")
    return text


def entry_bytes(entry: Entry) -> int:
    """What ``entry`` counts in the size of its collection."""
    return len(check_body(entry.id, entry.body).encode()) + ENTRY_OVERHEAD_BYTES


def _check(value: Any, depth: int) -> None:
    if depth > DEPTH_MAX:
        raise DocumentInvalid(f"it is nested deeper than {DEPTH_MAX} levels")
    if isinstance(value, str):
        _check_text(value)
    elif value is None or isinstance(value, bool):
        pass
    elif isinstance(value, int):
        if not -(1 << 63) <= value < 1 << 63:
            raise DocumentInvalid(f"the number {str(value)[:30]} has more than 64 bits")
    elif isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise DocumentInvalid(f"{value} is no number that JSON has")
    elif isinstance(value, Mapping):
        for key, element in value.items():
            if not isinstance(key, str) or not key or key.startswith("$") or "." in key:
                raise DocumentInvalid(f"the key {key!r} is empty, begins with '$' or has a dot in it")
            _check_text(key)
            _check(element, depth + 1)
    elif isinstance(value, list | tuple):
        for element in value:
            _check(element, depth + 1)
    else:
        raise DocumentInvalid(f"JSON has no {type(value).__name__}")


def _check_text(text: str) -> None:
    if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise DocumentInvalid("a text has the character U+0000, or half of a surrogate pair")
