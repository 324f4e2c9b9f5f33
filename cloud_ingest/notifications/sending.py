"""Messages that are due are sent, each by one process at a time, which holds its row's lock meanwhile.

A process that dies between the server's answer and its commit leaves a message that is sent again, under the same
Message-ID or delivery id: people and systems are told at least once.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import random
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.identity.published import published_brand
from cloud_ingest.integrations.events import Told, integration_event
from cloud_ingest.notifications.rules import (
    TRIES_MAX,
    Look,
    Rule,
    after_delivery,
    retry_wait_s,
    words,
)
from cloud_ingest.notifications.taking import item_of
from cloud_ingest.notifications.telling import WELL, Tried, Ways, now_of, tell
from cloud_ingest.observability.integration_events import (
    NotificationFailed,
    NotificationSent,
    WebhookDelivered,
    WebhookDisabled,
)
from connectors.commands.ulid import new_ulid
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session
from connectors.ports.notify import Channel, Message, WebhookPoster
from connectors.ports.vendors import CallRefused, VendorUnavailable

GONE: Final = 410
"""RFC 9110, section 15.5.11: whoever answers so wants nothing any more."""


class Sender:
    """Sends messages to people. ``channels`` by their names in the settings; ``own`` are those of tenants, by name."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        channels: Mapping[str, Channel],
        own: Mapping[str, Mapping[str, Channel]] | None = None,
    ) -> None:
        self._database = database
        self._clock = clock
        self._ways = Ways(channels, own)
        self._random = random.Random()

    async def send_one(self) -> bool:
        """Send the message that is due first; false when none is that can be taken now."""
        now = now_of(self._clock)
        async with self._database.transaction() as session:
            well = WELL.format(way="channel", table="notification")
            rows = await session.fetch(
                "SELECT notification.*, name, rule FROM notification JOIN notification_rule USING (rule_id) "  # noqa: S608
                f"WHERE state = 'waiting' AND due <= $1 AND {well} ORDER BY due, notification_id LIMIT 1 "
                "FOR UPDATE OF notification SKIP LOCKED",
                now,
                *self._ways.arguments,
            )
            if not rows:
                return False
            (row,) = rows
            tried = await self._sent(session, row)
            reason, tries = tried.reason, row["tries"] + 1
            missed = "; ".join(f"not to {one.recipient}: {one.reason}" for one in tried.not_told)
            is_over = tried.is_over or tries >= TRIES_MAX
            wait_s = retry_wait_s(tries, self._random.random())
            await session.execute(
                "UPDATE notification SET state = $2, tries = $3, reason = $4, changed = $5, "
                "due = CASE WHEN $2 = 'waiting' THEN $6 ELSE due END WHERE notification_id = $1",
                row["notification_id"],
                "sent" if not reason else "dead" if is_over else "waiting",
                tries,
                reason or missed,
                now,
                now + timedelta(seconds=wait_s),
            )
            later = [one.recipient for one in tried.not_told if not one.is_final]
            if later and tries < TRIES_MAX:
                await self._again(session, row, later, tries, now + timedelta(seconds=wait_s))
        if missed:
            emit(NotificationFailed(row["notification_id"], row["name"], row["channel"], missed, not later))
        what = (row["notification_id"], row["name"], row["channel"])
        emit(NotificationFailed(*what, reason, is_over) if reason else NotificationSent(*what, row["events"]))
        return True

    async def _again(self, session: Session, row: Row, recipients: list[str], tries: int, due: datetime) -> None:
        """A message of its own for those whom the server did not take now, and nobody else."""
        now = now_of(self._clock)
        await session.execute(
            "INSERT INTO notification (notification_id, tenant_id, rule_id, channel, recipients, items, events, due, "
            "tries, created, changed) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
            new_ulid(self._clock.now_ns() // 1_000_000),
            *(row[name] for name in ("tenant_id", "rule_id", "channel")),
            recipients,
            *(row[name] for name in ("items", "events")),
            due,
            tries,
            now,
        )

    async def _sent(self, session: Session, row: Row) -> Tried:
        items = [item_of(one) for one in json.loads(row["items"])]
        brand = await published_brand(session, row["tenant_id"])
        look = Look(brand.shown_title, brand.color, brand.text_color)
        said = words(Rule.model_validate_json(row["rule"]), row["name"], items, row["events"], look)
        told = (row["notification_id"], said.subject, said.text, said.html, list(row["recipients"]))
        message = Message(*told, sender_name=brand.title)
        return await tell(session, self._clock, self._ways, brand.tenant, row["channel"], message)


class Deliverer:
    """Posts events to the endpoints of other systems, as standardwebhooks.com has it."""

    def __init__(self, database: Database, clock: Clock, poster: WebhookPoster, disable_after_s: float) -> None:
        self._database = database
        self._clock = clock
        self._poster = poster
        self._disable_after_s = disable_after_s
        self._random = random.Random()

    async def deliver_one(self) -> bool:
        """Post what is due first; false when nothing is that can be taken now."""
        now = now_of(self._clock)
        async with unit_of_work(self._database) as work:
            rows = await work.session.fetch(
                "SELECT webhook_delivery.*, url, secret, failing_since, ARRAY(SELECT old.secret "
                "    FROM webhook_old_secret AS old WHERE old.endpoint_id = webhook_delivery.endpoint_id "
                "    AND old.until > $1 ORDER BY old.until DESC) AS old_secrets FROM webhook_delivery "
                "JOIN webhook_endpoint USING (endpoint_id) WHERE state = 'waiting' AND enabled AND next_try <= $1 "
                "ORDER BY next_try, delivery_id LIMIT 1 FOR UPDATE OF webhook_delivery SKIP LOCKED",
                now,
            )
            if not rows:
                return False
            (row,) = rows
            status, reason = await self._posted(row, now)
            if reason:
                outcome = await self._failed(work, row, status, reason, now)
            else:
                outcome = await self._taken(work, row, status, now)
        emit(WebhookDelivered(row["endpoint_id"], row["delivery_id"], outcome, reason))
        return True

    async def _posted(self, row: Row, now: datetime) -> tuple[int | None, str]:
        body = row["body"].encode()
        seconds = str(int(now.timestamp()))
        headers = {
            "Content-Type": "application/cloudevents+json",
            "webhook-id": row["delivery_id"],
            "webhook-timestamp": seconds,
            "webhook-signature": " ".join(
                signature(secret, row["delivery_id"], seconds, body) for secret in (row["secret"], *row["old_secrets"])
            ),
        }
        try:
            posted = await self._poster.post(row["url"], body, headers)
        except (VendorUnavailable, CallRefused) as exc:
            return None, str(exc)
        if 200 <= posted.status < 300:
            return posted.status, ""
        return posted.status, f"it was answered with {posted.status}: {' '.join(posted.text.split())[:300]}"

    async def _taken(self, work: UnitOfWork, row: Row, status: int | None, now: datetime) -> str:
        await work.session.execute(
            "UPDATE webhook_delivery SET state = 'delivered', tries = tries + 1, status = $2, reason = '', "
            "changed = $3 WHERE delivery_id = $1",
            row["delivery_id"],
            status,
            now,
        )
        if row["failing_since"] is not None:
            await work.session.execute(
                "UPDATE webhook_endpoint SET failing_since = NULL WHERE endpoint_id = $1", row["endpoint_id"]
            )
        return "delivered"

    async def _failed(self, work: UnitOfWork, row: Row, status: int | None, reason: str, now: datetime) -> str:
        since = row["failing_since"] or now
        failing_s = self._disable_after_s if status == GONE else (now - since).total_seconds()
        following = after_delivery(row["tries"] + 1, failing_s, self._disable_after_s, self._random.random())
        later = now + timedelta(seconds=following.wait_s)
        await work.session.execute(
            "UPDATE webhook_delivery SET tries = tries + 1, status = $2, reason = $3, next_try = $4, changed = $5 "
            "WHERE delivery_id = $1",
            row["delivery_id"],
            status,
            reason,
            later,
            now,
        )
        # what else waits for this endpoint is not tried earlier: it would keep others from theirs
        await work.session.execute(
            "UPDATE webhook_delivery SET next_try = $2 WHERE delivery_id IN (SELECT delivery_id FROM webhook_delivery "
            "WHERE endpoint_id = $1 AND state = 'waiting' AND next_try < $2 FOR UPDATE SKIP LOCKED)",
            row["endpoint_id"],
            later,
        )
        await work.session.execute(
            "UPDATE webhook_endpoint SET failing_since = $2 WHERE endpoint_id = $1", row["endpoint_id"], since
        )
        if following.state == "disabled":
            await self._disable(work, row, reason, now)
            return "gave_up"
        return "failed"

    async def _disable(self, work: UnitOfWork, row: Row, reason: str, now: datetime) -> None:
        why = f"nothing was taken since {row['failing_since'] or now:%Y-%m-%d %H:%M} UTC; last: {reason}"
        await work.session.execute(
            "UPDATE webhook_endpoint SET enabled = false, disabled_reason = $2, revision = revision + 1 "
            "WHERE endpoint_id = $1",
            row["endpoint_id"],
            why,
        )
        told = {"endpoint": row["endpoint_id"], "url": row["url"], "reason": why}
        now_ns = self._clock.now_ns()
        work.announce(integration_event(row["tenant_id"], row["endpoint_id"], Told.WEBHOOK_DISABLED, now_ns, told))
        emit(WebhookDisabled(row["endpoint_id"], why))


def signature(secret: str, delivery: str, seconds: str, body: bytes) -> str:
    """``v1,`` and the HMAC-SHA256 of id, time and body in base64, by the key behind ``whsec_``."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    mark = hmac.new(key, f"{delivery}.{seconds}.".encode() + body, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(mark).decode()}"
