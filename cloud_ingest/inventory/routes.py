"""All routes of inventory."""

from __future__ import annotations

from fastapi import APIRouter

from cloud_ingest.inventory.bom_routes import bom_routes, genealogy_routes, lot_routes
from cloud_ingest.inventory.item_routes import item_routes, line_place_routes, place_routes
from cloud_ingest.inventory.planning_routes import count_routes, proposal_routes
from cloud_ingest.inventory.stock_routes import movement_routes, reservation_routes, shortage_routes, stock_routes
from connectors.ports.database import Database


def inventory_routes(database: Database) -> list[APIRouter]:
    """Items, locations, stock, movements, reservations, bills of material, lots, purchases, counts, genealogy."""
    return [
        item_routes(database),
        place_routes(database),
        line_place_routes(database),
        stock_routes(database),
        movement_routes(database),
        reservation_routes(database),
        shortage_routes(database),
        bom_routes(database),
        lot_routes(database),
        genealogy_routes(database),
        proposal_routes(database),
        count_routes(database),
    ]
