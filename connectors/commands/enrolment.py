"""What an agent and the cloud say to each other once, over HTTPS, before either trusts the other (docs/protocol).

The agent's request is a JWS by its own new key, which stands in it: so whoever sent it has the private half. The token
in it says that a person wants this agent enrolled.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from connectors.commands.refusals import Refusal
from connectors.commands.reports import KeyId, Record, read_record
from connectors.commands.signing import SignatureRefused, SigningKey, TrustedKeys, unverified
from connectors.model.errors import PayloadInvalid

PATH: Final = "/api/v1/enrolments"
TOKEN_PREFIX: Final = "lineside_enrol_"  # noqa: S105  what it begins with
"""By which a token is recognised where it should not be: in a log, in a repository."""
TOKEN_CHARS_MAX: Final = 200
SEALED_CHARS_MAX: Final = 8192
AGENT_CHARS_MAX: Final = 511


class EnrolmentRequest(Record):
    """``agent`` is group/name, ``key`` the public JSON Web Key that has signed the request.

    ``signs``: the agent signs what it says of commands with it, so that what is not signed is not the agent's.
    """

    version: Literal[1] = 1
    token: Annotated[str, Field(max_length=TOKEN_CHARS_MAX)]
    agent: Annotated[str, Field(max_length=AGENT_CHARS_MAX)]
    key: dict[str, Any]
    signs: bool = False


class EnrolmentAnswer(Record):
    """What the agent is enrolled as, and the keys of the cloud that it is to trust, by their ids."""

    version: Literal[1] = 1
    agent: Annotated[str, Field(max_length=AGENT_CHARS_MAX)]
    key_id: KeyId
    keys: Annotated[dict[KeyId, dict[str, Any]], Field(min_length=1, max_length=10)]


def sealed_request(key: SigningKey, token: str, agent: str) -> str:
    """The request of ``agent`` to be enrolled with ``key``."""
    request = EnrolmentRequest(token=token, agent=agent, key=key.public_jwk(), signs=True)
    return key.sign("lineside-enrolment", request.to_json())


def read_request(sealed: str) -> tuple[EnrolmentRequest, str]:
    """A request, and the id of the key that has signed it, which is the one that it names.

    Raises ``SignatureRefused`` when it was not, and ``PayloadInvalid`` when it is no request.
    """
    if len(sealed) > SEALED_CHARS_MAX:
        raise PayloadInvalid(f"it has more than {SEALED_CHARS_MAX} characters")
    key_id, document = unverified(sealed)
    request = read_record(EnrolmentRequest, document)
    try:
        own = TrustedKeys({key_id: request.key})
    except ValueError as exc:
        raise SignatureRefused(Refusal.BAD_SIGNATURE, str(exc)) from exc
    own.verify("lineside-enrolment", sealed)
    return request, key_id


def check_answer(answer: EnrolmentAnswer, agent: str, key_id: str) -> TrustedKeys:
    """The keys that ``answer`` names. Raises ``PayloadInvalid`` when it is not one for ``agent`` with ``key_id``."""
    if (answer.agent, answer.key_id) != (agent, key_id):
        raise PayloadInvalid(f"it is for {answer.agent!r} with the key {answer.key_id}")
    try:
        return TrustedKeys(answer.keys)
    except ValueError as exc:
        raise PayloadInvalid(str(exc)) from exc
