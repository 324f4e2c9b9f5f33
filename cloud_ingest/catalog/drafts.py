"""Products, routings, content and categories as they are edited: documents, each with a revision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloud_ingest.access.etags import check_match
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.catalog.models import words_in
from connectors.model.errors import DocumentInvalid, RevisionMoved
from connectors.ports.documents import Collection, Document, DocumentStore, Find


class Drafts:
    """The documents of one collection; ``noun`` is what one of them is called."""

    def __init__(self, documents: DocumentStore, collection: Collection, noun: str) -> None:
        self._documents = documents
        self._collection = collection
        self._noun = noun

    async def find(self, tenant_id: int, find: Find) -> Sequence[Document]:
        """See ``DocumentStore.find``."""
        return await self._documents.find(tenant_id, self._collection, find)

    async def look(self, tenant_id: int, code: str) -> Document | None:
        """The document of ``code``, if there is one."""
        return await self._documents.get(tenant_id, self._collection, code)

    async def get(self, tenant_id: int, code: str) -> Document:
        """The document of ``code``. Raises ``RequestRefused`` when there is none."""
        found = await self.look(tenant_id, code)
        if found is None:
            raise self._unknown(code)
        return found

    async def save(self, tenant_id: int, code: str, body: Mapping[str, Any], if_match: str = "") -> Document:
        """Make the document of ``code``, or put ``body`` over the revision that ``if_match`` names.

        Raises ``RequestRefused`` when it was changed since, or exists and ``if_match`` does not say what was seen.
        """
        found = await self.look(tenant_id, code)
        if found is not None:
            check_match(if_match, found.revision)
        elif if_match.strip():
            raise RequestRefused(Why.CHANGED, "changed_since", f"{self._noun} {code!r} does not exist any more")
        return await self.put(tenant_id, Document(code, 0 if found is None else found.revision, body))

    async def put(self, tenant_id: int, document: Document) -> Document:
        """Put it over its revision. Raises ``RequestRefused`` when it was changed since."""
        try:
            text = words_in(document.body, document.id)
            revision = await self._documents.put(tenant_id, self._collection, document, text=text)
        except RevisionMoved as exc:
            raise _changed(exc) from exc
        except DocumentInvalid as exc:
            raise RequestRefused(Why.INVALID, "document_invalid", str(exc)) from exc
        return Document(document.id, revision, document.body)

    async def delete(self, tenant_id: int, code: str, if_match: str) -> None:
        """Delete it; what is published of it stays. Raises ``RequestRefused`` as ``save`` does."""
        found = await self.get(tenant_id, code)
        check_match(if_match, found.revision)
        try:
            await self._documents.delete(tenant_id, self._collection, code, found.revision)
        except RevisionMoved as exc:
            raise _changed(exc) from exc

    def _unknown(self, code: str) -> RequestRefused:
        return RequestRefused(Why.UNKNOWN, f"no_such_{self._noun}", f"there is no {self._noun} {code!r}")


def _changed(moved: RevisionMoved) -> RequestRefused:
    return RequestRefused(Why.CHANGED, "changed_since", f"it was changed since: {moved}. Ask for it again")
