"""One write and what came of it: sent once, read back, and never repeated whatever happens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from connectors.commands.states import CommandState
from connectors.model.errors import DeviceUnavailable, WriteRefused, WriteUncertain
from connectors.model.json_differences import NOTHING, differences, read_json
from connectors.model.quality import is_good, name_of
from connectors.model.tags import TagName
from connectors.ports.clock import Clock
from connectors.ports.device import DeviceWriter, Reading, Value

WRITE_S_MAX: Final = 30.0
"""A driver has time-outs of its own; this one only bounds what a defect in it can hold up."""
READ_S_MAX: Final = 10.0
DIFFERENCES_TOLD_MAX: Final = 5
LOOK_FIRST_S: Final = 0.005
LOOK_LONGEST_S: Final = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a write: ``succeeded``, ``failed`` or ``unknown``, why, and what the tag held afterwards."""

    state: CommandState
    detail: str
    after: Value | None = None

    @property
    def is_done(self) -> bool:
        """Whether it was done as asked for."""
        return self.state is CommandState.SUCCEEDED


Holds = Callable[[Value | None], bool]
"""Whether a value that was read is the one that was asked for."""


async def write_once(
    writer: DeviceWriter,
    tag: TagName,
    value: Value,
    *,
    before: Value | None,
    holds: Holds,
    within_s: float,
    clock: Clock,
) -> Outcome:
    """Write ``value`` once and read it back until it ``holds``, at most for ``within_s``.

    ``before`` is what the tag held: after a write that nobody has answered, only a change from that to the value
    shows that it was done.
    """
    try:
        async with asyncio.timeout(WRITE_S_MAX):
            await writer.write(tag, value)
    except (DeviceUnavailable, ValueError) as exc:
        return Outcome(CommandState.FAILED, f"nothing was sent: {exc}")
    except WriteRefused as exc:
        return Outcome(CommandState.FAILED, f"the device has refused it: {exc}")
    except (WriteUncertain, TimeoutError) as exc:
        said = str(exc) or f"no answer within {WRITE_S_MAX:g} s"
        return _uncertain(said, before, await read_now(writer, tag), holds)
    return await _read_back(writer, tag, value, holds, within_s, clock)


async def call_once(writer: DeviceWriter, method: str, arguments: Sequence[Value]) -> Outcome:
    """Call a method once; there is nothing to read back."""
    try:
        async with asyncio.timeout(WRITE_S_MAX):
            results = await writer.call(method, arguments)
    except (DeviceUnavailable, ValueError) as exc:
        return Outcome(CommandState.FAILED, f"{method} was not called: {exc}")
    except WriteRefused as exc:
        return Outcome(CommandState.FAILED, f"the device has refused {method}: {exc}")
    except (WriteUncertain, TimeoutError) as exc:
        return Outcome(CommandState.UNKNOWN, f"{method} was called, and no answer came: {exc}")
    return Outcome(CommandState.SUCCEEDED, f"{method} has answered {list(results)!r}")


async def read_now(writer: DeviceWriter, tag: TagName) -> Reading | str:
    """What the device holds now, or why that is not known."""
    try:
        async with asyncio.timeout(READ_S_MAX):
            reading = await writer.read(tag)
    except DeviceUnavailable as exc:
        return str(exc)
    except TimeoutError:
        return f"no answer within {READ_S_MAX:g} s"
    if not is_good(reading.quality) or reading.value is None:
        return f"it has quality {name_of(reading.quality)}"
    return reading


def resolved(before: Value | None, seen: Reading | str, holds: Holds) -> Outcome:
    """What can be said of a write of which only that it was begun is known: by what the tag held, and holds now."""
    if isinstance(seen, str):
        return Outcome(CommandState.UNKNOWN, f"a write was begun, and the tag cannot be read: {seen}")
    if holds(seen.value) and before is not None and not holds(before):
        return Outcome(CommandState.SUCCEEDED, "a write was begun, and the tag has changed to the value", seen.value)
    if holds(seen.value):
        why = "it held the value before" if before is not None else "what it held before is not known"
        return Outcome(CommandState.UNKNOWN, f"a write was begun, and the tag holds the value; but {why}", seen.value)
    return Outcome(CommandState.UNKNOWN, f"a write was begun, and the tag holds {seen.value!r}", seen.value)


def _uncertain(reason: str, before: Value | None, seen: Reading | str, holds: Holds) -> Outcome:
    found = resolved(before, seen, holds)
    return Outcome(found.state, f"{reason}; {found.detail}", found.after)


async def _read_back(
    writer: DeviceWriter, tag: TagName, value: Value, holds: Holds, within_s: float, clock: Clock
) -> Outcome:
    end_s, wait_s = clock.monotonic_s() + within_s, LOOK_FIRST_S
    while True:
        seen = await read_now(writer, tag)
        if not isinstance(seen, str) and holds(seen.value):
            return Outcome(CommandState.SUCCEEDED, "", seen.value)
        left_s = end_s - clock.monotonic_s()
        if left_s <= 0:
            break
        await asyncio.sleep(min(wait_s, left_s))
        wait_s = min(2 * wait_s, LOOK_LONGEST_S)
    if isinstance(seen, str):
        return Outcome(CommandState.UNKNOWN, f"it was written, and cannot be read back: {seen}")
    said = f"it was written, and the tag holds {seen.value!r} after {within_s:g} s"
    if others := _differing(value, seen.value):
        said = f"it was written, and differs after {within_s:g} s: {others}"
    return Outcome(CommandState.FAILED, said, seen.value)


def _differing(wanted: Value, seen: Value | None) -> str:
    """In which fields and elements a value in JSON is another than was wanted; empty for other values."""
    first, second = read_json(wanted), read_json(seen)
    if first is NOTHING or second is NOTHING:
        return ""
    found = list(islice(differences(first, second), DIFFERENCES_TOLD_MAX + 1))
    told = [f"{one.path or 'it'} is {one.texts[1]} and not {one.texts[0]}" for one in found[:DIFFERENCES_TOLD_MAX]]
    return ", ".join([*told, "and more"] if len(found) > DIFFERENCES_TOLD_MAX else told)
