"""The collections of documents that the catalog has."""

from __future__ import annotations

from typing import Final

from cloud_ingest.settings.catalog import KeptLogsSettings
from connectors.ports.documents import CappedCollection, Collection

CATEGORIES: Final = Collection("categories")
PRODUCTS: Final = Collection("products", ("category", "sold", "routing"))
ROUTINGS: Final = Collection("routings")
CONTENT: Final = Collection("content", ("kind",))
DOCUMENTS: Final = (CATEGORIES, PRODUCTS, ROUTINGS, CONTENT)


def log_collection(settings: KeptLogsSettings) -> CappedCollection:
    """Log lines, as ``settings`` bound them."""
    return CappedCollection("logs", settings.size, settings.age_s, ("level", "source"))
