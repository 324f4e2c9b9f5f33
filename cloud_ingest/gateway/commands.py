"""The routes of commands. Each needs a named token; its name is who has asked, approved or cancelled."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Response, WebSocket
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from cloud_ingest.access.answers import ProblemAnswer
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import questions, tokens
from cloud_ingest.commands.requests import CommandRequest, Requests
from cloud_ingest.commands.rules import Deed, deed_of, may
from cloud_ingest.commands.tokens import Holder
from cloud_ingest.gateway.command_answers import CommandedAgent, CommandPage, CommandWithStates, Decision
from cloud_ingest.gateway.command_stream import CommandStream
from connectors.commands.envelope import ULID_PATTERN
from connectors.commands.states import CommandState
from connectors.ports.database import Database

PAGE_MAX: Final = 1000
_BEARER: Final = HTTPBearer(auto_error=False, scheme_name="token", description="Of 'cloud-ingest token create'")
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
    status: {"model": ProblemAnswer, "description": meaning} for status, meaning in _MEANING.items()
}

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
    )
    known = [Depends(only_known_parameters)]

    @api.post("", status_code=202, dependencies=known)
    async def send(
        response: Response,
        command: CommandRequest,
        holder: Annotated[Holder, Depends(who_may(database, "send"))],
        key: KeyHeader = "",
    ) -> CommandWithStates:
        """Ask for a command. It is taken, not done: its states say what becomes of it.

        After an error or a time-out, ask again with the same Idempotency-Key: it is never done twice.
        """
        _check_deed(holder, deed_of(command.action))
        taken = await requests.take(command, issuer=holder.name, key=key)
        response.headers["Location"] = f"/api/v1/commands/{taken.command}"
        return await _one(database, taken.command)

    @api.get("", dependencies=[*known, Depends(who_may(database, "read"))])
    async def commands(
        agent: Annotated[str | None, Query(description="group/name", examples=["plant-7/line-3"])] = None,
        state: CommandState | None = None,
        issuer: str | None = None,
        before: Annotated[str | None, Query(pattern=ULID_PATTERN, description="The 'next' of the page before")] = None,
        limit: Annotated[int, Query(ge=1, le=PAGE_MAX)] = 100,
    ) -> CommandPage:
        """Commands, the newest first, a page at a time."""
        choice = questions.CommandChoice(agent, None if state is None else state.value, issuer, before, limit)
        rows = await questions.commands(database, choice)
        return CommandPage.model_validate({"commands": rows, "next": rows[-1]["id"] if len(rows) == limit else None})

    @api.get("/agents", dependencies=[*known, Depends(who_may(database, "read"))])
    async def agents() -> list[CommandedAgent]:
        """The agents that take commands: whether their journals are whole, and what operators have locked."""
        return [CommandedAgent.model_validate(row) for row in await questions.agents(database)]

    command_stream = CommandStream(database, lambda given: _shown(database, given, "read"))

    @api.websocket("/stream")
    async def stream(socket: WebSocket, since: int | None = None) -> None:
        await command_stream.serve(socket, since)

    _add_one(api, database, requests)
    return api


def _add_one(api: APIRouter, database: Database, requests: Requests) -> None:
    known = [Depends(only_known_parameters)]

    @api.get("/{id}", dependencies=[*known, Depends(who_may(database, "read"))])
    async def command(id: CommandId) -> CommandWithStates:  # noqa: A002  the name is the API's
        """One command with all its states."""
        return await _one(database, id)

    @api.post("/{id}/approve", dependencies=known)
    async def approve(
        id: CommandId,  # noqa: A002
        holder: Annotated[Holder, Depends(who_may(database, "approve"))],
        decision: Decision | None = None,
    ) -> CommandWithStates:
        """Agree to a command that somebody else has asked for."""
        await requests.approve(id, approver=holder.name, reason="" if decision is None else decision.reason)
        return await _one(database, id)

    @api.post("/{id}/cancel", dependencies=known)
    async def cancel(
        id: CommandId,  # noqa: A002
        holder: Annotated[Holder, Depends(who_may(database, "cancel"))],
        decision: Decision | None = None,
    ) -> CommandWithStates:
        """Take a command back: at once while it was not sent, else by its agent, which tells what became of it."""
        await requests.cancel(id, actor=holder.name, reason="" if decision is None else decision.reason)
        return await _one(database, id)


async def _one(database: Database, command: str) -> CommandWithStates:
    return CommandWithStates.model_validate(await questions.command(database, command))


def who_may(database: Database, deed: Deed) -> Callable[..., Awaitable[Holder]]:
    """The dependency that finds out who asks, and refuses who may not do ``deed``."""

    async def holder(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> Holder:
        return await _shown(database, None if shown is None else shown.credentials, deed)

    return holder


async def _shown(database: Database, token: str | None, deed: Deed) -> Holder:
    """Who shows ``token``. Raises ``RequestRefused`` when nobody does, or may not do ``deed``."""
    if token is None:
        raise RequestRefused(
            Why.NO_TOKEN, "no_token", "show a token (Authorization: Bearer …); 'cloud-ingest token create' makes one"
        )
    holder = await tokens.holder_of(database, token)
    if holder is None:
        raise RequestRefused(Why.NO_TOKEN, "unknown_token", "this token is none, or was revoked")
    _check_deed(holder, deed)
    return holder


def _check_deed(holder: Holder, deed: Deed) -> None:
    if not may(holder.role, deed):
        raise RequestRefused(
            Why.FORBIDDEN, "not_your_role", f"{holder.name!r} has the role {holder.role}, which may not {deed}"
        )
