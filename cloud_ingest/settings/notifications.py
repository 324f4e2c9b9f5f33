"""The section ``notifications``: the ways to people, and what webhooks to other systems may do."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from connectors.configuration.setting_types import FilePath, HostName
from connectors.ports.secrets import Secret
from connectors.ports.settings import Duration, SettingInvalid, Settings, Size


class EmailSettings(Settings):
    """A mail server."""

    host: HostName
    port: Annotated[int, Field(ge=1, le=65_535)] = 587
    tls: Annotated[
        Literal["starttls", "tls", "none"],
        Field(description="starttls: refused without it; tls: from the beginning; none needs insecure"),
    ] = "starttls"
    insecure: Annotated[bool, Field(description="Allow a connection without TLS")] = False
    user: Annotated[str, Field(max_length=200)] = ""
    password: Secret | None = None
    sender: Annotated[str, Field(max_length=254, pattern=r"^[^\r\n]*[^@\s]+@[^@\s]+$", examples=["lineside@acme.com"])]
    ca_file: Annotated[FilePath | None, Field(description="Authorities that sign the server's certificate")] = None
    attachments: Annotated[
        Size,
        Field(ge=100_000, le=100_000_000, description="Of one mail; what is larger is left out, and the mail says so"),
    ] = 10_000_000

    @model_validator(mode="after")
    def _encrypted(self) -> EmailSettings:
        if self.tls == "none" and not self.insecure:
            raise SettingInvalid(
                "mail would go without encryption.",
                "Write 'tls: starttls', or allow it with 'insecure: true'.",
                ("tls",),
            )
        return self


class CustomerMails(Settings):
    """Mails to customers about their orders, in the name of their tenant; none unless said."""

    tell: Annotated[
        tuple[Literal["placed", "shipped", "cancelled"], ...],
        Field(max_length=3, description="What of an order its customer is told by e-mail"),
    ] = ()


class ChatSettings(Settings):
    """A room of a chat."""

    url: Annotated[Secret, Field(description="Of its incoming webhook: whoever knows it can write there")]
    format: Literal["slack", "mattermost", "teams"] = "slack"


ChatName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}$")]
TenantName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class TenantNotificationSettings(Settings):
    """The ways to people of one tenant: a mail server that it does not name is that of all."""

    email: EmailSettings | None = None
    chats: Annotated[
        dict[ChatName, ChatSettings],
        Field(max_length=50, default_factory=dict, description="Beside those of all; one of the same name is its own"),
    ]


class WebhookSettings(Settings):
    """Webhooks to other systems; their addresses come by the API."""

    allow_private: Annotated[
        bool,
        Field(description="Also to addresses of the own network, and by plain HTTP: who may add them can reach it"),
    ] = False
    disable_after_s: Annotated[
        Duration, Field(alias="disable_after", ge=60, le=30 * 86_400, description="Without one that was taken")
    ] = 5 * 86_400.0


class NotificationSettings(Settings):
    """How people and other systems are told; which events are told to whom, rules of the API say."""

    email: EmailSettings | None = None
    chats: Annotated[
        dict[ChatName, ChatSettings],
        Field(max_length=50, default_factory=dict, description="By the name that rules have: chat:NAME"),
    ]
    tenants: Annotated[
        dict[TenantName, TenantNotificationSettings],
        Field(max_length=1000, default_factory=dict, description="Mail servers and rooms of tenants, by their names"),
    ]
    webhooks: WebhookSettings = WebhookSettings()
    customers: CustomerMails = CustomerMails()
