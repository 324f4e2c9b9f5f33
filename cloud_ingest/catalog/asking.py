"""What the routes of the catalog have in common: who may, and what is asked for."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Depends, Path, Query

from cloud_ingest.access.needs import Needs
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.catalog.models import CODE, LANGUAGE

Reader = Annotated[Principal, Depends(Needs(Permission.CATALOG_READ))]
Editor = Annotated[Principal, Depends(Needs(Permission.CATALOG_EDIT))]
Inside = Annotated[Principal, Depends(Needs(Permission.LINES_READ))]
"""Who may know how something is made: nobody that only orders it."""
CodePath = Annotated[str, Path(pattern=CODE, examples=["PUMP-12"])]
LanguageQuery = Annotated[
    str, Query(pattern=LANGUAGE, description="BCP 47; without it in that language, the text is in another")
]
SearchQuery = Annotated[
    str, Query(max_length=500, description="Words, or beginnings of words, that all have to be there")
]
BeforeQuery = Annotated[int, Query(ge=1, le=1 << 31, description="The 'next' of the page before")]
VERSION_MAX: Final = (1 << 31) - 1
_MEANING: Final = {
    400: "The request cannot be understood",
    401: "There is no token, or it does not hold",
    403: "The token is not good for this",
    404: "There is no such thing",
    409: "It cannot be done as things stand",
    412: "It was changed since",
    428: "It does not say what was seen",
    503: "The database cannot be used now",
}
PROBLEMS: Final[dict[int | str, dict[str, Any]]] = {
    status: {"description": meaning} for status, meaning in _MEANING.items()
}
