"""The routes of device files: which versions were asked for, what became of them, and what is in them."""

from datetime import datetime
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import PlainTextResponse
from pydantic import Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.sight import check_agent
from cloud_ingest.commands import files
from cloud_ingest.gateway.commands import PROBLEMS, Reader
from connectors.ports.database import Database

VERSION_MAX: Final = (1 << 31) - 1
AgentQuery = Annotated[str, Query(description="group/name", examples=["plant-7/line-3"])]


class FileVersionAnswer(Answer):
    """A version of a device file that was asked for; sent as the command ``command``, which says what became of it."""

    name: Annotated[str, Field(examples=["devices/oven.yaml"])]
    version: int
    sha256: str
    state: Literal["desired", "applied", "refused", "rolled_back", "unknown"]
    message: Annotated[str, Field(description="Why, in the agent's words")]
    issuer: str
    requested: datetime
    changed: datetime
    command: str


def device_file_routes(database: Database) -> APIRouter:
    """The routes below ``/api/v1/device-files``; a version is asked for as a command (POST /api/v1/commands)."""
    api = APIRouter(
        prefix="/api/v1/device-files",
        tags=["Commands"],
        responses=PROBLEMS,
        dependencies=[Depends(only_known_parameters)],
    )

    @api.get("")
    async def versions(principal: Reader, agent: AgentQuery, name: str | None = None) -> list[FileVersionAnswer]:
        """The versions of an agent's device files, by name, the newest first."""
        check_agent(principal, Permission.COMMANDS_READ, agent)
        rows = await files.versions(database, principal.tenant_id, agent, name)
        return [FileVersionAnswer.model_validate(row) for row in rows]

    @api.get("/content", response_class=PlainTextResponse)
    async def content(
        principal: Reader, agent: AgentQuery, name: str, version: Annotated[int, Query(ge=1, le=VERSION_MAX)]
    ) -> str:
        """What is in a version."""
        check_agent(principal, Permission.COMMANDS_READ, agent)
        return await files.content(database, principal.tenant_id, agent, name, version)

    return api
