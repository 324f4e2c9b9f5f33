"""A request that comes again with its Idempotency-Key gets the answer that it got, and nothing is done twice.

draft-ietf-httpapi-idempotency-key-header: the same key with another request is refused. A key holds for its principal
and route, and is kept a week.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import Header

from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from connectors.ports.database import Session

KEPT_DAYS: Final = 7

IdempotencyKey = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="The same key with the same request gets the same answer; with another request 409",
        examples=["4f6d0c4e-8a1b-4a57-9a36-1f6b0a3f8f11"],
    ),
]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request that makes something: who, which route, its key, and what it says (JSON)."""

    principal: Principal
    route: str
    key: str
    request: Any

    @property
    def digest(self) -> str:
        """SHA-256 of what it says."""
        return hashlib.sha256(json.dumps(self.request, sort_keys=True, default=str).encode()).hexdigest()


async def once(session: Session, asked: Asked, do: Callable[[], Awaitable[Any]]) -> Any:
    """What ``do`` gives (JSON), done once for ``asked`` however often it comes, within the transaction of ``session``.

    Two at the same time wait for each other. Raises ``RequestRefused`` when the key was used for another request.
    """
    place = (asked.principal.tenant_id, asked.principal.subject, asked.route, asked.key)
    made = await session.execute(
        "INSERT INTO idempotency_key (tenant_id, subject, route, key, digest) VALUES ($1, $2, $3, $4, $5) "
        "ON CONFLICT DO NOTHING",
        *place,
        asked.digest,
    )
    if not made:
        (row,) = await session.fetch(
            "SELECT digest, answer FROM idempotency_key "
            "WHERE tenant_id = $1 AND subject = $2 AND route = $3 AND key = $4",
            *place,
        )
        if row["digest"] != asked.digest:
            why = f"the Idempotency-Key {asked.key!r} was used for another request: take a new one"
            raise RequestRefused(Why.CONFLICT, "key_used", why)
        return json.loads(row["answer"])
    answer = await do()
    await session.execute(
        "UPDATE idempotency_key SET answer = $5 WHERE tenant_id = $1 AND subject = $2 AND route = $3 AND key = $4",
        *place,
        json.dumps(answer, default=str),
    )
    return answer
