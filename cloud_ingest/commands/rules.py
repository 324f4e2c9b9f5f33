"""What may become of a command in the cloud, and by whom. Pure: no I/O, no clock.

What follows what is in ``connectors.commands.states``; here stands who may bring it about. A person decides until it is
sent; from then on the agent alone says what became of it, and the cloud says no more than that it does not know.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final, Literal, assert_never

from cloud_ingest.access.permissions import Permission
from connectors.commands.envelope import Action, AgentAction, RunCommand, WriteTag
from connectors.commands.reports import Hello
from connectors.commands.states import FINAL, UNSENT, CommandState, may_follow

UNHEARD_MS: Final = 30_000
"""So long after its end a command that was sent counts as unknown: a report may still be on its way."""
UNFINISHED_MS: Final = 600_000
"""As long for one that the agent has: a sequence that has begun in time may end later."""
RESEND_FIRST_MS: Final = 2_000
RESEND_LONGEST_MS: Final = 30_000


class Party(Enum):
    """Who brings a state about."""

    PERSON = "person"
    CLOUD = "cloud"
    AGENT = "agent"


def permitted(party: Party, later: CommandState, earlier: CommandState) -> bool:
    """Whether ``party`` may make a command ``later`` that is ``earlier`` now."""
    if not may_follow(later, earlier):
        return False
    match party:
        case Party.PERSON:
            return earlier in UNSENT and later in (CommandState.APPROVED, CommandState.CANCELLED)
        case Party.CLOUD:
            if later is CommandState.UNKNOWN:
                return earlier not in UNSENT
            return earlier in UNSENT and later in (CommandState.SENT, CommandState.EXPIRED)
        case (
            Party.AGENT
        ):  # what was not sent, no agent has: whoever reports on it is none, or it was sent by somebody else
            return earlier not in UNSENT and later not in (
                CommandState.REQUESTED,
                CommandState.APPROVED,
                CommandState.SENT,
            )
        case _:
            assert_never(party)


TokenRole = Literal["viewer", "operator", "approver", "engineer", "planner"]


def permission_of(action: Action) -> Permission:
    """What asking for ``action`` needs: to operate a machine, or to configure the agent beside it."""
    return Permission.AGENTS_CONFIGURE if isinstance(action, AgentAction) else Permission.COMMANDS_SEND


FileState = Literal["desired", "applied", "refused", "rolled_back", "unknown"]
Sync = Literal["in_sync", "out_of_sync", "failed", "local"]


def sync_of(used: int, state: str, newest: int, newest_state: FileState | None) -> Sync:
    """Whether an agent has the newest version of a file that was asked for.

    ``used`` is the version that it has, 0 for none, in the ``state`` that it tells; ``newest`` is the one that was
    asked for last. ``local``: none ever was.
    """
    if newest_state is None:
        return "local"
    if newest_state in ("refused", "rolled_back"):
        return "failed"
    return "in_sync" if used == newest and state == "in_use" else "out_of_sync"


class Cancelling(Enum):
    """What to take a command back means, by where it stands."""

    AT_ONCE = "at once"
    """It was not sent: nobody will ever do it."""
    BY_AGENT = "by agent"
    """The agent may have it: it is asked, and says what became of it."""
    TOO_LATE = "too late"
    """It is being done, is over, or nobody knows."""


def cancelling(state: CommandState) -> Cancelling:
    """See ``Cancelling``."""
    if state in UNSENT:
        return Cancelling.AT_ONCE
    return Cancelling.BY_AGENT if state in (CommandState.SENT, CommandState.RECEIVED) else Cancelling.TOO_LATE


def needs_approval(agent: str, action: Action, asked: bool, patterns: Collection[str]) -> bool:
    """Whether a second person has to agree: it was asked for, or one of ``patterns`` names what is commanded.

    A pattern is ``group/name/device/tag`` (or the named command in the last place) with ``*`` and ``?``. What is for
    the agent itself has no device, and its kind in the last place: ``group/name//apply_file``.
    """
    match action:
        case WriteTag():
            last = action.tag
        case RunCommand():
            last = action.command
        case _:
            last = action.do
    target = f"{agent}/{action.device}/{last}"
    return asked or any(fnmatchcase(target, pattern) for pattern in patterns)


def approval_problem(
    state: CommandState, *, needed: bool, issuer: str, approver: str, is_over: bool, waits: bool = False
) -> str:
    """Why ``approver`` cannot agree to a command; empty when that can be done.

    ``is_over``: its time is up; ``waits``: its agent has it, and waits until somebody agrees.
    """
    if state is not CommandState.REQUESTED and not (waits and state is CommandState.RECEIVED):
        return f"it is {state} already"
    if not needed and not waits:
        return "it needs no approval"
    if is_over:
        return "its time is up"
    return "who has asked for it cannot approve it: another person has to" if issuer == approver else ""


def ended_by_time(state: CommandState, expires_ms: int, now_ms: int) -> CommandState | None:
    """What the time alone makes of a command now, if anything."""
    if state in UNSENT:
        return CommandState.EXPIRED if now_ms >= expires_ms else None
    if state in FINAL or state is CommandState.UNKNOWN:
        return None
    patience_ms = UNHEARD_MS if state is CommandState.SENT else UNFINISHED_MS
    return CommandState.UNKNOWN if now_ms >= expires_ms + patience_ms else None


def resend_after_ms(sends: int, jitter: float) -> int:
    """How long to wait before a message is sent again that was sent ``sends`` times; ``jitter`` is from 0 to 1."""
    bound_ms = min(RESEND_LONGEST_MS, RESEND_FIRST_MS << min(sends - 1, 10))
    return round(bound_ms * (0.5 + 0.5 * jitter))


@dataclass(frozen=True, slots=True)
class KnownStart:
    """A start of an agent.

    ``previous`` is the one before it, where that is known; ``last_batch`` that of its newest hello, 0 before any;
    ``number`` the highest of a command that was seen of it; ``last_count`` the count of its newest signed hello.
    """

    previous: str = ""
    last_batch: int = 0
    number: int = 0
    last_count: int = 0


@dataclass(frozen=True, slots=True)
class KnownJournal:
    """The journal of an agent as the cloud knows it. ``number`` in ``starts`` is 0 for those of another journal."""

    journal: str
    start: str
    restored: bool
    starts: Mapping[str, KnownStart]

    def before(self, start: str) -> frozenset[str]:
        """The starts that are known to have been before ``start``."""
        found: set[str] = set()
        while (at := self.starts.get(start)) is not None and at.previous and at.previous not in found:
            found.add(start := at.previous)
        return frozenset(found)


class Finding(Enum):
    """What a hello shows of the journal."""

    STALE = "stale"
    """It was sent before one that is known already, and says nothing."""
    SAME = "same"
    """The journal goes on."""
    OTHER = "other"
    """It is another journal: nobody can say what became of commands that are in the old one."""
    RESTORED = "restored"
    """It is the same, and behind what was seen of it: the disk was restored."""


def judge(
    hello: Hello, batch: int, known: KnownJournal | None, *, beyond_end: bool = False, is_signed: bool = False
) -> Finding:
    """What ``hello``, which came as ``batch`` of its start, shows.

    The batch is not signed: of signed hellos their own count says which is the newer one.

    Batches may come in any order, also those of several starts. So only the first hello of a start is judged by what it
    knows, and only by starts that are known to have been before it. ``beyond_end``: more batches of the start before
    have arrived than it says that there were.
    """
    if known is None:
        return Finding.SAME
    at = known.starts.get(hello.start, KnownStart())
    is_old = hello.count <= at.last_count if is_signed else batch <= at.last_batch
    heard = bool(at.last_batch or at.last_count)
    before_current = known.before(known.start)
    if is_old or hello.start in before_current:
        return Finding.STALE
    if hello.journal != known.journal:
        return Finding.OTHER
    if known.restored:
        return Finding.RESTORED
    if heard:
        return Finding.SAME
    before = known.before(hello.previous) | {hello.previous}
    is_behind = any(hello.number < known.starts[at].number for at in before if at in known.starts)
    skips_a_start = hello.previous in before_current
    return Finding.RESTORED if is_behind or skips_a_start or beyond_end else Finding.SAME
