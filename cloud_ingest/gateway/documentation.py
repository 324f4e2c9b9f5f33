"""The page that documents the API: Swagger UI, all of it from this server, as a plant has no way to the internet."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

DOCS_PATH: Final = "/api/docs"
ASSETS_PATH: Final = f"{DOCS_PATH}/assets"
_HEADERS: Final = {
    # The browser refuses whatever is not from here. Swagger UI sets styles of its own, and has small pictures in them.
    "Content-Security-Policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
    "X-Content-Type-Options": "nosniff",
}
# All addresses are relative, so that the page works below any path that a proxy gives it.
_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Lineside API</title>
<link rel="stylesheet" href="docs/assets/swagger-ui.css">
<link rel="icon" href="docs/assets/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/assets/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
# Without validatorUrl: null, Swagger UI would ask a server of its makers for a verdict.
_START: Final = """\
SwaggerUIBundle({url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null});
"""


def assets() -> StaticFiles:
    """The files of Swagger UI, as its package brings them."""
    return StaticFiles(packages=[("fastapi_swagger", "resources")])


def documentation() -> APIRouter:
    """The page and its start; the files of Swagger UI are mounted at ``ASSETS_PATH``."""
    router = APIRouter(include_in_schema=False)

    @router.get(DOCS_PATH)
    async def page() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers=_HEADERS)

    @router.get(f"{DOCS_PATH}/start.js")
    async def start() -> Response:
        return Response(_START, media_type="text/javascript", headers=_HEADERS)

    return router
