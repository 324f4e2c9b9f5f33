"""When orders will be done, on a real PostgreSQL: by the rates of the last weeks, and by what waits on the line."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from tests.contract.inventory_steps import LINE, SITE
from tests.contract.order_steps import Shop, shop
from tests.contract.whole_gateway import URL, whole_app


@asynccontextmanager
async def asking(here: Shop) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=whole_app(here.database))
    async with httpx.AsyncClient(transport=transport, base_url=f"{URL}/api/v1/analytics/forecasts/") as client:
        yield client


async def ask(client: httpx.AsyncClient, path: str, by: str = "planner") -> dict[str, Any]:
    answer = await client.get(path, headers={"Authorization": f"Bearer {by}"})
    return dict(answer.raise_for_status().json())


def minutes(told: dict[str, Any], of: dict[str, Any]) -> int:
    """From when it was asked to the end that is expected."""
    end, now = datetime.fromisoformat(of["end"]), datetime.fromisoformat(told["time"])
    return round((end - now).total_seconds() / 60)


async def was_slow(here: Shop) -> None:
    """The line has made 100 pumps in four hours, of which it stood for one."""
    await here.stock.say(
        "INSERT INTO analytics_hour (tenant_id, site, line, hour, shift, day, product, planned_ms, running_ms, "
        "stopped_ms, changeover_ms, idle_ms, unknown_ms, unplanned_run_ms, micro_ms, micro_stops, stops, good, reject, "
        "ideal_ms, without_ideal, energy_kwh) VALUES (1, $1, $2, $3, 'early', '', 'pump', 18000000, 10800000, 3600000, "
        "0, 3600000, 0, 0, 0, 0, 1, 100, 0, 6000000, 0, 0)",
        SITE, LINE, datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - timedelta(days=3),
    )  # fmt: skip


async def test_an_order_ends_when_the_line_is_expected_to_get_there_and_what_is_late_is_shown(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here, asking(here) as client:
        await here.sell("pump", cycle_s="60", stock=2)
        wanted = (datetime.now(UTC) + timedelta(minutes=15)).isoformat()
        first = await here.place(("pump", 12), wanted=wanted)
        second = await here.place(("pump", 5))
        await here.pump()
        told = await ask(client, "orders")
        assert [(one["order"], minutes(told, one)) for one in told["orders"]] == [(first, 10), (second, 15)], (
            "as the routing says: two are in stock, and the second one waits for the first"
        )
        assert told["orders"][0]["late_s"] == 0
        await was_slow(here)
        told = await ask(client, "orders")
        assert [minutes(told, one) for one in told["orders"]] == [24, 36], "144 s of work each, as it was"
        assert told["orders"][0]["late_s"] > 8 * 60
        (one,) = (await ask(client, "orders?late=true&limit=1"))["orders"]
        assert one["order"] == first
        assert one["lines"] == [{"line": 1, "product": "pump", "outstanding": "10", "end": one["end"]}]
        told = await ask(client, f"work-orders?site={SITE}&line={LINE}", "viewer")
        assert [(one["remaining"], one["piece_s"], one["measured"]) for one in told["work_orders"]] == [
            ("10", 144.0, True), ("5", 144.0, True),
        ]  # fmt: skip


async def test_an_order_that_is_planned_nowhere_has_no_end_and_what_is_complete_ends_now(database_dsn: str) -> None:
    async with shop(database_dsn) as here, asking(here) as client:
        await here.sell("pump", stock=3)
        await here.sell("bolt", made=False)
        done = await here.place(("pump", 3))
        lost = await here.place(("bolt", 3))
        await here.pump()
        told = await ask(client, "orders")
        found = {one["order"]: one for one in told["orders"]}
        assert minutes(told, found[done]) == 0
        assert (found[lost]["end"], found[lost]["late_s"]) == (None, None)
        assert [one["order"] for one in (await ask(client, "orders?late=true"))["orders"]] == [lost]


async def test_a_customer_sees_the_forecast_of_their_own_orders_alone_and_nobody_without_a_token_any(
    database_dsn: str,
) -> None:
    async with shop(database_dsn) as here, asking(here) as client:
        await here.customer("rival")
        await here.sell("pump")
        own = await here.place(("pump", 1))
        await here.place(("pump", 1), by="rival", customer="rival")
        await here.pump()
        assert [one["order"] for one in (await ask(client, "orders", "customer"))["orders"]] == [own]
        assert len((await ask(client, "orders"))["orders"]) == 2
        assert (await client.get("orders")).status_code == 401
        assert (await client.get("work-orders", headers={"Authorization": "Bearer customer"})).status_code == 403
