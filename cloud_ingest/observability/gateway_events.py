"""The events of the gateway: its access log, and requests that a defect has ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import REQUEST_SECONDS, REQUESTS, REQUESTS_FAILED, REQUESTS_LIMITED
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
