"""A traced sample is told of once at each step of its path, by its own number, and no other sample is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from connectors.model.datatypes import DataType
from connectors.model.delivery import BatchNumber, Epoch
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceName
from edge_agent.buffer import tracing
from edge_agent.buffer.rows import Kind, StoredBatch
from edge_agent.buffer.tracing import TagTrace, Tracing

PRESS, OVEN = DeviceName("press"), DeviceName("oven")
INDEX, ALIAS = 2, 900


def samples(*rows: tuple[int, int, float]) -> SampleBatch:
    tags, times, values = zip(*rows, strict=True) if rows else ((), (), ())
    return SampleBatch(
        DataType.DOUBLE, np.array(tags, np.int32), np.array(times, np.int64), np.array(values, np.float64)
    )


def stored(number: int, *parts: SampleBatch, device: DeviceName = PRESS, epoch: int = 1) -> StoredBatch:
    count = sum(len(part) for part in parts)
    return StoredBatch(
        BatchNumber(number), Epoch(epoch), Kind.SAMPLES, device, DefinitionHash("d"), 0, count, 10, tuple(parts)
    )


class Path:
    """One tag that is followed, and what was told of it."""

    def __init__(self) -> None:
        self.told: list[dict[str, Any]] = []
        self.tracing = Tracing()
        self.trace = TagTrace(PRESS, INDEX, lambda: ALIAS, self.told.append)
        self.tracing.begin(self.trace)

    @property
    def steps(self) -> list[tuple[int, str]]:
        return [(one["sample"], one["step"]) for one in self.told]


@pytest.fixture
def path() -> Path:
    return Path()


def test_a_sample_is_told_of_from_the_driver_to_the_acknowledgement(path: Path) -> None:
    batch = samples((INDEX, 50, 1.5), (3, 50, 9.0))
    path.tracing.received(PRESS, batch, batch)
    row = stored(7, samples((ALIAS, 50, 1.5), (901, 50, 9.0)))
    path.tracing.committed([stored(6, samples((ALIAS, 50, 3.0)), device=OVEN), row])
    path.tracing.sent(row, again=False)
    path.tracing.sent(row, again=True)
    path.tracing.ended(2, 0, 100)
    path.tracing.ended(1, 5, 8)
    path.tracing.ended(1, 5, 8)
    steps = ["received", "reported", "committed", "sent", "sent again", "acknowledged"]
    assert path.steps == [(1, step) for step in steps]
    first, committed = path.told[0], path.told[2]
    assert (first["value"], first["source_ns"], first["quality"], first["with_others"]) == (1.5, 50, 0, 1)
    assert (committed["batch"], committed["samples"]) == (7, 2)
    assert all(one["at_ns"] >= first["at_ns"] for one in path.told)


def test_what_did_not_move_enough_is_told_of_as_not_reported(path: Path) -> None:
    path.tracing.received(PRESS, samples((INDEX, 50, 1.0), (INDEX, 60, 1.1)), samples((INDEX, 50, 1.0)))
    assert path.steps == [(1, "received"), (1, "reported"), (2, "received"), (2, "not reported")]


def test_what_was_held_back_is_told_of_when_it_is_let_go(path: Path) -> None:
    held = samples((INDEX, 50, 1.0))
    path.tracing.received(PRESS, held, held, held=True)
    assert path.steps == [(1, "released"), (1, "reported")]


def test_a_refusal_is_told_of_with_its_reason(path: Path) -> None:
    batch = samples((INDEX, 50, 1.0))
    path.tracing.received(PRESS, batch, batch)
    path.tracing.committed([stored(3, samples((ALIAS, 50, 1.0)))])
    path.tracing.ended(1, 3, 3, "too large")
    assert (path.told[-1]["step"], path.told[-1]["reason"]) == ("refused", "too large")


def test_other_tags_and_other_devices_are_not_told_of(path: Path) -> None:
    path.tracing.received(PRESS, samples((1, 50, 1.0)), samples((1, 50, 1.0)))
    path.tracing.received(OVEN, samples((INDEX, 50, 1.0)), samples((INDEX, 50, 1.0)))
    assert path.told == []


def test_of_very_many_samples_under_way_the_newest_are_not_followed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "FOLLOWED_MAX", 3)
    many = samples(*[(INDEX, at, float(at)) for at in range(10)])
    path.tracing.received(PRESS, many, many)
    assert [step for step in path.steps if step[1] == "received"] == [(1, "received"), (2, "received"), (3, "received")]


def test_nothing_is_followed_once_nobody_asks(path: Path) -> None:
    assert path.tracing.is_on
    path.tracing.end(path.trace)
    assert not path.tracing.is_on
    path.tracing.received(PRESS, samples((INDEX, 50, 1.0)), samples((INDEX, 50, 1.0)))
    assert path.told == []
