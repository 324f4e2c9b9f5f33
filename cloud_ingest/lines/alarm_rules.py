"""When an alarm is raised and cleared, and what operators may do about it (ISA-18.2, section 10). Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Final, Literal

_NOTHING: Final = Decimal(0)


@dataclass(frozen=True, slots=True)
class AlarmRule:
    """The condition: a truth value that is ``when``, or a number beyond ``high`` or ``low``.

    A number has come back when it is ``deadband`` within the limit. The condition has to hold ``delay_ns`` before the
    alarm is raised.
    """

    when: bool | None = None
    high: Decimal | None = None
    low: Decimal | None = None
    deadband: Decimal = _NOTHING
    delay_ns: int = 0

    def holds(self, number: Decimal, *, held: bool) -> bool:
        """Whether the condition holds at ``number``; ``held``: whether it did at the value before."""
        if self.when is not None:
            return bool(number) is self.when
        back = self.deadband if held else _NOTHING
        return (self.high is not None and number > self.high - back) or (
            self.low is not None and number < self.low + back
        )


@dataclass(frozen=True, slots=True)
class Condition:
    """What the samples of an alarm's tag say: whether its condition holds, since when, and whether it was raised."""

    time_ns: int = 0
    holds: bool = False
    since_ns: int = 0
    is_raised: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """The alarm was raised, or its condition has gone."""

    is_raised: bool
    time_ns: int


def watch(
    rule: AlarmRule, at: Condition, samples: Iterable[tuple[int, Decimal]], now_ns: int
) -> tuple[Condition, list[Turn]]:
    """Take ``samples`` that are later than ``at``, in order, and the time until ``now_ns``.

    A sample that came late does not raise what was over long ago: those not later than ``at`` are left out.
    """
    turns: list[Turn] = []
    for time_ns, number in samples:
        if time_ns <= at.time_ns:
            continue
        at = _raised(rule, at, time_ns, turns)
        holds = rule.holds(number, held=at.holds)
        if holds != at.holds:
            if not holds and at.is_raised:
                turns.append(Turn(False, time_ns))
            at = replace(at, holds=holds, since_ns=time_ns, is_raised=at.is_raised and holds)
        at = replace(at, time_ns=time_ns)
    return _raised(rule, at, now_ns, turns), turns


def _raised(rule: AlarmRule, at: Condition, now_ns: int, turns: list[Turn]) -> Condition:
    if at.holds and not at.is_raised and now_ns >= at.since_ns + rule.delay_ns:
        turns.append(Turn(True, at.since_ns + rule.delay_ns))
        return replace(at, is_raised=True)
    return at


def raised_next_ns(rule: AlarmRule, at: Condition) -> int | None:
    """When time alone raises it."""
    return at.since_ns + rule.delay_ns if at.holds and not at.is_raised else None


class AlarmState(StrEnum):
    """The states of ISA-18.2 that an alarm which was raised can be in; shelved is told beside them."""

    UNACKNOWLEDGED = "unacknowledged"
    """Active, and nobody has taken note of it."""
    ACKNOWLEDGED = "acknowledged"
    """Active, and somebody has."""
    RETURNED = "returned"
    """Its condition has gone before anybody took note of it."""
    LATCHED = "latched"
    """Its condition has gone, somebody has taken note, and it stays until it is reset."""
    CLEARED = "cleared"


Deed = Literal["acknowledge", "reset", "return"]


def after(state: AlarmState, deed: Deed, *, latches: bool) -> AlarmState | None:
    """What ``deed`` makes of an alarm in ``state``; ``None`` when it cannot be done."""
    match deed, state:
        case "acknowledge", AlarmState.UNACKNOWLEDGED:
            return AlarmState.ACKNOWLEDGED
        case "acknowledge", AlarmState.RETURNED:
            return AlarmState.LATCHED if latches else AlarmState.CLEARED
        case "return", AlarmState.UNACKNOWLEDGED:
            return AlarmState.RETURNED
        case "return", AlarmState.ACKNOWLEDGED:
            return AlarmState.LATCHED if latches else AlarmState.CLEARED
        case "reset", AlarmState.LATCHED:
            return AlarmState.CLEARED
        case _:
            return None
