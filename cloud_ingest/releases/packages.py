"""Packages of releases in the database: taken once by each tenant, listed, and given in pieces."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from connectors.model.errors import LinesideError
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Row, Session
from connectors.releases.package import file_sha256, look_into

PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Package:
    """A package that a tenant has."""

    tenant_id: int
    sha256: str
    version: str
    size_bytes: int


async def add(database: Database, clock: Clock, tenant_id: int, path: Path, *, by: str) -> Package:
    """Take the package in the file ``path`` for the tenant; one that is there already is left as it is.

    Raises ``RequestRefused``.
    The audit log is locked at the end only: commands do not wait for the hundreds of megabytes before.
    """
    try:
        key_id, manifest = look_into(path)
        sha256, size_bytes = file_sha256(path), os.stat(path).st_size
    except OSError as exc:
        raise RequestRefused(Why.INVALID, "unreadable", f"{path} cannot be read: {exc.strerror or exc}") from exc
    except LinesideError as exc:
        raise RequestRefused(Why.INVALID, "no_release", f"{path}: {exc}") from exc
    now_ms = clock.now_ns() // 1_000_000
    async with database.transaction() as session:
        added = await session.execute(
            "INSERT INTO release (tenant_id, sha256, version, python, platform, key_id, size_bytes, built_ms, "
            "added_ms, added_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
            tenant_id,
            sha256,
            manifest.version,
            manifest.python,
            manifest.platform,
            key_id,
            size_bytes,
            manifest.built_ms,
            now_ms,
            by,
        )
        if added:
            await _add_pieces(session, tenant_id, sha256, path)
            details = {"version": manifest.version, "key": key_id, "bytes": size_bytes}
            await audit.tell(session, tenant_id, audit.Deed(now_ms, by, "release added", sha256, details))
    return Package(tenant_id, sha256, manifest.version, size_bytes)


async def _add_pieces(session: Session, tenant_id: int, sha256: str, path: Path) -> None:
    with path.open("rb") as file:
        number = 0
        while piece := file.read(PIECE_BYTES):
            await session.execute(
                "INSERT INTO release_piece (tenant_id, sha256, number, content) VALUES ($1, $2, $3, $4)",
                tenant_id,
                sha256,
                number,
                piece,
            )
            number += 1


async def find(database: Database, sha256: str) -> Package | None:
    """The package with this hash, if any tenant has it: the same bytes, whosever they are."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT tenant_id, sha256, version, size_bytes FROM release WHERE sha256 = $1 ORDER BY tenant_id LIMIT 1",
            sha256,
        )
    return _package(rows[0]) if rows else None


async def named(database: Database, tenant_id: int, name: str) -> Package:
    """The tenant's package of a version, or with a hash that begins so.

    Raises ``RequestRefused`` unless there is just one.
    """
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT tenant_id, sha256, version, size_bytes FROM release WHERE tenant_id = $1 "
            "AND (version = $2 OR (length($2) >= 6 AND starts_with(sha256, $2)))",
            tenant_id,
            name,
        )
    if not rows:
        raise RequestRefused(
            Why.UNKNOWN, "unknown_release", f"there is no release {name}; 'cloud-ingest release list' lists them"
        )
    if len(rows) > 1:
        raise RequestRefused(Why.CONFLICT, "ambiguous", f"{len(rows)} packages are {name}: name one by its SHA-256")
    return _package(rows[0])


def _package(row: Row) -> Package:
    return Package(int(row["tenant_id"]), str(row["sha256"]), str(row["version"]), int(row["size_bytes"]))


async def listed(database: Database, tenant_id: int) -> list[dict[str, Any]]:
    """All packages of the tenant, the newest first."""
    async with database.session() as session:
        rows = await session.fetch("SELECT * FROM release WHERE tenant_id = $1 ORDER BY added_ms DESC", tenant_id)
    return [
        {
            "version": row["version"],
            "sha256": row["sha256"],
            "python": row["python"],
            "platform": row["platform"],
            "key": row["key_id"],
            "bytes": row["size_bytes"],
            "added": datetime.fromtimestamp(row["added_ms"] / 1000, UTC),
            "by": row["added_by"],
        }
        for row in rows
    ]


async def pieces(database: Database, package: Package, begin: int) -> AsyncIterator[bytes]:
    """The bytes of a package from ``begin`` on, a piece at a time. Raises ``DatabaseUnavailable``."""
    number, skip = divmod(begin, PIECE_BYTES)
    while number * PIECE_BYTES < package.size_bytes:
        async with database.session() as session:
            (row,) = await session.fetch(
                "SELECT content FROM release_piece WHERE tenant_id = $1 AND sha256 = $2 AND number = $3",
                package.tenant_id,
                package.sha256,
                number,
            )
        yield bytes(row["content"])[skip:]
        number, skip = number + 1, 0
