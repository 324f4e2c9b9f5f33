"""What the demo shows on a terminal, from 80 columns and 24 lines on, and in one line where there is no terminal."""

from __future__ import annotations

import math
import unicodedata
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from rich.text import Text

from lineside.demo.questions import Look
from lineside.machines.press import PressState

TREND_LOOKS_MAX: Final = 40
WIDE: Final = 110
"""From this many columns on there is room for trends."""
TALL: Final = 36
"""From this many lines on there is room for the commands to try."""
_BARS: Final = "▁▂▃▄▅▆▇█"
_ALARMS: Final = ("fault", "belt/jam", "over_temperature", "heater_trip")
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
        self._values: dict[tuple[str, str], deque[float]] = {}

    def note(self, tags: Sequence[Mapping[str, Any]]) -> None:
        """Take the values of a look."""
        for tag in tags:
            value = tag["value"]
            if isinstance(value, int | float) and not isinstance(value, bool):
                key = (tag["device"], tag["tag"])
                self._values.setdefault(key, deque(maxlen=TREND_LOOKS_MAX)).append(float(value))

    def bars(self, device: str, tag: str, width: int) -> str:
        """The newest values as bars between their least and their greatest; nothing while they are all the same."""
        values = list(self._values.get((device, tag), ()))[-width:]
        low, high = min(values, default=0.0), max(values, default=0.0)
        if high <= low:
            return ""
        return "".join(_BARS[int((value - low) / (high - low) * (len(_BARS) - 1) + 0.5)] for value in values)


class Screen:
    """Lays out looks. Every line fits the width, and all lines fit the height."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._trends = Trends()
        self._look = Look(None, [], None)

    def take(self, look: Look) -> None:
        """Show this from now on."""
        self._look = look
        self._trends.note(look.tags)

    def lines(self, width: int, height: int, running_s: float, left_s: float) -> list[Text]:
        """The whole screen. The demo stops by itself in ``left_s`` (infinite: never)."""
        head = [_title(width, running_s, left_s), self._path(), Text()]
        foot = [Text(), *self._facts(), *self._places(tall=height >= TALL)]
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
        half = (width - 3) // 2
        columns = [self._device(device, half, room) for device in status["devices"][:2]]
        lines: list[Text] = []
        for number in range(max(map(len, columns), default=0)):
            line = Text(" ")
            for column in columns:
                cell = column[number] if number < len(column) else Text()
                cell.truncate(half, overflow="ellipsis", pad=True)
                line.append_text(cell).append(" ")
            lines.append(line)
        return lines

    def _device(self, device: Mapping[str, Any], width: int, room: int) -> list[Text]:
        online = Text("● online", _GOOD) if device["online"] else Text("● offline", "bold red")
        head = Text.assemble((device["device"], "bold"), "  ", online, f"  {device['samples_per_s']:.1f} samples/s")
        tags = [tag for tag in self._look.tags if tag["device"] == device["device"]]
        lines = [head, Text(device["endpoint"] if device["online"] else device["reason"], _DIM)]
        fitting = room - len(lines)
        hidden = len(tags) - fitting
        shown = tags if hidden <= 0 else tags[: max(0, fitting)]
        lines += [self._tag(tag, width) for tag in shown]
        if hidden > 0 and lines:
            lines[1].append(f"  +{hidden} tags", _DIM)
        return lines[:room]

    def _tag(self, tag: Mapping[str, Any], width: int) -> Text:
        name_width, value_width, unit_width = 17, 9, 5
        trend_width = 0
        if width * 2 + 3 >= WIDE:
            name_width, value_width = 18, 10
            trend_width = min(TREND_LOOKS_MAX, width - name_width - value_width - unit_width - 9)
        value, style = value_text(tag)
        line = Text(_fitted(tag["tag"], name_width) + " ")
        if tag["unit"] or len(value) <= value_width:
            line.append(_fitted(value, value_width, right=True), style).append(
                " " + _fitted(tag["unit"], unit_width), _DIM
            )
        else:
            line.append(_fitted(value, value_width + 1 + unit_width), style)
        quality, quality_style = _quality(tag)
        line.append(" ").append(_fitted(quality, 4), quality_style)
        if trend_width:
            line.append("  " + self._trends.bars(tag["device"], tag["tag"], trend_width), "cyan")
        return line

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
            first.append(f"; broker: {uplink['reason'] or uplink['phase']}", "yellow")
        second = Text(
            f"{_count(outbox['batches'], 'batch')} waiting, {_size(outbox['file_bytes'])} on disk, "
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
            f"{_count(ledger['arrived'], 'batch')} arrived, {_count(ledger['duplicates'], 'duplicate')} refused, ",
            (f"missing {missing:,}", f"bold {_GOOD}" if missing == 0 else "bold red"),
        )
        if ledger["dead_letters"]:
            book.append(f", {ledger['dead_letters']} dead letters", "bold red")
        return [_fact("stored", stored), _fact("ledger", book), _fact("gaps", _gaps(ledger["gaps"]))]

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
    outbox = _count(status["outbox"]["batches"], "batch")
    text = f"{clock(running_s):>7}  {rates}  outbox {outbox}"
    if ledger is None:
        return f"{text}  cloud side: no answer"
    arrived, duplicates = _count(ledger["arrived"], "batch"), _count(ledger["duplicates"], "duplicate")
    return f"{text}  stored {ledger['samples']:,} rows  ledger {arrived}, {duplicates}, missing {ledger['missing']:,}"


def value_text(tag: Mapping[str, Any]) -> tuple[str, str]:
    """A value for a narrow column, and its style."""
    value, name = tag["value"], tag["tag"]
    if value is None:
        return "-", _DIM
    if isinstance(value, bool):
        return ("yes" if value else "no"), "bold red" if value and name.endswith(_ALARMS) else ""
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
    text = f"{state.value} {state.name.lower()}"
    return text, _GOOD if state is PressState.EXECUTE else "bold red" if state is PressState.ABORTED else "yellow"


def _quality(tag: Mapping[str, Any]) -> tuple[str, str]:
    quality = tag["quality"]
    if quality is None:
        return "-", _DIM
    if tag["stale"]:
        return "old", "yellow"
    return ("Good", _GOOD) if quality == "Good" else (quality, "bold red" if quality.startswith("Bad") else "yellow")


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
    return Text(f"{len(gaps)} declared, the newest: {newest['device']}, {reason} {first} to {last}")


def _fact(name: str, fact: Text) -> Text:
    return Text.assemble(" ", (f"{name:<8}", _DIM), fact)


def _fitted(text: str, width: int, *, right: bool = False) -> str:
    """``text`` in exactly ``width`` columns; what is too long ends with ``…``."""
    printable = "".join(char if unicodedata.category(char)[0] != "C" else "?" for char in text)
    cell = Text(printable, no_wrap=True)
    cell.truncate(width, overflow="ellipsis")
    space = " " * (width - cell.cell_len)
    return space + cell.plain if right else cell.plain + space


def _starts(ledger: Mapping[str, Any]) -> str:
    count = len(ledger["epochs"])
    return "of this start" if count == 1 else f"of {count} starts"


def _count(number: int, what: str) -> str:
    plural = "es" if what.endswith("ch") else "s"
    return f"{number:,} {what}{'' if number == 1 else plural}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
