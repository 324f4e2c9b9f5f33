"""The route by which an agent is enrolled. It needs no token of the API: the one-time token is in the request."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.commands.enrolment import Enrolments
from connectors.commands.enrolment import PATH, SEALED_CHARS_MAX

ADDRESS_CHARS_MAX: Final = 100
"""A proxy may have written anything."""
_MEANING: Final = {
    400: "The request cannot be read, or is not signed with its own key",
    401: "The token is none of this cloud's",
    403: "The token has expired, was replaced by a newer one, or is for another agent",
    409: "The token was used already, or the key was retired",
    429: "Too many requests from this address have failed",
    503: "The database cannot be used now, or the cloud has no signing key",
}
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": meaning} for status, meaning in _MEANING.items()
}


class Enrolment(BaseModel):
    """A request to be enrolled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    request: Annotated[
        str,
        Field(
            max_length=SEALED_CHARS_MAX,
            description="JWS (RFC 7515, Ed25519) of kind lineside-enrolment around {version, token, agent, key}, "
            "signed with the private half of 'key' (a public JSON Web Key)",
        ),
    ]


class Enrolled(Answer):
    """The agent is enrolled."""

    version: int
    agent: Annotated[str, Field(description="group/name", examples=["plant-7/line-3"])]
    key_id: Annotated[str, Field(description="Thumbprint (RFC 7638) of the agent's key")]
    keys: Annotated[dict[str, dict[str, Any]], Field(description="The cloud's keys that hold now, by thumbprint")]


def enrolment_routes(enrolments: Enrolments) -> APIRouter:
    """The route ``/api/v1/enrolments``."""
    api = APIRouter(tags=["Commands"], responses=_PROBLEMS, dependencies=[Depends(only_known_parameters)])

    @api.post(PATH, status_code=201)
    async def enrol(asked: Enrolment, request: Request) -> Enrolled:
        """Enrol an agent with a one-time token of 'cloud-ingest enrol', and get the keys of the cloud.

        The same request again, when its answer was lost, gets the same answer.
        """
        address = "" if request.client is None else request.client.host[:ADDRESS_CHARS_MAX]
        return Enrolled.model_validate((await enrolments.enrol(asked.request, address)).model_dump())

    return api
