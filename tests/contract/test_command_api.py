"""The routes of commands on a real database: who may, what is refused and how it is said, and the stream of states."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from jsonschema import Draft202012Validator
from prometheus_client import CollectorRegistry
from pydantic import TypeAdapter
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from cloud_ingest.commands import questions, tokens
from cloud_ingest.gateway import command_stream
from cloud_ingest.gateway.answers import AgentAnswer
from cloud_ingest.gateway.app import make_app
from cloud_ingest.gateway.command_answers import CommandPage
from cloud_ingest.gateway.server import serve
from cloud_ingest.observability.obstacles import Obstacles
from connectors.commands.states import CommandState
from connectors.model.delivery import AgentName
from connectors.ports.database import Database
from tests.contract.command_steps import SETPOINT, TENANT, Office, Reading, office
from tests.patience import WAIT_S_MAX

BODY = {"agent": "plant/line-1", "action": SETPOINT, "reason": "new recipe"}
PATH = "/api/v1/commands"


class Desk:
    """The API, served on a port of this machine, and people with tokens."""

    def __init__(self, here: Office, port: int, held: dict[str, str]) -> None:
        self.here, self.port, self.tokens = here, port, held

    async def ask(self, method: str, path: str = "", by: str | None = "anna", **more: Any) -> httpx.Response:
        headers = {**more.pop("headers", {})}
        if by is not None:
            headers["Authorization"] = f"Bearer {self.tokens.get(by, by)}"
        if "key" in more:
            headers["Idempotency-Key"] = more.pop("key")
        url = f"http://127.0.0.1:{self.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30.0) as client:
            return await client.request(
                method, path if path.startswith("/api") else PATH + path, headers=headers, **more
            )

    @asynccontextmanager
    async def stream(self, by: str = "carl", since: int | None = None) -> AsyncIterator[ClientConnection]:
        query = "" if since is None else f"?since={since}"
        headers = {"Authorization": f"Bearer {self.tokens.get(by, by)}"}
        url = f"ws://127.0.0.1:{self.port}{PATH}/stream{query}"
        async with connect(url, additional_headers=headers, proxy=None) as connection:
            yield connection


@asynccontextmanager
async def desk(dsn: str) -> AsyncIterator[Desk]:
    async with office(dsn) as here:
        people = {"anna": "operator", "berta": "approver", "carl": "viewer", "eva": "engineer"}
        held = {
            name: await tokens.create(here.database, here.clock, TENANT, name, role, by="test")  # type: ignore[arg-type]
            for name, role in people.items()
        }
        with socket.create_server(("127.0.0.1", 0)) as listening:
            app = make_app(here.database, CollectorRegistry(), Obstacles(), here.requests)
            serving = asyncio.create_task(serve(listening, app))
            try:
                yield Desk(here, listening.getsockname()[1], held)
            finally:
                serving.cancel()
                await asyncio.wait([serving])


def problem(answer: httpx.Response) -> tuple[int, str]:
    """The status and the code of a problem, which is one as RFC 9457 has it."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    document = answer.json()
    assert document["status"] == answer.status_code
    assert document["title"]
    assert len(document["detail"]) > 10
    return answer.status_code, document.get("code", "")


async def test_a_command_is_taken_once_and_told_with_all_its_states(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        answer = await here.ask("POST", json=BODY, key="k")
        assert answer.status_code == 202
        taken = answer.json()
        assert answer.headers["location"] == f"{PATH}/{taken['id']}"
        assert (await here.ask("POST", json=BODY, key="k")).json()["id"] == taken["id"]
        assert problem(await here.ask("POST", json={**BODY, "reason": "x"}, key="k")) == (409, "key_used")
        found = (await here.ask("GET", f"/{taken['id']}", "carl")).json()
        assert found == taken
        assert (found["state"], found["issuer"], found["states"][0]["actor"]) == ("requested", "anna", "anna")
        page = (await here.ask("GET", by="carl", params={"state": "requested", "agent": "plant/line-1"})).json()
        assert [one["id"] for one in page["commands"]] == [taken["id"]]
        assert page["next"] is None


async def test_commands_and_agents_are_told_as_their_models_say(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        commands = [(await here.ask("POST", json=BODY, key=key)).json()["id"] for key in "ab"]
        await here.here.make(commands[0], CommandState.SENT)
        told = {CommandState.RECEIVED: {}, CommandState.SUCCEEDED: {"before": 1.5, "after": 2, "reason": "wärmer"}}
        reports = [here.here.report(commands[0], state, **more) for state, more in told.items()]
        await Reading(here.here).take(*reports)
        page = await here.ask("GET", by="carl")
        assert [one["state"] for one in page.json()["commands"]] == ["requested", "succeeded"]
        assert CommandPage.model_validate_json(page.content).model_dump_json().encode() == page.content
        answer = await here.ask("GET", "/api/v1/agents")
        agents = TypeAdapter(list[AgentAnswer])
        assert agents.dump_json(agents.validate_json(answer.content)) == answer.content
        assert len(answer.json()) == 1


async def test_without_a_token_that_is_good_for_it_nothing_is_told_and_nothing_done(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        command = (await here.ask("POST", json=BODY, key="k")).json()["id"]
        routes = [("POST", ""), ("GET", ""), ("GET", f"/{command}"), ("POST", f"/{command}/approve"),
                  ("POST", f"/{command}/cancel")]  # fmt: skip
        for method, path in routes:
            body = {"json": BODY} if path == "" and method == "POST" else {}
            answer = await here.ask(method, path, None, **body)
            assert problem(answer) == (401, "no_token")
            assert answer.headers["www-authenticate"] == "Bearer"
            for wrong in ("lineside_wrong", "wrong", here.tokens["anna"] + "x", here.tokens["anna"].upper()):
                assert problem(await here.ask(method, path, wrong, **body)) == (401, "unknown_token")
        assert problem(await here.ask("POST", "", "carl", json=BODY, key="v")) == (403, "not_your_role")
        assert problem(await here.ask("POST", f"/{command}/cancel", "carl")) == (403, "not_your_role")
        assert problem(await here.ask("POST", f"/{command}/approve", "anna")) == (403, "not_your_role")
        await tokens.revoke(here.here.database, here.here.clock, TENANT, "anna", by="test")
        assert problem(await here.ask("GET")) == (401, "unknown_token")
        assert await here.here.states(command) == ["requested"]
        assert (await here.ask("GET", "/api/v1/agents", None)).status_code == 200  # other routes stay as they are


async def test_a_token_is_nowhere_in_the_database(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        rows = await here.here.fetch("SELECT api_token::text AS row FROM api_token")
        rows += await here.here.fetch("SELECT command_audit::text AS row FROM command_audit")
        assert len(rows) == 2 * len(here.tokens)
        assert not [
            row for row in rows for token in here.tokens.values() if token in row["row"] or token[9:] in row["row"]
        ]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({**BODY, "agent": "plant/line-9"}, (404, "unknown_agent")),
        ({**BODY, "action": {**SETPOINT, "value": "high"}}, (400, "wrong_type")),
        ({**BODY, "action": {**SETPOINT, "do": "explode"}}, (400, "")),
        ({**BODY, "unheard": 1}, (400, "")),
        ({**BODY, "expires_s": 0}, (400, "")),
        ({**BODY, "agent": "line-1"}, (400, "")),
        ({"agent": "plant/line-1"}, (400, "")),
        ([], (400, "")),
    ],
)
async def test_what_cannot_be_asked_is_a_problem_with_a_sentence(
    database_dsn: str, body: Any, expected: tuple[int, str]
) -> None:
    async with desk(database_dsn) as here:
        assert problem(await here.ask("POST", json=body, key="k")) == expected
        assert await here.here.fetch("SELECT FROM command") == []


async def test_bytes_that_are_no_request_are_problems_too(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        text = json.dumps(BODY)
        headers = {"Content-Type": "application/json"}
        for content in ("", "{", "\xff", text.replace("120.0", "NaN"), text.replace("120.0", "1e999"), "[" * 10_000):
            assert (
                problem(await here.ask("POST", content=content.encode("latin-1"), key="k", headers=headers))[0] == 400
            )
        assert (
            problem(await here.ask("POST", content=text.replace("new recipe", "\\u0000"), key="k", headers=headers))[0]
            == 400
        )
        assert (
            problem(await here.ask("POST", content=text.replace("new recipe", "\\ud800"), key="k", headers=headers))[0]
            == 400
        )
        large = json.dumps({**BODY, "reason": "x" * 300_000})
        assert problem(await here.ask("POST", content=large, key="k", headers=headers)) == (413, "oversized")

        async def in_pieces() -> AsyncIterator[bytes]:
            for _ in range(40):
                yield b"x" * 10_000

        assert problem(await here.ask("POST", content=in_pieces(), key="k", headers=headers)) == (413, "oversized")
        assert problem(await here.ask("POST", json=BODY)) == (400, "no_idempotency_key")
        assert problem(await here.ask("GET", "/nonsense"))[0] == 400
        assert problem(await here.ask("GET", f"/{'0' * 26}")) == (404, "unknown_command")
        assert problem(await here.ask("GET", params={"limit": 0}))[0] == 400
        assert problem(await here.ask("GET", params={"stat": "sent"}))[0] == 400
        assert await here.here.fetch("SELECT FROM command") == []


async def test_the_examples_in_the_api_description_are_what_it_takes(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        document = (await here.ask("GET", "/api/openapi.json", None)).json()
        schema = document["components"]["schemas"]["CommandRequest"]
        validator = Draft202012Validator({**schema, "components": document["components"]})
        for example in schema["examples"]:
            validator.validate(example)
        kinds = {example["action"]["do"] for example in schema["examples"]}
        assert kinds == {"write", "restart", "rebirth", "log_level", "apply_file"}
        posted = document["paths"][PATH]["post"]
        assert posted["security"] == [{"token": ["commands:send"]}]
        assert {"202", "400", "401", "403", "409", "429", "503"} <= posted["responses"].keys()


async def test_what_agents_say_of_themselves_is_told(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        assert (await here.ask("GET", "/agents", "carl")).json() == []
        hello = here.here.agent.hello("ab" * 16, number=7, locks=("press",), audit_number=3, audit_hash="cd" * 32)
        await Reading(here.here).take(hello)
        (agent,) = (await here.ask("GET", "/agents", "carl")).json()
        assert (agent["agent"], agent["number"], agent["restored"], agent["locks"]) == (
            "plant/line-1", 7, False, ["press"],
        )  # fmt: skip
        assert (agent["audit_number"], agent["audit_hash"]) == (3, "cd" * 32)
        assert problem(await here.ask("GET", "/agents", None)) == (401, "no_token")


# -- the stream --------------------------------------------------------------------------------------------------------


async def received(connection: ClientConnection, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(WAIT_S_MAX):
        return [json.loads(await connection.recv()) for _ in range(count)]


async def test_states_come_as_they_are_written_and_from_a_cursor_on_once_more(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with desk(database_dsn) as here:
        first = await here.here.ask("one")
        begun = asyncio.Semaphore(0)
        newest_cursor = questions.newest_cursor

        async def begin(database: Database) -> int:
            cursor = await newest_cursor(database)
            begun.release()
            return cursor

        monkeypatch.setattr(questions, "newest_cursor", begin)
        async with here.stream() as live, here.stream() as other:
            async with asyncio.timeout(WAIT_S_MAX):
                await begun.acquire()
                await begun.acquire()  # each of them is told what comes from now on
            second = await here.here.ask("two")
            await here.here.requests.cancel(second, tenant_id=TENANT, actor="berta", reason="no")
            told = await received(live, 2)
            assert [(one["id"], one["state"], one["actor"]) for one in told] == [
                (second, "requested", "anna"), (second, "cancelled", "berta"),
            ]  # fmt: skip
            assert await received(other, 2) == told
        async with here.stream(since=0) as again:
            everything = await received(again, 3)
            assert [one["id"] for one in everything] == [first, second, second]
            assert everything[1:] == told
        async with here.stream(since=told[0]["cursor"]) as rest:
            assert await received(rest, 1) == told[1:]


async def test_a_stream_tells_of_the_own_tenant_alone(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        office_, other = here.here, AgentName("theirs", "line-1")
        async with office_.database.transaction() as session:
            await session.execute("INSERT INTO tenant (tenant_id, name) VALUES (2, 'theirs')")
            await session.execute("INSERT INTO command_audit_head (tenant_id) VALUES (2)")
            await session.execute("INSERT INTO sparkplug_group (group_name, tenant_id) VALUES ('theirs', 2)")
        await office_.prepare(other)
        here.tokens["olga"] = await tokens.create(office_.database, office_.clock, 2, "olga", "viewer", by="test")
        async with here.stream(since=0) as own, here.stream("olga", since=0) as others:
            asked = [
                await office_.requests.take(
                    office_.request(agent=str(agent)), tenant_id=tenant_id, issuer="anna", key=str(number)
                )
                for number, (tenant_id, agent) in enumerate(((1, "plant/line-1"), (2, other), (1, "plant/line-1")))
            ]
            told = await received(own, 2), await received(others, 1)
            assert [[one["id"] for one in each] for each in told] == [
                [asked[0].command, asked[2].command], [asked[1].command],
            ]  # fmt: skip
            assert [one["tenant"] for one in told[1]] == [2]


async def test_no_state_is_missed_while_many_write_at_once(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        async with here.stream(since=0) as live:
            commands = await asyncio.gather(*(here.here.ask(str(number)) for number in range(30)))
            for command in commands:
                await here.here.make(command, CommandState.SENT)
            wires = [here.here.report(command, CommandState.RECEIVED) for command in commands]
            await Reading(here.here).take(*wires)
            told = await received(live, 60)
        assert sorted(one["id"] for one in told) == sorted(commands * 2)
        cursors = [one["cursor"] for one in told]
        assert cursors == sorted(set(cursors))


async def closed(connection: ClientConnection) -> tuple[int, str]:
    """How the server has closed."""
    with pytest.raises(ConnectionClosed) as caught:
        await received(connection, 1_000_000)
    close = caught.value.rcvd
    assert close is not None
    return close.code, close.reason


async def test_who_may_not_listen_hears_why(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        async with here.stream("wrong") as connection:
            code, reason = await closed(connection)
            assert (code, "token" in reason) == (1008, True)
        async with here.stream(since=-1) as connection:
            code, reason = await closed(connection)
            assert (code, "since" in reason) == (1008, True)


async def test_a_stream_ends_soon_after_its_token_was_revoked_and_others_go_on(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_stream, "TOKEN_S", 0.2)
    async with desk(database_dsn) as here, here.stream("anna", since=0) as revoked, here.stream(since=0) as other:
        await tokens.revoke(here.here.database, here.here.clock, TENANT, "anna", by="test")
        async with asyncio.timeout(WAIT_S_MAX):
            assert await closed(revoked) == (1008, "this token is none, or was revoked")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.6):
                await other.recv()


async def test_who_takes_states_too_slowly_is_closed_with_a_sentence(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command_stream, "SLOW_S", 0.3)
    async with desk(database_dsn) as here:
        command = await here.here.ask("one")
        async with here.here.database.session() as session:
            await session.execute(
                "INSERT INTO command_state (tenant_id, command_id, state, time_ms, actor, reason, is_late) "
                "SELECT 1, $1, 'received', 1, 'line-1', repeat('x', 2000), true FROM generate_series(1, 20000)",
                command,
            )
        headers = {"Authorization": f"Bearer {here.tokens['carl']}"}
        url = f"ws://127.0.0.1:{here.port}{PATH}/stream?since=0"
        async with connect(url, additional_headers=headers, proxy=None, max_queue=1, compression=None) as slow:
            await asyncio.sleep(2.0)  # it takes nothing meanwhile
            code, reason = await closed(slow)
            assert (code, "too slowly" in reason) == (1013, True)
        async with here.stream(since=0) as quick:
            assert len(await received(quick, 20_001)) == 20_001


async def test_so_many_may_listen_and_no_more(database_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command_stream, "CLIENTS_MAX", 1)
    async with desk(database_dsn) as here, here.stream(since=0) as first:
        await here.here.ask("one")
        await received(first, 1)
        async with here.stream() as second:
            assert (await closed(second))[0] == 1013
