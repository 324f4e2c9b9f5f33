"""The states of a command, and which may follow which: a state never goes back.

::

    requested → approved → sent → received → executing → succeeded | failed | refused | expired | cancelled
                                                       ↘ unknown  → (what the agent reports later)

``approved`` is passed over where nobody has to approve. Once it was published, only the agent can say that a command
has expired or was cancelled; the cloud alone can say no more than ``unknown``, which a report of the agent resolves.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class CommandState(StrEnum):
    """Where a command stands; the words are part of the API and of ``lineside.commands.v1``."""

    REQUESTED = "requested"
    """Taken by the cloud; waits for approval, for the agent, or for its turn."""
    APPROVED = "approved"
    """A second person has agreed."""
    SENT = "sent"
    """Published to the agent at least once; whether it has it is not known."""
    RECEIVED = "received"
    """In the agent's journal."""
    EXECUTING = "executing"
    """Every check has passed; the device is about to be written, or is being."""
    UNKNOWN = "unknown"
    """Nobody can say whether the device was written."""
    SUCCEEDED = "succeeded"
    """Written, and read back as it was asked for."""
    FAILED = "failed"
    """Not done, or not as asked: the device has refused it, or holds another value."""
    REFUSED = "refused"
    """A check did not pass; the device was not written."""
    EXPIRED = "expired"
    """Its time was up before the device was written."""
    CANCELLED = "cancelled"
    """Taken back before the device was written."""


_RANK: Final = {
    CommandState.REQUESTED: 0,
    CommandState.APPROVED: 1,
    CommandState.SENT: 2,
    CommandState.RECEIVED: 3,
    CommandState.EXECUTING: 4,
    CommandState.UNKNOWN: 5,
    CommandState.SUCCEEDED: 6,
    CommandState.FAILED: 6,
    CommandState.REFUSED: 6,
    CommandState.EXPIRED: 6,
    CommandState.CANCELLED: 6,
}

FINAL: Final = frozenset(state for state, rank in _RANK.items() if rank == 6)
"""States that nothing follows. ``unknown`` is none of them: a report may still resolve it."""

ENDED: Final = FINAL | {CommandState.UNKNOWN}
"""States in which nothing is done any more."""

UNSENT: Final = frozenset({CommandState.REQUESTED, CommandState.APPROVED})
"""States in which the cloud alone decides: nothing was published yet."""


def may_follow(later: CommandState, earlier: CommandState) -> bool:
    """Whether a command that is ``earlier`` can become ``later``; a state does not follow itself."""
    return _RANK[later] > _RANK[earlier]
