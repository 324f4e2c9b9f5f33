"""A servo press that stamps parts, as a model: no I/O, no clock; the same seed and steps give the same values.

The ram goes down and up once a stroke. Where it meets the part, the force rises to a peak that differs a little from
part to part; a part whose peak leaves the window is a reject. Counters count when the ram is back at the top, so that
good and rejected parts always add up to the cycles.

``State`` is numbered as in PackML (ANSI/ISA-TR88.00.02, machine states), and follows its state model; of the states
that a machine passes through on its way to another, only those that take this press some time are shown:

    1 Clearing    after a fault: the ram is drawn back to the top
    2 Stopped     the door is open: the tool is being changed, or a bad part taken out
    4 Idle        ready, about to start
    5 Suspended   waiting for parts
    6 Execute     pressing
    9 Aborted     a fault has stopped the ram where it was; ``Fault.Text`` says which
    11 Held       an operator has opened the door between two strokes
    15 Resetting  the door is closed again, the drive is being made ready
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Final

NAMESPACE: Final = "http://lineside.example/press"
SETPOINT: Final = "Ram.SpeedSetpoint"
"""The one value that a client may write."""
STROKE_MM: Final = 250.0
CONTACT_MM: Final = 45.0
"""Height of the ram above its lowest point at which it meets the part."""
FORCE_WINDOW_KN: Final = (174.0, 190.0)
SPEED_RANGE: Final = (5.0, 60.0)
"""Strokes a minute that the set-point may ask for."""
PARTS_BETWEEN_SETUPS: Final = 240

_PEAK_KN: Final = 182.0
_PEAK_SPREAD_KN: Final = 1.8
_OVERLOAD_KN: Final = 243.0
_AMBIENT_C: Final = 24.0
_OIL_RISE_K: Final = 23.0
_OIL_LAG_S: Final = 200.0
_SPEED_LAG_S: Final = 0.5
_CLEARING_S: Final = 2.5
_RESETTING_S: Final = 1.6
_IDLE_S: Final = 1.5
_STEP_S_MAX: Final = 0.05
_COUNTER_MODULUS: Final = 1 << 32

_OVERLOAD: Final = "Overload: ram force above 230 kN"
_FAULTS: Final = (
    _OVERLOAD,
    "Light curtain interrupted in stroke",
    "Misfeed: part not in position",
    "Lubrication pressure too low",
)
_FAULT_PER_CYCLE: Final = 0.018
_CYCLES_WITHOUT_FAULT: Final = 6
"""After the start; whoever watches is to see the press run before it fails."""
_STARVED_PER_CYCLE: Final = 0.035
_DOOR_PER_CYCLE: Final = 0.012
_OUTLIER_PER_CYCLE: Final = 0.04


class PressState(IntEnum):
    """States by their PackML numbers."""

    CLEARING = 1
    STOPPED = 2
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    ABORTED = 9
    HELD = 11
    RESETTING = 15


TRANSITIONS: Final[Mapping[PressState, frozenset[PressState]]] = {
    PressState.IDLE: frozenset({PressState.EXECUTE}),
    PressState.EXECUTE: frozenset({PressState.SUSPENDED, PressState.HELD, PressState.STOPPED, PressState.ABORTED}),
    PressState.SUSPENDED: frozenset({PressState.EXECUTE}),
    PressState.HELD: frozenset({PressState.EXECUTE}),
    PressState.ABORTED: frozenset({PressState.CLEARING}),
    PressState.CLEARING: frozenset({PressState.STOPPED}),
    PressState.STOPPED: frozenset({PressState.RESETTING}),
    PressState.RESETTING: frozenset({PressState.IDLE}),
}
"""Which state can follow which."""


@dataclass(slots=True)
class PressCounters:
    """What the controller keeps over a power cut."""

    cycles: int = 0
    good: int = 0
    reject: int = 0


class Press:
    """The press. ``step`` lets time pass, ``values`` says what the controller shows."""

    def __init__(self, seed: int, counters: PressCounters | None = None) -> None:
        self.counters = counters or PressCounters()
        self._random = random.Random(seed)
        self._speed_setpoint = 25.0
        self._state = PressState.IDLE
        self._left_s = _IDLE_S
        self._phase = 0.0
        self._speed = 0.0
        self._oil_c = 36.0
        self._peak_kn = _PEAK_KN
        self._last_peak_kn = 0.0
        self._fault = ""
        self._next_fault = ""
        self._fault_at: float | None = None
        self._cycles_before = self.counters.cycles
        self._parts_left = PARTS_BETWEEN_SETUPS
        self._begin_stroke()

    @property
    def state(self) -> PressState:
        """What the press is doing."""
        return self._state

    @property
    def speed_setpoint(self) -> float:
        """Strokes a minute that are asked for."""
        return self._speed_setpoint

    @speed_setpoint.setter
    def speed_setpoint(self, strokes_per_min: float) -> None:
        self._speed_setpoint = min(max(strokes_per_min, SPEED_RANGE[0]), SPEED_RANGE[1])

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` seconds pass."""
        pieces = max(1, math.ceil(dt_s / _STEP_S_MAX))
        for _ in range(pieces):
            self._step(dt_s / pieces)

    def values(self) -> dict[str, Any]:
        """What the controller shows, by node; sensors have noise and a resolution."""
        noise = self._random.gauss
        return {
            "State": int(self._state),
            "Cycles": self.counters.cycles % _COUNTER_MODULUS,
            "Parts.Good": self.counters.good % _COUNTER_MODULUS,
            "Parts.Reject": self.counters.reject % _COUNTER_MODULUS,
            "Ram.Force": round(self._force_kn() + noise(0.0, 0.12), 2) + 0.0,  # no -0.0
            "Ram.PeakForce": round(self._last_peak_kn, 2),
            "Ram.Position": round(self._position_mm(), 1),
            "Ram.Speed": round(self._speed, 2) if self._speed >= 0.05 else 0.0,
            SETPOINT: self._speed_setpoint,
            "Oil.Temperature": round(self._oil_c + noise(0.0, 0.015), 1),
            "Door.Closed": self._state not in (PressState.STOPPED, PressState.HELD),
            "Fault.Text": self._fault,
        }

    def retained(self) -> dict[str, int]:
        """The counters, for ``restored_press``."""
        return {"cycles": self.counters.cycles, "good": self.counters.good, "reject": self.counters.reject}

    def _step(self, dt_s: float) -> None:
        runs = self._state is PressState.EXECUTE
        target = self._speed_setpoint if runs else 0.0
        self._speed += (target - self._speed) * (1.0 - math.exp(-dt_s / _SPEED_LAG_S))
        oil_target_c = _AMBIENT_C + _OIL_RISE_K * self._speed / 25.0
        self._oil_c += (oil_target_c - self._oil_c) * (1.0 - math.exp(-dt_s / _OIL_LAG_S))
        if runs:
            self._move(dt_s)
            return
        if self._state is PressState.CLEARING:
            self._phase = max(0.0, self._phase - dt_s / _CLEARING_S)
        self._left_s -= dt_s
        if self._left_s <= 0.0:
            self._next_state()

    def _move(self, dt_s: float) -> None:
        phase = self._phase + self._speed / 60.0 * dt_s
        if self._fault_at is not None and phase >= self._fault_at:
            self._phase, self._fault_at = self._fault_at, None
            self._go(PressState.ABORTED, self._random.uniform(5.0, 11.0))
            return
        if phase >= 1.0:
            phase -= 1.0
            self._finish_part()
        self._phase = phase

    def _finish_part(self) -> None:
        counters = self.counters
        counters.cycles += 1
        self._last_peak_kn = self._peak_kn
        if FORCE_WINDOW_KN[0] <= self._peak_kn <= FORCE_WINDOW_KN[1]:
            counters.good += 1
        else:
            counters.reject += 1
        self._parts_left -= 1
        self._begin_stroke()
        chance = self._random.random()
        if self._parts_left <= 0:
            self._parts_left = PARTS_BETWEEN_SETUPS
            self._at_top(PressState.STOPPED, self._random.uniform(15.0, 25.0))
        elif chance < _STARVED_PER_CYCLE:
            self._at_top(PressState.SUSPENDED, self._random.uniform(2.0, 7.0))
        elif chance < _STARVED_PER_CYCLE + _DOOR_PER_CYCLE:
            self._at_top(PressState.HELD, self._random.uniform(3.0, 6.0))

    def _begin_stroke(self) -> None:
        """Draw what the next part will be like, and whether something will go wrong with it."""
        self._peak_kn = self._random.gauss(_PEAK_KN, _PEAK_SPREAD_KN)
        if self._random.random() < _OUTLIER_PER_CYCLE:
            self._peak_kn += self._random.choice((-1.0, 1.0)) * self._random.uniform(9.0, 16.0)
        self._fault_at = None
        is_new = self.counters.cycles - self._cycles_before < _CYCLES_WITHOUT_FAULT
        if self._random.random() < _FAULT_PER_CYCLE and not is_new:
            self._next_fault = self._random.choice(_FAULTS)
            self._fault_at = self._random.uniform(0.1, 0.4)
            if self._next_fault == _OVERLOAD:
                self._fault_at, self._peak_kn = 0.495, _OVERLOAD_KN

    def _at_top(self, state: PressState, duration_s: float) -> None:
        self._phase = 0.0
        self._go(state, duration_s)

    def _go(self, state: PressState, duration_s: float) -> None:
        self._state, self._left_s = state, duration_s
        self._fault = self._next_fault if state is PressState.ABORTED else ""

    def _next_state(self) -> None:
        match self._state:
            case PressState.ABORTED:
                self._go(PressState.CLEARING, _CLEARING_S)
            case PressState.CLEARING:
                self._begin_stroke()  # with another part: the one in the tool is taken out by hand
                self._at_top(PressState.STOPPED, self._random.uniform(2.0, 4.0))
            case PressState.STOPPED:
                self._go(PressState.RESETTING, _RESETTING_S)
            case PressState.RESETTING:
                self._go(PressState.IDLE, _IDLE_S)
            case PressState.IDLE | PressState.SUSPENDED | PressState.HELD | PressState.EXECUTE:
                self._at_top(PressState.EXECUTE, 0.0)

    def _position_mm(self) -> float:
        return STROKE_MM / 2.0 * (1.0 + math.cos(2.0 * math.pi * self._phase))

    def _force_kn(self) -> float:
        """The force at this place of the stroke: elastic, then plastic on the way down; released on the way up."""
        if self._state is PressState.CLEARING:
            return 0.0
        if self._phase > 0.5:
            return self._peak_kn * max(0.0, 1.0 - (self._phase - 0.5) / 0.025)
        depth = (CONTACT_MM - self._position_mm()) / CONTACT_MM
        if depth <= 0.0:
            return 0.0
        return self._peak_kn * (0.35 * min(1.0, depth * 6.0) + 0.65 * math.pow(depth, 1.6))


def restored_press(seed: int, retained: Mapping[str, Any]) -> Press:
    """A press whose counters go on where ``Press.retained`` left them; at zero where they make no sense."""
    try:
        counters = PressCounters(int(retained["cycles"]), int(retained["good"]), int(retained["reject"]))
    except (KeyError, TypeError, ValueError):
        counters = PressCounters()
    if min(counters.good, counters.reject) < 0 or counters.good + counters.reject != counters.cycles:
        counters = PressCounters()
    return Press(seed, counters)
