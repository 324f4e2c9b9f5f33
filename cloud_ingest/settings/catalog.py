"""Where documents of the catalog and log lines are kept, and how many."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from connectors.ports.secrets import Secret
from connectors.ports.settings import Duration, Settings, Size


class MongoSettings(Settings):
    """MongoDB instead of PostgreSQL for documents (``lineside[mongodb]``)."""

    url: Annotated[Secret, Field(description="mongodb://… with user and password; ${credential:NAME} or ${file:/path}")]
    database: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,63}$")] = "lineside"


class DocumentsSettings(Settings):
    """Products, routings, content and log lines as documents. Without ``mongodb`` they are in PostgreSQL."""

    mongodb: MongoSettings | None = None


class KeptLogsSettings(Settings):
    """Log lines that can be searched: of this program, and of agents and their devices."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"], Field(description="The least level that is kept")
    ] = "info"
    size: Annotated[Size, Field(ge=1_000_000, description="Of each tenant; the oldest lines go first")] = (
        256 * 1024 * 1024
    )
    age_s: Annotated[Duration, Field(alias="age", ge=3600, description="No line is kept longer")] = 30 * 86_400.0
