"""The chain that a sample goes through, stage by stage, from the broker to the gateway; then the parts of the platform.

Every process says of itself what it waits for; one that says nothing any more is named, too. How far the historian is
behind, the ingest measures as well: so it is known when the historian says nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final

from cloud_ingest.observability.obstacles import (
    COMMANDS,
    EVENTS,
    INGEST,
    INGEST_LAG,
    INGEST_REFUSED,
    INGEST_SHARING,
    LOG_RETENTION,
    START,
)
from cloud_ingest.store.processes import KnownProcess, known_processes
from connectors.configuration.setting_names import counted
from connectors.ports.database import Database, Row

STAGES: Final = ("broker", "ingest", "event log", "historian", "commands", "database", "gateway")
PARTS: Final = ("lines", "inventory", "catalog", "integrations", "orders", "analytics")
"""Of the platform; shown where they run, or have something to say."""
_OF_THE_BROKER: Final = (INGEST, INGEST_SHARING)
_OF_THE_LOG: Final = ("ingest append", "ingest pending", LOG_RETENTION, START, EVENTS)
_NAMED_OTHERWISE: Final = {"work": "lines", "notifications": "integrations"}
"""Words with which names of what waits begin, and the part whose they are."""


async def status(database: Database) -> dict[str, Any]:
    """The stages in their order, each ``ok`` or not, with what is slow or away; and each partition's delay.

    Raises ``DatabaseUnavailable``.
    """
    started_s = time.monotonic()
    processes = await known_processes(database)
    took_s = time.monotonic() - started_s
    async with database.session() as session:
        hosts = await session.fetch(
            "SELECT name, broker, online AND alive > now() - interval '15 seconds' AS online FROM host ORDER BY name"
        )
        letters = await session.fetch(
            "SELECT split_part(projection, '.', 1) AS part, count(*) AS n FROM event_letter WHERE closed IS NULL "
            "GROUP BY 1 ORDER BY 1"
        )
    reasons: dict[str, list[str]] = {stage: [] for stage in (*STAGES, *PARTS)}
    for process in processes:
        for part, reason in sorted(process.waiting.items()):
            if not process.is_silent:
                reasons[stage_of(part)].append(f"{process.place}, {part}: {reason}")
        if process.is_silent:
            for stage in _stages(process):
                reasons[stage].append(
                    f"{process.place} ({', '.join(process.roles)}) has said nothing for {process.silent_s:.0f} s: it "
                    "was killed or is stuck, or cannot reach the database"
                )
    for role in ("ingest", "historian"):
        if not _alive(processes, role) and not reasons[role]:
            reasons[role].append(f"no process with the role {role} has said that it runs")
    for row in letters:
        many = counted(row["n"], "event")
        reasons[part_of(row["part"])].append(f"{many} could not be taken: `cloud-ingest event-letters list`")
    parts = [part for part in PARTS if reasons[part] or any(part in process.roles for process in processes)]
    told = {part: ", ".join(process.place for process in _alive(processes, part)) for part in PARTS} | {
        "broker": _of_hosts(hosts, reasons["broker"]),
        "ingest": _of_ingest(_alive(processes, "ingest")),
        "event log": "",
        "historian": ", ".join(process.place for process in _alive(processes, "historian")),
        "commands": _of_commands(_alive(processes, "commands")),
        "gateway": ", ".join(process.place for process in _alive(processes, "gateway")) or "no process has this role",
        "database": f"answered within {1000 * took_s:.0f} ms",
    }
    return {
        "ok": not any(reasons.values()),
        "stages": [
            {"stage": stage, "ok": not reasons[stage], "state": told[stage], "reasons": reasons[stage]}
            for stage in (*STAGES, *parts)
        ],
        "partitions": _partitions(processes),
        "processes": [
            {
                "process": process.place,
                "roles": list(process.roles),
                "version": process.version,
                "started": process.started,
                "alive": process.alive,
                "silent": process.is_silent,
                "waiting": dict(process.waiting),
            }
            for process in processes
        ],
    }


def stage_of(part: str) -> str:
    """The stage that is slow or away when ``part`` of a process waits."""
    if part in _OF_THE_BROKER:
        return "broker"
    if part.startswith(_OF_THE_LOG):
        return "event log"
    if part.startswith("historian") or part == INGEST_LAG:
        return "historian"
    if part.startswith(COMMANDS):
        return "commands"
    if part == INGEST_REFUSED:
        return "database"
    return "ingest" if part.startswith(INGEST) else part_of(part)


def part_of(name: str) -> str:
    """The part of the platform whose task or projection has this name; the gateway, if it is of none."""
    word = name.replace(".", " ").partition(" ")[0]
    word = _NAMED_OTHERWISE.get(word, word)
    return word if word in PARTS else "gateway"


def _stages(process: KnownProcess) -> list[str]:
    return [role for role in process.roles if role in STAGES or role in PARTS]


def _alive(processes: Sequence[KnownProcess], role: str) -> list[KnownProcess]:
    return [process for process in processes if role in process.roles and not process.is_silent]


def _of_hosts(hosts: Sequence[Row], reasons: list[str]) -> str:
    online = [f"{host['name']} is online at {host['broker']}" for host in hosts if host["online"]]
    if not online and not reasons:
        reasons.append("no host is online on a broker: agents keep what they take")
    return "; ".join(online)


def _of_ingest(processes: Sequence[KnownProcess]) -> str:
    waiting = sum(process.facts.get("pending_bytes", 0) for process in processes)
    return f"{', '.join(process.place for process in processes)}; {waiting:,} bytes wait for the event log"


def _of_commands(processes: Sequence[KnownProcess]) -> str:
    if not processes:
        return "no process has this role: none is sent, and no report is read"
    told = [str(process.facts.get("commands_broker", "")) for process in processes]
    places = ", ".join(process.place for process in processes)
    return f"{places}; sent at {', '.join(sorted(set(filter(None, told))))}" if any(told) else f"{places}; none is sent"


def _partitions(processes: Sequence[KnownProcess]) -> list[dict[str, Any]]:
    """By partition, who stores it and how far that is behind: as that process says, or else as the ingest measures."""
    found: dict[int, dict[str, Any]] = {}
    for fact, role in (("unread", "ingest"), ("lags", "historian")):
        for process in _alive(processes, role):
            for number, (records, behind_s) in process.facts.get(fact, {}).items():
                found[int(number)] = {
                    "partition": int(number),
                    "historian": process.place if role == "historian" else None,
                    "records": records,
                    "behind_s": behind_s,
                }
    return [found[number] for number in sorted(found)]
