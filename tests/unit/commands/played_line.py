"""The command part of an agent between a played cloud and a played press, in virtual time, with a real journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

from connectors.commands.envelope import Envelope, RunCommand, WriteTag
from connectors.commands.expression import TagPlace
from connectors.commands.reports import Approval, Cancellation, CommandReport, Hello, TimeAnswer, read_record
from connectors.commands.signing import SigningKey, unverified
from connectors.commands.states import CommandState
from connectors.commands.ulid import new_ulid
from connectors.modbus.settings import ModbusDevice
from connectors.model.datatypes import DataType
from connectors.model.errors import DeviceUnavailable, OutboxUnavailable, WriteRefused, WriteUncertain
from connectors.model.quality import GOOD
from connectors.model.tags import TagName
from connectors.ports.device import DeviceWriter, Reading, Value
from connectors.sparkplug.delivery import APPROVAL, CANCEL, TIME
from connectors.sparkplug.device_command import CommandReceived, PlainMetric, SignedReceived
from edge_agent.commands.agent_actions import AgentWork
from edge_agent.commands.executor import Switches
from edge_agent.commands.journal import Journal
from edge_agent.commands.own_key import KEY_FILE
from edge_agent.commands.pinned_keys import write_pinned_keys
from edge_agent.commands.service import Commands
from edge_agent.commands.targets import Targets
from tests.virtual_time import START_NS, VirtualClock

T = TypeVar("T")
AGENT: Final = "plant/line"
TOPIC: Final = "spBv1.0/plant/DCMD/line/press"
START_MS: Final = START_NS // 1_000_000
KEY: Final = SigningKey.generate()
PRESS: Final[dict[str, Any]] = {
    "name": "press",
    "driver": "modbus",
    "endpoint": "tcp://127.0.0.1:502",
    "plain_commands": "refuse",
    "tags": (
        {"name": "state", "at": "holding 0"},
        {"name": "speed", "at": "holding 1", "writable": {"min": 0, "max": 250}},
        {"name": "slow", "at": "holding 2", "writable": {"min": 0, "max": 250, "interval": "60s"}},
        {"name": "guarded", "at": "holding 3", "writable": {"min": 0, "max": 9, "interlock": "press/state == 1"}},
        {"name": "shared", "at": "holding 4", "writable": {"min": 0, "max": 9, "approve": True}},
        {"name": "armed", "at": "holding 5", "writable": {"min": 0, "max": 9, "arm": "30s"}},
        {"name": "go", "at": "coil 0", "writable": {"pulse": {"value": True, "back_to": False, "after": "500ms"}}},
        {"name": "lamp", "at": "coil 1", "writable": True},
        {"name": "level", "at": "holding 6", "type": "float32", "writable": {"min": 0, "max": 10, "readback": 0.1}},
    ),
    "commands": {
        "start": {
            "arguments": {"recipe": {"type": "int", "min": 0, "max": 9}},
            "interlock": "press/state == 0",
            "steps": (
                {"write": "speed", "value": "$recipe"},
                {"wait": "press/state == 2", "within": "5s"},
                {"write": "lamp", "value": True},
                {"call": "ns=2;s=Begin", "arguments": ("$recipe",)},
            ),
            "otherwise": ({"write": "speed", "value": 0},),
        }
    },
}
TYPES: Final = {
    "state": DataType.UINT16, "speed": DataType.UINT16, "slow": DataType.UINT16, "guarded": DataType.UINT16,
    "shared": DataType.UINT16, "armed": DataType.UINT16, "go": DataType.BOOLEAN, "lamp": DataType.BOOLEAN,
    "level": DataType.FLOAT,
}  # fmt: skip


class PlayedPress:
    """A device that holds what is written; ``writes`` and ``calls`` are all that ever reached it."""

    def __init__(self) -> None:
        self.holds: dict[str, Value] = {
            "state": 0, "speed": 5, "slow": 5, "guarded": 5, "shared": 5, "armed": 5, "go": False, "lamp": False,
            "level": 1.0,
        }  # fmt: skip
        self.writes: list[tuple[str, Value]] = []
        self.calls: list[tuple[str, tuple[Value, ...]]] = []
        self.is_away = False
        self.refuses = False
        self.answers = True
        self.is_lost_before = False
        """With ``answers`` false: whether what is written is lost on the way."""
        self.keeps = False
        """Whether it holds what it held, although it says that it was written."""
        self.quality = GOOD
        self.write_s = self.read_s = 0.0
        self.when_written: Callable[[], None] = lambda: None

    async def write(self, tag: TagName, value: Value) -> None:
        await asyncio.sleep(self.write_s)
        if self.is_away:
            raise DeviceUnavailable("press: the connection is lost")
        if self.refuses:
            raise WriteRefused("exception 2, illegal data address")
        if not (self.is_lost_before and not self.answers):
            self.writes.append((tag, value))
            if not self.keeps:
                self.holds[tag] = value
        self.when_written()
        if not self.answers:
            raise WriteUncertain("no answer within 2 s")

    async def read(self, tag: TagName) -> Reading:
        await asyncio.sleep(self.read_s)
        if self.is_away:
            raise DeviceUnavailable("press: the connection is lost")
        return Reading(self.holds[tag], self.quality, START_NS)

    async def call(self, method: str, arguments: Sequence[Value]) -> tuple[Value, ...]:
        if self.refuses:
            raise WriteRefused("BadNotExecutable")
        self.calls.append((method, tuple(arguments)))
        return (0,)


class PlayedPlant:
    """A plant of one press, of which nothing is acquired: every condition reads it."""

    def __init__(self, press: PlayedPress) -> None:
        self.press = press

    def writer(self, device: str) -> DeviceWriter | None:
        return self.press if device == "press" else None

    def datatypes(self, device: str) -> Mapping[str, DataType]:
        return TYPES if device == "press" else {}

    def current(self, place: TagPlace, age_s_max: float) -> Reading | None:
        return None


class InlineJournal:
    """The journal without its thread; while ``is_full``, nothing can be written."""

    def __init__(self, path: Path, start: str) -> None:
        self.journal = Journal(path, start=start, now_ms=START_MS)
        self.is_full = False
        self.before_call: Callable[[], None] = lambda: None

    async def call(self, work: Callable[[Journal], T]) -> T:
        await asyncio.sleep(0)
        self.before_call()
        if self.is_full:
            self.journal._opened().execute("PRAGMA query_only=ON")
        else:
            self.journal._opened().execute("PRAGMA query_only=OFF")
        return work(self.journal)


class ToldRecords:
    """What the cloud would hear."""

    def __init__(self) -> None:
        self.said: list[CommandReport | Hello] = []
        self.signed: list[str] = []
        """The signatures around what was said; empty texts where there are none."""
        self.failures = 0

    async def tell(self, records: Sequence[bytes]) -> None:
        await asyncio.sleep(0)
        if self.failures:
            self.failures -= 1
            raise OutboxUnavailable("the disk is full")
        for record in records:
            document = json.loads(record)
            kind = Hello if document["kind"] == "hello" else CommandReport
            self.signed.append(document.get("signed", ""))
            inside = unverified(document["signed"])[1] if "signed" in document else record
            self.said.append(read_record(kind, inside))


class Line:
    """One start of the command part; ``press`` and the folder outlive it."""

    def __init__(
        self, folder: Path, press: PlayedPress | None = None, *, start: int = 1, switches: Switches | None = None,
        device: Mapping[str, Any] | None = None, actions: Mapping[str, AgentWork] | None = None,
    ) -> None:  # fmt: skip
        self.press = press or PlayedPress()
        self.clock = VirtualClock()
        self.records = ToldRecords()
        self.journal = InlineJournal(folder / "commands.db", f"{start:016x}")
        keys = folder / "trusted-keys.json"
        if not keys.exists():
            write_pinned_keys(keys, {KEY.key_id: KEY.public_jwk()})
        self.plant = PlayedPlant(self.press)
        self.commands = Commands(
            self.journal, self.records, self.plant, Targets([ModbusDevice.model_validate({**PRESS, **(device or {})})]),
            agent=AGENT, switches=switches or Switches(), keys_file=keys, own_key_file=folder / KEY_FILE,
            clock=self.clock, actions=actions,
        )  # fmt: skip

    @property
    def reports(self) -> list[CommandReport]:
        return [said for said in self.records.said if isinstance(said, CommandReport)]

    @property
    def hellos(self) -> list[Hello]:
        return [said for said in self.records.said if isinstance(said, Hello)]

    def now_ms(self) -> int:
        return self.clock.now_ns() // 1_000_000

    def envelope(self, tag: str = "speed", value: Value = 7, **more: Any) -> Envelope:
        """A command of the cloud to write a tag."""
        action = more.pop("action", None) or WriteTag(device="press", tag=tag, value=value)
        found: dict[str, Any] = {
            "id": new_ulid(self.now_ms()), "agent": AGENT, "action": action, "issuer": "anna", "reason": "a test",
            "issued_ms": self.now_ms(), "expires_ms": self.now_ms() + 60_000, **more,
        }  # fmt: skip
        return Envelope(**found)

    def start(self, recipe: Value = 3, **more: Any) -> Envelope:
        """The named command of the press."""
        return self.envelope(action=RunCommand(device="press", command="start", arguments={"recipe": recipe}), **more)

    def send(
        self, envelope: Envelope, *, key: SigningKey = KEY, plain: tuple[PlainMetric, ...] = (), device: str = "press"
    ) -> Envelope:
        """The cloud sends a command."""
        jws = key.sign("lineside-command", envelope.to_json())
        self.commands.received(CommandReceived(TOPIC, device, plain, jws))
        return envelope

    def cancel(self, id_: str) -> None:
        """The cloud takes a command back."""
        document = Cancellation(agent=AGENT, id=id_, issuer="berta", reason="not now", issued_ms=self.now_ms())
        jws = KEY.sign("lineside-cancel", document.to_json())
        self.commands.signed(SignedReceived(TOPIC, CANCEL, jws))

    def agree(self, id_: str, approver: str = "berta", *, agent: str = AGENT, key: SigningKey = KEY) -> None:
        """The cloud says that somebody agrees."""
        document = Approval(agent=agent, id=id_, approver=approver, reason="seen", issued_ms=self.now_ms())
        jws = key.sign("lineside-approval", document.to_json())
        self.commands.signed(SignedReceived(TOPIC, APPROVAL, jws))

    def tell_time(self, *, restored: bool = False, key: SigningKey = KEY, ahead_ms: int = 0, audit: int = 0) -> None:
        """The cloud answers the newest hello."""
        hello = self.hellos[-1]
        answer = TimeAnswer(
            agent=AGENT, nonce=hello.nonce, time_ms=self.now_ms() + ahead_ms, journal=hello.journal,
            number=hello.number, restored=restored, audit_number=audit,
        )  # fmt: skip
        self.commands.signed(SignedReceived(TOPIC, TIME, key.sign("lineside-time", answer.to_json())))

    async def done(self, id_: str, limit_s: float = 200.0) -> CommandReport:
        """The report with which a command has ended."""
        end_s = self.clock.monotonic_s() + limit_s
        while True:
            found = [each for each in self.reports if each.id == id_ and each.state in ENDED_STATES]
            if found:
                return found[-1]
            assert self.clock.monotonic_s() < end_s, f"it has not ended: {self.reports}"
            await asyncio.sleep(0.01)

    def states(self, id_: str) -> list[str]:
        """The states of a command as the cloud hears them."""
        return [each.state.value for each in self.reports if each.id == id_]


ENDED_STATES: Final = frozenset(CommandState) - {
    CommandState.REQUESTED, CommandState.APPROVED, CommandState.SENT, CommandState.RECEIVED, CommandState.EXECUTING,
}  # fmt: skip


@asynccontextmanager
async def running(line: Line, *, knows_time: bool = True) -> AsyncIterator[Line]:
    """Run it; the cloud has told its time, unless said otherwise."""
    task = asyncio.create_task(line.commands.run())
    try:
        if knows_time:
            await until(lambda: line.hellos)
            line.tell_time()
            await until(lambda: line.commands.is_clock_known)
        yield line
    finally:
        task.cancel()
        await asyncio.wait([task])
        line.journal.journal.close()
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error


def end_here() -> NoReturn:
    """End the task that calls this: nothing after it is done, and nobody hears why."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    raise asyncio.CancelledError


async def until(condition: Callable[[], object], limit_s: float = 600.0) -> None:
    end_s = asyncio.get_running_loop().time() + limit_s
    while not condition():
        assert asyncio.get_running_loop().time() < end_s, "it did not happen in time"
        await asyncio.sleep(0.01)
