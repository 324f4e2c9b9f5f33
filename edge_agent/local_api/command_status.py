"""What ``status`` and ``watch`` say of commands: whether they are taken, and which lines are locked."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edge_agent.commands.journal_rows import AGENT_LINE
from edge_agent.commands.service import Commands


def commands_status(commands: Commands | None) -> dict[str, Any] | None:
    """Of the whole agent; ``None`` where there is no part for commands."""
    if commands is None:
        return None
    locks = commands.operators.locks.values()
    return {
        "remote": commands.switches.remote_commands,
        "clock_known": commands.is_clock_known,
        "trusted_keys": commands.key_count,
        "own_key": commands.own_key,
        "held": commands.executor.held,
        "files": files_status(commands),
        "problem": commands.problem or commands.executor.blocked_reason or commands.own_key_problem,
        "locks": [
            {"line": lock.line, "reason": lock.reason, "actor": lock.actor, "time_ms": lock.time_ms} for lock in locks
        ],
    }


def files_status(commands: Commands) -> list[dict[str, Any]]:
    """The device files: which version each is, and whether the agent has begun with it."""
    return [] if commands.files is None else [asdict(file) for file in commands.files()]


def lock_of(commands: Commands | None, device: str) -> str:
    """Who has locked a device, or the whole agent, and why; empty when nobody has."""
    locks = {} if commands is None else commands.operators.locks
    lock = locks.get(device) or locks.get(AGENT_LINE)
    return "" if lock is None else f"{lock.actor}: {lock.reason}"
