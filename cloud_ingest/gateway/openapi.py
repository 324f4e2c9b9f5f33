"""The OpenAPI document: what FastAPI makes of the routes, completed by what holds for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from cloud_ingest.access.answers import FieldProblem, ProblemAnswer
from cloud_ingest.gateway.examples import example_of
from cloud_ingest.gateway.problems import PROBLEM_TYPE
from cloud_ingest.gateway.route_table import routes_of

_REFERENCE: Final = {"$ref": "#/components/schemas/ProblemAnswer"}
_METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})
_OF_ALL: Final = {
    "400": "The request cannot be understood, or a value is out of its bounds",
    "429": "Too many requests; Retry-After says when to ask again",
    "503": "The database cannot be reached or used now; ask again",
}
_OF_THOSE_WITH_LOGIN: Final = {
    "401": "There is no token, or it does not hold",
    "403": "The token is not good for this",
}
_DESCRIPTION: Final = """\
The one entry point of the platform. What holds for every route (who may ask, errors, pages, ETags, the same request
again, limits) stands in `docs/reference/api.md`, and which role may ask what in `docs/reference/permissions.md`.

Errors are `application/problem+json` (RFC 9457). Within `/api/v1` answers get further fields, and none is removed or
changes its meaning.
"""
TAGS: Final = {
    "Data": "What arrived: agents, tags, samples, the delivery ledger, dead letters",
    "Commands": "What agents are asked to do, and what became of it; device files; enrolment",
    "Releases": "Packages of the agent's software",
    "Operation": "For whoever watches this program",
}
"""What the groups of routes are about; one that is not here is told without words."""


def tell_openapi(app: FastAPI) -> None:
    """Have ``app`` tell the completed document. It is made once, when it is asked for."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                summary=app.summary,
                description=_DESCRIPTION,
                routes=app.routes,
            )
            _complete(made, app)
            app.openapi_schema = made
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _complete(document: dict[str, Any], app: FastAPI) -> None:
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for model in (FieldProblem, ProblemAnswer):
        schemas[model.__name__] = model.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas[model.__name__].pop("$defs", None)
    needed = {(route.method.lower(), route.path): route.permissions for route in routes_of(app)}
    for path, method, operation in _operations(document):
        permissions = needed.get((method, path), ())
        _complete_answers(operation, has_login=bool(permissions))
        if permissions:
            names = [permission.value for permission in permissions]
            operation["security"] = [{"token": names}]
            words = ", ".join(f"`{name}`" for name in names)
            operation["description"] = f"{operation.get('description', '').rstrip()}\n\nNeeds {words}.".strip()
        _add_examples(operation, schemas)
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    used = {tag for _, _, operation in _operations(document) for tag in operation.get("tags", ())}
    document["tags"] = [{"name": name, "description": TAGS.get(name, name)} for name in sorted(used)]


def _operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def _complete_answers(operation: dict[str, Any], *, has_login: bool) -> None:
    answers = operation["responses"]
    if "HTTPValidationError" in str(answers.get("422", "")):
        del answers["422"]
    for status, words in (_OF_ALL | (_OF_THOSE_WITH_LOGIN if has_login else {})).items():
        answers.setdefault(status, {"description": words})
    answers.setdefault("default", {"description": "Any other error"})
    for status, answer in answers.items():
        content = answer.get("content", {})
        if status == "default" or (status[0] in "45" and _is_problem(content)):
            answer["content"] = {PROBLEM_TYPE: {"schema": _REFERENCE}}


def _is_problem(content: dict[str, Any]) -> bool:
    return not content or "ProblemAnswer" in str(content)


def _add_examples(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    for parameter in operation.get("parameters", ()):
        schema = parameter.get("schema", {})
        if "example" not in parameter and "examples" not in parameter and parameter.get("required"):
            parameter["example"] = example_of(schema, schemas)
    bodies = [operation["requestBody"]] if "requestBody" in operation else []
    for body in (*bodies, *operation["responses"].values()):
        for media in body.get("content", {}).values():
            if media.get("schema") and "example" not in media and "examples" not in media:
                media["example"] = example_of(media["schema"], schemas)
