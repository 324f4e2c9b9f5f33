"""Documents in PostgreSQL, as JSONB in the tables ``document`` and ``document_entry``.

Equality is asked of one GIN index over whole bodies, words of another. Tenants are kept apart by row-level security:
``of_tenant`` opens a transaction that sees one tenant alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from connectors.model.errors import RevisionMoved
from connectors.ports.database import Database, Session
from connectors.ports.document_words import QUESTION_WORDS_MAX, words_of
from connectors.ports.documents import (
    PAGE_MAX,
    Asked,
    Bound,
    CappedCollection,
    Collection,
    Document,
    Entry,
    Find,
    FindEntries,
    check_body,
    entry_bytes,
)

OfTenant = Callable[[int], AbstractAsyncContextManager[Session]]
_WORDS: Final = "array_to_tsvector({}::text[])"


class PostgresDocuments:
    """See ``DocumentStore``. The tables are made by the migrations of whoever uses it."""

    def __init__(self, database: Database, of_tenant: OfTenant) -> None:
        self._database = database
        self._of_tenant = of_tenant

    async def prepare(self, collections: Sequence[Collection | CappedCollection]) -> None:
        """See ``DocumentStore``. The indexes serve every collection and field."""

    async def get(self, tenant_id: int, collection: Collection, document_id: str) -> Document | None:
        """See ``DocumentStore``."""
        async with self._of_tenant(tenant_id) as session:
            rows = await session.fetch(
                "SELECT revision, body FROM document WHERE tenant_id = $1 AND collection = $2 AND document_id = $3 "
                "AND body IS NOT NULL",
                tenant_id,
                collection.name,
                document_id,
            )
        return Document(document_id, rows[0]["revision"], json.loads(rows[0]["body"])) if rows else None

    async def put(self, tenant_id: int, collection: Collection, document: Document, *, text: str = "") -> int:
        """See ``DocumentStore``."""
        place = (tenant_id, collection.name, document.id)
        given = (check_body(document.id, document.body), words_of(text))
        async with self._of_tenant(tenant_id) as session:
            if document.revision:
                rows = await session.fetch(
                    f"UPDATE document SET body = $4, words = {_WORDS.format('$5')}, revision = revision + 1, "  # noqa: S608
                    "changed = now() WHERE tenant_id = $1 AND collection = $2 AND document_id = $3 "
                    "AND revision = $6 AND body IS NOT NULL RETURNING revision",
                    *place,
                    *given,
                    document.revision,
                )
            else:
                rows = await session.fetch(
                    "INSERT INTO document AS d (tenant_id, collection, document_id, body, words, revision) "  # noqa: S608
                    f"VALUES ($1, $2, $3, $4, {_WORDS.format('$5')}, 1) "
                    "ON CONFLICT (tenant_id, collection, document_id) DO UPDATE SET body = excluded.body, "
                    "words = excluded.words, revision = d.revision + 1, changed = now() WHERE d.body IS NULL "
                    "RETURNING revision",
                    *place,
                    *given,
                )
            if not rows:
                raise RevisionMoved(document.id, await _revision(session, place))
        return int(rows[0]["revision"])

    async def delete(self, tenant_id: int, collection: Collection, document_id: str, revision: int) -> None:
        """See ``DocumentStore``. The row stays, so that its revisions go on."""
        place = (tenant_id, collection.name, document_id)
        async with self._of_tenant(tenant_id) as session:
            done = await session.execute(
                "UPDATE document SET body = NULL, words = '', revision = revision + 1, changed = now() "
                "WHERE tenant_id = $1 AND collection = $2 AND document_id = $3 AND revision = $4 AND body IS NOT NULL",
                *place,
                revision,
            )
            if not done:
                raise RevisionMoved(document_id, await _revision(session, place))

    async def find(self, tenant_id: int, collection: Collection, find: Find) -> Sequence[Document]:
        """See ``DocumentStore``."""
        asked = _Conditions(tenant_id, collection.name)
        asked.add("body IS NOT NULL AND document_id > {}", find.after)
        for field, value in find.equal.items():
            asked.equal(field, value)
        for field, bounds in find.between.items():
            asked.between(field, bounds)
        for field, beginning in find.prefix.items():
            path = asked.parameter(field.split("."))
            asked.add(f"jsonb_typeof(body #> {path}) = 'string' AND starts_with(body #>> {path}, {{}})", beginning)
        asked.words(find.words)
        async with self._of_tenant(tenant_id) as session:
            rows = await session.fetch(
                f"SELECT document_id, revision, body FROM document WHERE {asked.sql} "  # noqa: S608
                f"ORDER BY document_id LIMIT {min(find.limit, PAGE_MAX)}",
                *asked.parameters,
            )
        return [Document(row["document_id"], row["revision"], json.loads(row["body"])) for row in rows]

    async def append(self, tenant_id: int, collection: CappedCollection, entries: Sequence[tuple[Entry, str]]) -> None:
        """See ``DocumentStore``."""
        rows = [
            (
                tenant_id,
                collection.name,
                entry.id,
                entry.time_ns,
                entry_bytes(entry),
                check_body(entry.id, entry.body),
                words_of(text),
            )
            for entry, text in entries
        ]
        async with self._of_tenant(tenant_id) as session:
            await session.execute_many(
                "INSERT INTO document_entry (tenant_id, collection, entry_id, time_ns, size_bytes, body, words) "  # noqa: S608
                f"VALUES ($1, $2, $3, $4, $5, $6, {_WORDS.format('$7')}) ON CONFLICT DO NOTHING",
                rows,
            )

    async def entries(self, tenant_id: int, collection: CappedCollection, find: FindEntries) -> Sequence[Entry]:
        """See ``DocumentStore``."""
        asked = _Conditions(tenant_id, collection.name)
        if find.begin_ns is not None:
            asked.add("time_ns >= {}", find.begin_ns)
        if find.end_ns is not None:
            asked.add("time_ns < {}", find.end_ns)
        if find.before is not None:
            asked.add("(time_ns, entry_id) < ({}, {})", *find.before)
        for field, value in find.equal.items():
            asked.equal(field, value)
        asked.words(find.words)
        async with self._of_tenant(tenant_id) as session:
            rows = await session.fetch(
                f"SELECT entry_id, time_ns, body FROM document_entry WHERE {asked.sql} "  # noqa: S608
                f"ORDER BY time_ns DESC, entry_id DESC LIMIT {min(find.limit, PAGE_MAX)}",
                *asked.parameters,
            )
        return [Entry(row["entry_id"], row["time_ns"], json.loads(row["body"])) for row in rows]

    async def trim(self, collection: CappedCollection, now_ns: int) -> int:
        """See ``DocumentStore``. Both bounds are looked up in an index that has the sizes."""
        oldest_ns = now_ns - int(collection.age_s_max * 1e9)
        deleted = 0
        async with self._database.session() as session:
            for tenant in await session.fetch("SELECT tenant_id FROM tenant ORDER BY tenant_id"):
                place = (tenant["tenant_id"], collection.name)
                deleted += await session.execute(
                    "DELETE FROM document_entry WHERE tenant_id = $1 AND collection = $2 AND time_ns < $3",
                    *place,
                    oldest_ns,
                )
                deleted += await session.execute(
                    "DELETE FROM document_entry e USING (SELECT time_ns, entry_id FROM (SELECT time_ns, entry_id, "
                    "sum(size_bytes) OVER (ORDER BY time_ns DESC, entry_id DESC) AS bytes FROM document_entry "
                    "WHERE tenant_id = $1 AND collection = $2) AS summed WHERE bytes > $3 "
                    "ORDER BY time_ns DESC, entry_id DESC LIMIT 1) AS beyond WHERE e.tenant_id = $1 "
                    "AND e.collection = $2 AND (e.time_ns, e.entry_id) <= (beyond.time_ns, beyond.entry_id)",
                    *place,
                    collection.bytes_max,
                )
        return deleted

    async def close(self) -> None:
        """See ``DocumentStore``. The database is its owner's to close."""


async def _revision(session: Session, place: tuple[int, str, str]) -> int:
    rows = await session.fetch(
        "SELECT revision FROM document WHERE tenant_id = $1 AND collection = $2 AND document_id = $3 "
        "AND body IS NOT NULL",
        *place,
    )
    return int(rows[0]["revision"]) if rows else 0


class _Conditions:
    """A WHERE clause and its parameters. Only what stands in this file becomes SQL; all else is a parameter."""

    def __init__(self, tenant_id: int, collection: str) -> None:
        self.parameters: list[Any] = []
        self._all: list[str] = []
        self.add("tenant_id = {} AND collection = {}", tenant_id, collection)

    @property
    def sql(self) -> str:
        return " AND ".join(self._all)

    def parameter(self, value: Any) -> str:
        self.parameters.append(value)
        return f"${len(self.parameters)}"

    def add(self, condition: str, *values: Any) -> None:
        self._all.append(f"({condition.format(*(self.parameter(value) for value in values))})")

    def equal(self, field: str, asked: Asked) -> None:
        values = asked if isinstance(asked, tuple) else (asked,)
        contained = [json.dumps(_nested(field, one)) for value in values for one in (value, [value])]
        self.add(" OR ".join("body @> {}::jsonb" for _ in contained) or "false", *contained)

    def between(self, field: str, bounds: tuple[Bound, Bound]) -> None:
        path = self.parameter(field.split("."))
        for bound, sign in zip(bounds, (">=", "<"), strict=True):
            if isinstance(bound, str):
                text = f"CASE WHEN jsonb_typeof(body #> {path}) = 'string' THEN body #>> {path} END"
                self.add(f'({text}) COLLATE "C" {sign} {{}}', bound)
            elif bound is not None:
                number = f"CASE WHEN jsonb_typeof(body #> {path}) = 'number' THEN (body #>> {path})::numeric END"
                self.add(f"{number} {sign} {{}}::float8::numeric", float(bound))

    def words(self, question: str) -> None:
        """Words are letters and digits alone, so that they need no quoting within a ``tsquery``."""
        if asked := words_of(question, QUESTION_WORDS_MAX):
            self.add("words @@ {}::text::tsquery", " & ".join(f"'{word}':*" for word in asked))


def _nested(field: str, value: Any) -> Mapping[str, Any]:
    for name in reversed(field.split(".")):
        value = {name: value}
    nested: Mapping[str, Any] = value
    return nested
