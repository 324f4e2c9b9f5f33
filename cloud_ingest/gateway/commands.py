"""The routes of commands. Each needs to know who asks: they stand as issuer, approver or actor for ever."""

import functools
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Response, WebSocket

from cloud_ingest.access.admission import who_asks
from cloud_ingest.access.answers import long_answer
from cloud_ingest.access.elsewhere import not_theirs
from cloud_ingest.access.needs import Needs, socket_needs
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.planned_routes import PlannedRoute
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.sight import Sight, check_agent, sight_of
from cloud_ingest.access.tenancy import TenantDatabase
from cloud_ingest.commands import questions
from cloud_ingest.commands.command_request import CommandRequest
from cloud_ingest.commands.requests import Requests
from cloud_ingest.commands.rules import permission_of
from cloud_ingest.gateway.command_answers import CommandedAgent, CommandPage, CommandWithStates, Decision
from cloud_ingest.gateway.command_stream import CommandStream
from connectors.commands.envelope import ULID_PATTERN
from connectors.commands.states import CommandState
from connectors.ports.database import Database

PAGE_MAX: Final = 1000
_MEANING: Final = {
    400: "The request cannot be understood, or its value does not fit the tag",
    401: "There is no token, or it does not hold",
    403: "The token is not good for this",
    404: "There is no such thing",
    409: "It cannot be done as things stand",
    413: "The request is too large",
    429: "Too many commands are open",
    503: "The database cannot be used now, or there is no signing key",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": meaning} for status, meaning in _MEANING.items()
}

Reader = Annotated[Principal, Depends(Needs(Permission.COMMANDS_READ))]
CommandId = Annotated[str, Path(pattern=ULID_PATTERN, description="Id of the command")]
KeyHeader = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        description="The same key with the same request gets the same command; with another request 409",
        examples=["4f6d0c4e-8a1b-4a57-9a36-1f6b0a3f8f11"],
    ),
]


def command_routes(database: Database, requests: Requests) -> APIRouter:
    """The routes below ``/api/v1/commands``."""
    api = APIRouter(
        prefix="/api/v1/commands",
        tags=["Commands"],
        responses=PROBLEMS,
        route_class=PlannedRoute,
    )
    known = [Depends(only_known_parameters)]

    @api.post("", status_code=202, dependencies=known)
    async def send(
        response: Response,
        command: CommandRequest,
        principal: Annotated[Principal, Depends(Needs(Permission.COMMANDS_SEND))],
        key: KeyHeader = "",
    ) -> CommandWithStates:
        """Ask for a command. It is taken, not done: its states say what becomes of it.

        After an error or a time-out, ask again with the same Idempotency-Key: it is never done twice.
        What is for the agent itself needs the permission agents:configure.
        """
        taken = await take_command(requests, principal, command, key)
        response.headers["Location"] = f"/api/v1/commands/{taken}"
        return await _one(database, principal, taken)

    @api.get("", dependencies=known, response_model=CommandPage)
    async def commands(
        principal: Reader,
        agent: Annotated[str | None, Query(description="group/name", examples=["plant-7/line-3"])] = None,
        state: CommandState | None = None,
        issuer: str | None = None,
        before: Annotated[str | None, Query(pattern=ULID_PATTERN, description="The 'next' of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    ) -> Response:
        """Commands, the newest first, a page at a time."""
        sight = sight_of(principal, Permission.COMMANDS_READ)
        choice = questions.CommandChoice(agent, None if state is None else state.value, issuer, before, limit, sight)
        rows = await questions.commands(TenantDatabase(database, principal.tenant_id), choice)
        return long_answer({"commands": rows, "next": rows[-1]["id"] if len(rows) == limit else None})

    @api.get("/agents", dependencies=known)
    async def agents(principal: Reader) -> list[CommandedAgent]:
        """The agents that take commands: whether their journals are whole, and what operators have locked."""
        seen = TenantDatabase(database, principal.tenant_id)
        rows = await questions.agents(seen, sight_of(principal, Permission.COMMANDS_READ))
        return [CommandedAgent.model_validate(row) for row in rows]

    command_stream = CommandStream(database, functools.partial(who_asks, permission=Permission.COMMANDS_READ))

    @api.websocket("/stream")
    @socket_needs(Permission.COMMANDS_READ)
    async def stream(socket: WebSocket, since: int | None = None) -> None:
        await command_stream.serve(socket, since)

    _add_one(api, database, requests)
    return api


def _add_one(api: APIRouter, database: Database, requests: Requests) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/{id}", dependencies=known)
    async def command(id: CommandId, principal: Reader) -> CommandWithStates:  # noqa: A002  the name is the API's
        """One command with all its states."""
        return await _one(database, principal, id)

    @api.post("/{id}/approve", dependencies=known)
    async def approve(
        id: CommandId,  # noqa: A002
        principal: Annotated[Principal, Depends(Needs(Permission.COMMANDS_APPROVE))],
        decision: Decision | None = None,
    ) -> CommandWithStates:
        """Agree to a command that somebody else has asked for."""
        await _check(database, principal, Permission.COMMANDS_APPROVE, id)
        reason = "" if decision is None else decision.reason
        await requests.approve(id, tenant_id=principal.tenant_id, approver=principal.actor, reason=reason)
        return await _one(database, principal, id)

    @api.post("/{id}/cancel", dependencies=known)
    async def cancel(
        id: CommandId,  # noqa: A002
        principal: Annotated[Principal, Depends(Needs(Permission.COMMANDS_SEND))],
        decision: Decision | None = None,
    ) -> CommandWithStates:
        """Take a command back: at once while it was not sent, else by its agent, which tells what became of it."""
        await cancel_command(database, requests, principal, id, "" if decision is None else decision.reason)
        return await _one(database, principal, id)


async def take_command(requests: Requests, principal: Principal, command: CommandRequest, key: str) -> str:
    """The id of the command that ``principal`` asks for, by whatever protocol. Raises ``RequestRefused``."""
    permission = permission_of(command.action)
    if not principal.may_somewhere(permission):
        raise not_theirs(principal, permission)
    check_agent(principal, permission, command.agent)
    taken = await requests.take(command, tenant_id=principal.tenant_id, issuer=principal.actor, key=key)
    return taken.command


async def cancel_command(
    database: Database, requests: Requests, principal: Principal, command: str, reason: str
) -> None:
    """Take ``command`` back for ``principal``, by whatever protocol they ask. Raises ``RequestRefused``."""
    await _check(database, principal, Permission.COMMANDS_SEND, command)
    await requests.cancel(command, tenant_id=principal.tenant_id, actor=principal.actor, reason=reason)


async def _one(database: Database, principal: Principal, command: str) -> CommandWithStates:
    seen = TenantDatabase(database, principal.tenant_id)
    found = await questions.command(seen, command, sight_of(principal, Permission.COMMANDS_READ))
    return CommandWithStates.model_validate(found)


async def _check(database: Database, principal: Principal, permission: Permission, command: str) -> None:
    """Raises ``RequestRefused`` unless the agent of ``command`` is one where ``principal`` may do that."""
    found = await questions.command(database, command, Sight(principal.tenant_id))
    check_agent(principal, permission, found["agent"])
