"""A report is written down in each format, whatever its texts are."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime

import openpyxl
import pytest
from fpdf import FPDF

from cloud_ingest.analytics import report_formats
from cloud_ingest.analytics.report_contents import Contents, Table
from cloud_ingest.analytics.report_formats import WRITERS, Format

ODD = "<b>bell \x07 & \u3042 =1+1</b>"


def report(text: str) -> Contents:
    begin, end = datetime(2026, 11, 22, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC)
    total = {"availability": 0.5, "performance": None, "quality": 1.0, "oee": None}
    return Contents(text, begin, end, "Europe/Berlin", total, [Table("By product", ["Product", "Good"], [[text, 3]])])


@pytest.mark.parametrize("format_", WRITERS)
@pytest.mark.parametrize("text", [ODD, "=cmd|' /C calc'!A0", "@SUM(1)", "-1+1", "\t=1", ""])
def test_no_text_keeps_a_report_from_being_made(format_: Format, text: str) -> None:
    assert WRITERS[format_](report(text))


def test_paper_has_no_more_rows_than_are_read_and_says_that_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_formats, "PAPER_ROWS_MAX", 2)
    drawn: list[str] = []
    monkeypatch.setattr(FPDF, "cell", lambda _self, _w, _h, text, **_more: drawn.append(text))
    rows = [[f"p{number}", number] for number in range(5)]
    WRITERS["pdf"](replace(report("x"), tables=[Table("By product", ["Product", "Good"], rows)]))
    assert drawn[-1] == "3 more rows are in the other formats."


def test_no_text_is_calculated_or_run() -> None:
    assert b"<b>bell" not in WRITERS["html"](report(ODD))
    book = openpyxl.load_workbook(io.BytesIO(WRITERS["xlsx"](report("=1+1"))))
    assert (book["By product"]["A2"].value, book["By product"]["A2"].data_type) == ("'=1+1", "s")
    assert "\n'=1+1,3" in WRITERS["csv"](report("=1+1")).decode("utf-8-sig").replace("\r", "")
