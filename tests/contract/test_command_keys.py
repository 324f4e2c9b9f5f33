"""Keys and tokens: private halves in files alone, two keys at a time, names that are one's own."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.commands import audit, held_tokens, keys, tokens
from cloud_ingest.commands.held_tokens import HeldTokens
from cloud_ingest.commands.keys import KeyUnusable
from connectors.commands.reports import KeyVoucher, read_record
from connectors.commands.signing import SigningKey, TrustedKeys
from tests.contract.command_steps import TENANT, Office, office
from tests.contract.historian_steps import eventually


async def without_keys(here: Office) -> Office:
    await here.fetch("DELETE FROM signing_key RETURNING 1")
    return here


async def test_a_key_is_in_its_file_and_its_public_half_in_the_database(tmp_path: Path, database_dsn: str) -> None:
    async with office(database_dsn) as made:
        here = await without_keys(made)
        path = tmp_path / "signing.jwk"
        key_id = await keys.create(here.database, here.clock, path, by="root")
        assert path.stat().st_mode & 0o777 == 0o600
        private = json.loads(path.read_text())
        assert (await keys.usable_key(here.database, path)).key_id == key_id
        rows = await here.fetch("SELECT signing_key::text AS row FROM signing_key")
        rows += await here.fetch("SELECT command_audit::text AS row FROM command_audit")
        assert private["d"]
        assert not [row for row in rows if private["d"] in row["row"]]
        trusted = await keys.trusted(here.database)
        assert trusted.verify("lineside-time", SigningKey.from_jwk(private).sign("lineside-time", b"now")) == b"now"


async def test_two_keys_hold_at_a_time_and_a_retired_one_signs_nothing(tmp_path: Path, database_dsn: str) -> None:
    async with office(database_dsn) as made:
        here = await without_keys(made)
        paths = [tmp_path / f"{number}.jwk" for number in range(3)]
        first = await keys.create(here.database, here.clock, paths[0], by="root")
        for voucher in (None, tmp_path / "none.jwk", paths[1]):  # a database alone makes no key that agents take
            if voucher == paths[1]:
                keys.write_key(paths[1], SigningKey.generate())  # nor does a key that the cloud does not know
            with pytest.raises(RequestRefused, match=f"has to be signed with one that holds .{first}") as caught:
                await keys.create(here.database, here.clock, paths[2], by="root", voucher=voucher)
            assert (caught.value.code, paths[2].exists()) == ("no_voucher", False)
        paths[1].unlink()
        second = await keys.create(here.database, here.clock, paths[1], by="root", voucher=paths[0])
        (said,) = (await keys.vouchers(here.database)).items()
        old = TrustedKeys({first: keys.read_key(paths[0]).public_jwk()})
        assert said[0] == second == read_record(KeyVoucher, old.verify("lineside-key", said[1])).key_id
        with pytest.raises(RequestRefused, match="retire one of") as caught:
            await keys.create(here.database, here.clock, paths[2], by="root")
        assert caught.value.why is Why.CONFLICT
        assert not paths[2].exists()  # what was not entered leaves no file
        await keys.retire(here.database, here.clock, first, by="root")
        with pytest.raises(KeyUnusable, match="is not one of this database that holds"):
            await keys.usable_key(here.database, paths[0])
        assert (await keys.usable_key(here.database, paths[1])).key_id == second
        with pytest.raises(RequestRefused, match="there is no key"):
            await keys.retire(here.database, here.clock, first, by="root")
        actions = [entry.action async for entry in audit.entries(here.database)]
        assert actions == ["key created", "key created", "key retired"]


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (None, 0o600, "cannot be read"),
        ("", 0o600, "is not a JSON Web Key"),
        ("[]", 0o600, "cannot be used"),
        ('{"kty": "OKP", "crv": "Ed25519", "x": "AA"}', 0o600, "cannot be used"),
        (json.dumps(SigningKey.generate().public_jwk()), 0o600, "cannot be used"),
        (json.dumps(SigningKey.generate().to_jwk()), 0o640, "chmod 600"),
        (json.dumps(SigningKey.generate().to_jwk()), 0o604, "chmod 600"),
    ],
)
def test_a_file_that_is_no_key_or_not_ones_own_is_refused_with_a_sentence(
    tmp_path: Path, content: str | None, mode: int, said: str
) -> None:
    path = tmp_path / "key.jwk"
    if content is not None:
        path.write_text(content)
        path.chmod(mode)
    with pytest.raises(KeyUnusable, match=said) as caught:
        keys.read_key(path)
    assert str(path) in str(caught.value)


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.jwk"
    keys.write_key(path, SigningKey.generate())
    before = path.read_text()
    with pytest.raises(KeyUnusable, match="not overwritten"):
        keys.write_key(path, SigningKey.generate())
    assert path.read_text() == before


async def test_a_name_is_one_tokens_at_a_time_and_a_revoked_one_is_worthless(database_dsn: str) -> None:
    async with office(database_dsn) as here:
        database, clock = here.database, here.clock
        token = await tokens.create(database, clock, TENANT, "anna", "operator", by="root")
        holder = await tokens.holder_of(database, token)
        assert holder == tokens.Holder(TENANT, "anna", "operator")
        with pytest.raises(RequestRefused, match="there is a token 'anna'"):
            await tokens.create(database, clock, TENANT, "anna", "viewer", by="root")
        await tokens.revoke(database, clock, TENANT, "anna", by="root")
        assert await tokens.holder_of(database, token) is None
        with pytest.raises(RequestRefused, match="no token 'anna' that holds"):
            await tokens.revoke(database, clock, TENANT, "anna", by="root")
        again = await tokens.create(database, clock, TENANT, "anna", "viewer", by="root")
        assert again != token
        assert await tokens.holder_of(database, again) == tokens.Holder(TENANT, "anna", "viewer")
        assert [row["role"] for row in await tokens.listed(database, TENANT)] == ["operator", "viewer"]
        for name in ("", " anna", "a\nb", "x" * 256):
            with pytest.raises(RequestRefused, match="cannot be the name"):
                await tokens.create(database, clock, TENANT, name, "viewer", by="root")
        assert (await audit.verify(database)) == (3, [])


async def test_who_remembers_tokens_hears_when_one_is_revoked(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held_tokens, "HELD_S", 3600.0)
    async with office(database_dsn) as here:
        database, clock = here.database, here.clock
        token = await tokens.create(database, clock, TENANT, "anna", "operator", by="root")
        held = HeldTokens(database)
        hearing = asyncio.create_task(held.hear_forever())
        try:
            await eventually(lambda: _is_remembered(here, held, token))
            await tokens.revoke(database, clock, TENANT, "anna", by="root")
            await eventually(lambda: _is_unknown(held, token))
        finally:
            hearing.cancel()
            await asyncio.wait([hearing])


async def _is_remembered(here: Office, held: HeldTokens, token: str) -> bool:
    """Whether it is known still when the database knows it no more, which tells nobody."""
    assert await held.holder_of(token) is not None
    await here.fetch("UPDATE api_token SET revoked = now(), revoked_by = 'x' RETURNING 1")
    known = await held.holder_of(token) is not None
    await here.fetch("UPDATE api_token SET revoked = NULL, revoked_by = NULL RETURNING 1")
    return known


async def _is_unknown(held: HeldTokens, token: str) -> bool:
    return await held.holder_of(token) is None
