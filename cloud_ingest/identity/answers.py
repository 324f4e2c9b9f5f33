"""Requests and answers of the management of users, programs and tenants."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from cloud_ingest.access.answers import Answer
from cloud_ingest.access.permissions import Role
from cloud_ingest.access.principal import Grant
from cloud_ingest.identity.brands import COLOR_PATTERN, TITLE_CHARS_MAX
from cloud_ingest.identity.people import Person, Program

CODE_PATTERN: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
CUSTOMER_PATTERN: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
PRINTABLE: Final = r"^[^\x00-\x1f\x7f]+$"
Code = Annotated[str, Field(pattern=CODE_PATTERN, examples=["plant-7"])]
CustomerCode = Annotated[str, Field(pattern=CUSTOMER_PATTERN, examples=["ACME"])]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE, examples=["Anna Berg"])]
Login = Annotated[str, Field(min_length=1, max_length=200, pattern=PRINTABLE, examples=["anna@plant-7.example"])]
ClientId = Annotated[str, Field(pattern=CODE_PATTERN, examples=["planning"])]
Color = Annotated[str, Field(pattern=COLOR_PATTERN + "|^$", examples=["#14532d"])]


class Asking(BaseModel):
    """A request: what it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RoleAt(Asking):
    """A role, and where it holds: everywhere, at a site, or on a line of it."""

    role: Annotated[Role, Field(examples=["operator"])]
    site: Code | None = None
    line: Annotated[str, Field(pattern=CODE_PATTERN, examples=["line-1"])] | None = None

    @classmethod
    def of(cls, grant: Grant) -> RoleAt:
        """As it is shown."""
        return cls(role=grant.role, site=grant.site, line=grant.line)

    def grant(self) -> Grant:
        """As it is given."""
        return Grant(self.role, self.site, self.line)


Roles = Annotated[
    tuple[RoleAt, ...],
    Field(max_length=100, examples=[[{"role": "operator", "site": "plant-7", "line": "line-1"}, {"role": "viewer"}]]),
]


class UserChange(Asking):
    """A user as they shall be."""

    name: Name
    roles: Roles = ()
    customer: Annotated[CustomerCode | None, Field(description="With the role customer: whose orders they see")] = None
    disabled: Annotated[bool, Field(description="Logged out everywhere, and not let in")] = False

    def person(self) -> Person:
        """What it says."""
        return Person(self.name, tuple(role.grant() for role in self.roles), self.customer, self.disabled)


class NewUser(UserChange):
    """A user to be made. They set their password by a link, which the answer has."""

    login: Login


class UserAnswer(Answer):
    """A user."""

    user: Annotated[str, Field(description="Id (ULID)")]
    login: str
    name: str
    roles: tuple[RoleAt, ...]
    customer: str | None
    disabled: bool
    has_password: Annotated[bool, Field(description="False until the link was used")]
    created: datetime
    revision: int


class UserPage(Answer):
    """Users, by login."""

    users: tuple[UserAnswer, ...]
    next: str | None


class MadeUser(Answer):
    """A user was made, or is to set a new password. ``link`` is told once: a repeated request gets none."""

    user: str
    login: str
    link: Annotated[str | None, Field(description="Address at which they set their password, once, within a day")]


class ClientChange(Asking):
    """A program as it shall be."""

    name: Name
    roles: Roles = ()
    redirect_uris: Annotated[
        tuple[Annotated[str, Field(min_length=1, max_length=500)], ...],
        Field(max_length=20, description="Of an app: where a login returns to", examples=[["https://ui.example/back"]]),
    ] = ()
    disabled: bool = False

    def program(self) -> Program:
        """What it says."""
        grants = tuple(role.grant() for role in self.roles)
        return Program(self.name, grants, self.redirect_uris, self.disabled)


class NewClient(ClientChange):
    """A program to be made known: a service has a secret and roles, an app has people who log in by it."""

    client: ClientId
    kind: Literal["service", "app"]


class ClientAnswer(Answer):
    """A program that logs in as itself (service), or by which people do (app)."""

    client: str
    kind: Literal["service", "app"]
    name: str
    roles: tuple[RoleAt, ...]
    redirect_uris: tuple[str, ...]
    disabled: bool
    created: datetime
    revision: int


class ClientPage(Answer):
    """Programs, by id."""

    clients: tuple[ClientAnswer, ...]
    next: str | None


class MadeClient(Answer):
    """A program was made known, or has another secret. The secret is told once: a repeated request gets none."""

    client: str
    secret: str | None


class SessionAnswer(Answer):
    """Where somebody is logged in."""

    session: str
    login: str
    since: datetime
    expires: datetime
    address: str
    browser: str


class SessionPage(Answer):
    """Sessions, the oldest first."""

    sessions: tuple[SessionAnswer, ...]
    next: str | None


class Myself(Answer):
    """Who asks, as the API sees them."""

    tenant: str
    subject: str
    name: str
    kind: str
    roles: tuple[RoleAt, ...]
    permissions: Annotated[tuple[str, ...], Field(description="What they may do somewhere")]
    customer: str | None


class PasswordChange(Asking):
    """Another password."""

    old: Annotated[str, Field(max_length=256)]
    new: Annotated[str, Field(max_length=256)]


class BrandChange(Asking):
    """What a tenant looks like; an empty text stands for the product's own."""

    title: Annotated[str, Field(max_length=TITLE_CHARS_MAX, pattern=r"^[^\x00-\x1f\x7f]*$")] = ""
    primary_color: Color = ""
    accent_color: Color = ""


class BrandAnswer(Answer):
    """What a tenant looks like."""

    tenant: str
    title: str
    primary_color: str
    accent_color: str
    logo: Annotated[str | None, Field(description="Its path on this server")]


class NewTenant(Asking):
    """A tenant to be made, with its first admin."""

    tenant: Code
    login: Login
    name: Name


class TenantAnswer(Answer):
    """A tenant, and the Sparkplug groups whose data are its."""

    tenant: str
    created: datetime
    groups: tuple[str, ...]


class TenantPage(Answer):
    """Tenants, by name."""

    tenants: tuple[TenantAnswer, ...]
    next: str | None


class AuditAnswer(Answer):
    """An entry of the audit log of one's tenant, with its place in the chain."""

    number: int
    time: datetime
    actor: str
    action: str
    subject: str
    details: dict[str, object]
    hash: str


class AuditPage(Answer):
    """Entries, the oldest first."""

    entries: tuple[AuditAnswer, ...]
    next: str | None
