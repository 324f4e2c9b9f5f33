"""The routes of notifications: rules, and what was sent; below ``/api/v1/notifications``."""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Response

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session, tenant_transaction
from cloud_ingest.notifications import mail_questions
from cloud_ingest.notifications.answers import (
    MailAnswer,
    MailPage,
    MessageAnswer,
    MessagePage,
    RuleAnswer,
    RulePage,
    RuleRequest,
)
from cloud_ingest.notifications.rules import Rule
from cloud_ingest.notifications.taking import CHANNEL
from cloud_ingest.notifications.telling import now_of
from connectors.commands.envelope import ULID_PATTERN
from connectors.commands.ulid import new_ulid
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session

PROBLEMS: Final[Mapping[int | str, dict[str, object]]] = {
    400: {"description": "The request cannot be understood"},
    401: {"description": "There is no token, or it does not hold"},
    403: {"description": "The token is not good for this"},
    404: {"description": "There is no such thing"},
    409: {"description": "It cannot be done as things stand"},
    412: {"description": "It was changed since"},
    428: {"description": "If-Match is missing"},
    503: {"description": "The database cannot be reached now"},
}
Edits = Annotated[Principal, Depends(Needs(Permission.INTEGRATIONS_EDIT))]
MailId = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the mail")]
RuleId = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the rule")]


def notification_routes(database: Database, clock: Clock) -> APIRouter:
    """The routes."""
    api = APIRouter(prefix="/api/v1/notifications", tags=["Notifications"], responses=dict(PROBLEMS))
    known = [Depends(only_known_parameters)]
    _add_rules(api, database, clock)
    _add_one_rule(api, database)

    @api.get("/messages", dependencies=known)
    async def messages(principal: Edits, after: After = "", limit: Limit = LIMIT) -> MessagePage:
        """Messages to people, the newest first: what waits, what was sent, and what was given up and why."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await session.fetch(
                "SELECT notification_id AS id, name AS rule, channel, recipients, state, events, due, tries, reason, "
                "notification.created, notification.changed FROM notification JOIN notification_rule USING (rule_id) "
                "WHERE $1 = '' OR notification_id < $1 ORDER BY notification_id DESC LIMIT $2",
                after,
                limit + 1,
            )
        some, following = page(rows, limit, lambda row: str(row["id"]))
        return MessagePage(messages=[MessageAnswer.model_validate(dict(row)) for row in some], next=following)

    _add_mails(api, database, clock)
    return api


def _add_mails(api: APIRouter, database: Database, clock: Clock) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/mails", dependencies=known)
    async def mails(
        principal: Edits,
        state: Annotated[Literal["waiting", "sent", "dead"] | None, Query(description="Only those")] = None,
        after: After = "",
        limit: Limit = LIMIT,
    ) -> MailPage:
        """Mails of reports and to customers, the newest first; those of the last 30 days."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await mail_questions.mails(session, principal.tenant_id, state, after, limit + 1)
        some, following = page(rows, limit, lambda row: str(row["id"]))
        return MailPage(mails=[MailAnswer.model_validate(dict(row)) for row in some], next=following)

    @api.post("/mails/{mail}/retry", dependencies=known)
    async def retry(principal: Edits, mail: MailId) -> MailAnswer:
        """Send a mail that was given up, or at once one that waits."""
        async with tenant_transaction(database, principal.tenant_id) as session:
            found = await mail_questions.send_again(session, principal.tenant_id, mail, now_of(clock))
            await session.fetch("SELECT pg_notify($1, '')", CHANNEL)
        return MailAnswer.model_validate(found)


def _add_rules(api: APIRouter, database: Database, clock: Clock) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/rules", dependencies=known)
    async def rules(principal: Edits, after: After = "", limit: Limit = LIMIT) -> RulePage:
        """The rules that say which events are told to whom."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await session.fetch(
                "SELECT * FROM notification_rule WHERE rule_id > $1 ORDER BY rule_id LIMIT $2", after, limit + 1
            )
        some, following = page(rows, limit, lambda row: str(row["rule_id"]))
        return RulePage(rules=[_answer(row) for row in some], next=following)

    @api.post("/rules", status_code=201, dependencies=known)
    async def make(principal: Edits, request: RuleRequest, key: IdempotencyKey, response: Response) -> RuleAnswer:
        """Make a rule. It holds within seconds."""
        async with tenant_transaction(database, principal.tenant_id) as session:

            async def do() -> dict[str, Any]:
                await _refuse_second(session, request.name, "")
                rule_id = new_ulid(clock.now_ns() // 1_000_000)
                await session.execute(
                    "INSERT INTO notification_rule (rule_id, tenant_id, name, rule, enabled, created_by) "
                    "VALUES ($1, $2, $3, $4, $5, $6)",
                    rule_id,
                    principal.tenant_id,
                    request.name,
                    request.rule.model_dump_json(),
                    request.enabled,
                    principal.name,
                )
                return _answer(await _rule(session, rule_id)).model_dump(mode="json")

            asked = Asked(principal, "POST /notifications/rules", key, request.model_dump(mode="json"))
            made = RuleAnswer.model_validate(await once(session, asked, do))
        response.headers["Location"] = f"/api/v1/notifications/rules/{made.id}"
        response.headers["ETag"] = etag(made.revision)
        return made


def _add_one_rule(api: APIRouter, database: Database) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/rules/{rule_id}", dependencies=known)
    async def one(principal: Edits, rule_id: RuleId, response: Response) -> RuleAnswer:
        """One rule."""
        async with tenant_session(database, principal.tenant_id) as session:
            found = _answer(await _rule(session, rule_id))
        response.headers["ETag"] = etag(found.revision)
        return found

    @api.put("/rules/{rule_id}", dependencies=known)
    async def change(
        principal: Edits, rule_id: RuleId, request: RuleRequest, response: Response, if_match: IfMatch = ""
    ) -> RuleAnswer:
        """Change a rule. A message of it that waits already goes as it was."""
        async with tenant_transaction(database, principal.tenant_id) as session:
            check_match(if_match, (await _rule(session, rule_id, lock=True))["revision"])
            await _refuse_second(session, request.name, rule_id)
            await session.execute(
                "UPDATE notification_rule SET name = $2, rule = $3, enabled = $4, revision = revision + 1 "
                "WHERE rule_id = $1",
                rule_id,
                request.name,
                request.rule.model_dump_json(),
                request.enabled,
            )
            found = _answer(await _rule(session, rule_id))
        response.headers["ETag"] = etag(found.revision)
        return found

    @api.delete("/rules/{rule_id}", status_code=204, dependencies=known)
    async def delete(principal: Edits, rule_id: RuleId, if_match: IfMatch = "") -> None:
        """Delete a rule, and the record of its messages."""
        async with tenant_transaction(database, principal.tenant_id) as session:
            check_match(if_match, (await _rule(session, rule_id, lock=True))["revision"])
            await session.execute("DELETE FROM notification_rule WHERE rule_id = $1", rule_id)


_ONE: Final = "SELECT * FROM notification_rule WHERE rule_id = $1"
_ONE_LOCKED: Final = "SELECT * FROM notification_rule WHERE rule_id = $1 FOR UPDATE"


async def _rule(session: Session, rule_id: str, *, lock: bool = False) -> Row:
    rows = await session.fetch(_ONE_LOCKED if lock else _ONE, rule_id)
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_rule", f"there is no rule {rule_id}")
    return rows[0]


async def _refuse_second(session: Session, name: str, rule_id: str) -> None:
    if await session.fetch("SELECT FROM notification_rule WHERE name = $1 AND rule_id <> $2", name, rule_id):
        raise RequestRefused(Why.CONFLICT, "name_taken", f"there is a rule {name!r} already: take another name")


def _answer(row: Row) -> RuleAnswer:
    held = row["held_until"]
    return RuleAnswer(
        id=row["rule_id"],
        name=row["name"],
        rule=Rule.model_validate(json.loads(row["rule"])),
        enabled=row["enabled"],
        held_until=held if held.year > 1 else None,
        revision=row["revision"],
        created=row["created"],
        created_by=row["created_by"],
    )
