"""Tenants apart, on a real PostgreSQL: what the database itself refuses, whatever a question has forgotten."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

import httpx
import pytest
from prometheus_client import CollectorRegistry

from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant, Principal
from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.gateway.app import make_app
from cloud_ingest.historian.partitions import Partitions
from cloud_ingest.historian.upkeep.periods import HOURS, MINUTES, ODD, PACKED
from cloud_ingest.observability.obstacles import Obstacles
from cloud_ingest.store.migrate import migrate
from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.ports.clock import SystemClock
from connectors.ports.database import Database, Session
from connectors.postgres import pooled_connection
from connectors.postgres.database import open_database
from connectors.postgres.pooled_connection import PooledConnection

OURS: Final = 1
THEIRS: Final = 2
Begin = Callable[[int | None], AbstractAsyncContextManager[Session]]


class Everyone:
    """An authenticator to whom a token is the number of a tenant, of which its holder may do everything."""

    async def principal(self, token: str | None) -> Principal:
        return Principal(int(token or OURS), "user:x", "x", "user", (Grant(Role.ADMIN),))


@asynccontextmanager
async def two_tenants(dsn: str, connections_max: int = 5, plan_once_max: int = 0) -> AsyncIterator[Database]:
    """Two tenants with an agent, a device, a tag and a sample each, and every kind of partition."""
    database = await open_database(
        dsn, connections_max=connections_max, application_name="tests", plan_once_max=plan_once_max
    )
    try:
        await migrate(database)
        await Partitions(database, SystemClock(), 30).prepare()
        async with database.transaction() as session:
            for table in (PACKED, ODD, MINUTES, HOURS):
                await table.ensure(session, datetime.now(UTC))
            await session.execute("INSERT INTO tenant (tenant_id, name) VALUES (2, 'theirs')")
        for tenant, group in ((OURS, "ours"), (THEIRS, "theirs")):
            await _plant(database, tenant, group)
        yield database
    finally:
        await database.close()


async def _plant(database: Database, tenant: int, group: str) -> None:
    async with database.transaction() as session:
        await session.execute("INSERT INTO sparkplug_group (group_name, tenant_id) VALUES ($1, $2)", group, tenant)
        (agent,) = await session.fetch(
            "INSERT INTO agent (tenant_id, group_name, name, acknowledges) VALUES ($1, $2, 'line', true) "
            "RETURNING agent_id",
            tenant,
            group,
        )
        await session.execute(
            "INSERT INTO device (agent_id, tenant_id, name, online, online_changed) VALUES ($1, $2, 'press', true, "
            "now())",
            agent["agent_id"],
            tenant,
        )
        (tag,) = await session.fetch(
            "INSERT INTO tag (tenant_id, agent_id, device, name, datatype) VALUES ($1, $2, 'press', $3, 10) "
            "RETURNING tag_id",
            tenant,
            agent["agent_id"],
            f"{group} speed",
        )
        await session.execute(
            "INSERT INTO sample (time, tag_id, tenant_id, quality, value_double) VALUES (now() - interval '1 minute', "
            "$1, $2, 0, 7)",
            tag["tag_id"],
            tenant,
        )
        await session.execute(
            "INSERT INTO rollup_minute_due (tenant_id, bucket, tags) "
            "SELECT tenant_id, date_trunc('minute', time), range_agg(int4range(tag_id, tag_id + 1)) FROM sample "
            "WHERE tenant_id = $1 GROUP BY 1, 2",
            tenant,
        )
        await session.execute(
            "INSERT INTO ledger (agent_id, tenant_id, epoch, started, first_batch) VALUES ($1, $2, 1, now(), 1)",
            agent["agent_id"],
            tenant,
        )
        await session.execute(
            "INSERT INTO dead_letter (tenant_id, agent_id, topic, payload, reason, received) "
            "VALUES ($1, $2, 't', '', $3, now())",
            tenant,
            agent["agent_id"],
            f"of {group}",
        )


async def rows(database: Database, sql: str, *args: Any) -> list[Any]:
    async with database.session() as session:
        return list(await session.fetch(sql, *args))


async def test_every_table_with_a_tenant_has_its_policy_and_every_view_the_rights_of_who_asks(
    database_dsn: str,
) -> None:
    async with two_tenants(database_dsn) as database:
        open_tables = await rows(
            database,
            "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id' "
            "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND NOT attisdropped AND NOT ("
            "relrowsecurity AND EXISTS (SELECT FROM pg_policy WHERE polrelid = pg_class.oid))",
        )
        assert open_tables == [], "SELECT keep_tenants_apart('…') in the migration"
        without = await rows(
            database,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') "
            "AND relname <> 'schema_migration' AND NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = pg_class.oid "
            "AND attname = 'tenant_id')",
        )
        assert without == [], "every table names its tenant"
        views = await rows(
            database,
            "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'v' "
            "AND NOT coalesce(reloptions::text LIKE '%security_invoker=true%', false)",
        )
        assert views == [], "CREATE VIEW … WITH (security_invoker = true)"
        definers = await rows(
            database,
            "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND prosecdef "
            "AND prorettype <> 'trigger'::regtype",
        )
        assert definers == [], "a function with the rights of its owner shows all tenants"


async def test_no_table_or_view_shows_a_row_of_another_tenant(database_dsn: str) -> None:
    async with two_tenants(database_dsn) as database:
        names = await rows(
            database,
            "SELECT relname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attname = 'tenant_id' "
            "WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND NOT attisdropped "
            "AND has_table_privilege('lineside_tenant', pg_class.oid, 'SELECT')",
        )
        assert len(names) > 40
        async with tenant_transaction(database, THEIRS) as session:
            for one in names:
                found = await session.fetch(f"SELECT DISTINCT tenant_id FROM {one['relname']}")
                assert [row["tenant_id"] for row in found] in ([], [THEIRS]), one["relname"]
            (own,) = await session.fetch("SELECT count(*) AS n FROM sample_all")
            assert own["n"] == 1
        async with database.transaction() as session:
            await session.execute("SET LOCAL ROLE lineside_tenant")
            for one in names:
                assert not await session.fetch(f"SELECT 1 FROM {one['relname']} LIMIT 1"), "no tenant named, no row"


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO sparkplug_group (group_name, tenant_id) VALUES ('third', 1)",
        "UPDATE sparkplug_group SET tenant_id = 1",
        "INSERT INTO api_token (tenant_id, name, role, sha256, created_by) VALUES (1, 'x', 'engineer', 'x', 'x')",
        "INSERT INTO sample (time, tag_id, tenant_id, quality) VALUES (now(), 1, 1, 0)",
        "SELECT 1 FROM schema_migration",
        "ALTER TABLE agent DISABLE ROW LEVEL SECURITY",
        "DROP POLICY own_tenant ON agent",
    ],
)
async def test_a_tenant_neither_writes_into_another_nor_opens_what_keeps_it_out(
    database_dsn: str, statement: str
) -> None:
    async with two_tenants(database_dsn) as database:
        with pytest.raises(Exception, match=r"row-level security|permission denied|must be owner"):
            async with tenant_transaction(database, THEIRS) as session:
                await session.execute(statement)


async def test_a_tenant_changes_nothing_of_another(database_dsn: str) -> None:
    async with two_tenants(database_dsn) as database:
        async with tenant_transaction(database, THEIRS) as session:
            assert await session.execute("UPDATE agent SET version = 'changed'") == 1
            assert await session.execute("DELETE FROM sample") == 1
            assert await session.execute("DELETE FROM device WHERE name = 'press'") == 1
        (ours,) = await rows(database, "SELECT version FROM agent WHERE tenant_id = 1")
        assert ours["version"] == ""
        assert len(await rows(database, "SELECT 1 FROM sample")) == 1


async def test_no_route_of_data_tells_of_another_tenant(database_dsn: str) -> None:
    async with two_tenants(database_dsn) as database:
        app = make_app(database, CollectorRegistry(), Obstacles())
        app.state.authenticator = Everyone()
        (tag,) = await rows(database, "SELECT tag_id FROM tag WHERE tenant_id = 1")
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(
            transport=transport, base_url="http://x", headers={"Authorization": "Bearer 2"}
        ) as client:
            for path in ("agents", "tags", "ledger", "ledger/settled", "dead-letters"):
                answer = await client.get(f"/api/v1/{path}")
                assert answer.status_code == 200, answer.text
                assert "ours" not in answer.text
                assert path == "ledger/settled" or "theirs" in answer.text
            for asked in ({"tag_id": tag["tag_id"]}, {"agent": "ours/line", "device": "press", "tag": "ours speed"}):
                assert (await client.get("/api/v1/samples", params=asked)).status_code == 404
            own = {"agent": "theirs/line", "device": "press", "tag": "theirs speed"}
            for more in ({}, {"bucket": "1m"}):
                answer = await client.get("/api/v1/samples", params={**own, **more})
                assert answer.status_code == 200, answer.text
                assert len(answer.json()["buckets" if more else "samples"]) == 1


async def test_what_a_transaction_was_does_not_stay_with_its_connection(database_dsn: str) -> None:
    async with two_tenants(database_dsn) as database:
        with pytest.raises(StatementRefused):
            async with tenant_transaction(database, THEIRS) as session:
                await session.execute("SELECT no_such_column FROM agent")
        for _ in range(10):
            assert len(await rows(database, "SELECT 1 FROM agent")) == 2


async def seen_by(database: Database, tenant: int | None) -> set[int]:
    """The tenants whose agents a session sees that is one of ``tenant``; ``None``: of the owner of the tables."""
    async with database.session(tenant) as session:
        return {row["tenant_id"] for row in await session.fetch("SELECT tenant_id FROM agent")}


async def test_who_has_a_connection_next_sees_their_own_tenant_alone(database_dsn: str) -> None:
    async with two_tenants(database_dsn, connections_max=1) as database:
        expected = {OURS: {OURS}, THEIRS: {THEIRS}, None: {OURS, THEIRS}}
        for tenant in (OURS, THEIRS, OURS, None, None, THEIRS, None, OURS):
            assert await seen_by(database, tenant) == expected[tenant]
            for other in (OURS, THEIRS, None):
                async with database.transaction(other) as session:
                    found = await session.fetch("SELECT tenant_id FROM agent")
                assert {row["tenant_id"] for row in found} == expected[other]
            assert await seen_by(database, tenant) == expected[tenant], "a transaction leaves its connection as it was"


class ChangedTheirMindError(Exception):
    """Of a test that leaves a session in the middle."""


async def test_an_exception_in_a_session_leaves_no_tenant_to_the_next(database_dsn: str) -> None:
    async with two_tenants(database_dsn, connections_max=1) as database:

        async def change_mind(begin: Begin) -> None:
            async with begin(THEIRS) as session:
                await session.fetch("SELECT tenant_id FROM agent")
                raise ChangedTheirMindError

        async def mistake(begin: Begin) -> None:
            async with begin(THEIRS) as session:
                await session.execute("SELECT no_such_column FROM agent")

        for begin in (database.session, database.transaction):
            with pytest.raises(ChangedTheirMindError):
                await change_mind(begin)
            assert await seen_by(database, OURS) == {OURS}
            with pytest.raises(StatementRefused):
                await mistake(begin)
            assert await seen_by(database, None) == {OURS, THEIRS}


async def test_a_session_that_is_cancelled_leaves_no_tenant_to_the_next(database_dsn: str) -> None:
    async with two_tenants(database_dsn, connections_max=1) as database:

        async def ask(begin: Begin, tenant: int | None) -> None:
            async with begin(tenant) as session:
                await session.fetch("SELECT tenant_id, pg_sleep(0.005) FROM agent")

        asked = ((OURS, THEIRS), (THEIRS, OURS), (THEIRS, None), (None, OURS))
        for begin, turns, (first, then) in product((database.session, database.transaction), range(12), asked):
            await seen_by(database, first)
            asking = asyncio.create_task(ask(begin, then))
            for _ in range(turns):
                await asyncio.sleep(0)
            asking.cancel()
            await asyncio.wait([asking])
            for tenant in (first, then):
                assert await seen_by(database, tenant) == ({OURS, THEIRS} if tenant is None else {tenant}), turns


async def test_many_who_ask_and_give_up_at_the_same_time_see_their_own_tenant_alone(database_dsn: str) -> None:
    draw = random.Random(7)
    async with two_tenants(database_dsn) as database:
        tasks = []
        for _ in range(300):
            tenant = draw.choice((OURS, THEIRS))
            task = asyncio.create_task(seen_by(database, tenant))
            tasks.append((tenant, task))
            if draw.random() < 0.3:
                asyncio.get_running_loop().call_later(draw.random() / 50, task.cancel)
            if draw.random() < 0.2:
                await asyncio.sleep(draw.random() / 500)
        await asyncio.wait([task for _, task in tasks])
        finished = [(tenant, task.result()) for tenant, task in tasks if not task.cancelled()]
        assert len(finished) > 150
        assert all(seen == {tenant} for tenant, seen in finished)


async def test_behind_a_pooler_nothing_is_set_for_longer_than_a_transaction(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PooledConnection, "get_server_pid", lambda _self: 0)  # as a pooler gives numbers of its own
    async with two_tenants(database_dsn, connections_max=1) as database:
        for _ in range(2):
            assert await seen_by(database, THEIRS) == {THEIRS}
            async with database.session() as session:
                (row,) = await session.fetch(
                    "SELECT current_user = session_user AS own, current_setting('lineside.tenant', true) AS tenant"
                )
            assert (row["own"], row["tenant"] or "") == (True, "")


@pytest.mark.parametrize("plan_once_max", [0, 1], ids=["one connection for all", "one of their own"])
@pytest.mark.parametrize("is_behind_pooler", [False, True], ids=["", "pooler"])
async def test_a_session_that_plans_once_leaves_neither_its_planning_nor_its_tenant_to_the_next(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch, plan_once_max: int, is_behind_pooler: bool
) -> None:
    if is_behind_pooler:
        monkeypatch.setattr(PooledConnection, "get_server_pid", lambda _self: 0)
    expected = {OURS: {OURS}, THEIRS: {THEIRS}, None: {OURS, THEIRS}}
    sql = "SELECT tenant_id, current_setting('plan_cache_mode') AS planning FROM agent"
    async with two_tenants(database_dsn, 1 + plan_once_max, plan_once_max) as database:
        for tenant, other in product(expected, expected):
            async with database.session(tenant, plans_once=True) as session:
                once = await session.fetch(sql)
            assert {row["tenant_id"] for row in once} == expected[tenant]
            assert {row["planning"] for row in once} == {"force_generic_plan"}
            for begin in (database.session, database.transaction):
                async with begin(other) as session:
                    found = await session.fetch(sql)
                assert {row["tenant_id"] for row in found} == expected[other]
                assert {row["planning"] for row in found} == {"auto"}


async def test_before_the_first_migration_of_a_server_it_is_said_what_makes_the_role(
    database_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_tenants(database_dsn, connections_max=1) as database:
        monkeypatch.setattr(pooled_connection, "TENANT_ROLE", "nobody_here")
        for begin in (database.session, database.transaction):
            with pytest.raises(DatabaseUnavailable, match=r"no role nobody_here yet; 'cloud-ingest migrate'"):
                async with begin(THEIRS):
                    pass
            assert await seen_by(database, None) == {OURS, THEIRS}
