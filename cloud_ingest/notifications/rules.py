"""Which event is told to whom, when and in which words. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from html import escape
from typing import Annotated, Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

ITEMS_MAX: Final = 20
"""So many events are told in full in one message; of the others it says how many there were."""
TEXT_MAX: Final = 500
GATHER_S: Final = 2
"""So long events are gathered before a message leaves: one fault at a machine often raises many."""
TRIES_MAX: Final = 20
RETRY_FIRST_S: Final = 5.0
RETRY_LONGEST_S: Final = 3600.0
WEBHOOK_LONGEST_S: Final = 6 * 3600.0
Pattern = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[a-z0-9.*-]+$")]
Place = Annotated[str, Field(max_length=63, pattern=r"^([a-z0-9][a-z0-9-]*)?$")]
ClockTime = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", examples=["22:00"])]


class QuietTimes(BaseModel):
    """No message between these times of the day; it comes when they are over. They may go over midnight."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    begin: ClockTime
    end: ClockTime
    zone: Annotated[str, Field(max_length=64, examples=["Europe/Berlin"])] = "UTC"

    @field_validator("zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError(f"{name!r} is not a time zone such as Europe/Berlin") from exc
        return name


class Rule(BaseModel):
    """Which events are told, to whom and how."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "events": ["lineside.lines.alarm-raised.v1", "lineside.lines.alarm-escalated.v1"],
                    "site": "plant-7",
                    "priority_min": 2,
                    "channel": "email",
                    "recipients": ["shift@example.com"],
                    "quiet": {"begin": "22:00", "end": "06:00", "zone": "Europe/Berlin"},
                    "throttle_s": 300,
                }
            ]
        },
    )

    events: Annotated[
        tuple[Pattern, ...],
        Field(min_length=1, max_length=50, description="Types of events; * stands for anything"),
    ]
    site: Annotated[Place, Field(description="Only of this site")] = ""
    line: Annotated[Place, Field(description="Only of this line")] = ""
    priority_min: Annotated[
        int, Field(ge=0, le=1000, description="Only events whose priority is at least that; 0: all of them")
    ] = 0
    channel: Annotated[
        str, Field(pattern=r"^(email|chat:[a-z0-9-]{1,63})$", description="email, or chat:NAME of the settings")
    ]
    recipients: Annotated[
        tuple[Annotated[str, Field(max_length=254, pattern=r"^[^@\s,<>]+@[^@\s,<>]+$")], ...],
        Field(max_length=50, description="Of e-mail"),
    ] = ()
    quiet: QuietTimes | None = None
    digest_s: Annotated[
        int, Field(ge=0, le=7 * 86_400, description="Events of so long are one message; 0: each at once")
    ] = 0
    throttle_s: Annotated[
        int, Field(ge=0, le=86_400, description="At most one message in so long; what comes meanwhile is the next one")
    ] = 60
    subject: Annotated[
        str, Field(max_length=200, description="With {type}, {text}, {site} and other fields; empty: as it is usual")
    ] = ""

    @model_validator(mode="after")
    def _somebody(self) -> Rule:
        if (self.channel == "email") != bool(self.recipients):
            raise ValueError("e-mail needs recipients, and a chat has none")
        return self


def wants(rule: Rule, type_: str, data: Mapping[str, Any]) -> bool:
    """Whether ``rule`` tells of an event."""
    if not any(fnmatchcase(type_, pattern) for pattern in rule.events):
        return False
    if (rule.site and data.get("site") != rule.site) or (rule.line and data.get("line") != rule.line):
        return False
    return not rule.priority_min or _priority(data) >= rule.priority_min


def _priority(data: Mapping[str, Any]) -> int:
    found = data.get("priority")
    text = str(found)
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def due(rule: Rule, now: datetime, held_until: datetime) -> tuple[datetime, datetime]:
    """When a message with an event of ``now`` leaves, and until when the next one is held."""
    leaves = max(now + timedelta(seconds=max(rule.digest_s, GATHER_S)), held_until)
    leaves = after_quiet(rule.quiet, leaves)
    return leaves, leaves + timedelta(seconds=rule.throttle_s)


def after_quiet(quiet: QuietTimes | None, when: datetime) -> datetime:
    """``when``, or the end of the quiet time that it falls into."""
    if quiet is None or quiet.begin == quiet.end:
        return when
    zone = ZoneInfo(quiet.zone)
    local = when.astimezone(zone)
    begin, end = time.fromisoformat(quiet.begin), time.fromisoformat(quiet.end)
    at = local.time().replace(tzinfo=None)
    is_quiet = begin <= at < end if begin < end else at >= begin or at < end
    if not is_quiet:
        return when
    day = local.date() if at < end else local.date() + timedelta(days=1)
    return datetime.combine(day, end, zone).astimezone(UTC)


@dataclass(frozen=True, slots=True)
class Item:
    """An event in a message."""

    type: str
    key: str
    time: str
    data: Mapping[str, Any]


_SENTENCES: Final[Mapping[str, str]] = {
    "lineside.lines.alarm-raised.v1": "Alarm on {site}/{line}: {text}",
    "lineside.lines.alarm-escalated.v1": "Nobody has seen to the alarm on {site}/{line}: {text}",
    "lineside.lines.alarm-cleared.v1": "The alarm on {site}/{line} is over: {text}",
    "lineside.lines.stop-opened.v1": "{site}/{line} stands still: {reason}",
    "lineside.inventory.shortage.v1": "Too little of {item} is in stock",
    "lineside.inventory.reorder-proposed.v1": "{item} should be ordered: {quantity}",
    "lineside.orders.placed.v1": "Order {order} was placed by {customer}",
    "lineside.orders.stuck.v1": "Order {order} is stuck: {text} {action}",
    "lineside.integrations.payment-disputed.v1": "Dispute about {amount} {currency} of order {order}: {state} {reason}",
    "lineside.integrations.refunded-elsewhere.v1": "Of order {order}, {amount} {currency} were paid back elsewhere",
    "lineside.integrations.call-gave-up.v1": "A call to {vendor} was given up: {reason}",
    "lineside.analytics.report-made.v1": "The report {name} of {day} is made",
    "lineside.integrations.webhook-disabled.v1": "The webhook to {url} was switched off: {reason}",
}


class _Fields(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def _filled(template: str, item: Item) -> str:
    """``template`` with the event's fields: names in braces alone, and nothing of Python's formats."""
    fields = _Fields({name: str(value)[:TEXT_MAX] for name, value in item.data.items() if _is_plain(value)})
    fields |= {"type": item.type, "key": item.key, "time": item.time}
    out, rest = "", template
    while "{" in rest:
        before, _, rest = rest.partition("{")
        name, closes, rest = rest.partition("}")
        out += before + (fields[name.strip()] if closes else "{" + name)
    return " ".join((out + rest).split())


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float | bool)


def sentence(item: Item) -> str:
    """What an event says, in one line."""
    known = _SENTENCES.get(item.type)
    if known is not None:
        return _filled(known, item)
    what = item.type.split(".")[2].replace("-", " ") if item.type.count(".") >= 2 else item.type
    reason = item.data.get("reason") or item.data.get("text") or ""
    return " ".join(f"{item.key}: {what} {str(reason)[:TEXT_MAX] if _is_plain(reason) else ''}".split())


@dataclass(frozen=True, slots=True)
class Words:
    """A message in its words."""

    subject: str
    text: str
    html: str


@dataclass(frozen=True, slots=True)
class Look:
    """Of whom a message comes, and in which colours (``#rrggbb``)."""

    title: str = "Lineside"
    color: str = "#14532d"
    text_color: str = "#ffffff"


def words(rule: Rule, name: str, items: Sequence[Item], events: int, look: Look = Look()) -> Words:
    """The message of ``items``, the first of ``events``."""
    first = items[0]
    subject = _filled(rule.subject, first) if rule.subject else sentence(first)
    if events > 1:
        subject = f"{subject} (and {events - 1} more)"
    lines = [f"{item.time}  {sentence(item)}" for item in items]
    more = [f"… and {events - len(items)} more"] if events > len(items) else []
    foot = f"Told by the rule {name!r} of {look.title}."
    rows = "".join(f"<tr><td>{escape(item.time)}</td><td>{escape(sentence(item))}</td></tr>" for item in items)
    html = (
        f'<html><body><p style="background:{escape(look.color)};color:{escape(look.text_color)};padding:8px">'
        f"{escape(look.title)}</p><p><b>{escape(subject)}</b></p><table cellpadding=4>{rows}</table>"
        f"<p>{escape(' '.join(more))}</p><p><small>{escape(foot)}</small></p></body></html>"
    )
    return Words(subject[:200], "\n".join([*lines, *more, "", foot]), html)


Outcome = Literal["delivered", "waiting", "dead", "disabled"]


@dataclass(frozen=True, slots=True)
class AfterDelivery:
    """What becomes of a delivery that an endpoint has not taken, and of the endpoint."""

    state: Outcome
    wait_s: float


def after_delivery(tries: int, failing_s: float, disable_after_s: float, jitter: float) -> AfterDelivery:
    """After the ``tries``-th try, when the endpoint has taken nothing for ``failing_s``.

    Others may wait for it that were never tried: how long it fails counts as much as how often this one was tried.
    """
    if failing_s >= disable_after_s:
        return AfterDelivery("disabled", 0.0)
    bound_s = min(WEBHOOK_LONGEST_S, max(failing_s, RETRY_FIRST_S * 2.0 ** min(tries - 1, 30)))
    return AfterDelivery("waiting", bound_s * (0.5 + 0.5 * jitter))


def retry_wait_s(tries: int, jitter: float) -> float:
    """How long a message to people waits after its ``tries``-th try."""
    return float(min(RETRY_LONGEST_S, RETRY_FIRST_S * 2.0 ** min(tries - 1, 30)) * (0.5 + 0.5 * jitter))
