"""What holds for damages of a plain outbox holds for those of an encrypted one, and for the product's own bounds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from damaged_box import NOW_NS, Box, bounded_opening, goes_on, opened_as_promised, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st
from outbox_model import content

from edge_agent.buffer import damaged_file
from edge_agent.buffer.outbox import Outbox
from edge_agent.buffer.schema import PAGE_BYTES
from edge_agent.buffer.sealing import Sealing

KEY = bytes(range(32))
DAMAGE = st.tuples(st.floats(0, 1), st.sampled_from(["flip", "cut", "zero", "noise", "swap"]), st.integers(1, 255))


def damage(file: Path, where: float, how: str, number: int) -> None:
    content = bytearray(file.read_bytes())
    at = int(where * (len(content) - 1))
    page, other = at // PAGE_BYTES * PAGE_BYTES, number * PAGE_BYTES % max(1, len(content) // PAGE_BYTES * PAGE_BYTES)
    match how:
        case "flip":
            content[at] ^= number
        case "cut":
            del content[at:]
        case "zero":
            content[page : page + PAGE_BYTES] = bytes(len(content[page : page + PAGE_BYTES]))
        case "noise":
            content[at : at + 64 * number] = bytes([number]) * len(content[at : at + 64 * number])
        case "swap":
            content[page : page + PAGE_BYTES] = content[other : other + PAGE_BYTES]
    file.write_bytes(content)


@pytest.fixture(scope="module", params=["folded", "with a log"])
def sealed(request: pytest.FixtureRequest) -> Box:
    return Box(is_folded=request.param == "folded", sealing=Sealing(KEY))


@settings(max_examples=max(1, settings.default.max_examples // 2))
@given(data=st.data(), damages=st.lists(DAMAGE, min_size=1, max_size=3))
def test_an_encrypted_outbox_opens_whatever_has_become_of_it_and_gives_back_no_wrong_row(
    sealed: Box, data: st.DataObject, damages: list[tuple[float, str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch, sealed.unpacked() as path:
        patch.setattr(damaged_file, "PROBES_IN_VAIN_MAX", 300)
        for where, how, number in damages:
            if whole := [file for file in sorted(path.parent.iterdir()) if file.stat().st_size]:
                damage(data.draw(st.sampled_from(whole)), where, how, number)
        with bounded_opening(path):
            outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000 + 5000, sealing=sealed.sealing)
        for row in rows_of(outbox):
            if row.epoch != outbox.epoch and not row.unreadable:
                assert content(row) == sealed.rows.get((row.epoch, int(row.number)), content(row))
        goes_on(outbox)


@pytest.mark.parametrize("at", [0.1, 0.5, 0.9])
def test_a_page_of_an_encrypted_outbox_that_is_destroyed_makes_no_row_disappear_unsaid(sealed: Box, at: float) -> None:
    with sealed.unpacked() as path:
        damage(path, at, "zero", 1)
        goes_on(opened_as_promised(sealed, path))


@pytest.mark.parametrize("is_sealed", [False, True])
@pytest.mark.parametrize("step", [2, 3])
def test_many_damages_at_once_are_probed_within_the_products_own_bounds(step: int, is_sealed: bool) -> None:
    """Every second or third page is gone: the probes find little, and end by ``PROBES_IN_VAIN_MAX`` as it is."""
    box = Box(is_folded=True, sealing=Sealing(KEY) if is_sealed else Sealing())
    with box.unpacked() as path:
        content = bytearray(path.read_bytes())
        for page in range(step, len(content) // PAGE_BYTES, step):
            content[page * PAGE_BYTES : (page + 1) * PAGE_BYTES] = bytes(PAGE_BYTES)
        path.write_bytes(content)
        goes_on(opened_as_promised(box, path))


@settings(max_examples=2 * settings.default.max_examples)
@given(st.binary(max_size=20_000) | st.binary(max_size=500).map(lambda noise: b"SQLite format 3\x00" + noise))
def test_any_bytes_open_as_an_outbox(noise: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outbox.db"
        path.write_bytes(noise)
        with bounded_opening(path):
            outbox = Outbox(path, "normal", now_ms=NOW_NS // 1_000_000)
        goes_on(outbox)
