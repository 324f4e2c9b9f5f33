"""What a tenant looks like: its title, colours and logo."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cloud_ingest.commands import audit
from connectors.ports.database import Database, Session

LOGO_BYTES_MAX: Final = 100_000
TITLE_CHARS_MAX: Final = 80
PLAIN_COLOR: Final = "#14532d"
COLOR_PATTERN: Final = r"^#[0-9a-f]{6}$"
_COLOR: Final = re.compile(COLOR_PATTERN)
_KINDS: Final = {
    "image/png": b"\x89PNG\r\n\x1a\n",
    "image/jpeg": b"\xff\xd8\xff",
    "image/webp": b"RIFF",
}
"""Images that run no script, by how they begin."""


@dataclass(frozen=True, slots=True)
class Brand:
    """Of one tenant. ``has_logo``: it is at ``/brand/{tenant}/logo``."""

    tenant: str
    title: str = ""
    primary_color: str = ""
    accent_color: str = ""
    has_logo: bool = False
    revision: int = 0

    @property
    def shown_title(self) -> str:
        """The title, or the product's name."""
        return self.title or "Lineside"

    @property
    def shown_color(self) -> str:
        """A colour that is one, whatever the table has."""
        return self.primary_color if _COLOR.fullmatch(self.primary_color) else PLAIN_COLOR

    @property
    def text_color(self) -> str:
        """What can be read on it: black or white, whichever has more contrast (WCAG 2.2, relative luminance)."""
        parts = [int(self.shown_color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
        return "#ffffff" if 0.2126 * red + 0.7152 * green + 0.0722 * blue < 0.179 else "#000000"


def image_kind(data: bytes) -> str | None:
    """The media type of an image that may be a logo."""
    return next((kind for kind, begin in _KINDS.items() if data.startswith(begin)), None)


async def brand_in(session: Session, *, tenant_id: int | None = None, tenant: str | None = None) -> Brand | None:
    """The brand of a tenant, by id or name; ``None`` when there is no such tenant."""
    rows = await session.fetch(
        "SELECT tenant.name, coalesce(title, '') AS title, coalesce(primary_color, '') AS primary_color, "
        "coalesce(accent_color, '') AS accent_color, logo IS NOT NULL AS has_logo, coalesce(revision, 0) AS revision "
        "FROM tenant LEFT JOIN tenant_brand USING (tenant_id) WHERE tenant_id = $1 OR tenant.name = $2",
        tenant_id,
        tenant,
    )
    return Brand(*rows[0].values()) if rows else None


async def brand_of(database: Database, tenant_id: int = audit.TENANT) -> Brand:
    """The brand of a tenant that exists."""
    async with database.session() as session:
        return await brand_in(session, tenant_id=tenant_id) or Brand("default")


async def logo_of(database: Database, tenant: str) -> tuple[bytes, str] | None:
    """The logo of a tenant and its media type; ``None`` without one."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT logo, logo_type FROM tenant JOIN tenant_brand USING (tenant_id) WHERE name = $1 "
            "AND logo IS NOT NULL",
            tenant,
        )
    return (bytes(rows[0]["logo"]), str(rows[0]["logo_type"])) if rows else None
