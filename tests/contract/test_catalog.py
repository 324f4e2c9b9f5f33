"""The catalog: what is edited, what holds, what others are told, on a real database."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from decimal import Decimal

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.catalog.published import product
from tests.contract.catalog_steps import ASSEMBLY, PUMP, Shop, shop

NEXT_YEAR = datetime(2027, 6, 1, tzinfo=UTC)


def code(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]  # type: ignore[attr-defined]


async def told(here: Shop) -> list[tuple[str, int, str]]:
    events = [json.loads(event) for _, event in await here.events()]
    assert {event["type"] for event in events} <= {"lineside.catalog.product-changed.v1"}
    return [(event["data"]["product"], event["data"]["version"], event["data"]["state"]) for event in events]


async def test_others_get_a_product_with_its_price_at_a_time_and_how_it_is_made(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.stock()
        async with tenant_transaction(here.database, 1) as session:
            now = await product(session, 1, "PUMP-12", language="de-AT")
            later = await product(session, 1, "PUMP-12", at=NEXT_YEAR)
            dollars = await product(session, 1, "PUMP-12", currency="USD")
            assert await product(session, 1, "NONE") is None
        assert now is not None
        assert later is not None
        assert dollars is not None
        assert (now.name, now.unit_price, later.unit_price) == ("Pumpe, 12 bar", Decimal("249.00"), Decimal("259.50"))
        assert (dollars.unit_price, now.tax_rate, now.weight_kg) == (None, Decimal("0.19"), Decimal("3.2"))
        first, second = now.routing
        assert (first.number, first.site, first.line, first.ideal_cycle_s) == (1, "plant", "line-1", Decimal("2.4"))
        assert (first.setup_s, first.batch_max, second.batch_max) == (Decimal(600), None, Decimal(500))
        assert (dict(first.recipe), dict(second.recipe)) == ({"torque_nm": 12.5}, {"label": "EU", "n": 2})


async def test_a_draft_holds_for_nobody_until_it_is_published_and_each_version_is_kept(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.stock()
        seen = (await here.ask("GET", "/products/PUMP-12/draft")).headers["ETag"]
        seen = await here.save("/products/PUMP-12/draft", {**PUMP, "names": {"en": "Better pump"}}, seen)
        assert (await here.get("/products/PUMP-12"))["name"] == "Pump, 12 bar"
        await here.ask("PUT", "/products/PUMP-12/published", seen=seen)
        again = await here.ask("PUT", "/products/PUMP-12/published", seen=seen)
        assert again.json() == {"code": "PUMP-12", "version": 2}, "the same again makes no version"
        assert (await here.get("/products/PUMP-12"))["name"] == "Better pump"
        versions = await here.get("/products/PUMP-12/versions?limit=1")
        assert [(one["version"], one["holds"]) for one in versions["versions"]] == [(2, True)]
        older = await here.get(f"/products/PUMP-12/versions?before={versions['next']}")
        assert [(one["version"], one["published_by"]) for one in older["versions"]] == [(1, "user:planner")]
        assert older["next"] is None
        assert await told(here) == [("PUMP-12", 1, "published"), ("PUMP-12", 2, "published")]


async def test_of_two_people_who_change_the_same_the_second_is_told(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        first = await here.save("/products/A/draft", PUMP)
        assert code(await here.ask("PUT", "/products/A/draft", json=PUMP)) == (428, "if_match_needed")
        changes = [here.ask("PUT", "/products/A/draft", json={**PUMP, "unit": unit}, seen=first) for unit in "ab"]
        answers = await asyncio.gather(*changes)
        assert sorted(answer.status_code for answer in answers) == [200, 412]
        assert code(await here.ask("PUT", "/products/A/published", seen=first)) == (412, "changed_since")
        assert code(await here.ask("DELETE", "/products/A/draft", seen=first)) == (412, "changed_since")
        assert code(await here.ask("PUT", "/products/B/draft", json=PUMP, seen='"1"')) == (412, "changed_since")


async def test_nothing_incomplete_is_published_and_no_routing_goes_that_products_need(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        tag = await here.save("/products/A/draft", PUMP)
        assert code(await here.ask("PUT", "/products/A/published", seen=tag)) == (409, "product_incomplete")
        await here.save("/categories/pumps", {"names": {"en": "Pumps"}, "attributes": {"bar": {"kind": "flag"}}})
        refused = await here.ask("PUT", "/products/A/published", seen=tag)
        assert code(refused) == (409, "product_incomplete")
        assert "'bar' is true or false" in refused.json()["detail"]
        tag = await here.save("/products/A/draft", {**PUMP, "attributes": {}}, tag)
        assert code(await here.ask("PUT", "/products/A/published", seen=tag)) == (409, "routing_not_published")
        await here.publish("/routings/assembly", ASSEMBLY)
        assert (await here.ask("PUT", "/products/A/published", seen=tag)).status_code == 200
        assert code(await here.ask("DELETE", "/routings/assembly/published")) == (409, "routing_in_use")
        assert (await here.ask("DELETE", "/products/A/published")).status_code == 204
        assert code(await here.ask("DELETE", "/products/A/published")) == (404, "no_such_product")
        assert (await here.ask("DELETE", "/routings/assembly/published")).status_code == 204
        assert await told(here) == [("A", 1, "published"), ("A", 1, "withdrawn")]
        tag = (await here.ask("GET", "/routings/assembly/draft")).headers["ETag"]
        await here.ask("PUT", "/routings/assembly/published", seen=tag)
        assert (await here.get("/routings/assembly"))["version"] == 2, "what was withdrawn comes back as a version"


async def test_a_routing_whose_recipe_does_not_fit_its_line_is_not_published(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        place = {"agent": "plant/line-1", "device": "driver", "tag": "torque", "value_max": 12}
        tag = await here.save("/routings/assembly/draft", ASSEMBLY)
        async with here.database.session() as session:
            await session.execute(
                "INSERT INTO work_order_line (tenant_id, site, line, parameters) VALUES (1, 'plant', 'line-1', $1)",
                json.dumps({"torque_nm": place}),
            )
        refused = await here.ask("PUT", "/routings/assembly/published", seen=tag)
        assert code(refused) == (409, "value_unfit")
        assert "'torque_nm' of the recipe for plant/line-1" in refused.json()["detail"]
        steps = [{**ASSEMBLY["steps"][0], "recipe": {"torque_nm": 12}}, ASSEMBLY["steps"][1]]
        tag = await here.save("/routings/assembly/draft", {**ASSEMBLY, "steps": steps}, tag)
        assert (await here.ask("PUT", "/routings/assembly/published", seen=tag)).status_code == 200, (
            "of the other line nobody has said yet where its values are written"
        )


async def test_who_makes_a_product_another_way_tells_of_the_product(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.stock()
        faster = {**ASSEMBLY, "steps": [{**ASSEMBLY["steps"][0], "ideal_cycle_s": "1"}]}
        seen = (await here.ask("GET", "/routings/assembly/draft")).headers["ETag"]
        await here.publish("/routings/assembly", faster, seen)
        assert (await told(here))[-1] == ("PUMP-12", 1, "published")
        async with tenant_transaction(here.database, 1) as session:
            found = await product(session, 1, "PUMP-12")
        assert found is not None
        assert [step.ideal_cycle_s for step in found.routing] == [Decimal(1)]


async def test_customers_see_what_is_sold_and_nothing_of_how_it_is_made(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.stock()
        part = {"names": {"en": "Rotor"}, "sold": False}
        await here.publish("/products/ROTOR", part)
        await here.save("/products/NEW/draft", PUMP)
        inside = await here.get("/products")
        assert [(one["code"], one["routing"]) for one in inside["products"]] == [
            ("PUMP-12", "assembly"),
            ("ROTOR", None),
        ]
        for path in ("/products", "/products?sold=true"):
            outside = await here.get(path, by=Role.CUSTOMER)
            assert [(one["code"], one["unit_price"], one["routing"]) for one in outside["products"]] == [
                ("PUMP-12", "249.00", None)
            ]
        assert (await here.get("/products?sold=false", by=Role.CUSTOMER))["products"] == []
        assert code(await here.ask("GET", "/products/ROTOR", by=Role.CUSTOMER)) == (404, "no_such_product")
        for path in ("/product-drafts", "/products/PUMP-12/draft", "/routings", "/products.csv", "/logs"):
            assert code(await here.ask("GET", path, by=Role.CUSTOMER)) == (403, "not_your_role")


async def test_products_are_found_by_words_and_come_a_page_at_a_time(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.stock()
        for number in range(3):
            await here.publish(
                f"/products/P{number}", {"names": {"en": f"Valve {number}", "de": "Ventil"}, "sold": True}
            )
        assert [one["code"] for one in (await here.get("/products?search=vent"))["products"]] == ["P0", "P1", "P2"]
        assert [one["code"] for one in (await here.get("/products?search=valve 2"))["products"]] == ["P2"]
        assert [one["code"] for one in (await here.get("/products?category=pumps"))["products"]] == ["PUMP-12"]
        page = await here.get("/products?limit=2")
        assert ([one["code"] for one in page["products"]], page["next"]) == (["P0", "P1"], "P1")
        rest = await here.get(f"/product-drafts?limit=2&after={page['next']}")
        assert ([one["code"] for one in rest["products"]], rest["next"]) == (["P2", "PUMP-12"], None)


async def test_a_table_makes_and_changes_products_and_the_same_table_again_changes_nothing(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        await here.stock()
        table = (await here.ask("GET", "/products.csv")).text
        more = table + table.splitlines()[1].replace("PUMP-12", "PUMP-16").replace("249.00", "300.00") + "\r\n"
        answer = await here.ask("PUT", "/products.csv?publish=true", content=more)
        assert answer.json() == {"created": 1, "changed": 0, "unchanged": 1, "published": 2}
        assert (await here.get("/products/PUMP-16"))["unit_price"] == "300.00"
        answer = await here.ask("PUT", "/products.csv", content=more)
        assert answer.json() == {"created": 0, "changed": 0, "unchanged": 2, "published": 0}
        wrong = more.replace("300.00", "cheap") + "a b" + "\r\n"
        refused = await here.ask("PUT", "/products.csv", content=wrong)
        assert code(refused) == (400, "rows_invalid")
        assert "row 3" in refused.json()["detail"]
        assert "row 4" in refused.json()["detail"]
        assert len(await told(here)) == 2, "a version that holds already is not published again"
        for content in (b"\xff\xfe", b'code,sold\r\n"A'):
            assert code(await here.ask("PUT", "/products.csv", content=content)) == (400, "table_invalid")


async def test_content_is_shown_within_its_times_in_a_language_that_it_has(database_dsn: str) -> None:
    async with shop(database_dsn) as here:
        page = {"kind": "page", "locales": {"en": {"title": "Welcome"}, "de": {"title": "Willkommen"}}}
        brand = {"kind": "brand", "locales": {"en": {"values": {"colour": "#0a5", "dark": True}}}}
        await here.publish("/content/home", page)
        await here.publish("/content/brand", brand)
        await here.publish("/content/sale", {**page, "from": "2099-01-01T00:00:00Z"})
        await here.publish("/content/old", {**page, "to": "2020-01-01T00:00:00Z"})
        shown = await here.get("/content?language=de", by=Role.CUSTOMER)
        assert [(one["code"], one["title"], one["language"]) for one in shown["content"]] == [
            ("brand", "", "en"), ("home", "Willkommen", "de"),
        ]  # fmt: skip
        assert (await here.get("/content/brand"))["values"] == {"colour": "#0a5", "dark": True}
        assert [one["code"] for one in (await here.get("/content?kind=brand"))["content"]] == ["brand"]
        assert code(await here.ask("GET", "/content/sale", by=Role.CUSTOMER)) == (404, "no_such_content")
        await here.ask("DELETE", "/content/home/published")
        assert code(await here.ask("GET", "/content/home")) == (404, "no_such_content")
