"""What a device file says of an OPC UA server."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from connectors.configuration.setting_types import check_port
from connectors.model.report_by_exception import ReportRule
from connectors.opcua.browse_rules import OpcUaBrowse
from connectors.opcua.method_names import check_call
from connectors.opcua.security_settings import OpcUaSecurity, Policy
from connectors.opcua.tag_settings import QUEUE_SIZE_MAX, OpcUaTag
from connectors.ports.settings import (
    AgentPlace,
    DeviceSettings,
    Duration,
    SettingInvalid,
    Settings,
    TagSettings,
)

FOUND_MAX: Final = 100_000
"""So many variables may the browse rules of one device find: each has its place in columns from the start."""


KEEP_S_MAX: Final = 3600.0
"""A session that nobody comes back to holds a place on the server for as long."""

SESSION_S_MIN: Final = 60.0
"""Also without subscriptions something is asked of the server well within this time."""


class OpcUaLimits(Settings):
    """What the server takes, where it does not say so itself; small controllers often do not."""

    reads: Annotated[int | None, Field(ge=1, le=10_000, description="Values in one Read request")] = None
    browses: Annotated[int | None, Field(ge=1, le=10_000, description="Nodes in one Browse request")] = None
    translations: Annotated[int | None, Field(ge=1, le=10_000, description="Browse paths in one request")] = None
    registrations: Annotated[int | None, Field(ge=1, le=10_000, description="Nodes in one RegisterNodes request")] = (
        None
    )
    items: Annotated[int | None, Field(ge=1, le=10_000, description="Monitored items in one request")] = None
    histories: Annotated[int | None, Field(ge=1, le=10_000, description="Nodes in one HistoryRead request")] = None
    monitored_items: Annotated[int | None, Field(ge=1, description="Monitored items in all, such as 1000")] = None
    subscriptions: Annotated[int | None, Field(ge=1, le=100, description="Subscriptions in all")] = None

    def per_request(self) -> dict[str, int | None]:
        """The limits of single requests, by name."""
        names = ("reads", "browses", "translations", "registrations", "items", "histories")
        return {name: getattr(self, name) for name in names}


class OpcUaHistory(Settings):
    """How the time of an outage is filled from what the server has kept (HistoryRead)."""

    use: Annotated[
        Literal["auto", "always", "never"],
        Field(description="auto: for tags whose nodes say that they are historized; always: for all; never"),
    ] = "auto"
    wait_s: Annotated[
        Duration, Field(alias="wait", ge=0, description="After the connect, as a historian may be behind its server")
    ] = 2.0
    span_s_max: Annotated[
        Duration, Field(alias="span", gt=0, description="Longer outages are filled for so long before their end")
    ] = 86_400.0


class OpcUaDevice(DeviceSettings):
    """One OPC UA server."""

    driver: Literal["opcua"]
    insecure: Annotated[
        bool,
        Field(description="Allow a session without signature and encryption; it is, where security names no policy"),
    ] = False
    security: OpcUaSecurity = OpcUaSecurity()
    endpoint: Annotated[str, Field(description="opc.tcp://host:port/path")]
    backup: Annotated[
        tuple[str, ...],
        Field(max_length=10, description="Endpoints of servers with the same variables, asked when this one is lost"),
    ] = ()
    publishing_s: Annotated[
        Duration, Field(alias="publishing", gt=0, description="How often the server sends what has changed")
    ] = 0.1
    sampling_s: Annotated[Duration, Field(alias="sampling", ge=0, description="For tags that say nothing else")] = 0.1
    queue_size: Annotated[int, Field(ge=1, le=QUEUE_SIZE_MAX, description="For tags that say nothing else")] = 10
    timeout_s: Annotated[Duration, Field(alias="timeout", gt=0, description="For one request")] = 5.0
    silence_s_max: Annotated[
        Duration,
        Field(alias="silence", gt=0, description="Without any publish response for this long: reconnect"),
    ] = 15.0
    keep_s: Annotated[
        Duration,
        Field(
            alias="keep",
            ge=0,
            le=KEEP_S_MAX,
            description="How long the server is asked to keep the session without a connection; 0: it is not resumed",
        ),
    ] = 60.0
    retry_s: Annotated[
        Duration, Field(alias="retry", gt=0, description="How often tags that the server refused are tried again")
    ] = 30.0
    registered_reads: Annotated[
        bool, Field(description="Register the nodes of polled tags with the server; false where it gets that wrong")
    ] = True
    history: OpcUaHistory = OpcUaHistory()
    reverse_connect: Annotated[
        str | None, Field(description="Refused: the agent cannot wait for a server that connects to it")
    ] = None
    limits: OpcUaLimits = OpcUaLimits()
    browse: Annotated[
        tuple[OpcUaBrowse, ...], Field(max_length=100, description="Variables that become tags without being named")
    ] = ()
    browse_again_s: Annotated[
        Duration, Field(alias="browse_again", ge=1, description="How often it is looked what has come and gone since")
    ] = 600.0
    _place: AgentPlace | None = PrivateAttr(default=None)
    tags: tuple[OpcUaTag, ...] = ()

    @model_validator(mode="after")
    def _reads_something(self) -> OpcUaDevice:
        if not self.tags and not self.browse:
            raise SettingInvalid("there is nothing to read.", "Write 'tags', or 'browse' with at least one rule.", ())
        found_max = sum(rule.variables_max for rule in self.browse)
        if found_max > FOUND_MAX:
            raise SettingInvalid(
                f"its rules may find {found_max:,} variables; one device can have {FOUND_MAX:,} of them.",
                "Lower the 'max' of the rules, or make several devices.",
                ("browse",),
            )
        return self

    @property
    def tags_max(self) -> int:
        """How many tags the device can have, those that are derived and those that browse rules may find included."""
        return len(self.tags) + len(self.derived) + sum(rule.variables_max for rule in self.browse)

    @property
    def session_s(self) -> float:
        """The timeout to ask for: the last request may be as old as ``silence`` when the connection is lost."""
        return max(SESSION_S_MIN, self.keep_s + self.silence_s_max)

    def report_rule(self, tag: OpcUaTag) -> ReportRule:
        """When samples of a tag that a browse rule has found are reported."""
        return self._report_rule(tag)

    @cached_property
    def lag_s_max(self) -> float:
        """How long a change may take until the server sends it, as these settings ask for it."""
        read: tuple[OpcUaTag | OpcUaBrowse, ...] = (*self.tags, *self.browse)
        polled_s = max((each.poll_s for each in read if each.poll_s is not None), default=0.0)
        asked_s = (
            self.sampling_s if each.sampling_s is None else each.sampling_s for each in read if each.poll_s is None
        )
        return max(polled_s, self.publishing_s + max(asked_s, default=self.sampling_s))

    def _report_rule(self, tag: TagSettings) -> ReportRule:
        """What a subscription sends is news; a poll is only a question, of which the change is reported."""
        rule = super()._report_rule(tag)
        is_polled = isinstance(tag, OpcUaTag) and tag.poll_s is not None
        return replace(rule, always=False) if is_polled else rule

    @model_validator(mode="after")
    def _calls_can_be_made(self) -> OpcUaDevice:
        for name, command in self.commands.items():
            for part, steps in (("steps", command.steps), ("otherwise", command.otherwise)):
                for at, step in enumerate(steps):
                    try:
                        check_call("acknowledge" if step.call is None else step.call)
                    except ValueError as exc:
                        path = ("commands", name, part, at, "call")
                        suggestion = "Or write acknowledge, confirm or add_comment, for an alarm."
                        raise SettingInvalid(f"{exc}.", suggestion, path) from None
        return self

    @field_validator("reverse_connect", mode="before")
    @classmethod
    def _dials_out(cls, asked: object) -> object:
        if asked is not None:
            raise SettingInvalid(
                "the agent cannot wait for a server that connects to it: the OPC UA library that it stands on does not "
                "have that (opcua-asyncio issue 766).",
                "Remove it and let the agent reach 'endpoint', through a proxy in the machines' network if need be.",
            )
        return asked

    @field_validator("backup")
    @classmethod
    def _others(cls, backup: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        known = [info.data.get("endpoint"), *backup]
        for endpoint in backup:
            cls._opc_tcp(endpoint)
            if known.count(endpoint) > 1:
                raise SettingInvalid(f"{endpoint!r} stands there twice.", "Name each server once.")
        return backup

    @field_validator("endpoint")
    @classmethod
    def _opc_tcp(cls, endpoint: str) -> str:
        found = re.fullmatch(r"opc\.tcp://[^/\s:@]+(?::(\d+))?(?:/\S*)?", endpoint)
        if found is None:
            raise ValueError(f"{endpoint!r} is not an OPC UA endpoint; write it as opc.tcp://host:4840")
        check_port(endpoint, found[1])
        return endpoint

    @field_validator("endpoint")
    @classmethod
    def _protected(cls, endpoint: str, info: ValidationInfo) -> str:
        security = info.data.get("security")
        if security is not None and security.policy == "None" and info.data.get("insecure") is False:
            raise SettingInvalid(
                f"the session with {endpoint!r} is neither signed nor encrypted: anybody on the network can read and "
                "change what is sent.",
                "Remove 'policy: None', or allow it with 'insecure: true' beside 'endpoint'.",
            )
        if security is not None and security.policy is None and info.data.get("insecure"):
            set_for_nothing = sorted({"mode", "certificate", "trust"} & security.model_fields_set)
            if set_for_nothing:
                raise SettingInvalid(
                    f"'insecure: true' makes the session with {endpoint!r} one without security, for which "
                    f"'{set_for_nothing[0]}' under 'security' does nothing.",
                    "Remove one of the two, or name a 'policy' under 'security'.",
                )
        return endpoint

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Of all servers that have its variables, in the order in which they are asked."""
        return (self.endpoint, *self.backup)

    def at(self, endpoint: str) -> OpcUaDevice:
        """These settings for the server at ``endpoint``."""
        return self if endpoint == self.endpoint else self.model_copy(update={"endpoint": endpoint})

    @property
    def policy(self) -> Policy | None:
        """The policy of the session; ``None``: the strongest that the server offers, which is not None.

        ``insecure: true`` without a policy means that there is none.
        """
        return "None" if self.insecure and self.security.policy is None else self.security.policy

    @property
    def is_insecure(self) -> bool:
        """See ``DeviceSettings``; a session that is signed alone can be read, and not changed."""
        return self.policy == "None"

    @property
    def weaknesses(self) -> frozenset[str]:
        """See ``DeviceSettings``."""
        security = self.security
        found = set(super().weaknesses)
        if not self.is_insecure and security.mode == "Sign":
            found.add("it is not encrypted")
        if security.plain_password == "allow":  # noqa: S105
            found.add("its password may be sent in plain text")
        found |= {f"its server's certificate may be wrong in {what}" for what in security.trust.allow}
        found |= {f"what {path} has issued counts" for path in security.trust.issuers}
        return frozenset(found)

    @property
    def place(self) -> AgentPlace | None:
        """Where the agent keeps its own certificate and trust list; ``None`` before ``placed``."""
        return self._place

    def placed(self, place: AgentPlace) -> OpcUaDevice:
        """See ``DeviceSettings``."""
        copy = self.model_copy()
        copy._place = place  # noqa: SLF001
        return copy

    def certificate_files(self) -> tuple[Path, ...]:
        """See ``DeviceSettings``."""
        named = (self.security.user_certificate, self.security.certificate, *self.security.trust.issuers)
        return tuple(path for path in named if path is not None)
