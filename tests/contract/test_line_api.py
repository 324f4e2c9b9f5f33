"""The routes of plants and lines, on a real database: who may do what, what is refused, and what comes of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.lines import line_routes
from cloud_ingest.lines.line_reading import time_of
from tests.contract.line_steps import LINE, T0, Plant, S, plant
from tests.contract.whole_gateway import asking, headers_of, whole_app

OIL = {"alarm": "oil-hot", "tag": "plant-7/line-1/press/oil", "high": 80, "text": "The oil is hot.", "latches": True,
       "escalate_after": "60s"}  # fmt: skip


@asynccontextmanager
async def api(dsn: str) -> AsyncIterator[tuple[Plant, httpx.AsyncClient]]:
    async with plant(dsn) as here, asking(whole_app(here.database)) as client:
        yield here, client


def by(role: Role, key: str = "k", match: str = "*") -> dict[str, str]:
    return {**headers_of(role, key), "If-Match": match}


async def ok(request: Any, status: int = 200) -> Any:
    answer = await request
    assert answer.status_code == status, answer.text
    return answer.json() if answer.content else None


async def refused(request: Any, status: int, code: str) -> str:
    answer = await request
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    return str(answer.json()["detail"])


async def test_a_part_is_made_changed_by_what_was_seen_and_removed(database_dsn: str) -> None:
    async with api(database_dsn) as (_here, client):
        url, engineer = "/api/v1/sites/berlin/areas/hall-2", by(Role.ENGINEER)
        made = await client.put(url, json={"name": "Hall 2"}, headers={**engineer, "If-Match": ""})
        assert (made.status_code, made.headers["etag"]) == (201, '"1"')
        await refused(client.put(url, json={"name": "x"}, headers={**engineer, "If-Match": ""}), 428, "if_match_needed")
        changed = await client.put(url, json={"name": "Second hall"}, headers={**engineer, "If-Match": '"1"'})
        assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
        await refused(
            client.put(url, json={"name": "y"}, headers={**engineer, "If-Match": '"1"'}), 412, "changed_since"
        )
        shown = await ok(client.get(url, headers=by(Role.VIEWER)))
        assert (shown["model"], shown["changed_by"]) == ({"name": "Second hall"}, "engineer")
        found = await ok(client.get("/api/v1/sites/berlin/areas", headers=by(Role.VIEWER)))
        assert [one["code"] for one in found["areas"]] == ["hall", "hall-2"]
        await ok(client.delete(url, headers=engineer), 204)
        await refused(client.get(url, headers=engineer), 404, "no_such_area")
        why = await refused(client.delete("/api/v1/sites/berlin/areas/hall", headers=engineer), 409, "is_needed")
        assert "the line press-1 of berlin" in why


async def test_a_line_that_names_what_is_not_there_is_refused(database_dsn: str) -> None:
    async with api(database_dsn) as (here, client):
        url, engineer = "/api/v1/sites/berlin/lines/press-1/model", by(Role.ENGINEER)
        for change, code in (
            ({"area": "hall-9"}, "no_such_area"),
            ({"calendar": "nights"}, "no_such_calendar"),
            ({"signals": {"fault": {"tag": "plant-7/line-1/press/f", "reason": "ghosts"}}}, "no_such_reason"),
        ):
            await refused(client.put(url, json={**LINE, **change}, headers=engineer), 400, code)
        answer = await client.put(url, json={**LINE, "micro_stop": "soon"}, headers=engineer)
        assert answer.status_code == 400
        await here.take((0, "state", 1), (0, "good", 5), (1, "good", 9))
        shown = await ok(client.get(url, headers=by(Role.VIEWER)))
        await ok(client.put(url, json=shown["model"], headers=engineer))
        again = await ok(client.get(url, headers=by(Role.VIEWER)))
        assert again["revision"] == shown["revision"], "what is written as it is changes nothing"


async def test_a_calendar_whose_shifts_overlap_over_midnight_is_refused_and_one_from_before_is_read(
    database_dsn: str,
) -> None:
    early = {"shift": "early", "begin": "06:00", "end": "14:00"}
    shifts = [early, {"shift": "night", "begin": "22:00", "end": "06:30"}]
    async with api(database_dsn) as (here, client):
        url, engineer = "/api/v1/sites/berlin/calendars/two", by(Role.ENGINEER)
        why = await refused(client.put(url, json={"shifts": shifts}, headers=engineer), 400, "shifts_overlap")
        assert "'early' begins before 'night' of the day before is over" in why
        async with here.database.session() as session:
            await session.execute(
                "INSERT INTO equipment (tenant_id, site, kind, code, model, changed_by) "
                "VALUES (1, 'berlin', 'calendar', 'two', $1, 'anna')",
                json.dumps({"shifts": shifts}),
            )
        assert (await ok(client.get(url, headers=engineer)))["model"]["shifts"][1]["end"] == "06:30"


async def test_how_a_line_stands_is_shown(database_dsn: str) -> None:
    async with api(database_dsn) as (here, client):
        await here.take((0, "state", 1), (0, "good", 5), (1, "good", 9), (2, "state", 3))
        viewer = by(Role.VIEWER)
        line = await ok(client.get("/api/v1/sites/berlin/lines/press-1", headers=viewer))
        assert (line["state"], line["reason"], line["good"], line["reject"]) == ("faulted", "jam", "4", "0")
        assert line["open_stop"] is not None
        (listed,) = (await ok(client.get("/api/v1/lines", headers=viewer)))["lines"]
        assert {name: line[name] for name in listed} == listed
        span = {"from": "2026-09-21T14:00:00Z", "to": "2026-09-21T15:00:00Z"}
        states = await ok(client.get("/api/v1/sites/berlin/lines/press-1/states", params=span, headers=viewer))
        assert [one["state"] for one in states] == ["running", "faulted"]
        (count,) = await ok(client.get("/api/v1/sites/berlin/lines/press-1/counts", params=span, headers=viewer))
        assert (count["good"], count["work_order"]) == ("4", None)
        assert await ok(client.get("/api/v1/sites/berlin/lines/press-1/shifts", params=span, headers=viewer)) == []
        await refused(client.get("/api/v1/sites/berlin/lines/press-9", headers=viewer), 404, "no_such_line")


async def test_an_operator_classifies_divides_and_joins_a_stop_and_it_is_kept_who_did(database_dsn: str) -> None:
    async with api(database_dsn) as (here, client):
        await here.take((0, "state", 1), (10, "state", 2), (100, "state", 1), (110, "state", 1))
        operator = by(Role.OPERATOR)
        (stop,) = (await ok(client.get("/api/v1/stops?classified=false", headers=operator)))["stops"]
        url = f"/api/v1/stops/{stop['id']}"
        at = f"2026-09-21T14:14:{40:02d}Z"
        later = await ok(client.post(f"{url}/split", json={"at": at}, headers=operator), 201)
        again = await ok(client.post(f"{url}/split", json={"at": at}, headers=operator), 201)
        assert later == again, "the same request is done once"
        assert await here.stops() == [(10, 40, "unplanned", None), (40, 100, "unplanned", None)]
        first = await ok(client.post(f"{url}/classify", json={"reason": "jam"}, headers=operator))
        assert (first["reason"], first["classified_by"]) == ("jam", "operator")
        await refused(
            client.post(f"{url}/classify", json={"reason": "jam"}, headers={**operator, "If-Match": '"1"'}),
            412,
            "changed_since",
        )
        second = f"/api/v1/stops/{later['id']}/classify"
        told = await ok(client.post(second, json={"reason": "cleaning", "note": "oil"}, headers=operator))
        assert (told["kind"], told["note"]) == ("planned", "oil")
        await refused(client.post(second, json={"reason": "ghosts"}, headers=operator), 404, "no_such_reason")
        await here.take((5, "state", 2), (7, "state", 1), at_s=120)
        assert (await here.stops())[1:] == [(10, 40, "unplanned", "jam"), (40, 100, "planned", "cleaning")]
        merged = await ok(client.post(f"{url}/merge", headers=operator))
        assert [entry["deed"] for entry in merged["history"]] == ["split", "classify", "merge"]
        assert {entry["actor"] for entry in merged["history"]} == {"operator"}
        await here.take((8, "good", 1), at_s=121)
        assert (await here.stops())[1:] == [(10, 100, "unplanned", "jam")], "also when samples come late"
        await refused(client.post(f"{url}/merge", headers=operator), 409, "nothing_follows")
        await refused(client.get(second.removesuffix("/classify"), headers=operator), 404, "no_such_stop")
        classified = await here.events("stop-classified")
        assert [one["reason"] for one in classified] == ["jam", "cleaning"]


async def test_alarms_are_raised_escalated_acknowledged_and_reset(database_dsn: str) -> None:
    async with api(database_dsn) as (here, client):
        await here.describe(alarms=[OIL])
        await here.take((0, "oil", 70.0), (5, "oil", 85.0))
        operator = by(Role.OPERATOR)
        (alarm,) = (await ok(client.get("/api/v1/alarms?open=true", headers=operator)))["alarms"]
        assert (alarm["state"], alarm["alarm"], alarm["text"]) == ("unacknowledged", "oil-hot", "The oil is hot.")
        await here.fold(64)
        assert not await here.events("alarm-escalated")
        await here.fold(65)
        url = f"/api/v1/alarms/{alarm['id']}"
        await refused(client.post(f"{url}/reset", headers=operator), 409, "not_in_this_state")
        acknowledged = await ok(client.post(f"{url}/acknowledge", json={"reason": "seen"}, headers=operator))
        assert (acknowledged["state"], acknowledged["acknowledged_by"]) == ("acknowledged", "operator")
        await here.take((70, "oil", 79.0))
        assert (await ok(client.get(url, headers=operator)))["state"] == "latched"
        done = await ok(client.post(f"{url}/reset", headers=operator))
        assert done["state"] == "cleared"
        deeds = [(entry["deed"], entry["actor"]) for entry in done["history"]]
        assert deeds == [
            ("raised", "lineside"), ("escalated", "lineside"), ("acknowledged", "operator"), ("returned", "lineside"),
            ("reset", "operator"),
        ]  # fmt: skip
        told = [one["kind_of"] for one in await here.events() if one["kind_of"].startswith("alarm")]
        assert told == ["alarm-raised", "alarm-escalated", "alarm-acknowledged", "alarm-cleared"]


async def test_nobody_is_told_of_a_shelved_alarm_until_its_time_is_up(database_dsn: str) -> None:
    async with api(database_dsn) as (here, client):
        await here.describe(alarms=[OIL])
        operator, shelf = by(Role.OPERATOR), "/api/v1/sites/berlin/lines/press-1/shelf"
        request = {"for_s": 1800, "reason": "new sensor"}
        (one,) = await ok(client.put(f"{shelf}/oil-hot", json=request, headers=operator))
        assert (one["alarm"], one["shelved_by"]) == ("oil-hot", "operator")
        await refused(client.put(f"{shelf}/nothing", json=request, headers=operator), 404, "no_such_alarm")
        await here.take((0, "oil", 85.0))
        assert not await here.events("alarm-raised")
        (row,) = await here.fetch("SELECT until_ns FROM line_alarm_shelf")
        await here.fold((row["until_ns"] - T0) / S)
        assert len(await here.events("alarm-raised")) == 1
        assert await ok(client.get(shelf, headers=operator)) == []


async def test_an_alarm_that_comes_and_goes_is_one_alarm_and_is_escalated_all_the_same(database_dsn: str) -> None:
    async with api(database_dsn) as (here, client):
        await here.describe(alarms=[{**OIL, "latches": False}])
        for at in range(0, 60, 20):
            await here.take((at, "oil", 85.0), (at + 10, "oil", 70.0))
        await here.take((59, "oil", 85.0), at_s=61)
        (alarm,) = (await ok(client.get("/api/v1/alarms", headers=by(Role.VIEWER))))["alarms"]
        assert (alarm["state"], alarm["returned"]) == ("unacknowledged", None)
        told = [one["kind_of"] for one in await here.events() if one["kind_of"].startswith("alarm")]
        assert told == ["alarm-raised", "alarm-escalated"], "nobody is told again and again of what is not new"


async def test_a_latched_alarm_that_comes_again_is_a_new_one_and_the_old_one_is_over(database_dsn: str) -> None:
    async with api(database_dsn) as (here, client):
        await here.describe(alarms=[OIL])
        operator = by(Role.OPERATOR)
        await here.take((0, "oil", 85.0))
        (first,) = (await ok(client.get("/api/v1/alarms", headers=operator)))["alarms"]
        await ok(client.post(f"/api/v1/alarms/{first['id']}/acknowledge", headers=operator))
        await here.take((5, "oil", 70.0), (9, "oil", 85.0))
        told = [(one["kind_of"], one["alarm"] == first["id"]) for one in await here.events() if "alarm" in one]
        assert told[-2:] == [("alarm-cleared", True), ("alarm-raised", False)]


async def test_an_alarm_from_the_shelf_is_told_if_nobody_knows_of_it_and_escalated_no_sooner_than_ever(
    database_dsn: str,
) -> None:
    async with api(database_dsn) as (here, client):
        await here.describe(alarms=[OIL])
        operator, shelf = by(Role.OPERATOR), "/api/v1/sites/berlin/lines/press-1/shelf/oil-hot"
        request = {"for_s": 1800, "reason": "new sensor"}
        await ok(client.put(shelf, json=request, headers=operator))
        await here.take((0, "oil", 85.0))
        await here.fold(600)
        await ok(client.delete(shelf, headers=operator))
        kinds = [one["kind_of"] for one in await here.events() if "alarm" in one]
        assert kinds == ["alarm-unshelved", "alarm-raised"]
        (row,) = await here.fetch("SELECT wake_ns FROM production_line")
        assert row["wake_ns"] == 0, "a line that says nothing is looked at all the same"
        (alarm,) = await here.fetch("SELECT alarm_id, escalate_ns FROM line_alarm")
        await here.fold((alarm["escalate_ns"] - T0) / S - 1)
        assert not await here.events("alarm-escalated"), "who is told now has as much time as ever"
        await ok(client.post(f"/api/v1/alarms/{alarm['alarm_id']}/acknowledge", headers=operator))
        for method in ("put", "delete"):
            more = {"json": request} if method == "put" else {}
            await ok(client.request(method, shelf, headers=operator, **more))
        assert len(await here.events("alarm-raised")) == 1, "somebody has taken note of it"


async def test_a_line_on_which_something_is_to_be_made_is_not_removed(database_dsn: str) -> None:
    async with api(database_dsn) as (here, client):
        async with here.database.session() as session:
            await session.execute(
                "INSERT INTO work_order (work_order_id, tenant_id, job, step, steps, site, line, product, quantity, "
                "transfer, released, state, place, cycle_s, setup_s, created_by) VALUES ('A', 1, 'A', 1, 1, 'berlin', "
                "'press-1', 'bolt', 9, 9, true, 'paused', 1, 1, 0, 'anna')"
            )
        url, engineer = "/api/v1/sites/berlin/lines/press-1/model", by(Role.ENGINEER)
        why = await refused(client.delete(url, headers=engineer), 409, "is_needed")
        assert "the work order A" in why
        async with here.database.session() as session:
            await session.execute("UPDATE work_order SET state = 'closed'")
        await ok(client.delete(url, headers=engineer), 204)


async def test_what_is_of_another_line_is_neither_shown_nor_changed(database_dsn: str) -> None:
    class Elsewhere:
        async def principal(self, token: str | None) -> Principal:
            return Principal(1, "user:otto", "otto", "user", (Grant(Role.OPERATOR, "berlin", "press-2"),))

    async with plant(database_dsn) as here:
        await here.take((0, "state", 1), (10, "state", 2), (100, "state", 1))
        (row,) = await here.fetch("SELECT stop_id FROM line_stop")
        app = whole_app(here.database)
        app.state.authenticator = Elsewhere()
        async with asking(app) as client:
            headers = by(Role.OPERATOR)
            assert (await ok(client.get("/api/v1/lines", headers=headers)))["lines"] == []
            assert (await ok(client.get("/api/v1/stops", headers=headers)))["stops"] == []
            url = f"/api/v1/stops/{row['stop_id']}"
            await refused(client.get(url, headers=headers), 403, "not_your_role")
            asked = client.post(f"{url}/classify", json={"reason": "jam"}, headers=headers)
            await refused(asked, 403, "not_your_role")
            await refused(client.get("/api/v1/sites/berlin/lines/press-1", headers=headers), 403, "not_your_role")
            reasons = await ok(client.get("/api/v1/sites/berlin/reasons", headers=headers))
            assert "jam" in [one["code"] for one in reasons["reasons"]], "without them they could explain no stop"
            await ok(client.get("/api/v1/sites/berlin", headers=headers))
            await refused(client.get("/api/v1/sites/hamburg/reasons", headers=headers), 403, "not_your_role")


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_what_came_before_a_line_is_described_anew_is_counted_as_it_was_described(
    database_dsn: str, method: str
) -> None:
    async with api(database_dsn) as (here, client):
        await here.take((0, "good", 0), (1, "good", 5))
        await here.store((10, "good", 9))
        other = {**LINE, "signals": {"good": {"tag": "plant-7/line-1/press/other"}}}
        url, body = "/api/v1/sites/berlin/lines/press-1/model", other if method == "PUT" else None
        answer = await client.request(method, url, json=body, headers=by(Role.ENGINEER))
        assert (answer.is_success, await here.sums()) == (True, (9, 0))


async def test_more_than_is_told_at_once_is_refused_and_not_cut_off(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who adds up counts that were cut off has too few, and nobody sees it."""
    monkeypatch.setattr(line_routes, "LISTED_MAX", 1)
    async with api(database_dsn) as (here, client):
        await here.take((0, "good", 0), (60, "good", 5), (120, "good", 9))
        url = "/api/v1/sites/berlin/lines/press-1/counts"
        asked = {"from": time_of(T0).isoformat(), "to": time_of(T0 + 300 * S).isoformat()}
        await refused(client.get(url, params=asked, headers=by(Role.VIEWER)), 413, "too_many_entries")
        asked["to"] = time_of(T0 + 70 * S).isoformat()
        (one,) = await ok(client.get(url, params=asked, headers=by(Role.VIEWER)))
        assert one["good"] == "5"


async def test_who_describes_a_line_adds_no_tags_of_agents_that_they_may_not_read(database_dsn: str) -> None:
    class OfBerlin:
        async def principal(self, token: str | None) -> Principal:
            return Principal(1, "user:otto", "otto", "user", (Grant(Role.ENGINEER, "berlin"),))

    async with plant(database_dsn) as here:
        app = whole_app(here.database)
        app.state.authenticator = OfBerlin()
        async with asking(app) as client:
            url, engineer = "/api/v1/sites/berlin/lines/press-1/model", by(Role.ENGINEER)
            model = (await ok(client.get(url, headers=engineer)))["model"]
            await ok(client.put(url, json={**model, "micro_stop": "7s"}, headers=engineer))  # its tags are as they were
            alarms = [{**OIL, "tag": "plant-7/line-1/press/secret"}]
            asked = client.put(url, json={**model, "alarms": alarms}, headers=engineer)
            assert "on plant-7/line-1" in await refused(asked, 403, "not_your_role")
            alarms = [{**OIL, "tag": "berlin/line-1/press/oil"}]
            await ok(client.put(url, json={**model, "alarms": alarms}, headers=engineer))
