"""Where the gateway listens, whom it lets in, and how much of one asker it takes."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from connectors.configuration.setting_types import HostName
from connectors.ports.settings import SettingInvalid, Settings

OWN_MACHINE: Final = ("127.0.0.1", "::1", "localhost")
PerMinute = Annotated[int, Field(ge=1, le=1_000_000)]


class RateLimits(Settings):
    """Requests within any minute, to one process of the gateway; ``null``: no limit. Above it they get 429."""

    per_principal: Annotated[
        PerMinute | None, Field(description="Of one user, program or token, from wherever they ask")
    ] = 3000
    per_address: Annotated[
        PerMinute | None, Field(description="From one address: of all who share it, and of those who show no token")
    ] = 6000


class GatewaySettings(Settings):
    """The REST API."""

    insecure: Annotated[bool, Field(description="Allow other machines to ask without TLS")] = False
    host: HostName = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65_535)] = 8080
    login: Annotated[
        Literal["required", "open"] | None,
        Field(
            description="required: every request shows a token; open: who shows none may read. Without it: open to "
            "askers on this machine where 'host' is this machine, required of all others"
        ),
    ] = None
    proxies: Annotated[
        tuple[HostName, ...],
        Field(max_length=100, description="Proxies whose X-Forwarded-For and X-Forwarded-Proto are believed"),
    ] = ("127.0.0.1", "::1")
    cors_origins: Annotated[
        tuple[Annotated[str, Field(pattern=r"^https?://[^/\s*]+$", max_length=300)], ...],
        Field(max_length=100, description="Web pages of other origins that may ask, such as https://hmi.example"),
    ] = ()
    rate_limits: RateLimits = RateLimits()

    @model_validator(mode="after")
    def _open(self) -> GatewaySettings:
        if self.host in OWN_MACHINE or self.insecure:
            return self
        if self.login == "open":
            raise SettingInvalid(
                f"whoever reaches {self.host!r} can read everything: the API asks for no login.",
                "Write 'login: required', or allow it with 'insecure: true'.",
                ("login",),
            )
        raise SettingInvalid(
            f"whoever is on the way to {self.host!r} can read tokens and answers: the API has no TLS.",
            "Write 127.0.0.1 and put a proxy with TLS before it, or allow it with 'insecure: true'.",
            ("host",),
        )

    @property
    def is_open_to_all(self) -> bool:
        """Whether who shows no token may read, from wherever they ask."""
        return self.login == "open"

    @property
    def is_open_on_this_machine(self) -> bool:
        """Whether who shows no token may read, if they ask from this machine itself."""
        return self.login == "open" or (self.login is None and self.host in OWN_MACHINE)
