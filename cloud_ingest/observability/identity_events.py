"""The events of identity: what becomes of logins, and of the OpenID provider that is believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import LOGINS
from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class LoggedIn(Event):
    """Somebody has shown the right password."""

    login: str
    tenant_id: int
    address: str

    def measure(self) -> None:
        """See ``Event``."""
        LOGINS.labels("done").inc()


@dataclass(frozen=True, slots=True)
class LoginFailed(Event):
    """A login and a password did not belong together."""

    level: ClassVar[str] = "warning"
    address: str

    def measure(self) -> None:
        """See ``Event``."""
        LOGINS.labels("failed").inc()


@dataclass(frozen=True, slots=True)
class LoginLockedOut(Event):
    """Nobody is tried now, at this account or from this address: too many have failed."""

    level: ClassVar[str] = "warning"
    address: str
    wait_s: float

    def measure(self) -> None:
        """See ``Event``."""
        LOGINS.labels("locked_out").inc()


@dataclass(frozen=True, slots=True)
class TokensRevoked(Event):
    """A refresh token or a code was shown twice: somebody may have stolen it, and all of its family end."""

    level: ClassVar[str] = "warning"
    client: str
    family: str
    reason: str


@dataclass(frozen=True, slots=True)
class ProviderKeysFetched(Event):
    """The keys of the OpenID provider are here."""

    issuer: str
    keys: int


@dataclass(frozen=True, slots=True)
class ProviderUnreachable(Event):
    """The keys of the OpenID provider cannot be had: those that are known hold for a day."""

    level: ClassVar[str] = "warning"
    issuer: str
    reason: str
