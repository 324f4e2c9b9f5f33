"""What PostgreSQL answers to somebody who asks to be let in, in words that say what to do about it."""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from connectors.model.errors import DatabaseUnavailable, StatementRefused
from connectors.postgres.driver import PostgresError

_PORT: Final = 5432
_PLAIN_NAME: Final = re.compile(r"[a-z_][a-z0-9_]*")
_NO_WAY: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN, errno.ENETDOWN})
_OWN_ADDRESS: Final = re.compile(r'host "([0-9a-fA-F.:]+)"')


@dataclass(frozen=True, slots=True)
class Login:
    """Who asks where for which database; names as they are, without their quotes in a URL."""

    host: str
    port: int
    user: str
    database: str
    has_password: bool
    ca_file: str = ""

    @classmethod
    def from_dsn(cls, dsn: str) -> Login:
        """The login in a URL ``postgresql://user:password@host:port/database``."""
        parts = urlsplit(dsn)
        user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
        ca_file = parse_qs(parts.query).get("sslrootcert", [""])[-1]
        return cls(parts.hostname or "", parts.port or _PORT, user, database or user, bool(parts.password), ca_file)

    @property
    def place(self) -> str:
        """``host:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def system_authorities(dsn: str) -> ssl.SSLContext | None:
    """The authorities of the system, where ``dsn`` asks for a certificate that is checked and names none; else nothing.

    asyncpg would look for a file in the home of the user instead (as libpq does), which a service has not.
    """
    options = parse_qs(urlsplit(dsn).query)
    mode = options.get("sslmode", [""])[-1]
    if mode not in ("verify-ca", "verify-full") or "sslrootcert" in options:
        return None
    context = ssl.create_default_context()
    context.check_hostname = mode == "verify-full"
    return context


def not_connected(exc: BaseException, login: Login) -> DatabaseUnavailable:
    """The error for a connection that could not be opened. The password is never part of it."""
    state: str = getattr(exc, "sqlstate", None) or ""
    if isinstance(exc, PostgresError) and (answer := _ANSWERS.get(state) or _ANSWERS.get(state[:2])):
        return DatabaseUnavailable(f"PostgreSQL at {login.place} {answer(_first_line(exc), login)}")
    return DatabaseUnavailable(f"PostgreSQL at {login.place} cannot be reached: {_obstacle(exc, login)}")


def not_permitted(exc: StatementRefused, login: Login) -> DatabaseUnavailable:
    """The error for a statement that the user may not give: it passes when an administrator has granted that."""
    said = _first_line(exc)
    user, database = _name(login.user), _name(login.database)
    owner = f"ALTER DATABASE {database} OWNER TO {user};"
    if "an administrator of PostgreSQL" in said:  # a migration that knows what it needs
        advice = ""
    elif "permission denied for schema" in said or "permission denied for database" in said:
        advice = f"An administrator makes the user the owner of the database with: {owner}"
    else:
        advice = (
            "Another user has made the tables, or has the database: work as that user, or let an administrator hand "
            f"them over with: REASSIGN OWNED BY that_user TO {user}; {owner}"
        )
    return DatabaseUnavailable(
        f"PostgreSQL at {login.place} does not let the user {login.user!r} do this in the database {login.database!r}: "
        f"{said}. {advice}".rstrip(". ")
    )


def _no_database(_said: str, login: Login) -> str:
    create = f"CREATE DATABASE {_name(login.database)} OWNER {_name(login.user)};"
    return f"has no database {login.database!r}. An administrator makes it with: {create}"


def _password(_said: str, login: Login) -> str:
    user = _name(login.user)
    if not login.has_password:
        return (
            f"asks for the password of the user {login.user!r}, and the configuration has none. Write 'password' under "
            "'database'."
        )
    return (
        f"refuses the password of the user {login.user!r}, or has no such user. Check 'user' and 'password' of "
        f"'database' in the configuration. An administrator makes the user with: CREATE USER {user} PASSWORD '…'; and "
        f"changes its password with: ALTER USER {user} PASSWORD '…';"
    )


def _refused_login(said: str, login: Login) -> str:
    user = _name(login.user)
    if "does not exist" in said:
        return f"has no user {login.user!r}. An administrator makes it with: CREATE USER {user} PASSWORD '…';"
    if "not permitted to log in" in said:
        return f"does not let {login.user!r} log in. An administrator allows it with: ALTER ROLE {user} LOGIN;"
    if "pg_hba.conf" in said:
        kind = "host" if "no encryption" in said else "hostssl"
        found = _OWN_ADDRESS.search(said)
        address = f"{found[1]}/{128 if ':' in found[1] else 32}" if found else "ADDRESS/32"
        line = f"{kind} {_name(login.database)} {user} {address} scram-sha-256"
        return (
            f"does not let us in from here ({said}). An administrator adds this line to its pg_hba.conf, and then "
            f"says SELECT pg_reload_conf();   {line}"
        )
    return f"refuses the login of the user {login.user!r}: {said}"


def _no_entrance(said: str, login: Login) -> str:
    grant = f"GRANT CONNECT ON DATABASE {_name(login.database)} TO {_name(login.user)};"
    return (
        f"does not let the user {login.user!r} into the database {login.database!r} ({said}). An administrator allows "
        f"it with: {grant}"
    )


def _too_many(said: str, login: Login) -> str:
    return (
        f"has no connection left for the user {login.user!r} ({said}). Raise max_connections in its postgresql.conf "
        f"(or the limit of this user: ALTER USER {_name(login.user)} CONNECTION LIMIT -1;), or lower 'connections_max' "
        "of 'database' in the configuration: every process of the cloud side opens up to that many."
    )


def _not_yet(said: str, _login: Login) -> str:
    return f"takes no connections now ({said}); it is asked again."


_ANSWERS: Final[dict[str, Callable[[str, Login], str]]] = {
    "3D000": _no_database,
    "28P01": _password,
    "28000": _refused_login,
    "42501": _no_entrance,
    "53300": _too_many,
    "57": _not_yet,
}
"""By SQL state, or by the class of states (its first two characters). Of the server's own words only those are looked
at that nothing else tells apart; where it speaks another language than English, they are repeated as they are."""


def _obstacle(exc: BaseException, login: Login) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time. Check 'host' and 'port' of 'database', and that no firewall is in between."
    if isinstance(exc, socket.gaierror):
        return f"this machine does not know the name {login.host!r}. Check 'host' of 'database'."
    if isinstance(exc, ConnectionRefusedError):
        return "nothing listens there. Is PostgreSQL running, and are 'host' and 'port' of 'database' right?"
    if isinstance(exc, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({exc.verify_message}). Check 'ca_file' of 'database', and that 'host' is "
            "a name in the certificate."
        )
    if isinstance(exc, ssl.SSLError):
        return f"the TLS handshake failed ({exc.reason or exc})."
    if "rejected SSL upgrade" in str(exc):
        return (
            "it does not speak TLS. Switch it on there (ssl = on in postgresql.conf), or write 'insecure: true' "
            "instead of 'tls' under 'database' where the network can be trusted."
        )
    if isinstance(exc, ConnectionResetError) or getattr(exc, "sqlstate", None) == "08003":
        return "it closed the connection at the login. Is that the port of PostgreSQL?"
    if isinstance(exc, (FileNotFoundError, PermissionError, IsADirectoryError)) and login.ca_file:
        return f"the file {login.ca_file!r} cannot be read ({exc.strerror}). Check 'ca_file' of 'database'."
    if isinstance(exc, OSError) and exc.errno in _NO_WAY:
        return f"{exc.strerror or exc}. Check 'host' of 'database', and that this network has a way there."
    return _first_line(exc)


def _first_line(exc: BaseException) -> str:
    """What it says, without the details and hints that asyncpg adds."""
    return (str(exc).splitlines() or [type(exc).__name__])[0]


def _name(name: str) -> str:
    """``name`` as it is written in SQL."""
    return name if _PLAIN_NAME.fullmatch(name) else '"' + name.replace('"', '""') + '"'
