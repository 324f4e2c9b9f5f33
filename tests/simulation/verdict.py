"""What must be true in the end: each sample is stored once or declared missing, and the ledger says the same.

* Nothing is stored that no machine has said, and nothing twice.
* A sample that was committed is stored, or lies in a batch that was given up with a reason. Only where rows have gone
  with their disk (a backup came back, the write-ahead log was lost, ``durability: normal`` and a loss of power) is it
  enough that a gap says so.
* Whatever else a machine has said since it was first heard, and is not stored, lies in a declared gap.
* Nothing is missing from the ledger, and it counts as many samples as are stored.
* Numbers of one tag are in order, from batch to batch.
* No node is asked for its births twice within a second.
* What ``commanded`` says of commands.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from cloud_ingest.event_log.topics import RAW, SAMPLES
from cloud_ingest.historian import samples_pb2
from cloud_ingest.historian.ledger_book import parse_multirange
from edge_agent.buffer.rows import GapReason
from tests.simulation.commanded import problems_of_commands, unended
from tests.simulation.disk import OUTBOX
from tests.simulation.machines import Machine, Tag
from tests.simulation.tables import Row, numbers

if TYPE_CHECKING:
    from tests.simulation.agents import Box
    from tests.simulation.plant import Plant

SHOWN_MAX: Final = 5
GIVEN_UP: Final = frozenset(
    {GapReason.REFUSED, GapReason.OUTBOX_FULL, GapReason.DISK_FULL, GapReason.TOO_OLD, GapReason.THINNED}
)
"""Reasons for which an agent parts with what it had committed."""


def unheard(plant: Plant, since_s: float) -> str:
    """Who has not been heard since then; empty when everybody has."""
    for machine in plant.machines:
        if machine.taken_s <= since_s:
            return f"no sample of {machine.name} has been committed"
    for row in plant.database.tables.agents.values():
        if not row["online"]:
            return f"{row['name']} counts as offline, though it delivers"
    return ""


def unsettled(plant: Plant) -> str:
    """Why it is not over yet; empty when nothing is on its way any more."""
    for box in plant.boxes:
        if box.disk is None:
            return f"{box.name} is down"
        for machine in box.machines:
            for tag in machine.tags:
                said = machine.said(tag, machine.stopped_s)
                if said and said[-1] not in machine.taken.get(tag.name, ()):
                    return f"number {said[-1]} of {machine.name}/{tag.name} is not committed"
        if waiting := _waiting(box):
            return f"{waiting} rows wait in the outbox of {box.name}"
    places = {key[3]: row["next_offset"] for key, row in plant.database.tables.places.items() if key[1] == RAW}
    for number, partition in enumerate(plant.log.topics[RAW].partitions):
        if places.get(number, 0) < partition.next_offset:
            return f"the historian is at {places.get(number, 0)} of {partition.next_offset} in partition {number}"
    return unended(plant) if plant.plan.has_commands else ""


def _waiting(box: Box) -> int:
    assert box.disk is not None
    connection = sqlite3.connect(f"file:{box.disk.folder / OUTBOX}?mode=ro", uri=True)
    try:
        query = (
            "SELECT (SELECT count(*) FROM outbox) + (SELECT count(*) FROM not_taken) + (SELECT count(*) FROM given_up)"
        )
        return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return -1
    finally:
        connection.close()


def judge(plant: Plant) -> None:
    """Hand every violation to ``plant``."""
    for problem in _problems(plant):
        plant.violated(problem)


def _problems(plant: Plant) -> Iterator[str]:
    for defect in plant.trace.defects:
        yield f"a supervisor has caught a defect: {defect}"
    for asked in plant.broker.asked_too_often:
        yield f"asked for its births again within a second: {asked}"
    tables = plant.database.tables
    stored, counts = _stored(plant)
    agent_ids = {row["name"]: agent_id for agent_id, row in tables.agents.items()}
    known = {(machine.name, tag.name) for machine in plant.machines for tag in machine.tags}
    for key in stored.keys() - known:
        yield f"samples of {key} are stored, and there is no such tag"
    for box in plant.boxes:
        gaps = [gap for gap in tables.gaps if gap["agent_id"] == agent_ids[box.name]]
        for machine in box.machines:
            for tag in machine.tags:
                yield from _of_tag(box, machine, tag, stored.get((machine.name, tag.name), Counter()), gaps)
        yield from _of_ledger(plant, box, agent_ids[box.name], counts[agent_ids[box.name]])
    if tables.parked:
        yield f"{len(tables.parked)} batches are parked"
    if plant.plan.publishes_samples:
        yield from _of_order(plant)
    if plant.plan.has_commands:
        yield from problems_of_commands(plant)


def _stored(plant: Plant) -> tuple[dict[tuple[str, str], Counter[tuple[int, int]]], Counter[int]]:
    """By device and tag, how often each (number, time in microseconds) is stored; and how much, by agent."""
    tables = plant.database.tables
    tags = {row["tag_id"]: key for key, row in tables.tags.items()}
    found: dict[tuple[str, str], Counter[tuple[int, int]]] = {}
    counts: Counter[int] = Counter()
    for sample in tables.samples():
        agent_id, device, name = tags[sample.tag_id]
        found.setdefault((device, name), Counter())[int(sample.value), sample.time_us] += 1
        counts[agent_id] += 1
    return found, counts


def _of_tag(box: Box, machine: Machine, tag: Tag, stored: Counter[tuple[int, int]], gaps: list[Row]) -> Iterator[str]:
    name = f"{machine.name}/{tag.name}"
    offered, taken = machine.offered.get(tag.name, set()), machine.taken.get(tag.name, set())
    found = {number for number, _ in stored}
    yield from _all(f"{name}: stored twice", [number for (number, _), count in stored.items() if count > 1])
    yield from _all(f"{name}: stored and never said", found - offered)
    yield from _all(
        f"{name}: stored with a wrong time",
        {number for number, time_us in stored if time_us != tag.time_ns(number) // 1000},
    )
    own = [gap for gap in gaps if gap["device"] == machine.name and (not gap["tags"] or tag.name in gap["tags"])]
    given_up = own if box.lost_rows else [gap for gap in own if gap["reason"] in GIVEN_UP]
    heard_ns = machine.heard_ns()
    lost = {number for number in taken - found if not box.lost_rows or tag.time_ns(number) > heard_ns}
    yield from _all(f"{name}: committed, and neither stored nor given up", _undeclared(tag, lost, given_up))
    said = {number for number in machine.said(tag, machine.stopped_s) if tag.time_ns(number) > heard_ns}
    yield from _all(f"{name}: said, and neither stored nor in a gap", _undeclared(tag, said - found, own))


def _undeclared(tag: Tag, missing: set[int], gaps: list[Row]) -> set[int]:
    return {
        number
        for number in missing
        if not any(gap["first_us"] <= tag.time_ns(number) // 1000 <= gap["last_us"] for gap in gaps)
    }


def _of_ledger(plant: Plant, box: Box, agent_id: int, count: int) -> Iterator[str]:
    tables = plant.database.tables
    entries = {epoch: row for (agent, epoch), row in tables.ledger.items() if agent == agent_id}
    for epoch, row in entries.items():
        start = box.epochs.index(epoch) + 1 if epoch in box.epochs else 0
        missing, given_up = tables.missing(agent_id, epoch)
        sent, arrived = box.published.get(epoch, set()), numbers(parse_multirange(row["arrived"]))
        yield from _all(f"{box.name}: in the ledger of start {start}, and never sent", arrived - sent)
        if start <= box.epochs_harmed:  # what was on the disk alone is gone, and how far it went may be
            continue
        yield from _all(f"{box.name}: missing of start {start}", missing)
        yield from _all(f"{box.name}: sent, and not in the ledger of start {start}", sent - arrived - given_up)
        if row["first_batch"] is None or (row["last_batch"] is None and epoch != box.epochs[-1]):
            yield f"{box.name}: the ledger does not know how far start {start} went"
    for start, epoch in enumerate(box.epochs[box.epochs_harmed :], box.epochs_harmed + 1):
        if epoch in box.published and epoch not in entries:
            yield f"{box.name}: the ledger does not know start {start}"
    counted = sum(row["samples"] for row in entries.values())
    if counted != count:
        yield f"{box.name}: the ledger counts {counted} samples, and {count} are stored"


@dataclass(frozen=True, slots=True, order=True)
class _Place:
    """Where samples of a tag come in the order of its agent."""

    start: int
    batch: int


def _of_order(plant: Plant) -> Iterator[str]:
    """The topic of decoded samples names the batch of each sample."""
    runs: dict[tuple[str, str], dict[_Place, list[int]]] = {}
    starts = {epoch: number for box in plant.boxes for number, epoch in enumerate(box.epochs)}
    for partition in plant.log.topics[SAMPLES].partitions:
        for record in partition.records:
            batch = samples_pb2.SampleBatch.FromString(record.value)
            place = _Place(starts[batch.epoch], batch.batch)
            of_batch: dict[tuple[str, str], list[int]] = {}
            for column in batch.columns:
                values = _values(column)
                for index, value in zip(column.tag, values, strict=True):
                    of_batch.setdefault((batch.device, column.tag_names[index]), []).append(int(value))
            for key, run in of_batch.items():
                runs.setdefault(key, {})[place] = run
    for key, places in runs.items():
        last = -1
        for place in sorted(places):
            for number in places[place]:
                if number <= last:
                    where = f"batch {place.batch} of start {place.start + 1}"
                    yield f"{'/'.join(key)}: {number} comes after {last}, in {where}"
                last = number


def _values(column: Any) -> Sequence[Any]:
    return column.double_values or column.int_values or column.text_values  # type: ignore[no-any-return]


def _all(what: str, found: set[int] | list[int]) -> Iterator[str]:
    if found:
        shown = ", ".join(str(number) for number in sorted(found)[:SHOWN_MAX])
        yield f"{what}: {len(found)} ({shown}{', …' if len(found) > SHOWN_MAX else ''})"
