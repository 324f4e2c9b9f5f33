"""Notifications on a real database: to a real mail server, to a chat, and as signed webhooks to other systems."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx
from fastapi import FastAPI

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.event_log.announcing import unit_of_work
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.gateway.problems import handle_errors
from cloud_ingest.notifications.rules import Rule
from cloud_ingest.notifications.sending import Deliverer, Sender, signature
from cloud_ingest.notifications.taking import EventsTell
from cloud_ingest.notifications.webhook_routes import webhook_routes
from cloud_ingest.store.migrate import migrate
from connectors.ports.notify import Channel, Message, NotTold, Posted
from connectors.ports.vendors import CallRefused, VendorUnavailable
from connectors.postgres.database import PostgresDatabase, open_database
from tests.contract.integration_steps import SetClock

ALARM: Final = "lineside.lines.alarm-raised.v1"
SECRET: Final = "whsec_" + base64.b64encode(b"k" * 32).decode()


class Told:
    """A channel that keeps what it was told; ``trouble`` is raised first, one after the other."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.trouble: list[Exception] = []
        self.not_told: list[NotTold] = []

    async def send(self, message: Message) -> list[NotTold]:
        if self.trouble:
            raise self.trouble.pop(0)
        self.messages.append(message)
        not_told, self.not_told = self.not_told, []
        return not_told

    async def close(self) -> None:
        """Nothing is open."""


class Posting:
    """A poster that keeps what it has posted, and answers ``statuses`` in their order, then 200."""

    def __init__(self) -> None:
        self.posted: list[tuple[str, bytes, dict[str, str]]] = []
        self.statuses: list[int] = []

    async def post(self, url: str, body: bytes, headers: Any) -> Posted:
        self.posted.append((url, body, dict(headers)))
        return Posted(self.statuses.pop(0) if self.statuses else 200, "so it is")

    async def check(self, url: str) -> None:
        """Anything goes."""

    async def close(self) -> None:
        """Nothing is open."""


class Desk:
    def __init__(self, database: PostgresDatabase) -> None:
        self.database = database
        self.clock = SetClock()
        self.chat, self.posting = Told(), Posting()
        self.own_chat = Told()
        channels: dict[str, Channel] = {"chat:ops": self.chat}
        self.sender = Sender(database, self.clock, channels, {"theirs": {"chat:ops": self.own_chat}})
        self.deliverer = Deliverer(database, self.clock, self.posting, 3 * 86_400.0)
        self._tells = EventsTell(self.clock)
        self._number = 0

    async def rule(self, tenant_id: int = 1, **more: Any) -> None:
        rule = Rule.model_validate({"events": [ALARM], "channel": "chat:ops", "throttle_s": 300, **more})
        await self.execute(
            "INSERT INTO notification_rule (rule_id, tenant_id, name, rule, created_by) "
            "VALUES ('R1', $1, 'night', $2, 'anna')",
            tenant_id,
            rule.model_dump_json(),
        )

    async def endpoint(self, *events: str) -> None:
        await self.execute(
            "INSERT INTO webhook_endpoint (endpoint_id, tenant_id, url, events, secret, created_by) "
            "VALUES ('E1', 1, 'https://erp.example/in', $1, $2, 'anna')",
            list(events),
            SECRET,
        )

    async def happens(self, kind: str = ALARM, tenant_id: int = 1, **data: Any) -> None:
        self._number += 1
        told = {"site": "plant-7", "line": "press", "text": "oven is hot", **data}
        event = ReadEvent(self._number, kind, tenant_id, "plant-7/press", self.clock.now_ns(), told)
        async with unit_of_work(self.database) as work:
            await self._tells.take(work, event, "lineside.line-events.v1")

    async def pass_s(self, seconds: float) -> None:
        self.clock.ahead_s += seconds
        while await self.sender.send_one() or await self.deliverer.deliver_one():
            pass

    async def execute(self, sql: str, *args: Any) -> None:
        async with self.database.session() as session:
            await session.execute(sql, *args)

    async def fetch(self, sql: str) -> list[dict[str, Any]]:
        async with self.database.session() as session:
            return [dict(row) for row in await session.fetch(sql)]


@asynccontextmanager
async def desk(dsn: str) -> AsyncIterator[Desk]:
    database = await open_database(dsn, connections_max=8, application_name="tests")
    try:
        await migrate(database)
        yield Desk(database)
    finally:
        await database.close()


async def test_a_flood_of_alarms_is_one_message_and_what_follows_is_the_next_one(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.rule()
        for number in range(50):
            await here.happens(text=f"zone {number} is hot")
        await here.happens("lineside.orders.placed.v1")
        await here.happens(tenant_id=1, site="plant-8")
        await here.pass_s(3)
        (message,) = here.chat.messages
        assert message.subject == "Alarm on plant-7/press: zone 0 is hot (and 50 more)"
        assert "zone 19 is hot" in message.text
        assert "… and 31 more" in message.text
        await here.happens(text="again")
        await here.pass_s(60)
        assert len(here.chat.messages) == 1, "it is held"
        await here.pass_s(300)
        assert here.chat.messages[1].subject == "Alarm on plant-7/press: again"


async def test_a_message_that_does_not_go_is_tried_again_under_its_id_and_given_up_with_a_sentence(
    database_dsn: str,
) -> None:
    async with desk(database_dsn) as here:
        await here.rule()
        here.chat.trouble = [VendorUnavailable("the chat is away")]
        await here.happens()
        await here.pass_s(3)
        (row,) = await here.fetch("SELECT * FROM notification")
        assert (row["state"], row["reason"], row["tries"]) == ("waiting", "the chat is away", 1)
        await here.pass_s(10)
        assert [message.id for message in here.chat.messages] == [row["notification_id"]]
        here.chat.trouble = [CallRefused("no such room")]
        await here.happens()
        await here.pass_s(400)
        rows = await here.fetch("SELECT state, reason FROM notification ORDER BY notification_id")
        assert [(row["state"], row["reason"]) for row in rows] == [("sent", ""), ("dead", "no such room")]
        await here.execute("UPDATE notification SET state = 'waiting', channel = 'email', due = now()")
        await here.pass_s(1)
        assert (await here.fetch("SELECT reason FROM notification"))[0]["reason"].startswith("the settings have no")


async def test_who_of_several_is_refused_is_named_and_who_is_only_not_taken_now_is_told_later(
    database_dsn: str,
) -> None:
    async with desk(database_dsn) as here:
        here.sender = Sender(here.database, here.clock, {"email": here.chat})
        await here.rule(channel="email", recipients=["a@x.example", "b@x.example", "c@x.example"])
        here.chat.not_told = [NotTold("a@x.example", "550 gone", True), NotTold("c@x.example", "450 later", False)]
        await here.happens()
        await here.pass_s(3)
        await here.happens(text="another")
        rows = await here.fetch("SELECT state, reason, recipients FROM notification ORDER BY notification_id")
        first = ("sent", "not to a@x.example: 550 gone; not to c@x.example: 450 later")
        assert (rows[0]["state"], rows[0]["reason"]) == first
        assert (rows[1]["state"], rows[1]["recipients"]) == ("waiting", ["c@x.example"])
        await here.pass_s(100)
        again = here.chat.messages[1]
        assert (again.recipients, again.subject) == (["c@x.example"], here.chat.messages[0].subject)
        await here.pass_s(300)
        assert (len(here.chat.messages), len(here.chat.messages[2].recipients)) == (3, 3), "what follows is for all"


async def test_an_endpoint_gets_signed_events_of_its_types_and_the_same_id_when_they_come_again(
    database_dsn: str,
) -> None:
    async with desk(database_dsn) as here:
        await here.endpoint("lineside.lines.*")
        here.posting.statuses = [500]
        await here.happens()
        await here.happens("lineside.orders.placed.v1")
        await here.pass_s(0)
        await here.pass_s(10)
        (first, second) = here.posting.posted
        assert first[2]["webhook-id"] == second[2]["webhook-id"]
        assert first[1] == second[1]
        signed = f"{second[2]['webhook-id']}.{second[2]['webhook-timestamp']}.".encode() + second[1]
        mark = base64.b64encode(hmac.new(b"k" * 32, signed, hashlib.sha256).digest()).decode()
        assert second[2]["webhook-signature"] == f"v1,{mark}" == signature(SECRET, *_parts(second))
        assert json.loads(second[1])["data"]["text"] == "oven is hot"
        assert (await here.fetch("SELECT state, status FROM webhook_delivery"))[0] == {
            "state": "delivered", "status": 200,
        }  # fmt: skip


def _parts(posted: tuple[str, bytes, dict[str, str]]) -> tuple[str, str, bytes]:
    return posted[2]["webhook-id"], posted[2]["webhook-timestamp"], posted[1]


async def test_a_tenant_is_told_in_its_own_room_and_by_its_own_name(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.execute("INSERT INTO tenant (tenant_id, name) VALUES (2, 'theirs')")
        await here.execute(
            "INSERT INTO tenant_brand (tenant_id, title, primary_color) VALUES (2, 'Acme <Works>', '#ffe000')"
        )
        await here.rule(2)
        await here.happens(tenant_id=2)
        await here.pass_s(60)
        (told,) = here.own_chat.messages
        assert here.chat.messages == []
        assert told.sender_name == "Acme <Works>"
        assert "of Acme <Works>." in told.text
        assert "Acme &lt;Works&gt;" in told.html
        assert "background:#ffe000;color:#000000" in told.html


async def test_a_new_secret_signs_beside_the_old_one_for_the_overlap_and_is_told_once(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        app = FastAPI()
        app.state.authenticator = Admin()
        app.include_router(webhook_routes(here.database, here.clock, here.posting))
        handle_errors(app)
        transport = httpx.ASGITransport(app)
        headers = {"Authorization": "Bearer x", "Idempotency-Key": "k"}
        async with httpx.AsyncClient(transport=transport, base_url="http://cloud.example", headers=headers) as client:
            asked = {"url": "https://erp.example/in", "events": ["*"]}
            made = (await client.post("/api/v1/webhooks", json=asked)).json()
            path = f"/api/v1/webhooks/{made['id']}/rotate-secret"
            rotated = await client.post(path, json={"overlap_s": 3600})
            again = await client.post(path, json={"overlap_s": 3600})
            assert (rotated.status_code, again.status_code) == (200, 200)
            second = rotated.json()["secret"]
            assert second not in ("", made["secret"])
            assert again.json() == {**rotated.json(), "secret": ""}, "it is done once, and told once"
            await here.happens()
            await here.pass_s(1)
            await here.happens()
            await here.pass_s(3700)
            once = await client.post(path, json={"overlap_s": 0}, headers={"Idempotency-Key": "k2"})
            await here.happens()
            await here.pass_s(1)
            nobodys = path.replace(made["id"], "01JDV3W3Z8Q6C0V2B7N4M5K9XS")
            unknown = await client.post(nobodys, json={}, headers={"Idempotency-Key": "k3"})
            assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_webhook")
        signed = [
            [secret for secret in (made["secret"], second, once.json()["secret"]) if is_signed(posted, secret)]
            for posted in here.posting.posted
        ]
        assert signed == [[made["secret"], second], [second], [once.json()["secret"]]]
        rows = await here.fetch("SELECT action, actor FROM command_audit ORDER BY number")
        assert [(row["action"], row["actor"]) for row in rows] == [("webhook secret rotated", "user:anna")] * 2


class Admin:
    """To whom whoever asks is an admin."""

    async def principal(self, _token: str | None) -> Principal:
        return Principal(1, "user:anna", "anna", "user", (Grant(Role.ADMIN),))


def is_signed(posted: tuple[str, bytes, dict[str, str]], secret: str) -> bool:
    """Whether a receiver that has ``secret`` believes it."""
    _, body, headers = posted
    wanted = signature(secret, headers["webhook-id"], headers["webhook-timestamp"], body)
    return wanted in headers["webhook-signature"].split(" ")


async def test_an_endpoint_that_takes_nothing_for_days_is_switched_off_and_somebody_is_told(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.endpoint("lineside.*")
        here.posting.statuses = [503] * 100
        await here.happens()
        await here.happens()
        for _ in range(20):
            await here.pass_s(4 * 3600)
        (endpoint,) = await here.fetch("SELECT * FROM webhook_endpoint")
        assert endpoint["enabled"] is False
        assert "it was answered with 503: so it is" in endpoint["disabled_reason"]
        (event,) = await here.fetch("SELECT event FROM event_outbox")
        assert json.loads(event["event"])["type"] == "lineside.integrations.webhook-disabled.v1"
        assert len(here.posting.posted) < 60, "less and less often"
        assert len(await here.fetch("SELECT FROM webhook_delivery WHERE state = 'waiting'")) == 2, "nothing is lost"


async def test_two_processes_send_each_message_once(database_dsn: str) -> None:
    async with desk(database_dsn) as here:
        await here.endpoint("lineside.*")
        for _ in range(10):
            await here.happens()
        await asyncio.gather(*(here.deliverer.deliver_one() for _ in range(6)))
        await here.pass_s(0)
        ids = [headers["webhook-id"] for _, _, headers in here.posting.posted]
        assert len(ids) == len(set(ids)) == 10
