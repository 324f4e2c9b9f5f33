"""What ``cloud-ingest ledger`` and ``dead-letters`` show."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloud_ingest.cli.listing import Hanging, Listing
from cloud_ingest.cli.screens import CLOCK_ERROR_S_MAX, duration, plain, table_of, time_text
from connectors.configuration.setting_names import counted

GAPS_SHOWN_MAX = 20
LABEL_COLUMNS = len("  given up ")
SILENT_S = 60.0
"""An agent that has sent nothing for so long is said to be silent; it may have nothing to tell."""
BATCHES = ("batch", "batches")


def ledger_screen(agents: list[dict[str, Any]], unassigned_dead_letters: int, event_letters: int) -> RenderableType:
    """The delivery ledger for a person."""
    lines: list[RenderableType] = []
    for agent in agents:
        lines += [_head(agent), *_notes(agent), _epochs(agent["epochs"])]
        lines += [_undeclared_line(epoch) for epoch in agent["epochs"]
                  if epoch["end"] == "undeclared" and not epoch["has_closed_end"]]  # fmt: skip
        lines += [_reason_line(reason) for reason in agent["reasons"]]
        lines += [_gap_line(gap) for gap in agent["gaps"][-GAPS_SHOWN_MAX:]]
        if (hidden := agent["gaps_total"] - GAPS_SHOWN_MAX) > 0:
            lines.append(Text(f"  and {counted(hidden, 'earlier gap')} (--json shows the newest 1,000)", "dim"))
        lines += [_closing_line(closing) for closing in agent["closings"]]
        if letters := agent["dead_letters"]:
            lines.append(Text(f"  {counted(letters, 'message')} in the dead letters", "yellow"))
        lines.append(Text())
    lines = [Hanging(line, LABEL_COLUMNS) if isinstance(line, Text) and line.plain else line for line in lines]
    if unassigned_dead_letters:
        lines.append(Text(f"{counted(unassigned_dead_letters, 'dead letter')} of no known agent", "yellow"))
    if event_letters:
        many = counted(event_letters, "event")
        lines.append(
            Text(f"{many} that a part of the platform could not take: `cloud-ingest event-letters list`", "yellow")
        )
    return Group(*lines) if lines else Text("no agent has delivered anything yet")


def letters_screen(letters: Sequence[dict[str, Any]]) -> RenderableType:
    """Dead letters for a person."""
    if not letters:
        return Text("no message is in the dead letters")
    table = table_of("number", "agent", "epoch", "batch", "received (UTC)", "bytes", "state", "reason")
    for letter in letters:
        state = Text("closed", "dim") if letter["closed"] else Text("open", "yellow")
        table.add_row(
            str(letter["number"]),
            Text(plain(letter["agent"] or "-")),
            letter["epoch"] or "-",
            str(letter["batch"] or "-"),
            time_text(letter["received"]),
            f"{letter['size_bytes']:,}",
            state,
            Text(plain(letter["reason"])),
        )
    return table


def letter_screen(letter: dict[str, Any], payload: bytes, command: str = "dead-letters") -> RenderableType:
    """One dead letter for a person, with the beginning of its bytes."""
    lines = [f"{at:06x}  {payload[at : at + 16].hex(' '):<47}  {_characters(payload[at : at + 16])}"
             for at in range(0, min(len(payload), 256), 16)]  # fmt: skip
    if len(payload) > 256:
        lines.append(f"… {len(payload) - 256:,} bytes more; `cloud-ingest {command} export` writes all of them")
    return Group(facts_table(letter), Text("\n".join(lines)))


def facts_table(letter: dict[str, Any]) -> Table:
    """What is known of a letter, a line each."""
    table = Table.grid(padding=(0, 2))
    for key, value in letter.items():
        if value is not None:
            shown = f"{time_text(value)} UTC" if isinstance(value, datetime) else plain(str(value))
            table.add_row(Text(key.replace("_", " "), "dim"), Text(shown))
    return table


def ranges_text(ranges: Sequence[tuple[int, int]]) -> str:
    """Ranges of batches, the first few of them."""
    shown = ", ".join(f"{first}-{last}" if first != last else str(first) for first, last in ranges[:4])
    return f"{shown}, … ({len(ranges)} ranges)" if len(ranges) > 4 else shown


def _characters(data: bytes) -> str:
    return "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in data)


def _head(agent: dict[str, Any]) -> Text:
    missing = agent["missing"]
    arrived = f"{counted(agent['arrived'], *BATCHES)} with {counted(agent['samples'], 'sample')}, "
    head = Text.assemble((plain(agent["agent"]), "bold"), f"  {arrived}")
    head.append(f"missing {missing:,}", "bold red" if missing else "bold green")
    if ends := agent["unknown_ends"]:
        head.append(f" and {counted(ends, 'unknown end')}", "bold red")
    if letters := agent["unnumbered_dead_letters"]:
        head.append(f" and {counted(letters, 'message')}", "bold red")
    return head.append(f", {counted(agent['duplicates'], 'duplicate')} refused")


def _notes(agent: dict[str, Any]) -> list[Text]:
    notes = []
    if oldest := agent["oldest_missing"]:
        since = "" if oldest["since"] is None else f", incomplete since {time_text(oldest['since'])} UTC"
        notes.append(Text(f"  oldest missing: batch {oldest['batch']} of {oldest['epoch']}{since}", "bold red"))
    if (silent_s := agent["silent_s"]) is not None and silent_s > SILENT_S:
        last = f"the last message came at {time_text(agent['last_seen'])} UTC"
        notes.append(Text(f"  silent for {duration(silent_s)}: {last}", "yellow"))
    if given_up := agent["given_up"]:
        which = "; ".join(f"{ranges_text(epoch['given_up'])} of {epoch['epoch']}" for epoch in agent["epochs"]
                          if epoch["given_up"])  # fmt: skip
        notes.append(Text(f"  {counted(given_up, *BATCHES)} given up: {which}", "yellow"))
    if parked := agent["parked"]:
        waits = "waits for its definition" if parked == 1 else "wait for their definitions"
        oldest = agent["oldest_parked"]
        since = f", the oldest since {time_text(oldest['received'])} UTC" if oldest else ""
        notes.append(Text(f"  {counted(parked, *BATCHES)} {waits}{since}", "yellow"))
    if stuck := agent["stuck"]:
        which = "; ".join(f"{ranges_text(epoch['stuck'])} of {epoch['epoch']}" for epoch in agent["epochs"]
                          if epoch["stuck"])  # fmt: skip
        why = "the definition is in the dead letters, or has not come for 15 minutes"
        notes.append(Text(f"  {counted(stuck, *BATCHES)} of them missing, as {why}: {which}", "bold red"))
    if abs(error_s := agent["clock_error_s"] or 0.0) > CLOCK_ERROR_S_MAX:
        where = "ahead of" if error_s > 0 else "behind"
        notes.append(Text(f"  the agent's clock is {duration(abs(error_s))} {where} the cloud's", "bold red"))
    if delay := agent["delay"]:
        text = f"  samples arrive {_seconds(delay['newest_s'])} after their time (95 %: {_seconds(delay['p95_s'])})"
        notes.append(Text(f"{text}, as of {time_text(delay['measured'])} UTC", "dim"))
    return notes


def _seconds(seconds: float) -> str:
    return f"{seconds:,.3g} s" if abs(seconds) < 1000 else f"{seconds:,.0f} s"


def _epochs(epochs: list[dict[str, Any]]) -> Listing:
    table = table_of("epoch", "started (UTC)", "batches", "ends at", "missing", "samples")
    for epoch in epochs:
        table.add_row(
            epoch["epoch"],
            time_text(epoch["started"]),
            ranges_text(epoch["arrived"]) or "none",
            _end(epoch),
            Text(ranges_text(epoch["missing"]) or "none", "bold red" if epoch["missing"] else "dim"),
            f"{epoch['samples']:,}",
        )
    return table


def _end(epoch: dict[str, Any]) -> Text:
    """The last batch of an epoch, as far as anybody knows."""
    if epoch["end"] == "declared":
        return Text(str(epoch["last_batch"]))
    if epoch["has_closed_end"]:
        return Text("closed", "dim")
    return Text("unknown", "bold yellow") if epoch["end"] == "undeclared" else Text("open", "dim")


def _undeclared_line(epoch: dict[str, Any]) -> Text:
    last = epoch["arrived"][-1][1] if epoch["arrived"] else 0
    after = f"after batch {last}" if last else "at all"
    return Text(
        f"  epoch {epoch['epoch']} never said how far it went, and a later start knew nothing of it: what it had taken "
        f"{after} and not sent is lost, and nobody can count it. Was the agent's disk replaced, or set back to an "
        "earlier state, or does a second agent use this name? `cloud-ingest ledger close` closes it with a reason",
        "yellow",
    )


def _reason_line(reason: dict[str, Any]) -> Text:
    parts = [counted(reason["gaps"], "gap")]
    if reason["batches"]:
        parts.append(counted(reason["batches"], *BATCHES))
    if reason["samples"]:
        parts.append(counted(reason["samples"], "sample"))
    if reason["uncounted_gaps"]:
        parts.append(f"{counted(reason['uncounted_gaps'], 'gap')} of samples that nobody could count")
    return Text(f"  given up {plain(reason['reason'])}: {', '.join(parts)}", "yellow")


def _gap_line(gap: dict[str, Any]) -> Text:
    count = "" if gap["samples"] is None else f", {counted(gap['samples'], 'sample')}"
    span = f"{time_text(gap['first'])} to {time_text(gap['last'])} UTC"
    return Text(f"  gap      {plain(gap['device']) or '(agent)'}: {span}{count}: {plain(gap['reason'])}", "yellow")


def _closing_line(closing: dict[str, Any]) -> Text:
    what = [ranges_text(closing["batches"])] if closing["batches"] else []
    what += ["its unknown end"] if closing["end"] else []
    return Text(
        f"  closed   {' and '.join(what)} of {closing['epoch']} by {plain(closing['closed_by'])} at "
        f"{time_text(closing['closed'])} UTC: {plain(closing['reason'])}",
        "dim",
    )
