"""Mails in their table: those that wait, were sent, or were given up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from cloud_ingest.access.refused import RequestRefused, Why
from connectors.ports.database import Row, Session

_COLUMNS = "mail_id AS id, kind, about, recipient, state, due, tries, reason, created, changed"


async def mails(session: Session, tenant_id: int, state: str | None, after: str, count: int) -> Sequence[Row]:
    """Mails, the newest first, of one ``state`` or of all; those that are older than ``after``."""
    return await session.fetch(
        f"SELECT {_COLUMNS} FROM mail WHERE tenant_id = $1 AND ($2::text IS NULL OR state = $2) "  # noqa: S608
        "AND ($3 = '' OR mail_id < $3) ORDER BY mail_id DESC LIMIT $4",
        tenant_id,
        state,
        after,
        count,
    )


async def send_again(session: Session, tenant_id: int, mail: str, now: datetime) -> dict[str, Any]:
    """Have a mail be sent that was given up, or at once one that waits. Raises ``RequestRefused``."""
    rows = await session.fetch(
        f"SELECT {_COLUMNS} FROM mail WHERE tenant_id = $1 AND mail_id = $2 FOR UPDATE",  # noqa: S608
        tenant_id,
        mail,
    )
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_mail", f"there is no mail {mail}; the list has those of 30 days")
    if rows[0]["state"] == "sent":
        why = f"the mail {mail} was sent; a report is sent again by POST /api/v1/reports/ID/made/DAY/mail"
        raise RequestRefused(Why.CONFLICT, "sent", why)
    await session.execute(
        "UPDATE mail SET state = 'waiting', tries = 0, due = $2, changed = $2 WHERE mail_id = $1", mail, now
    )
    return {**dict(rows[0]), "state": "waiting", "tries": 0, "due": now, "changed": now}
