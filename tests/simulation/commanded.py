"""Commands in a seed: what is asked for and when, the presses that are written, and what must be true in the end.

* A press is written at most once for each command: every command has a value of its own.
* What the cloud says of a command is what its press held, or ``unknown``.
* A state never goes back, every command ends, and each of its states is published.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
from base64 import urlsafe_b64encode
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud_ingest.event_log.topics import COMMANDS, REPORTS
from connectors.commands.audit_chain import AuditEntry, problems
from connectors.commands.signing import SigningKey
from connectors.commands.states import ENDED, CommandState, may_follow
from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain
from connectors.model.quality import GOOD
from connectors.model.tags import TagName, TagType
from connectors.ports.device import Acquisition, Reading, Value
from tests.simulation.event_log import dead
from tests.simulation.event_loop import current_process
from tests.simulation.statements_of_commands import value_of
from tests.simulation.tables import Row
from tests.virtual_time import START_NS

if TYPE_CHECKING:
    from tests.simulation.plant import Plant

SETPOINT: Final = "setpoint"
HELD_FIRST: Final = -1.0
_SECRET: Final = hashlib.sha256(b"the key of a cloud that is simulated").digest()


def signing_key() -> SigningKey:
    """The same in every seed."""
    public = Ed25519PrivateKey.from_private_bytes(_SECRET).public_key().public_bytes_raw()
    d, x = (urlsafe_b64encode(raw).rstrip(b"=").decode() for raw in (_SECRET, public))
    return SigningKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "d": d, "x": x})


KEY: Final = signing_key()


@dataclass(slots=True)
class Order:
    """A command that somebody asks for at ``at_s``, again and again with the same key until it is taken."""

    key: str
    agent: str
    value: float
    at_s: float
    lasts_s: float
    approved_s: float | None
    cancelled_s: float | None
    taken: set[str] = field(default_factory=set)
    """Its ids: one, if all is well."""
    is_approved: bool = False
    is_cancelled: bool = False


def drawn_orders(draw: random.Random, agents: Sequence[str], day_s: float) -> list[Order]:
    """What is asked for in a day; each has a value of its own."""
    found: list[Order] = []
    for number in range(1, draw.randint(2, 10) + 1):
        at_s = draw.uniform(0.5, day_s)
        later = [at_s + draw.uniform(0.1, 3.0) if draw.random() < 0.2 else None for _ in range(2)]
        lasts_s = draw.choice((3.0, 10.0, 60.0, 60.0))
        found.append(Order(f"order {number}", draw.choice(agents), float(number), at_s, lasts_s, *later))
    return found


@dataclass(slots=True)
class Press:
    """A device that holds what is written, and is sometimes set by somebody at its panel."""

    name: str
    draw: random.Random
    is_up: bool = True
    is_moody: bool = False
    """Whether it refuses, does not answer, and holds what it held."""
    holds: float = HELD_FIRST
    ever_held: set[float] = field(default_factory=lambda: {HELD_FIRST})
    writes: list[tuple[float, float]] = field(default_factory=list)
    """(when, value) of every write that has reached it."""

    def set_at_panel(self) -> None:
        self.hold(-self.draw.randint(2, 9))

    def hold(self, value: float) -> None:
        self.holds = value
        self.ever_held.add(value)


class PressDriver:
    """See ``DeviceDriver``."""

    lag_s_max = 5.0

    def __init__(self, press: Press) -> None:
        self._press = press

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``."""
        return {}

    async def acquire(self, acquisition: Acquisition) -> None:
        """See ``DeviceDriver``: it says what it is, and never what it holds."""
        await self._on_the_way()
        await acquisition.online([TagType(0, TagName(SETPOINT), DataType.DOUBLE)], [])
        while True:
            await asyncio.sleep(1.0)
            self._check()

    async def write(self, tag: int, value: Value) -> None:
        """See ``DeviceDriver``."""
        await self._on_the_way()
        press, mood = self._press, self._press.draw.random() if self._press.is_moody else 1.0
        if mood < 0.1:
            raise WriteRefused("it is held by hand")
        if mood >= 0.2:  # else it is lost on the way
            press.writes.append((asyncio.get_running_loop().time(), float(value)))
            if mood >= 0.3:  # else it holds what it held
                press.hold(float(value))
        await self._on_the_way()
        if mood < 0.2 or 0.3 <= mood < 0.5:
            raise WriteUncertain("no answer within 2 s")

    async def read(self, tag: int) -> Reading:
        """See ``DeviceDriver``."""
        await self._on_the_way()
        return Reading(self._press.holds, GOOD, START_NS)

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceDriver``: it has no methods."""
        raise WriteRefused(f"{method} cannot be called")

    async def _on_the_way(self) -> None:
        """To the device or back; on either way the agent may die."""
        process = current_process.get()
        assert process is not None
        if not process.touch("device"):
            await dead()
        await asyncio.sleep(self._press.draw.uniform(0.001, 0.2 if self._press.is_moody else 0.02))
        if not process.touch("device"):
            await dead()
        self._check()

    def _check(self) -> None:
        if not self._press.is_up:
            raise DeviceUnavailable(f"{self._press.name} does not answer")


# -- the verdict -------------------------------------------------------------------------------------------------------


def unended(plant: Plant) -> str:
    """Why the commands are not over yet; empty when all are."""
    tables = plant.database.tables
    for order in plant.orders:
        if not order.taken:
            return f"{order.key} is not taken"
    for row in tables.commands.values():
        if CommandState(row["state"]) not in ENDED:
            return f"command {row['command_id']} ({json.loads(row['action'])['value']}) is {row['state']}"
    if tables.command_relay[1] < len(tables.command_states):
        return f"state {tables.command_relay[1] + 1} of {len(tables.command_states)} is not published"
    places = {key[3]: row["next_offset"] for key, row in tables.places.items() if key[1] == REPORTS}
    for number, partition in enumerate(plant.log.topics[REPORTS].partitions):
        if places.get(number, 0) < partition.next_offset:
            return f"reports are read to {places.get(number, 0)} of {partition.next_offset} in partition {number}"
    return ""


def problems_of_commands(plant: Plant) -> Iterator[str]:
    """What is not as it was promised."""
    tables = plant.database.tables
    written = Counter(value for box in plant.boxes if box.press is not None for _, value in box.press.writes)
    held = {value for box in plant.boxes if box.press is not None for value in box.press.ever_held}
    for value, count in written.items():
        if count > 1:
            yield f"the command to write {value:g} was written {count} times"
    made = Counter(float(json.loads(row["action"])["value"]) for row in tables.commands.values())
    for order in plant.orders:
        if made[order.value] != 1 or len(order.taken) != 1:
            yield f"{order.key} is {made[order.value]} commands"
    states: dict[str, list[Row]] = {command: [] for command in tables.commands}
    for row in tables.command_states:
        states[row["command_id"]].append(row)
    for command, row in tables.commands.items():
        value = float(json.loads(row["action"])["value"])
        yield from _of_command(f"the command to write {value:g}", value, row, states[command], written, held)
    yield from _of_topic(plant)
    chain = (
        AuditEntry(  # as it is read from the database
            **{name: value for name, value in row.items() if name not in ("tenant_id", "details")},
            details=json.loads(row["details"]),
        )
        for row in tables.command_audit
    )
    yield from (f"audit log: {problem}" for problem in problems(chain))


def _of_command(
    name: str, value: float, row: Row, states: list[Row], written: Counter[float], held: set[float]
) -> Iterator[str]:
    told = [CommandState(each["state"]) for each in states if not each["is_late"]]
    if any(not may_follow(later, earlier) for earlier, later in pairwise(told)):
        yield f"{name}: its state has gone back: {', '.join(told)}"
    if not told or told[-1] != row["state"]:
        yield f"{name} is {row['state']}, and its states are {', '.join(told)}"
    end = next(each for each in reversed(states) if not each["is_late"])
    after = value_of(end, "value_after")
    if after is not None and after not in held:
        yield f"{name} is {row['state']} with {after!r}, which its press has never held"
    match row["state"]:
        case "succeeded":
            if after != value:
                yield f"{name} has succeeded, and the press held {after!r}"
        case "refused" | "expired" | "cancelled":
            if written[value]:
                yield f"{name} is {row['state']}, and was written"
        case "failed":
            if (after is not None) != bool(written[value]):
                yield f"{name} has failed with {after!r}, and was written {written[value]} times"


def _of_topic(plant: Plant) -> Iterator[str]:
    """Each state is in the topic; what comes again there is what was there before."""
    newest: dict[str, int] = {}
    seen: set[int] = set()
    for partition in plant.log.topics[COMMANDS].partitions if COMMANDS in plant.log.topics else ():
        for record in partition.records:
            document: dict[str, Any] = json.loads(record.value)
            cursor, command = document["cursor"], document["id"]
            if cursor not in seen and cursor < newest.get(command, 0):
                yield f"state {cursor} of {command} was published after a later one"
            seen.add(cursor)
            newest[command] = max(newest.get(command, 0), cursor)
    missing = len(plant.database.tables.command_states) - len(seen)
    if missing:
        yield f"{missing} states of commands are not published"
