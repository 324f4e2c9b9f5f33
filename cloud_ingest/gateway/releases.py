"""The route by which boxes fetch packages. It needs no token: a package is no secret, and counts by its signature."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path
from fastapi.responses import Response, StreamingResponse

from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.releases import packages
from connectors.ports.database import Database

_BEGIN: Final = re.compile(r"bytes=(\d{1,18})-")
_TYPE: Final = "application/octet-stream"
_PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    206: {"content": {_TYPE: {}}, "description": "The rest of the package"},
    404: {"description": "There is no such release"},
    416: {"description": "The package has no bytes from there on"},
    503: {"description": "The database cannot be reached or used now"},
}


def release_routes(database: Database) -> APIRouter:
    """The route ``/api/v1/releases``."""
    api = APIRouter(tags=["Releases"], responses=_PROBLEMS, dependencies=[Depends(only_known_parameters)])

    @api.get(
        "/api/v1/releases/{sha256}",
        response_class=StreamingResponse,
        responses={200: {"content": {_TYPE: {}}, "description": "The package"}},
    )
    async def release(
        sha256: Annotated[str, Path(pattern="^[0-9a-f]{64}$", description="Of the whole package")],
        wanted: Annotated[str, Header(alias="Range", description="bytes=N-: from there on, to resume")] = "",
    ) -> Response:
        """The signed package of a release, whole or from a byte on."""
        package = await packages.find(database, sha256)
        if package is None:
            raise RequestRefused(Why.UNKNOWN, "unknown_release", f"there is no release with the SHA-256 {sha256}")
        asked = _BEGIN.fullmatch(wanted.strip())
        begin = int(asked[1]) if asked else 0  # any other range is no range (RFC 9110, 14.2)
        size = package.size_bytes
        if begin >= size:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{size}"})
        headers = {"Content-Length": str(size - begin), "Accept-Ranges": "bytes", "ETag": f'"{sha256}"'}
        if asked:
            headers["Content-Range"] = f"bytes {begin}-{size - 1}/{size}"
        pieces = packages.pieces(database, package, begin)
        return StreamingResponse(pieces, 206 if asked else 200, headers, _TYPE)

    return api
