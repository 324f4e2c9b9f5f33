"""The model of plants in its table: read, changed part by part, and what follows for the lines themselves.

A part is changed within a transaction of its tenant. Who changes several parts takes ``lock_site`` first, so that two
people never weave their changes into each other.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from cloud_ingest.access.refused import RequestRefused, Why
from cloud_ingest.lines.calendar_model import CalendarModel, overlaps
from cloud_ingest.lines.line_rules import counts_alike
from cloud_ingest.lines.model import MODELS, EquipmentKind, LineModel
from cloud_ingest.lines.model_types import Part, written
from cloud_ingest.lines.seeding import seed
from connectors.ports.database import Row, Session

PARTS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class EquipmentKey:
    """Which part; ``site`` is empty for an enterprise, ``code`` of a cell is ``line/cell``."""

    site: str
    kind: EquipmentKind
    code: str

    def __str__(self) -> str:
        return f"the {self.kind} {self.code}" + (f" of {self.site}" if self.site and self.kind != "site" else "")


@dataclass(frozen=True, slots=True)
class Equipment:
    """A part as it is stored."""

    key: EquipmentKey
    model: Part
    revision: int
    changed_by: str
    changed: Any


async def lock_site(session: Session, tenant: int, site: str) -> None:
    """From here to the end of the transaction nobody else changes the model of ``site``."""
    await session.fetch("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", f"lineside site {tenant} {site}")


async def part(session: Session, tenant: int, key: EquipmentKey) -> Equipment:
    """One part. Raises ``RequestRefused`` when there is none."""
    return (await these(session, tenant, [key]))[key]


async def these(session: Session, tenant: int, keys: Collection[EquipmentKey]) -> dict[EquipmentKey, Equipment]:
    """Those parts. Raises ``RequestRefused`` when one of them is not there."""
    rows = await session.fetch(
        "SELECT * FROM equipment WHERE tenant_id = $1 "
        "AND (site, kind, code) IN (SELECT * FROM unnest($2::text[], $3::text[], $4::text[]))",
        tenant,
        [key.site for key in keys],
        [key.kind for key in keys],
        [key.code for key in keys],
    )
    found = {one.key: one for one in map(equipment_of, rows)}
    for key in keys:
        if key not in found:
            why = f"there is no such thing as {key}; look at its site"
            raise RequestRefused(Why.UNKNOWN, f"no_such_{key.kind}", why)
    return found


async def find(session: Session, tenant: int, key: EquipmentKey) -> Equipment | None:
    """One part, if it is there."""
    rows = await session.fetch(
        "SELECT * FROM equipment WHERE tenant_id = $1 AND site = $2 AND kind = $3 AND code = $4",
        tenant,
        key.site,
        key.kind,
        key.code,
    )
    return equipment_of(rows[0]) if rows else None


async def parts(
    session: Session,
    tenant: int,
    kind: EquipmentKind,
    site: str | None = None,
    *,
    after: tuple[str, str] = ("", ""),
    limit: int = PARTS_MAX,
) -> list[Equipment]:
    """Parts of a kind behind ``after`` (site, code), in that order, of all sites or one."""
    rows = await session.fetch(
        "SELECT * FROM equipment WHERE tenant_id = $1 AND kind = $2 AND ($3::text IS NULL OR site = $3) "
        "AND (site, code) > ($4, $5) ORDER BY site, code LIMIT $6",
        tenant,
        kind,
        site,
        *after,
        limit,
    )
    return [equipment_of(row) for row in rows]


async def put(session: Session, tenant: int, key: EquipmentKey, model: Part, by: str) -> bool:
    """Make a part, or change it, as ``model`` has it; whether that is anything new.

    Raises ``RequestRefused`` when what it is a part of, or names, is not there, or shifts overlap over midnight.
    """
    await _check_named(session, tenant, key, model)
    before = await find(session, tenant, key)
    text = json.dumps(written(model), sort_keys=True)
    if before is not None and json.dumps(written(before.model), sort_keys=True) == text:
        return False
    if isinstance(model, CalendarModel):
        for _, why in overlaps(model):
            raise RequestRefused(Why.INVALID, "shifts_overlap", f"{why}: change one of the times, or the days")
    await session.execute(
        "INSERT INTO equipment (tenant_id, site, kind, code, model, changed_by) VALUES ($1, $2, $3, $4, $5, $6) "
        "ON CONFLICT (tenant_id, site, kind, code) DO UPDATE SET model = excluded.model, "
        "revision = equipment.revision + 1, changed = now(), changed_by = excluded.changed_by",
        tenant,
        key.site,
        key.kind,
        key.code,
        text,
        by,
    )
    if isinstance(model, LineModel):
        old = None if before is None or not isinstance(before.model, LineModel) else before.model
        await _set_up_line(session, tenant, key, old, model)
    elif key.kind == "calendar":
        await session.execute(
            "UPDATE production_line SET wake_ns = 0 WHERE tenant_id = $1 AND site = $2", tenant, key.site
        )
    return True


async def remove(session: Session, tenant: int, key: EquipmentKey) -> None:
    """Remove a part. What was counted on a line stays. Raises ``RequestRefused`` while something is a part of it."""
    await part(session, tenant, key)
    holders = await _holders(session, tenant, key)
    if holders:
        why = f"{key} is needed by {', '.join(holders[:5])}: change or remove these first"
        raise RequestRefused(Why.CONFLICT, "is_needed", why)
    await session.execute(
        "DELETE FROM equipment WHERE tenant_id = $1 AND site = $2 AND kind = $3 AND code = $4",
        tenant,
        key.site,
        key.kind,
        key.code,
    )
    if key.kind == "line":
        await session.execute(
            "DELETE FROM equipment WHERE tenant_id = $1 AND site = $2 AND kind = 'cell' AND code LIKE $3",
            tenant,
            key.site,
            f"{key.code}/%",
        )
        await session.execute(
            "UPDATE line_signal SET is_used = false WHERE line_id = (SELECT line_id FROM production_line "
            "WHERE tenant_id = $1 AND site = $2 AND line = $3)",
            tenant,
            key.site,
            key.code,
        )
        await session.execute(
            # what goes on of it is ended by the role (retiring)
            "UPDATE production_line SET is_removed = true, wake_ns = 0 WHERE tenant_id = $1 AND site = $2 "
            "AND line = $3",
            tenant,
            key.site,
            key.code,
        )


async def _check_named(session: Session, tenant: int, key: EquipmentKey, model: Part) -> None:
    """Raises ``RequestRefused`` unless everything is there that ``model`` names."""
    named: list[EquipmentKey] = []
    if key.kind not in ("enterprise", "site"):
        named.append(EquipmentKey(key.site, "site", key.site))
    if key.kind == "cell":
        named.append(EquipmentKey(key.site, "line", key.code.partition("/")[0]))
    named += [EquipmentKey(at, kind, code) for at, kind, code in _names(key, model)]
    for other in dict.fromkeys(named):
        if await find(session, tenant, other) is None:
            why = f"{key} names {other}, which is not there: make it first, or write another one"
            raise RequestRefused(Why.INVALID, f"no_such_{other.kind}", why)
    if key.kind == "reason" and getattr(model, "parent", None) is not None:
        await _check_tree(session, tenant, key, str(getattr(model, "parent")))  # noqa: B009


def _names(key: EquipmentKey, model: Part) -> list[tuple[str, EquipmentKind, str]]:
    found: list[tuple[str, EquipmentKind, str]] = []
    enterprise = getattr(model, "enterprise", None)
    if enterprise is not None:
        found.append(("", "enterprise", enterprise))
    parent = getattr(model, "parent", None)
    if parent is not None:
        found.append((key.site, "reason", parent))
    if isinstance(model, LineModel):
        found.append((key.site, "area", model.area))
        if model.calendar is not None:
            found.append((key.site, "calendar", model.calendar))
        found += [(key.site, "reason", reason) for reason in reasons_of(model)]
    return found


def reasons_of(model: LineModel) -> list[str]:
    """The reasons that a line's signals name."""
    state, fault = model.signals.state, model.signals.fault
    meant = [] if state is None else [*state.map.values(), state.unmapped]
    return [reason for reason in (*(one.reason for one in meant), None if fault is None else fault.reason) if reason]


async def _check_tree(session: Session, tenant: int, key: EquipmentKey, parent: str) -> None:
    seen = [key.code]
    at: str | None = parent
    while at is not None:
        if at in seen:
            why = f"{key} would be below itself: {' → '.join([*seen, at])}. Give it another parent"
            raise RequestRefused(Why.INVALID, "reason_below_itself", why)
        seen.append(at)
        found = await find(session, tenant, EquipmentKey(key.site, "reason", at))
        at = None if found is None else getattr(found.model, "parent", None)


async def _holders(session: Session, tenant: int, key: EquipmentKey) -> list[str]:
    """What names the part, or is part of it."""
    if key.kind == "cell":
        return []
    if key.kind == "line":
        rows = await session.fetch(
            "SELECT work_order_id FROM work_order WHERE tenant_id = $1 AND site = $2 AND line = $3 "
            "AND state IN ('planned', 'ready', 'next', 'running', 'paused') ORDER BY place LIMIT 5",
            tenant,
            key.site,
            key.code,
        )
        return [f"the work order {row['work_order_id']}" for row in rows]
    site = None if key.kind == "enterprise" else key.site
    found: list[str] = []
    if key.kind == "site":
        rows = await session.fetch(
            "SELECT * FROM equipment WHERE tenant_id = $1 AND site = $2 AND kind <> 'site' LIMIT 10", tenant, key.site
        )
        return [str(equipment_of(row).key) for row in rows]
    for kind in ("site", "line", "reason"):
        others = await parts(session, tenant, kind, site)
        found += [str(other.key) for other in others if _does_name(other, key)]
    return found


def _does_name(other: Equipment, key: EquipmentKey) -> bool:
    return any(named[1:] == (key.kind, key.code) for named in _names(other.key, other.model))


async def _set_up_line(
    session: Session, tenant: int, key: EquipmentKey, before: LineModel | None, model: LineModel
) -> None:
    """Have the line and its signals as ``model`` says."""
    await session.execute(
        "INSERT INTO production_line (tenant_id, site, line) VALUES ($1, $2, $3) "
        "ON CONFLICT (tenant_id, site, line) DO UPDATE SET is_removed = false",
        tenant,
        key.site,
        key.code,
    )
    (row,) = await session.fetch(
        "SELECT line_id, fold FROM production_line WHERE tenant_id = $1 AND site = $2 AND line = $3 FOR UPDATE",
        tenant,
        key.site,
        key.code,
    )
    line_id = row["line_id"]
    if row["fold"] and (before is None or not counts_alike(before, model)):
        # what was read by the rules before stays as it was read
        await session.execute("DELETE FROM line_checkpoint WHERE line_id = $1", line_id)
        await session.execute(
            "INSERT INTO line_checkpoint (line_id, tenant_id, time_ns, fold) "
            "SELECT line_id, tenant_id, folded_ns, fold FROM production_line WHERE line_id = $1",
            line_id,
        )
    await session.execute("UPDATE production_line SET wake_ns = 0 WHERE line_id = $1", line_id)
    wanted = {name: _tag_place(tag) for name, tag in tags_of(model).items()}
    rows = await session.fetch("SELECT * FROM line_signal WHERE line_id = $1 AND is_used", line_id)
    there = {row["name"]: (row["agent"], row["device"], row["tag"]) for row in rows}
    gone = [name for name, place in there.items() if wanted.get(name) != place]
    new = [(tenant, line_id, name, *place) for name, place in wanted.items() if there.get(name) != place]
    await session.execute(
        "UPDATE line_signal SET is_used = false WHERE line_id = $1 AND is_used AND name = ANY($2::text[])",
        line_id,
        gone,
    )
    await session.execute_many(
        "INSERT INTO line_signal (tenant_id, line_id, name, agent, device, tag) VALUES ($1, $2, $3, $4, $5, $6)", new
    )
    await seed(session, line_id, [name for name, place in wanted.items() if there.get(name) != place])


def tags_of(model: LineModel) -> dict[str, str]:
    """The tags of a line by the names of its signals; those of alarms begin with ``alarm:``."""
    signals = {name: signal.tag for name, signal in model.signals.all().items()}
    return signals | {f"alarm:{alarm.alarm}": alarm.tag for alarm in model.alarms}


def _tag_place(tag: str) -> tuple[str, str, str]:
    group, agent, device, name = tag.split("/", 3)
    return f"{group}/{agent}", device, name


def equipment_of(row: Row) -> Equipment:
    """The part in a row of ``equipment``. Raises ``ValueError`` for one that this version cannot read."""
    key = EquipmentKey(row["site"], row["kind"], row["code"])
    try:
        model = MODELS[key.kind].model_validate(json.loads(row["model"]))
    except ValidationError as exc:
        raise ValueError(f"{key} is stored as this version cannot read it: {exc.error_count()} mistakes") from exc
    return Equipment(key, model, row["revision"], row["changed_by"], row["changed"])


def named(found: Sequence[Equipment]) -> dict[str, Part]:
    """Models by their codes."""
    return {one.key.code: one.model for one in found}
