"""The routes of inventory on a real database: what planners and operators do with them, and how they are refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from prometheus_client import CollectorRegistry

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.gateway.app import make_app
from cloud_ingest.gateway.server import serve
from cloud_ingest.inventory.routes import inventory_routes
from cloud_ingest.observability.obstacles import Obstacles
from tests.contract.inventory_steps import LINE, SITE, TENANT, Store, store

PEOPLE: Final = {
    "anna": Principal(TENANT, "user:anna", "anna", "user", (Grant(Role.OPERATOR),)),
    "paul": Principal(TENANT, "user:paul", "paul", "user", (Grant(Role.PLANNER),)),
    "vera": Principal(TENANT, "user:vera", "vera", "user", (Grant(Role.VIEWER),)),
    "otto": Principal(TENANT, "user:otto", "otto", "user", (Grant(Role.OPERATOR, "plant-8"),)),
}


class People:
    """An authenticator that knows people by their names."""

    async def principal(self, token: str | None) -> Principal:
        return PEOPLE[token or "vera"]


class Desk:
    """The API, on a port of this machine."""

    def __init__(self, here: Store, port: int) -> None:
        self.here, self._port = here, port
        self._keys = 0

    async def ask(self, method: str, path: str, by: str = "paul", **more: Any) -> httpx.Response:
        self._keys += 1
        headers = {"Authorization": f"Bearer {by}", "Idempotency-Key": f"k{self._keys}", **more.pop("headers", {})}
        url = f"http://127.0.0.1:{self._port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30.0) as client:
            return await client.request(method, f"/api/v1/{path}", headers=headers, **more)

    async def done(self, method: str, path: str, by: str = "paul", **more: Any) -> Any:
        answer = await self.ask(method, path, by, **more)
        assert answer.is_success, answer.text
        return answer.json() if answer.content else None

    async def refused(self, method: str, path: str, by: str = "paul", **more: Any) -> tuple[int, str, str]:
        document = (await self.ask(method, path, by, **more)).json()
        return document["status"], document.get("code", ""), document["detail"]


@asynccontextmanager
async def desk(dsn: str) -> AsyncIterator[Desk]:
    async with store(dsn) as here:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            app = make_app(here.database, CollectorRegistry(), Obstacles(), platform=inventory_routes(here.database))
            app.state.authenticator = People()
            serving = asyncio.create_task(serve(listening, app))
            try:
                yield Desk(here, listening.getsockname()[1])
            finally:
                serving.cancel()
                await asyncio.wait([serving])


def item(code: str, **more: Any) -> dict[str, Any]:
    return {"code": code, "kind": "component", **more}


def receipt(code: str, quantity: str, **more: Any) -> dict[str, Any]:
    return {"kind": "receipt", "item": code, "quantity": quantity, "to": "warehouse", **more}


async def test_what_comes_is_booked_reserved_and_shipped_and_the_ledger_tells_all_of_it(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        made = await here.done("POST", "items", json=item("PUMP", tracking="lot", reorder_point="3"))
        assert (made["reorder_point"], made["tracking"], made["revision"]) == ("3", "lot", 1)
        body = receipt("PUMP", "10.5", lots=["L1"], expires="2099-01-31")
        key = {"Idempotency-Key": "delivery 1"}
        first = await here.done("POST", "movements", "anna", json=body, headers=key)
        assert await here.done("POST", "movements", "anna", json=body, headers=key) == first
        (came,) = first["movements"]
        assert (came["from"], came["quantity"], came["booked_by"]) == ("@supplier", "10.5", "anna")
        status, code, why = await here.refused("POST", "movements", "anna", json={
            "kind": "issue", "item": "PUMP", "quantity": "11", "from": "warehouse"})  # fmt: skip
        assert (status, code) == (409, "not_enough")
        assert "there are 10.5 pcs of PUMP at warehouse" in why
        wanted = {"item": "PUMP", "quantity": "12", "for": "order", "id": "SO-1", "line": "1"}
        reserved = await here.done("POST", "reservations", json=wanted)
        assert (reserved["reserved"], reserved["short"]) == ("10.5", "1.5")
        stock = await here.done("GET", "stock", params={"item": "PUMP"})
        assert [(one["on_hand"], one["available"]) for one in stock["stock"]] == [("10.5", "0")]
        (kept,) = (await here.done("GET", "reservations", params={"for": "order", "id": "SO-1"}))["reservations"]
        assert (kept["for"], kept["lot"], kept["open"]) == ("order", "L1", "10.5")
        given = await here.done("POST", f"reservations/{kept['reservation']}/release", json={"reason": "cancelled"})
        assert given == {"released": "10.5"}
        there = await here.done("GET", "stock/PUMP")
        assert (there["available"], there["reserved"], there["on_order"]) == ("10.5", "0", "0")
        ledger = await here.done("GET", "movements", "vera", params={"item": "PUMP", "limit": 1})
        assert [one["movement"] for one in ledger["movements"]] == [came["movement"]]
        assert ledger["next"] is None


async def test_a_change_names_what_was_seen_and_what_has_moved_keeps_its_unit(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.done("POST", "items", json=item("SCREW"))
        assert (await here.refused("POST", "items", json=item("SCREW")))[:2] == (409, "item_there")
        tag = (await here.ask("GET", "items/SCREW")).headers["etag"]
        seen = {"If-Match": tag}
        changed = await here.done("PATCH", "items/SCREW", json={"unit": "kg", "reorder_point": "5"}, headers=seen)
        assert (changed["unit"], changed["reorder_point"], changed["revision"]) == ("kg", "5", 2)
        assert (await here.refused("PATCH", "items/SCREW", json={"name": "x"}, headers=seen))[0] == 412
        assert (await here.refused("PATCH", "items/SCREW", json={"name": "x"}))[0] == 428
        await here.done("POST", "movements", "anna", json=receipt("SCREW", "7"))
        changes = (({"unit": "pcs"}, "has_moved"), ({"is_active": False}, "has_stock"), ({"name": None}, "not_null"))
        for change, code in changes:
            refused = await here.refused("PATCH", "items/SCREW", json=change, headers={"If-Match": "*"})
            assert refused[1] == code
        assert (
            await here.refused("PATCH", "locations/warehouse", json={"is_active": False}, headers={"If-Match": "*"})
        )[1] == "has_stock"


async def test_who_may_not_is_refused_and_a_site_is_seen_by_its_own_people(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.done("POST", "items", json=item("SCREW"))
        refused = await here.refused("POST", "movements", "vera", json=receipt("SCREW", "7"))
        assert refused[:2] == (403, "not_your_role")
        await here.done("POST", "locations", json={"code": "plant-8", "kind": "site"})
        await here.done("POST", "movements", "anna", json=receipt("SCREW", "7"))
        await here.done("POST", "movements", "otto", json=receipt("SCREW", "3", to="plant-8"))
        assert (await here.refused("POST", "movements", "otto", json=receipt("SCREW", "7")))[0] == 403
        seen = await here.done("GET", "stock", "otto")
        assert [(one["location"], one["on_hand"]) for one in seen["stock"]] == [("plant-8", "3")]
        assert len((await here.done("GET", "movements", "otto"))["movements"]) == 1
        assert [one["code"] for one in (await here.done("GET", "locations", "otto"))["locations"]] == ["plant-8"]


async def test_a_bill_of_material_is_never_in_itself(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        for code in ("A", "B", "C", "D"):
            await here.done("POST", "items", json=item(code))

        def of(component: str, quantity: str = "2") -> dict[str, Any]:
            return {"lines": [{"component": component, "quantity": quantity, "scrap_factor": "0.5"}]}

        await here.done("POST", "boms/A", json=of("B"))
        await here.done("POST", "boms/B", json=of("C"))
        status, code, why = await here.refused("POST", "boms/C", json=of("A"))
        assert (status, code) == (409, "bom_cycle")
        assert "C would be in itself: C > A > B > C" in why
        assert (await here.refused("POST", "boms/D", json=of("D")))[1] == "bom_cycle"
        assert (await here.refused("POST", "boms/D", json=of("E")))[:2] == (404, "unknown_item")
        needs = (await here.done("GET", "boms/A/explosion", params={"quantity": "10"}))["requirements"]
        assert [(one["item"], one["quantity"], one["level"], one["is_made"]) for one in needs] == [
            ("B", "30", 1, True), ("C", "90", 2, False),
        ]  # fmt: skip
        uses = (await here.done("GET", "boms/C/where-used"))["uses"]
        assert [(one["item"], one["level"], one["quantity"]) for one in uses] == [("B", 1, "3"), ("A", 2, "3")]
        await here.done("POST", "boms/A", json=of("C", "1"))
        assert (await here.done("GET", "boms/A"))["current"] == 2
        await here.done("POST", "boms/A/2/withdraw")
        assert (await here.done("GET", "boms/A"))["current"] == 1


async def test_a_blocked_lot_is_promised_to_nobody(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.done("POST", "items", json=item("PUMP", tracking="lot", quarantine=True))
        await here.done("POST", "movements", "anna", json=receipt("PUMP", "5", lots=["L1"]))
        wanted = {"item": "PUMP", "quantity": "5", "for": "order", "id": "SO-1"}
        assert (await here.done("POST", "reservations", json=wanted))["reserved"] == "0"
        seen = {"If-Match": (await here.ask("GET", "lots/PUMP/L1")).headers["etag"]}
        await here.done("PATCH", "lots/PUMP/L1", "anna", json={"status": "released"}, headers=seen)
        assert (await here.done("POST", "reservations", json=wanted))["reserved"] == "5"
        body = {"status": "blocked", "reason": "rust"}
        await here.done("PATCH", "lots/PUMP/L1", "anna", json=body, headers={"If-Match": "*"})
        assert (await here.done("GET", "stock/PUMP"))["reserved"] == "0"
        assert [one["reason"] for one in await here.here.events("released")] == ["the lot L1 may not be used"]


async def test_what_is_bought_is_proposed_ordered_and_received(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        low = {"reorder_point": "10", "reorder_quantity": "4", "supplier": "Bolts"}
        await here.done("POST", "items", json=item("SCREW", **low))
        await here.done("POST", "movements", "anna", json=receipt("SCREW", "1"))
        (proposal,) = (await here.done("GET", "purchase-proposals"))["proposals"]
        assert (proposal["quantity"], proposal["state"], proposal["supplier"]) == ("12", "proposed", "Bolts")
        path = f"purchase-proposals/{proposal['proposal']}"
        came = {"quantity": "5", "to": "warehouse"}
        assert (await here.refused("POST", f"{path}/receive", "anna", json=came))[:2] == (409, "is_proposed")
        seen = {"If-Match": '"1"'}
        ordered = await here.done("POST", f"{path}/order", json={"reference": "PO-1"}, headers=seen)
        assert (ordered["state"], ordered["reference"]) == ("ordered", "PO-1")
        assert (await here.done("POST", f"{path}/receive", "anna", json=came))["state"] == "ordered"
        rest = {**came, "quantity": "7"}
        assert (await here.done("POST", f"{path}/receive", "anna", json=rest))["state"] == "received"
        assert (await here.refused("POST", f"{path}/receive", "anna", json=came))[:2] == (409, "is_received")
        assert (await here.done("GET", "stock/SCREW"))["on_hand"] == "13"
        assert not (await here.done("GET", "items", params={"low": "true"}))["items"]


async def test_a_count_finds_what_is_there_whatever_lines_book_meanwhile(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.done("POST", "items", json=item("SCREW"))
        await here.done("POST", "items", json=item("PUMP", tracking="lot"))
        await here.done("POST", "boms/PUMP", json={"lines": [{"component": "SCREW", "quantity": "1"}]})
        await here.done("POST", "movements", "anna", json=receipt("SCREW", "100"))
        count = await here.done("POST", "stock-counts", "anna", json={"location": "warehouse"})
        assert [(one["item"], one["expected"]) for one in count["lines"]] == [("SCREW", "100")]
        status, code, why = await here.refused("POST", "movements", "anna", json=receipt("SCREW", "1"))
        assert (status, code) == (409, "being_counted")
        assert count["count"] in why
        assert (await here.refused("POST", "stock-counts", "anna", json={"location": SITE}))[1] == "being_counted"
        await here.here.counted("10", product="PUMP")
        path = f"stock-counts/{count['count']}"
        assert (await here.refused("POST", f"{path}/book"))[:2] == (409, "is_frozen")
        found = {"lines": [{"item": "SCREW", "location": "warehouse", "counted": "97"},
                           {"item": "PUMP", "location": "warehouse", "lot": "L7", "counted": "2"}]}  # fmt: skip
        await here.done("PUT", f"{path}/lines", "anna", json=found)
        assert (await here.refused("POST", f"{path}/book", "anna"))[:2] == (403, "not_your_role")
        booked = await here.done("POST", f"{path}/book")
        assert [(one["item"], one["difference"]) for one in booked["lines"]] == [("PUMP", "2"), ("SCREW", "-3")]
        assert (await here.done("GET", "stock/SCREW"))["on_hand"] == "87", "100, less 10 used, less 3 missing"
        assert (await here.refused("POST", f"{path}/cancel"))[:2] == (409, "is_booked")
        await here.done("POST", "movements", "anna", json=receipt("SCREW", "1"))


async def test_a_line_takes_and_puts_where_it_is_set(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.done("POST", "locations", json={"code": "rack", "kind": "line-side", "parent": SITE})
        body = {"components_at": "rack", "products_to": "warehouse"}
        assert (await here.refused("PUT", f"line-stock/plant-9/{LINE}", json=body, headers={"If-Match": "*"}))[0] == 409
        assert (await here.refused("PUT", f"line-stock/{SITE}/{LINE}", json=body))[0] == 428
        await here.done("PUT", f"line-stock/{SITE}/{LINE}", json=body, headers={"If-Match": "*"})
        await here.here.counted("4", product="PUMP")
        assert [one["location"] for one in (await here.done("GET", "stock"))["stock"]] == ["warehouse"]
        refused = await here.refused("PATCH", "locations/rack", json={"is_active": False}, headers={"If-Match": "*"})
        assert refused[1] == "location_used"
        assert (await here.done("GET", "items/PUMP"))["kind"] == "product", "what a line makes is an item"


async def test_where_a_lot_went_is_one_question(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.done("POST", "items", json=item("STEEL", tracking="lot"))
        await here.done("POST", "items", json=item("PUMP", tracking="serial"))
        await here.done("POST", "boms/PUMP", json={"lines": [{"component": "STEEL", "quantity": "1.5"}]})
        await here.done("POST", "movements", "anna", json=receipt("STEEL", "10", lots=["HEAT 1"]))
        await here.here.counted("2", product="PUMP")
        shipment = {"kind": "shipment", "item": "PUMP", "quantity": "1", "from": SITE, "order": "SO-1"}
        shipment = {**shipment, "lots": ["WO-1-000002"]}
        await here.done("POST", "movements", "anna", json=shipment)
        went = await here.done("GET", "genealogy/STEEL/HEAT 1")
        assert went["work_orders"] == ["WO-1"]
        assert [(one["lot"], one["on_hand"], one["shipped"], one["orders"]) for one in went["destinations"]] == [
            ("WO-1-000001", "1", "0", []), ("WO-1-000002", "0", "1", ["SO-1"]),
        ]  # fmt: skip
        made_of = await here.done("GET", "genealogy/PUMP/WO-1-000002")
        assert [(one["lot"], one["quantity"]) for one in made_of["contents"]] == [("HEAT 1", "1.5")]
        assert made_of["orders"] == ["SO-1"]


def movement(kind: str, code: str, quantity: Any, **more: Any) -> dict[str, Any]:
    return {"kind": kind, "item": code, "quantity": quantity, **more}


IMPOSSIBLE: Final = (
    (movement("receipt", "SCREW", "0", to="warehouse"), ""),
    (movement("receipt", "SCREW", 5, to="warehouse"), ""),
    (movement("receipt", "SCREW", "1.0000001", to="warehouse"), ""),
    (movement("receipt", "SCREW", "5", to="@scrap"), ""),
    (movement("receipt", "SCREW", "5", **{"from": "warehouse"}), "ends_do_not_fit"),
    (movement("transfer", "SCREW", "5", **{"from": "warehouse"}), "ends_do_not_fit"),
    (movement("receipt", "SCREW", "5", to="warehouse", lots=["L1"]), "not_tracked"),
    (movement("receipt", "MOTOR", "2", to="warehouse", lots=["M1"]), "serials_needed"),
    (movement("receipt", "MOTOR", "1.5", to="warehouse"), "invalid_quantity"),
    (movement("receipt", "SCREW", "1", to="warehouse", happened="2999-01-01T00:00:00Z"), "invalid_time"),
)


async def test_a_movement_that_cannot_be_is_refused_with_a_sentence(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.here.item("SCREW")
        await here.here.item("MOTOR", "serial")
        for body, code in IMPOSSIBLE:
            status, found, why = await here.refused("POST", "movements", "anna", json=body)
            assert (status, found) == (400, code), body
            assert len(why) > 15
