"""What all answers of the API are, and what an answer is that says why nothing was done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json
from starlette.responses import Response


class Answer(BaseModel):
    """Part of an answer; further fields may be added within a version, none is removed or changes its meaning."""

    model_config = ConfigDict(frozen=True)


class FieldProblem(Answer):
    """What is wrong with one field of a request."""

    field: Annotated[str, Field(description="Where it stands", examples=["lines.0.quantity"])]
    message: Annotated[str, Field(examples=["Input should be greater than 0"])]


class ProblemAnswer(Answer):
    """An error, as RFC 9457 has it (application/problem+json)."""

    type: str = "about:blank"
    title: Annotated[str, Field(examples=["Not found"])]
    status: Annotated[int, Field(examples=[404])]
    detail: Annotated[str, Field(description="For people: what, where, and what to do")]
    code: Annotated[str, Field(description="For programs, where there is one; it stays as it is")] = ""
    request_id: Annotated[str, Field(description="As in X-Request-Id, and in the log of the gateway")] = ""
    errors: Annotated[list[FieldProblem], Field(description="By field, where single ones are wrong")] = []


def long_answer(document: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Response:
    """An answer with hundreds of parts, made as its model says without making a model of each of them.

    ``document`` has the fields of the model (or of each in a list of them), in their order and of their types; the test
    of its route compares them.
    """
    return Response(to_json(document, inf_nan_mode="null"), media_type="application/json")
