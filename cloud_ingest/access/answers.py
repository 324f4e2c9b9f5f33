"""What all answers of the API are, and what an answer is that says why nothing was done."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Part of an answer; further fields may be added within a version, none is removed or changes its meaning."""

    model_config = ConfigDict(frozen=True)


class ProblemAnswer(Answer):
    """An error, as RFC 9457 has it (application/problem+json)."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: Annotated[str, Field(description="For programs, where there is one; it stays as it is")] = ""
