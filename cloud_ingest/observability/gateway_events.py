"""The events of the gateway: its access log, and requests that a defect has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import (
    CALL_RPC_SECONDS,
    CALLS_RPC,
    REQUEST_SECONDS,
    REQUESTS,
    REQUESTS_FAILED,
    REQUESTS_LIMITED,
)
from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class RequestServed(Event):
    """The access log. ``route`` is the template: what was asked for in particular, and tokens, are nowhere in it.

    ``principal`` is empty where nobody is known. A WebSocket is told of at its end, with the status 101, or 403 when
    it was not taken.
    """

    request_id: str
    principal: str
    tenant: int | None
    method: str
    route: str
    status: int
    duration_ms: float
    bytes: int
    address: str

    def measure(self) -> None:
        """See ``Event``."""
        REQUESTS.labels(self.method, self.route, str(self.status)).inc()
        if self.status != 101:
            REQUEST_SECONDS.labels(self.route).observe(self.duration_ms / 1000)


@dataclass(frozen=True, slots=True)
class RequestLimited(Event):
    """Somebody asks too much: ``limit`` is principal or address. Told at the first refusal within a minute."""

    level: ClassVar[str] = "warning"
    limit: str
    who: str


@dataclass(frozen=True, slots=True)
class RequestOverLimit(Event):
    """A request was refused by a rate limit."""

    level: ClassVar[str] = ""
    limit: str

    def measure(self) -> None:
        """See ``Event``."""
        REQUESTS_LIMITED.labels(self.limit).inc()


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A defect has ended a request: please report it, with its traceback."""

    level: ClassVar[str] = "error"
    request_id: str
    route: str
    error: str
    traceback: str

    def measure(self) -> None:
        """See ``Event``."""
        REQUESTS_FAILED.labels(self.route).inc()


@dataclass(frozen=True, slots=True)
class CallServed(Event):
    """The access log of the gRPC API, as `request_served` is that of REST. ``status`` is the name of gRPC's status.

    A stream is told of at its end; `messages` are those that were sent, `bytes` theirs.
    """

    request_id: str
    principal: str
    tenant: int | None
    method: str
    status: str
    duration_ms: float
    messages: int
    bytes: int
    address: str
    is_stream: bool

    def measure(self) -> None:
        """See ``Event``."""
        CALLS_RPC.labels(self.method, self.status).inc()
        if not self.is_stream:
            CALL_RPC_SECONDS.labels(self.method).observe(self.duration_ms / 1000)


@dataclass(frozen=True, slots=True)
class GrpcServing(Event):
    """The gRPC API is served at ``place``, with TLS or without."""

    place: str
    tls: bool


@dataclass(frozen=True, slots=True)
class CertificateRead(Event):
    """The file of the gRPC server's certificate has changed: connections from now on have the new one."""

    certificate: str


@dataclass(frozen=True, slots=True)
class CertificateUnreadable(Event):
    """The gRPC server's certificate cannot be read anew: connections have the one before. Mend the file."""

    level: ClassVar[str] = "error"
    certificate: str
    reason: str
