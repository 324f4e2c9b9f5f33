"""Reports and news of orders as mails: through a real mail server, whatever dies in between, read as they arrive."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.message import Message as Mail
from typing import Any, Final

import httpx
import openpyxl
import pytest

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.analytics.reports import DueReports
from cloud_ingest.event_log.consuming import EventsProjection, PartitionConsumer
from cloud_ingest.event_log.domain_events import ReadEvent, event_record
from cloud_ingest.event_log.topics import ANALYTICS_EVENTS, ORDER_EVENTS
from cloud_ingest.notifications import mail_questions
from cloud_ingest.notifications.mail_sending import MailSender
from cloud_ingest.notifications.mails import EventsAreMailed
from cloud_ingest.notifications.rules import TRIES_MAX
from connectors.notify.smtp import SmtpChannel, SmtpOptions
from connectors.ports.event_log import LogRecord, TopicSpec
from connectors.ports.notify import Message, NotTold
from connectors.ports.vendors import AccessRefused, VendorUnavailable
from tests.contract.integration_steps import Died, SetClock
from tests.contract.order_steps import Shop, shop
from tests.contract.test_notify_adapters import Mailbox, mail_server
from tests.contract.whole_gateway import URL, whole_app

PLAN: Final = {
    "name": "Line 3, every day",
    "period": "day",
    "formats": ["html", "pdf", "xlsx", "csv"],
    "recipients": ["shift@plant.example", "head@plant.example"],
}
TODAY: Final = datetime.now(UTC).date()


class MortalSender(MailSender):
    """Sends mails in a process that dies behind the server's answer when ``dies`` says so."""

    dies = False

    def at_kill_point(self, step: str) -> None:
        if self.dies:
            self.dies = False
            raise Died(step)


class PostRoom:
    """Notifications beside a database with reports and orders."""

    def __init__(self, database: Any, port: int, files_bytes_max: int) -> None:
        self.database = database
        self.clock = SetClock()
        self.trouble: list[Exception] = []
        self.tried = 0
        self._smtp = SmtpChannel(SmtpOptions("127.0.0.1", port, "Lineside <lineside@acme.example>", "none"))
        where = "https://lineside.acme.example/"
        self.sender = MortalSender(database, self.clock, {"email": self}, files_bytes_max, where)
        self._mailing = EventsAreMailed(self.clock, ("placed", "shipped", "cancelled"))
        self._offset = 0

    async def send(self, message: Message) -> Sequence[NotTold]:
        """As a channel: ``trouble`` first, one after the other."""
        self.tried += 1
        if self.trouble:
            raise self.trouble.pop(0)
        return await self._smtp.send(message)

    async def close(self) -> None:
        """Nothing is open."""

    async def hear(self, topic: str, *, dies: bool = False) -> None:
        """Take all events of ``topic``, from the first one on; with ``dies``, the process ends before it commits."""

        async def take(work: Any, event: ReadEvent) -> None:
            await self._mailing.take(work, event, topic)
            if dies:
                raise Died("taken")

        none: Any = None
        reading = EventsProjection(f"mails of {topic}", TopicSpec(topic, 1), take)
        reader = PartitionConsumer(self.database, none, reading, "identity", 0)
        async with self.database.session() as session:
            rows = await session.fetch("SELECT * FROM event_outbox WHERE topic = $1 ORDER BY number", topic)
        offset = await reader._place.read()
        reader._next = offset
        records = [event_record(topic, row["number"], row["key"], row["event"], 0) for row in rows]
        await reader.take([LogRecord(offset + at, one.key, one.value, 0) for at, one in enumerate(records)])

    async def pass_s(self, seconds: float) -> None:
        self.clock.ahead_s += seconds
        while await self.sender.send_one():
            pass

    async def states(self) -> list[tuple[str, str]]:
        async with tenant_transaction(self.database, 1) as session:
            rows = await mail_questions.mails(session, 1, None, "", 100)
        return sorted((row["recipient"], row["state"]) for row in rows)


@asynccontextmanager
async def post_room(
    dsn: str, mailbox: Mailbox, files_bytes_max: int = 10_000_000
) -> AsyncIterator[tuple[Shop, PostRoom]]:
    async with shop(dsn) as here:
        with mail_server(mailbox) as port:
            yield here, PostRoom(here.database, port, files_bytes_max)


@asynccontextmanager
async def planner(database: Any) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": "Bearer planner", "Idempotency-Key": "k"}
    transport = httpx.ASGITransport(app=whole_app(database))
    async with httpx.AsyncClient(transport=transport, base_url=URL, headers=headers) as client:
        yield client


async def made_report(database: Any, client: httpx.AsyncClient, **more: Any) -> str:
    """A report of today, made now."""
    made = (await client.post("/api/v1/reports", json={**PLAN, **more})).raise_for_status().json()
    (await client.post(f"/api/v1/reports/{made['id']}/made/{TODAY}")).raise_for_status()
    return str(made["id"])


def parts(mail: Mail) -> Mapping[str, bytes]:
    """The parts of a mail, files by their names and the rest by their types."""
    found: dict[str, bytes] = {}
    for part in mail.walk():
        if not part.is_multipart():
            content = part.get_payload(decode=True)
            assert isinstance(content, bytes)
            found[part.get_filename() or part.get_content_type()] = content
    return found


def on_paper(pdf: bytes) -> str:
    """What is drawn on the pages of a PDF, which is whole: its end says where its table of objects begins."""
    (table,) = re.findall(rb"startxref\n(\d+)\n%%EOF\n?$", pdf)
    assert pdf[int(table) :].startswith(b"xref")
    drawn = re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    return b"".join(zlib.decompress(one) for one in drawn).decode("latin-1")


async def test_a_report_arrives_as_a_page_with_its_files_once_for_each_recipient(database_dsn: str) -> None:
    mailbox = Mailbox()
    async with post_room(database_dsn, mailbox) as (here, room), planner(here.database) as client:
        await made_report(here.database, client)
        with pytest.raises(Died):
            await room.hear(ANALYTICS_EVENTS, dies=True)
        for _ in range(2):
            await room.hear(ANALYTICS_EVENTS)
            await room.pass_s(1)
        assert sorted(mail["To"] for mail in mailbox.mails) == ["head@plant.example", "shift@plant.example"]
        (mail, _) = mailbox.mails
        assert mail["Subject"] == f"Line 3, every day: {TODAY}"
        assert mail.get_content_type() == "multipart/mixed"
        found = parts(mail)
        name = f"line-3--every-day-{TODAY}"
        assert [*found] == ["text/plain", "text/html", f"{name}.pdf", f"{name}.xlsx", f"{name}.csv"]
        assert b"Line 3, every day" in found["text/plain"]
        assert b"OEE: not known" in found["text/plain"]
        assert b"<h1>Line 3, every day</h1>" in found["text/html"]
        assert "(Line 3, every day) Tj" in on_paper(found[f"{name}.pdf"])
        book = openpyxl.load_workbook(io.BytesIO(found[f"{name}.xlsx"]))
        assert book["Report"]["A1"].value == "Line 3, every day"
        assert found[f"{name}.csv"].decode("utf-8-sig").startswith('"Line 3, every day"')


async def test_a_mail_whose_sender_dies_behind_the_answer_comes_again_under_its_message_id(database_dsn: str) -> None:
    mailbox = Mailbox()
    async with post_room(database_dsn, mailbox) as (here, room), planner(here.database) as client:
        await made_report(here.database, client, recipients=["shift@plant.example"])
        await room.hear(ANALYTICS_EVENTS)
        room.sender.dies = True
        with pytest.raises(Died):
            await room.pass_s(1)
        assert await room.states() == [("shift@plant.example", "waiting")], "it is not lost"
        await room.pass_s(1)
        assert await room.states() == [("shift@plant.example", "sent")]
        first, second = mailbox.mails
        assert first["Message-ID"] == second["Message-ID"], "so that mail servers know it again"


async def test_a_server_that_is_away_is_left_alone_and_gets_everything_when_it_is_back(database_dsn: str) -> None:
    mailbox = Mailbox()
    async with post_room(database_dsn, mailbox) as (here, room), planner(here.database) as client:
        await made_report(here.database, client, recipients=[f"{n}@plant.example" for n in range(8)])
        await room.hear(ANALYTICS_EVENTS)
        room.trouble = [VendorUnavailable("the mail server cannot be reached")] * 5 + [AccessRefused("no login")]
        await room.pass_s(1)
        assert room.tried == 5, "after five failures in a row it is left alone"
        await room.pass_s(11)
        assert (room.tried, mailbox.mails) == (6, []), "one finds out that it is not well yet"
        for _ in range(4):
            await room.pass_s(60)
        assert sorted(mail["To"] for mail in mailbox.mails) == [f"{n}@plant.example" for n in range(8)]


async def test_an_address_that_is_refused_keeps_no_other_from_its_mail_and_can_be_tried_again(
    database_dsn: str,
) -> None:
    mailbox = Mailbox()
    async with post_room(database_dsn, mailbox) as (here, room), planner(here.database) as client:
        await made_report(here.database, client, recipients=["no@plant.example", "shift@plant.example"])
        await room.hear(ANALYTICS_EVENTS)
        await room.pass_s(1)
        assert await room.states() == [("no@plant.example", "dead"), ("shift@plant.example", "sent")]
        asking = {"Authorization": "Bearer admin"}
        dead = (await client.get("/api/v1/notifications/mails?state=dead", headers=asking)).raise_for_status().json()
        (mail,) = dead["mails"]
        assert "no such mailbox" in mail["reason"]
        again = f"/api/v1/notifications/mails/{mail['id']}/retry"
        assert (await client.post(again, headers=asking)).raise_for_status().json()["state"] == "waiting"
        room.trouble = [VendorUnavailable("away")] * TRIES_MAX
        for _ in range(TRIES_MAX):
            await room.pass_s(3601)
        async with tenant_transaction(here.database, 1) as session:
            (row,) = await mail_questions.mails(session, 1, "dead", "", 9)
            assert (row["tries"], row["reason"]) == (TRIES_MAX, "away"), "not for ever"
            with pytest.raises(RequestRefused, match="was sent"):
                await mail_questions.send_again(session, 1, await _sent(session), datetime.now(UTC))


async def _sent(session: Any) -> str:
    (row,) = await mail_questions.mails(session, 1, "sent", "", 9)
    return str(row["id"])


async def test_what_is_too_large_for_a_mail_is_left_out_and_the_mail_says_where_it_is(database_dsn: str) -> None:
    mailbox = Mailbox()
    async with post_room(database_dsn, mailbox, 2000) as (here, room), planner(here.database) as client:
        report = await made_report(here.database, client, recipients=["shift@plant.example"])
        await room.hear(ANALYTICS_EVENTS)
        await room.pass_s(1)
        found = parts(mailbox.mails[0])
        at = f"https://lineside.acme.example/api/v1/reports/{report}/made/{TODAY}/xlsx"
        assert at in found["text/plain"].decode().replace("\r\n", "\n")
        assert at in found["text/html"].decode()
        assert [name for name in found if name.endswith((".pdf", ".xlsx"))] == [f"line-3--every-day-{TODAY}.pdf"]


async def test_a_report_is_sent_again_as_it_is_to_whom_somebody_says(database_dsn: str) -> None:
    mailbox = Mailbox()
    async with post_room(database_dsn, mailbox) as (here, room), planner(here.database) as client:
        report = await made_report(here.database, client, recipients=[])
        await room.hear(ANALYTICS_EVENTS)
        again = f"/api/v1/reports/{report}/made/{TODAY}/mail"
        refused = await client.post(again, json={}, headers={"Idempotency-Key": "1"})
        assert (refused.status_code, refused.json()["code"]) == (409, "no_recipients")
        yesterday = again.replace(str(TODAY), str(TODAY - timedelta(days=9)))
        assert (await client.post(yesterday, json={"recipients": ["a@b.example"]})).status_code == 404
        for _ in range(2):
            asked = {"recipients": ["head@plant.example"]}
            told = (await client.post(again, json=asked, headers={"Idempotency-Key": "2"})).raise_for_status().json()
        assert told == {"day": str(TODAY), "recipients": ["head@plant.example"]}
        await room.hear(ANALYTICS_EVENTS)
        await room.pass_s(1)
        (mail,) = mailbox.mails
        assert mail["To"] == "head@plant.example"
        assert await DueReports(here.database).make(datetime.now(UTC)) == 0


async def test_a_customer_hears_of_an_order_in_the_name_of_its_tenant(database_dsn: str) -> None:
    mailbox = Mailbox()
    async with post_room(database_dsn, mailbox) as (here, room):
        async with here.database.session() as session:
            await session.execute("INSERT INTO tenant_brand (tenant_id, title) VALUES (1, 'Pümpen & Söhne')")
        await here.stock.say("UPDATE customer SET email = 'buy@acme.test'")
        await here.sell("valve-12", stock=5)
        order = await here.place(("valve-12", 5), reference="PO-4711")
        await here.pump()
        await here.do(f"/orders/{order}/shipments", "olga", {}, status=201)
        await here.pump()
        for _ in range(2):
            await room.hear(ORDER_EVENTS)
            await room.pass_s(1)
        placed, shipped = mailbox.mails
        assert {mail["To"] for mail in mailbox.mails} == {"buy@acme.test"}
        assert placed["From"].endswith("<lineside@acme.example>")
        assert "Pümpen" not in placed["From"], "written as RFC 2047 has it"
        words = parts(placed)["text/plain"].decode()
        assert all(one in words for one in ("Dear Acme,", order, "PO-4711", "5 pcs  Valve-12", "Pümpen & Söhne"))
        words = parts(shipped)["text/plain"].decode()
        assert "1Z999" in words
        assert "5 pcs  Valve-12" in words
        assert "Pümpen &amp; Söhne" in parts(shipped)["text/html"].decode()
