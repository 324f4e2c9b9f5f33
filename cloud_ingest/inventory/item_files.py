"""Items from a spreadsheet: CSV (RFC 4180) with a line of names first, all of them or none."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from cloud_ingest.access.refused import RequestRefused
from cloud_ingest.event_log.announcing import UnitOfWork
from cloud_ingest.inventory.item_store import add_item, change_item
from cloud_ingest.inventory.items import items, locked_items
from cloud_ingest.inventory.requests import NewItem

ROWS_MAX: Final = 100_000
PROBLEMS_MAX: Final = 100
_YES: Final = {"true", "yes", "1", "x"}
_NO: Final = {"false", "no", "0"}
_SWITCHES: Final = ("is_phantom", "quarantine")


class ItemsInvalid(ValueError):
    """Rows that are no items: a sentence for each, with its line."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of a file."""

    added: int
    changed: int
    same: int


def read_items(text: str) -> list[tuple[int, NewItem]]:
    """The items in ``text``, each with its line; comma, semicolon or tab between columns, an empty field is left out.

    Raises ``ItemsInvalid`` with all that is wrong, up to ``PROBLEMS_MAX`` sentences.
    """
    text = text.removeprefix("\ufeff")
    head = text.partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    found: list[tuple[int, NewItem]] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    try:
        names = [name.strip().lower() for name in reader.fieldnames or ()]
        _check_names(names)
        reader.fieldnames = names
        for row in reader:
            line = reader.line_num
            if not any(value for value in row.values()):
                continue
            if len(found) >= ROWS_MAX:
                problems.append(f"line {line}: a file has at most {ROWS_MAX} items; divide it")
                break
            try:
                item = _item_of(row)
            except (ValidationError, ValueError) as exc:
                problems += [f"line {line}: {why}" for why in _reasons(exc)]
                continue
            if item.code in seen:
                problems.append(f"line {line}: {item.code} stands in line {seen[item.code]} already")
            seen[item.code] = line
            found.append((line, item))
    except csv.Error as exc:
        problems.append(f"line {reader.line_num}: not CSV: {exc}")
    if problems:
        more = len(problems) - PROBLEMS_MAX
        raise ItemsInvalid([*problems[:PROBLEMS_MAX], *([f"and {more} more"] if more > 0 else [])])
    return found


def _check_names(names: Sequence[str]) -> None:
    known = list(NewItem.model_fields)
    if unknown := [name for name in names if name not in known]:
        raise ItemsInvalid([f"line 1: there is no column {unknown[0]!r}; known are {', '.join(known)}"])
    if missing := [name for name in ("code", "kind") if name not in names]:
        raise ItemsInvalid([f"line 1: the column {missing[0]!r} is missing; known are {', '.join(known)}"])


def _item_of(row: dict[str | Any, str | Any]) -> NewItem:
    if None in row:
        raise ValueError("it has more fields than the first line has names")
    values: dict[str, Any] = {name: value.strip() for name, value in row.items() if value and value.strip()}
    for name in _SWITCHES:
        if name in values:
            said = values[name].lower()
            if said not in _YES | _NO:
                raise ValueError(f"{name}: {values[name]!r} is neither yes nor no")
            values[name] = said in _YES
    return NewItem.model_validate(values)


def _reasons(error: ValueError) -> list[str]:
    if isinstance(error, ValidationError):
        return [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
    return [str(error)]


async def import_items(
    work: UnitOfWork, tenant_id: int, wanted: Sequence[tuple[int, NewItem]], when: datetime
) -> Imported:
    """Add the items that are not there, and change those that are others. Raises ``ItemsInvalid``; then none is."""
    there = await items(work.session, tenant_id, {item.code for _, item in wanted})
    await locked_items(work.session, tenant_id, there)
    added = changed = 0
    problems: list[str] = []
    for line, item in sorted(wanted, key=lambda one: one[1].code):
        before = there.get(item.code)
        values = item.model_dump(exclude_unset=True, exclude={"code"})
        try:
            if before is None:
                await add_item(work.session, tenant_id, item)
                added += 1
            elif any(getattr(before, name) != value for name, value in values.items()):
                await change_item(work, tenant_id, before, values, when)
                changed += 1
        except RequestRefused as exc:
            problems.append(f"line {line}: {exc}")
    if problems:
        raise ItemsInvalid(problems[:PROBLEMS_MAX])
    return Imported(added, changed, len(wanted) - added - changed)
