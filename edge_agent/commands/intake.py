"""From a message of the broker to the journal: signature, addressee, time, replay, room; then the executor has it.

Bounded: at most ``WAITING_MAX`` messages wait to be looked at, more are dropped and counted (the cloud sends again).
What is genuine comes into the journal, also when it is refused; what is not leaves no more than a few lines an hour in
the audit log, and is never reported: its id may be that of another command.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from connectors.commands.envelope import Envelope, WriteTag, read_envelope
from connectors.commands.refusals import Refusal
from connectors.commands.reports import CommandReport
from connectors.commands.states import CommandState
from connectors.commands.ulid import new_ulid
from connectors.model.errors import PayloadInvalid
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.sparkplug.device_command import CommandReceived, PlainMetric
from edge_agent.commands.checks import Authority, refuse_journal, refuse_stranger, refuse_time
from edge_agent.commands.cloud_time import CloudNow
from edge_agent.commands.executor import Executor
from edge_agent.commands.journal import AGENT, Journal
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_rows import Command, Intake, Taken, told_of
from edge_agent.commands.journal_thread import JournalAccess
from edge_agent.commands.targets import Refused, Targets
from edge_agent.commands.telling import Telling
from edge_agent.observability.command_events import CommandEnded, CommandNotTaken, JournalBlocked

if TYPE_CHECKING:
    from connectors.commands.signing import TrustedKeys

WAITING_MAX: Final = 2048
AT_ONCE: Final = 64
PLAIN_S: Final = 60.0
"""A plain command names no time after which it must not be done: it gets this one."""
PLAIN_A_MINUTE: Final = 120
"""Anybody on the broker can write plain commands, and each that is taken has its place in the journal for ever."""
STRANGERS_AN_HOUR: Final = 60
CLOCK_S_MAX: Final = 5.0
DOUBT_S: Final = 1.0
"""How often the journal is asked again whether it has taken what it said it had not."""


@dataclass(frozen=True, slots=True)
class _Stranger:
    """Something that is no command of the cloud for this agent."""

    topic: str
    refused: Refused


class CommandIntake:
    """See the module. ``keys`` gives the keys that are trusted now."""

    def __init__(
        self,
        journal: JournalAccess,
        executor: Executor,
        telling: Telling,
        targets: Targets,
        *,
        keys: Callable[[], TrustedKeys],
        authority: Callable[[], Authority],
        cloud_now: Callable[[], CloudNow | None],
        clock: Clock,
        taken: Callable[[int], None] = lambda _number: None,
        mute: Callable[[], str] = lambda: "",
    ) -> None:
        """``taken`` hears the number of each command that comes into the journal.

        ``mute`` says why the cloud can be told nothing now, or is empty: of what it says nothing, nobody takes more.
        """
        self._journal = journal
        self._executor = executor
        self._telling = telling
        self._targets = targets
        self._keys = keys
        self._authority = authority
        self._cloud_now = cloud_now
        self._clock = clock
        self._count = taken
        self._mute = mute
        self._waiting: deque[CommandReceived] = deque()
        self._first_s: float | None = None
        self._something = asyncio.Event()
        self._turned_away: OrderedDict[str, Intake] = OrderedDict()
        self._strangers: deque[float] = deque(maxlen=STRANGERS_AN_HOUR)
        self._plain: deque[float] = deque(maxlen=PLAIN_A_MINUTE)
        self._unaudited = 0
        self._doubtful: deque[str] = deque(maxlen=WAITING_MAX)
        """Ids that the journal may have taken, although its disk failed."""

    def received(self, message: CommandReceived) -> None:
        """A message has come; it is looked at soon.

        While the cloud can be told nothing, it is dropped: the cloud sends it again until its time is up.
        """
        if problem := self._mute():
            emit(CommandNotTaken(message.topic, "own_key_unusable", problem))
            return
        if len(self._waiting) >= WAITING_MAX:
            emit(CommandNotTaken(message.topic, Refusal.TOO_MANY.value, f"{WAITING_MAX} messages wait already"))
            return
        self._waiting.append(message)
        self._something.set()

    async def run(self, hello_told: asyncio.Event, clock_known: asyncio.Event) -> None:
        """Take what comes until cancelled.

        Nothing is said of a command before the cloud was told of this start: from that it knows whether the journal is
        an older state of itself, so that what it says of commands is to be believed. The first commands then wait a
        moment for the answer, which tells the time.
        """
        await hello_told.wait()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(DOUBT_S if self._doubtful else None):
                    await self._something.wait()
            self._something.clear()
            await self._settle_doubts()
            await self._wait_for(clock_known)
            while self._waiting:
                messages = [self._waiting.popleft() for _ in range(min(AT_ONCE, len(self._waiting)))]
                await self._take(messages)

    async def _wait_for(self, clock_known: asyncio.Event) -> None:
        now_s = self._clock.monotonic_s()
        self._first_s = now_s if self._first_s is None else self._first_s
        left_s = self._first_s + CLOCK_S_MAX - now_s
        if left_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await clock_known.wait()

    # -- what it is ----------------------------------------------------------------------------------------------------

    async def _take(self, messages: Sequence[CommandReceived]) -> None:
        intakes: OrderedDict[str, Intake] = OrderedDict()
        for at, message in enumerate(messages):
            for found in self._read(message):
                if isinstance(found, Intake):
                    intakes.setdefault(found.envelope.id, found)
                else:
                    await self._note_stranger(found)
            if at % 8 == 7:
                await asyncio.sleep(0)  # signatures take their time, and polls go on
        if intakes:
            await self._into_journal(list(intakes.values()))

    def _read(self, message: CommandReceived) -> list[Intake | _Stranger]:
        if message.oversized_bytes:
            said = f"it has {message.oversized_bytes:,} bytes"
            return [_Stranger(message.topic, Refused(Refusal.OVERSIZED, said))]
        if not message.jws:
            return self._read_plain(message)
        envelope = self._genuine(message.jws)
        if isinstance(envelope, Refused):
            return [_Stranger(message.topic, envelope)]
        known = self._authority()
        if (refused := refuse_stranger(envelope, known)) is not None:
            return [_Stranger(message.topic, refused)]
        refused = (
            refuse_journal(envelope, known)  # first: any other refusal says that it was not done, in this journal
            or plain_problem(message, envelope)
            or refuse_time(envelope, self._cloud_now())
        )
        code, detail = (None, "") if refused is None else (refused.code, refused.detail)
        return [Intake(envelope, "cloud", envelope.issuer, code, detail)]

    def _genuine(self, jws: str) -> Envelope | Refused:
        from connectors.commands.signing import SignatureRefused  # loaded with the first command

        try:
            return read_envelope(self._keys().verify("lineside-command", jws))
        except SignatureRefused as exc:
            return Refused(exc.code, str(exc))
        except PayloadInvalid as exc:
            return Refused(Refusal.MALFORMED, str(exc))

    def _read_plain(self, message: CommandReceived) -> list[Intake | _Stranger]:
        """A Sparkplug command without envelope: one command a metric, where the device file allows it."""
        if not self._targets.allows_plain(message.device):
            said = f"the device file has no 'plain_commands: allow' for {message.device!r}"
            return [_Stranger(message.topic, Refused(Refusal.PLAIN_NOT_ALLOWED, said))]
        now_ms = self._clock.now_ns() // 1_000_000
        found: list[Intake | _Stranger] = []
        for metric in message.plain:
            if metric.value is None or (isinstance(metric.value, float) and not math.isfinite(metric.value)):
                refused = Refused(Refusal.WRONG_TYPE, f"{metric.name!r} has no value that can be written")
                found.append(_Stranger(message.topic, refused))
                continue
            now_s = self._clock.monotonic_s()
            if len(self._plain) == PLAIN_A_MINUTE and now_s - self._plain[0] < 60:
                said = f"{PLAIN_A_MINUTE} plain commands have come within a minute"
                found.append(_Stranger(message.topic, Refused(Refusal.TOO_MANY, said)))
                continue
            self._plain.append(now_s)
            envelope = Envelope(
                id=new_ulid(now_ms),
                agent=self._authority().agent,
                action=WriteTag(device=message.device, tag=metric.name, value=metric.value),
                issuer="sparkplug",
                reason="a plain DCMD",
                issued_ms=now_ms,
                expires_ms=now_ms + round(PLAIN_S * 1000),
            )
            found.append(Intake(envelope, "plain", "sparkplug"))
        return found

    # -- into the journal ----------------------------------------------------------------------------------------------

    async def _into_journal(self, intakes: list[Intake]) -> None:
        now_ms = self._clock.now_ns() // 1_000_000
        entries = [*self._turned_away.values(), *self._with_room(intakes)]
        try:
            taken = await self._journal.call(lambda journal: journal.take(entries, now_ms))
        except JournalUnavailable as exc:
            emit(JournalBlocked(str(exc)))
            await self._turn_away(entries, str(exc), now_ms)
            return
        if self._turned_away:
            gone = list(self._turned_away)
            self._turned_away.clear()
            with contextlib.suppress(JournalUnavailable):
                await self._journal.call(lambda journal: journal.turned_away_remove(gone))
        for entry, each in zip(entries, taken, strict=True):
            await self._taken(entry, each)
        if all(each.is_new and each.command.state is CommandState.RECEIVED for each in taken):
            self._telling.wake_soon()
        else:
            self._telling.wake()

    def _with_room(self, intakes: Sequence[Intake]) -> Iterator[Intake]:
        """What may come into the journal; for which there is no room, as refused."""
        room = self._executor.room
        for intake in intakes:
            if intake.envelope.id in self._turned_away:
                continue  # it was refused for ever, and the cloud has been told so
            is_held = self._executor.holds(intake.envelope.id)
            if intake.code is None and not is_held and room <= 0:
                said = f"{self._executor.held} commands wait already"
                intake = Intake(intake.envelope, intake.source, intake.actor, Refusal.TOO_MANY, said)
            room -= intake.code is None and not is_held
            yield intake

    async def _taken(self, intake: Intake, taken: Taken) -> None:
        command = taken.command
        if taken.is_new:
            self._count(command.number)
            if command.state is CommandState.RECEIVED:
                self._executor.submit(command)
            elif command.code is not None:
                state, code = command.state.value, command.code.value
                emit(CommandEnded(command.id, command.target, state, code, command.detail, AGENT))
            return
        if not taken.is_same:
            said = f"{command.id} is known with another content"
            await self._note_stranger(_Stranger(command.target, Refused(Refusal.REPLAYED, said)))
            return
        if intake.code is None:
            self._go_on(command)
        try:
            await self._telling.tell_again(command.number)
        except JournalUnavailable as exc:
            emit(JournalBlocked(str(exc)))

    def _go_on(self, command: Command) -> None:
        """It is held already, unless a disk that failed had taken it after all."""
        if command.state is CommandState.RECEIVED and not command.writes:
            self._count(command.number)
            self._executor.submit(command)

    async def _settle_doubts(self) -> None:
        """What the journal has is done: its report may be told, and then nobody sends it again."""
        ids = list(self._doubtful)
        if not ids:
            return
        try:
            found = await self._journal.call(lambda journal: [journal.command(id_) for id_ in ids])
        except JournalUnavailable:
            return
        self._doubtful.clear()
        for command in found:
            if command is not None:
                self._go_on(command)

    async def _turn_away(self, entries: Sequence[Intake], reason: str, now_ms: int) -> None:
        """The journal takes nothing: what came and was never in it is refused, and stays so whenever it comes again.

        Where that cannot be kept on disk, or nobody can say whether the journal has it, nothing is said: the cloud
        sends it again until its time is up.
        """
        fresh = {
            entry.envelope.id: entry
            for entry in entries
            if entry.envelope.id not in self._turned_away and entry.code is not Refusal.JOURNAL_MISMATCH
        }  # of another journal's, nobody can say that it was not done
        latest = self._cloud_now()
        latest_ms = 0.0 if latest is None else latest.time_ms - latest.uncertainty_ms

        def keep(journal: Journal) -> list[str]:
            unknown = [entry.envelope for id_, entry in fresh.items() if journal.command(id_) is None]
            return journal.turn_away(unknown, latest_ms)

        self._doubtful += fresh
        try:
            kept = await self._journal.call(keep)
        except JournalUnavailable:
            return
        for id_ in kept:
            entry = fresh[id_]
            code = Refusal.JOURNAL_UNAVAILABLE
            self._turned_away[id_] = Intake(entry.envelope, entry.source, entry.actor, code, reason)
            report = CommandReport(
                id=id_, journal=self._authority().journal, number=0, step=1, state=CommandState.REFUSED,
                time_ms=now_ms, actor=AGENT, code=code, detail=reason[:1000], source=entry.source,
                **told_of(entry.envelope),
            )  # fmt: skip
            self._telling.tell_unjournalled(report)

    async def _note_stranger(self, stranger: _Stranger) -> None:
        code, detail = stranger.refused.code.value, stranger.refused.detail
        emit(CommandNotTaken(stranger.topic, code, detail))
        now_s, now_ms = self._clock.monotonic_s(), self._clock.now_ns() // 1_000_000
        if len(self._strangers) == STRANGERS_AN_HOUR and now_s - self._strangers[0] < 3600:
            self._unaudited += 1
            return
        self._strangers.append(now_s)
        details = {"code": code, "detail": detail[:500], **({"others": self._unaudited} if self._unaudited else {})}
        self._unaudited = 0

        def note(journal: Journal) -> None:
            journal.audit(now_ms, "unknown", "not taken", stranger.topic[:500], details)

        try:
            await self._journal.call(note)
        except JournalUnavailable as exc:
            emit(JournalBlocked(str(exc)))


def plain_problem(message: CommandReceived, envelope: Envelope) -> Refused | None:
    """Whether the plain metrics beside an envelope say something else than it does."""
    action = envelope.action
    if message.device and message.device != action.device:
        said = f"it came on the topic of {message.device!r}, and is for {action.device!r}"
        return Refused(Refusal.PLAIN_DIFFERS, said)
    for metric in message.plain:
        if not isinstance(action, WriteTag) or metric.name != action.tag or not _is_same(metric, action.value):
            return Refused(Refusal.PLAIN_DIFFERS, f"beside it stands {metric.name} = {metric.value!r}")
    return None


def _is_same(metric: PlainMetric, value: object) -> bool:
    if isinstance(metric.value, bool) is not isinstance(value, bool):
        return False
    if isinstance(metric.value, float) and isinstance(value, int | float):  # a 32-bit float holds it less exactly
        return math.isclose(metric.value, value, rel_tol=1e-6, abs_tol=1e-12)
    return bool(metric.value == value)
