"""The routes of the model of a plant: every part is read, made, changed and removed in the same way."""

from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Response
from pydantic import Field, create_model

from cloud_ingest.access.answers import Answer
from cloud_ingest.access.elsewhere import not_theirs
from cloud_ingest.access.etags import IfMatch, check_match, etag
from cloud_ingest.access.needs import Needs, refuse_elsewhere
from cloud_ingest.access.pages import LIMIT, After, Limit, page
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.tenancy import tenant_session, tenant_transaction
from cloud_ingest.lines import equipment
from cloud_ingest.lines.catching_up import catch_up
from cloud_ingest.lines.equipment import Equipment, EquipmentKey, tags_of
from cloud_ingest.lines.line_routes import PROBLEMS, Line, Site
from cloud_ingest.lines.model import MODELS, EquipmentKind, LineModel
from cloud_ingest.lines.model_types import CODE_PATTERN, written
from connectors.ports.database import Database

Reader = Annotated[Principal, Depends(Needs(Permission.LINES_READ))]
Engineer = Annotated[Principal, Depends(Needs(Permission.LINES_MODEL))]
_CODES: Final = {
    "enterprise": "acme", "site": "plant-7", "area": "hall-1", "line": "press-1", "cell": "feeder",
    "calendar": "two-shifts", "reason": "technical",
}  # fmt: skip
Key = Callable[..., EquipmentKey]


class PartAnswer(Answer):
    """A part of a plant, as it was written, and when it was."""

    site: Annotated[str, Field(description="Empty for an enterprise", examples=["plant-7"])]
    code: Annotated[str, Field(examples=["press-1"])]
    revision: Annotated[int, Field(description="Its ETag")]
    changed: Annotated[datetime, Field(examples=["2026-11-22T08:00:00Z"])]
    changed_by: Annotated[str, Field(examples=["anna"])]


def equipment_routes(database: Database) -> APIRouter:
    """The routes of enterprises, sites, areas, lines, cells, calendars and reasons."""
    api = APIRouter(prefix="/api/v1", tags=["Plant"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)])
    _add_top(api, database, "enterprise", "/enterprises", lambda code: EquipmentKey("", "enterprise", code))
    _add_top(api, database, "site", "/sites", lambda code: EquipmentKey(code, "site", code))
    for kind, plural in (("area", "areas"), ("calendar", "calendars"), ("reason", "reasons")):
        _add_of_site(api, database, kind, plural)  # type: ignore[arg-type]
    _add_line_model(api, database)
    _add_cells(api, database)
    return api


def _answer_of(kind: EquipmentKind) -> type[PartAnswer]:
    made: Any = create_model(
        f"{kind.capitalize()}Answer",
        __base__=PartAnswer,
        __doc__=f"The {kind}, and when it was written.",
        model=(MODELS[kind], ...),
    )
    return made  # type: ignore[no-any-return]


def _page_of(kind: EquipmentKind, plural: str, answer: type[PartAnswer]) -> Any:
    fields: Any = {plural: (list[answer], ...), "next": (str | None, ...)}  # type: ignore[valid-type]
    name = f"{kind.capitalize()}Page"
    return create_model(name, __base__=Answer, __doc__=f"The {plural} by code.", **fields)


def _told(found: Equipment) -> dict[str, Any]:
    return {
        "site": found.key.site,
        "code": found.key.code,
        "revision": found.revision,
        "changed": found.changed,
        "changed_by": found.changed_by,
        "model": written(found.model),
    }


async def _show(database: Database, principal: Principal, key: EquipmentKey, response: Response) -> dict[str, Any]:
    async with tenant_session(database, principal.tenant_id) as session:
        found = await equipment.part(session, principal.tenant_id, key)
    response.headers["ETag"] = etag(found.revision)
    return _told(found)


async def _list(
    database: Database, principal: Principal, kind: EquipmentKind, site: str | None, after: str, limit: int
) -> tuple[list[dict[str, Any]], str | None]:
    last_site, _, last_code = after.partition("/")
    async with tenant_session(database, principal.tenant_id) as session:
        found = await equipment.parts(session, principal.tenant_id, kind, site, after=(last_site, last_code))
    places = principal.places(Permission.LINES_READ)
    sites = None if places is None else {place for place, _ in places}
    seen = [one for one in found if sites is None or one.key.site in sites or not one.key.site][: limit + 1]
    rows, following = page(seen, limit, lambda one: f"{one.key.site}/{one.key.code}")
    return [_told(one) for one in rows], following


async def _put(
    database: Database, principal: Principal, key: EquipmentKey, model: Any, if_match: str, response: Response
) -> dict[str, Any]:
    """Make or change a part. One that is not there is made without If-Match, or with '*'."""
    if key.kind == "line":
        await catch_up(database, principal.tenant_id, key.site, key.code)
    async with tenant_transaction(database, principal.tenant_id) as session:
        await equipment.lock_site(session, principal.tenant_id, key.site)
        before = await equipment.find(session, principal.tenant_id, key)
        if before is not None:
            check_match(if_match, before.revision)
        elif if_match.strip() not in ("", "*"):
            why = f"{key} was removed since, or was never there: send no If-Match to make it"
            raise RequestRefused(Why.CHANGED, "changed_since", why)
        _refuse_tags_elsewhere(principal, model, None if before is None else before.model)
        await equipment.put(session, principal.tenant_id, key, model, principal.name)
        found = await equipment.part(session, principal.tenant_id, key)
    response.status_code = 200 if before is not None else 201
    response.headers["ETag"] = etag(found.revision)
    return _told(found)


async def _remove(database: Database, principal: Principal, key: EquipmentKey, if_match: str) -> None:
    if key.kind == "line":
        await catch_up(database, principal.tenant_id, key.site, key.code)
    async with tenant_transaction(database, principal.tenant_id) as session:
        await equipment.lock_site(session, principal.tenant_id, key.site)
        found = await equipment.part(session, principal.tenant_id, key)
        check_match(if_match, found.revision)
        await equipment.remove(session, principal.tenant_id, key)


def _refuse_tags_elsewhere(principal: Principal, model: Any, before: Any) -> None:
    """Who describes a line reads its tags by it: those that it had before, and those of agents that they may read."""
    if not isinstance(model, LineModel):
        return
    known = set(tags_of(before).values()) if isinstance(before, LineModel) else set()
    for tag in sorted(set(tags_of(model).values()) - known):
        group, agent, _ = tag.split("/", 2)
        refuse_elsewhere(principal, Permission.DATA_READ, group, agent)


def _see_site(principal: Principal, site: str) -> None:
    """What is of a site is seen by all who have a role at a line of it: without reasons nobody explains a stop."""
    places = principal.places(Permission.LINES_READ)
    if places is not None and site not in {at for at, _ in places}:
        raise not_theirs(principal, Permission.LINES_READ, f" at {site}")


def _may_model(principal: Principal, site: str, line: str | None = None) -> None:
    refuse_elsewhere(principal, Permission.LINES_MODEL, site, line)


def _add_top(api: APIRouter, database: Database, kind: EquipmentKind, path: str, key: Key) -> None:
    """An enterprise, or a site: who makes one may model everywhere."""
    model, answer = MODELS[kind], _answer_of(kind)
    pages = _page_of(kind, path[1:], answer)
    code_path: Any = Annotated[
        str, Path(alias=kind, pattern=CODE_PATTERN, description=f"Code of the {kind}", examples=[_CODES[kind]])
    ]
    one = f"{path}/{{{kind}}}"

    @api.get(path, response_model=pages, name=f"List {path[1:]}", description=f"The {path[1:]}, a page at a time.")
    async def parts(principal: Reader, after: After = "", limit: Limit = LIMIT) -> Any:
        rows, following = await _list(database, principal, kind, None, after, limit)
        return {path[1:]: rows, "next": following}

    _add_one(api, database, kind, one, (model, answer), code_path, key)


def _add_one(
    api: APIRouter,
    database: Database,
    kind: EquipmentKind,
    path: str,
    models: tuple[Any, Any],
    place: Any,
    key: Key,
) -> None:
    model: Any = models[0]
    answer: Any = models[1]

    async def show(principal: Reader, code: place, response: Response) -> Any:
        found = key(code)
        if kind == "site":
            _see_site(principal, code)
        return await _show(database, principal, found, response)

    async def put(principal: Engineer, code: place, request: model, response: Response, if_match: IfMatch = "") -> Any:
        _may_make(principal, kind, code)
        return await _put(database, principal, key(code), request, if_match, response)

    async def remove(principal: Engineer, code: place, if_match: IfMatch = "") -> None:
        _may_make(principal, kind, code)
        await _remove(database, principal, key(code), if_match)

    _add_three(api, kind, path, answer, (show, put, remove))


def _may_make(principal: Principal, kind: EquipmentKind, code: str) -> None:
    if kind == "site":
        _may_model(principal, code)
    elif principal.places(Permission.LINES_MODEL) is not None:
        raise RequestRefused(Why.FORBIDDEN, "not_your_role", "an enterprise is changed by who may model every site")


def _add_three(api: APIRouter, kind: str, path: str, answer: Any, routes: tuple[Callable[..., Any], ...]) -> None:
    """The routes that show, put and remove a part."""
    show, put, remove = routes
    show.__doc__ = f"One {kind}, as it was written."
    put.__doc__ = f"Make a {kind}, or change it: with the ETag that was seen as If-Match."
    remove.__doc__ = f"Remove a {kind}, while nothing is part of it or names it."
    more: dict[str, Any] = {"response_model": answer, "response_model_exclude_unset": True}
    api.add_api_route(path, show, methods=["GET"], name=f"Show {kind}", **more)
    made: dict[int | str, dict[str, Any]] = {201: {"model": answer, "description": "It was made"}}
    api.add_api_route(path, put, methods=["PUT"], name=f"Put {kind}", responses=made, **more)
    api.add_api_route(path, remove, methods=["DELETE"], name=f"Remove {kind}", status_code=204)


def _add_of_site(api: APIRouter, database: Database, kind: EquipmentKind, plural: str) -> None:
    model: Any = MODELS[kind]
    answer = _answer_of(kind)
    pages = _page_of(kind, plural, answer)
    place: Any = Annotated[
        str, Path(alias=kind, pattern=CODE_PATTERN, description=f"Code of the {kind}", examples=[_CODES[kind]])
    ]

    described = f"The {plural} of a site, a page at a time."

    @api.get(f"/sites/{{site}}/{plural}", response_model=pages, name=f"List {plural}", description=described)
    async def parts(principal: Reader, site: Site, after: After = "", limit: Limit = LIMIT) -> Any:
        _see_site(principal, site)
        rows, following = await _list(database, principal, kind, site, after, limit)
        return {plural: rows, "next": following}

    async def show(principal: Reader, site: Site, code: place, response: Response) -> Any:
        _see_site(principal, site)
        return await _show(database, principal, EquipmentKey(site, kind, code), response)

    async def put(
        principal: Engineer, site: Site, code: place, request: model, response: Response, if_match: IfMatch = ""
    ) -> Any:
        _may_model(principal, site)
        return await _put(database, principal, EquipmentKey(site, kind, code), request, if_match, response)

    async def remove(principal: Engineer, site: Site, code: place, if_match: IfMatch = "") -> None:
        _may_model(principal, site)
        await _remove(database, principal, EquipmentKey(site, kind, code), if_match)

    _add_three(api, kind, f"/sites/{{site}}/{plural}/{{{kind}}}", answer, (show, put, remove))


def _add_line_model(api: APIRouter, database: Database) -> None:
    model: Any = MODELS["line"]

    async def show(principal: Reader, site: Site, line: Line, response: Response) -> Any:
        refuse_elsewhere(principal, Permission.LINES_READ, site, line)
        return await _show(database, principal, EquipmentKey(site, "line", line), response)

    async def put(
        principal: Engineer, site: Site, line: Line, request: model, response: Response, if_match: IfMatch = ""
    ) -> Any:
        _may_model(principal, site, line)
        return await _put(database, principal, EquipmentKey(site, "line", line), request, if_match, response)

    async def remove(principal: Engineer, site: Site, line: Line, if_match: IfMatch = "") -> None:
        _may_model(principal, site, line)
        await _remove(database, principal, EquipmentKey(site, "line", line), if_match)

    answer: Any = create_model(
        "LineModelAnswer",
        __base__=PartAnswer,
        __doc__="A line as it was written, and when it was.",
        model=(model, ...),
    )
    _add_three(api, "line", "/sites/{site}/lines/{line}/model", answer, (show, put, remove))


def _add_cells(api: APIRouter, database: Database) -> None:
    model: Any = MODELS["cell"]
    place: Any = Annotated[
        str, Path(alias="cell", pattern=CODE_PATTERN, description="Code of the cell", examples=[_CODES["cell"]])
    ]

    async def show(principal: Reader, site: Site, line: Line, code: place, response: Response) -> Any:
        refuse_elsewhere(principal, Permission.LINES_READ, site, line)
        return await _show(database, principal, EquipmentKey(site, "cell", f"{line}/{code}"), response)

    async def put(
        principal: Engineer, site: Site, line: Line, code: place, request: model, response: Response,
        if_match: IfMatch = "",
    ) -> Any:  # fmt: skip
        _may_model(principal, site, line)
        return await _put(
            database, principal, EquipmentKey(site, "cell", f"{line}/{code}"), request, if_match, response
        )

    async def remove(principal: Engineer, site: Site, line: Line, code: place, if_match: IfMatch = "") -> None:
        _may_model(principal, site, line)
        await _remove(database, principal, EquipmentKey(site, "cell", f"{line}/{code}"), if_match)

    _add_three(api, "cell", "/sites/{site}/lines/{line}/cells/{cell}", _answer_of("cell"), (show, put, remove))
