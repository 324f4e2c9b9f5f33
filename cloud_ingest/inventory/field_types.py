"""The kinds of fields in requests and answers: codes, lots, quantities."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import Path, Query
from pydantic import AwareDatetime, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from cloud_ingest.inventory.events import quantity_text

CODE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PLACE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"
LOT_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._:+#-]{0,99}$"
SITE_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
ULID_PATTERN: Final = r"^[0-7][0-9A-HJKMNP-TV-Z]{25}$"
REFERENCE_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._:/#-]{0,63}$"
TEXT_PATTERN: Final = r"^[^\x00-\x1f\x7f]*$"
_QUANTITY: Final = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?")

ItemCode = Annotated[str, Field(pattern=CODE_PATTERN, examples=["SCREW-M4"])]
PlaceCode = Annotated[str, Field(pattern=PLACE_PATTERN, examples=["plant-7"])]
LotCode = Annotated[str, Field(pattern=LOT_PATTERN, examples=["L-2026-118"])]
Reference = Annotated[str, Field(pattern=REFERENCE_PATTERN, examples=["PO-4711"])]
Name = Annotated[str, Field(max_length=200, pattern=TEXT_PATTERN, examples=["Screw M4 x 12, galvanised"])]
Reason = Annotated[str, Field(max_length=500, pattern=TEXT_PATTERN, examples=["box fell down"])]
When = Annotated[AwareDatetime, Field(examples=["2026-12-01T00:00:00Z"])]

ItemPath = Annotated[str, Path(pattern=CODE_PATTERN, description="Code of the item", examples=["SCREW-M4"])]
PlacePath = Annotated[str, Path(pattern=PLACE_PATTERN, description="Code of the location", examples=["plant-7"])]
LotPath = Annotated[str, Path(pattern=LOT_PATTERN, description="Lot or serial number", examples=["L-2026-118"])]
UlidPath = Annotated[str, Path(pattern=ULID_PATTERN, examples=["01JDV3W3Z8Q6C0V2B7N4M5K9XR"])]
SitePath = Annotated[str, Path(pattern=SITE_PATTERN, examples=["plant-7"])]
LinePath = Annotated[str, Path(pattern=SITE_PATTERN, examples=["line-3"])]
ItemQuery = Annotated[str | None, Query(pattern=CODE_PATTERN, description="Only of this item")]
PlaceQuery = Annotated[str | None, Query(pattern=PLACE_PATTERN, description="Only at this location, and below it")]
LotQuery = Annotated[str | None, Query(pattern=LOT_PATTERN, description="Only of this lot or serial number")]
ReferenceQuery = Annotated[str | None, Query(pattern=REFERENCE_PATTERN)]


def _quantity(value: Any) -> Decimal:
    if isinstance(value, Decimal):
        return value
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise ValueError('a quantity is a text such as "12.5": up to 12 digits, and up to 6 behind the point')
    return Decimal(value)


def _positive(value: Any) -> Decimal:
    if (quantity := _quantity(value)) <= 0:
        raise ValueError("a quantity is above 0")
    return quantity


_SCHEMA: Final = {"type": "string", "pattern": r"^[0-9]{1,12}(\.[0-9]{1,6})?$", "examples": ["12.5"]}
Quantity = Annotated[Decimal, BeforeValidator(_positive), WithJsonSchema(_SCHEMA)]
"""In a request: above 0."""
QuantityOrNone = Annotated[Decimal, BeforeValidator(_quantity), WithJsonSchema(_SCHEMA)]
"""In a request: 0, too."""
Told = Annotated[
    Decimal,
    PlainSerializer(quantity_text, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["12.5"]}, mode="serialization"),
]
"""In an answer."""
