"""All routes of the catalog."""

from __future__ import annotations

from fastapi import APIRouter

from cloud_ingest.catalog.collections import CATEGORIES, CONTENT, PRODUCTS, ROUTINGS
from cloud_ingest.catalog.content_routes import content_routes
from cloud_ingest.catalog.drafts import Drafts
from cloud_ingest.catalog.log_routes import log_routes
from cloud_ingest.catalog.product_routes import product_routes
from cloud_ingest.catalog.publishing import Publishing
from cloud_ingest.catalog.routing_routes import routing_routes
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.documents import CappedCollection, DocumentStore


def catalog_routes(
    database: Database, documents: DocumentStore, logs: CappedCollection, clock: Clock
) -> list[APIRouter]:
    """Products, categories, routings, content and log lines."""
    publishing = Publishing(database, clock)
    products, categories = Drafts(documents, PRODUCTS, "product"), Drafts(documents, CATEGORIES, "category")
    return [
        product_routes(products, categories, publishing),
        routing_routes(Drafts(documents, ROUTINGS, "routing"), publishing),
        content_routes(Drafts(documents, CONTENT, "content"), publishing),
        log_routes(documents, logs, clock),
    ]
