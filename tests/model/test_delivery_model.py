"""The model of the delivery protocol: its invariants hold, and each broken protocol is found to be broken.

docs/protocol/model/README.md explains the model; what its tables say is what is tested.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.model.spin import MODEL, search

ROOT = Path(__file__).parents[2]
README = MODEL.with_name("README.md").read_text(encoding="utf-8")

EXPLORED = [
    "none",
    "RECORDS",
    "LOSES_END",
    "LIVE=2 NUMBERS=3 SAMPLES=1",
    "RECORDS LIVE=1 SAMPLES=1",
    "LOSES_END LIVE=2 LOG=6",
]

BROKEN = {
    "DELETE_BEFORE_ACK": ("", "nothing_is_lost"),
    "ACK_BEFORE_LOG": ("", "acked_is_durable"),
    "ACK_WITHOUT_EPOCH": ("", "nothing_is_lost"),
    "ACK_AS_HIGH_WATER_MARK": ("", "nothing_is_lost"),
    "REUSE_EPOCH": ("", "name_is_given_once"),
    "REUSE_EPOCH UNOBSERVED": ("", "new_is_no_duplicate"),
    "NO_DEDUPLICATION": ("", "stored_once"),
    "NO_FENCE": ("", "stored_once"),
    "OFFSET_APART_FROM_ROWS": ("", "everything_is_stored"),
    "LEDGER_APART_FROM_ROWS": ("", "stored_once"),
    "EPOCH_ENDS_IGNORED": ("LOG=1", "missing_is_exact"),
    "LAST_START_WINS": ("LOG=1", "missing_is_exact"),
    "GIVEN_UP_WITHOUT_GAP": ("RECORDS", "nothing_is_lost"),
    "SAMPLES_BEFORE_DEFINITION": ("RECORDS", "samples_can_be_read"),
    "ACK_LOGGED": ("LOSES_END", "acked_is_durable"),
    "NO_REVISION": ("LOSES_END", "stored_once"),
    "NO_RESEND": ("LIVE=1", "everything_ends"),
    "REFUSAL_NOT_TOLD": ("RECORDS LIVE=1", "everything_ends"),
}


@pytest.mark.parametrize("switches", EXPLORED)
def test_all_invariants_hold_in_every_state(switches: str, tmp_path: Path) -> None:
    found = search(tmp_path, [] if switches == "none" else switches.split())
    assert found.violated == "", found.output
    assert found.shortcomings == [], found.output
    assert found.never_done == [], "a model in which something never happens says nothing of it"
    (row,) = [line for line in README.splitlines() if re.match(rf"\| `?{switches}`? \|", line)]
    assert row.endswith(f" {found.states:,} |"), "the README says how many states were explored"


@pytest.mark.parametrize("broken", BROKEN)
def test_a_broken_protocol_is_found_to_be_broken(broken: str, tmp_path: Path) -> None:
    switches, violated = BROKEN[broken]
    found = search(tmp_path, [*switches.split(), *broken.split()], is_broken=True)
    assert found.violated == violated, found.output


def test_every_switch_of_the_model_is_explained_and_tried() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(MODEL.parent.glob("*.pml")))
    own = set(re.findall(r"#define (\w+)", text))
    asked = {
        name for line in re.findall(r"#(?:el)?if(?:n?def)?\b(.*)", text) for name in re.findall(r"[A-Z_]{3,}", line)
    }
    bounds = {"STARTS", "NUMBERS", "SAMPLES", "LOG", "LOSSES"}
    assert bounds <= own
    tried = {name.partition("=")[0] for each in [*EXPLORED, *BROKEN] for name in each.split()} - {"none"}
    assert asked - bounds == tried - bounds
    assert [name for name in tried if f"`{name}" not in README and f" {name}" not in README] == []


def test_the_code_that_the_model_names_is_there() -> None:
    named = [
        (file, name)
        for path in sorted(MODEL.parent.glob("*.pml"))
        for file, names in re.findall(r"((?:\b\w+/)*\b\w+\.py):\s+(\w+(?:, \w+)*)", path.read_text(encoding="utf-8"))
        for name in names.split(", ")
    ]
    assert len(named) > 40
    sources = [
        path for folder in ("edge_agent", "cloud_ingest", "connectors") for path in (ROOT / folder).rglob("*.py")
    ]
    places = {file: [path for path in sources if f"{path}".endswith(f"/{file}")] for file, _ in named}
    unclear = {file: found for file, found in places.items() if len(found) != 1}
    assert unclear == {}, "there is no such file, or several: write its folder before it"
    texts = {file: found[0].read_text(encoding="utf-8") for file, found in places.items()}
    gone = [each for each in named if not re.search(rf"\b(?:def|class) {each[1]}\b", texts[each[0]])]
    assert gone == [], "name the code that does it now, and see whether it still does the same"
