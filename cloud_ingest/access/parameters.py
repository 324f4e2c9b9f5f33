"""What every route holds its requests to."""

from __future__ import annotations

from fastapi import Request

from cloud_ingest.access.span import QuestionInvalid


async def only_known_parameters(request: Request) -> None:
    """Refuse a request with a parameter that the route does not have: a misspelt one would be ignored silently.

    It waits for nothing, and is asynchronous all the same: FastAPI has threads do what is not.
    """
    known = {parameter.alias for parameter in request.scope["route"].dependant.query_params}
    if unknown := sorted(set(request.query_params) - known):
        raise QuestionInvalid(f"there is no parameter {', '.join(unknown)} here; known are {', '.join(sorted(known))}")
