"""One seed, from the first start to the verdict: faults for a day, then everything is mended."""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connectors.model.errors import OutboxUnavailable
from tests.simulation import sqlite_hooks
from tests.simulation.agents import Box
from tests.simulation.broker import Broker
from tests.simulation.cloud import Cloud
from tests.simulation.commanded import Press, drawn_orders
from tests.simulation.database import DatabaseServer, Heard
from tests.simulation.event_log import LogServer
from tests.simulation.event_loop import SimulatedTask, Stuck, run
from tests.simulation.machines import PERIOD_S_MAX, Machine, drawn_machines
from tests.simulation.mishaps import mend, mishap
from tests.simulation.plan import CLOUD_OF_COMMANDS, Fault, Plan
from tests.simulation.process import Leak, Process
from tests.simulation.product import simulated
from tests.simulation.trace import Trace
from tests.simulation.verdict import judge, unheard, unsettled
from tests.virtual_time import VirtualClock

SETTLE_S_MAX: Final = 400.0
"""Back-offs and intervals of resending grow up to a minute each; several of them may follow one another."""
LOOK_S: Final = 0.5
STOP_S_MAX: Final = 60.0


@dataclass(slots=True)
class Outcome:
    """What became of a seed: ``violations`` is empty when all that was promised has been kept."""

    seed: int
    violations: list[str]
    trace: Trace
    ended_s: float


@dataclass(slots=True)
class _Place:
    """Where lives of one program follow each other."""

    name: str
    run: Callable[[Process], Awaitable[None]]
    look: Callable[[], None]
    box: Box | None = None
    process: Process | None = None
    is_wanted: bool = True
    wanted: asyncio.Event = field(default_factory=asyncio.Event)
    down_s: float = 1.0


class Plant:
    """Everything, and what goes wrong with it."""

    def __init__(self, plan: Plan, folder: Path, trace: Trace, draw: random.Random) -> None:
        self.plan = plan
        self.trace = trace
        self.violations: list[str] = []
        self._draw = draw
        self._folder = folder
        clock = VirtualClock()
        commanding = random.Random(f"commands {plan.seed}")
        self.orders = drawn_orders(commanding, plan.agent_names, plan.day_s) if plan.has_commands else []
        """What people ask the cloud for."""
        self.broker = Broker(trace, draw)
        self.broker.packet_bytes_max = plan.packet_bytes_max
        self.log = LogServer(trace, draw, survives_power_loss=plan.log_survives_power_loss)
        self.database = DatabaseServer(trace, draw, clock)
        self.cloud = Cloud(
            plan, broker=self.broker, log=self.log, database=self.database, clock=clock, trace=trace, draw=draw,
            violated=self.violated, orders=self.orders, folder=folder,
        )  # fmt: skip
        self.boxes = [
            Box(
                name, plan, list(drawn_machines(draw, name, count, long_texts=plan.long_texts, alarms=plan.alarms)),
                folder=folder, broker=self.broker, trace=trace, draw=draw, violated=self.violated,
                press=Press(f"{name}-press", commanding) if plan.has_commands else None,
            )
            for name, count in zip(plan.agent_names, plan.machines, strict=True)
        ]  # fmt: skip
        self.places = {
            "ingest-1": _Place("ingest-1", self.cloud.ingest, self.cloud.look),
            "ingest-2": _Place("ingest-2", self.cloud.ingest, self.cloud.look, is_wanted=False),
            "historian-1": _Place("historian-1", self.cloud.historian, lambda: None),
            "historian-2": _Place("historian-2", self.cloud.historian, lambda: None, is_wanted=False),
            **self._places_of_commands(),
            **{box.name: _Place(box.name, box.run, box.look, box) for box in self.boxes},
        }

    def _places_of_commands(self) -> dict[str, _Place]:
        if not self.plan.has_commands:
            return {}
        runs = zip(CLOUD_OF_COMMANDS, (self.cloud.commands, self.cloud.gateway), strict=True)
        return {name: _Place(name, run, lambda: None) for name, run in runs}

    def violated(self, what: str) -> None:
        """Something is not as it was promised."""
        if what not in self.violations:
            self.trace.note("VIOLATION", what, who="verdict")
            self.violations.append(what)

    @property
    def machines(self) -> list[Machine]:
        return [machine for box in self.boxes for machine in box.machines]

    # -- the day -------------------------------------------------------------------------------------------------------

    async def day(self) -> None:
        """From the first start to the verdict."""
        loop = asyncio.get_running_loop()
        keepers = [loop.create_task(self._keep(place), name=f"keeper of {name}") for name, place in self.places.items()]
        happening = [loop.create_task(self._happen(fault), name=f"fault {fault.kind}") for fault in self.plan.faults]
        try:
            await asyncio.sleep(self.plan.day_s)
            for task in happening:
                task.cancel()
            await asyncio.wait(happening)
            mend(self)
            await self._settle()
            await self._close(keepers)
            if not self.violations:
                judge(self)
        finally:
            for task in keepers:
                task.cancel()
            await asyncio.wait(keepers)
            for task in [*keepers, *happening]:
                if not task.cancelled() and (error := task.exception()) is not None:
                    raise error

    async def _settle(self) -> None:
        """Wait until the machines have been heard again, then until all that they said has arrived."""
        loop = asyncio.get_running_loop()
        end_s = loop.time() + SETTLE_S_MAX
        mended_s = loop.time()
        while why := unheard(self, mended_s):
            await asyncio.sleep(LOOK_S)
            if self.violations or loop.time() > end_s:
                self._not_settled(why)
                return
        await asyncio.sleep(PERIOD_S_MAX + LOOK_S)  # every tag says something
        for machine in self.machines:
            machine.stopped_s = loop.time()
        while why := unsettled(self):
            await asyncio.sleep(LOOK_S)
            if self.violations or loop.time() > end_s:
                self._not_settled(why)
                return

    def _not_settled(self, why: str) -> None:
        if not self.violations:
            self.violated(f"{SETTLE_S_MAX:g} s after the last fault: {why}")

    async def _close(self, keepers: list[asyncio.Task[None]]) -> None:
        """Everything ends in an orderly way."""
        for place in self.places.values():
            place.is_wanted = False
        loop = asyncio.get_running_loop()
        for name, place in reversed(self.places.items()):
            self.stop(name)
            end_s = loop.time() + STOP_S_MAX
            while place.process is not None and loop.time() < end_s:  # noqa: ASYNC110  it dies at no event of ours
                await asyncio.sleep(0.05)
            if place.process is not None:
                left = ", ".join(place.process.tasks_left())
                self.violated(f"{name} has not ended {STOP_S_MAX:g} s after it was asked to; its tasks: {left}")
        for task in keepers:
            task.cancel()
        await asyncio.wait(keepers)
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in sorted(left, key=lambda task: task.number if isinstance(task, SimulatedTask) else 0):
            self.violated(f"the task {task.get_name()!r} is left over")

    # -- lives of programs ---------------------------------------------------------------------------------------------

    async def _keep(self, place: _Place) -> None:
        """Start the program whenever it is wanted, as systemd does."""
        while True:
            if not place.is_wanted:
                place.wanted.clear()
                await place.wanted.wait()
            await self._live(place)
            await asyncio.sleep(place.down_s)
            place.down_s = self._draw.uniform(0.1, 2.0)

    async def _live(self, place: _Place) -> None:
        process = place.process = Process(place.name, self.trace, look=place.look)
        self.trace.note("starts", who=place.name)
        if place.box is not None:
            place.box.mount(process)
        main = process.begin(_main(place, process))
        died = asyncio.get_running_loop().create_task(process.died.wait(), name=f"end of {place.name}")
        try:
            await asyncio.wait([main, died], return_when=asyncio.FIRST_COMPLETED)
        finally:
            died.cancel()
            await asyncio.sleep(0)
            self._judge_end(place, process, main)
            try:
                await process.bury()
            except Leak as exc:
                self.violated(str(exc))
            place.process = None
            if place.box is not None:
                place.box.unmount(process)

    def _judge_end(self, place: _Place, process: Process, main: asyncio.Task[None]) -> None:
        if not process.alive or not main.done():
            return
        error = None if main.cancelled() else main.exception()
        if error is None:
            if left := process.tasks_left():
                self.violated(f"{place.name} has ended, and left tasks: {', '.join(left)}")
        elif isinstance(error, OutboxUnavailable) and place.box is not None:
            self.trace.note("cannot start", error, who=place.name)
        else:
            self.violated(f"{place.name} ended with {_told(error)}")

    # -- faults --------------------------------------------------------------------------------------------------------

    async def _happen(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at_s)
        self.trace.note("FAULT", fault.kind, fault.target, f"{fault.lasts_s:.2f} s", f"{fault.amount:.2f}")
        begin, end = mishap(self, fault)
        begin()
        await asyncio.sleep(fault.lasts_s)
        self.trace.note("mended", fault.kind, fault.target)
        end()

    def process(self, name: str) -> Process | None:
        """The life of a program that runs now."""
        return self.places[name].process

    def box(self, name: str) -> Box:
        return next(box for box in self.boxes if box.name == name)

    def machine(self, name: str) -> Machine:
        return next(machine for machine in self.machines if machine.name == name)

    def press(self, agent: str) -> Press:
        press = self.box(agent).press
        assert press is not None
        return press

    def want(self, name: str, *, is_wanted: bool) -> None:
        """A program is to run, or not any more."""
        place = self.places[name]
        place.is_wanted = is_wanted
        if is_wanted:
            place.wanted.set()
        else:
            self.stop(name)

    def stop(self, name: str) -> None:
        """A program is asked to end; when it is wanted, it is started again."""
        process, place = self.process(name), self.places[name]
        if process is None or not process.alive:
            return
        self.trace.note("is stopped", who=name)
        if place.box is not None:
            place.box.request_stop()
        else:
            process.cancel_main()


async def _main(place: _Place, process: Process) -> None:
    await place.run(process)


def _told(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def simulate(plan: Plan, folder: Path, trace: Trace, heard: Heard = lambda said: None) -> Outcome:
    """Run one plan; ``folder`` (on a memory file system) is there and empty, ``trace`` too.

    ``heard`` is told what the programs of the cloud say to the database; see ``DatabaseServer``.
    """
    draw = random.Random(f"chance {plan.seed}")
    violations: list[str] = []
    sqlite_hooks.failures.clear()

    async def day() -> float:
        plant = Plant(plan, folder, trace, draw)
        plant.database.heard = heard
        violations_of.append(plant.violations)
        await plant.day()
        return asyncio.get_running_loop().time()

    violations_of: list[list[str]] = []
    ended_s = 0.0
    with simulated(plan, trace):
        try:
            ended_s = run(day())
        except Stuck as exc:
            violations.append(str(exc))
        except Exception as exc:  # the simulation itself has a defect: with its seed, it can be replayed
            violations.append(_told(exc))
    for found in violations_of:
        violations += found
    violations += [f"a defect of a hook: {failure!r}" for failure in sqlite_hooks.failures]
    return Outcome(plan.seed, violations, trace, ended_s)
