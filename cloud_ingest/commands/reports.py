"""What agents report of commands, from one partition of ``lineside.reports.v1`` into the tables: exactly once.

What an agent has not said itself (``genuine``) is set aside, and changes nothing. The place in the log and what was
reported are one transaction. A report that comes again is known by (id, journal, step), a hello by its start and count
(or batch, when it is not signed); so after the log has lost its end everything in it is simply read once more.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from cloud_ingest.commands import at_once, audit, book, numbers
from cloud_ingest.commands.at_once import FIRST_FREE, Chance
from cloud_ingest.commands.book import Change
from cloud_ingest.commands.genuine import (
    NEWEST_KEY,
    AgentKey,
    Judged,
    agent_key,
    judge_all,
    judged,
    keep_letter,
    note_signing,
    set_aside,
)
from cloud_ingest.commands.incoming import Told, read_told
from cloud_ingest.commands.journals import take_hello
from cloud_ingest.commands.reported import actor_of, asked_at_the_box, enter, learn_action, note_waiting, waits
from cloud_ingest.commands.rules import Party, permitted
from cloud_ingest.event_log.failures import Cause, cause_of, reason_of, sentence_of
from cloud_ingest.event_log.place import Place, is_at, moving
from cloud_ingest.event_log.topics import REPORTS
from cloud_ingest.historian.identities import Identities
from cloud_ingest.historian.work import KnownAgent
from cloud_ingest.observability.command_events import (
    AuditAlarm,
    CommandNotAskedFor,
    JournalRestored,
    ReportForged,
    ReportRefused,
    ReportsTaken,
)
from cloud_ingest.observability.events import StoreReached, StoreWaiting, StoringFailed
from cloud_ingest.observability.obstacles import OBSTACLES, commands_partition
from connectors.commands.reports import CommandReport
from connectors.commands.states import CommandState
from connectors.model.back_off import BackOff
from connectors.model.delivery import AgentName
from connectors.model.errors import DatabaseUnavailable, EventLogUnavailable, PayloadInvalid, StatementRefused
from connectors.observability.events import Event, emit
from connectors.ports.database import Database, Row, Session
from connectors.ports.event_log import EventLog, LogRecord

PROJECTION: Final = "commands"
READ_WAIT_S: Final = 1.0
READ_BYTES_MAX: Final = 1024 * 1024
AT_ONCE_MAX: Final = 16
"""So many reports are judged between reading the tables and writing: while it judges more, others may write."""
_KNOWN: Final = (
    "SELECT command_id, command.state, agent_id, action IS NULL AS nameless, command_state.journal, "  # noqa: S608
    f"command_state.step, {audit.READ}, key.* FROM command {audit.JOIN.format('command')} "
    f"JOIN agent USING (agent_id) {NEWEST_KEY} "
    "LEFT JOIN command_state USING (command_id) WHERE command_id = ANY($1::text[])"
)
_KNOWN_ONE: Final = _KNOWN.replace("ANY($1::text[])", "$1")
"""Of a single one: PostgreSQL keeps the plan of it, and makes that of many anew each time."""
_NUMBERS: Final = FIRST_FREE + 7
_TAKEN_AT_ONCE: Final = at_once.statement(
    first=f"place AS MATERIALIZED (SELECT 1 AS yes FROM projection WHERE {is_at(FIRST_FREE)} FOR UPDATE), "  # noqa: S608
    "may AS MATERIALIZED (SELECT yes FROM unchanged WHERE EXISTS (SELECT FROM place))",
    beside=(
        f"following AS ({moving(FIRST_FREE)} AND {{may}})",
        f"numbers AS ({numbers.statement(_NUMBERS, 'WHERE {may}')})",
    ),
)


@dataclass(slots=True)
class _Work:
    """What one transaction does, and what is told when it is committed."""

    changes: list[Change] = field(default_factory=list)
    numbers: dict[tuple[KnownAgent, str, str], int] = field(default_factory=dict)
    """By agent, start and journal, the highest number of a command; not written yet."""
    told: list[Event] = field(default_factory=list)
    reports: int = 0
    repeated: int = 0
    hellos: int = 0


@dataclass(slots=True)
class _Known:
    """The commands that reports are of, as they stand within the transaction."""

    states: dict[str, CommandState]
    agents: dict[str, int]
    steps: set[tuple[str, str, int]]
    nameless: set[str]
    """Those of which nobody has said yet what they do."""
    keys: dict[int, AgentKey | None]
    """Of the agents that the commands are of."""

    def has_all_of(self, agent: KnownAgent, report: CommandReport) -> bool:
        """Whether a report is of a command of ``agent``, and brings nothing that is to be kept but its state."""
        names_it = report.id in self.nameless and report.action is not None
        return self.agents.get(report.id) == agent.agent_id and not names_it and not waits(report)


class ReportProjector:
    """The reports of one partition."""

    def __init__(self, database: Database, log: EventLog, identity: str, partition: int) -> None:
        self._database = database
        self._log = log
        self._partition = partition
        self._place = Place(database, REPORTS, identity, partition, PROJECTION)
        self._identities = Identities(database)
        self._chance = Chance()
        self._next = 0

    async def run(self, back_off: BackOff) -> None:
        """Take reports until cancelled; what is down is waited for.

        Raises ``OffsetMoved`` when another process has taken the partition over.
        """
        part = commands_partition(self._partition)
        while True:
            try:
                await self._read_on(back_off, part)
            except (DatabaseUnavailable, EventLogUnavailable, StatementRefused) as exc:
                wait_s = back_off.next_s()
                emit(StoreWaiting(part, reason_of(exc), round(wait_s, 1)))
                await asyncio.sleep(wait_s)

    async def _read_on(self, back_off: BackOff, part: str) -> None:
        self._next = await self._place.read()
        if (await self._log.end_offsets(REPORTS)).get(self._partition, self._next) < self._next:
            await self._place.set_back(self._next, 0)  # the log has lost its end: what is known already changes nothing
            self._next = 0
        async with self._log.reader(REPORTS, self._partition, self._next) as reader:
            while True:
                records = await reader.read(READ_WAIT_S, READ_BYTES_MAX)
                if records:
                    await self.take(records)
                back_off.reset()
                if OBSTACLES.reason(part):
                    emit(StoreReached(part))

    async def take(self, records: Sequence[LogRecord]) -> None:
        """Take ``records`` in one transaction; one that cannot be stored is told, and keeps no other from it.

        Raises ``DatabaseUnavailable`` and ``OffsetMoved``.
        """
        told: list[Told] = []
        try:
            told, refused = self._read(records)
            await self._store(told, records[-1], refused)
        except Exception as exc:  # refused, or a defect of ours that one record brings out: that one is found
            if cause_of(exc) is Cause.OUTSIDE:
                raise
            self._identities.forget()
            if len(records) > 1:
                for record in records:
                    await self.take([record])
                return
            await self._refuse(told, records[0], exc)

    async def _refuse(self, told: Sequence[Told], record: LogRecord, error: Exception) -> None:
        """Go past a record that cannot be stored. Its message is kept among the dead letters, where those take it."""
        reason = sentence_of(error)
        if not isinstance(error, StatementRefused):
            trace = "".join(traceback.format_exception(error))
            emit(StoringFailed(REPORTS, self._partition, record.offset, reason, 1, trace))
        refused = ReportRefused(_name(record), reason)
        try:
            await self._store([], record, [refused], lost=[(one, reason) for one in told])
        except Exception as exc:  # no dead letter either, for the reason that was told
            if cause_of(exc) is Cause.OUTSIDE:
                raise
            await self._store([], record, [refused])

    def _read(self, records: Sequence[LogRecord]) -> tuple[list[Told], list[Event]]:
        told: list[Told] = []
        refused: list[Event] = []
        for record in records:
            try:
                told.append(read_told(record))
            except PayloadInvalid as exc:
                refused.append(ReportRefused(_name(record), str(exc)))
        return told, refused

    async def _store(
        self,
        told: Sequence[Told],
        last: LogRecord,
        refused: Sequence[Event],
        lost: Sequence[tuple[Told, str]] = (),
    ) -> None:
        """One transaction; ``lost`` are put into the dead letters, each with its reason."""
        speakers = [one.agent for one in (*told, *(one for one, _ in lost))]
        names: dict[AgentName, KnownAgent] = {name: await self._identities.agent(name) for name in speakers}
        is_plain = not refused and not lost and 0 < len(told) <= AT_ONCE_MAX and all(one.report for one in told)
        work = await self._taken_at_once(told, last, names) if is_plain and self._chance.is_good else None
        if work is None:
            work = await self._taken_under_lock(told, last, names, lost)
            work.told += refused
        self._next = last.offset + 1
        book.tell(work.changes)
        for event in (*work.told, ReportsTaken(work.reports, work.repeated, work.hellos)):
            emit(event)

    async def _taken_at_once(
        self, told: Sequence[Told], last: LogRecord, names: Mapping[AgentName, KnownAgent]
    ) -> _Work | None:
        """Take reports in two round trips, as most of them come; ``None``: nothing was done, as it is not so easy."""
        reports = [(names[one.agent], one.report) for one in told if one.report is not None]
        async with self._database.session() as session:
            known, heads = await _known(session, [report.id for _, report in reports])
            if not all(known.has_all_of(agent, report) for agent, report in reports):
                return None
            verdicts = [judged(one, known.keys[names[one.agent].agent_id]) for one in told]
            if any(one.problem or one.first_signed for one in verdicts):
                return None
            work = _Work()
            for one in told:
                work.reports += 1
                await _report(session, work, known, names[one.agent], one)
            if not work.changes:
                return None
            place = self._place.move_columns(self._next, last.offset + 1, last.time_ms)
            more = (*place, *numbers.columns(work.numbers))
            done = await at_once.write(session, self._chance, _TAKEN_AT_ONCE, heads, work.changes, *more)
        return work if done else None

    async def _taken_under_lock(
        self,
        told: Sequence[Told],
        last: LogRecord,
        names: Mapping[AgentName, KnownAgent],
        lost: Sequence[tuple[Told, str]],
    ) -> _Work:
        verdicts = await judge_all(self._database, told, names) if told else []
        work = _Work()
        following = last.offset + 1
        async with self._database.transaction() as session:
            tenants = {agent.tenant_id for agent in names.values()}
            heads = await audit.move_and_lock_heads(session, self._place, self._next, following, last.time_ms, tenants)
            for letter, reason in lost:
                about = f"what it says of commands cannot be stored: {reason}"
                await keep_letter(session, names[letter.agent], letter, about)
            if told:
                known, _ = await _known(session, [one.report.id for one in told if one.report is not None])
                await note_signing(session, heads, verdicts, names)
                for one in verdicts:
                    await _take(session, heads, work, known, names[one.told.agent], one)
                await book.write(session, heads, work.changes, work.numbers)
                if work.hellos:
                    await book.wake(session)
        return work


def _name(record: LogRecord) -> str:
    return record.key.decode("utf-8", "replace")[:200]


async def _known(session: Session, commands: Sequence[str]) -> tuple[_Known, audit.Heads]:
    """The ``commands``, and the heads of their tenants' audit logs, as they are now."""
    asked = set(commands)
    rows: Sequence[Row] = await (
        session.fetch(_KNOWN_ONE, *asked) if len(asked) == 1 else session.fetch(_KNOWN, list(asked))
    )
    known = _Known(
        {row["command_id"]: CommandState(row["state"]) for row in rows},
        {row["command_id"]: row["agent_id"] for row in rows},
        {(row["command_id"], row["journal"], row["step"]) for row in rows if row["journal"] is not None},
        {row["command_id"] for row in rows if row["nameless"]},
        {row["agent_id"]: agent_key(row) for row in rows},
    )
    return known, audit.heads_read(rows)


async def _take(
    session: Session, heads: audit.Heads, work: _Work, known: _Known, agent: KnownAgent, judged: Judged
) -> None:
    told = judged.told
    if judged.problem:
        kept = await set_aside(session, agent, told, judged.problem)
        work.told.append(ReportForged(str(agent.name), judged.problem, kept))
        return
    if told.report is not None:
        work.reports += 1
        await _report(session, work, known, agent, told)
    if told.hello is not None:
        work.hellos += 1
        await numbers.take(session, work.numbers)  # a hello is judged by them
        work.numbers = {}
        await _hello(session, heads, work, known, agent, judged)


async def _report(session: Session, work: _Work, known: _Known, agent: KnownAgent, told: Told) -> None:
    report = told.report
    assert report is not None  # noqa: S101  the caller has looked
    step = (report.id, report.journal, report.step)
    if step in known.steps:
        work.repeated += 1
        return
    if known.agents.get(report.id, agent.agent_id) != agent.agent_id:
        work.told.append(ReportRefused(str(agent.name), f"command {report.id} is another agent's"))
        return
    details = {}
    if report.id not in known.states:
        if not permitted(Party.AGENT, report.state, CommandState.SENT):  # else it could ask for commands to itself
            work.told.append(ReportRefused(str(agent.name), f"no agent says that a command is {report.state}"))
            return
        await enter(session, agent, report)
        known.agents[report.id] = agent.agent_id
        if report.action is None:
            known.nameless.add(report.id)
        details = asked_at_the_box(report)
        if report.source == "cloud":
            work.told.append(CommandNotAskedFor(str(agent.name), report.id, report.issuer))
    elif report.id in known.nameless and report.action is not None:
        await learn_action(session, report)
        known.nameless.discard(report.id)
        details = asked_at_the_box(report)
    current = known.states.get(report.id)
    is_late = current is not None and not permitted(Party.AGENT, report.state, current)
    if waits(report):
        is_late = is_late and current is not CommandState.RECEIVED
        await note_waiting(session, report)
    known.steps.add(step)
    place = (agent, told.start, report.journal)
    work.numbers[place] = max(work.numbers.get(place, 0), report.number)
    if not is_late:
        known.states[report.id] = report.state
    work.changes.append(
        Change(
            agent.tenant_id,
            report.id,
            report.state,
            report.time_ms,
            actor_of(agent, report),
            report.detail,
            None if report.code is None else report.code.value,
            report.before,
            report.after,
            report.journal,
            report.number,
            report.step,
            is_late=is_late,
            details=details,
        )
    )


async def _hello(
    session: Session, heads: audit.Heads, work: _Work, known: _Known, agent: KnownAgent, judged: Judged
) -> None:
    told = judged.told
    verdict, alarm = await take_hello(session, heads.of(agent.tenant_id), agent, told, is_signed=judged.is_genuine)
    if alarm:
        work.told.append(AuditAlarm(str(agent.name), alarm))
    if verdict is None:
        return
    rows = await session.fetch(
        "SELECT command_id FROM command WHERE agent_id = $1 AND state IN ('sent', 'received', 'executing') "
        "AND origin = 'cloud' ORDER BY command_id",
        agent.agent_id,
    )
    waiting = {str(row["command_id"]) for row in rows}
    waiting |= {one for one, state in known.states.items() if known.agents.get(one) == agent.agent_id}
    unknown = 0
    for command in sorted(waiting):
        state = known.states.get(command, CommandState.SENT)
        if permitted(Party.CLOUD, CommandState.UNKNOWN, state):
            known.states[command] = CommandState.UNKNOWN
            reason = f"the agent's journal is {verdict.value}: what it has done is not known"
            change = Change(agent.tenant_id, command, CommandState.UNKNOWN, told.received_ms, "lineside", reason)
            work.changes.append(change)
            unknown += 1
    work.told.append(JournalRestored(str(agent.name), verdict.value, unknown))
