"""What is said when PostgreSQL does not let us in: the reason, and statements that really mend it."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

import asyncpg
import pytest
from lineside.servers.child_process import LOOPBACK
from lineside.servers.postgres import PostgresServer
from lineside.servers.throwaway_authority import ThrowawayAuthority

from cloud_ingest.access.tenancy import tenant_transaction
from cloud_ingest.store.migrate import migrate
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable
from connectors.ports.database import Database
from connectors.ports.event_log import TopicSpec
from connectors.postgres import database as postgres_database
from connectors.postgres.database import unconnected_database
from connectors.postgres.event_log import open_event_log
from connectors.postgres.login import Login, not_connected

ADVICE: Final = re.compile(r"\b((?:CREATE|ALTER|GRANT|REASSIGN) [^;]+;)")
_numbers: Final = count(1)


class Roles:
    """An administrator, and users that exist for one test."""

    def __init__(self, server: PostgresServer, database_dsn: str) -> None:
        self.server = server
        self.database = urlsplit(database_dsn).path[1:]
        self.user = f"plant user {next(_numbers)}"  # a name that needs quotes

    def dsn(self, *, user: str = "", password: str = "secret", database: str = "", port: int = 0) -> str:
        name = quote(user or self.user)
        return (
            f"postgresql://{name}:{password}@{LOOPBACK}:{port or self.server.port}/{quote(database or self.database)}"
        )

    async def make_role_of_tenants(self) -> None:
        """As it is on a server where somebody has migrated before."""
        make = "CREATE ROLE lineside_tenant NOLOGIN; EXCEPTION WHEN duplicate_object THEN NULL;"
        await self.say(f"DO $$ BEGIN {make} END $$")

    async def say(self, *statements: str, database: str = "") -> None:
        """Let the administrator say ``statements``."""
        admin = await unconnected_database(
            self.server.dsn(database or "postgres"), connections_max=1, application_name="tests"
        )
        async with admin.session() as session:
            for statement in statements:
                await session.execute(statement)
        await admin.close()


@pytest.fixture
def roles(postgres_server: PostgresServer, empty_database_dsn: str) -> Roles:
    return Roles(postgres_server, empty_database_dsn)


@asynccontextmanager
async def opened(dsn: str) -> AsyncIterator[Database]:
    database = await unconnected_database(dsn, connections_max=2, application_name="tests")
    try:
        yield database
    finally:
        await database.close()


async def ask(database: Database) -> None:
    async with database.session() as session:
        assert len(await session.fetch("SELECT 1")) == 1


async def refusal(dsn: str, work: Callable[[Database], Any] = ask) -> str:
    """What is said of a connection, or of ``work`` over it."""
    async with opened(dsn) as database:
        with pytest.raises(DatabaseUnavailable) as caught:
            await work(database)
    said = str(caught.value)
    assert "\n" not in said
    assert "secret" not in said
    return said


def advice(said: str, number: int = 0) -> str:
    """One of the statements that ``said`` gives, with the password that it leaves to the reader."""
    return ADVICE.findall(said)[number].replace("'…'", "'secret'")


async def works(dsn: str) -> None:
    async with opened(dsn) as database:
        await ask(database)


async def test_a_database_that_is_missing_is_made_as_the_message_says(roles: Roles) -> None:
    missing = f"Missing {next(_numbers)}"
    await roles.say(f"CREATE USER \"{roles.user}\" PASSWORD 'secret'")
    said = await refusal(roles.dsn(database=missing))
    assert said.startswith(f"PostgreSQL at {LOOPBACK}:{roles.server.port} has no database '{missing}'.")
    assert advice(said) == f'CREATE DATABASE "{missing}" OWNER "{roles.user}";'
    await roles.say(advice(said))
    await works(roles.dsn(database=missing))
    await roles.say(f'DROP DATABASE "{missing}" WITH (FORCE)')


async def test_a_user_that_is_missing_is_made_as_the_message_says(roles: Roles) -> None:
    said = await refusal(roles.dsn())
    assert f"refuses the password of the user '{roles.user}', or has no such user. Check 'user' and 'password'" in said
    await roles.say(advice(said))
    await works(roles.dsn())


async def test_a_wrong_password_is_changed_as_the_message_says(roles: Roles) -> None:
    await roles.say(f"CREATE USER \"{roles.user}\" PASSWORD 'other'")
    await roles.say(advice(await refusal(roles.dsn()), 1))
    await works(roles.dsn())


async def test_a_password_that_the_configuration_lacks_is_asked_for(roles: Roles) -> None:
    said = await refusal(roles.dsn().replace(":secret@", "@"))
    assert f"asks for the password of the user '{roles.user}', and the configuration has none. Write 'password'" in said


async def test_a_role_without_login_is_given_one_as_the_message_says(roles: Roles) -> None:
    await roles.say(f"CREATE ROLE \"{roles.user}\" PASSWORD 'secret'")
    said = await refusal(roles.dsn())
    assert f"does not let '{roles.user}' log in" in said
    await roles.say(advice(said))
    await works(roles.dsn())


async def test_a_database_that_is_closed_is_opened_as_the_message_says(roles: Roles) -> None:
    await roles.say(
        f"CREATE USER \"{roles.user}\" PASSWORD 'secret'", f"REVOKE CONNECT ON DATABASE {roles.database} FROM PUBLIC"
    )
    said = await refusal(roles.dsn())
    assert f"does not let the user '{roles.user}' into the database '{roles.database}'" in said
    await roles.say(advice(said))
    await works(roles.dsn())


async def test_too_few_connections_are_raised_as_the_message_says(roles: Roles) -> None:
    await roles.say(f"CREATE USER \"{roles.user}\" PASSWORD 'secret' CONNECTION LIMIT 0")
    said = await refusal(roles.dsn())
    assert f"has no connection left for the user '{roles.user}' (too many connections for role" in said
    assert "Raise max_connections in its postgresql.conf" in said
    assert "lower 'connections_max' of 'database'" in said
    await roles.say(advice(said))
    await works(roles.dsn())


async def test_a_schema_without_permission_is_handed_over_as_the_message_says(roles: Roles) -> None:
    await roles.make_role_of_tenants()
    await roles.say(f"CREATE USER \"{roles.user}\" PASSWORD 'secret'")
    said = await refusal(roles.dsn(), migrate)
    assert f"does not let the user '{roles.user}' do this in the database '{roles.database}': permission denied" in said
    with pytest.raises(EventLogUnavailable, match=r"permission denied for database .* ALTER DATABASE"):
        await use_log(roles.dsn())
    await roles.say(advice(said))
    said = await refusal(roles.dsn(), migrate)
    assert f"the user {roles.user} may not work as the role lineside_tenant" in said
    assert advice(said) == f'GRANT lineside_tenant TO "{roles.user}";'
    await roles.say(advice(said))
    async with opened(roles.dsn()) as database:
        assert await migrate(database)
    await use_log(roles.dsn())


async def test_a_server_without_the_role_of_tenants_gets_it_as_the_message_says(
    tmp_path: Path, postgres_server: PostgresServer
) -> None:
    """A server of its own: roles are those of the whole server, and other tests have made this one."""
    server = PostgresServer(tmp_path / "server")
    server.start()
    try:
        server.create_database("plant")
        here = Roles(server, server.dsn("plant"))
        await here.say(f"CREATE USER \"{here.user}\" PASSWORD 'secret'", f'ALTER DATABASE plant OWNER TO "{here.user}"')
        said = await refusal(here.dsn(), migrate)
        assert f"the user {here.user} may not make the role lineside_tenant" in said
        assert advice(said) == "CREATE ROLE lineside_tenant NOLOGIN;"
        await here.say(advice(said), advice(said, 1))
        async with opened(here.dsn()) as database:
            assert await migrate(database)
        await here.say(
            "DROP DATABASE plant", "DROP ROLE lineside_tenant", f'ALTER USER "{here.user}" CREATEROLE',
            f'CREATE DATABASE plant OWNER "{here.user}"',
        )  # fmt: skip
        async with opened(here.dsn()) as database:
            assert await migrate(database), "who may make roles needs no administrator"
            async with tenant_transaction(database, 1) as session:
                assert await session.fetch("SELECT 1 FROM tenant")
    finally:
        server.stop()


async def use_log(dsn: str) -> None:
    log = await open_event_log(dsn, connections_max=3, application_name="tests")
    try:
        await log.ensure(TopicSpec("t", 1))
    finally:
        await log.close()


async def test_tables_of_another_user_are_handed_over_as_the_message_says(roles: Roles) -> None:
    first = f"first {next(_numbers)}"
    for user in (first, roles.user):
        await roles.say(f"CREATE USER \"{user}\" PASSWORD 'secret'")
    await roles.make_role_of_tenants()
    await roles.say(f'GRANT lineside_tenant TO "{first}"')
    await roles.say(f'ALTER DATABASE {roles.database} OWNER TO "{first}"')
    async with opened(roles.dsn(user=first)) as database:
        await migrate(database)

    async def read(database: Database) -> None:
        async with database.transaction() as session:
            await session.fetch("SELECT * FROM ledger")

    said = await refusal(roles.dsn(), read)
    assert "permission denied for table ledger. Another user has made the tables" in said
    reassign, owner = advice(said).replace("that_user", f'"{first}"'), advice(said, 1)
    await roles.say(reassign, owner, database=roles.database)
    async with opened(roles.dsn()) as database:
        await read(database)


async def test_a_server_that_offers_no_tls_is_told_from_one_that_is_away(roles: Roles) -> None:
    said = await refusal(f"{roles.dsn()}?sslmode=require")
    assert "it does not speak TLS. Switch it on there" in said
    assert "nothing listens there" in await refusal(roles.dsn(port=1))
    said = await refusal("postgresql://lineside@db.plant-7.example:5432/lineside")
    assert "db.plant-7.example:5432 cannot be reached: this machine does not know the name 'db.plant-7.example'" in said
    said = await refusal(f"{roles.dsn()}?sslmode=verify-full&sslrootcert=/nowhere/ca.pem")
    assert "the file '/nowhere/ca.pem' cannot be read (No such file or directory). Check 'ca_file'" in said


@asynccontextmanager
async def other_server(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[int]:
    server = await asyncio.start_server(answer, LOOPBACK, 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def test_a_port_of_another_program_is_said(roles: Roles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_database, "CONNECT_TIMEOUT_S", 0.5)
    release = asyncio.Event()

    async def closes(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def says_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    async with other_server(closes) as port:
        assert "it closed the connection at the login. Is that the port of PostgreSQL?" in await refusal(
            f"{roles.dsn(port=port)}?sslmode=disable"
        )
    async with other_server(says_nothing) as port:
        said = await refusal(f"{roles.dsn(port=port)}?sslmode=disable")
        release.set()
    assert "cannot be reached: no answer in time. Check 'host' and 'port' of 'database'" in said


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
async def test_without_an_authority_of_its_own_that_of_the_system_is_trusted(
    roles: Roles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The PostgreSQL of the tests is built without TLS: this one can only say that it has it."""
    authority = ThrowawayAuthority(tmp_path)
    own = authority.issue("db", hosts=(LOOPBACK if mode == "verify-full" else "elsewhere.example",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)

    async def speaks_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"S")
        try:
            await writer.start_tls(context)
        except (ssl.SSLError, ConnectionError):
            return
        await reader.read(4)  # the login comes encrypted
        writer.close()

    async with other_server(speaks_tls) as port:
        dsn = f"{roles.dsn(port=port)}?sslmode={mode}"
        said = await refusal(dsn)
        assert "its certificate is not trusted (unable to get local issuer certificate). Check 'ca_file'" in said
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.certificate))
        assert "it closed the connection at the login" in await refusal(dsn)


class _Said(asyncpg.PostgresError):  # type: ignore[misc]
    """What a server says that this one does not: its settings belong to all tests."""

    def __init__(self, sqlstate: str, text: str) -> None:
        super().__init__(text)
        self.sqlstate = sqlstate


LOGIN: Final = Login("db", 5432, "lineside", "plant", has_password=True)


@pytest.mark.parametrize(
    ("sqlstate", "text", "expected"),
    [
        (
            "28000",
            'role "lineside" does not exist',
            "has no user 'lineside'. An administrator makes it with: CREATE USER lineside PASSWORD '…';",
        ),
        (
            "28000",
            'no pg_hba.conf entry for host "10.0.0.7", user "lineside", database "plant", SSL encryption',
            "says SELECT pg_reload_conf();   hostssl plant lineside 10.0.0.7/32 scram-sha-256",
        ),
        (
            "28000",
            'no pg_hba.conf entry for host "fd00::7", user "lineside", database "plant", no encryption',
            "   host plant lineside fd00::7/128 scram-sha-256",
        ),
        ("28000", "Zugang verweigert", "refuses the login of the user 'lineside': Zugang verweigert"),
        (
            "57P03",
            "the database system is starting up",
            "takes no connections now (the database system is starting up)",
        ),
        ("53300", "sorry, too many clients already", "(sorry, too many clients already). Raise max_connections"),
        ("XX000", "something else", "cannot be reached: something else"),
    ],
)
def test_what_other_servers_say_is_explained(sqlstate: str, text: str, expected: str) -> None:
    said = str(not_connected(_Said(sqlstate, text), LOGIN))
    assert said.startswith("PostgreSQL at db:5432 ")
    assert expected in said
