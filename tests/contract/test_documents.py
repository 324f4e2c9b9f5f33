"""The contract of stores of documents, on PostgreSQL and on a stand-in for MongoDB."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from connectors.documents.mongo import MongoDocuments
from connectors.model.errors import DatabaseUnavailable, DocumentInvalid, RevisionMoved
from connectors.ports.documents import Document, DocumentStore, Entry, Find, FindEntries, entry_bytes
from tests.contract.documents_under_test import LEAVES_SOCKETS, NOTES, THINGS, OpenDocuments, closed

BODY: dict[str, Any] = {
    "kind": "bolt",
    "made": {"by": "Anna", "on": "2026-11-22T08:00:00Z"},
    "length": 12.5,
    "pieces": 3,
    "sold": True,
    "note": None,
    "colours": ["red", "grün 🟩"],
    "sizes": [{"code": "M8"}],
}
HOUR_NS = 3_600_000_000_000


async def put(store: DocumentStore, name: str, text: str = "", tenant: int = 1, **body: Any) -> int:
    return await store.put(tenant, THINGS, Document(name, 0, body), text=text)


async def found(store: DocumentStore, **asked: Any) -> list[str]:
    return [document.id for document in await store.find(1, THINGS, Find(**asked))]


async def test_a_document_comes_back_as_it_was_put_with_a_revision_that_grows(open_documents: OpenDocuments) -> None:
    async with open_documents() as store:
        assert await store.get(1, THINGS, "a") is None
        first = await store.put(1, THINGS, Document("a", 0, BODY))
        assert await store.get(1, THINGS, "a") == Document("a", first, BODY)
        second = await store.put(1, THINGS, Document("a", first, {"kind": "nut"}))
        assert second > first > 0
        assert await store.get(1, THINGS, "a") == Document("a", second, {"kind": "nut"})


async def test_a_change_of_what_was_changed_meanwhile_is_refused_and_changes_nothing(
    open_documents: OpenDocuments,
) -> None:
    async with open_documents() as store:
        first = await put(store, "a", kind="bolt")
        for seen in (0, first + 1):
            with pytest.raises(RevisionMoved) as moved:
                await store.put(1, THINGS, Document("a", seen, {"kind": "nut"}))
            assert moved.value.current == first
        with pytest.raises(RevisionMoved) as moved:
            await store.put(1, THINGS, Document("b", 1, {}))
        assert moved.value.current == 0
        with pytest.raises(RevisionMoved):
            await store.delete(1, THINGS, "a", first + 1)
        assert await store.get(1, THINGS, "a") == Document("a", first, {"kind": "bolt"})


async def test_of_many_changes_at_once_one_is_made(open_documents: OpenDocuments) -> None:
    async with open_documents() as store:
        for revision in (0, 1):
            tries = [store.put(1, THINGS, Document("a", revision, {"by": number})) for number in range(5)]
            results = await asyncio.gather(*tries, return_exceptions=True)
            assert [result for result in results if isinstance(result, int)] == [revision + 1]
            assert sum(isinstance(result, RevisionMoved) for result in results) == 4


async def test_a_revision_never_comes_twice_even_after_the_document_was_deleted(open_documents: OpenDocuments) -> None:
    async with open_documents() as store:
        first = await put(store, "a", "screw", kind="bolt")
        await store.delete(1, THINGS, "a", first)
        assert await store.get(1, THINGS, "a") is None
        assert (
            await found(store) == await found(store, words="screw") == await found(store, equal={"kind": "bolt"}) == []
        )
        with pytest.raises(RevisionMoved) as moved:
            await store.put(1, THINGS, Document("a", first + 1, {}))
        assert moved.value.current == 0
        again = await put(store, "a", kind="nut")
        assert again > first + 1
        assert await store.get(1, THINGS, "a") == Document("a", again, {"kind": "nut"})


async def test_documents_are_found_by_equality_range_and_prefix_in_the_order_of_their_ids(
    open_documents: OpenDocuments,
) -> None:
    async with open_documents() as store:
        await put(store, "b", **BODY)
        await put(
            store, "a-1", kind="bolt", made={"by": "Annabel", "on": "2026-11-23T08:00:00Z"}, length=13, pieces="3"
        )
        await put(
            store, "B", kind="nut.*", made={"by": "anna", "on": "2026-11-24"}, length="13", sold=1, colours=["red"]
        )
        await put(store, "ä", made={}, length=-1.5, sold=False)
        assert await found(store) == ["B", "a-1", "b", "ä"]
        assert await found(store, equal={"kind": "bolt"}) == ["a-1", "b"]
        assert await found(store, equal={"kind": ("bolt", "nut.*", "x"), "sold": True}) == ["b"]
        assert await found(store, equal={"sold": False}) == ["ä"]
        assert await found(store, equal={"pieces": 3}) == ["b"]
        assert await found(store, equal={"made.by": "Anna"}) == ["b"]
        assert await found(store, equal={"colours": "red"}) == ["B", "b"]
        assert await found(store, equal={"kind": ()}) == []
        assert await found(store, prefix={"made.by": "Anna"}) == ["a-1", "b"]
        assert await found(store, prefix={"kind": "nut.*"}) == ["B"]
        assert await found(store, prefix={"kind": "b.*"}) == []
        assert await found(store, between={"length": (-1.5, 13)}) == ["b", "ä"]
        assert await found(store, between={"length": (12.5, None)}) == ["a-1", "b"]
        assert await found(store, between={"made.on": ("2026-11-22T08:00:00Z", "2026-11-24")}) == ["a-1", "b"]
        assert await found(store, between={"made.on": (None, "2026-11-23")}, equal={"kind": "bolt"}) == ["b"]


async def test_a_page_goes_on_behind_the_last_document_of_the_one_before(open_documents: OpenDocuments) -> None:
    async with open_documents() as store:
        for number in range(5):
            await put(store, f"n{number}", even=number % 2 == 0)
        assert await found(store, limit=2) == ["n0", "n1"]
        assert await found(store, limit=2, after="n1") == ["n2", "n3"]
        assert await found(store, limit=2, after="n1", equal={"even": True}) == ["n2", "n4"]
        assert await found(store, limit=2, after="n4") == []


async def test_every_word_of_a_question_is_a_word_of_the_text_or_the_beginning_of_one(
    open_documents: OpenDocuments,
) -> None:
    async with open_documents() as store:
        await put(store, "a", "Größe 12-A: Hydraulikpumpe, O'Neill & Söhne")
        await put(store, "b", "Pumpe 12")
        assert await found(store, words="hydraulik") == ["a"]
        assert await found(store, words="GROSSE 12") == ["a"]
        assert await found(store, words="12 pum") == ["b"]
        assert await found(store, words="o'ne & (sohne") == ["a"]
        assert await found(store, words="pumpe") == ["b"], "the end of a word is none of its beginnings"
        assert await found(store, words=" :*|!'") == ["a", "b"], "a question without a word finds everything"
        await store.put(1, THINGS, Document("b", 1, {}), text="Ventil")
        assert await found(store, words="pumpe") == []
        assert await found(store, words="ventil") == ["b"]


async def test_no_tenant_sees_or_changes_a_document_or_entry_of_another(open_documents: OpenDocuments) -> None:
    async with open_documents() as store:
        mine, theirs = await put(store, "a", "secret", kind="x"), await put(store, "a", "open", tenant=2, kind="y")
        assert mine == theirs == 1, "the same id in each"
        assert await found(store, words="open") == await found(store, equal={"kind": "y"}) == []
        with pytest.raises(RevisionMoved):
            await store.put(2, THINGS, Document("b", 1, {}))
        await store.delete(2, THINGS, "a", theirs)
        assert await store.get(1, THINGS, "a") == Document("a", mine, {"kind": "x"})
        await store.append(1, NOTES, [(Entry("e", 5, {}), "")])
        assert await store.entries(2, NOTES, FindEntries()) == []


@pytest.mark.parametrize(
    "body",
    [{"a.b": 1}, {"$a": 1}, {"": 1}, {"a": "\x00"}, {"a": "\ud800"}, {"a": 1 << 63}, {"a": float("nan")}, {"a": {1}},
     {"a": "x" * 300_000}, {"deep": [[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]}],
)  # fmt: skip
async def test_what_a_store_would_not_give_back_as_it_was_is_refused(
    open_documents: OpenDocuments, body: dict[str, Any]
) -> None:
    async with open_documents() as store:
        with pytest.raises(DocumentInvalid):
            await put(store, "a", **body)
        with pytest.raises(DocumentInvalid):
            await store.append(1, NOTES, [(Entry("good", 1, {}), ""), (Entry("bad", 1, body), "")])
        assert await store.get(1, THINGS, "a") is None
        assert await store.entries(1, NOTES, FindEntries()) == []


async def test_entries_come_newest_first_and_one_that_comes_again_is_left_out(open_documents: OpenDocuments) -> None:
    async with open_documents() as store:
        entries = [(Entry(f"e{number}", 10 + number // 2, {"level": "info", "n": number}), f"text {number}")
                   for number in range(6)]  # fmt: skip
        await store.append(1, NOTES, [])
        await store.append(1, NOTES, entries[:4])
        await store.append(1, NOTES, entries[2:])

        async def ids(**asked: Any) -> list[str]:
            return [entry.id for entry in await store.entries(1, NOTES, FindEntries(**asked))]

        assert await ids() == ["e5", "e4", "e3", "e2", "e1", "e0"]
        assert await ids(limit=2) == ["e5", "e4"]
        assert await ids(limit=2, before=(12, "e4")) == ["e3", "e2"]
        assert await ids(begin_ns=11, end_ns=12) == ["e3", "e2"]
        assert await ids(words="text 4") == ["e4"]
        assert await ids(equal={"level": ("info", "error"), "n": (1, 3)}) == ["e3", "e1"]
        assert (await store.entries(1, NOTES, FindEntries(words="4")))[0] == entries[4][0]


async def test_of_each_tenant_the_oldest_entries_go_that_are_too_much_and_all_that_are_too_old(
    open_documents: OpenDocuments,
) -> None:
    async with open_documents() as store:
        notes = [Entry(f"e{number:02d}", HOUR_NS + number, {"text": "x" * 50}) for number in range(30)]
        kept = NOTES.bytes_max // entry_bytes(notes[0])
        await store.append(1, NOTES, [(entry, "") for entry in notes])
        await store.append(2, NOTES, [(entry, "") for entry in notes[:3]])
        assert await store.trim(NOTES, HOUR_NS) == 30 - kept
        assert list(await store.entries(1, NOTES, FindEntries())) == notes[: -kept - 1 : -1]
        assert len(await store.entries(2, NOTES, FindEntries())) == 3
        assert await store.trim(NOTES, 2 * HOUR_NS + 2) == 2, "of the second tenant"
        assert await store.trim(NOTES, 2 * HOUR_NS + 100) == kept + 1
        assert await store.entries(1, NOTES, FindEntries()) == []


@LEAVES_SOCKETS
async def test_a_mongodb_that_is_away_is_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.documents.mongo.TIMEOUT_MS", 200)
    store = MongoDocuments("mongodb://127.0.0.1:9", "nowhere")
    try:
        with pytest.raises(DatabaseUnavailable, match="MongoDB cannot be reached"):
            await store.get(1, THINGS, "a")
    finally:
        await closed(store)
