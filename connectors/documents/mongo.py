"""Documents in MongoDB, by pymongo's asynchronous client (``lineside[mongodb]``).

Each change is one write of one document, so no transactions are needed, and a single server does. Words are kept in
an indexed list of each document: MongoDB's own text search knows no beginnings of words, and would find something else
than PostgreSQL does.

Its contract is tested on a stand-in that speaks MongoDB's wire protocol (mongo-java-server, in memory), not on MongoDB.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from bson.errors import BSONError
from pymongo import AsyncMongoClient, DeleteMany, IndexModel
from pymongo.errors import BulkWriteError, DuplicateKeyError, PyMongoError

from connectors.model.errors import DatabaseUnavailable, RevisionMoved
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

TIMEOUT_MS: Final = 10_000
DUPLICATE: Final = 11_000
"""MongoDB's code for a key that is there already."""
TRIM_AT_ONCE: Final = 1000
_Made = dict[str, Any]


class MongoDocuments:
    """See ``DocumentStore``. Each collection is one of the database ``name``; ``_id`` is tenant and id."""

    def __init__(self, url: str, name: str) -> None:
        """The client connects at the first call, in the event loop that makes it."""
        self._client: AsyncMongoClient[_Made] = AsyncMongoClient(
            url, serverSelectionTimeoutMS=TIMEOUT_MS, timeoutMS=TIMEOUT_MS, appname="lineside"
        )
        self._database = self._client.get_database(name)

    async def prepare(self, collections: Sequence[Collection | CappedCollection]) -> None:
        """See ``DocumentStore``."""
        for collection in collections:
            order = "time_ns" if isinstance(collection, CappedCollection) else "id"
            keys = ["words", *(f"body.{field}" for field in collection.fields)]
            indexes = [
                IndexModel([("tenant", 1), (order, 1), ("id", 1)] if order != "id" else [("tenant", 1), ("id", 1)])
            ]
            indexes += [IndexModel([("tenant", 1), (key, 1), (order, 1)]) for key in keys]
            async with _translated():
                await self._database[collection.name].create_indexes(indexes)

    async def get(self, tenant_id: int, collection: Collection, document_id: str) -> Document | None:
        """See ``DocumentStore``."""
        async with _translated():
            found = await self._database[collection.name].find_one({"_id": _key(tenant_id, document_id), "there": True})
        return None if found is None else _document(found)

    async def put(self, tenant_id: int, collection: Collection, document: Document, *, text: str = "") -> int:
        """See ``DocumentStore``."""
        check_body(document.id, document.body)
        key, stored = _key(tenant_id, document.id), self._database[collection.name]
        given = {"body": document.body, "words": words_of(text), "there": True}
        async with _translated():
            if document.revision:
                result = await stored.update_one(
                    {"_id": key, "revision": document.revision, "there": True},
                    {"$set": {**given, "revision": document.revision + 1}},
                )
                if result.matched_count:
                    return document.revision + 1
                raise RevisionMoved(document.id, await self._revision(collection, key))
            try:
                await stored.insert_one({"_id": key, "tenant": tenant_id, "id": document.id, "revision": 1, **given})
            except DuplicateKeyError:
                return await self._put_again(collection, key, document.id, given)
            return 1

    async def _put_again(self, collection: Collection, key: str, document_id: str, given: _Made) -> int:
        """A document that is new, over one that was deleted: its revisions go on."""
        deleted = await self._database[collection.name].find_one({"_id": key})
        if deleted is not None and not deleted["there"]:
            revision = int(deleted["revision"]) + 1
            result = await self._database[collection.name].update_one(
                {"_id": key, "revision": revision - 1}, {"$set": {**given, "revision": revision}}
            )
            if result.matched_count:
                return revision
        raise RevisionMoved(document_id, await self._revision(collection, key))

    async def delete(self, tenant_id: int, collection: Collection, document_id: str, revision: int) -> None:
        """See ``DocumentStore``."""
        key = _key(tenant_id, document_id)
        async with _translated():
            result = await self._database[collection.name].update_one(
                {"_id": key, "revision": revision, "there": True},
                {"$set": {"revision": revision + 1, "there": False, "body": {}, "words": []}},
            )
            if not result.matched_count:
                raise RevisionMoved(document_id, await self._revision(collection, key))

    async def _revision(self, collection: Collection, key: str) -> int:
        found = await self._database[collection.name].find_one({"_id": key, "there": True})
        return 0 if found is None else int(found["revision"])

    async def find(self, tenant_id: int, collection: Collection, find: Find) -> Sequence[Document]:
        """See ``DocumentStore``."""
        asked: list[_Made] = [{"tenant": tenant_id, "there": True, "id": {"$gt": find.after}}]
        asked += [_equal(field, value) for field, value in find.equal.items()]
        asked += [bound for field, bounds in find.between.items() for bound in _between(field, bounds)]
        asked += [{f"body.{field}": _begins(beginning)} for field, beginning in find.prefix.items()]
        asked += _has_words(find.words)
        async with _translated():
            cursor = (
                self._database[collection.name].find({"$and": asked}).sort("id", 1).limit(min(find.limit, PAGE_MAX))
            )
            return [_document(found) async for found in cursor]

    async def append(self, tenant_id: int, collection: CappedCollection, entries: Sequence[tuple[Entry, str]]) -> None:
        """See ``DocumentStore``."""
        made = [
            {
                "_id": _key(tenant_id, entry.id),
                "tenant": tenant_id,
                "id": entry.id,
                "time_ns": entry.time_ns,
                "size": entry_bytes(entry),
                "body": entry.body,
                "words": words_of(text),
            }
            for entry, text in entries
        ]
        if not made:
            return
        async with _translated():
            try:
                await self._database[collection.name].insert_many(made, ordered=False)
            except BulkWriteError as exc:
                if any(error.get("code") != DUPLICATE for error in exc.details.get("writeErrors", ())):
                    raise

    async def entries(self, tenant_id: int, collection: CappedCollection, find: FindEntries) -> Sequence[Entry]:
        """See ``DocumentStore``."""
        asked: list[_Made] = [{"tenant": tenant_id}]
        if find.begin_ns is not None:
            asked.append({"time_ns": {"$gte": find.begin_ns}})
        if find.end_ns is not None:
            asked.append({"time_ns": {"$lt": find.end_ns}})
        if find.before is not None:
            asked.append(_older(*find.before))
        asked += [_equal(field, value) for field, value in find.equal.items()]
        asked += _has_words(find.words)
        async with _translated():
            cursor = self._database[collection.name].find({"$and": asked}).sort([("time_ns", -1), ("id", -1)])
            return [
                Entry(found["id"], int(found["time_ns"]), found["body"])
                async for found in cursor.limit(min(find.limit, PAGE_MAX))
            ]

    async def trim(self, collection: CappedCollection, now_ns: int) -> int:
        """See ``DocumentStore``. Of each tenant the sizes are summed from the newest on, until they are too much."""
        stored = self._database[collection.name]
        oldest_ns = now_ns - int(collection.age_s_max * 1e9)
        async with _translated():
            deleted = (await stored.delete_many({"time_ns": {"$lt": oldest_ns}})).deleted_count
            for tenant_id in await stored.distinct("tenant"):
                total = 0
                newest_first = stored.find({"tenant": tenant_id}, {"time_ns": 1, "id": 1, "size": 1}).sort(
                    [("time_ns", -1), ("id", -1)]
                )
                async for found in newest_first.batch_size(TRIM_AT_ONCE):
                    total += int(found["size"])
                    if total > collection.bytes_max:
                        beyond = {"$and": [{"tenant": tenant_id}, _older(found["time_ns"], found["id"], itself=True)]}
                        deleted += (await stored.bulk_write([DeleteMany(beyond)])).deleted_count
                        break
        return deleted

    async def close(self) -> None:
        """See ``DocumentStore``."""
        await self._client.close()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """What pymongo raises in the block, in the terms of the port."""
    try:
        yield
    except (PyMongoError, BSONError, OSError) as exc:
        raise DatabaseUnavailable(f"MongoDB cannot be reached or used now: {exc}") from exc


def _key(tenant_id: int, document_id: str) -> str:
    return f"{tenant_id}/{document_id}"


def _document(found: Mapping[str, Any]) -> Document:
    return Document(found["id"], int(found["revision"]), found["body"])


def _equal(field: str, asked: Asked) -> _Made:
    return {f"body.{field}": {"$in": list(asked)} if isinstance(asked, tuple) else {"$eq": asked}}


def _between(field: str, bounds: tuple[Bound, Bound]) -> list[_Made]:
    """MongoDB compares within one type alone, as the port has it."""
    signs = ("$gte", "$lt")
    return [{f"body.{field}": {sign: bound}} for sign, bound in zip(signs, bounds, strict=True) if bound is not None]


def _begins(text: str) -> _Made:
    return {"$regex": "^" + re.escape(text)}


def _has_words(question: str) -> list[_Made]:
    return [{"words": _begins(word)} for word in words_of(question, QUESTION_WORDS_MAX)]


def _older(time_ns: int, entry_id: str, *, itself: bool = False) -> _Made:
    same = {"time_ns": time_ns, "id": {"$lte" if itself else "$lt": entry_id}}
    return {"$or": [{"time_ns": {"$lt": time_ns}}, same]}
