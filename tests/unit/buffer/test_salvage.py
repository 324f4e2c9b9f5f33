"""Whatever has happened to the files of an outbox: it opens, gives back no row that is wrong, and says what is gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from damaged_box import NOW_NS, Box, bounded_opening, emptied_by_bounds, goes_on, opened_as_promised, rows_of
from hypothesis import given
from hypothesis import strategies as st
from outbox_model import content

from edge_agent.buffer import damaged_file
from edge_agent.buffer.bounds import OutboxBounds, WhenFull
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.rows import Lane

BOUNDS = [
    OutboxBounds(bytes_max=60_000),
    OutboxBounds(bytes_max=60_000, policies={Lane.ALARMS: WhenFull.DROP_OLDEST, Lane.SAMPLES: WhenFull.THIN}),
    OutboxBounds(age_s_max=60.0),
]


@pytest.fixture(scope="module", autouse=True)
def few_probes() -> Iterator[None]:
    """So small an outbox does not need more."""
    before, damaged_file.PROBES_IN_VAIN_MAX = damaged_file.PROBES_IN_VAIN_MAX, 300  # type: ignore[misc]
    yield
    damaged_file.PROBES_IN_VAIN_MAX = before  # type: ignore[misc]


@pytest.fixture(scope="module", params=["folded", "with a log"])
def box(request: pytest.FixtureRequest) -> Box:
    return Box(is_folded=request.param == "folded")


def drawn_file(data: st.DataObject, path: Path) -> Path:
    """One of the files that are not empty."""
    return data.draw(st.sampled_from([file for file in sorted(path.parent.iterdir()) if file.stat().st_size]), "file")


@given(data=st.data())
def test_a_byte_that_is_wrong_anywhere_makes_no_row_wrong_and_none_disappear(box: Box, data: st.DataObject) -> None:
    with box.unpacked() as path:
        target = drawn_file(data, path)
        damaged = bytearray(target.read_bytes())
        at = data.draw(st.integers(0, len(damaged) - 1), "at")
        damaged[at] ^= data.draw(st.integers(1, 255), "xor")
        target.write_bytes(damaged)
        goes_on(opened_as_promised(box, path))


@given(data=st.data())
def test_a_byte_that_is_wrong_where_rows_give_way_ends_nothing_and_hides_no_number(
    box: Box, data: st.DataObject
) -> None:
    with box.unpacked() as path:
        target = drawn_file(data, path)
        damaged = bytearray(target.read_bytes())
        at = data.draw(st.integers(0, len(damaged) - 1), "at")
        damaged[at] ^= data.draw(st.integers(1, 255), "xor")
        target.write_bytes(damaged)
        goes_on(emptied_by_bounds(box, path, data.draw(st.sampled_from(BOUNDS), "bounds")))


@given(data=st.data())
def test_a_file_that_is_cut_off_anywhere_loses_nothing_unsaid(box: Box, data: st.DataObject) -> None:
    with box.unpacked() as path:
        target = drawn_file(data, path)
        size = target.stat().st_size
        with target.open("r+b") as cut:
            cut.truncate(data.draw(st.integers(0, size - 1)))
        goes_on(opened_as_promised(box, path))


@given(data=st.data())
def test_a_stretch_of_noise_anywhere_loses_nothing_unsaid(box: Box, data: st.DataObject) -> None:
    with box.unpacked() as path:
        target = drawn_file(data, path)
        content = bytearray(target.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        size = data.draw(st.sampled_from([16, 512, 4096, 8192, 65536]))
        noise = data.draw(st.sampled_from([b"\0", b"\xff", b"\x0d\x01"]))
        content[at : at + size] = (noise * size)[: len(content[at : at + size])]
        target.write_bytes(content)
        goes_on(opened_as_promised(box, path))


@given(data=st.data())
def test_without_the_mark_too_it_opens_and_gives_back_nothing_wrong(box: Box, data: st.DataObject) -> None:
    with box.unpacked() as path:
        path.with_name("outbox.db.mark").unlink()
        target = drawn_file(data, path)
        damaged = bytearray(target.read_bytes())
        at = data.draw(st.integers(0, len(damaged) - 1))
        damaged[at : at + data.draw(st.sampled_from([1, 512, 8192]))] = b"\x55"
        target.write_bytes(damaged)
        with bounded_opening(path):
            outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000 + 5000)
        for row in rows_of(outbox):
            if row.epoch != outbox.epoch and not row.unreadable:
                assert content(row) == box.rows.get((row.epoch, int(row.number)), content(row))
        goes_on(outbox)
