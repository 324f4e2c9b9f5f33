"""What each kind of fault does to the plant, and how it is mended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Final, assert_never

from tests.simulation.broker import Weather
from tests.simulation.database import DatabaseFaults
from tests.simulation.event_log import LogFaults
from tests.simulation.plan import CLOUD_OF_COMMANDS, Fault
from tests.simulation.process import Crash, Process

if TYPE_CHECKING:
    from tests.simulation.agents import Box
    from tests.simulation.plant import Plant

CLOCK_H_MAX: Final = 3.0
Act = Callable[[], None]


def mishap(plant: Plant, fault: Fault) -> tuple[Act, Act]:
    """What happens when the fault begins, and when it ends."""
    amount = fault.amount
    match fault.kind:
        case "weather":
            weather = Weather(amount * 0.4, (1 - amount) * 0.3, amount * 0.3, 0.02 + amount * 2)
            return _set(plant.broker, "weather", weather, Weather())
        case "line cut":
            return lambda: plant.broker.cut_line(fault.target), lambda: plant.broker.heal_line(fault.target)
        case "broker restart":
            return plant.broker.stop, plant.broker.start
        case "log away":
            return plant.log.go_away, plant.log.come_back
        case "log loses end":
            return plant.log.go_away, lambda: _come_back_shorter(plant, amount)
        case "log fails":
            faults = LogFaults(amount * 0.3, amount * 0.4, (1 - amount) * 0.4, 0.02 + amount * 1.5)
            return _set(plant.log, "faults", faults, LogFaults())
        case "database away":
            return plant.database.stop, plant.database.start
        case "database fails":
            lame = DatabaseFaults(amount * 0.1, (1 - amount) * 0.5, 0.003 + amount * 0.05)
            return _set(plant.database, "faults", lame, DatabaseFaults())
        case "crash":
            return lambda: _crash(plant, fault), _nothing
        case "stop":
            return lambda: plant.stop(fault.target), _nothing
        case "frozen":
            return lambda: _freeze(plant.process(fault.target), fault.lasts_s), _nothing
        case "clock set":
            hours = round((2 * amount - 1) * CLOCK_H_MAX * 3600e9)
            return _set(plant.box(fault.target).clock, "jump_ns", hours, 0)
        case "disk full":
            return lambda: _fill(plant.box(fault.target), full=True), lambda: _fill(plant.box(fault.target), full=False)
        case "sync fails":
            return lambda: _fail_syncs(plant.box(fault.target), 1 + round(amount * 5)), _nothing
        case "slow disk":
            return _set(plant.box(fault.target), "slow_s", amount * 3, 0.0)
        case "backup comes back":
            return _backup(plant, plant.box(fault.target), whole=amount < 0.5)
        case "log file lost":
            return lambda: _lose_log(plant, plant.box(fault.target)), _nothing
        case "machine away":
            return _set(plant.machine(fault.target), "is_up", False, True)
        case "machine changes":
            machine = plant.machine(fault.target)
            return _set(machine, "definition", machine.definition + 1, machine.definition + round(2 * amount))
        case "press away":
            return _set(plant.press(fault.target), "is_up", False, True)
        case "press moody":
            return _set(plant.press(fault.target), "is_moody", True, False)
        case "panel":
            return plant.press(fault.target).set_at_panel, _nothing
        case "second historian" | "second ingest":
            name = f"{fault.kind.removeprefix('second ')}-2"
            return lambda: plant.want(name, is_wanted=True), lambda: plant.want(name, is_wanted=False)
        case _:
            assert_never(fault.kind)


def mend(plant: Plant) -> None:
    """No fault goes on."""
    plant.trace.note("everything is mended")
    plant.broker.weather = Weather()
    if not plant.broker.is_up:
        plant.broker.start()
    for name in (*plant.plan.agent_names, "ingest-1", "ingest-2", *CLOUD_OF_COMMANDS):
        plant.broker.heal_line(name)
    plant.log.faults, plant.database.faults = LogFaults(), DatabaseFaults()
    plant.log.mend()
    if not plant.database.is_up:
        plant.database.start()
    for box in plant.boxes:
        _fill(box, full=False)
        _fail_syncs(box, 0)
        box.slow_s = 0.0
        box.clock.jump_ns = 0
        if box.press is not None:
            box.press.is_up, box.press.is_moody = True, False
    for machine in plant.machines:
        machine.is_up = True
    for name, place in plant.places.items():
        if place.process is not None:
            place.process.spare()
            place.process.thaw()
        plant.want(name, is_wanted=not name.endswith("-2") or name.startswith("agent"))


def _nothing() -> None:
    pass


def _set(thing: object, name: str, bad: object, good: object) -> tuple[Act, Act]:
    return lambda: setattr(thing, name, bad), lambda: setattr(thing, name, good)


def _freeze(process: Process | None, lasts_s: float) -> None:
    if process is not None and process.alive:
        process.freeze(lasts_s)


def _crash(plant: Plant, fault: Fault) -> None:
    process = plant.process(fault.target)
    if process is not None and fault.crash is not None:
        process.crash(replace(fault.crash))


def _come_back_shorter(plant: Plant, part: float) -> None:
    plant.log.lose_end(part)
    plant.log.come_back()


def _fill(box: Box, *, full: bool) -> None:
    box.full = full
    if box.disk is not None:
        box.disk.is_full = full


def _fail_syncs(box: Box, count: int) -> None:
    box.failing_syncs = count
    if box.disk is not None:
        box.disk.failing_syncs = count


def _backup(plant: Plant, box: Box, *, whole: bool) -> tuple[Act, Act]:
    """A copy is made when the fault begins, and comes back when it ends: of the whole disk, or the database alone."""
    copies: list[dict[str, bytes]] = []

    def make() -> None:
        process = plant.process(box.name)
        if box.disk is not None and process is not None and process.alive and box.all_heard():
            copies.append(box.disk.image())

    def come_back() -> None:
        process = plant.process(box.name)
        if copies and process is not None and process.alive:
            box.restore(copies.pop(), whole=whole)
            process.crash(Crash("now", 1))

    return make, come_back


def _lose_log(plant: Plant, box: Box) -> None:
    process = plant.process(box.name)
    if process is not None and process.alive and box.all_heard():
        box.lose_log()
        process.crash(Crash("now", 1))
