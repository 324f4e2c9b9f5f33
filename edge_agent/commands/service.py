"""The command part of the agent, put together: what comes from the broker, what people do, and what the cloud hears.

Until the journal can be opened, nothing is taken; it is tried again, and ``status`` says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from connectors.commands.reports import (
    FILE_MESSAGE_CHARS_MAX,
    Approval,
    Cancellation,
    FileFact,
    Hello,
    TimeAnswer,
    read_record,
)
from connectors.model.errors import OutboxUnavailable, PayloadInvalid
from connectors.observability.events import emit
from connectors.ports.clock import Clock
from connectors.sparkplug.delivery import APPROVAL, CANCEL, KEYS, TIME
from connectors.sparkplug.device_command import CommandReceived, SignedReceived
from connectors.stopping import Tasks
from edge_agent.commands.agent_actions import AgentWork
from edge_agent.commands.checks import Authority
from edge_agent.commands.cloud_keys import CloudKeys
from edge_agent.commands.cloud_time import CloudTime
from edge_agent.commands.executor import Executor, Switches
from edge_agent.commands.intake import CommandIntake
from edge_agent.commands.journal_file import JournalUnavailable
from edge_agent.commands.journal_rows import Command
from edge_agent.commands.journal_thread import JournalAccess
from edge_agent.commands.operators import Operators
from edge_agent.commands.own_key import NotSigned, OwnKey
from edge_agent.commands.plant import Plant
from edge_agent.commands.recovery import Recovery
from edge_agent.commands.targets import Targets
from edge_agent.commands.telling import Records, Telling
from edge_agent.config.device_files import FileNow
from edge_agent.observability.command_events import (
    CommandNotTaken,
    JournalBegunAnew,
    JournalBlocked,
    JournalRecovered,
)

HELLO_S: Final = 300.0
HELLO_UNKNOWN_S: Final = 10.0
"""While the cloud's time is not known, it is asked for this often."""
RETRY_S: Final = 1.0
DOCUMENTS_MAX: Final = 256
"""So many signed documents wait to be read; of more, the oldest are dropped, and asked for again."""
KEYS_LOOK_S: Final = 10.0
TRUSTED_MAX: Final = 100
HELD_TOLD_MAX: Final = 100
NO_JOURNAL: Final = "0" * 32
RESTORED: Final = "the journal is an older state of itself: its disk was restored, and this command may have been done"


class Commands:
    """See the module; implements ``CommandListener`` for the uplink.

    ``elapsed_s`` is a clock that goes on while the box sleeps; ``actions`` do what is for the agent itself; ``files``
    are its device files.
    """

    def __init__(
        self,
        journal: JournalAccess,
        records: Records,
        plant: Plant,
        targets: Targets,
        *,
        agent: str,
        switches: Switches,
        keys_file: Path,
        own_key_file: Path | None = None,
        clock: Clock,
        elapsed_s: Callable[[], float] | None = None,
        actions: Mapping[str, AgentWork] | None = None,
        files: Callable[[], Sequence[FileNow]] | None = None,
    ) -> None:
        self._journal = journal
        self._records = records
        self._clock = clock
        self._elapsed_s = elapsed_s or clock.monotonic_s
        self.files = files
        self.is_connected: Callable[[], bool] = lambda: True
        """Whether the cloud can be asked for its time; the uplink knows."""
        self._time = CloudTime()
        self._clock_known = asyncio.Event()
        self._hello_due = asyncio.Event()
        self._hello_told = asyncio.Event()
        self._documents: deque[tuple[SignedReceived, float]] = deque(maxlen=DOCUMENTS_MAX)
        self._document_came = asyncio.Event()
        self._keys = CloudKeys(keys_file, journal, clock, agent, self._hello_due.set)
        self._own_key = OwnKey(own_key_file)
        self._hellos = 0
        self._audit_known = 0
        self._authority = Authority(agent, NO_JOURNAL, 0)
        self.problem = "the command journal is not open yet"
        self.telling = Telling(journal, records, self._own_key.sealed)
        self.executor = Executor(
            journal, plant, targets, switches=switches, cloud_now=self._cloud_now, locks=lambda: self.operators.locks,
            told=self.telling.wake, clock=clock, actions=actions,
        )  # fmt: skip
        self.operators = Operators(
            journal,
            self.executor,
            self.telling,
            targets,
            plant,
            agent=agent,
            said=self._hello_due.set,
            taken=self._count,
            clock=clock,
        )
        self._intake = CommandIntake(
            journal, self.executor, self.telling, targets, keys=self._keys.trusted, authority=lambda: self._authority,
            cloud_now=self._cloud_now, clock=clock, taken=self._count, mute=lambda: self._own_key.problem,
        )  # fmt: skip
        self._recovery = Recovery(journal, self.executor, plant, targets, clock)

    @property
    def is_clock_known(self) -> bool:
        """Whether the cloud's time is known well enough for its commands."""
        now = self._cloud_now()
        return now is not None and now.is_known

    @property
    def key_count(self) -> int:
        """How many keys of the cloud are trusted."""
        return len(self._keys.ids)

    @property
    def own_key(self) -> str:
        """The id of the agent's own key; empty when it was never enrolled."""
        return self._own_key.key_id

    @property
    def own_key_problem(self) -> str:
        """Why the agent's own key cannot be used; empty when it can, or there is none."""
        return self._own_key.problem

    @property
    def switches(self) -> Switches:
        """What the agent's file says of commands."""
        return self.executor.switches

    # -- CommandListener ---------------------------------------------------------------------------------------------

    def received(self, message: CommandReceived) -> None:
        """See ``CommandListener``."""
        self._intake.received(message)

    def signed(self, message: SignedReceived) -> None:
        """See ``CommandListener``."""
        self._documents.append((message, self._elapsed_s()))
        self._document_came.set()

    def connected(self) -> None:
        """See ``CommandListener``."""
        self.say_hello()

    def say_hello(self) -> None:
        """There is something new that a hello tells."""
        self._hello_due.set()

    # ----------------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled."""
        self._keys.look()
        self._own_key.look()
        self.executor.reset()
        open_commands = await self._open()
        async with Tasks() as tasks:
            tasks.create_task(self.executor.run(), name="commands executor")
            tasks.create_task(self.telling.run(), name="commands telling")
            tasks.create_task(self._recovery.run(self._clock_known, open_commands), name="commands recovery")
            tasks.create_task(self._intake.run(self._hello_told, self._clock_known), name="commands intake")
            tasks.create_task(self._read_documents(), name="commands documents")
            tasks.create_task(self._say_hello(), name="commands hello")
            tasks.create_task(self._keep_keys(), name="commands keys")

    async def _open(self) -> list[Command]:
        """Open the journal, however long the disk does not let it; what an earlier start has left open."""
        has_failed = False
        while True:
            try:
                set_aside = await self._journal.call(lambda journal: journal.set_aside)
                await self._learn()
                await self._sign_from_now_on()
                await self.operators.resume()
                await self.executor.resume()
                found = await self._journal.call(lambda journal: journal.unfinished())
            except JournalUnavailable as exc:
                if not has_failed:
                    emit(JournalBlocked(str(exc)))
                has_failed, self.problem = True, str(exc)
                await asyncio.sleep(RETRY_S)
                continue
            if has_failed:
                emit(JournalRecovered())
            if set_aside is not None:
                emit(JournalBegunAnew(self._authority.journal, f"it was damaged, and is set aside as {set_aside}"))
            self.problem = ""
            return found

    async def _learn(self) -> None:
        facts = await self._journal.call(lambda journal: journal.facts())
        self._authority = Authority(self._authority.agent, facts.journal, facts.number, facts.is_anew)

    def _count(self, number: int) -> None:
        if number > self._authority.number:
            self._authority = replace(self._authority, number=number)

    # -- the cloud's time --------------------------------------------------------------------------------------------

    def _cloud_now(self) -> Any:
        return self._time.now(self._elapsed_s())

    async def _say_hello(self) -> None:
        """At the start, at each connect, and then every few minutes."""
        self._hello_due.set()
        while True:
            due_s = HELLO_S if self.is_clock_known else HELLO_UNKNOWN_S
            try:
                async with asyncio.timeout(due_s):
                    await self._hello_due.wait()
                is_asked = True
            except TimeoutError:
                is_asked = False
            self._hello_due.clear()
            if not is_asked and not self.is_connected():
                continue  # it would wait in the outbox, and its answer would say nothing
            if self._own_key.problem:
                continue  # it would not be believed; with the key comes the next one
            try:
                await self._hello()
            except NotSigned:
                continue
            except (JournalUnavailable, OutboxUnavailable):
                await asyncio.sleep(RETRY_S)

    async def _hello(self) -> None:
        facts = await self._journal.call(lambda journal: journal.facts())
        nonce = self._time.question(self._elapsed_s())
        self._keys.asked(nonce)
        self._hellos += 1
        hello = Hello(
            count=self._hellos, nonce=nonce, journal=facts.journal, number=facts.number, start=facts.start,
            previous=facts.previous, open=facts.open, audit_number=facts.audit_number, audit_hash=facts.audit_hash,
            locks=tuple(lock.line for lock in facts.locks), trusted=self._keys.ids[:TRUSTED_MAX],
            held=tuple(lock.told() for lock in facts.locks[:HELD_TOLD_MAX]), audit_base=facts.audit_base,
            audit_base_hash=facts.audit_base_hash,
            files=None if self.files is None else tuple(_fact(file) for file in self.files()),
        )  # fmt: skip
        await self._records.tell([self._own_key.sealed(hello)])
        if not self._hello_told.is_set():
            self._hello_told.set()
            await self._journal.call(lambda journal: journal.hello_told())

    async def _read_documents(self) -> None:
        while True:
            await self._document_came.wait()
            self._document_came.clear()
            while self._documents:
                message, heard_s = self._documents.popleft()
                try:
                    await self._document(message, heard_s)
                except JournalUnavailable as exc:
                    emit(JournalBlocked(str(exc)))
                    await asyncio.sleep(RETRY_S)

    async def _document(self, message: SignedReceived, heard_s: float) -> None:
        """A signed document came at ``heard_s``: the time, other keys, an approval, or that a command is taken back."""
        from connectors.commands.signing import SignatureRefused

        try:
            if message.metric == TIME:
                sealed = self._keys.trusted().verify("lineside-time", message.jws)
                await self._told_time(read_record(TimeAnswer, sealed), heard_s)
            elif message.metric == CANCEL:
                sealed = self._keys.trusted().verify("lineside-cancel", message.jws)
                await self._cancelled(read_record(Cancellation, sealed))
            elif message.metric == APPROVAL:
                sealed = self._keys.trusted().verify("lineside-approval", message.jws)
                await self.operators.agreed(read_record(Approval, sealed), message.topic)
            elif message.metric == KEYS:
                await self._keys.told(message.jws)
        except SignatureRefused as exc:
            emit(CommandNotTaken(message.topic, exc.code.value, f"{message.metric}: {exc}"))
        except PayloadInvalid as exc:
            emit(CommandNotTaken(message.topic, "malformed", f"{message.metric}: {exc}"))

    async def _told_time(self, answer: TimeAnswer, heard_s: float) -> None:
        if answer.agent != self._authority.agent or not self._time.answered(answer, heard_s):
            return
        if answer.restored and answer.journal == self._authority.journal:
            now_ms = self._clock.now_ns() // 1_000_000
            try:
                journal = await self._journal.call(lambda journal: journal.begin_anew(now_ms, RESTORED))
            except JournalUnavailable:
                self._time = CloudTime()  # without a new journal nothing may be done, so nobody knows the time
                self._hello_due.set()
                raise
            emit(JournalBegunAnew(journal, RESTORED))
            await self._learn()
            self.telling.wake()
            self._hello_due.set()
        elif answer.journal == self._authority.journal and answer.audit_number != self._audit_known:
            await self._journal.call(lambda journal: journal.audit_told(answer.audit_number))
            self._audit_known = answer.audit_number
        if self.is_clock_known:
            self._clock_known.set()

    async def _cancelled(self, cancellation: Cancellation) -> None:
        if cancellation.agent == self._authority.agent:
            await self.executor.cancel(cancellation.id, cancellation.issuer, cancellation.reason)

    async def _keep_keys(self) -> None:
        """Enrolment writes the files while the agent runs: its own key, and those of the cloud."""
        is_other = False
        while True:
            await asyncio.sleep(KEYS_LOOK_S)
            if self._own_key.look():
                is_other = True
                self._hello_due.set()
            if is_other:
                with contextlib.suppress(JournalUnavailable):
                    await self._sign_from_now_on()
                    is_other = False
                self.telling.wake()  # what could not be signed
            await self._keys.look_and_note()

    async def _sign_from_now_on(self) -> None:
        """With another key, the newest steps are told once more. Raises ``JournalUnavailable``."""
        if not self._own_key.problem:
            await self.telling.signed_with(self._own_key.key_id)


def _fact(file: FileNow) -> FileFact:
    return FileFact(
        name=file.name, sha256=file.sha256, version=file.version, state=file.state, loaded=file.loaded,
        message=file.message[:FILE_MESSAGE_CHARS_MAX],
    )  # fmt: skip
