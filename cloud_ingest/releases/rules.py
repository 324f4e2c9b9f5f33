"""When a rollout goes on, and when it stops by itself. Pure: no I/O, no clock.

The agents of one group are sent the release; the next group's turn comes when each of them has taken it, some time has
passed, and each is still connected and runs it. Once it has come, the groups before are not looked at any more: agents
are away now and then. The first agent that fails, or more than may, halts the whole rollout: what was not sent then is
not sent, and nothing is taken back from those that run it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from connectors.commands.states import CommandState

AT_ONCE: Final = 20
"""So many agents of a group fetch and install at a time."""
AWAY_MS_MAX: Final = 600_000
"""For so long it is waited for an agent that is away, or runs something else, when its group has soaked."""
INSTALL_MS_MAX: Final = 7_200_000
"""For so long after the end of its command an installation may go on that has begun in time: an hour of download, and
what installing and the trial take at most (``edge_agent.releases``)."""
GROUPS_MAX: Final = 20
AGENTS_MAX: Final = 10_000

_FAILED: Final = frozenset(
    {
        CommandState.FAILED,
        CommandState.REFUSED,
        CommandState.EXPIRED,
        CommandState.CANCELLED,
        CommandState.UNKNOWN,
    }
)


class Progress(Enum):
    """How far an agent of a rollout is."""

    WAITING = "waiting"
    SENT = "sent"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Member:
    """An agent of a rollout.

    ``since_ms``: since when it is so far; ``runs``: it is online, with the release; ``away_ms``: since when it is
    offline, 0 while it is online.
    """

    agent: str
    group: int
    progress: Progress
    since_ms: int = 0
    runs: bool = False
    away_ms: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a rollout was started with: how long a group soaks, and how many agents may fail."""

    soak_ms: int
    failures_max: int


@dataclass(frozen=True, slots=True)
class Send:
    """Ask these agents to install the release."""

    agents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing is to be done now, and for what."""

    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """The rollout is over: done, or halted."""

    halted: bool
    reason: str


Step = Send | Wait | End


def progress_of(command: CommandState | None, refused: str, *, may_install: bool = False) -> Progress:
    """How far an agent is, by the command that it was sent; ``refused``: why there could be none.

    ``may_install``: see ``may_install``.
    """
    if command is CommandState.UNKNOWN and may_install:
        return Progress.SENT
    if refused or command in _FAILED:
        return Progress.FAILED
    if command is None:
        return Progress.WAITING
    return Progress.SUCCEEDED if command is CommandState.SUCCEEDED else Progress.SENT


def may_install(unknown_ms: int, expires_ms: int, now_ms: int) -> bool:
    """Whether an agent may still be installing of whose command the cloud knows nothing since ``unknown_ms``.

    It may when the time alone has made it unknown: an installation that has begun in time ends later. What became
    unknown before that (its journal is lost) nobody will tell.
    """
    return unknown_ms >= expires_ms and now_ms < expires_ms + INSTALL_MS_MAX


def next_step(plan: Plan, members: Sequence[Member], now_ms: int) -> Step:
    """What a running rollout does now."""
    failed = [member for member in members if member.progress is Progress.FAILED]
    if len(failed) > plan.failures_max:
        first = min(failed, key=lambda member: (member.since_ms, member.agent))
        others = f" ({len(failed)} agents have failed)" if len(failed) > 1 else ""
        return End(halted=True, reason=f"{first.agent}: {first.reason or 'it has failed'}{others}")
    begun = max((member.group for member in members if member.progress is not Progress.WAITING), default=0)
    for group in sorted({member.group for member in members}):
        of_group = [member for member in members if member.group == group]
        step = _step_of_sending(group, of_group)
        if step is None and group >= begun:
            step = _step_of_gate(plan, group, of_group, now_ms)
        if step is not None:
            return step
    return End(halted=False, reason=f"{len(members) - len(failed)} of {len(members)} agents run it")


def _step_of_sending(group: int, members: Sequence[Member]) -> Step | None:
    """What there is to do until each agent of a group has taken it or failed; ``None`` then."""
    waiting = [member.agent for member in members if member.progress is Progress.WAITING]
    sent = [member.agent for member in members if member.progress is Progress.SENT]
    if waiting and len(sent) < AT_ONCE:
        return Send(tuple(sorted(waiting)[: AT_ONCE - len(sent)]))
    if sent:
        return Wait(f"group {group}: {_some(sent)}")
    if all(member.progress is Progress.FAILED for member in members):
        return End(halted=True, reason=f"no agent of group {group} has taken it")
    return None


def _step_of_gate(plan: Plan, group: int, members: Sequence[Member], now_ms: int) -> Step | None:
    """What there is to wait for before what comes after a group, all of which has taken it; ``None`` when it may."""
    soaked_ms = max(member.since_ms for member in members) + plan.soak_ms
    if now_ms < soaked_ms:
        return Wait(f"group {group} soaks for another {(soaked_ms - now_ms + 999) // 1000} s")
    away = [member for member in members if member.progress is Progress.SUCCEEDED and not member.runs]
    if not away:
        return None
    said = f"group {group}: not online with this release any more: {_some([member.agent for member in away])}"
    first_ms = min(max(soaked_ms, member.away_ms) for member in away)
    return End(halted=True, reason=said) if now_ms >= first_ms + AWAY_MS_MAX else Wait(said)


def grouped(agents: Collection[str], groups: Sequence[Sequence[str]]) -> dict[str, int]:
    """Each agent that one of the patterns of a group names, with the number of its first such group, from 1 on."""
    found: dict[str, int] = {}
    for number, patterns in enumerate(groups, 1):
        for agent in agents:
            if agent not in found and any(fnmatchcase(agent, pattern) for pattern in patterns):
                found[agent] = number
    return found


def _some(agents: Sequence[str]) -> str:
    more = f" and {len(agents) - 5} more" if len(agents) > 5 else ""
    return ", ".join(sorted(agents)[:5]) + more
