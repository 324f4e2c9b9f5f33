"""What is asked of work orders: lists, one with everything about it, and the sequence of a line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.lines.line_times import work_time
from cloud_ingest.lines.work_order_book import Place
from cloud_ingest.lines.work_order_events import exact
from cloud_ingest.lines.work_order_recipes import Parameter, read_parameters
from cloud_ingest.lines.work_order_rules import needed_s, pieces_per_s, remaining, surplus
from connectors.ports.database import Row, Session

Places = tuple[tuple[str, str | None], ...] | None
_RAN: Final = (
    "(SELECT coalesce(sum(greatest(coalesce(end_ns, $1::bigint) - begin_ns, 0)), 0)::numeric / 1000000000 "
    "    FROM work_order_run r WHERE r.work_order_id = o.work_order_id AND r.tenant_id = o.tenant_id) AS ran_s"
)


@dataclass(frozen=True, slots=True)
class WorkOrderChoice:
    """Which work orders, the oldest first; ``after`` is the id of the last one of the page before."""

    site: str | None = None
    line: str | None = None
    states: tuple[str, ...] = ()
    product: str | None = None
    order: str | None = None
    after: str = ""
    count_max: int = 101


@dataclass(frozen=True, slots=True)
class LineSettings:
    """How work orders go on by themselves on a line, and where recipes are written. ``revision`` 0: never set."""

    revision: int = 0
    completes_itself: bool = False
    starts_next: bool = False
    parameters: tuple[tuple[str, Parameter], ...] = ()


async def work_orders(
    session: Session, tenant_id: int, choice: WorkOrderChoice, places: Places, now_ns: int
) -> list[dict[str, Any]]:
    """The work orders of ``choice`` in ``places`` (``None``: everywhere)."""
    rows = await session.fetch(
        f"SELECT o.*, {_RAN} FROM work_order o WHERE o.tenant_id = $2 AND ($3::text IS NULL OR site = $3) "  # noqa: S608
        "AND ($4::text IS NULL OR line = $4) AND (cardinality($5::text[]) = 0 OR state = ANY($5)) "
        "AND ($6::text IS NULL OR product = $6) AND ($7::text IS NULL OR order_id = $7) AND work_order_id > $8 "
        "AND ($9::text[] IS NULL OR EXISTS (SELECT FROM unnest($9::text[], $10::text[]) AS mine (a_site, a_line) "
        "    WHERE a_site = site AND (a_line IS NULL OR a_line = line))) ORDER BY work_order_id LIMIT $11",
        now_ns,
        tenant_id,
        choice.site,
        choice.line,
        list(choice.states),
        choice.product,
        choice.order,
        choice.after,
        None if places is None else [site for site, _ in places],
        None if places is None else [line for _, line in places],
        choice.count_max,
    )
    return [told(row) for row in rows]


async def work_order(session: Session, tenant_id: int, work_order_id: str, now_ns: int) -> dict[str, Any]:
    """One work order with its history, its recipe's way to the machines, and when it will be done."""
    rows = await session.fetch(
        f"SELECT o.*, {_RAN} FROM work_order o WHERE tenant_id = $2 AND work_order_id = $3",  # noqa: S608
        now_ns,
        tenant_id,
        work_order_id,
    )
    if not rows:
        raise RequestRefused(
            Why.UNKNOWN, "unknown_work_order", f"there is no work order {work_order_id}; /api/v1/work-orders lists them"
        )
    (row,) = rows
    states = await session.fetch(
        "SELECT state, time_ns, actor, reason FROM work_order_state WHERE work_order_id = $1 ORDER BY state_id",
        work_order_id,
    )
    writes = await session.fetch(
        "SELECT w.parameter, w.agent, w.device, w.tag, w.value, w.is_armed, w.arm_command, w.command, w.refused, "
        "arm.state AS arm_state, done.state FROM work_order_write w "
        "LEFT JOIN command arm ON arm.command_id = w.arm_command LEFT JOIN command done ON done.command_id = w.command "
        "WHERE w.work_order_id = $1 AND w.attempt = $2 ORDER BY w.place",
        work_order_id,
        row["attempt"],
    )
    time = await work_time(session, tenant_id, (row["site"], row["line"]), _time(now_ns))
    return {
        **told(row),
        "forecast_end": _forecast(row, now_ns, time.end_of),
        "recipe": json.loads(row["recipe"]),
        "history": [
            {"state": one["state"], "time": _time(one["time_ns"]), "actor": one["actor"], "reason": one["reason"]}
            for one in states
        ],
        "writes": [_write(write) for write in writes],
    }


async def line_settings(session: Session, tenant_id: int, place: Place) -> LineSettings:
    """The settings of a line."""
    rows = await session.fetch(
        "SELECT * FROM work_order_line WHERE tenant_id = $1 AND site = $2 AND line = $3", tenant_id, *place
    )
    if not rows:
        return LineSettings()
    (row,) = rows
    parameters = tuple(read_parameters(row["parameters"]).items())
    return LineSettings(row["revision"], row["completes_itself"], row["starts_next"], parameters)


async def open_on_line(session: Session, tenant_id: int, place: Place, now_ns: int) -> list[dict[str, Any]]:
    """What runs or waits on a line: first what runs, then in its sequence."""
    rows: Sequence[Row] = await session.fetch(
        f"SELECT o.*, {_RAN} FROM work_order o WHERE tenant_id = $2 AND site = $3 AND line = $4 "  # noqa: S608
        "AND state IN ('planned', 'ready', 'next', 'running', 'paused') "
        "ORDER BY array_position(ARRAY['running', 'paused'], state) NULLS LAST, place, work_order_id",
        now_ns,
        tenant_id,
        *place,
    )
    return [told(row) for row in rows]


def told(row: Row) -> dict[str, Any]:
    """A work order as answers have it; ``row`` has ``ran_s``, too."""
    good, quantity = row["good"], row["quantity"]
    return {
        "id": row["work_order_id"],
        "job": row["job"],
        "step": row["step"],
        "steps": row["steps"],
        "site": row["site"],
        "line": row["line"],
        "product": row["product"],
        "state": row["state"],
        "released": row["released"],
        "order": row["order_id"],
        "order_line": row["order_line"],
        "quantity": exact(quantity),
        "transfer": exact(row["transfer"]),
        "good": exact(good),
        "reject": exact(row["reject"]),
        "remaining": exact(remaining(good, quantity)),
        "surplus": exact(surplus(good, quantity)),
        "late_good": exact(row["late_good"]),
        "late_reject": exact(row["late_reject"]),
        "ran_s": float(row["ran_s"]),
        "pieces_per_hour": f"{pieces_per_s(good, row['ran_s'], row['cycle_s']) * 3600:.1f}",
        "due": row["due"],
        "begin_planned": row["begin_planned"],
        "end_planned": row["end_planned"],
        "started": row["started"],
        "ended": row["ended"],
        "download": row["download"],
        "download_why": row["download_why"],
        "reason": row["reason"],
        "created": row["created"],
        "created_by": row["created_by"],
        "revision": row["revision"],
    }


def _forecast(row: Row, now_ns: int, end_of: Any) -> datetime | None:
    """When it will be done: of one that runs or is paused, from now on."""
    if row["state"] not in ("running", "paused"):
        return None
    left: Decimal = needed_s(row["good"], row["quantity"], row["ran_s"], row["cycle_s"])
    done: datetime = end_of(_time(now_ns), left)
    return done


def _write(row: Row) -> dict[str, Any]:
    command = row["command"] or row["arm_command"]
    state = row["state"] or row["arm_state"]
    return {
        "parameter": row["parameter"],
        "target": f"{row['agent']}:{row['device']}/{row['tag']}",
        "value": json.loads(row["value"]),
        "armed": row["is_armed"],
        "command": command,
        "state": "refused" if row["refused"] else "waiting" if state is None else state,
        "detail": row["refused"],
    }


def _time(time_ns: int) -> datetime:
    return datetime.fromtimestamp(time_ns / 1e9, UTC)
