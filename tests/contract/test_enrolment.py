"""Enrolment on a real database, asked over HTTP: once, for one agent, in time; and new keys in answer to hellos."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.commands import agent_keys, audit, enrolment, keys, outgoing
from cloud_ingest.gateway import app as gateway
from cloud_ingest.gateway.server import serve
from cloud_ingest.observability.obstacles import Obstacles
from connectors.commands.enrolment import PATH, EnrolmentAnswer, check_answer, sealed_request
from connectors.commands.reports import KeysAnswer, KeyVoucher, read_record
from connectors.commands.signing import SigningKey, TrustedKeys
from tests.contract.command_steps import JOURNAL, TENANT, Office, Reading, office
from tests.contract.test_command_api import problem
from tests.played_agent import commanded

AGENT = "plant/line-1"
DAY_S = 86_400.0


class Door:
    """The gateway, with one key of the cloud that holds."""

    def __init__(self, here: Office, url: str, signing_key: Path) -> None:
        self.here, self.url, self.signing_key = here, url, signing_key

    async def token(self, agent: str = AGENT, valid_s: float = DAY_S) -> str:
        made = await enrolment.create_token(
            self.here.database, self.here.clock, TENANT, agent, valid_s=valid_s, by="root"
        )
        return made.token

    async def ask(self, key: SigningKey, token: str, agent: str = AGENT) -> httpx.Response:
        return await self.post({"request": sealed_request(key, token, agent)})

    async def post(self, body: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, trust_env=False, timeout=30.0) as client:
            return await client.post(PATH, json=body)

    async def holding(self) -> list[str]:
        """The ids of the agents' keys that hold."""
        return [row["key_id"] for row in await agent_keys.listed(self.here.database, TENANT) if row["retired"] is None]

    async def audited(self, action: str) -> list[audit.AuditEntry]:
        return [entry async for entry in audit.entries(self.here.database) if entry.action == action]


@asynccontextmanager
async def door(dsn: str, folder: Path) -> AsyncIterator[Door]:
    async with office(dsn) as here:
        await here.fetch("DELETE FROM signing_key RETURNING 1")
        await keys.create(here.database, here.clock, folder / "signing.jwk", by="root")
        with pytest.MonkeyPatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listening:
            patch.setattr(gateway, "SystemClock", lambda: here.clock)
            app = gateway.make_app(here.database, CollectorRegistry(), Obstacles(), here.requests)
            serving = asyncio.create_task(serve(listening, app))
            try:
                yield Door(here, f"http://127.0.0.1:{listening.getsockname()[1]}", folder / "signing.jwk")
            finally:
                serving.cancel()
                await asyncio.wait([serving])


async def test_for_a_token_and_a_key_an_agent_gets_the_cloud_s_keys_and_the_token_is_nowhere(
    tmp_path: Path, database_dsn: str
) -> None:
    async with door(database_dsn, tmp_path) as here:
        token, key = await here.token(), SigningKey.generate()
        rows = await here.here.fetch("SELECT enrolment_token::text AS row FROM enrolment_token")
        rows += await here.here.fetch("SELECT command_audit::text AS row FROM command_audit")
        assert len(rows) == 3
        assert not [row for row in rows if token in row["row"]]
        answer = await here.ask(key, token)
        assert answer.status_code == 201, answer.text
        trusted = check_answer(EnrolmentAnswer.model_validate(answer.json()), AGENT, key.key_id)
        cloud = keys.read_key(here.signing_key)
        assert trusted.verify("lineside-time", cloud.sign("lineside-time", b"now")) == b"now"
        assert await here.holding() == [key.key_id]
        (entry,) = await here.audited("agent enrolled")
        assert (entry.actor, entry.subject, entry.details["address"]) == (AGENT, key.key_id, "127.0.0.1")
        assert '"d"' not in str(await here.here.fetch("SELECT public_key FROM agent_key"))


async def test_a_token_enrols_one_key_however_many_ask_at_once_and_a_lost_answer_is_given_again(
    tmp_path: Path, database_dsn: str
) -> None:
    async with door(database_dsn, tmp_path) as here:
        token = await here.token()
        made = [SigningKey.generate() for _ in range(6)]
        answers = await asyncio.gather(*(here.ask(key, token) for key in made))
        statuses = [answer.status_code for answer in answers]
        assert sorted(statuses) == [201, 409, 409, 409, 409, 409]
        assert {problem(answer) for answer in answers if answer.status_code != 201} == {(409, "token_used")}
        winner = made[statuses.index(201)]
        assert await here.holding() == [winner.key_id]
        again = await here.ask(winner, token)
        assert (again.status_code, again.json()) == (201, answers[statuses.index(201)].json())
        assert len(await here.audited("agent enrolled")) == 1
        assert len(await here.audited("enrolment refused")) == 5
        assert (await audit.verify(here.here.database))[1] == []


async def test_a_token_that_has_expired_was_replaced_or_is_for_another_agent_enrols_nobody(
    tmp_path: Path, database_dsn: str
) -> None:
    async with door(database_dsn, tmp_path) as here:
        key = SigningKey.generate()
        older = await here.token()
        token = await here.token()
        assert problem(await here.ask(key, older)) == (403, "token_replaced")
        assert problem(await here.ask(key, token, "plant/line-2")) == (403, "other_agent")
        assert problem(await here.ask(key, "lineside_enrol_guess")) == (401, "unknown_token")
        here.here.clock.ahead_ms = round(DAY_S * 1000)
        assert problem(await here.ask(key, token)) == (403, "token_expired")
        here.here.clock.ahead_ms = round(DAY_S * 1000) - 60_000
        assert await here.holding() == []
        assert (await here.ask(key, token)).status_code == 201
        codes = [entry.details["code"] for entry in await here.audited("enrolment refused")]
        assert codes == ["token_replaced", "other_agent", "unknown_token", "token_expired"]


async def test_who_does_not_have_the_private_half_is_refused_and_the_token_stays_good(
    tmp_path: Path, database_dsn: str
) -> None:
    async with door(database_dsn, tmp_path) as here:
        token, key, other = await here.token(), SigningKey.generate(), SigningKey.generate()
        genuine, stranger = sealed_request(key, token, AGENT), sealed_request(other, token, AGENT)
        header, payload, signature = genuine.split(".")
        swapped = ".".join([header, payload, stranger.split(".")[2]])
        claimed = ".".join([stranger.split(".")[0], payload, signature])
        for sealed, code in ((swapped, "bad_signature"), (claimed, "bad_signature"), ("a.b", "malformed"),
                             (key.sign("lineside-time", b"{}"), "malformed")):  # fmt: skip
            assert problem(await here.post({"request": sealed})) == (400, code)
        assert problem(await here.ask(key, token, "line-1")) == (400, "invalid_name")
        assert (await here.post({"request": 5})).status_code == 400
        assert await here.holding() == []
        assert (await here.post({"request": genuine})).status_code == 201


async def test_an_agent_enrolled_anew_has_its_new_key_and_the_old_one_is_kept_as_retired(
    tmp_path: Path, database_dsn: str
) -> None:
    async with door(database_dsn, tmp_path) as here:
        first, second = SigningKey.generate(), SigningKey.generate()
        old_token = await here.token()
        assert (await here.ask(first, old_token)).status_code == 201
        assert (await here.ask(second, await here.token())).status_code == 201
        listed = await agent_keys.listed(here.here.database, TENANT)
        assert [(row["key_id"], row["retired_by"]) for row in listed] == [
            (first.key_id, "enrolment"), (second.key_id, None),
        ]  # fmt: skip
        assert problem(await here.ask(first, old_token)) == (409, "token_used")
        assert problem(await here.ask(first, await here.token())) == (409, "key_known")
        token = await here.token("plant/line-2")
        assert problem(await here.ask(second, token, "plant/line-2")) == (409, "key_known")
        assert (await here.ask(SigningKey.generate(), token, "plant/line-2")).status_code == 201
        assert await agent_keys.revoke(here.here.database, here.here.clock, TENANT, second.key_id, by="root") == AGENT
        with pytest.raises(RequestRefused, match="no agent has a key"):
            await agent_keys.revoke(here.here.database, here.here.clock, TENANT, second.key_id, by="root")
        assert second.key_id not in await here.holding()
        assert (await audit.verify(here.here.database))[1] == []


async def test_who_fails_too_often_has_to_wait_and_the_audit_log_does_not_grow_by_it(
    tmp_path: Path, database_dsn: str
) -> None:
    async with door(database_dsn, tmp_path) as here:
        token, key = await here.token(), SigningKey.generate()
        for _ in range(10):
            assert problem(await here.ask(key, "lineside_enrol_guess")) == (401, "unknown_token")
        for shown in ("lineside_enrol_guess", token):
            assert problem(await here.ask(key, shown)) == (429, "too_many_failures")
        assert len(await here.audited("enrolment refused")) == 10
        assert await here.holding() == []


async def test_without_a_key_of_the_cloud_nobody_is_enrolled_and_the_token_stays_good(
    tmp_path: Path, database_dsn: str
) -> None:
    async with door(database_dsn, tmp_path) as here:
        token, key, cloud = await here.token(), SigningKey.generate(), keys.read_key(here.signing_key)
        await keys.retire(here.here.database, here.here.clock, cloud.key_id, by="root")
        for _ in range(12):
            assert problem(await here.ask(key, token)) == (503, "no_signing_key")
        await keys.create(here.here.database, here.here.clock, tmp_path / "next.jwk", by="root")
        assert (await here.ask(key, token)).status_code == 201


@pytest.mark.parametrize("agent", ["line", "a/b/c", "/line", "plant/", "plant/li+ne", "plant/l\x00", "p/" + "x" * 600])
async def test_a_token_is_for_an_agent_that_can_be_one(tmp_path: Path, database_dsn: str, agent: str) -> None:
    async with office(database_dsn) as here:
        with pytest.raises(RequestRefused, match="is not an agent"):
            await enrolment.create_token(here.database, here.clock, TENANT, agent, valid_s=60, by="root")
        with pytest.raises(RequestRefused, match="thirty days"):
            await enrolment.create_token(here.database, here.clock, TENANT, AGENT, valid_s=31 * DAY_S, by="root")


# -- new keys ----------------------------------------------------------------------------------------------------------


async def test_the_only_key_that_an_agent_trusts_is_not_retired_while_another_one_holds(
    tmp_path: Path, database_dsn: str
) -> None:
    async with office(database_dsn) as here:
        await here.fetch("DELETE FROM signing_key RETURNING 1")
        paths = [tmp_path / "1.jwk", tmp_path / "2.jwk"]
        first = await keys.create(here.database, here.clock, paths[0], by="root")
        second = await keys.create(here.database, here.clock, paths[1], by="root", voucher=paths[0])
        reading = Reading(here)

        async def trusts(*trusted: str) -> None:
            await reading.take(here.agent.hello(JOURNAL, trusted=trusted))

        await trusts(first)
        with pytest.raises(RequestRefused, match=f"{here.agent.name} trust no other key that holds") as caught:
            await keys.retire(here.database, here.clock, first, by="root")
        assert caught.value.code == "trusted_alone"
        assert set(await keys.holding(here.database)) == {first, second}
        await keys.retire(here.database, here.clock, second, by="root")  # nobody trusts that one
        await keys.retire(here.database, here.clock, first, by="root")  # there is no other to wait for
        paths = [tmp_path / "3.jwk", tmp_path / "4.jwk"]
        third = await keys.create(here.database, here.clock, paths[0], by="root")
        fourth = await keys.create(here.database, here.clock, paths[1], by="root", voucher=paths[0])
        await trusts(third, fourth)
        await keys.retire(here.database, here.clock, third, by="root")
        await keys.create(here.database, here.clock, tmp_path / "5.jwk", by="root", voucher=paths[1])
        await keys.retire(here.database, here.clock, fourth, by="root", anyway=True)


async def test_an_agent_that_trusts_the_signing_key_is_told_when_other_keys_hold(
    tmp_path: Path, database_dsn: str
) -> None:
    async with office(database_dsn) as here:
        await here.fetch("DELETE FROM signing_key RETURNING 1")
        paths = [tmp_path / "1.jwk", tmp_path / "2.jwk"]
        await keys.create(here.database, here.clock, paths[0], by="root")
        await keys.create(here.database, here.clock, paths[1], by="root", voucher=paths[0])
        first, second = (keys.read_key(path) for path in paths)
        trust = await keys.trusted(here.database)
        both = {first.key_id, second.key_id}
        reading = Reading(here)

        async def answered(key: SigningKey, trusted: tuple[str, ...] | None) -> KeysAnswer | None:
            await reading.take(here.agent.hello(JOURNAL, nonce="12" * 16, trusted=trusted))
            found = await outgoing.due_times(here.database, key, 5)
            heard = [commanded(message.payload, trust) for message in found.messages]
            assert [bool(one.time) for one in heard] == [False] * found.keys + [True]
            return heard[0].keys

        found = await answered(first, (first.key_id,))
        assert found is not None
        assert (found.agent, found.nonce, found.keys.keys()) == ("plant/line-1", "12" * 16, both)
        assert "d" not in found.keys[second.key_id]
        voucher = TrustedKeys({first.key_id: first.public_jwk()}).verify("lineside-key", found.vouched[second.key_id])
        assert read_record(KeyVoucher, voucher).key_id == second.key_id
        assert first.key_id not in found.vouched
        for trusted in (tuple(both), (second.key_id,), (), None):
            assert await answered(first, trusted) is None, trusted  # it knows, would not believe it, or says nothing
        await keys.retire(here.database, here.clock, first.key_id, by="root")
        found = await answered(second, tuple(both))
        assert found is not None
        assert found.keys.keys() == {second.key_id}
        assert await answered(first, tuple(both)) is None  # a key that holds no more tells nobody anything
        (journal,) = await here.fetch("SELECT trusted FROM command_journal")
        assert set(journal["trusted"]) == both
