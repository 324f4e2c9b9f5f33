"""Lists on a terminal: nothing is cut, whatever the width, and what is copied is whole."""

from __future__ import annotations

import io
import re

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.text import Text

from cloud_ingest.cli.listing import Hanging, Listing
from cloud_ingest.cli.order_screens import orders_screen

ID = "01M8MWG7KGWJTCDMMKHAPKQQBK"


def shown(listing: Listing, columns: int) -> str:
    out = io.StringIO()
    Console(file=out, width=columns, highlight=False).print(listing)
    return out.getvalue()


def orders() -> Listing:
    listing = Listing("order", "line", "product", "state", "good", "reject", "of", "planned end (UTC)", "")
    listing.add_row(ID, "plant-7/press", "BRACKET-40", Text("ready", "green"), "0", "0", "6", "2026-11-30 00:08:41", "")
    listing.add_row(ID, "plant-7/oven", "[red]", "held", "0", "0", "12", "", "a screw is missing, and nobody knows why")
    return listing


def test_where_there_is_room_a_list_is_a_table() -> None:
    head, *rows = shown(orders(), 160).splitlines()
    assert head.split() == ["order", "line", "product", "state", "good", "reject", "of", "planned", "end", "(UTC)"]
    assert [row.split()[0] for row in rows] == [ID, ID]
    assert "[red]" in rows[1], "is no markup"


def test_where_there_is_no_room_each_thing_has_lines_of_its_own_and_its_id_is_whole() -> None:
    assert shown(orders(), 80).splitlines() == [
        ID,
        "  line plant-7/press  product BRACKET-40  state ready  good 0  reject 0  of 6",
        "  planned end (UTC) 2026-11-30 00:08:41",
        ID,
        "  line plant-7/oven  product [red]  state held  good 0  reject 0  of 12",
        "  a screw is missing, and nobody knows why",
    ]


def test_cells_break_between_words_while_that_is_enough_for_a_table() -> None:
    listing = Listing("agent", "last seen (UTC)")
    listing.add_row("plant-7/line-3", "2026-11-30 00:08:41")
    listing.add_row("  its clock is 3 days behind", "")
    assert [line.rstrip() for line in shown(listing, 36).splitlines()] == [
        "agent            last seen (UTC)",
        "plant-7/line-3   2026-11-30 00:08:41",
        "  its clock is",
        "3 days behind",
    ]


def test_headings_that_say_nothing_take_no_line() -> None:
    facts = Listing("", "")
    facts.add_row("agent", "plant-7/line-3")
    assert shown(facts, 80).rstrip() == "agent  plant-7/line-3"


def test_a_line_that_is_too_long_goes_on_below_its_words() -> None:
    out = io.StringIO()
    text = Text("  gap      oven: 2026-11-30 00:08:45 to 2026-11-30 00:08:59 UTC: agent_not_running", "yellow")
    Console(file=out, width=60, highlight=False).print(Hanging(text, 11))
    assert [line.rstrip() for line in out.getvalue().splitlines()] == [
        "  gap      oven: 2026-11-30 00:08:45 to 2026-11-30 00:08:59",
        "           UTC: agent_not_running",
    ]


WORDS = st.text(st.sampled_from("abcdefgh-/:0123456789"), min_size=1, max_size=30)
CELLS = st.lists(WORDS, max_size=6).map(" ".join)


@given(st.integers(2, 7).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=4)),
       st.integers(40, 140))  # fmt: skip
def test_no_line_is_longer_than_the_screen_and_no_word_is_cut(rows: list[list[str]], columns: int) -> None:
    listing = Listing(*(f"h{at}" for at in range(len(rows[0]))))
    for row in rows:
        listing.add_row(*row)
    text = shown(listing, columns)
    assert max(map(len, text.splitlines()), default=0) <= columns
    words = set(text.split())
    assert {word for row in rows for cell in row for word in cell.split()} <= words


def test_an_order_that_is_stuck_says_why_at_80_columns_with_its_id() -> None:
    order = {
        "id": ID, "customer": "acme", "state": "in_production", "total": "22.85", "currency": "EUR", "changed": None,
        "promised": None, "problem": {"text": "the carrier has said no"},
    }  # fmt: skip
    text = shown(orders_screen([order, order]), 80)  # type: ignore[arg-type]
    assert len(re.findall(ID, text)) == 2
    assert "the carrier has said no" in " ".join(text.split())
