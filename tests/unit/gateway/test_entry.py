"""What holds for every request: its id, its line in the log, its limits, and one form of all errors."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, Response
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, Field

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.needs import Needs
from cloud_ingest.access.permissions import Permission, Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.gateway.app import BODY_BYTES_MAX, make_app
from cloud_ingest.gateway.rate_limits import network
from cloud_ingest.observability.gateway_events import RequestFailed, RequestLimited, RequestServed
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.settings.gateway import GatewaySettings
from connectors.model.errors import StatementRefused
from connectors.observability.events import Event, listen, listen_no_more

ANNA = Principal(1, "user:anna", "anna", "user", (Grant(Role.VIEWER),))


class Order(BaseModel):
    quantity: Annotated[int, Field(ge=1)]


class Lines(BaseModel):
    lines: list[Order]


class People:
    """An authenticator who knows people by their names."""

    def __init__(self, **known: Principal) -> None:
        self._known = known

    async def principal(self, token: str | None) -> Principal:
        if token is None:
            return Principal(1, "nobody", "nobody", "nobody", (Grant(Role.VIEWER),))
        if token not in self._known:
            raise RequestRefused(Why.NO_TOKEN, "unknown_token", "this token is none")
        return self._known[token]


def routes() -> APIRouter:
    api = APIRouter(prefix="/api/v1/things")

    @api.get("/long")
    async def long() -> list[str]:
        return ["something long"] * 1000

    @api.get("/broken")
    async def broken() -> str:
        raise ZeroDivisionError("a defect")

    @api.get("/busy")
    async def busy() -> str:
        raise StatementRefused("deadlock detected", sqlstate="40P01")

    @api.get("/read")
    async def read(principal: Annotated[Principal, Depends(Needs(Permission.LINES_READ))]) -> str:
        return principal.name

    @api.get("/secrets")
    async def secrets(principal: Annotated[Principal, Depends(Needs(Permission.IDENTITY_MANAGE))]) -> str:
        return principal.name

    @api.post("/orders")
    async def order(order: Lines) -> str:
        return str(order)

    @api.get("/{name}")
    async def one(name: str, response: Response) -> str:
        response.headers["ETag"] = etag(7)
        return name

    @api.put("/{name}")
    async def change(name: str, if_match: IfMatch = "") -> str:
        check_match(if_match, 7)
        return name

    return api


def client(address: str = "127.0.0.1", **settings: Any) -> httpx.AsyncClient:
    database: Any = None
    made = GatewaySettings.model_validate(settings)
    app = make_app(database, CollectorRegistry(), Obstacles(), None, [routes()], made, People(anna=ANNA))
    transport = httpx.ASGITransport(app, client=(address, 1), raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://cloud.example/api/v1/things")


@contextmanager
def heard() -> Iterator[list[Event]]:
    events: list[Event] = []
    listen(events.append)
    try:
        yield events
    finally:
        listen_no_more(events.append)


def problem(answer: httpx.Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code
    assert found["title"]
    assert found["detail"]
    assert found["request_id"] == answer.headers["x-request-id"]
    return found


async def test_a_request_has_one_id_in_its_answer_and_in_the_log() -> None:
    with heard() as events:
        async with client() as asking:
            given = await asking.get("/press", headers={"X-Request-Id": "mine-1", "Authorization": "Bearer secret"})
            made = await asking.get("/press?password=secret")
            odd = await asking.get("/press", headers={"X-Request-Id": "no line\tof a log"})
    assert given.headers["x-request-id"] == "mine-1"
    assert len({answer.headers["x-request-id"] for answer in (given, made, odd)}) == 3
    assert len(made.headers["x-request-id"]) == len(odd.headers["x-request-id"]) == 26
    served = [event for event in events if isinstance(event, RequestServed)]
    assert [event.request_id for event in served] == [answer.headers["x-request-id"] for answer in (given, made, odd)]
    assert {(event.method, event.route, event.status, event.address) for event in served} == {
        ("GET", "/api/v1/things/{name}", 200, "127.0.0.1")
    }
    assert {event.bytes for event in served} == {len(b'"press"')}
    assert "secret" not in str(events), "the log has templates of routes, and no tokens"


async def test_the_log_says_who_has_asked() -> None:
    with heard() as events:
        async with client() as asking:
            assert (await asking.get("/read", headers={"Authorization": "Bearer anna"})).status_code == 200
    (served,) = [event for event in events if isinstance(event, RequestServed)]
    assert (served.principal, served.tenant) == ("anna", 1)


async def test_the_log_says_who_was_refused() -> None:
    with heard() as events:
        async with client() as asking:
            assert (await asking.get("/secrets", headers={"Authorization": "Bearer anna"})).status_code == 403
            assert (await asking.get("/read", headers={"Authorization": "Bearer stranger"})).status_code == 401
    known, stranger = [event for event in events if isinstance(event, RequestServed)]
    assert (known.status, known.principal, known.tenant) == (403, "anna", 1)
    assert (stranger.status, stranger.principal, stranger.tenant) == (401, "", None)


async def test_what_watches_the_gateway_is_not_in_its_log() -> None:
    with heard() as events:
        async with client() as asking:
            assert (await asking.get("http://cloud.example/healthz")).status_code == 200
    assert events == []


async def test_a_defect_is_a_problem_whose_traceback_is_found_by_its_id() -> None:
    with heard() as events:
        async with client() as asking:
            answer = await asking.get("/broken")
            assert (await asking.get("/press")).status_code == 200
    found = problem(answer)
    assert (answer.status_code, found["code"]) == (500, "defect")
    assert "ZeroDivisionError" not in answer.text
    (failed,) = [event for event in events if isinstance(event, RequestFailed)]
    assert (failed.request_id, failed.route) == (found["request_id"], "/api/v1/things/broken")
    assert 'ZeroDivisionError("a defect")' in failed.traceback


async def test_every_error_has_one_form() -> None:
    async with client() as asking:
        wrong = await asking.post("/orders", json={"lines": [{"quantity": 1}, {"quantity": 0}, {}]})
        found = problem(wrong)
        assert wrong.status_code == 400
        assert [one["field"] for one in found["errors"]] == ["lines.1.quantity", "lines.2.quantity"]
        assert "lines.1.quantity: Input should be greater than" in found["detail"]
        for body in (b"{", b"\xff\xfe", b""):
            assert problem(await asking.post("/orders", content=body))["status"] == 400
        assert problem(await asking.get("http://cloud.example/api/v2"))["status"] == 404
        not_so = await asking.delete("/orders")
        assert problem(not_so)["status"] == 405
        assert set(not_so.headers["allow"].replace(" ", "").split(",")) & {"GET", "POST", "PUT"}
        assert problem(await asking.post("/orders", content=b"x" * (BODY_BYTES_MAX + 1)))["code"] == "oversized"
        refused = await asking.get("/read", headers={"Authorization": "Bearer wrong"})
        assert (refused.headers["www-authenticate"], problem(refused)["code"]) == ("Bearer", "unknown_token")
        busy = await asking.get("/busy")
        assert (busy.headers["retry-after"], problem(busy)["code"]) == ("1", "try_again")


async def test_a_change_without_what_was_seen_or_of_something_older_is_refused() -> None:
    async with client() as asking:
        seen = await asking.get("/press")
        assert (await asking.put("/press", headers={"If-Match": seen.headers["etag"]})).status_code == 200
        assert problem(await asking.put("/press"))["code"] == "if_match_needed"
        assert problem(await asking.put("/press", headers={"If-Match": '"6"'}))["status"] == 412


async def test_what_a_reader_has_is_not_sent_again() -> None:
    async with client() as asking:
        first = await asking.get("/long")
        again = await asking.get("/long", headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
        assert "content-type" not in again.headers
        other = await asking.get("/long", headers={"If-None-Match": 'W/"other", "another"'})
        assert (other.status_code, other.json()) == (200, first.json())
        tag = (await asking.get("/press")).headers["etag"]
        one = await asking.get("/press", headers={"If-None-Match": tag})
        assert (one.status_code, one.headers["etag"]) == (304, tag)
        assert (await asking.get("/press", headers={"If-None-Match": '"7"'})).status_code == 200, "it may differ by now"


async def test_long_answers_are_packed_for_who_can_read_it() -> None:
    async with client() as asking:
        async with asking.stream("GET", "/long", headers={"Accept-Encoding": "br, gzip;q=0.5"}) as answer:
            raw = b"".join([piece async for piece in answer.aiter_raw()])
        assert answer.headers["content-encoding"] == "gzip"
        assert len(raw) < 1000
        assert gzip.decompress(raw).startswith(b'["something long",')
        for accepted in ("identity", "gzip;q=0", "br"):
            plain = await asking.get("/long", headers={"Accept-Encoding": accepted})
            assert "content-encoding" not in plain.headers
            assert plain.headers["vary"] == "Accept-Encoding"
        short = await asking.get("/press", headers={"Accept-Encoding": "gzip"})
        assert "content-encoding" not in short.headers


async def test_answers_are_not_guessed_at_framed_or_kept_by_others() -> None:
    async with client() as asking:
        answer = await asking.get("/press")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "private, no-cache"
        assert (await asking.get("/broken")).headers["cache-control"] == "no-store"
        assert "strict-transport-security" not in answer.headers
        secure = await asking.get("https://cloud.example/api/v1/things/press")
        assert secure.headers["strict-transport-security"].startswith("max-age=")


async def test_an_address_that_asks_too_much_is_told_when_to_ask_again() -> None:
    with heard() as events:
        async with client(rate_limits={"per_address": 3, "per_principal": None}) as asking:
            answers = [await asking.get("/press") for _ in range(5)]
            assert (await asking.get("http://cloud.example/readyz")).status_code != 429
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[0].headers["ratelimit-policy"] == '"address";q=3;w=60'
    assert answers[0].headers["ratelimit"].startswith('"address";r=2;t=')
    found = problem(answers[3])
    assert found["code"] == "rate_limited"
    assert "'gateway.rate_limits'" in found["detail"]
    # What was asked in this minute counts in the next one, too, the less the longer it lasts.
    assert 1 <= int(answers[3].headers["retry-after"]) <= 120
    assert answers[3].headers["ratelimit"].startswith('"address";r=0;t=')
    assert len([event for event in events if isinstance(event, RequestLimited)]) == 1, "told once, not each time"


async def test_a_principal_that_asks_too_much_keeps_nobody_else_out() -> None:
    async with client(rate_limits={"per_address": None, "per_principal": 2}) as asking:
        by_anna = [await asking.get("/read", headers={"Authorization": "Bearer anna"}) for _ in range(3)]
        assert [answer.status_code for answer in by_anna] == [200, 200, 429]
        assert by_anna[0].headers["ratelimit"].startswith('"principal";r=1;t=')
        assert (await asking.get("/read")).status_code == 200


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("", "testclient", False),
    ],
)
def test_an_asker_is_an_address_or_a_network_of_which_one_machine_has_all(one: str, other: str, same: bool) -> None:
    assert (network(one) == network(other)) is same


@pytest.mark.parametrize(
    ("address", "settings", "status"),
    [
        ("127.0.0.1", {}, 200),
        ("::1", {}, 200),
        ("10.0.0.5", {}, 401),
        ("", {}, 401),
        ("127.0.0.1", {"login": "required"}, 401),
        ("10.0.0.5", {"login": "open"}, 200),
        ("10.0.0.5", {"host": "0.0.0.0", "insecure": True}, 401),
        ("127.0.0.1", {"host": "0.0.0.0", "insecure": True}, 401),
    ],
)
async def test_who_shows_no_token_reads_where_that_is_open(address: str, settings: Any, status: int) -> None:
    async with client(address, **settings) as asking:
        assert (await asking.get("/read")).status_code == status
        assert (await asking.get("/read", headers={"Authorization": "Bearer anna"})).status_code == 200


async def test_only_web_pages_that_are_named_may_ask() -> None:
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "If-Match, Authorization"}
    async with client(cors_origins=["https://hmi.example"]) as asking:
        before = await asking.options("/press", headers={**asked, "Origin": "https://hmi.example"})
        assert before.headers["access-control-allow-origin"] == "https://hmi.example"
        assert "access-control-allow-credentials" not in before.headers
        answer = await asking.get("/press", headers={"Origin": "https://hmi.example"})
        assert "ETag" in answer.headers["access-control-expose-headers"]
        refused = await asking.options("/press", headers={**asked, "Origin": "https://other.example"})
        assert "access-control-allow-origin" not in refused.headers
    async with client() as asking:
        assert (
            "access-control-allow-origin"
            not in (await asking.get("/press", headers={"Origin": "https://hmi.example"})).headers
        )
