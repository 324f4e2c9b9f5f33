"""``cloud-ingest identity``: who may log in, as what; services, apps and tenants.

It works on the database itself, as whoever may read the configuration: so the first admin is made by it.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cloud_ingest.cli.asking import (
    DEFAULT_CONFIG,
    EXIT_PROBLEM,
    ConfigOption,
    JsonOption,
    ask,
    fail,
    load,
    print_json,
    show,
    user,
)

if TYPE_CHECKING:
    from cloud_ingest.access.principal import Grant
    from cloud_ingest.identity.people import By
    from connectors.ports.database import Database, Session

T = TypeVar("T")

app = typer.Typer(help="Users, services, apps and tenants: who may log in, as what.", no_args_is_help=True)
LoginArgument = Annotated[str, typer.Argument(help="E-mail address, or a name, by which they log in")]
NameOption = Annotated[str, typer.Option("--name", help="How they are called; the login unless said")]
TenantOption = Annotated[str, typer.Option("--tenant", help="Of which tenant")]
RoleOption = Annotated[
    list[str], typer.Option("--role", "-r", help="viewer, operator@site, engineer@site/line …; as often as needed")
]
CustomerOption = Annotated[str | None, typer.Option("--customer", help="With the role customer: whose orders")]


@app.command("create-admin")
def create_admin(
    login: LoginArgument, config: ConfigOption = DEFAULT_CONFIG, name: NameOption = "",
    tenant: TenantOption = "default", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make an admin of a tenant, and print the link by which they set their password, once, within a day."""
    add_user(login, config, ["admin"], name, tenant, None, as_json)


@app.command("add-user")
def add_user(
    login: LoginArgument, config: ConfigOption = DEFAULT_CONFIG, role: RoleOption = ["viewer"],  # noqa: B006
    name: NameOption = "", tenant: TenantOption = "default", customer: CustomerOption = None,
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a user, and print the link by which they set their password, once, within a day."""
    from cloud_ingest.commands import audit
    from cloud_ingest.identity import people
    from cloud_ingest.identity.people import Person

    issuer, grants = _issuer(config), _grants(role)

    async def work(session: Session, by: By) -> str:
        _, secret, deed = await people.add_user(session, by, login, Person(name or login, grants, customer))
        await audit.tell(session, by.tenant_id, deed)
        return secret

    _tell_link(_within(config, tenant, work), login, issuer, as_json)


@app.command("link")
def link(
    login: LoginArgument, config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default",
    as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Print a link by which a user sets a new password, once, within a day: for who has forgotten theirs."""
    from cloud_ingest.commands import audit
    from cloud_ingest.identity import people

    issuer = _issuer(config)

    async def work(session: Session, by: By) -> str:
        secret, deed = await people.new_link(session, by, await people.user_id_of(session, by, login))
        await audit.tell(session, by.tenant_id, deed)
        return secret

    _tell_link(_within(config, tenant, work), login, issuer, as_json)


@app.command("change-user")
def change_user(
    login: LoginArgument, config: ConfigOption = DEFAULT_CONFIG, role: RoleOption = [],  # noqa: B006
    disable: Annotated[bool | None, typer.Option("--disable/--enable", help="Log out; or let in again")] = None,
    tenant: TenantOption = "default",
) -> None:  # fmt: skip
    """Give a user other roles (all that are named, instead of those before), or disable or enable them."""
    from cloud_ingest.commands import audit
    from cloud_ingest.identity import people
    from cloud_ingest.identity.people import Person

    grants = _grants(role)

    async def work(session: Session, by: By) -> None:
        user_id = await people.user_id_of(session, by, login)
        (row,) = await session.fetch(
            "SELECT name, customer, disabled IS NOT NULL AS gone FROM identity_user WHERE user_id = $1", user_id
        )
        before = (await people.grants_of(session, by.tenant_id, [f"user:{user_id}"]))[f"user:{user_id}"]
        gone = row["gone"] if disable is None else disable
        person = Person(row["name"], grants or before, row["customer"], gone)
        _, deed = await people.change_user(session, by, user_id, person, if_match=None)
        await audit.tell(session, by.tenant_id, deed)

    _within(config, tenant, work)
    typer.echo(f"{login} is changed")


@app.command("users")
def users(config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False) -> None:
    """List the users of a tenant, with their roles."""
    from cloud_ingest.cli.identity_screens import users_screen
    from cloud_ingest.identity.listing import users as listed

    rows = _within(config, tenant, lambda session, by: listed(session, by.tenant_id))
    if as_json:
        print_json(rows)
    else:
        show(users_screen(rows))


@app.command("add-service")
def add_service(
    client: Annotated[str, typer.Argument(help="Its id: small letters, digits and '-'")],
    config: ConfigOption = DEFAULT_CONFIG, role: RoleOption = ["viewer"], name: NameOption = "",  # noqa: B006
    tenant: TenantOption = "default", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a program known that logs in as itself (client credentials), and print its secret, once."""
    from cloud_ingest.identity.people import Program

    secret = _add_client(config, tenant, client, "service", Program(name or client, _grants(role)))
    if as_json:
        print_json({"client": client, "secret": secret})
    else:
        typer.echo(secret)


@app.command("add-app")
def add_app(
    client: Annotated[str, typer.Argument(help="Its id: small letters, digits and '-'")],
    redirect_uri: Annotated[list[str], typer.Option("--redirect-uri", help="Where a login returns to")],
    config: ConfigOption = DEFAULT_CONFIG,
    name: NameOption = "",
    tenant: TenantOption = "default",
) -> None:
    """Make an app known by which people log in (authorization code with PKCE). One of 'default' is for all tenants."""
    from cloud_ingest.identity.people import Program

    _add_client(config, tenant, client, "app", Program(name or client, (), tuple(redirect_uri)))
    typer.echo(f"the app {client} is known")


@app.command("clients")
def clients(
    config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default", as_json: JsonOption = False
) -> None:
    """List the services and apps of a tenant."""
    from cloud_ingest.cli.identity_screens import clients_screen
    from cloud_ingest.identity.listing import clients as listed

    rows = _within(config, tenant, lambda session, by: listed(session, by.tenant_id))
    if as_json:
        print_json(rows)
    else:
        show(clients_screen(rows))


@app.command("add-tenant")
def add_tenant(
    tenant: Annotated[str, typer.Argument(help="Its name: small letters, digits and '-'")],
    login: LoginArgument, config: ConfigOption = DEFAULT_CONFIG, name: NameOption = "", as_json: JsonOption = False,
) -> None:  # fmt: skip
    """Make a tenant with its first admin, and print the link by which that one sets a password."""
    import re

    from cloud_ingest.identity import tenants
    from cloud_ingest.identity.answers import CODE_PATTERN

    if re.fullmatch(CODE_PATTERN, tenant) is None:
        raise typer.BadParameter(f"{tenant!r} is no name of a tenant: small letters, digits and '-'")
    issuer = _issuer(config)

    async def work(session: Session, by: By) -> str:
        return (await tenants.add_tenant(session, by, tenant, login, name or login))[1]

    _tell_link(_within(config, "default", work), login, issuer, as_json)


@app.command("give-group")
def give_group(
    tenant: Annotated[str, typer.Argument(help="Whose the data shall be")],
    group: Annotated[str, typer.Argument(help="Sparkplug group that has no data yet")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """The data of a Sparkplug group belong to a tenant; before its first agent delivers."""
    from cloud_ingest.identity import tenants

    _within(config, "default", lambda session, by: tenants.give_group(session, by, tenant, group))
    typer.echo(f"the group {group} is {tenant}'s")


@app.command("end-sessions")
def end_sessions(login: LoginArgument, config: ConfigOption = DEFAULT_CONFIG, tenant: TenantOption = "default") -> None:
    """Log a user out everywhere, and end all tokens that came of it."""
    from cloud_ingest.commands import audit
    from cloud_ingest.identity import people
    from cloud_ingest.identity.logins import end_all_of

    async def work(session: Session, by: By) -> None:
        await end_all_of(session, await people.user_id_of(session, by, login))
        await audit.tell(session, by.tenant_id, by.deed("sessions ended", login))

    _within(config, tenant, work)
    typer.echo(f"{login} is logged out everywhere")


@app.command("rotate-key")
def rotate_key(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Publish a new key for tokens now, which signs an hour later. Keys change by themselves, too."""
    from cloud_ingest.identity.keys import KeyRing
    from connectors.ports.clock import SystemClock

    settings = load(config).identity
    if settings is None or settings.secret is None:
        fail("there are no logins of our own: 'identity.issuer' and 'identity.secret' are not configured", EXIT_PROBLEM)
    secret = settings.secret.get_secret_value()
    key_s, token_s = settings.key_s, settings.access_token_s
    made = ask(
        config,
        lambda database: KeyRing(database, SystemClock(), secret, key_s=key_s, token_s=token_s).rotate(_actor()),
    )
    typer.echo(f"the key {made} is published; it signs in an hour")


def _add_client(config: Path, tenant: str, client: str, kind: str, program: Any) -> str | None:
    import re

    from cloud_ingest.commands import audit
    from cloud_ingest.identity import people
    from cloud_ingest.identity.answers import CODE_PATTERN

    if re.fullmatch(CODE_PATTERN, client) is None:
        raise typer.BadParameter(f"{client!r} is no id of a program: small letters, digits and '-'")

    async def work(session: Session, by: By) -> str | None:
        secret, deed = await people.add_client(session, by, client, kind, program)
        await audit.tell(session, by.tenant_id, deed)
        return secret

    return _within(config, tenant, work)


def _within(config: Path, tenant: str, work: Callable[[Session, By], Coroutine[Any, Any, T]]) -> T:
    """What ``work`` gives, in one transaction, as whoever runs the command, for ``tenant``."""
    from cloud_ingest.identity.people import By
    from cloud_ingest.identity.tenants import tenant_id_of
    from connectors.ports.clock import SystemClock

    async def transaction(database: Database) -> T:
        async with database.transaction() as session:
            tenant_id = await tenant_id_of(session, tenant)
            return await work(session, By(tenant_id, _actor(), SystemClock().now_ns() // 1_000_000))

    return ask(config, transaction)


def _actor() -> str:
    return f"{user()} (cloud-ingest)"


def _issuer(config: Path) -> str:
    settings = load(config).identity
    if settings is None or settings.issuer is None:
        fail("there are no logins of our own: write 'issuer' and 'secret' under 'identity' first", EXIT_PROBLEM)
    return settings.issuer


def _grants(texts: list[str]) -> tuple[Grant, ...]:
    from cloud_ingest.identity.rules import parse_grant

    try:
        return tuple(parse_grant(text) for text in texts)
    except ValueError as exc:
        raise typer.BadParameter(str(exc)) from exc


def _tell_link(secret: str, login: str, issuer: str, as_json: bool) -> None:
    from cloud_ingest.identity.login_routes import link as link_of

    if as_json:
        print_json({"login": login, "link": link_of(issuer, secret)})
        return
    typer.echo(link_of(issuer, secret))
    typer.echo(f"{login} sets a password there: once, within a day", err=True)
