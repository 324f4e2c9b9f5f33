"""The keys that commands are signed with, of all tenants: private ones in files, public ones in the database.

Two may hold at a time. To change keys: make the new one in another file, have the agents trust it, name that file in
the configuration, and retire the old one when nothing that it has signed is under way any more.

The new key is signed with the old one, which is in a file: agents take no key for that alone that the table names it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit
from connectors.commands.reports import KeyVoucher
from connectors.commands.signing import SigningKey, TrustedKeys
from connectors.ports.clock import Clock
from connectors.ports.database import Database, Session

KEYS_MAX: Final = 2
NAMES_SHOWN: Final = 5
FILE_BYTES_MAX: Final = 10_000


class KeyUnusable(RequestRefused):
    """The private key cannot be used; the text says what to do."""

    def __init__(self, reason: str) -> None:
        super().__init__(Why.NOT_SET_UP, "signing_key_unusable", reason)


def read_key(path: Path) -> SigningKey:
    """The private key in the file ``path``. Raises ``KeyUnusable``."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            document = json.loads(file.read(FILE_BYTES_MAX))
    except OSError as exc:
        raise KeyUnusable(f"the signing key {path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise KeyUnusable(f"{path} is not a JSON Web Key; 'cloud-ingest keys create' makes one") from exc
    if mode & 0o077:
        raise KeyUnusable(f"others may read or change the signing key {path}: do 'chmod 600 {path}'")
    try:
        return SigningKey.from_jwk(document if isinstance(document, dict) else {})
    except ValueError as exc:
        raise KeyUnusable(f"the signing key {path} cannot be used: {exc}") from exc


def write_key(path: Path, key: SigningKey) -> None:
    """Write ``key`` into the new file ``path``, which its owner alone may read. Raises ``KeyUnusable``."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as exc:
        raise KeyUnusable(
            f"{path} is there already, and is not overwritten: to change keys, write the new one into another file "
            "(--to), and name that as 'signing_key' when the agents trust it"
        ) from exc
    except OSError as exc:
        raise KeyUnusable(f"{path} cannot be written: {exc.strerror}") from exc
    with os.fdopen(descriptor, "w") as file:
        json.dump(key.to_jwk(), file)
        file.flush()
        os.fsync(file.fileno())


async def create(database: Database, clock: Clock, path: Path, *, by: str, voucher: Path | None = None) -> str:
    """A new key, its private half in ``path``: its id. Raises ``RequestRefused``.

    Where one holds already, ``voucher`` is the file of one that does.
    """
    key = SigningKey.generate()
    write_key(path, key)
    try:
        await _enter(database, clock, path, key, by, voucher)
    except BaseException:
        _remove(path)
        raise
    return key.key_id


def _remove(path: Path) -> None:
    """A key that the database does not know is of no use, and stands in the way of another."""
    path.unlink(missing_ok=True)


async def _enter(database: Database, clock: Clock, path: Path, key: SigningKey, by: str, voucher: Path | None) -> None:
    now_ms = clock.now_ns() // 1_000_000
    async with database.transaction() as session:
        head = await audit.lock_head(session)
        rows = await session.fetch(
            "SELECT key_id FROM signing_key WHERE tenant_id = $1 AND retired IS NULL ORDER BY created", audit.TENANT
        )
        if len(rows) >= KEYS_MAX:
            ids = " and ".join(str(row["key_id"]) for row in rows)
            raise RequestRefused(Why.CONFLICT, "too_many_keys", f"two keys hold already: retire one of {ids} first")
        old = _voucher(voucher, [str(row["key_id"]) for row in rows])
        vouched = None if old is None else _vouched(old, key, now_ms)
        await session.execute(
            "INSERT INTO signing_key (key_id, tenant_id, public_key, created_by, vouched) VALUES ($1, $2, $3, $4, $5)",
            key.key_id,
            audit.TENANT,
            json.dumps(key.public_jwk()),
            by,
            vouched,
        )
        about = {"file": str(path), **({} if old is None else {"signed_by": old.key_id})}
        await audit.append(session, head, [audit.Deed(now_ms, by, "key created", key.key_id, about)])


def _voucher(path: Path | None, holding: Sequence[str]) -> SigningKey | None:
    """The private key that signs a new one; ``None`` for the first one. Raises ``RequestRefused``."""
    if not holding:
        return None
    what_to_do = (
        f"the new key has to be signed with one that holds ({' or '.join(holding)}), whose file is "
        "commands.signing_key; if it is lost, retire it, make a new one, and enrol the agents anew"
    )
    try:
        key = None if path is None else read_key(path)
    except KeyUnusable as exc:
        raise RequestRefused(Why.CONFLICT, "no_voucher", f"{exc}; {what_to_do}") from exc
    if key is None or key.key_id not in holding:
        raise RequestRefused(Why.CONFLICT, "no_voucher", what_to_do)
    return key


def _vouched(old: SigningKey, key: SigningKey, now_ms: int) -> str:
    return old.sign("lineside-key", KeyVoucher(key_id=key.key_id, issued_ms=now_ms).to_json())


async def retire(database: Database, clock: Clock, key_id: str, *, by: str, anyway: bool = False) -> None:
    """Nothing is signed with it any more, and agents are to forget it. Raises ``RequestRefused``.

    Also where another key holds and agents do not trust that one yet, as their newest hellos say, unless ``anyway``.
    """
    async with database.transaction() as session:
        head = await audit.lock_head(session)
        if not anyway and (names := await _trusting_no_other(session, key_id)):
            raise RequestRefused(Why.CONFLICT, "trusted_alone", _strands(names))
        done = await session.execute(
            "UPDATE signing_key SET retired = now(), retired_by = $3 "
            "WHERE tenant_id = $1 AND key_id = $2 AND retired IS NULL",
            audit.TENANT,
            key_id,
            by,
        )
        if not done:
            raise RequestRefused(Why.UNKNOWN, "unknown_key", f"there is no key {key_id!r} that holds")
        await audit.append(session, head, [audit.Deed(clock.now_ns() // 1_000_000, by, "key retired", key_id)])


async def _trusting_no_other(session: Session, key_id: str) -> list[str]:
    """Agents that trust this key and no other one that holds; none of them where no other holds."""
    rows = await session.fetch(
        "WITH other AS (SELECT key_id FROM signing_key WHERE tenant_id = $1 AND retired IS NULL AND key_id <> $2) "
        "SELECT group_name || '/' || agent.name AS agent FROM command_journal JOIN agent USING (agent_id) "
        "WHERE $2::text = ANY(trusted) AND EXISTS (SELECT FROM other) "
        "AND NOT EXISTS (SELECT FROM other WHERE other.key_id = ANY(trusted)) ORDER BY 1",
        audit.TENANT,
        key_id,
    )
    return [str(row["agent"]) for row in rows]


def _strands(names: Sequence[str]) -> str:
    shown = ", ".join(names[:NAMES_SHOWN])
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return (
        f"{shown}{more} trust no other key that holds, and would take no command until they are enrolled anew: wait "
        "until they trust the other one ('agent-keys list'); if they never do, as it was made before keys were signed, "
        "retire that one and make it anew; or say --anyway"
    )


async def listed(database: Database) -> list[dict[str, Any]]:
    """Every key that was ever made, by its public half."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT key_id, public_key, created, created_by, retired, retired_by FROM signing_key "
            "WHERE tenant_id = $1 ORDER BY created, key_id",
            audit.TENANT,
        )
    return [{**dict(row), "public_key": json.loads(row["public_key"])} for row in rows]


async def holding(database: Database) -> dict[str, dict[str, Any]]:
    """The public halves of the keys that hold, by their ids."""
    return {row["key_id"]: row["public_key"] for row in await listed(database) if row["retired"] is None}


async def vouchers(database: Database) -> dict[str, str]:
    """Of the keys that hold and followed another one, by their ids, what that one says (``KeyVoucher``)."""
    async with database.session() as session:
        rows = await session.fetch(
            "SELECT key_id, vouched FROM signing_key WHERE tenant_id = $1 AND retired IS NULL AND vouched IS NOT NULL",
            audit.TENANT,
        )
    return {str(row["key_id"]): str(row["vouched"]) for row in rows}


async def trusted(database: Database) -> TrustedKeys:
    """The keys that hold."""
    return TrustedKeys(await holding(database))


async def usable_key(database: Database, path: Path) -> SigningKey:
    """The key in ``path``, when it is one that holds. Raises ``KeyUnusable`` and ``DatabaseUnavailable``."""
    key = read_key(path)
    if key.key_id not in await trusted(database):
        raise KeyUnusable(
            f"the signing key in {path} ({key.key_id}) is not one of this database that holds: see "
            "'cloud-ingest keys list'"
        )
    return key
