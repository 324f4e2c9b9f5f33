"""What ``edge-agent doctor`` takes from the running agent's own status."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from connectors.configuration.setting_names import counted
from edge_agent.cli.findings import Finding


def agent(
    status: dict[str, Any] | None,
    socket: Path,
    why: str,
    away: Collection[str] = frozenset(),
    *,
    is_out_of_reach: bool = False,
) -> Iterator[Finding]:
    """Whether it runs, and what it says of itself; ``why``: the reason where it does not answer.

    Of devices that are ``away``, as the network says, it says nothing more when it has no connection either.
    ``is_out_of_reach``: whoever calls may not ask it, so that nobody knows whether it runs.
    """
    if status is None and is_out_of_reach:
        yield Finding("agent", "look", why, "or call it as the agent's user: whether it runs is not known")
        return
    if status is None:
        todo = "start it: systemctl start edge-agent, or edge-agent run; if it does not stay: journalctl -u edge-agent"
        yield Finding("agent", "wrong", why or f"no agent answers at {socket}", todo)
        return
    if status["waiting_for_outbox"]:
        todo = "look at the disk; the agent goes on by itself"
        yield Finding("agent", "wrong", f"its outbox is not open: {status['waiting_for_outbox']}", todo)
        return
    devices = status["devices"]
    online = sum(device["online"] for device in devices)
    yield Finding("agent", "ok", f"{status['agent']} runs, {online} of {counted(len(devices), 'device')} connected")
    for device in devices:
        if device["online"] or device["device"] not in away:
            yield from _device(device)
    yield from _delivery(status["uplink"], status["outbox"])
    yield from _commands(status.get("commands"), status.get("configuration"))


def _device(device: dict[str, Any]) -> Iterator[Finding]:
    name = device["device"]
    if not device["online"]:
        own = device["reason"].startswith(f"{name}: ")
        yield Finding("devices", "wrong", device["reason"] if own else f"{name}: {device['reason']}")
    elif device["unborn"]:
        yield Finding("devices", "wrong", f"{name}: nothing of it is sent: {device['unborn']}")
    elif device["bad"]:
        todo = f"edge-agent tags -d {name}"
        yield Finding("devices", "look", f"{name}: {counted(device['bad'], 'tag')} with a problem or a bad value", todo)


def _delivery(uplink: dict[str, Any], outbox: dict[str, Any]) -> Iterator[Finding]:
    if uplink["phase"] != "born":
        reason = f": {uplink['reason']}" if uplink["reason"] else ""
        said = f"nothing is delivered ({uplink['phase'].replace('_', ' ')}){reason}"
        yield Finding("uplink", "wrong", said, "what comes waits on this disk; 'edge-agent status' says for how long")
    elif uplink["unanswered"]:
        todo = "is cloud-ingest running, and on this broker? Does the broker let this agent publish?"
        yield Finding("uplink", "wrong", "nothing is acknowledged", todo)
    else:
        waiting = f"{counted(outbox['samples'], 'sample')} waiting" if outbox["samples"] else "nothing is waiting"
        yield Finding("uplink", "ok", f"delivering to {uplink['broker']}, {waiting}")
    if outbox["blocked"]:
        todo = "make room on that disk, or mend it; samples wait in memory, and the agent goes on by itself"
        yield Finding("outbox", "wrong", f"the disk takes nothing: {outbox['blocked']}", todo)
    if outbox["refuses_samples"]:
        yield Finding("outbox", "wrong", "it is full, and new samples are given up", "raise size_max, or make room")
    for file in outbox["set_aside"]:
        yield Finding("outbox", "look", f"a damaged one is set aside: {file}", "remove it when nobody needs it")


def _commands(commands: dict[str, Any] | None, configuration: dict[str, Any] | None) -> Iterator[Finding]:
    for lock in [] if commands is None else commands["locks"]:
        said = f"{lock['line']} is locked by {lock['actor']}: {lock['reason']}"
        yield Finding("commands", "look", said, f"edge-agent unlock {lock['line']}, once the reason is gone")
    if commands is not None and commands["problem"]:
        yield Finding("commands", "wrong", f"none is done: {commands['problem']}")
    if configuration is not None and configuration["state"] == "failed":
        yield Finding("config", "wrong", "the files as they are now cannot be used", "edge-agent check")
    elif configuration is not None and configuration["state"] == "out_of_sync":
        yield Finding("config", "look", "the files are not what the agent runs with", "edge-agent reload --dry-run")
