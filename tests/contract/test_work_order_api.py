"""The routes of work orders on a real database: pages, ETags, keys, who may what and where."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from prometheus_client import CollectorRegistry

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.gateway.app import make_app
from cloud_ingest.lines.work_order_routes import work_order_routes
from cloud_ingest.observability.obstacles import Obstacles
from connectors.ports.clock import SystemClock
from tests.contract.work_order_steps import OVEN, PRESS, PRESSED, Floor, RoutingLine, floor

PATH: Final = "/api/v1/work-orders"
LINE: Final = f"{PATH}/lines/plant/press"
PEOPLE: Final = {
    "paul": (1, Grant(Role.PLANNER)),
    "olga": (1, Grant(Role.OPERATOR)),
    "emil": (1, Grant(Role.ENGINEER)),
    "oven": (1, Grant(Role.OPERATOR, "plant", "oven")),
    "press": (1, Grant(Role.ENGINEER, "plant", "press")),
    "viktor": (1, Grant(Role.VIEWER)),
    "other": (2, Grant(Role.ADMIN)),
}


class Named:
    """An authenticator to whom a token is a name."""

    async def principal(self, token: str | None) -> Principal:
        tenant_id, grant = PEOPLE[token or ""]
        return Principal(tenant_id, f"user:{token}", token or "", "user", (grant,))


class Counter:
    """The API, and the floor behind it."""

    def __init__(self, here: Floor, client: httpx.AsyncClient) -> None:
        self.here, self._client = here, client

    async def ask(self, method: str, path: str, by: str = "paul", body: Any = None, **headers: str) -> httpx.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._client.request(method, path, json=body, headers={"Authorization": f"Bearer {by}", **named})


@asynccontextmanager
async def counter(dsn: str) -> AsyncIterator[Counter]:
    async with floor(dsn) as here:
        await here.fetch("INSERT INTO tenant (tenant_id, name) VALUES (2, 'theirs')")
        routes = [work_order_routes(here.database, SystemClock())]
        app = make_app(here.database, CollectorRegistry(), Obstacles(), here.office.requests, routes)
        app.state.authenticator = Named()
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test", trust_env=False) as client:
            yield Counter(here, client)


def code(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json().get("code", "")


async def test_from_a_request_to_a_closed_work_order(database_dsn: str) -> None:
    async with counter(database_dsn) as api:
        assert code(await api.ask("POST", PATH, body={"product": "P", "quantity": "3"}, Idempotency_Key="k")) == (
            404,
            "unknown_product",
        )
        (order,) = await api.here.plan(3, order="O-1", order_line=2)
        seen = await api.ask("GET", f"{PATH}/{order}", "viktor")
        assert (seen.json()["state"], seen.json()["remaining"], seen.json()["order"]) == ("next", "3", "O-1")
        stale = await api.ask("POST", f"{PATH}/{order}/start", "olga", If_Match='"99"')
        assert code(stale) == (412, "changed_since")
        started = await api.ask("POST", f"{PATH}/{order}/start", "olga", If_Match=seen.headers["ETag"])
        assert (started.status_code, started.json()["state"]) == (200, "running")
        await api.here.count(PRESS, 2, 1)
        shown = (await api.ask("GET", f"{PATH}/{order}", "viktor")).json()
        assert (shown["good"], shown["reject"], shown["remaining"], shown["pieces_per_hour"]) == (
            "2",
            "1",
            "1",
            "1800.0",
        )
        assert shown["forecast_end"] is not None
        short = await api.ask("POST", f"{PATH}/{order}/complete", "olga")
        assert code(short) == (409, "not_now")
        assert "give a reason" in short.json()["detail"]
        done = await api.ask("POST", f"{PATH}/{order}/complete", "olga", {"reason": "the coil was used up"})
        assert (done.json()["state"], done.json()["reason"]) == ("complete", "the coil was used up")
        closed = (await api.ask("POST", f"{PATH}/{order}/close")).json()
        assert [one["state"] for one in closed["history"]] == ["ready", "next", "running", "complete", "closed"]
        assert [one["actor"] for one in closed["history"]] == [
            "paul",
            "lineside",
            "user:olga",
            "user:olga",
            "user:paul",
        ]


async def test_who_may_do_what_and_where(database_dsn: str) -> None:
    async with counter(database_dsn) as api:
        (order,) = await api.here.plan(3)
        (baked,) = await api.here.plan(3, routing=(RoutingLine(*OVEN),))
        for by, path, wanted in (
            ("viktor", f"/{order}/start", 403),
            ("paul", f"/{order}/start", 403),
            ("olga", f"/{order}/release", 403),
            ("oven", f"/{order}/start", 403),
            ("other", f"/{order}/start", 404),
            ("oven", f"/{baked}/start", 200),
        ):
            assert (await api.ask("POST", PATH + path, by)).status_code == wanted, (by, path)
        mine = (await api.ask("GET", PATH, "oven")).json()
        assert [one["id"] for one in mine["work_orders"]] == [baked]
        assert (await api.ask("GET", PATH, "other")).json() == {"work_orders": [], "next": None}
        assert (await api.ask("GET", LINE, "oven")).status_code == 403
        assert (await api.ask("PUT", f"{LINE}/settings", "olga", {})).status_code == 403


async def test_lists_come_a_page_at_a_time(database_dsn: str) -> None:
    async with counter(database_dsn) as api:
        orders = [(await api.here.plan(1))[0] for _ in range(3)]
        found: list[str] = []
        after = ""
        while True:
            answer = (await api.ask("GET", f"{PATH}?limit=2&after={after}")).json()
            found += [one["id"] for one in answer["work_orders"]]
            if answer["next"] is None:
                break
            after = answer["next"]
        assert found == sorted(orders)
        ready = (await api.ask("GET", f"{PATH}?state=ready&site=plant&line=press&product=P")).json()
        assert [one["id"] for one in ready["work_orders"]] == [one for one in sorted(orders) if one != orders[0]]
        assert (await api.ask("GET", f"{PATH}?stat=ready")).status_code == 400


async def test_the_sequence_and_the_settings_of_a_line_are_changed_as_they_were_seen(database_dsn: str) -> None:
    async with counter(database_dsn) as api:
        empty = await api.ask("GET", LINE, "emil")
        settings = {
            "completes_itself": True,
            "parameters": {"speed": {"agent": "plant/line-1", "device": "press", "tag": "setpoint"}},
        }
        assert code(await api.ask("PUT", f"{LINE}/settings", "emil", settings)) == (428, "if_match_needed")
        made = await api.ask("PUT", f"{LINE}/settings", "emil", settings, If_Match=empty.headers["ETag"])
        assert (made.status_code, made.json()["completes_itself"]) == (200, True)
        assert made.json()["parameters"]["speed"]["value"] == "recipe"
        again = await api.ask("PUT", f"{LINE}/settings", "emil", settings, If_Match=empty.headers["ETag"])
        assert code(again) == (412, "changed_since")
        orders = [(await api.here.plan(1))[0] for _ in range(2)]
        seen = await api.ask("GET", LINE)
        body = {"work_orders": orders[::-1]}
        changed = await api.ask("PUT", f"{LINE}/sequence", "paul", body, If_Match=seen.headers["ETag"])
        assert [(one["id"], one["state"]) for one in changed.json()["work_orders"]] == [
            (orders[1], "next"),
            (orders[0], "ready"),
        ]
        twice = await api.ask("PUT", f"{LINE}/sequence", "paul", body, If_Match=seen.headers["ETag"])
        assert code(twice) == (412, "changed_since")
        over = await api.ask("POST", f"{LINE}/changeover", "olga", {"then": "pause"}, Idempotency_Key="over")
        assert (over.json()["id"], over.json()["state"]) == (orders[1], "running")


async def test_who_looks_again_sees_what_was_counted_meanwhile(database_dsn: str) -> None:
    """Progress changes no revision of the line: a copy that a browser keeps is an old one all the same."""
    async with counter(database_dsn) as api:
        (order,) = await api.here.plan(3)
        await api.here.start(order)
        for path in (LINE, f"{PATH}/{order}"):
            seen = await api.ask("GET", path)
            await api.here.count(PRESS, 1)
            again = await api.ask("GET", path, If_None_Match=seen.headers["ETag"])
            assert again.status_code == 200, path
        sequence = {"work_orders": []}
        changed = await api.ask("PUT", f"{LINE}/sequence", "paul", sequence, If_Match=seen.headers["ETag"])
        assert changed.status_code == 412, "of the line, and not of the work order"
        seen = await api.ask("GET", LINE)
        changed = await api.ask("PUT", f"{LINE}/sequence", "paul", sequence, If_Match=seen.headers["ETag"])
        assert changed.status_code == 200


async def test_a_changeover_that_is_asked_for_again_ends_nothing_else(database_dsn: str) -> None:
    """The answer was lost, and the client asks again: what was started by it goes on."""
    async with counter(database_dsn) as api:
        orders = [(await api.here.plan(1))[0] for _ in range(3)]
        body = {"then": "complete", "reason": "the coil was used up"}
        assert code(await api.ask("POST", f"{LINE}/changeover", "olga", body))[0] == 400, "it needs a key"
        for _ in range(2):
            over = await api.ask("POST", f"{LINE}/changeover", "olga", body, Idempotency_Key="first")
            assert (over.json()["id"], over.json()["state"]) == (orders[0], "running")
        over = await api.ask("POST", f"{LINE}/changeover", "olga", body, Idempotency_Key="second")
        assert over.json()["id"] == orders[1]
        assert await api.here.states(*orders) == ["complete", "running", "next"]


async def test_who_models_one_line_has_nothing_written_to_machines_elsewhere(database_dsn: str) -> None:
    async with counter(database_dsn) as api:
        far = {"agent": "plant-9/line-1", "device": "oven", "tag": "setpoint"}
        near = {**far, "agent": "plant/press"}
        await api.here.set_line(PRESS)

        async def put(by: str, **parameters: Any) -> httpx.Response:
            return await api.ask("PUT", f"{LINE}/settings", by, {"parameters": parameters}, If_Match="*")

        assert code(await put("press", speed=far)) == (403, "not_your_role")
        assert code(await put("press", speed=near))[0] == 200
        assert code(await put("emil", speed=near, heat=far))[0] == 200
        assert code(await put("press", heat=far))[0] == 200, "what somebody else may, and has said, stays"
        assert code(await put("press", heat={**far, "tag": "power"})) == (403, "not_your_role")


async def test_who_starts_a_work_order_is_the_one_who_must_not_approve_its_commands(database_dsn: str) -> None:
    async with counter(database_dsn) as api:
        target = {"agent": "plant/line-1", "device": "press", "tag": "setpoint", "value": "quantity"}
        await api.here.set_line(PRESS, parameters=json.dumps({"count": target}))
        (order,) = await api.here.plan(3)
        assert (await api.ask("POST", f"{PATH}/{order}/start", "olga")).status_code == 200
        await api.here.keeper.look()
        (command,) = await api.here.commands()
        assert command["issuer"] == (await Named().principal("olga")).actor


async def test_a_quantity_is_changed_in_the_steps_that_follow_too(database_dsn: str) -> None:
    async with counter(database_dsn) as api:
        pressed, baked = await api.here.plan(5, routing=(*PRESSED, RoutingLine(*OVEN)))
        seen = await api.ask("GET", f"{PATH}/{pressed}")
        larger = await api.ask("PATCH", f"{PATH}/{pressed}", body={"quantity": "7.5"}, If_Match=seen.headers["ETag"])
        assert larger.json()["quantity"] == "7.5"
        assert (await api.ask("GET", f"{PATH}/{baked}")).json()["quantity"] == "7.5"
        for wrong in ("0", "-1", "NaN", "1e30", "0.0000001", 'x"'):
            answer = await api.ask("PATCH", f"{PATH}/{pressed}", body={"quantity": wrong}, If_Match="*")
            assert answer.status_code in (400, 422), wrong
