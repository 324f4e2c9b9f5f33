"""Events of integrations and notifications: what goes out to other systems and to people, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cloud_ingest.observability.metrics import (
    CALL_SECONDS,
    CALLS,
    CIRCUIT_OPEN,
    NOTIFICATIONS,
    VENDOR_WEBHOOKS,
    WEBHOOK_DELIVERIES,
)
from cloud_ingest.observability.obstacles import OBSTACLES, vendor_part
from connectors.observability.events import Event


@dataclass(frozen=True, slots=True)
class CallDone(Event):
    """A vendor has done what it was asked, or has said no: ``outcome`` is ``done`` or ``refused``."""

    port: str
    kind: str
    about: str
    outcome: str
    reason: str
    duration_s: float

    def measure(self) -> None:
        """See ``Event``."""
        CALLS.labels(self.port, self.kind, self.outcome).inc()
        CALL_SECONDS.labels(self.port).observe(self.duration_s)


@dataclass(frozen=True, slots=True)
class CallFailed(Event):
    """A vendor was not reached, or has not said what became of a call: it is tried again after ``wait_s``."""

    level: ClassVar[str] = "warning"
    port: str
    kind: str
    about: str
    reason: str
    failures: int
    wait_s: float

    def measure(self) -> None:
        """See ``Event``."""
        CALLS.labels(self.port, self.kind, "failed").inc()


@dataclass(frozen=True, slots=True)
class CallGaveUp(Event):
    """A call was tried so often that a person has to look at it: 'cloud-ingest integrations retry' tries it again."""

    level: ClassVar[str] = "error"
    call: str
    port: str
    kind: str
    about: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        CALLS.labels(self.port, self.kind, "gave_up").inc()


@dataclass(frozen=True, slots=True)
class CallBroken(Event):
    """A defect of Lineside in what is done for a call; it is tried again."""

    level: ClassVar[str] = "error"
    port: str
    kind: str
    about: str
    error: str
    traceback: str


@dataclass(frozen=True, slots=True)
class CircuitOpened(Event):
    """A vendor has failed several times in a row: no call goes to it for ``open_s``, then one to see if it is back."""

    level: ClassVar[str] = "warning"
    port: str
    reason: str
    open_s: float

    def measure(self) -> None:
        """See ``Event``."""
        CIRCUIT_OPEN.labels(self.port).set(1)
        OBSTACLES.stands(vendor_part(self.port), self.reason)


@dataclass(frozen=True, slots=True)
class CircuitClosed(Event):
    """A vendor answers again."""

    port: str

    def measure(self) -> None:
        """See ``Event``."""
        CIRCUIT_OPEN.labels(self.port).set(0)
        OBSTACLES.gone(vendor_part(self.port))


@dataclass(frozen=True, slots=True)
class VendorWebhookTaken(Event):
    """A vendor has told something: ``outcome`` is ``applied``, ``unused``, ``unknown`` or ``again``."""

    vendor: str
    kind: str
    outcome: str
    about: str

    def measure(self) -> None:
        """See ``Event``."""
        VENDOR_WEBHOOKS.labels(self.vendor, self.outcome).inc()


@dataclass(frozen=True, slots=True)
class VendorWebhookRefused(Event):
    """Somebody has sent what is not the vendor's, or too old."""

    level: ClassVar[str] = "warning"
    vendor: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        VENDOR_WEBHOOKS.labels(self.vendor, "refused").inc()


@dataclass(frozen=True, slots=True)
class NotificationSent(Event):
    """People were told: one message for ``events`` events."""

    notification: str
    rule: str
    channel: str
    events: int

    def measure(self) -> None:
        """See ``Event``."""
        NOTIFICATIONS.labels(self.channel, "sent").inc()


@dataclass(frozen=True, slots=True)
class NotificationFailed(Event):
    """A message was not taken by its channel; with ``is_over`` it is not tried again."""

    level: ClassVar[str] = "warning"
    notification: str
    rule: str
    channel: str
    reason: str
    is_over: bool

    def measure(self) -> None:
        """See ``Event``."""
        NOTIFICATIONS.labels(self.channel, "gave_up" if self.is_over else "failed").inc()


@dataclass(frozen=True, slots=True)
class WebhookDelivered(Event):
    """A customer's system has taken an event, or not: ``outcome`` is ``delivered``, ``failed`` or ``gave_up``."""

    level: ClassVar[str] = "debug"
    endpoint: str
    delivery: str
    outcome: str
    reason: str

    def measure(self) -> None:
        """See ``Event``."""
        WEBHOOK_DELIVERIES.labels(self.outcome).inc()


@dataclass(frozen=True, slots=True)
class WebhookDisabled(Event):
    """A customer's system has taken nothing for days: it is sent nothing any more, until somebody enables it."""

    level: ClassVar[str] = "warning"
    endpoint: str
    reason: str
