"""What is for the agent itself: restart, rebirth, another log level. One entry a kind of action in ``actions``.

A further kind is a member of ``AgentAction`` (connectors/commands/envelope.py), a class like those here, and an entry
in the mapping that the composition root makes. Signature, time, replay, locks, rate, queue, journal and audit are those
of all commands, and no class here sees to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn, Protocol

from connectors.commands.envelope import SetLogLevel
from connectors.commands.refusals import Refusal
from connectors.commands.states import CommandState
from connectors.observability.events import emit
from edge_agent.commands.journal_rows import Command
from edge_agent.commands.targets import Refused
from edge_agent.commands.writing import Outcome
from edge_agent.observability.command_events import LogLevelChanged, RestartAsked

Begin = Callable[[str], Awaitable[Refused | None]]
"""A step is about to be done, and which: in the journal when this returns ``None``. Raises ``JournalUnavailable``."""
QUIET_S_MAX: Final = 10.0
QUIET_LOOK_S: Final = 0.1


class AgentWork(Protocol):
    """Does one kind of action that is for the agent itself."""

    async def refused(self, command: Command, /) -> Refused | None:
        """What is in its way, found before anything is done; it may take its time."""
        ...

    async def do(self, command: Command, begin: Begin, /) -> Outcome | Refused:
        """Do it: ``begin`` before each step, and do none for which it does not return ``None``.

        ``Refused``: nothing was done. What ends the agent never returns: it asks for the end, and waits to be
        cancelled. The next start finds the command in the journal, and ``recovered`` says what became of it.
        """
        ...

    async def recovered(self, command: Command, /) -> Outcome | None:
        """What became of a command of which a step was begun, in an earlier start or before a defect.

        It may wait, and must say the same again when it is asked again. ``None``: this start ends, and a later one
        will say it.
        """
        ...


class Restarting:
    """Ends the agent so that it begins anew, once no command is being done. ``restart`` is told why."""

    def __init__(self, restart: Callable[[str], None]) -> None:
        self._restart = restart
        self.being_done: Callable[[str], list[str]] = lambda _but: []
        """The commands under way but one; the executor knows."""
        self.hold: Callable[[str], None] = lambda _id: None
        """From now on no command to a device begins, until the one with this id has ended; the executor sees to it."""
        self.let_go: Callable[[str], None] = lambda _id: None
        """The command with this id holds nothing any more, though it has not ended."""

    async def quiet(self, id_: str) -> Refused | None:
        """Wait until no other command than this one is being done, but not for long; then none begins any more."""
        end_s = asyncio.get_running_loop().time() + QUIET_S_MAX
        while said := self.being_done(id_):
            if asyncio.get_running_loop().time() >= end_s:
                return Refused(Refusal.BUSY, f"after {QUIET_S_MAX:g} s still being done: {', '.join(said[:5])}")
            await asyncio.sleep(QUIET_LOOK_S)
        self.hold(id_)
        return None

    def ask(self, id_: str, why: str) -> None:
        """The agent ends soon, for the command with this id; whoever works on it is cancelled."""
        self.hold(id_)
        emit(RestartAsked(id_, why))
        self._restart(why)


async def ended() -> NoReturn:
    """Wait for the end of the agent, which cancels the caller."""
    await asyncio.Future[None]()
    raise AssertionError("a future that nobody sets")


def _by(command: Command) -> str:
    return f"{command.envelope.issuer}: {command.target}"


def agent_works(
    restarting: Restarting,
    rebirth: Callable[[], bool],
    set_level: Callable[[str], None],
    usual_level: Callable[[], str],
) -> dict[str, AgentWork]:
    """Who does what, by the action's ``do``."""
    return {
        "restart": RestartWork(restarting),
        "rebirth": RebirthWork(rebirth),
        "log_level": LogLevelWork(set_level, usual_level),
    }


class RestartWork:
    """Restarts the agent. The start after it reports that it has succeeded: none can say so before."""

    def __init__(self, restarting: Restarting) -> None:
        self._restarting = restarting
        self._begun: set[str] = set()

    async def refused(self, command: Command) -> Refused | None:
        """See ``AgentWork``."""
        return await self._restarting.quiet(command.id)

    async def do(self, command: Command, begin: Begin) -> Outcome | Refused:
        """See ``AgentWork``."""
        if (refused := await begin("restart")) is not None:
            return refused
        self._begun.add(command.id)  # one: then the agent ends
        self._restarting.ask(command.id, _by(command))
        return await ended()

    async def recovered(self, command: Command) -> Outcome | None:
        """See ``AgentWork``. Whether it ended by this or by a power cut a moment later: it has begun anew."""
        if command.id in self._begun:  # the same start, after a defect elsewhere
            self._restarting.ask(command.id, _by(command))
            return None
        return Outcome(CommandState.SUCCEEDED, "the agent has begun anew")


class RebirthWork:
    """Publishes all births again. ``rebirth`` does, and says whether there is a connection to do so."""

    def __init__(self, rebirth: Callable[[], bool]) -> None:
        self._rebirth = rebirth

    async def refused(self, _command: Command) -> Refused | None:
        """See ``AgentWork``."""
        return None

    async def do(self, _command: Command, begin: Begin) -> Outcome | Refused:
        """See ``AgentWork``. Without a connection, the births are published when there is one, as always."""
        if (refused := await begin("rebirth")) is not None:
            return refused
        said = "all births are published" if self._rebirth() else "the births are published with the next connection"
        return Outcome(CommandState.SUCCEEDED, said)

    async def recovered(self, _command: Command) -> Outcome | None:
        """See ``AgentWork``."""
        return Outcome(CommandState.SUCCEEDED, "the agent has begun anew since, and each start begins with the births")


class LogLevelWork:
    """Sets the level of the log for a time. ``usual`` says that of the agent's file, to which it returns."""

    def __init__(self, set_level: Callable[[str], None], usual: Callable[[], str]) -> None:
        self._set_level = set_level
        self._usual = usual
        self._end: asyncio.TimerHandle | None = None

    async def refused(self, _command: Command) -> Refused | None:
        """See ``AgentWork``."""
        return None

    async def do(self, command: Command, begin: Begin) -> Outcome | Refused:
        """See ``AgentWork``."""
        action = command.envelope.action
        assert isinstance(action, SetLogLevel)  # noqa: S101  by the mapping
        if (refused := await begin(f"log from {action.level} on, for {action.for_s} s")) is not None:
            return refused
        if self._end is not None:
            self._end.cancel()
        self._end = asyncio.get_running_loop().call_later(action.for_s, self._ended)
        emit(LogLevelChanged(action.level, action.for_s))
        self._set_level(action.level)
        return Outcome(CommandState.SUCCEEDED, f"for {action.for_s} s, then {self._usual()} again")

    def _ended(self) -> None:
        self._end = None
        self._set_level(self._usual())
        emit(LogLevelChanged(self._usual(), 0))

    async def recovered(self, _command: Command) -> Outcome | None:
        """See ``AgentWork``."""
        said = f"the agent ended while it was done, and has begun anew with {self._usual()}, the level of its file"
        return Outcome(CommandState.FAILED, said)
