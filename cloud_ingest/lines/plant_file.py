"""A plant file: everything of a plant in one YAML document, checked with places, and applied as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field, model_validator

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.lines import equipment
from cloud_ingest.lines.calendar_model import CalendarModel, overlaps
from cloud_ingest.lines.equipment import EquipmentKey
from cloud_ingest.lines.model import (
    MODELS,
    AreaModel,
    CellModel,
    EnterpriseModel,
    EquipmentKind,
    LineModel,
    ReasonModel,
    SiteModel,
)
from cloud_ingest.lines.model_types import Code, Part, written
from connectors.configuration.files import load_settings
from connectors.ports.database import Session
from connectors.ports.settings import SettingInvalid

_ORDER: Final[tuple[EquipmentKind, ...]] = ("enterprise", "site", "area", "calendar", "reason", "line", "cell")
"""A part comes behind what it names."""


class CellEntry(CellModel):
    """A cell, with its code."""

    cell: Code


class LineEntry(LineModel):
    """A line, with its code and its cells; its area is the one that it stands in."""

    line: Code
    area: Annotated[str, Field(exclude=True)] = ""
    cells: Annotated[tuple[CellEntry, ...], Field(max_length=1000)] = ()


class AreaEntry(AreaModel):
    """An area with its lines."""

    area: Code
    lines: Annotated[tuple[LineEntry, ...], Field(max_length=1000)] = ()


class CalendarEntry(CalendarModel):
    """A calendar, with its code."""

    calendar: Code

    @model_validator(mode="after")
    def _fit_over_midnight(self) -> CalendarEntry:
        for place, why in overlaps(self):
            raise SettingInvalid(f"{why}.", "Change one of the times, or the days.", place)
        return self


class ReasonEntry(ReasonModel):
    """A reason, with its code, and closer ones below it."""

    reason: Code
    reasons: Annotated[tuple[ReasonEntry, ...], Field(max_length=1000)] = ()


class SiteEntry(SiteModel):
    """A site with all that it has."""

    site: Code
    calendars: Annotated[tuple[CalendarEntry, ...], Field(max_length=100)] = ()
    reasons: Annotated[tuple[ReasonEntry, ...], Field(max_length=1000)] = ()
    areas: Annotated[tuple[AreaEntry, ...], Field(max_length=1000)] = ()

    @model_validator(mode="after")
    def _fits(self) -> SiteEntry:
        calendars = {entry.calendar for entry in self.calendars}
        reasons = {entry.reason for _, entry in _all_reasons(self.reasons, None)}
        seen: set[str] = set()
        for at, area in enumerate(self.areas):
            for number, line in enumerate(area.lines):
                place = ("areas", at, "lines", number)
                if line.line in seen:
                    raise SettingInvalid(
                        f"the site has a line {line.line!r} already.", "Use another code.", (*place, "line")
                    )
                seen.add(line.line)
                if line.calendar is not None and line.calendar not in calendars:
                    known = ", ".join(sorted(calendars)) or "none"
                    raise SettingInvalid(
                        f"there is no calendar {line.calendar!r}.", f"Known are: {known}.", (*place, "calendar")
                    )
                missing = sorted(set(equipment.reasons_of(line)) - reasons)
                if missing:
                    raise SettingInvalid(
                        f"there is no reason {missing[0]!r}.", "Add it to 'reasons' of the site.", (*place, "signals")
                    )
        return self


class EnterpriseEntry(EnterpriseModel):
    """The enterprise, with its code."""

    enterprise: Code


class PlantFile(Part):
    """The whole file."""

    enterprise: EnterpriseEntry | None = None
    sites: Annotated[tuple[SiteEntry, ...], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _unique(self) -> PlantFile:
        seen: set[str] = set()
        for at, site in enumerate(self.sites):
            if site.site in seen:
                raise SettingInvalid(
                    f"the file has a site {site.site!r} already.", "Use another code.", ("sites", at, "site")
                )
            seen.add(site.site)
        return self


@dataclass(frozen=True, slots=True)
class Change:
    """What applying a file has done, or would do, to one part."""

    key: EquipmentKey
    deed: str
    """added, changed or removed."""


def read_plant(path: Path) -> PlantFile:
    """The file ``path``. Raises ``ConfigInvalid`` with all problems, by line and column."""
    return load_settings(path, PlantFile)


def parts_of(plant: PlantFile) -> dict[EquipmentKey, Part]:
    """The parts of a file, those first that others name."""
    found: dict[EquipmentKey, Part] = {}
    if plant.enterprise is not None:
        key = EquipmentKey("", "enterprise", plant.enterprise.enterprise)
        found[key] = _only(EnterpriseModel, plant.enterprise)
    code = None if plant.enterprise is None else plant.enterprise.enterprise
    for site in plant.sites:
        more = {} if site.enterprise is not None or code is None else {"enterprise": code}
        found[EquipmentKey(site.site, "site", site.site)] = _only(SiteModel, site, more)
        for calendar in site.calendars:
            found[EquipmentKey(site.site, "calendar", calendar.calendar)] = _only(CalendarModel, calendar)
        for parent, reason in _all_reasons(site.reasons, None):
            above = {} if parent is None else {"parent": parent}
            found[EquipmentKey(site.site, "reason", reason.reason)] = _only(ReasonModel, reason, above)
        for area in site.areas:
            found[EquipmentKey(site.site, "area", area.area)] = _only(AreaModel, area)
            for line in area.lines:
                found[EquipmentKey(site.site, "line", line.line)] = _only(LineModel, line, {"area": area.area})
                for cell in line.cells:
                    found[EquipmentKey(site.site, "cell", f"{line.line}/{cell.cell}")] = _only(CellModel, cell)
    return dict(sorted(found.items(), key=lambda one: _ORDER.index(one[0].kind)))


async def apply_plant(session: Session, tenant: int, plant: PlantFile, by: str, *, prune: bool) -> list[Change]:
    """Have the plant as ``plant`` says; with ``prune``, parts of its sites that it does not have are removed.

    Raises ``RequestRefused``, and then nothing of it holds that the caller does not commit.
    """
    wanted = parts_of(plant)
    for site in sorted({key.site for key in wanted}):
        await equipment.lock_site(session, tenant, site)
    changes: list[Change] = []
    there = await _there(session, tenant, [site.site for site in plant.sites])
    for key, model in wanted.items():
        if await equipment.put(session, tenant, key, model, by):
            changes.append(Change(key, "changed" if key in there else "added"))
    if prune:
        gone = [key for key in there if key not in wanted]
        for key in sorted(gone, key=lambda one: _ORDER.index(one.kind), reverse=True):
            if await equipment.find(session, tenant, key) is not None:  # a cell goes with its line
                await _remove_leaves_first(session, tenant, key, gone)
                changes.append(Change(key, "removed"))
    return changes


async def _remove_leaves_first(session: Session, tenant: int, key: EquipmentKey, gone: Sequence[EquipmentKey]) -> None:
    try:
        await equipment.remove(session, tenant, key)
    except RequestRefused as exc:
        if key.kind != "reason" or exc.code != "is_needed":
            raise
        for other in gone:
            if other.kind == "reason" and other != key:
                found = await equipment.find(session, tenant, other)
                if found is not None and getattr(found.model, "parent", None) == key.code:
                    await _remove_leaves_first(session, tenant, other, gone)
        await equipment.remove(session, tenant, key)


async def _there(session: Session, tenant: int, sites: Iterable[str]) -> set[EquipmentKey]:
    found: set[EquipmentKey] = set()
    for site in sites:
        for kind in MODELS:
            at = None if kind == "enterprise" else site
            found |= {one.key for one in await equipment.parts(session, tenant, kind, at) if kind != "enterprise"}
    return found


def _all_reasons(entries: Iterable[ReasonEntry], parent: str | None) -> Iterable[tuple[str | None, ReasonEntry]]:
    for entry in entries:
        yield entry.parent or parent, entry
        yield from _all_reasons(entry.reasons, entry.reason)


def _only(model: type[Part], entry: Part, more: dict[str, Any] | None = None) -> Part:
    """``entry`` without what the file adds to it."""
    told = {name: value for name, value in written(entry).items() if name in _keys(model)}
    return model.model_validate(told | (more or {}))


def _keys(model: type[Part]) -> set[str]:
    return {field.alias or name for name, field in model.model_fields.items()}
