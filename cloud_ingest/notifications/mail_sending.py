"""Mails that are due are sent, each by one process at a time, which holds its row's lock meanwhile.

Taking an event makes a mail once (``mails``), so a crash between that and the mail server loses none and doubles none.
A process that dies between the server's answer and its commit sends the mail again, under the same Message-ID.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from html import escape
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.analytics.published import ReportFile, ReportMail, report_mail
from cloud_ingest.identity.published import published_brand
from cloud_ingest.notifications.rules import TRIES_MAX, retry_wait_s
from cloud_ingest.notifications.telling import WELL, Tried, Ways, now_of, tell
from cloud_ingest.observability.integration_events import NotificationFailed, NotificationSent
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session
from connectors.ports.notify import Attachment, Channel, Message

EMAIL: Final = "email"
BODY_BYTES_MAX: Final = 500_000
"""A larger page is a file beside the mail instead of its body: programs that show mails cut them off."""
_SMALL_FIRST: Final = ("pdf", "xlsx", "csv", "html")
"""Where not all files fit, those that people open come first."""


class MailSender:
    """Sends mails. ``files_bytes_max``: what goes with one; ``public_url``: where what did not go can be had."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        channels: Mapping[str, Channel],
        files_bytes_max: int,
        public_url: str = "",
        own: Mapping[str, tuple[Channel, int]] | None = None,
    ) -> None:
        """``own``: mail servers of tenants, by their names, each with what goes with a mail there."""
        self._database = database
        self._clock = clock
        self._ways = Ways(channels, {tenant: {EMAIL: channel} for tenant, (channel, _) in (own or {}).items()})
        self._files_bytes_max = files_bytes_max
        self._own_files_bytes_max = {tenant: bytes_max for tenant, (_, bytes_max) in (own or {}).items()}
        self._public_url = public_url
        self._random = random.Random()

    def at_kill_point(self, step: str) -> None:
        """Tests end the process here, behind ``sent``: the server has the mail, and nothing of it is committed."""

    async def send_one(self) -> bool:
        """Send the mail that is due first; false when none is that can be sent now."""
        now = now_of(self._clock)
        async with self._database.transaction() as session:
            well = WELL.format(way=f"'{EMAIL}'", table="mail")
            rows = await session.fetch(
                f"SELECT * FROM mail WHERE state = 'waiting' AND due <= $1 AND {well} "  # noqa: S608  of our own
                "ORDER BY due, mail_id LIMIT 1 FOR UPDATE SKIP LOCKED",
                now,
                *self._ways.arguments,
            )
            if not rows:
                return False
            (row,) = rows
            tried = await self._sent(session, row)
            self.at_kill_point("sent")
            tries = row["tries"] + 1
            is_over = tried.is_over or tries >= TRIES_MAX
            state = "sent" if not tried.reason else "dead" if is_over else "waiting"
            await session.execute(
                "UPDATE mail SET state = $2, tries = $3, reason = $4, changed = $5, due = $6 WHERE mail_id = $1",
                row["mail_id"],
                state,
                tries,
                tried.reason,
                now,
                now + timedelta(seconds=retry_wait_s(tries, self._random.random())),
            )
        what = (row["mail_id"], f"{row['kind']} {row['about']}", EMAIL)
        emit(NotificationFailed(*what, tried.reason, is_over) if tried.reason else NotificationSent(*what, 1))
        return True

    async def _sent(self, session: Session, row: Row) -> Tried:
        content = json.loads(row["content"])
        brand = await published_brand(session, row["tenant_id"])
        if row["kind"] == "report":
            try:
                day = date.fromisoformat(content["day"])
                mail = await report_mail(session, row["tenant_id"], content["report"], day)
            except RequestRefused as exc:
                return Tried(str(exc), True)
            bytes_max = self._own_files_bytes_max.get(brand.tenant, self._files_bytes_max)
            message = report_message(row, mail, content, bytes_max, self._public_url)
            message = replace(message, sender_name=brand.title)
        else:
            words = (content["subject"], content["text"], content["html"])
            message = Message(row["mail_id"], *words, [row["recipient"]], sender_name=content["sender_name"])
        return await tell(session, self._clock, self._ways, brand.tenant, EMAIL, message)


def report_message(
    row: Mapping[str, Any], mail: ReportMail, content: Mapping[str, str], files_bytes_max: int, public_url: str
) -> Message:
    """A report as a mail: its page is the body, the other files go with it as far as they fit.

    Of what does not fit, the mail says where it is.
    """
    page = next((one for one in mail.files if one.format == "html" and len(one.content) <= BODY_BYTES_MAX), None)
    taken: list[ReportFile] = []
    left_out: list[ReportFile] = []
    for one in sorted(mail.files, key=lambda file: _SMALL_FIRST.index(file.format)):
        if one is page:
            continue
        fits = sum(len(other.content) for other in taken) + len(one.content) <= files_bytes_max
        (taken if fits else left_out).append(one)
    notes = [
        f"{one.name} ({len(one.content) / 1e6:.1f} MB) is too large for a mail. It is at "
        f"{public_url.rstrip('/')}/api/v1/reports/{content['report']}/made/{content['day']}/{one.format}"
        for one in left_out
    ]
    names = [f"With this mail: {', '.join(one.name for one in taken)}."] if taken else []
    text = "\n\n".join([mail.text.strip(), *names, *notes]) + "\n"
    foot = "".join(f"<p>{escape(one)}</p>" for one in notes)
    if page is None:
        body = "".join(f"<p>{escape(one)}</p>" for one in [mail.text.strip(), *names])
        html = f"<html><body>{body}{foot}</body></html>"
    else:
        html = page.content.decode().removesuffix("</html>") + f"{foot}</html>"
    files = [Attachment(one.name, one.media_type, one.content) for one in taken]
    return Message(row["mail_id"], mail.subject, text, html, [row["recipient"]], files)
