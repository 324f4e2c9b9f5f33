"""The product as it runs in a simulation: its own code, with what reaches outside of the process replaced."""

from __future__ import annotations

import functools
import importlib
import random
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any, Final

from connectors.commands.ulid import new_ulid
from edge_agent.buffer.damage import _CONSTANTS
from edge_agent.buffer.feed import Feed
from edge_agent.command_parts import CommandParts
from edge_agent.commands.targets import Targets
from tests.simulation.agents import UNSENT_BYTES_MAX, NoCommands, NoSocket
from tests.simulation.disk import SimulatedOs
from tests.simulation.event_loop import current_process
from tests.simulation.plan import Plan
from tests.simulation.process import SimulatedThread
from tests.simulation.trace import Trace

PAGE_BYTES_AT: Final = 16
"""Where the header of a database says how large its pages are."""

_Constant = tuple[int, tuple[bytes, ...], str]


@contextmanager
def simulated(plan: Plan, trace: Trace) -> Iterator[None]:
    """Sockets, threads, files and chance of the product are those of the simulation while this lasts."""
    back_offs = count()
    replaced: dict[tuple[str, str], Any] = {
        ("connectors.observability.events", "structlog"): trace,
        ("connectors.model.back_off", "random"): SimpleNamespace(
            Random=lambda: random.Random(f"{plan.seed} {next(back_offs)}")
        ),
        ("edge_agent.main", "MqttSession"): lambda options: _box().session,
        ("edge_agent.main", "LocalApi"): NoSocket,
        ("edge_agent.main", "Feed"): functools.partial(Feed, fresh_bytes_max=plan.fresh_bytes_max),
        ("edge_agent.slices", "WINDOW_BYTES_MAX"): plan.window_bytes_max,
        ("edge_agent.main", "lineside_version"): lambda: "simulated",
        ("edge_agent.slices", "lineside_version"): lambda: "simulated",
        ("edge_agent.uplink.sender", "UNSENT_BYTES_MAX"): UNSENT_BYTES_MAX,
        ("edge_agent.buffer.writer", "OwnThread"): SimulatedThread,
        ("edge_agent.buffer.damage", "_interrupted_after"): _not_interrupted,
        ("edge_agent.buffer.outbox", "new_epoch"): lambda: _box().new_epoch(),
        ("edge_agent.buffer.schema", "sqlite3"): SimpleNamespace(
            connect=lambda path, **options: _box().disk.connect(str(path), options),
            Error=sqlite3.Error,
            Connection=sqlite3.Connection,
        ),
    }
    files = SimulatedOs()
    replaced |= _commands(plan, files) if plan.has_commands else _NO_COMMANDS
    everywhere = {
        "os": files,
        "time": SimpleNamespace(sleep=lambda wait_s: None),
        "PAGE_BYTES": plan.page_bytes,
        "WAL_PAGES_MAX": plan.wal_pages_max,
    }
    replaced["edge_agent.buffer.damage", "_CONSTANTS"] = tuple(
        _with_pages_of(plan.page_bytes, *each) for each in _CONSTANTS
    )
    for module_name, module in sys.modules.items():
        if module_name.startswith("edge_agent.buffer."):
            replaced |= {(module_name, name): each for name, each in everywhere.items() if hasattr(module, name)}
    before: list[tuple[Any, str, Any]] = []
    try:
        for (module_name, name), replacement in replaced.items():
            module = importlib.import_module(module_name)
            before.append((module, name, getattr(module, name)))
            setattr(module, name, replacement)
        yield
    finally:
        files.close_all()
        for module, name, value in before:
            setattr(module, name, value)


_NO_COMMANDS: Final[dict[tuple[str, str], Any]] = {
    ("edge_agent.main", "command_parts"): lambda config, *_: CommandParts(
        config,
        Targets(config.devices),
        NoCommands(),  # type: ignore[arg-type]
        None,
    ),
    ("edge_agent.main", "JournalThread"): NoCommands,
}


def _commands(plan: Plan, files: SimulatedOs) -> dict[tuple[str, str], Any]:
    """The journal on the simulated disk, in a simulated thread; and chance."""
    chance = random.Random(f"chance of commands {plan.seed}")
    secrets = SimpleNamespace(
        token_hex=lambda size_bytes: f"{chance.getrandbits(8 * size_bytes):0{2 * size_bytes}x}",
        randbits=chance.getrandbits,
    )
    errors = {name: getattr(sqlite3, name) for name in ("Connection", "DatabaseError", "Error", "OperationalError")}
    return {
        ("edge_agent.commands.journal_thread", "ThreadPoolExecutor"): SimulatedThread,
        ("edge_agent.commands.journal_file", "sqlite3"): SimpleNamespace(
            connect=lambda path, **options: _box().disk.connect(str(path), options), **errors
        ),
        ("edge_agent.commands.turned_away", "os"): files,
        ("edge_agent.commands.journal", "secrets"): secrets,
        ("edge_agent.commands.cloud_time", "secrets"): secrets,
        ("connectors.commands.ulid", "secrets"): secrets,
        ("cloud_ingest.commands.requests", "ULID"): SimpleNamespace(
            from_timestamp=lambda seconds: new_ulid(round(seconds * 1000))
        ),
        ("cloud_ingest.commands.outgoing", "random"): chance,
    }


@contextmanager
def _not_interrupted(connection: sqlite3.Connection, longest_s: float) -> Iterator[None]:
    """How fast the machine is must not decide whether a start looks at every page."""
    yield


def _with_pages_of(page_bytes: int, offset: int, allowed: tuple[bytes, ...], why: str) -> _Constant:
    """What a start expects in the header of an outbox: else each with other pages would count as damaged."""
    return offset, (page_bytes.to_bytes(2, "big"),) if offset == PAGE_BYTES_AT else allowed, why


def _box() -> Any:
    process = current_process.get()
    assert process is not None, "only a process of the plant has a disk and a network"
    return process.box
