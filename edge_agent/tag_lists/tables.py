"""Tables in CSV and XLSX files: rows of text under headings."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from edge_agent.tag_lists.imported import ListUnreadable

NEEDS_OPENPYXL: Final = "XLSX needs the package openpyxl: pip install 'lineside[spreadsheet]', or save the table as CSV"
ROWS_MAX: Final = 200_000
UNPACKED_BYTES_MAX: Final = 300_000_000
SEPARATORS: Final = ",;\t"
_HEAD_LINES: Final = 5
_HEAD_CHARACTERS: Final = 100_000
_BEGINS_FORMULA: Final = re.compile(r"[=+\-@\t\r']")
_NUMBER: Final = re.compile(r"[+-]?\d+(?:[.,]\d+)?(?:[eE][+-]?\d+)?")
_MARKED: Final = re.compile(r"^'(?=[=+\-@\t\r'])")
_FORMULA: Final = re.compile(rb"<f[\s>/]")
XLSX_MAGIC: Final = b"PK\x03\x04"


class TableRow(NamedTuple):
    """A row: where it stands, and its cells by their headings in lower case, without those that are empty."""

    place: str
    cells: dict[str, str]
    has_decimal_commas: bool = False
    """Whether a number may be written as 0,1: where commas divide no cells, and cells are nothing but text."""


def read_table(data: bytes, needed: Sequence[str], sheets: Sequence[str] = ()) -> list[TableRow]:
    """The rows below the first row that has all headings of ``needed``.

    In XLSX, of the first sheet of ``sheets`` that there is, else of the first. Raises ``ListUnreadable``.
    """
    found: list[TableRow] = []
    headings: list[str] = []
    is_book = data.startswith(XLSX_MAGIC)
    has_decimal_commas = not is_book and _separator(decoded(data)) != ","
    for place, cells in _xlsx(data, sheets) if is_book else _csv(data):
        if len(found) >= ROWS_MAX:
            raise ListUnreadable(f"the table has more than {ROWS_MAX:,} rows")
        if not headings:
            folded = [cell.strip().lower() for cell in cells]
            headings = folded if set(needed) <= set(folded) else []
            if twice := next((head for head in headings if head and headings.count(head) > 1), ""):
                raise ListUnreadable(f"two columns are called {twice!r}: leave one of them out")
            continue
        filled = {head: cell.strip() for head, cell in zip(headings, cells, strict=False) if head and cell.strip()}
        if filled:
            found.append(TableRow(place, filled, has_decimal_commas))
    if not headings:
        raise ListUnreadable(f"no row of the table has the headings {', '.join(needed)}")
    return found


def headings_of(data: bytes) -> list[set[str]]:
    """The cells of the first rows, in lower case, by which a table is recognised."""
    rows = _xlsx(data, ()) if data.startswith(XLSX_MAGIC) else _csv(data)
    return [{cell.strip().lower() for cell in cells} for _, (_, cells) in zip(range(_HEAD_LINES), rows, strict=False)]


def _csv(data: bytes) -> Iterator[tuple[str, list[str]]]:
    text = decoded(data)
    try:
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=_separator(text), strict=True)
        for cells in rows:
            yield f"line {rows.line_num}", [_MARKED.sub("", cell) for cell in cells]
    except csv.Error as exc:
        raise ListUnreadable(f"it is no CSV: {exc}, in line {rows.line_num}") from exc


def _separator(text: str) -> str:
    # A title may stand above the headings, and descriptions below, with commas in them: what is in most lines counts.
    head = text[:_HEAD_CHARACTERS].splitlines()[:_HEAD_LINES]
    return max(SEPARATORS, key=lambda each: (sum(each in line for line in head), "".join(head).count(each)))


def decoded(data: bytes) -> str:
    """Text of the encodings that spreadsheets write: UTF-8, UTF-16 with its mark, else Windows-1252."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _xlsx(data: bytes, sheets: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    try:
        import openpyxl
    except ImportError as exc:
        raise ListUnreadable(NEEDS_OPENPYXL) from exc
    try:
        has_formulas = _has_formulas(data)
        book = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        name = next((name for name in sheets if name in book.sheetnames), book.worksheets[0].title)
        rows: Iterable[tuple[object, ...]] = book[name].iter_rows(values_only=True)
        if has_formulas:
            written = openpyxl.load_workbook(io.BytesIO(data), read_only=True)[name].iter_rows(values_only=True)
            rows = (_with_results(*pair) for pair in zip(rows, written, strict=True))
        for number, cells in enumerate(rows, 1):
            yield f"{name} row {number}", [_text(cell) for cell in cells]
    except ListUnreadable:
        raise
    except Exception as exc:  # whatever the library stumbles over in a file that is none
        raise ListUnreadable(f"it is no XLSX file that can be read: {' '.join(str(exc).split())}") from exc


def _has_formulas(data: bytes) -> bool:
    """Whether any cell is calculated. Raises ``ListUnreadable`` where the file is far larger unpacked."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(part.file_size for part in archive.infolist()) > UNPACKED_BYTES_MAX:
            raise ListUnreadable(f"it has more than {UNPACKED_BYTES_MAX // 1_000_000} MB unpacked")
        return any(
            _FORMULA.search(archive.read(part)) for part in archive.namelist() if part.startswith("xl/worksheets/")
        )


def _with_results(results: tuple[object, ...], written: tuple[object, ...]) -> tuple[object, ...]:
    for result, cell in zip(results, written, strict=True):
        if result is None and cell is not None:
            raise ListUnreadable(
                f"the result of the formula {str(cell)[:40]!r} is not in the file: open it in a spreadsheet program, "
                "and save it"
            )
    return results


def _text(cell: object) -> str:
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return f"{cell:.15g}" if isinstance(cell, float) else str(cell)


def write_table(path: Path, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table to ``path``, by the end of its name. Raises ``ListUnreadable`` when openpyxl is missing."""
    if path.suffix.lower() == ".xlsx":
        _write_xlsx(path, headings, rows)
        return
    with path.open("w", encoding="utf-8-sig", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(headings)
        writer.writerows([_as_text(cell) for cell in row] for row in rows)


def _as_text(cell: str) -> str:
    """``cell`` with the mark of a text, where a spreadsheet would take it for a formula: names come from devices."""
    return f"'{cell}" if _BEGINS_FORMULA.match(cell) and not _NUMBER.fullmatch(cell) else cell


def _write_xlsx(path: Path, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    try:
        import openpyxl
        from openpyxl.cell import WriteOnlyCell
    except ImportError as exc:
        raise ListUnreadable(NEEDS_OPENPYXL) from exc
    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("tags")
    for row in (headings, *rows):
        cells = []
        for text in row:
            cell = WriteOnlyCell(sheet, value=text)
            cell.data_type = "s"  # as text, whatever it looks like: no formula, no date
            cells.append(cell)
        sheet.append(cells)
    book.save(path)
