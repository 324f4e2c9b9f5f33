"""The routes of webhooks to other systems: below ``/api/v1/webhooks``."""

import base64
import secrets
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Response

from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.idempotency import Asked, IdempotencyKey, once
from cloud_ingest.access.needs import Needs
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session, tenant_transaction
from cloud_ingest.commands import audit
from cloud_ingest.notifications.answers import (
    DeliveryAnswer,
    DeliveryPage,
    EndpointAnswer,
    EndpointChange,
    EndpointPage,
    EndpointRequest,
    SecretRotation,
)
from cloud_ingest.notifications.routes import PROBLEMS
from cloud_ingest.notifications.taking import CHANNEL
from connectors.commands.envelope import ULID_PATTERN
from connectors.commands.ulid import new_ulid
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session
from connectors.ports.notify import WebhookPoster
from connectors.ports.vendors import CallRefused, VendorUnavailable

ENDPOINTS_MAX: Final = 100
SECRET_BYTES: Final = 32
OLD_SECRETS_MAX: Final = 5
"""Of one webhook, that still sign: the header with the signatures stays short."""
Edits = Annotated[Principal, Depends(Needs(Permission.WEBHOOKS_EDIT))]
EndpointId = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the webhook")]
DeliveryId = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the delivery")]
_SELECT: Final = (
    "SELECT webhook_endpoint.*, (SELECT count(*) FROM webhook_delivery WHERE webhook_delivery.endpoint_id = "
    "webhook_endpoint.endpoint_id AND state = 'waiting') AS waiting, (SELECT max(until) FROM webhook_old_secret WHERE "
    "webhook_old_secret.endpoint_id = webhook_endpoint.endpoint_id AND until > now()) AS old_secret_until "
    "FROM webhook_endpoint "
)
_ONE: Final = _SELECT + "WHERE endpoint_id = $1"
_ONE_LOCKED: Final = _SELECT + "WHERE endpoint_id = $1 FOR UPDATE"


def webhook_routes(database: Database, clock: Clock, poster: WebhookPoster) -> APIRouter:
    """The routes; ``poster`` looks at addresses before they are taken."""
    api = APIRouter(prefix="/api/v1/webhooks", tags=["Webhooks"], responses=dict(PROBLEMS))
    _add_all(api, database, clock, poster)
    _add_one(api, database, poster)
    _add_rotation(api, database, clock)
    _add_deliveries(api, database)
    return api


def _add_all(api: APIRouter, database: Database, clock: Clock, poster: WebhookPoster) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("", dependencies=known)
    async def endpoints(principal: Edits, after: After = "", limit: Limit = LIMIT) -> EndpointPage:
        """The systems that are told of events."""
        async with tenant_session(database, principal.tenant_id) as session:
            rows = await session.fetch(
                _SELECT + "WHERE endpoint_id > $1 ORDER BY endpoint_id LIMIT $2", after, limit + 1
            )
        some, following = page(rows, limit, lambda row: str(row["endpoint_id"]))
        return EndpointPage(webhooks=[_answer(row) for row in some], next=following)

    @api.post("", status_code=201, dependencies=known)
    async def make(
        principal: Edits, request: EndpointRequest, key: IdempotencyKey, response: Response
    ) -> EndpointAnswer:
        """Have a system be told of events. The answer has the secret that signs them, once: keep it."""
        await _look_at(poster, request.url)
        secret = _new_secret()
        is_new = False
        async with tenant_transaction(database, principal.tenant_id) as session:

            async def do() -> dict[str, Any]:
                nonlocal is_new
                is_new = True
                (count,) = await session.fetch("SELECT count(*) AS count FROM webhook_endpoint")
                if count["count"] >= ENDPOINTS_MAX:
                    why = f"there are {ENDPOINTS_MAX} webhooks: delete one that is not used"
                    raise RequestRefused(Why.CONFLICT, "too_many_webhooks", why)
                endpoint_id = new_ulid(clock.now_ns() // 1_000_000)
                await session.execute(
                    "INSERT INTO webhook_endpoint (endpoint_id, tenant_id, url, description, events, secret, "
                    "created_by) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    endpoint_id,
                    principal.tenant_id,
                    request.url,
                    request.description,
                    list(request.events),
                    secret,
                    principal.name,
                )
                return _answer(await _endpoint(session, endpoint_id)).model_dump(mode="json")

            asked = Asked(principal, "POST /webhooks", key, request.model_dump(mode="json"))
            made = EndpointAnswer.model_validate(await once(session, asked, do))
        response.headers["Location"] = f"/api/v1/webhooks/{made.id}"
        response.headers["ETag"] = etag(made.revision)
        return made.model_copy(update={"secret": secret}) if is_new else made


def _add_one(api: APIRouter, database: Database, poster: WebhookPoster) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/{webhook}", dependencies=known)
    async def one(principal: Edits, webhook: EndpointId, response: Response) -> EndpointAnswer:
        """One webhook; without its secret."""
        async with tenant_session(database, principal.tenant_id) as session:
            found = _answer(await _endpoint(session, webhook))
        response.headers["ETag"] = etag(found.revision)
        return found

    @api.patch("/{webhook}", dependencies=known)
    async def change(
        principal: Edits, webhook: EndpointId, request: EndpointChange, response: Response, if_match: IfMatch = ""
    ) -> EndpointAnswer:
        """Change a webhook; with ``enabled`` true, one that was switched off gets what has waited for it."""
        if request.url is not None:
            await _look_at(poster, request.url)
        async with tenant_transaction(database, principal.tenant_id) as session:
            known_now = await _endpoint(session, webhook, lock=True)
            check_match(if_match, known_now["revision"])
            enabled = known_now["enabled"] if request.enabled is None else request.enabled
            is_back = enabled and not known_now["enabled"]
            await session.execute(
                "UPDATE webhook_endpoint SET url = $2, events = $3, description = $4, enabled = $5, "
                "disabled_reason = CASE WHEN $5 THEN '' ELSE disabled_reason END, "
                "failing_since = CASE WHEN $6 THEN NULL ELSE failing_since END, revision = revision + 1 "
                "WHERE endpoint_id = $1",
                webhook,
                request.url or known_now["url"],
                list(request.events or known_now["events"]),
                known_now["description"] if request.description is None else request.description,
                enabled,
                is_back,
            )
            if is_back:
                await session.execute(
                    "UPDATE webhook_delivery SET next_try = now() WHERE endpoint_id = $1 AND state = 'waiting'", webhook
                )
                await session.fetch("SELECT pg_notify($1, '')", CHANNEL)
            found = _answer(await _endpoint(session, webhook))
        response.headers["ETag"] = etag(found.revision)
        return found

    @api.delete("/{webhook}", status_code=204, dependencies=known)
    async def delete(principal: Edits, webhook: EndpointId, if_match: IfMatch = "") -> None:
        """Delete a webhook with all that waits for it."""
        async with tenant_transaction(database, principal.tenant_id) as session:
            check_match(if_match, (await _endpoint(session, webhook, lock=True))["revision"])
            await session.execute("DELETE FROM webhook_endpoint WHERE endpoint_id = $1", webhook)


def _add_rotation(api: APIRouter, database: Database, clock: Clock) -> None:
    @api.post("/{webhook}/rotate-secret", dependencies=[Depends(only_known_parameters)])
    async def rotate(
        principal: Edits, webhook: EndpointId, request: SecretRotation, key: IdempotencyKey, response: Response
    ) -> EndpointAnswer:
        """Sign with a new secret from now on; the answer has it, once. Receivers have the overlap to take it over.

        Meanwhile each event has a signature by either (``webhook-signature: v1,… v1,…``).
        """
        secret, is_new = _new_secret(), False
        async with tenant_transaction(database, principal.tenant_id) as session:

            async def do() -> dict[str, Any]:
                nonlocal is_new
                is_new = True
                await _rotate(session, await _endpoint(session, webhook, lock=True), secret, request.overlap_s)
                about = {"overlap_s": request.overlap_s}
                deed = audit.Deed(
                    clock.now_ns() // 1_000_000, principal.subject, "webhook secret rotated", webhook, about
                )
                await audit.tell(session, principal.tenant_id, deed)
                return _answer(await _endpoint(session, webhook)).model_dump(mode="json")

            said = {"webhook": webhook, **request.model_dump(mode="json")}
            made = await once(session, Asked(principal, "POST /webhooks/rotate-secret", key, said), do)
        found = EndpointAnswer.model_validate(made)
        response.headers["ETag"] = etag(found.revision)
        return found.model_copy(update={"secret": secret}) if is_new else found


async def _rotate(session: Session, row: Row, secret: str, overlap_s: int) -> None:
    """The endpoint in ``row`` has ``secret`` from now on; of those before, the newest sign too, for ``overlap_s``."""
    await session.execute(
        "DELETE FROM webhook_old_secret WHERE endpoint_id = $1 AND (until <= now() OR $2 = 0 OR secret IN "
        "(SELECT secret FROM webhook_old_secret WHERE endpoint_id = $1 ORDER BY until DESC OFFSET $3))",
        row["endpoint_id"],
        overlap_s,
        OLD_SECRETS_MAX - 1,
    )
    if overlap_s:
        await session.execute(
            "INSERT INTO webhook_old_secret (tenant_id, endpoint_id, secret, until) "
            "VALUES ($1, $2, $3, now() + make_interval(secs => $4))",
            row["tenant_id"],
            row["endpoint_id"],
            row["secret"],
            float(overlap_s),
        )
    await session.execute(
        "UPDATE webhook_endpoint SET secret = $2, revision = revision + 1 WHERE endpoint_id = $1",
        row["endpoint_id"],
        secret,
    )


def _new_secret() -> str:
    return f"whsec_{base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()}"


def _add_deliveries(api: APIRouter, database: Database) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/{webhook}/deliveries", dependencies=known)
    async def deliveries(
        principal: Edits, webhook: EndpointId, after: After = "", limit: Limit = LIMIT
    ) -> DeliveryPage:
        """What was posted to a webhook, or waits to be, the newest first."""
        async with tenant_session(database, principal.tenant_id) as session:
            await _endpoint(session, webhook)
            rows = await session.fetch(
                "SELECT delivery_id AS id, type, state, tries, next_try, status, reason, created, changed "
                "FROM webhook_delivery WHERE endpoint_id = $1 AND ($2 = '' OR delivery_id < $2) "
                "ORDER BY delivery_id DESC LIMIT $3",
                webhook,
                after,
                limit + 1,
            )
        some, following = page(rows, limit, lambda row: str(row["id"]))
        return DeliveryPage(deliveries=[DeliveryAnswer.model_validate(dict(row)) for row in some], next=following)

    @api.post("/{webhook}/deliveries/{delivery}/retry", dependencies=known)
    async def retry(principal: Edits, webhook: EndpointId, delivery: DeliveryId) -> DeliveryAnswer:
        """Post an event at once that waits, or once more: it has the same id."""
        async with tenant_transaction(database, principal.tenant_id) as session:
            rows = await session.fetch(
                "UPDATE webhook_delivery SET state = 'waiting', next_try = now(), changed = now() "
                "WHERE endpoint_id = $1 AND delivery_id = $2 "
                "RETURNING delivery_id AS id, type, state, tries, next_try, status, reason, created, changed",
                webhook,
                delivery,
            )
            if not rows:
                raise RequestRefused(Why.UNKNOWN, "unknown_delivery", f"there is no delivery {delivery}")
            await session.fetch("SELECT pg_notify($1, '')", CHANNEL)
            return DeliveryAnswer.model_validate(dict(rows[0]))


async def _endpoint(session: Session, endpoint_id: str, *, lock: bool = False) -> Row:
    rows = await session.fetch(_ONE_LOCKED if lock else _ONE, endpoint_id)
    if not rows:
        raise RequestRefused(Why.UNKNOWN, "unknown_webhook", f"there is no webhook {endpoint_id}")
    return rows[0]


async def _look_at(poster: WebhookPoster, url: str) -> None:
    try:
        await poster.check(url)
    except (CallRefused, VendorUnavailable) as exc:
        raise RequestRefused(Why.INVALID, "address_not_allowed", str(exc)) from exc


def _answer(row: Row) -> EndpointAnswer:
    return EndpointAnswer(
        id=row["endpoint_id"],
        url=row["url"],
        events=list(row["events"]),
        description=row["description"],
        enabled=row["enabled"],
        disabled_reason=row["disabled_reason"],
        failing_since=row["failing_since"],
        waiting=row["waiting"],
        revision=row["revision"],
        old_secret_until=row["old_secret_until"],
        created=row["created"],
        created_by=row["created_by"],
    )
