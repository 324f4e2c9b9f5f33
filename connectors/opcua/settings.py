"""What a device file says of an OPC UA server."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cached_property
from typing import Annotated, Final, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from connectors.configuration.setting_types import check_port
from connectors.model.report_by_exception import ReportRule
from connectors.opcua.browse_paths import is_path, parse_path
from connectors.opcua.node_ids import parse_written
from connectors.ports.secrets import Secret
from connectors.ports.settings import (
    DataTypeSetting,
    DeviceSettings,
    Duration,
    SettingInvalid,
    Settings,
    TagSettings,
)

QUEUE_SIZE_MAX: Final = 10_000


class OpcUaTag(TagSettings):
    """One variable of the server."""

    at: Annotated[
        str,
        Field(
            description="Node id, e.g. nsu=http://acme.example/press;s=Ram.Force or ns=2;i=1001, or browse path, e.g. "
            "/Objects/2:Press/Ram/Force"
        ),
    ]
    datatype: Annotated[
        DataTypeSetting | None, Field(alias="type", description="Only where the server does not say it")
    ] = None
    sampling_s: Annotated[
        Duration | None, Field(alias="sampling", ge=0, description="How often the server looks at the value")
    ] = None
    queue_size: Annotated[
        int | None, Field(ge=1, le=QUEUE_SIZE_MAX, description="Values the server keeps between two publishes")
    ] = None

    poll_s: Annotated[
        Duration | None,
        Field(alias="poll", gt=0, description="Read it this often instead of subscribing to it, e.g. 1s"),
    ] = None

    @model_validator(mode="after")
    def _one_way_to_read(self) -> OpcUaTag:
        for key, field in (("sampling", "sampling_s"), ("queue_size", "queue_size")):
            if self.poll_s is not None and field in self.model_fields_set:
                raise SettingInvalid("it does nothing to a tag that is polled.", "Remove it, or 'poll'.", (key,))
        return self

    @model_validator(mode="after")
    def _has_effect(self) -> OpcUaTag:
        if self.datatype is not None:
            self.refuse_arithmetic(self.datatype)
            self.refuse_limits(self.datatype)
        return self

    @field_validator("at")
    @classmethod
    def _address(cls, at: str) -> str:
        if is_path(at):
            parse_path(at)
        else:
            parse_written(at)
        return at


class OpcUaSecurity(Settings):
    """How the session is secured. Certificates and policies follow; until then a session is plain or has a user."""

    policy: Literal["None"] = "None"
    user: str | None = None
    password: Secret | None = None


class OpcUaLimits(Settings):
    """What the server takes, where it does not say so itself; small controllers often do not."""

    reads: Annotated[int | None, Field(ge=1, le=10_000, description="Values in one Read request")] = None
    browses: Annotated[int | None, Field(ge=1, le=10_000, description="Nodes in one Browse request")] = None
    translations: Annotated[int | None, Field(ge=1, le=10_000, description="Browse paths in one request")] = None
    registrations: Annotated[int | None, Field(ge=1, le=10_000, description="Nodes in one RegisterNodes request")] = (
        None
    )
    items: Annotated[int | None, Field(ge=1, le=10_000, description="Monitored items in one request")] = None
    monitored_items: Annotated[int | None, Field(ge=1, description="Monitored items in all, such as 1000")] = None
    subscriptions: Annotated[int | None, Field(ge=1, le=100, description="Subscriptions in all")] = None

    def per_request(self) -> dict[str, int | None]:
        """The limits of single requests, by name."""
        return {name: getattr(self, name) for name in ("reads", "browses", "translations", "registrations", "items")}


class OpcUaDevice(DeviceSettings):
    """One OPC UA server."""

    driver: Literal["opcua"]
    insecure: Annotated[bool, Field(description="Allow a session without signature and encryption")] = False
    security: OpcUaSecurity = OpcUaSecurity()
    endpoint: Annotated[str, Field(description="opc.tcp://host:port/path")]
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
    retry_s: Annotated[
        Duration, Field(alias="retry", gt=0, description="How often tags that the server refused are tried again")
    ] = 30.0
    registered_reads: Annotated[
        bool, Field(description="Register the nodes of polled tags with the server; false where it gets that wrong")
    ] = True
    limits: OpcUaLimits = OpcUaLimits()
    tags: Annotated[tuple[OpcUaTag, ...], Field(min_length=1)]

    @cached_property
    def lag_s_max(self) -> float:
        """How long a change may take until the server sends it, as these settings ask for it."""
        polled_s = max((tag.poll_s for tag in self.tags if tag.poll_s is not None), default=0.0)
        asked_s = (
            self.sampling_s if tag.sampling_s is None else tag.sampling_s for tag in self.tags if tag.poll_s is None
        )
        return max(polled_s, self.publishing_s + max(asked_s, default=self.sampling_s))

    def _report_rule(self, tag: TagSettings) -> ReportRule:
        """What a subscription sends is news; a poll is only a question, of which the change is reported."""
        rule = super()._report_rule(tag)
        is_polled = isinstance(tag, OpcUaTag) and tag.poll_s is not None
        return replace(rule, always=False) if is_polled else rule

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
                "Allow it with 'insecure: true' beside 'endpoint'.",
            )
        return endpoint
