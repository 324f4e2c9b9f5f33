"""A hash chain over what people and programs did: whoever changes, removes or moves an entry breaks it.

Each entry names the hash of the one before it; its own hash is SHA-256 over its canonical JSON (keys sorted, no spaces,
UTF-8). The chain alone does not show that its end was cut off: for that its head is kept elsewhere too (an agent
reports its own to the cloud).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

GENESIS: Final = "0" * 64
"""What the first entry names as the one before it."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that was done. ``number`` counts from 1; ``time_ms`` is Unix time, UTC, by the writer's clock."""

    number: int
    time_ms: int
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any] = field(default_factory=dict)
    before: str = GENESIS
    hash: str = ""

    def to_json(self) -> dict[str, Any]:
        """As an export has it, a line each."""
        return {**self._content(), "hash": self.hash}

    def computed_hash(self) -> str:
        """What its hash has to be, in 64 hexadecimal digits."""
        return hashlib.sha256(canonical(self._content())).hexdigest()

    def _content(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "time_ms": self.time_ms,
            "actor": self.actor,
            "action": self.action,
            "subject": self.subject,
            "details": dict(self.details),
            "before": self.before,
        }


def canonical(document: Any) -> bytes:
    """The one way in which ``document`` is written. Raises ``ValueError`` for NaN and infinities."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode()


def chained(
    last: AuditEntry | None, *, time_ms: int, actor: str, action: str, subject: str, details: Mapping[str, Any]
) -> AuditEntry:
    """The entry that follows ``last``."""
    number, before = (1, GENESIS) if last is None else (last.number + 1, last.hash)
    bare = AuditEntry(number, time_ms, actor, action, subject, details, before)
    return AuditEntry(number, time_ms, actor, action, subject, details, before, bare.computed_hash())


def entry_of(document: Mapping[str, Any]) -> AuditEntry:
    """The entry that ``to_json`` wrote. Raises ``ValueError`` when it is none."""
    try:
        return AuditEntry(
            int(document["number"]),
            int(document["time_ms"]),
            str(document["actor"]),
            str(document["action"]),
            str(document["subject"]),
            dict(document["details"]),
            str(document["before"]),
            str(document["hash"]),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise ValueError(f"not an entry of an audit log: {exc!r}") from exc


def problems(entries: Iterable[AuditEntry], before: str = GENESIS, first: int = 1) -> Iterator[str]:
    """What is wrong with a chain that goes on after the hash ``before`` with number ``first``; empty when whole."""
    expected = first
    for entry in entries:
        if entry.number != expected:
            where = f"{expected} to {entry.number - 1} are missing" if entry.number > expected else "it is out of order"
            yield f"entry {entry.number} comes where {expected} should: {where}"
        if entry.before != before:
            yield f"entry {entry.number} does not follow the one before it: something was changed, removed or moved"
        if entry.computed_hash() != entry.hash:
            yield f"entry {entry.number} was changed after it was written"
        before, expected = entry.hash, entry.number + 1
