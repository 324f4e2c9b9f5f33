"""From drafts to what holds: each version is kept, and what changes for others is told with the transaction."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal

from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session
from cloud_ingest.catalog.events import product_changed
from cloud_ingest.catalog.models import words_in
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.lines.published import check_routing
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row
from connectors.ports.document_words import QUESTION_WORDS_MAX, words_of
from connectors.ports.documents import Document

Kind = Literal["product", "routing", "content"]
_LOCK: Final = "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"


@dataclass(frozen=True, slots=True)
class Published:
    """What holds of one code."""

    code: str
    version: int
    document: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was published; ``holds``: it is the one that does now."""

    version: int
    revision: int
    published: datetime
    published_by: str
    holds: bool


@dataclass(frozen=True, slots=True)
class FindPublished:
    """Which: ``equal`` are fields of the document with their texts or flags; ``words`` as ``document_words`` says."""

    equal: Mapping[str, str | bool] = field(default_factory=dict)
    words: str = ""
    after: str = ""
    limit: int = 100


class Publishing:
    """Publishes, withdraws, and knows what holds."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    async def publish(self, principal: Principal, kind: Kind, document: Document) -> int:
        """Have ``document`` hold; its version. That of a revision which holds already is not made again.

        Raises ``RequestRefused`` when the routing of a product is not published, or a recipe does not fit its line.
        """
        tenant_id, code = principal.tenant_id, document.id
        async with unit_of_work(self._database, tenant_id) as work:
            await self._lock(work, tenant_id)
            rows = await work.session.fetch(
                "SELECT p.version, v.revision FROM catalog_published p JOIN catalog_version v "
                "USING (tenant_id, kind, code, version) WHERE p.tenant_id = $1 AND p.kind = $2 AND p.code = $3",
                tenant_id,
                kind,
                code,
            )
            if rows and rows[0]["revision"] == document.revision:
                return int(rows[0]["version"])
            if kind == "product":
                await _refuse_without_routing(work, tenant_id, document)
            elif kind == "routing":
                steps = [(one["site"], one["line"], one.get("recipe") or {}) for one in document.body["steps"]]
                await check_routing(work.session, tenant_id, steps)
            version = await _write(work, principal, kind, document)
            await self._tell(work, tenant_id, kind, code, version, "published")
        return version

    async def withdraw(self, principal: Principal, kind: Kind, code: str) -> None:
        """Have nothing of ``code`` hold any more. Its versions stay.

        Raises ``RequestRefused`` when nothing of it holds, or products that hold are made by it.
        """
        tenant_id = principal.tenant_id
        async with unit_of_work(self._database, tenant_id) as work:
            await self._lock(work, tenant_id)
            if kind == "routing" and (users := await _made_by(work, tenant_id, code)):
                why = f"{len(users)} published products are made by it, such as {users[0]!r}: withdraw them first"
                raise RequestRefused(Why.CONFLICT, "routing_in_use", why)
            rows = await work.session.fetch(
                "DELETE FROM catalog_published WHERE tenant_id = $1 AND kind = $2 AND code = $3 RETURNING version",
                tenant_id,
                kind,
                code,
            )
            if not rows:
                raise not_published(kind, code)
            await self._tell(work, tenant_id, kind, code, rows[0]["version"], "withdrawn")

    async def get(self, tenant_id: int, kind: Kind, code: str) -> Published:
        """What holds of ``code``. Raises ``RequestRefused`` when nothing does."""
        async with tenant_session(self._database, tenant_id) as session:
            rows = await session.fetch(
                "SELECT code, version, document FROM catalog_published "
                "WHERE tenant_id = $1 AND kind = $2 AND code = $3",
                tenant_id,
                kind,
                code,
            )
        if not rows:
            raise not_published(kind, code)
        return _published(rows[0])

    async def find(self, tenant_id: int, kind: Kind, find: FindPublished) -> Sequence[Published]:
        """What holds, by code."""
        question = " & ".join(f"'{word}':*" for word in words_of(find.words, QUESTION_WORDS_MAX))
        async with tenant_session(self._database, tenant_id) as session:
            rows = await session.fetch(
                "SELECT code, version, document FROM catalog_published WHERE tenant_id = $1 AND kind = $2 "
                "AND code > $3 AND document @> $4::jsonb AND ($5 = '' OR words @@ $5::tsquery) "
                "ORDER BY code LIMIT $6",
                tenant_id,
                kind,
                find.after,
                json.dumps(dict(find.equal)),
                question,
                find.limit,
            )
        return [_published(row) for row in rows]

    async def versions(self, tenant_id: int, kind: Kind, code: str, before: int, limit: int) -> Sequence[Version]:
        """Its versions below ``before``, the newest first."""
        async with tenant_session(self._database, tenant_id) as session:
            rows = await session.fetch(
                "SELECT v.version, v.revision, v.published, v.published_by, p.code IS NOT NULL AS holds "
                "FROM catalog_version v LEFT JOIN catalog_published p USING (tenant_id, kind, code, version) "
                "WHERE v.tenant_id = $1 AND v.kind = $2 AND v.code = $3 AND v.version < $4 "
                "ORDER BY v.version DESC LIMIT $5",
                tenant_id,
                kind,
                code,
                before,
                limit,
            )
        return [Version(**row) for row in rows]

    async def _lock(self, work: UnitOfWork, tenant_id: int) -> None:
        """Who publishes or withdraws does so alone: what one looks at, no other takes away."""
        await work.session.fetch(_LOCK, f"lineside catalog {tenant_id}")

    async def _tell(
        self,
        work: UnitOfWork,
        tenant_id: int,
        kind: Kind,
        code: str,
        version: int,
        state: Literal["published", "withdrawn"],
    ) -> None:
        now_ns = self._clock.now_ns()
        if kind == "product":
            work.announce(product_changed(tenant_id, code, version, state, now_ns))
        elif kind == "routing":
            rows = await work.session.fetch(
                "SELECT code, version FROM catalog_published WHERE tenant_id = $1 AND kind = 'product' "
                "AND document ->> 'routing' = $2 ORDER BY code",
                tenant_id,
                code,
            )
            work.announce(
                *(product_changed(tenant_id, row["code"], row["version"], "published", now_ns) for row in rows)
            )


async def _write(work: UnitOfWork, principal: Principal, kind: Kind, document: Document) -> int:
    place = (principal.tenant_id, kind, document.id)
    text = json.dumps(document.body)
    (row,) = await work.session.fetch(
        "INSERT INTO catalog_version (tenant_id, kind, code, version, revision, document, published_by) "
        "SELECT $1, $2, $3, coalesce(max(version), 0) + 1, $4, $5, $6 FROM catalog_version "
        "WHERE tenant_id = $1 AND kind = $2 AND code = $3 RETURNING version",
        *place,
        document.revision,
        text,
        principal.subject,
    )
    await work.session.execute(
        "INSERT INTO catalog_published (tenant_id, kind, code, version, document, words) "
        "VALUES ($1, $2, $3, $4, $5, array_to_tsvector($6::text[])) ON CONFLICT (tenant_id, kind, code) DO UPDATE "
        "SET version = excluded.version, document = excluded.document, words = excluded.words",
        *place,
        row["version"],
        text,
        words_of(words_in(document.body, document.id)),
    )
    return int(row["version"])


async def _refuse_without_routing(work: UnitOfWork, tenant_id: int, document: Document) -> None:
    routing = document.body["routing"]
    if not routing:
        return
    rows = await work.session.fetch(
        "SELECT FROM catalog_published WHERE tenant_id = $1 AND kind = 'routing' AND code = $2", tenant_id, routing
    )
    if not rows:
        why = f"its routing {routing!r} is not published: publish that first, or name another"
        raise RequestRefused(Why.CONFLICT, "routing_not_published", why)


async def _made_by(work: UnitOfWork, tenant_id: int, routing: str) -> list[str]:
    rows = await work.session.fetch(
        "SELECT code FROM catalog_published WHERE tenant_id = $1 AND kind = 'product' "
        "AND document ->> 'routing' = $2 ORDER BY code",
        tenant_id,
        routing,
    )
    return [row["code"] for row in rows]


def not_published(kind: Kind, code: str) -> RequestRefused:
    """What is answered to who asks for something of which nothing holds."""
    return RequestRefused(Why.UNKNOWN, f"no_such_{kind}", f"there is no {kind} {code!r} that is published")


def _published(row: Row) -> Published:
    return Published(row["code"], row["version"], json.loads(row["document"]))
