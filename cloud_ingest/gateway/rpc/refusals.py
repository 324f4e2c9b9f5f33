"""Errors as gRPC has them: a canonical status, a sentence, and google.rpc details with the code that stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from pydantic import ValidationError

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.span import QuestionInvalid
from cloud_ingest.gateway import queries
from cloud_ingest.gateway.problems import BAD_DATA, CANCELLED, CONFLICTING, FIELDS_MAX, RETRY_AFTER_S
from connectors.model.error_groups import leaves
from connectors.model.errors import DatabaseUnavailable, StatementRefused

DOMAIN: Final = "lineside"
DETAILS: Final = "grpc-status-details-bin"
CODE_FIELD: Final = "lineside-code"
SENTENCE_CHARS_MAX: Final = 1000
"""Metadata of an answer are bounded by clients, at 8 KiB unless they say otherwise."""
STATUS_OF: Final = {
    Why.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Why.NO_TOKEN: grpc.StatusCode.UNAUTHENTICATED,
    Why.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Why.UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Why.CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    Why.CHANGED: grpc.StatusCode.ABORTED,
    Why.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Why.UNSEEN: grpc.StatusCode.FAILED_PRECONDITION,
    Why.TOO_MANY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Why.NOT_SET_UP: grpc.StatusCode.FAILED_PRECONDITION,
}
"""What a client does next (https://grpc.io/docs/guides/status-codes): UNAVAILABLE alone is asked again as it is."""
_DEFECT: Final = "a defect of this program: please report it, with what the gateway's log says of this x-request-id"


class Stopping(Exception):
    """This process stops: the client connects to another one, or again."""


class TakesNothing(Exception):
    """The client has a stream, and reads nothing of it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """How a call ends that is not done. ``fields``: what is wrong with single ones, as (field, message)."""

    status: grpc.StatusCode
    code: str
    sentence: str
    retry_after_s: float | None = None
    fields: Sequence[tuple[str, str]] = ()
    is_defect: bool = False

    def metadata(self, request_id: str) -> list[tuple[str, str | bytes]]:
        """What the client is told at the end of the call, beside status and sentence."""
        told: list[tuple[str, str | bytes]] = [("x-request-id", request_id), (DETAILS, self._details(request_id))]
        return [*told, (CODE_FIELD, self.code)] if self.code else told

    def _details(self, request_id: str) -> bytes:
        info = error_details_pb2.ErrorInfo(reason=self.code, domain=DOMAIN, metadata={"request_id": request_id})
        details: list[Any] = [info]
        if self.retry_after_s is not None:
            wait = Duration()
            wait.FromMilliseconds(round(1000 * self.retry_after_s))
            details.append(error_details_pb2.RetryInfo(retry_delay=wait))
        if self.fields:
            request = error_details_pb2.BadRequest()
            for field, message in self.fields:
                request.field_violations.add(field=field, description=message)
            details.append(request)
        status = status_pb2.Status(code=self.status.value[0], message=self.sentence)
        for detail in details:
            packed = AnyMessage()
            packed.Pack(detail)
            status.details.append(packed)
        return bytes(status.SerializeToString())


def refusal_of(error: Exception) -> Refusal:
    """How a call ends by ``error``; of several at once, a defect of ours decides before what was expected."""
    found = [_one(leaf) for leaf in leaves(error)]
    return next((refusal for refusal in found if refusal.is_defect), found[0])


def _one(error: Exception) -> Refusal:
    match error:
        case RequestRefused():
            return Refusal(STATUS_OF[error.why], error.code, _cut(str(error)), error.retry_after_s)
        case QuestionInvalid():
            return Refusal(grpc.StatusCode.INVALID_ARGUMENT, "", _cut(str(error)))
        case ValidationError():
            return _invalid(error)
        case queries.NotFound():
            sentence = f"{error}; ListTags lists what there is"
            return Refusal(grpc.StatusCode.NOT_FOUND, "unknown_tag", _cut(sentence))
        case DatabaseUnavailable():
            return Refusal(grpc.StatusCode.UNAVAILABLE, "", _cut(str(error)), RETRY_AFTER_S)
        case Stopping():
            sentence = "this process of the gateway stops: connect again"
            return Refusal(grpc.StatusCode.UNAVAILABLE, "stopping", sentence, RETRY_AFTER_S)
        case TakesNothing():
            sentence = "you take nothing: connect again, and read what comes"
            return Refusal(grpc.StatusCode.ABORTED, "takes_nothing", sentence)
        case TimeoutError():
            sentence = "it takes too long: ask for less, or later"
            return Refusal(grpc.StatusCode.DEADLINE_EXCEEDED, "too_slow", sentence)
        case StatementRefused():
            return _statement(error)
        case _:
            return Refusal(grpc.StatusCode.INTERNAL, "defect", _DEFECT, is_defect=True)


def _invalid(error: ValidationError) -> Refusal:
    fields = [(".".join(map(str, one["loc"])), _cut(one["msg"])) for one in error.errors()[:FIELDS_MAX]]
    sentence = "; ".join(f"{field}: {message}" if field else message for field, message in fields[:5])
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, "", _cut(sentence), fields=fields[:10])


def _statement(error: StatementRefused) -> Refusal:
    if error.sqlstate.startswith(BAD_DATA):
        sentence = f"the database does not take a value of this request: {error}"
        return Refusal(grpc.StatusCode.INVALID_ARGUMENT, "", _cut(sentence))
    if error.sqlstate == queries.UNDEFINED_TABLE:
        return Refusal(grpc.StatusCode.UNAVAILABLE, "", queries.NOT_MIGRATED, RETRY_AFTER_S)
    if error.sqlstate.startswith(CONFLICTING) or error.sqlstate == CANCELLED:
        sentence = "others have changed the same at the same time, and nothing was done: ask again"
        return Refusal(grpc.StatusCode.ABORTED, "try_again", sentence, RETRY_AFTER_S)
    return Refusal(grpc.StatusCode.INTERNAL, "defect", _DEFECT, is_defect=True)


def _cut(sentence: str) -> str:
    return sentence if len(sentence) <= SENTENCE_CHARS_MAX else f"{sentence[: SENTENCE_CHARS_MAX - 1]}…"
