"""A report in the formats that people use: a page, paper, a spreadsheet, and text for programs."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from cloud_ingest.analytics.report_contents import HEADINGS, RATIOS, Contents, Table

Format = Literal["html", "pdf", "xlsx", "csv"]
MEDIA_TYPES: Final[Mapping[Format, str]] = {
    "html": "text/html; charset=utf-8",
    "pdf": "application/pdf",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "csv": "text/csv; charset=utf-8",
}
PAPER_ROWS_MAX: Final = 500
"""Of one table: nobody reads more on paper, and each hundred takes half a second and more."""
_PERCENT: Final = frozenset({"Availability", "Performance", "Quality", "OEE", "Share", "Cumulative"})
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_STYLE: Final = (
    "body{font:14px/1.45 system-ui,sans-serif;color:#1b2530;margin:2rem auto;max-width:72rem;padding:0 1rem}"
    "h1{font-size:1.5rem;margin:0}h2{font-size:1.1rem;margin:1.6rem 0 .4rem}p{color:#5a6673;margin:.2rem 0 1rem}"
    "table{border-collapse:collapse;width:100%}"
    "th,td{padding:.3rem .6rem;border-bottom:1px solid #dfe4ea;text-align:left}"
    "th{font-weight:600;color:#5a6673}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"
    "ul{display:flex;gap:2rem;list-style:none;padding:0;margin:1rem 0}li b{display:block;font-size:1.6rem}"
)


def as_html(report: Contents) -> bytes:
    """A page of its own: no script, and nothing that is fetched."""
    figures = "".join(
        f"<li>{HEADINGS[name]}<b>{_text(HEADINGS[name], report.total.get(name))}</b></li>" for name in reversed(RATIOS)
    )
    body = "".join(_html_table(table) for table in report.tables)
    title = html.escape(report.title)
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"<h1>{title}</h1><p>{html.escape(time_of(report))}</p><ul>{figures}</ul>{body}</html>"
    )
    return page.encode()


def _html_table(table: Table) -> str:
    if not table.rows:
        return f"<h2>{html.escape(table.heading)}</h2><p>Nothing was told of this time.</p>"
    numeric = [any(isinstance(row[at], int | float) for row in table.rows) for at in range(len(table.columns))]
    heads = "".join(f"<th{_class(is_number)}>{html.escape(name)}" for name, is_number in _pairs(table, numeric))
    rows = "".join(
        "<tr>"
        + "".join(
            f"<td{_class(is_number)}>{html.escape(_text(name, value))}"
            for value, (name, is_number) in zip(row, _pairs(table, numeric), strict=True)
        )
        for row in table.rows
    )
    return f"<h2>{html.escape(table.heading)}</h2><table><tr>{heads}{rows}</table>"


def _pairs(table: Table, numeric: Sequence[bool]) -> list[tuple[str, bool]]:
    return list(zip(table.columns, numeric, strict=True))


def _class(is_number: bool) -> str:
    return ' class="n"' if is_number else ""


def as_pdf(report: Contents) -> bytes:
    """A4, landscape. Letters that the standard fonts of PDF lack are written as question marks."""
    from fpdf import FPDF

    pdf = FPDF(orientation="landscape", format="A4")
    pdf.set_title(report.title)
    pdf.add_page()
    pdf.set_font("Helvetica", "B", 16)
    pdf.cell(0, 9, _latin(report.title), new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Helvetica", size=9)
    pdf.cell(0, 6, _latin(time_of(report)), new_x="LMARGIN", new_y="NEXT")
    shown = "   ".join(f"{HEADINGS[name]} {_text(HEADINGS[name], report.total.get(name))}" for name in reversed(RATIOS))
    pdf.set_font("Helvetica", "B", 12)
    pdf.cell(0, 9, _latin(shown), new_x="LMARGIN", new_y="NEXT")
    for table in report.tables:
        pdf.ln(3)
        pdf.set_font("Helvetica", "B", 11)
        pdf.cell(0, 7, _latin(table.heading), new_x="LMARGIN", new_y="NEXT")
        pdf.set_font("Helvetica", size=8)
        if not table.rows:
            pdf.cell(0, 6, "Nothing was told of this time.", new_x="LMARGIN", new_y="NEXT")
            continue
        with pdf.table(line_height=5, text_align="LEFT") as drawn:
            drawn.row([_latin(name) for name in table.columns])
            for row in table.rows[:PAPER_ROWS_MAX]:
                drawn.row([_latin(_text(name, value)) for name, value in zip(table.columns, row, strict=True)])
        if (more := len(table.rows) - PAPER_ROWS_MAX) > 0:
            pdf.cell(0, 6, f"{more} more rows are in the other formats.", new_x="LMARGIN", new_y="NEXT")
    return bytes(pdf.output())


def as_xlsx(report: Contents) -> bytes:
    """A workbook: a sheet a table, numbers as numbers, shares as percent."""
    from openpyxl import Workbook
    from openpyxl.styles import Font

    book = Workbook()
    first = book.active
    if first is None:  # a workbook that is not read-only has one
        raise TypeError("a new workbook without a sheet")
    first.title = "Report"
    for row in _summary(report):
        first.append([_cell(value) for value in row])
    first["A1"].font = Font(bold=True, size=14)
    for number in range(4, 4 + len(RATIOS)):
        first.cell(number, 2).number_format = "0.0%"
    for table in report.tables:
        sheet = book.create_sheet(table.heading[:31])
        sheet.append(list(table.columns))
        for cell in sheet[1]:
            cell.font = Font(bold=True)
        for values in table.rows:
            sheet.append([_cell(value) for value in values])
        for at, name in enumerate(table.columns, 1):
            if name in _PERCENT:
                for cell in sheet[sheet.cell(1, at).column_letter][1:]:
                    cell.number_format = "0.0%"
        sheet.freeze_panes = "A2"
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _summary(report: Contents) -> list[list[Any]]:
    return [[report.title], [time_of(report)], [], *([HEADINGS[name], report.total.get(name)] for name in RATIOS)]


def as_csv(report: Contents) -> bytes:
    """Comma-separated, UTF-8 with its mark, so that spreadsheets read it; each table with its heading before it."""
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    for row in _summary(report):
        writer.writerow([_cell(value) for value in row])
    for table in report.tables:
        writer.writerow([])
        writer.writerow([table.heading])
        writer.writerow(table.columns)
        writer.writerows([[_cell(value) for value in row] for row in table.rows])
    return out.getvalue().encode("utf-8-sig")


WRITERS: Final[Mapping[Format, Callable[[Contents], bytes]]] = {
    "html": as_html,
    "pdf": as_pdf,
    "xlsx": as_xlsx,
    "csv": as_csv,
}


def as_text(report: Contents) -> str:
    """The ratios in a few lines: the plain part of a mail."""
    lines = [report.title, time_of(report), ""]
    lines += [f"{HEADINGS[name]}: {_text(HEADINGS[name], report.total.get(name))}" for name in RATIOS]
    return "\n".join(lines) + "\n"


def time_of(report: Contents) -> str:
    """From when to when, in words."""
    zone = ZoneInfo(report.zone)
    begin, end = report.begin.astimezone(zone), report.end.astimezone(zone)
    return f"{begin:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} ({report.zone})"


def _text(name: str, value: Any) -> str:
    if value is None:
        return "not known"
    if name in _PERCENT:
        return f"{100 * value:.1f} %"
    return str(value)


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula is marked as text (CWE-1236); control characters go."""
    if not isinstance(value, str):
        return value
    text = _CONTROL.sub(" ", value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _latin(text: str) -> str:
    return text.encode("latin-1", "replace").decode("latin-1")
