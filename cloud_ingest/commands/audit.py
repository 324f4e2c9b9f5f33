"""The audit log of the cloud: what people, programs and agents did with commands, keys and logins, as a hash chain.

Each tenant has a chain of its own; the keys of the cloud are in that of the first one, who runs it.

Who writes it holds the row of its head for the rest of the transaction. So there is one chain and no two entries with
one number; and the head shows when entries were cut off at the end. Who writes states of commands, of whichever tenant,
holds the head of the first one, too: so one transaction at a time does.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cloud_ingest.event_log import place as log_place
from cloud_ingest.event_log.place import Place
from connectors.commands.audit_chain import GENESIS, AuditEntry, chained, problems
from connectors.ports.database import Database, Row, Session

TENANT: Final = 1
PAGE: Final = 1000
PROBLEMS_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class Deed:
    """What goes into the audit log; see ``AuditEntry``."""

    time_ms: int
    actor: str
    action: str
    subject: str
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Head:
    """The end of the chain, within the transaction that has locked it; ``append`` and ``chain`` move it on.

    Or as it was read without a lock, for ``at_once``.
    """

    last: AuditEntry | None
    tenant_id: int = TENANT

    @property
    def number(self) -> int:
        """That of the last entry; 0 when there is none."""
        return 0 if self.last is None else self.last.number

    def chain(self, deeds: Sequence[Deed]) -> list[AuditEntry]:
        """The entries for ``deeds``, which the caller writes."""
        entries: list[AuditEntry] = []
        for deed in deeds:
            self.last = chained(
                self.last,
                time_ms=deed.time_ms,
                actor=deed.actor,
                action=deed.action,
                subject=deed.subject,
                details=deed.details,
            )
            entries.append(self.last)
        return entries


class Heads:
    """The ends of the chains that a transaction has locked, or read."""

    def __init__(self, heads: Mapping[int, Head]) -> None:
        self._heads = heads

    def __contains__(self, tenant_id: int) -> bool:
        """Whether the tenant's is among them."""
        return tenant_id in self._heads

    def of(self, tenant_id: int) -> Head:
        """The end of the chain of a tenant that the caller has locked, or read."""
        return self._heads[tenant_id]

    def chain(self, deeds: Sequence[tuple[int, Deed]]) -> list[tuple[int, AuditEntry]]:
        """The entries for ``deeds``, each with its tenant, in the same order; the caller writes them."""
        return [(tenant_id, entry) for tenant_id, deed in deeds for entry in self.of(tenant_id).chain([deed])]


_LOCK: Final = (
    "SELECT tenant_id, number, hash FROM command_audit_head WHERE tenant_id = ANY({}::int[]) "
    "ORDER BY tenant_id FOR UPDATE"
)
_LOCK_HEADS: Final = _LOCK.format("$1")


async def lock_head(session: Session, tenant_id: int = TENANT) -> Head:
    """The end of the tenant's chain. No other transaction writes entries of the tenant until the end of this one."""
    return _heads(await session.fetch(_LOCK_HEADS, [tenant_id])).of(tenant_id)


async def lock_heads(session: Session, tenants: Collection[int]) -> Heads:
    """The ends of the chains of ``tenants`` and of the first one, locked in one order.

    No other transaction writes states of commands until the end of this one, whosever they are.
    """
    return _heads(await session.fetch(_LOCK_HEADS, sorted({TENANT, *tenants})))


_MOVE_AND_LOCK: Final = (
    f"WITH moved AS ({log_place.MOVE} RETURNING 1), head AS MATERIALIZED ({_LOCK.format('$8')}) "  # noqa: S608
    "SELECT tenant_id, number, hash, (SELECT count(*) FROM moved) AS moved FROM head"
)


async def move_and_lock_heads(
    session: Session, place: Place, expected: int, following: int, last_ms: int | None, tenants: Collection[int]
) -> Heads:
    """``Place.move`` and ``lock_heads`` in one round trip. Raises ``OffsetMoved``."""
    parameters = place.move_columns(expected, following, last_ms)
    rows = await session.fetch(_MOVE_AND_LOCK, *parameters, sorted({TENANT, *tenants}))
    place.moved(int(rows[0]["moved"]))
    return _heads(rows)


JOIN: Final = "JOIN command_audit_head AS head ON head.tenant_id = {}.tenant_id"
READ: Final = "head.tenant_id AS head_tenant, head.number AS head_number, head.hash AS head_hash"
"""The columns by which a question reads the ends of chains, where it has ``JOIN``; see ``heads_read``."""


def heads_read(rows: Sequence[Row]) -> Heads:
    """The ends of the chains as ``rows`` have them, which are of one question, and locked nothing."""
    named = {"tenant_id": "head_tenant", "number": "head_number", "hash": "head_hash"}
    return _heads([{name: row[column] for name, column in named.items()} for row in rows])


def _heads(rows: Sequence[Row]) -> Heads:
    return Heads({int(row["tenant_id"]): _head(row) for row in rows})


def _head(row: Row) -> Head:
    tenant_id = int(row["tenant_id"])
    if not row["number"]:
        return Head(None, tenant_id)
    return Head(AuditEntry(int(row["number"]), 0, "", "", "", {}, "", str(row["hash"])), tenant_id)


INSERT: Final = (
    "INSERT INTO command_audit (tenant_id, number, time_ms, actor, action, subject, details, before, hash) "
    "SELECT * FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], "
    "$8::text[], $9::text[])"
)
MOVE: Final = (
    "UPDATE command_audit_head AS known SET number = ends.number, hash = ends.hash "
    "FROM unnest($10::int[], $11::bigint[], $12::text[]) AS ends (tenant_id, number, hash) "
    "WHERE known.tenant_id = ends.tenant_id"
)
"""The heads' new places. Parameters of both are ``columns``."""


def columns(entries: Sequence[tuple[int, AuditEntry]]) -> list[list[Any]]:
    """The parameters of ``INSERT`` and ``MOVE``; the first of them is the tenant of each entry."""
    ends = dict(entries)
    return [
        [tenant_id for tenant_id, _ in entries],
        [entry.number for _, entry in entries],
        [entry.time_ms for _, entry in entries],
        [entry.actor for _, entry in entries],
        [entry.action for _, entry in entries],
        [entry.subject for _, entry in entries],
        [json.dumps(dict(entry.details), ensure_ascii=False, allow_nan=False) for _, entry in entries],
        [entry.before for _, entry in entries],
        [entry.hash for _, entry in entries],
        list(ends),
        [entry.number for entry in ends.values()],
        [entry.hash for entry in ends.values()],
    ]


async def append(session: Session, head: Head, deeds: Sequence[Deed]) -> None:
    """Add ``deeds`` in the transaction that has locked ``head``."""
    if deeds:
        entries = [(head.tenant_id, entry) for entry in head.chain(deeds)]
        await session.execute(f"WITH written AS ({INSERT}) {MOVE}", *columns(entries))


async def tell(session: Session, tenant_id: int, *deeds: Deed) -> None:
    """Add ``deeds`` to the tenant's chain as the last thing of a transaction.

    Who holds the end of the chain waits for nothing else then, so that no two wait for each other.
    """
    await append(session, await lock_head(session, tenant_id), deeds)


async def entries(database: Database, after: int = 0, tenant_id: int = TENANT) -> AsyncIterator[AuditEntry]:
    """The tenant's entries with numbers above ``after``, in their order, read a page at a time."""
    while True:
        async with database.session() as session:
            rows = await session.fetch(
                "SELECT * FROM command_audit WHERE tenant_id = $1 AND number > $2 ORDER BY number LIMIT $3",
                tenant_id,
                after,
                PAGE,
            )
        for row in rows:
            yield _entry(row)
        if len(rows) < PAGE:
            return
        after = int(rows[-1]["number"])


async def tenants(database: Database) -> list[tuple[int, str]]:
    """Who has a chain: ids and names."""
    async with database.session() as session:
        rows = await session.fetch("SELECT tenant_id, name FROM tenant ORDER BY tenant_id")
    return [(int(row["tenant_id"]), str(row["name"])) for row in rows]


async def verify(database: Database, tenant_id: int = TENANT) -> tuple[int, list[str]]:
    """How many entries the tenant's chain has, and what is wrong with the chain: changed, missing, reordered, cut off.

    At most ``PROBLEMS_MAX`` sentences. What is added meanwhile is not looked at.
    """
    async with database.session() as session:
        (head,) = await session.fetch("SELECT number, hash FROM command_audit_head WHERE tenant_id = $1", tenant_id)
    found: list[str] = []
    count, before, expected = 0, GENESIS, 1
    async for entry in entries(database, tenant_id=tenant_id):
        if entry.number > head["number"]:
            break
        for problem in problems([entry], before, expected):
            if len(found) < PROBLEMS_MAX:
                found.append(problem)
        count, before, expected = count + 1, entry.hash, entry.number + 1
    if expected - 1 < int(head["number"]):
        found.append(f"entries {expected} to {head['number']} are missing: the end was cut off")
    elif head["number"] and before != head["hash"]:
        found.append(f"entry {head['number']} is not the one that was written last")
    return count, found


def _entry(row: Row) -> AuditEntry:
    return AuditEntry(
        int(row["number"]),
        int(row["time_ms"]),
        str(row["actor"]),
        str(row["action"]),
        str(row["subject"]),
        _details(str(row["details"])),
        str(row["before"]),
        str(row["hash"]),
    )


def _details(text: str) -> dict[str, Any]:
    """What somebody has made unreadable is shown as text: its hash does not fit then."""
    try:
        found = json.loads(text)
    except ValueError:
        return {"unreadable": text}
    return found if isinstance(found, dict) else {"unreadable": text}
