"""What the demo shows on a terminal, from 80 columns and 24 lines on, and in one line where there is no terminal."""

from __future__ import annotations

import math
import unicodedata
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.cells import cell_len
from rich.text import Text

from lineside.demo.order_life import Told
from lineside.demo.questions import Look
from lineside.demo.three_commands import Shown, asked_text
from lineside.machines.press import PressState

TREND_LOOKS_MAX: Final = 120
LEVEL_SPAN: Final = 0.01
"""A measured value that moves by less than this share of itself is drawn as nearly level: it is noise."""
WIDE: Final = 110
"""From this many columns on there is room for trends."""
TALL: Final = 36
"""From this many lines on there is room for the commands to try."""
_UNIT_WIDTH: Final = 5
_ASKED_WIDTH: Final = 24
_QUALITY_WIDTH: Final = 4
_BARS: Final = "▁▂▃▄▅▆▇█"
_STATE_BAR: Final = "■"
_ALARMS: Final = ("belt/jam", "over_temperature", "heater_trip")
_FAULT: Final = "fault"
"""Some alarm is on: named only when the controller does not say which."""
_FAULT_TEXT: Final = "fault/text"
_GOOD: Final = "green"
_DIM: Final = "bright_black"


@dataclass(frozen=True, slots=True)
class Scene:
    """What does not change while the demo runs."""

    broker: str
    api_url: str
    commands: Sequence[str]
    """To try in another terminal."""


class Trends:
    """The last values of every numeric tag, one a look: at most ``TREND_LOOKS_MAX`` of each."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], deque[int | float]] = {}

    def note(self, tags: Sequence[Mapping[str, Any]]) -> None:
        """Take the values of a look."""
        for tag in tags:
            value = tag["value"]
            if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
                key = (tag["device"], tag["tag"])
                self._values.setdefault(key, deque(maxlen=TREND_LOOKS_MAX)).append(value)

    def bars(self, device: str, tag: str, width: int) -> Text:
        """The newest values as bars between their least and their greatest; nothing while they are all the same.

        States have no height: each look at one is a square in its colour.
        """
        values = list(self._values.get((device, tag), ()))[-width:] if width > 0 else []
        if tag == "state":
            return Text.assemble(*((_STATE_BAR, _state_text(value)[1]) for value in values))
        low, high = min(values, default=0.0), max(values, default=0.0)
        if high <= low or math.isinf(high - low):
            return Text()
        least = 0.0 if isinstance(values[-1], int) else LEVEL_SPAN * max(abs(low), abs(high))
        span = max(high - low, least)
        bottom = (low + high - span) / 2
        top = len(_BARS) - 1
        return Text("".join(_BARS[int((value - bottom) / span * top + 0.5)] for value in values), "cyan")


class Screen:
    """Lays out looks. Every line fits the width, and all lines fit the height."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._trends = Trends()
        self._look = Look(None, [], None)
        self._shown: dict[str, Shown] = {}
        self._told: Sequence[Told] = ()

    def take(self, look: Look, shown: Sequence[Shown] = (), told: Sequence[Told] = ()) -> None:
        """Show this from now on; ``shown``: those of the demo's own commands that are over; ``told``: of its orders."""
        self._look = look
        self._told = told
        self._shown = {one.command: one for one in shown}
        self._trends.note(look.tags)

    def lines(self, width: int, height: int, running_s: float, left_s: float) -> list[Text]:
        """The whole screen. The demo stops by itself in ``left_s`` (infinite: never)."""
        head = [_title(width, running_s, left_s), self._path(), Text()]
        tall = height >= TALL
        foot = [
            Text(),
            *self._facts(),
            *self._commands(6 if tall else 3),
            *self._orders(5 if tall else 2),
            *self._places(tall=tall),
        ]
        room = max(0, height - len(head) - len(foot))
        lines = [*head, *self._devices(width, room), *foot]
        for line in lines:
            line.truncate(width, overflow="ellipsis")
            line.no_wrap = True
        return lines[:height]

    # -- the devices, side by side -------------------------------------------------------------------------------------

    def _devices(self, width: int, room: int) -> list[Text]:
        status = self._look.status
        if status is None:
            return [Text(" the agent does not answer", "bold red")]
        half = max(0, (width - 4) // 2)
        columns = [self._device(device, half, room) for device in status["devices"][:2]]
        lines: list[Text] = []
        for number in range(max(map(len, columns), default=0)):
            cells = [column[number] if number < len(column) else Text() for column in columns]
            for cell in cells:
                cell.truncate(half, overflow="ellipsis", pad=True)
            line = Text()
            for place, cell in enumerate(cells):
                line.append(" │ " if place else " ", _DIM).append_text(cell)
            lines.append(line)
        return lines

    def _device(self, device: Mapping[str, Any], width: int, room: int) -> list[Text]:
        online = Text("● online", _GOOD) if device["online"] else Text("● offline", "bold red")
        head = Text.assemble(
            (_printable(device["device"]), "bold"), "  ", online, f"  {device['samples_per_s']:.1f} samples/s"
        )
        tags = [tag for tag in self._look.tags if tag["device"] == device["device"]]
        lines = [head, _device_line(device, tags)]
        fitting = room - len(lines)
        hidden = len(tags) - fitting
        shown = tags if hidden <= 0 else tags[: max(0, fitting)]
        lines += [self._tag(tag, width) for tag in shown]
        if hidden > 0 and lines:
            more = f"  +{hidden} tags"
            lines[1].truncate(max(0, width - len(more)), overflow="ellipsis")
            lines[1].append(more, _DIM)
        return lines[:room]

    def _tag(self, tag: Mapping[str, Any], width: int) -> Text:
        name_width, value_width = (17, 9) if width * 2 + 4 < WIDE else (18, 10)
        trend_width = min(TREND_LOOKS_MAX, width - name_width - value_width - _UNIT_WIDTH - _QUALITY_WIDTH - 5)
        value, style = value_text(tag)
        line = Text(_fitted(tag["tag"], name_width) + " ")
        trend = self._trends.bars(tag["device"], tag["tag"], trend_width)
        if tag["unit"] or cell_len(value) <= value_width:
            line.append(_fitted(value, value_width, right=True), style)
            line.append(" " + _fitted(tag["unit"], _UNIT_WIDTH), _DIM)
        elif trend_width < cell_len(value):
            line.append(_fitted(value, value_width + 1 + _UNIT_WIDTH), style)
        else:  # a long text stands where others have their trend
            line.append(" " * (value_width + 1 + _UNIT_WIDTH))
            trend = Text(_fitted(value, trend_width), style)
        quality, quality_style = _quality(tag)
        line.append(" ").append(_fitted(quality, _QUALITY_WIDTH), quality_style)
        return line.append("  ").append_text(trend) if trend_width > 0 else line

    # -- what becomes of the samples -----------------------------------------------------------------------------------

    def _path(self) -> Text:
        arrow = (" → ", _DIM)
        return Text.assemble(
            " press, oven", arrow, "edge-agent", arrow, self._scene.broker, arrow, "cloud-ingest", arrow, "PostgreSQL"
        )

    def _facts(self) -> list[Text]:
        return [*self._outbox_facts(), *self._ledger_facts()]

    def _outbox_facts(self) -> list[Text]:
        status = self._look.status
        if status is None:
            return [_fact("rate", Text("?")), _fact("outbox", Text("?"))]
        rate = sum(device["samples_per_s"] for device in status["devices"])
        outbox, uplink = status["outbox"], status["uplink"]
        first = Text.assemble((f"{rate:.1f} samples/s", "bold"), f", {outbox['samples_committed']:,} since the start")
        if uplink["phase"] != "born":
            first.append(_printable(f"; broker: {uplink['reason'] or uplink['phase']}"), "yellow")
        second = Text(
            f"{counted(outbox['batches'], 'batch')} waiting, {_size(outbox['file_bytes'])} on disk, "
            f"{uplink['in_flight']} in flight"
        )
        return [_fact("rate", first), _fact("outbox", second)]

    def _ledger_facts(self) -> list[Text]:
        ledger = self._look.ledger
        if ledger is None:
            return [_fact("stored", Text("?")), _fact("ledger", Text("?")), _fact("gaps", Text("?"))]
        stored = Text.assemble((f"{ledger['samples']:,} rows", "bold"), f" in PostgreSQL, {_starts(ledger)}")
        missing = ledger["missing"]
        book = Text.assemble(
            f"{counted(ledger['arrived'], 'batch')} arrived, {counted(ledger['duplicates'], 'duplicate')} refused, ",
            (f"missing {missing:,}", f"bold {_GOOD}" if missing == 0 else "bold red"),
        )
        if ledger["dead_letters"]:
            book.append(f", {ledger['dead_letters']} dead letters", "bold red")
        return [_fact("stored", stored), _fact("ledger", book), _fact("gaps", _gaps(ledger["gaps"]))]

    def _commands(self, count: int) -> list[Text]:
        """What is locked, and the newest commands: at most ``count`` lines, and at least one."""
        status, commands = self._look.status or {}, self._look.commands
        locks = (status.get("commands") or {}).get("locks") or []
        lines = [_lock(lock) for lock in locks[: max(1, count // 2)]]
        lines += [_fact("command", _not_taken(one)) for command, one in self._shown.items() if not command]
        if commands is None:
            return [*lines, _fact("command", Text("?"))][:count]
        lines += [_command(command, self._shown.get(command["id"])) for command in commands]
        return lines[:count] or [_fact("command", Text("none yet"))]

    def _orders(self, count: int) -> list[Text]:
        """The newest of what has happened to the orders."""
        return [
            _fact(f"order {one.order}" if one.order else "factory", Text(_printable(one.text)))
            for one in self._told[-count:]
        ]

    def _places(self, *, tall: bool) -> list[Text]:
        api = f"{self._scene.api_url}/api/docs"
        last = Text.assemble(
            " ", (f"{'API':<8}", _DIM), (api, "underline"), "   ", ("Ctrl-C", "bold"), " stops everything"
        )
        if not tall:
            return [last]
        commands = [Text("   " + command) for command in self._scene.commands]
        return [last, Text(), Text(" Try in another terminal", _DIM), *commands]


def plain_line(look: Look, running_s: float) -> str:
    """The state of the plant in one line."""
    status, ledger = look.status, look.ledger
    if status is None:
        return f"{clock(running_s):>7}  the agent does not answer"
    rates = ", ".join(f"{d['device']} {d['samples_per_s']:.1f}/s" for d in status["devices"])
    outbox = counted(status["outbox"]["batches"], "batch")
    text = f"{clock(running_s):>7}  {rates}  outbox {outbox}"
    if ledger is None:
        return f"{text}  cloud side: no answer"
    arrived, duplicates = counted(ledger["arrived"], "batch"), counted(ledger["duplicates"], "duplicate")
    return f"{text}  stored {ledger['samples']:,} rows  ledger {arrived}, {duplicates}, missing {ledger['missing']:,}"


def value_text(tag: Mapping[str, Any]) -> tuple[str, str]:
    """A value for a narrow column, and its style."""
    value, name = tag["value"], tag["tag"]
    if value is None:
        return "-", _DIM
    if isinstance(value, bool):
        return ("yes" if value else "no"), "bold red" if value and (name.endswith(_ALARMS) or name == _FAULT) else ""
    if name == "state":
        return _state_text(value)
    if isinstance(value, float):
        return (f"{value:,.3f}" if tag["unit"] == "kWh" else f"{value:,.1f}"), ""
    if isinstance(value, int):
        return f"{value:,}", ""
    return str(value) or "none", "bold red" if value else _DIM


def clock(seconds: float) -> str:
    """Minutes and seconds, and hours when there are some."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def _state_text(value: Any) -> tuple[str, str]:
    try:
        state = PressState(value)
    except ValueError:
        return str(value), ""
    return (
        state.name.lower(),
        _GOOD if state is PressState.EXECUTE else "bold red" if state is PressState.ABORTED else "yellow",
    )


def _quality(tag: Mapping[str, Any]) -> tuple[str, str]:
    quality = tag["quality"]
    if quality is None:
        return "-", _DIM
    if tag["stale"]:
        return "old", "yellow"
    return ("Good", _GOOD) if quality == "Good" else (quality, "bold red" if quality.startswith("Bad") else "yellow")


def _device_line(device: Mapping[str, Any], tags: Sequence[Mapping[str, Any]]) -> Text:
    """What is wrong with a device, or else where it is."""
    if not device["online"]:
        return Text(_printable(device["reason"] or device["endpoint"]), "red")
    alarms = [tag["tag"] for tag in tags if tag["value"] is True and tag["tag"].endswith(_ALARMS)]
    alarms += [str(tag["value"]) for tag in tags if tag["tag"] == _FAULT_TEXT and tag["value"]]
    if not alarms:
        alarms = [tag["tag"] for tag in tags if tag["tag"] == _FAULT and tag["value"] is True]
    return Text(_printable(", ".join(alarms)), "bold red") if alarms else Text(_printable(device["endpoint"]), _DIM)


def _title(width: int, running_s: float, left_s: float) -> Text:
    title = Text.assemble((" Lineside", "bold"), " demo: a complete plant on this machine")
    since = f"running {clock(running_s)}" + ("" if math.isinf(left_s) else f", {max(0.0, left_s):.0f} s to go")
    title.append(" " * max(1, width - title.cell_len - len(since) - 1) + since, _DIM)
    return title


def _gaps(gaps: Sequence[Mapping[str, Any]]) -> Text:
    if not gaps:
        return Text("none declared")
    newest = gaps[-1]
    first, last = (datetime.fromisoformat(newest[key]).astimezone().strftime("%H:%M:%S") for key in ("first", "last"))
    reason = newest["reason"].replace("_", " ")
    return Text(_printable(f"{len(gaps)} declared, the newest: {newest['device']}, {reason} {first} to {last}"))


def _lock(lock: Mapping[str, Any]) -> Text:
    return _fact("locked", Text(_printable(f"{lock['line']} by {lock['actor']}: {lock['reason']}"), "yellow"))


def _not_taken(shown: Shown) -> Text:
    return Text(_printable(f"✗ {shown.title}: {shown.problem}"), "bold red")


def _command(command: Mapping[str, Any], shown: Shown | None) -> Text:
    """A command, and what became of it; of one of the demo's own, also what the press holds, read from the press."""
    time = datetime.fromisoformat(command["changed"]).astimezone().strftime("%H:%M:%S")
    state, code = command["state"], command["code"]
    style = _GOOD if state == "succeeded" else "bold red" if state in ("failed", "unknown") else "yellow"
    became = f"{state}, {code}" if code and code != state else state
    line = Text.assemble(f"{time} ", _fitted(_asked(command), _ASKED_WIDTH), " ", (_printable(became), style))
    if shown is not None and shown.holds is not None:
        line.append(" ✗" if shown.problem else " ✓", "bold red" if shown.problem else _GOOD)
        line.append(f" press holds {shown.holds:g}")
    if command["detail"]:
        line.append(_printable(f"  {command['detail']}"), _DIM)
    return _fact("command", line)


def _asked(command: Mapping[str, Any]) -> str:
    """What was asked for; the cloud does not hear that of what people do at the machine."""
    return asked_text(command) if command["action"] else f"at the machine, by {command['issuer']}"


def _fact(name: str, fact: Text) -> Text:
    return Text.assemble(" ", (f"{name:<8}", _DIM), fact)


def _fitted(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` columns; what is too long ends with ``…``."""
    cell = Text(_printable(text), no_wrap=True)
    cell.truncate(width, overflow="ellipsis")
    space = " " * (width - cell.cell_len)
    return space + cell.plain if right else cell.plain + space


def _printable(text: str) -> str:
    """``text`` without what would move the cursor."""
    return "".join(char if unicodedata.category(char)[0] != "C" else "?" for char in text)


def _starts(ledger: Mapping[str, Any]) -> str:
    count = len(ledger["epochs"])
    return "of this start" if count == 1 else f"of {count} starts"


def counted(number: int, what: str) -> str:
    """``1 batch``, ``2,000 batches``."""
    plural = "es" if what.endswith("ch") else "s"
    return f"{number:,} {what}{'' if number == 1 else plural}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
