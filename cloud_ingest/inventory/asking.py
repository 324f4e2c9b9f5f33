"""What every route of inventory does alike: who may where, and what is made once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from cloud_ingest.access.answers import Answer
from cloud_ingest.access.idempotency import Asked, once
from cloud_ingest.access.needs import Needs, refuse_elsewhere
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.event_log.announcing import UnitOfWork, unit_of_work
from cloud_ingest.inventory.items import Place
from connectors.ports.database import Database

Reader = Annotated[Principal, Depends(Needs(Permission.INVENTORY_READ))]
Booker = Annotated[Principal, Depends(Needs(Permission.INVENTORY_BOOK))]
Editor = Annotated[Principal, Depends(Needs(Permission.INVENTORY_EDIT))]
_MEANING: Final = {
    400: "The request cannot be understood",
    401: "There is no token, or it does not hold",
    403: "The role of who asks is not good for this, or not there",
    404: "There is no such thing",
    409: "It cannot be done as things stand",
    503: "The database cannot be used now",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": meaning} for status, meaning in _MEANING.items()
}
CHANGED: Final[dict[int | str, dict[str, Any]]] = {
    412: {"description": "It was changed since it was seen (If-Match)"},
    428: {"description": "Say what was seen (If-Match)"},
}


def router(path: str) -> APIRouter:
    """Routes below ``/api/v1/<path>``."""
    return APIRouter(
        prefix=f"/api/v1/{path}",
        tags=["Inventory"],
        responses=PROBLEMS,
        dependencies=[Depends(only_known_parameters)],
    )


def sites_of(principal: Principal, permission: Permission = Permission.INVENTORY_READ) -> list[str] | None:
    """The sites whose stock they may see; ``None`` for all, with what belongs to no site."""
    places = principal.places(permission)
    return None if places is None else sorted({site for site, _ in places})


def refuse_unless_there(principal: Principal, permission: Permission, places: Iterable[Place]) -> None:
    """Raises ``RequestRefused`` when they may not do it at one of ``places``; accounts are everywhere."""
    for place in places:
        if place.kind != "account":
            refuse_elsewhere(principal, permission, place.site or "")


async def made_once(
    database: Database,
    principal: Principal,
    asked: tuple[str, str, BaseModel],
    do: Callable[[UnitOfWork], Awaitable[Answer]],
) -> JSONResponse:
    """What ``do`` answers to ``asked`` (route, Idempotency-Key, request), in one transaction with its events."""
    route, key, request = asked

    async def answer() -> Any:
        return (await do(work)).model_dump(mode="json", by_alias=True)

    async with unit_of_work(database, principal.tenant_id) as work:
        said = Asked(principal, route, key, request.model_dump(mode="json", by_alias=True))
        document = await once(work.session, said, answer)
    return JSONResponse(document, status_code=201)


def now() -> datetime:
    """What time it is."""
    return datetime.now(UTC)
