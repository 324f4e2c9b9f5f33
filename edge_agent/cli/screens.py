"""What ``edge-agent status`` shows: one screen that reads well at 80 columns, with and without colour."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from rich.console import Group, RenderableType
from rich.text import Text

from connectors.configuration.setting_names import counted
from edge_agent.cli.configuration_lines import configuration_lines
from edge_agent.cli.device_screens import DevicesTable, device_lines
from edge_agent.cli.terminal import Sentence
from edge_agent.cli.words import clock_time, duration, size

BEHIND_S: Final = 2.0
CLOCK_ERROR_S: Final = 2.0
UNANSWERED: Final = (
    "NOTHING IS ACKNOWLEDGED: is cloud-ingest running, and on this broker? Does the broker let this agent publish?"
)
NO_TLS: Final = "MQTT without TLS, allowed by 'insecure: true'"
INSECURE: Final = {
    "modbus": "Modbus/TCP is neither encrypted nor authenticated; tls:// is, where the device has it",
    "opcua": "OPC UA neither signed nor encrypted, allowed by 'insecure: true'",
}
"""What it means, by driver, that a device is insecure."""


def status_screen(status: dict[str, Any]) -> RenderableType:
    """The answer to ``status`` for a person."""
    if status["waiting_for_outbox"]:
        return _waiting_screen(status)
    head = Text.assemble(
        (status["agent"], "bold"), f"  lineside {status['version']}, up {duration(status['uptime_s'])}"
    )
    if status["commissioning"]:
        head.append("  COMMISSIONING: nothing is written to any device", "bold yellow")
    lines: list[RenderableType] = [head, Text(), DevicesTable(status["devices"])]
    for device in status["devices"]:
        lines += device_lines(device)
    lines += [Text(), *_uplink_lines(status["uplink"]), *_outbox_lines(status["outbox"])]
    lines += _command_lines(status.get("commands"))
    lines += configuration_lines(status.get("configuration"))
    lines.append(Sentence("promise  ", status["promise"], "dim"))
    lines += [Sentence("insecure ", text, "yellow") for text in insecure_sentences(status)]
    ending = [each["problem"] for each in status.get("certificates", ()) if each["problem"]]
    lines += [Sentence("expiry   ", text, "bold yellow") for text in ending]
    return Group(*lines)


def _waiting_screen(status: dict[str, Any]) -> RenderableType:
    """An agent that has not begun, as its disk does not let it."""
    head = Text.assemble(
        (status["agent"], "bold"), f"  lineside {status['version']}, up {duration(status['uptime_s'])}"
    )
    return Group(
        head,
        Text(),
        Sentence("outbox   ", f"NOT OPEN: {status['waiting_for_outbox']}", "bold red"),
        Sentence("         ", "nothing is acquired; the agent begins by itself when the disk lets it", "red"),
    )


def _uplink_lines(uplink: dict[str, Any]) -> Iterator[RenderableType]:
    born = uplink["phase"] == "born"
    phase = uplink["phase"].replace("_", " ")
    state = Text.assemble(("uplink   "), ("online" if born else phase, "green" if born else "bold red"))
    state.append(f"  {uplink['broker']}" if uplink["broker"] else "")
    if uplink["host_online"] is False:
        state.append(f"  host {uplink['host']!r} is offline", "yellow")
    yield state
    if uplink["reason"]:
        yield Sentence("         ", uplink["reason"], "red")
    if uplink["unanswered"] and born:
        yield Sentence("         ", UNANSWERED, "bold red")
    yield Sentence(
        "         ",
        f"{counted(uplink['acknowledged'], 'batch', 'batches')} acknowledged, {uplink['in_flight']:,} in flight, "
        f"{uplink['resent']:,} sent again, {uplink['refused']:,} refused",
    )
    error_s = uplink["clock_error_s"]
    if error_s is not None and abs(error_s) > CLOCK_ERROR_S:
        ahead = "ahead of" if error_s > 0 else "behind"
        text = f"the clock of this box is {duration(abs(error_s))} {ahead} the host's: look at its time server"
        yield Sentence("         ", text, "bold yellow")
    if uplink["lag_s"] > BEHIND_S and born:
        text = f"catching up: what leaves now is {duration(uplink['lag_s'])} old; the newest values are previewed"
        yield Sentence("         ", text, "yellow")


def _outbox_lines(outbox: dict[str, Any]) -> Iterator[RenderableType]:
    waiting = "nothing is waiting"
    if outbox["batches"]:
        batches, samples = counted(outbox["batches"], "batch", "batches"), counted(outbox["samples"], "sample")
        waiting = f"{samples} in {batches} waiting, {size(outbox['waiting_bytes'])}"
        if outbox["oldest_s"] is not None:
            waiting += f", the oldest for {duration(outbox['oldest_s'])}"
    yield Sentence("outbox   ", waiting)
    if outbox["blocked"]:
        text = f"BLOCKED, {counted(outbox['samples_pending'], 'sample')} in memory: {outbox['blocked']}"
        yield Sentence("         ", text, "bold red")
    else:
        yield from _forecast_lines(outbox)
        yield from _room_lines(outbox)
    yield Sentence("         ", files_sentence(outbox["database_bytes"], outbox["wal_bytes"]), "dim")
    for file in outbox["set_aside"]:
        text = f"a damaged outbox is set aside as {file}; the log says what was lost: remove it when nobody needs it"
        yield Sentence("         ", text, "yellow")


def _command_lines(commands: dict[str, Any] | None) -> Iterator[RenderableType]:
    """Which lines are locked, which device files are not as they should be, and why commands are not done."""
    if commands is None:
        return
    yield from file_lines(commands.get("files", ()))
    for lock in commands["locks"]:
        since = clock_time(lock["time_ms"] * 1_000_000)
        text = f"{lock['line']} by {lock['actor']} since {since} UTC: {lock['reason']}"
        yield Sentence("LOCKED   ", text, "bold yellow")
    if commands["problem"]:
        yield Sentence("commands ", f"NONE IS DONE: {commands['problem']}", "bold red")
    elif not commands["remote"]:
        yield Sentence("commands ", "those of the cloud are switched off (agent.remote_commands)", "yellow")
    elif not commands["trusted_keys"]:
        yield Sentence("commands ", "those of the cloud are refused: no key of it is trusted yet", "dim")
    elif not commands["clock_known"]:
        yield Sentence("commands ", "those of the cloud are refused: its time is not known yet", "yellow")
    else:
        yield Sentence("commands ", f"{counted(commands['held'], 'command')} waiting or being done")


def file_lines(files: Sequence[dict[str, Any]]) -> Iterator[Sentence]:
    """Every device file; of very many, those that somebody should look at, and how many there are besides."""
    quiet = [file for file in files if file["state"] in ("in_use", "local") and file["loaded"]]
    shown = files if len(files) <= FILES_SHOWN_MAX else [file for file in files if file not in quiet]
    for file in shown:
        text, style = file_sentence(file)
        yield Sentence("file     ", text, style)
    if len(shown) < len(files):
        yield Sentence("files    ", f"{len(files) - len(shown)} more; 'edge-agent config list' shows them", "dim")


def file_sentence(file: dict[str, Any]) -> tuple[str, str]:
    """A device file for a person, and how it is to look."""
    version = f"version {file['version']}" if file["version"] else file["sha256"][:12]
    said = {
        "in_use": (f"{version} is in use", "dim"),
        "local": (f"made here ({version})", "dim"),
        "trial": (f"{version} is on trial", "yellow"),
        "changed": (f"changed here since its last version ({version})", "yellow"),
        "failed": (f"{version} is in use; {file['message']}", "bold red"),
    }
    text, style = said.get(file["state"], (file["state"], ""))
    later = "" if file["loaded"] else "; 'edge-agent reload' uses it"
    return f"{file['name']}: {text}{later}", style


FILES_SHOWN_MAX: Final = 10
FULL_PART: Final = 0.9
FULL_SOON_S: Final = 24 * 3600.0
"""A day is what somebody needs to look at it."""
GIVES_WAY_PART: Final = 0.95
LIMITS: Final = {
    "outbox_full": "outbox.size_max",
    "disk_full": "it grows no further, as the disk has less than outbox.free_disk_min left",
}


def _forecast_lines(outbox: dict[str, Any]) -> Iterator[RenderableType]:
    """How long until it is drained, and until it is full, as far as something waits."""
    found = outbox.get("forecast")
    if found is None or not (outbox["batches"] or found["full_s"] is not None):
        return
    if not found["measured_s"]:
        yield Sentence("         ", "drained in: …  full in: …  (rates are being measured)", "dim")
        return
    drained, full = found["drained_s"], found["full_s"]
    soon = full is not None and full < FULL_SOON_S
    text = f"drained {_in(drained)}, full {_in(full)}; by the rates of the last {duration(found['measured_s'])}"
    yield Sentence("         ", text, "bold yellow" if soon else "")


def _in(seconds: float | None) -> str:
    if seconds is None:
        return "not at this rate"
    return "now" if seconds < 1 else f"in {duration(seconds)}"


def _room_lines(outbox: dict[str, Any]) -> Iterator[RenderableType]:
    """How near the outbox is to where samples give way; nothing while it is far from it."""
    used, limit = outbox["used_bytes"], outbox["limit_bytes"]
    if used >= FULL_PART * limit or outbox["limit_reason"] == "disk_full":
        what = LIMITS.get(outbox["limit_reason"], "")
        part, free = f"{100 * used / max(1, limit):.0f} %", size(outbox["free_disk_bytes"])
        text = f"{part} of {size(limit)} in use ({what}); the disk has {free} free"
        yield Sentence("         ", text, "yellow")
    if outbox["refuses_samples"]:
        yield Sentence("         ", "NO ROOM: samples that come now are given up (when_full: drop_newest)", "bold red")
    elif used >= GIVES_WAY_PART * limit:
        yield Sentence("         ", "NO ROOM: older samples give way, and gaps say so", "bold red")


def files_sentence(database_bytes: int, wal_bytes: int) -> str:
    """What the outbox takes on the disk, which is another thing than what waits in it."""
    return (
        f"files: database {size(database_bytes)}, write-ahead log {size(wal_bytes)}; they keep their size and are "
        "used again"
    )


def insecure_sentences(status: dict[str, Any]) -> list[str]:
    """What anybody on the network can read or change: one sentence a protocol, with all that it is true of."""
    found: dict[str, list[str]] = {}
    items = set(status["insecure"])
    for device in status["devices"]:
        item = f"device {device['device']} {device['endpoint']}"
        if item in items:
            items.discard(item)
            what = INSECURE.get(device["driver"], "neither encrypted nor authenticated")
            found.setdefault(what, []).append(device["device"])
    for item in status["insecure"]:
        if item in items:
            found.setdefault(NO_TLS, []).append(item.removeprefix("uplink "))
    return [f"{what}: {', '.join(names)}" for what, names in found.items()]
