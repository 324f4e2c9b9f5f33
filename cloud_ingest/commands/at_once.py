"""States of commands in one round trip, where nobody has written any since they were read.

Under the lock of the audit log's head, a transaction takes five round trips. Here, what a change depends on is read
first, with the heads and without a lock; then one statement locks the heads, looks whether they are still those, and
writes. Each transaction that changes the state of a command moves its tenant's head; so nothing has changed of what was
read. Where a head has moved, nothing is written: the caller does it under the lock, and for a while all that follows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cloud_ingest.commands import audit, book
from cloud_ingest.commands.book import Change
from connectors.ports.database import Session

CROWDED_S: Final = 1.0
"""When somebody else was quicker, it is not tried again for so long: many ask at once then."""
FIRST_FREE: Final = 32
"""The first parameter of a statement that is the caller's own."""
UNCHANGED: Final = "EXISTS (SELECT FROM unchanged)"
_MAY: Final = "EXISTS (SELECT FROM may)"
_HELD: Final = (
    "held AS MATERIALIZED (SELECT tenant_id, number FROM command_audit_head WHERE tenant_id = ANY($29::int[]) "
    "    ORDER BY tenant_id FOR UPDATE), "
    "unchanged AS MATERIALIZED (SELECT 1 AS yes WHERE cardinality($30::int[]) = (SELECT count(*) FROM held "
    "    JOIN unnest($30::int[], $31::bigint[]) AS read (tenant_id, number) USING (tenant_id, number)))"
)


class Chance:
    """Whether it is worth trying."""

    def __init__(self) -> None:
        self._from_s = float("-inf")

    @property
    def is_good(self) -> bool:
        """Whether nobody else was quicker of late."""
        return asyncio.get_running_loop().time() >= self._from_s

    def missed(self) -> None:
        """Somebody else was quicker."""
        self._from_s = asyncio.get_running_loop().time() + CROWDED_S


def statement(
    *,
    first: str = "may AS MATERIALIZED (SELECT yes FROM unchanged)",
    sets: Mapping[str, str] | None = None,
    beside: Sequence[str] = (),
) -> str:
    """A statement for ``write``.

    ``first``: parts that depend on ``UNCHANGED``, the last of which is ``may``; what is written depends on its having
    a row. ``sets``: see ``book.writing``. ``beside``: further parts, each with ``{may}`` as its condition.
    """
    parts = [_HELD, first, book.writing(_MAY, sets), *(part.format(may=_MAY) for part in beside)]
    return f"WITH {', '.join(parts)} {book.NOTIFY} WHERE {_MAY}"


async def write(
    session: Session, chance: Chance, sql: str, heads: audit.Heads, changes: Sequence[Change], *more: Any
) -> bool:
    """Write ``changes`` by a ``statement`` if ``heads`` are still as they were read; ``more``: its own parameters.

    False: nothing was written. The session is in no transaction.
    """
    tenants = sorted({change.tenant_id for change in changes})
    numbers = [heads.of(tenant_id).number for tenant_id in tenants]
    parameters = book.parameters(heads, changes)
    if await session.execute(sql, *parameters, sorted({audit.TENANT, *tenants}), tenants, numbers, *more):
        return True
    chance.missed()
    return False
