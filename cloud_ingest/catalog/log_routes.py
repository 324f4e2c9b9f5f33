"""The routes of log lines: searched by people, brought by what forwards the lines of agents and machines."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from cloud_ingest.access.answers import Answer
from cloud_ingest.access.needs import Needs, refuse_unless_everywhere
from cloud_ingest.access.pages import LIMIT, Limit
from cloud_ingest.access.parameters import only_known_parameters
from cloud_ingest.access.permissions import Permission
from cloud_ingest.access.principal import Principal
from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.access.span import QuestionInvalid
from cloud_ingest.catalog.asking import PROBLEMS, SearchQuery
from cloud_ingest.catalog.log_keeper import level_of
from cloud_ingest.catalog.log_lines import FIELDS_MAX, Level, Line, at_least, entry_of, text_of
from connectors.ports.clock import Clock
from connectors.ports.documents import CappedCollection, DocumentStore, Entry, FindEntries

LINES_MAX: Final = 1000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_BEFORE: Final = r"^([0-9]{1,19}-[0-9a-f]{1,64})?$"
LogReader = Annotated[Principal, Depends(Needs(Permission.LOGS_READ))]
LogWriter = Annotated[Principal, Depends(Needs(Permission.LOGS_WRITE))]
LevelQuery = Annotated[Level, Query(description="This, and what is worse")]
SourceQuery = Annotated[
    Literal["application", "agent", "device"] | None,
    Query(description="application: the cloud's own programs; agent: an agent's; device: of a machine itself"),
]
AgentQuery = Annotated[str | None, Query(max_length=511, description="group/name", examples=["plant-7/line-3"])]
OwnerQuery = Annotated[
    str,
    Query(pattern=r"^[^/]+/[^/]+$", max_length=511, description="Whose: group/name", examples=["plant-7/line-3"]),
]
DeviceQuery = Annotated[str | None, Query(max_length=255, description="Its name in the agent")]
TimeQuery = Annotated[AwareDatetime | None, Query(description="ISO 8601 with a time zone")]


class LogLine(Answer):
    """A line."""

    time: datetime
    level: Level
    source: str
    event: Annotated[str, Field(description="What happened, in one word", examples=["device_lost"])]
    text: str
    agent: str
    device: str
    fields: dict[str, str]


class LogPage(Answer):
    """Lines, the newest first."""

    lines: list[LogLine]
    next: Annotated[str | None, Field(description="The 'before' of the next page")]


class LinesKept(Answer):
    """So many lines were read. Those that are there already were left out."""

    lines: int


class GivenLine(BaseModel):
    """A line of another program, one JSON object. Agents' own lines (``log_format: json``) are such."""

    model_config = ConfigDict(extra="allow", frozen=True)

    timestamp: AwareDatetime
    event: Annotated[str, Field(max_length=1000)] = ""
    level: Annotated[str, Field(max_length=20)] = "info"
    text: Annotated[str, Field(max_length=4000)] = ""
    device: Annotated[str, Field(max_length=255)] = ""


def log_routes(documents: DocumentStore, collection: CappedCollection, clock: Clock) -> APIRouter:
    """``/logs``."""
    api = APIRouter(
        prefix="/api/v1/logs", tags=["Logs"], responses=PROBLEMS, dependencies=[Depends(only_known_parameters)]
    )

    @api.get("")
    async def logs(
        principal: LogReader,
        search: SearchQuery = "",
        level: LevelQuery = "debug",
        source: SourceQuery = None,
        agent: AgentQuery = None,
        device: DeviceQuery = None,
        begin: Annotated[TimeQuery, Query(alias="from")] = None,
        end: Annotated[TimeQuery, Query(alias="to")] = None,
        before: Annotated[str, Query(pattern=_BEFORE, description="The 'next' of the page before")] = "",
        limit: Limit = LIMIT,
    ) -> LogPage:
        """Lines of the cloud's programs, of agents and of machines, the newest first (from <= time < to)."""
        refuse_unless_everywhere(principal, Permission.LOGS_READ, "log lines")
        named = {"source": source, "agent": agent, "device": device}
        equal: dict[str, Any] = {name: value for name, value in named.items() if value is not None}
        if level != "debug":
            equal["level"] = at_least(level)
        asked = FindEntries(_ns(begin), _ns(end), equal, search, _cursor(before), limit + 1)
        found = await documents.entries(principal.tenant_id, collection, asked)
        last = found[limit - 1] if len(found) > limit else None
        following = None if last is None else f"{last.time_ns}-{last.id}"
        return LogPage(lines=[_line(entry) for entry in found[:limit]], next=following)

    @api.post(
        "",
        status_code=202,
        openapi_extra={"requestBody": {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def bring(
        principal: LogWriter,
        request: Request,
        agent: Annotated[
            str, Query(pattern=r"^[^/]+/[^/]+$", max_length=511, description="group/name: whose they are")
        ],
    ) -> LinesKept:
        """Keep lines of an agent and its machines: JSON objects, one a line. The same lines again change nothing."""
        refuse_unless_everywhere(principal, Permission.LOGS_WRITE, "log lines")
        now_ns = clock.now_ns()
        given = [_given(number, text, agent) for number, text in enumerate(_texts(await request.body()), start=1)]
        await documents.append(principal.tenant_id, collection, [entry_of(line, now_ns) for line in given])
        return LinesKept(lines=len(given))

    return api


def _texts(body: bytes) -> list[str]:
    try:
        texts = [text for text in body.decode().split("\n") if text.strip()]
    except UnicodeDecodeError as exc:
        raise RequestRefused(Why.INVALID, "lines_invalid", f"the lines are no UTF-8: {exc}") from exc
    if len(texts) > LINES_MAX:
        raise RequestRefused(Why.TOO_LARGE, "too_many", f"no more than {LINES_MAX} lines at once")
    return texts


def _given(number: int, text: str, agent: str) -> Line:
    try:
        given = GivenLine.model_validate_json(text)
        time_ns = _ns(given.timestamp) or 0
    except (ValidationError, OverflowError) as exc:
        why = f"line {number} is no log line: a JSON object with 'timestamp' (with a time zone) and 'event' or 'text'"
        raise RequestRefused(Why.INVALID, "lines_invalid", why) from exc
    more = {name: text_of(value) for name, value in (given.model_extra or {}).items()}
    source: Literal["device", "agent"] = "device" if given.device else "agent"
    said = given.text or more.pop("reason", "")
    some = dict(list(more.items())[:FIELDS_MAX])
    return Line(time_ns, level_of(given.level), source, given.event, said, agent, given.device, some)


def _line(entry: Entry) -> LogLine:
    fields = dict(entry.body["fields"])
    time = _EPOCH + timedelta(microseconds=entry.time_ns // 1000)
    return LogLine(time=time, fields=fields, **{name: entry.body[name] for name in entry.body if name != "fields"})


def _ns(time: datetime | None) -> int | None:
    """Nanoseconds since 1970. Raises ``QuestionInvalid`` beyond what a store has (years 1677 to 2262)."""
    if time is None:
        return None
    found = (time - _EPOCH) // timedelta(microseconds=1) * 1000
    if not -(1 << 63) <= found < 1 << 63:
        raise QuestionInvalid("a time is between the years 1678 and 2262")
    return found


def _cursor(before: str) -> tuple[int, str] | None:
    if not before:
        return None
    time_ns, _, entry_id = before.partition("-")
    if int(time_ns) >= 1 << 63:
        raise QuestionInvalid("'before' is the 'next' of the page before")
    return int(time_ns), entry_id
