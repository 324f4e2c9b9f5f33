"""The one place where states of commands are written: the state itself, its audit entry, and who waits is woken.

A transaction that changes commands begins with ``audit.lock_heads``, or is the one statement of ``at_once``: one at a
time does, so that nothing it has read changes before its end, and the numbers of states are in the order of commits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from cloud_ingest.commands import audit
from cloud_ingest.commands import numbers as numbers_seen
from cloud_ingest.commands.numbers import Numbers
from cloud_ingest.observability.command_events import CommandChanged
from connectors.commands.envelope import Value
from connectors.commands.states import CommandState
from connectors.observability.events import emit
from connectors.ports.database import Session

CHANNEL: Final = "lineside_commands"
"""Notified whenever a command has changed."""
DUE: Final = "lineside_commands_due"
"""Notified when there may be something to send: a command, the end of another before it, or an answer to an agent."""
_SENDS_NOTHING: Final = frozenset({CommandState.SENT, CommandState.RECEIVED, CommandState.EXECUTING})


@dataclass(frozen=True, slots=True)
class Change:
    """A new state of a tenant's command. ``journal``, ``number``, ``step`` are of the report that says so, if one does.

    ``is_late``: the command is further already, so that it changes nothing.
    """

    tenant_id: int
    command: str
    state: CommandState
    time_ms: int
    actor: str
    reason: str = ""
    code: str | None = None
    before: Value | None = None
    after: Value | None = None
    journal: str | None = None
    number: int | None = None
    step: int | None = None
    is_late: bool = False
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the audit log says beside it."""


def writing(condition: str = "", sets: Mapping[str, str] | None = None) -> str:
    """The parts of a statement that write states and their audit entries, and move commands; ``parameters`` are its.

    Nothing of it happens unless ``condition`` holds. ``sets``: further columns of the commands, each with the parameter
    that has its values, in the order of the commands of ``$25``.
    """
    where, also = (f"WHERE {condition} ", f" AND {condition}") if condition else ("", "")
    more = sets or {}
    values, columns = "".join(f", {value}" for value in more.values()), "".join(f", {name}" for name in more)
    return (
        f"audit AS ({audit.INSERT} {where}), head AS ({audit.MOVE}{also}), states AS ("  # noqa: S608  of our own
        "    INSERT INTO command_state (tenant_id, command_id, state, time_ms, actor, reason, code, value_before, "
        "    value_after, journal, number, step, is_late) "
        "    SELECT tenant_id, command_id, state, time_ms, actor, reason, code, before, after, journal, number, step, "
        "    is_late FROM unnest($1::int[], $13::text[], $14::text[], $15::bigint[], $16::text[], $17::text[], "
        "    $18::text[], $19::text[], $20::text[], $21::text[], $22::bigint[], $23::int[], $24::bool[]) "
        "    WITH ORDINALITY AS given (tenant_id, command_id, state, time_ms, actor, reason, code, before, after, "
        f"    journal, number, step, is_late, place) {where}ORDER BY place), "
        "moved AS (UPDATE command SET state = given.state, changed_ms = given.time_ms"
        f"{''.join(f', {name} = given.{name}' for name in more)} "
        f"    FROM unnest($25::text[], $26::text[], $27::bigint[]{values}) "
        f"    AS given (command_id, state, time_ms{columns}) WHERE command.command_id = given.command_id{also})"
    )


_STATES: Final = f"WITH {writing()}"
NOTIFY: Final = "SELECT pg_notify(channel, '') FROM unnest($28::text[]) AS channel"
_WRITE: Final = f"{_STATES} {NOTIFY}"
_WRITE_WITH_NUMBERS: Final = f"{_STATES}, numbers AS ({numbers_seen.statement(29)}) {NOTIFY}"


async def write(
    session: Session, heads: audit.Heads, changes: Sequence[Change], numbers: Numbers | None = None
) -> None:
    """Write ``changes`` in their order, in the transaction that has locked ``heads``, and the ``numbers`` seen by them.

    It is one round trip for all of it, whosever they are.
    """
    if not changes:
        await numbers_seen.take(session, numbers or {})
        return
    await session.execute(
        _WRITE_WITH_NUMBERS if numbers else _WRITE,
        *parameters(heads, changes),
        *(numbers_seen.columns(numbers) if numbers else ()),
    )


def parameters(heads: audit.Heads, changes: Sequence[Change]) -> list[Any]:
    """Those of ``writing`` and ``NOTIFY``: ``$1`` to ``$28``. The ends of the chains in ``heads`` go on."""
    newest = {change.command: change for change in changes if not change.is_late}
    return [
        *audit.columns(heads.chain([(change.tenant_id, _deed(change)) for change in changes])),
        [change.command for change in changes],
        [change.state.value for change in changes],
        [change.time_ms for change in changes],
        [change.actor for change in changes],
        [change.reason for change in changes],
        [change.code for change in changes],
        [_json(change.before) for change in changes],
        [_json(change.after) for change in changes],
        [change.journal for change in changes],
        [change.number for change in changes],
        [change.step for change in changes],
        [change.is_late for change in changes],
        list(newest),
        [change.state.value for change in newest.values()],
        [change.time_ms for change in newest.values()],
        [CHANNEL] if _SENDS_NOTHING.issuperset(change.state for change in changes) else [CHANNEL, DUE],
    ]


def tell(changes: Sequence[Change]) -> None:
    """Log and count ``changes``, whose transaction has been committed."""
    for change in changes:
        if not change.is_late:
            emit(CommandChanged(change.command, change.state.value, change.actor, change.code or "", change.reason))


async def wake(session: Session) -> None:
    """Wake who sends to agents, when the transaction is committed."""
    await session.execute("SELECT pg_notify($1, '')", DUE)


def _deed(change: Change) -> audit.Deed:
    details: dict[str, Any] = {**change.details, **({"reason": change.reason} if change.reason else {})}
    for name in ("code", "before", "after", "journal", "number", "step"):
        value = getattr(change, name)
        if value is not None:
            details[name] = value
    if change.is_late:
        details["late"] = True
    return audit.Deed(change.time_ms, change.actor, f"command {change.state.value}", change.command, details)


def _json(value: Value | None) -> str | None:
    return None if value is None else json.dumps(value, ensure_ascii=False, allow_nan=False)
