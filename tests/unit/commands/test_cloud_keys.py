"""The cloud's keys change by their file, or by one that is trusted: for this agent, now, never to none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from connectors.commands.audit_chain import problems
from connectors.commands.reports import KeysAnswer, KeyVoucher
from connectors.commands.signing import SigningKey
from connectors.commands.states import CommandState
from connectors.sparkplug.delivery import KEYS
from connectors.sparkplug.device_command import SignedReceived
from edge_agent.commands import audit_log, cloud_keys
from edge_agent.commands.pinned_keys import read_pinned_keys, write_pinned_keys
from tests.unit.commands.played_line import AGENT, KEY, TOPIC, Line, running, until
from tests.virtual_time import virtual_time

NEXT = SigningKey.generate()
THIRD = SigningKey.generate()


def answer(line: Line, *keys: SigningKey, **more: Any) -> bytes:
    """What the cloud says of its keys in answer to the newest hello."""
    given = {"agent": AGENT, "nonce": line.hellos[-1].nonce, "time_ms": line.now_ms(),
             "keys": {key.key_id: key.public_jwk() for key in keys},
             "vouched": {key.key_id: voucher(key) for key in keys}, **more}  # fmt: skip
    return KeysAnswer.model_construct(**given).to_json()


def voucher(key: SigningKey, by: SigningKey = KEY) -> str:
    """What whoever has made a key says of it with another one."""
    return by.sign("lineside-key", KeyVoucher(key_id=key.key_id, issued_ms=1).to_json())


def say(line: Line, document: bytes, by: SigningKey = KEY) -> None:
    line.commands.signed(SignedReceived(TOPIC, KEYS, by.sign("lineside-keys", document)))


def trusted(line: Line, folder: Path) -> set[str]:
    """In the file, and by the agent."""
    assert set(read_pinned_keys(folder / "trusted-keys.json").ids) == set(line.commands._keys.ids)
    return set(line.commands._keys.ids)


def changes(line: Line) -> list[dict[str, Any]]:
    connection = line.journal.journal._opened()
    assert list(problems(audit_log.entries(connection))) == []
    return [
        {"actor": entry.actor, **entry.details}
        for entry in audit_log.entries(connection)
        if entry.action == "trusted keys changed"
    ]


@virtual_time
async def test_a_trusted_key_brings_the_next_one_and_that_one_ends_it(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        assert line.hellos[-1].trusted == (KEY.key_id,)
        say(line, answer(line, KEY, NEXT))
        await until(lambda: line.hellos[-1].trusted == tuple(sorted((KEY.key_id, NEXT.key_id))))
        assert trusted(line, tmp_path) == {KEY.key_id, NEXT.key_id}
        say(line, answer(line, NEXT), NEXT)
        await until(lambda: line.hellos[-1].trusted == (NEXT.key_id,))
        assert trusted(line, tmp_path) == {NEXT.key_id}
        assert changes(line) == [
            {"actor": "cloud", "added": [NEXT.key_id], "removed": [], "signed_by": KEY.key_id},
            {"actor": "cloud", "added": [], "removed": [KEY.key_id], "signed_by": NEXT.key_id},
        ]
        line.tell_time(key=NEXT)
        line.send(line.envelope(value=9), key=KEY)
        report = await line.done(line.send(line.envelope(value=8), key=NEXT).id)
        assert report.state is CommandState.SUCCEEDED
        assert line.press.writes == [("speed", 8)]


@virtual_time
async def test_keys_change_by_nothing_that_is_not_for_this_agent_now_and_by_a_key_that_stays(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        for document, by in (
            (answer(line, KEY, NEXT), NEXT),  # a key that nobody trusts
            (answer(line, NEXT), KEY),  # the trust in itself would end
            (answer(line), KEY),  # in all of them
            (answer(line, KEY, NEXT, agent="plant/other"), KEY),
            (answer(line, KEY, NEXT, nonce="0" * 32), KEY),
            (answer(line, keys={KEY.key_id: KEY.public_jwk(), NEXT.key_id: THIRD.public_jwk()}), KEY),
            (answer(line, keys={KEY.key_id: KEY.public_jwk(), NEXT.key_id: {"kty": "OKP"}}), KEY),
            (b"[]", KEY),
        ):
            say(line, document, by)
        line.commands.signed(SignedReceived(TOPIC, KEYS, KEY.sign("lineside-time", answer(line, KEY, NEXT))))
        hellos = len(line.hellos)
        line.commands.connected()
        await until(lambda: len(line.hellos) > hellos)
        assert line.hellos[-1].trusted == (KEY.key_id,)
        assert (trusted(line, tmp_path), changes(line)) == ({KEY.key_id}, [])
        say(line, answer(line, KEY, NEXT))  # and what is right is taken: the refusals had their own reasons
        await until(lambda: len(line.commands._keys.ids) == 2)


@virtual_time
async def test_an_answer_counts_once_so_that_a_recorded_one_brings_no_key_back(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        recorded = answer(line, KEY, NEXT)
        say(line, recorded)
        await until(lambda: len(line.commands._keys.ids) == 2)
        await until(lambda: len(line.hellos[-1].trusted or ()) == 2)
        say(line, answer(line, KEY))
        await until(lambda: line.hellos[-1].trusted == (KEY.key_id,))
        say(line, recorded)
        hellos = len(line.hellos)
        line.commands.connected()
        await until(lambda: len(line.hellos) > hellos)
        assert trusted(line, tmp_path) == {KEY.key_id}
        assert len(changes(line)) == 2


@virtual_time
async def test_a_file_that_somebody_writes_is_read_and_stands_in_the_audit_log(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        write_pinned_keys(tmp_path / "trusted-keys.json", {THIRD.key_id: THIRD.public_jwk()})
        await until(lambda: line.hellos[-1].trusted == (THIRD.key_id,))
        await until(lambda: changes(line))
        assert changes(line) == [
            {"actor": cloud_keys.FILE_ACTOR, "added": [THIRD.key_id], "removed": [KEY.key_id]},
        ]


@virtual_time
async def test_a_file_that_cannot_be_written_leaves_the_keys_as_they_were_and_the_audit_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, keys: object) -> None:
        raise OSError(28, "No space left on device")

    async with running(Line(tmp_path)) as line:
        with monkeypatch.context() as patch:
            patch.setattr(cloud_keys, "write_pinned_keys", full)
            say(line, answer(line, KEY, NEXT))
            connection = line.journal.journal._opened()
            await until(lambda: [e for e in audit_log.entries(connection) if e.action == "trusted keys not changed"])
        assert trusted(line, tmp_path) == {KEY.key_id}
        line.commands.connected()
        hellos = len(line.hellos)
        await until(lambda: len(line.hellos) > hellos)
        say(line, answer(line, KEY, NEXT))  # the next hello is answered as well
        await until(lambda: len(line.commands._keys.ids) == 2)


@virtual_time
async def test_where_the_agent_may_not_write_the_file_keys_stay_and_that_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[Any] = []
    monkeypatch.setattr(cloud_keys, "emit", said.append)
    monkeypatch.setattr(cloud_keys.os, "access", lambda path, _mode: path != tmp_path)  # root may write anything
    async with running(Line(tmp_path)) as line:
        for _ in range(3):
            hellos = len(line.hellos)
            say(line, answer(line, KEY, NEXT))
            line.commands.connected()
            await until(lambda hellos=hellos: len(line.hellos) > hellos)
            line.tell_time()
        assert (trusted(line, tmp_path), changes(line)) == ({KEY.key_id}, [])
    not_written = [event for event in said if isinstance(event, cloud_keys.TrustedKeysNotWritten)]
    assert len(not_written) == 1


@virtual_time
async def test_without_room_for_the_audit_log_no_key_changes(tmp_path: Path) -> None:
    async with running(Line(tmp_path)) as line:
        line.journal.is_full = True
        say(line, answer(line, KEY, NEXT))
        await until(lambda: not line.commands._documents)
        line.journal.is_full = False
        hellos = len(line.hellos)
        line.commands.connected()
        await until(lambda: len(line.hellos) > hellos)
        assert line.hellos[-1].trusted == (KEY.key_id,)
        assert json.loads((tmp_path / "trusted-keys.json").read_text())["keys"].keys() == {KEY.key_id}


@virtual_time
async def test_a_key_that_no_trusted_one_has_signed_is_not_trusted_and_keeps_no_other_from_it(tmp_path: Path) -> None:
    mine = SigningKey.generate()  # of somebody who can write the cloud's database
    as_command = KEY.sign("lineside-time", KeyVoucher(key_id=mine.key_id, issued_ms=1).to_json())
    async with running(Line(tmp_path)) as line:
        for vouched in (
            {},
            {mine.key_id: voucher(mine, mine)},
            {mine.key_id: voucher(NEXT)},
            {mine.key_id: as_command},
        ):
            hellos = len(line.hellos)
            say(line, answer(line, KEY, mine, vouched=vouched))
            line.commands.connected()
            await until(lambda hellos=hellos: len(line.hellos) > hellos)
            assert trusted(line, tmp_path) == {KEY.key_id}
        say(line, answer(line, KEY, NEXT, mine, vouched={NEXT.key_id: voucher(NEXT), mine.key_id: voucher(mine, NEXT)}))
        await until(lambda: len(line.commands._keys.ids) == 2)
        assert trusted(line, tmp_path) == {KEY.key_id, NEXT.key_id}
        entries = list(audit_log.entries(line.journal.journal._opened()))
        noted = [entry.details["keys"] for entry in entries if entry.action == "keys not trusted"]
        assert noted == [[mine.key_id]], "once"
