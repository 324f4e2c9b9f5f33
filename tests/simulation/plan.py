"""What a seed says: how large the plant is, how it is set up, and what goes wrong when.

A seed allows only some kinds of faults, each with its own weight: where everything goes wrong all the time, whatever
needs a quiet moment never happens.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final, Literal

from tests.simulation.process import Crash, Point

FAULTS_BEGIN_S: Final = 1.0
SHORT_DAY_S: Final = (6.0, 8.0)
LONG_DAY_S: Final = 20.0
LONG_DAYS: Final = 0.2
"""So many days are long: they find what needs time (retries that have grown slow, an outage after a recovery). A short
one finds most of the rest, and three of them take no longer than a long one."""
COMMANDS_EVERY: Final = 10
CLOUD_OF_COMMANDS: Final = ("commands-1", "gateway-1")
FAULT_S_MIN: Final = 2.0
"""So long before the end of the day the last fault begins."""

Kind = Literal[
    "weather", "line cut", "broker restart", "log away", "log fails", "log loses end", "database away",
    "database fails", "crash", "stop", "disk full", "sync fails", "slow disk", "backup comes back", "log file lost",
    "frozen", "clock set", "machine away", "machine changes", "second historian", "second ingest", "press away",
    "press moody", "panel",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Fault:
    """Something goes wrong at ``at_s`` for ``lasts_s``. ``amount`` (0 to 1) is how badly."""

    at_s: float
    kind: Kind
    target: str
    lasts_s: float
    amount: float
    crash: Crash | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A plant and its bad day."""

    seed: int
    day_s: float
    """Then everything is mended."""
    agents: int
    machines: tuple[int, ...]
    partitions: int
    long_texts: bool
    publishes_samples: bool
    log_survives_power_loss: bool
    durability: Literal["full", "normal"]
    waits_for_host: bool
    shares: bool
    """Whether every ingest takes its part of the numbered batches."""
    window_batches_max: int
    window_bytes_max: int
    resend_after_s: float
    commit_interval_s: float
    samples_pending_max: int
    fresh_bytes_max: int
    page_bytes: int
    wal_pages_max: int
    bytes_max: int
    age_s_max: float | None
    ballast_bytes: int
    when_full: Literal["drop_oldest", "drop_newest", "thin"]
    when_full_alarms: Literal["drop_oldest", "drop_newest"]
    alarms: float
    """So many tags are alarms."""
    pending_bytes_max: int
    packet_bytes_max: int
    ack_interval_s: float
    has_commands: bool
    """Whether each agent has a press that is commanded. Such a seed takes half as long again, so few are."""
    faults: tuple[Fault, ...] = field(default=())

    @property
    def agent_names(self) -> list[str]:
        return [f"agent-{number + 1}" for number in range(self.agents)]


def drawn_plan(seed: int) -> Plan:
    """The plan of ``seed``."""
    draw = random.Random(f"plan {seed}")
    agents = draw.choices((1, 2), (4, 1))[0]
    survives = draw.random() < 0.5
    plan = Plan(
        seed=seed,
        day_s=LONG_DAY_S if draw.random() < LONG_DAYS else draw.uniform(*SHORT_DAY_S),
        agents=agents,
        machines=tuple(draw.randint(1, 2) for _ in range(agents)),
        partitions=draw.randint(1, 3),
        long_texts=draw.random() < 0.3,
        publishes_samples=draw.random() < 0.5,
        log_survives_power_loss=survives,
        durability=draw.choices(("full", "normal"), (5, 1))[0],
        waits_for_host=draw.random() < 0.2,
        shares=draw.random() < 0.4,
        window_batches_max=draw.choice((1, 3, 8, 30)),
        window_bytes_max=draw.choice((1000, 100_000)),
        resend_after_s=draw.choice((1.0, 3.0)),
        commit_interval_s=draw.choice((0.1, 0.3, 1.0)),
        samples_pending_max=draw.choice((10, 1000)),
        fresh_bytes_max=draw.choice((200, 2000, 100_000)),
        page_bytes=draw.choice((1024, 8192)),
        wal_pages_max=draw.choice((12, 40, 400)),
        bytes_max=draw.choice((1 << 40, 1 << 40, draw.randint(31_000, 42_000))),
        age_s_max=draw.choice((None, None, None, 6.0)),
        ballast_bytes=draw.choice((0, 0, 100_000)),
        when_full=draw.choice(("drop_oldest", "drop_newest", "thin")),
        when_full_alarms=draw.choice(("drop_oldest", "drop_newest")),
        alarms=draw.choice((0.0, 0.0, 0.3, 1.0)),
        pending_bytes_max=draw.choice((8000, 100_000)),
        packet_bytes_max=draw.choices((0, 3000), (3, 1))[0],
        ack_interval_s=draw.choice((0.1, 0.25)),
        has_commands=seed % COMMANDS_EVERY == 0,
    )
    faults = _drawn_faults(draw, plan)
    if plan.has_commands:
        faults += _faults_of_commands(random.Random(f"faults of commands {seed}"), plan)
    object.__setattr__(plan, "faults", tuple(sorted(faults, key=lambda fault: fault.at_s)))
    return plan


def _faults_of_commands(draw: random.Random, plan: Plan) -> list[Fault]:
    """What else goes wrong in a seed with commands: at the press, in the cloud, and while a command is done."""
    kinds: list[Kind] = ["press away", "press moody", "panel", "crash", "crash", "crash", "stop", "line cut"]
    found: list[Fault] = []
    for _ in range(draw.randint(0, 5)):
        kind, crash = draw.choice(kinds), None
        at_s, agent = draw.uniform(FAULTS_BEGIN_S, plan.day_s - FAULT_S_MIN), draw.choice(plan.agent_names)
        target = agent if kind in ("press away", "press moody", "panel") else draw.choice(CLOUD_OF_COMMANDS)
        if kind == "crash" and draw.random() < 0.5:
            target, crash = agent, Crash("device", draw.randint(1, 6), power_lost=draw.random() < 0.5)
        elif kind == "crash":
            points: tuple[Point, ...] = ("now", "await", "wire", "store")
            crash = Crash(draw.choice(points), draw.randint(1, draw.choice((3, 60))))
        found.append(Fault(at_s, kind, target, draw.uniform(0.5, 8.0), draw.random(), crash))
    return found


def _drawn_faults(draw: random.Random, plan: Plan) -> list[Fault]:
    kinds: list[Kind] = [
        "weather", "line cut", "broker restart", "log away", "log fails", "database away", "database fails", "crash",
        "crash", "crash", "stop", "disk full", "sync fails", "slow disk", "backup comes back", "log file lost",
        "frozen", "clock set", "machine away", "machine changes", "second historian", "second ingest",
    ]  # fmt: skip
    if not plan.log_survives_power_loss:
        kinds += ["log loses end", "log loses end"]
    allowed = [kind for kind in kinds if draw.random() < 0.4] or ["crash"]
    return [_drawn_fault(draw, plan, draw.choice(allowed)) for _ in range(draw.randint(1, 8))]


def _drawn_fault(draw: random.Random, plan: Plan, kind: Kind) -> Fault:
    at_s = draw.uniform(FAULTS_BEGIN_S, plan.day_s - FAULT_S_MIN)
    lasts_s = draw.choice((draw.uniform(0.1, 3), draw.uniform(2, 10)))
    amount = draw.random()
    agent = draw.choice(plan.agent_names)
    target = agent
    crash: Crash | None = None
    match kind:
        case "line cut":
            target = draw.choice([*plan.agent_names, "ingest-1"])
        case "crash":
            target = draw.choice([agent, agent, "ingest-1", "historian-1"])
            crash = _drawn_crash(draw, is_agent=target == agent)
        case "stop" | "frozen":
            target = draw.choice([agent, "ingest-1", "historian-1"])
        case "machine away" | "machine changes":
            number = draw.randrange(plan.machines[plan.agent_names.index(agent)])
            target = f"{agent}-m{number + 1}"
            if kind == "machine changes":
                lasts_s = max(3.0, lasts_s)  # of two definitions in one commit, each has its own batch
        case "log loses end" | "log away":
            lasts_s = max(2.5, lasts_s)
        case _:
            pass
    return Fault(at_s, kind, target, lasts_s, amount, crash)


def _drawn_crash(draw: random.Random, *, is_agent: bool) -> Crash:
    points: tuple[Point, ...] = ("now", "await", "wire", "disk" if is_agent else "store")
    at = draw.choice(points)
    return Crash(at, draw.randint(1, draw.choice((3, 60))), power_lost=is_agent and draw.random() < 0.5)
