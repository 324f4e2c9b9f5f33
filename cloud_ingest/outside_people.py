"""Which adapter stands behind each way to people and to other systems; see ``outside`` for vendors."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.event_log.consuming import Consumer, EventsProjection, TakeEvent
from cloud_ingest.event_log.domain_events import ReadEvent
from cloud_ingest.event_log.topics import DOMAIN_TOPICS
from cloud_ingest.notifications.mail_sending import EMAIL, MailSender
from cloud_ingest.notifications.mails import EventsAreMailed
from cloud_ingest.notifications.role import Notifications
from cloud_ingest.notifications.sending import Deliverer, Sender
from cloud_ingest.notifications.taking import EventsTell
from cloud_ingest.notifications.telling import Ways
from cloud_ingest.settings.notifications import NotificationSettings, TenantNotificationSettings
from cloud_ingest.store.processes import Facts
from connectors.ports.clock import Clock
from connectors.ports.database import Database
from connectors.ports.event_log import EventLog, TopicSpec
from connectors.ports.notify import Channel, WebhookPoster

if TYPE_CHECKING:
    from fastapi import APIRouter


def channels(settings: NotificationSettings | TenantNotificationSettings) -> Mapping[str, Channel]:
    """The ways to people, by the names that rules have."""
    from connectors.notify.chat import ChatRoom
    from connectors.notify.smtp import SmtpChannel, SmtpOptions

    found: dict[str, Channel] = {
        f"chat:{name}": ChatRoom(name, chat.url.get_secret_value(), chat.format)
        for name, chat in settings.chats.items()
    }
    if (mail := settings.email) is not None:
        password = "" if mail.password is None else mail.password.get_secret_value()
        ca_file = "" if mail.ca_file is None else str(mail.ca_file)
        found["email"] = SmtpChannel(
            SmtpOptions(mail.host, mail.port, mail.sender, mail.tls, mail.user, password, ca_file, mail.attachments)
        )
    return found


def poster(settings: NotificationSettings) -> WebhookPoster:
    """What posts to other systems."""
    from connectors.notify.webhook import PublicPoster

    return PublicPoster(allow_private=settings.webhooks.allow_private)


def notification_parts(
    settings: NotificationSettings,
    database: Database,
    log: EventLog,
    clock: Clock,
    topics: Mapping[str, TopicSpec],
    public_url: str = "",
) -> list[tuple[str, Callable[[], Coroutine[Any, Any, None]], Facts]]:
    """What tells people and other systems, in a process with the role ``integrations``."""
    ways = channels(settings)
    own = {name: channels(of_tenant) for name, of_tenant in settings.tenants.items()}
    sender = Sender(database, clock, ways, own)
    files_bytes_max = 0 if settings.email is None else settings.email.attachments
    servers = {
        name: (own[name][EMAIL], of_tenant.email.attachments)
        for name, of_tenant in settings.tenants.items()
        if of_tenant.email is not None
    }
    mails = MailSender(database, clock, ways, files_bytes_max, public_url, servers)
    deliverer = Deliverer(database, clock, poster(settings), settings.webhooks.disable_after_s)
    role = Notifications(database, sender, mails, deliverer, Ways(ways, own).lines)
    telling, mailing = EventsTell(clock), EventsAreMailed(clock, settings.customers.tell)
    parts: list[tuple[str, Callable[[], Coroutine[Any, Any, None]], Facts]] = [("notifications", role.run, role.facts)]
    for topic in DOMAIN_TOPICS:
        short = topic.split(".")[1]
        reading = EventsProjection(f"notifications.{short}", topics[topic], _taking(telling, mailing, topic))
        consumer = Consumer(database, log, reading)
        parts.append((f"notifications {short}", consumer.run, consumer.facts))
    return parts


def _taking(telling: EventsTell, mailing: EventsAreMailed, topic: str) -> TakeEvent:
    async def take(work: UnitOfWork, event: ReadEvent) -> None:
        await telling.take(work, event, topic)
        await mailing.take(work, event, topic)

    return take


def notification_routers(settings: NotificationSettings, database: Database, clock: Clock) -> list[APIRouter]:
    """The routes of notifications and webhooks."""
    from cloud_ingest.notifications.routes import notification_routes
    from cloud_ingest.notifications.webhook_routes import webhook_routes

    return [notification_routes(database, clock), webhook_routes(database, clock, poster(settings))]
