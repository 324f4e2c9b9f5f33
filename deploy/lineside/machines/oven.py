"""A conveyor oven with three zones, as a model: no I/O, no clock; the same seed and steps give the same values.

Each zone loses heat to the room and to its neighbours with a first-order lag, and has a PI controller for its heater.
Parts ride on the belt and are counted as they leave. Now and then the belt jams, or a heater trips: the zone cools
until the heater is back, and the belt stands meanwhile, so that nothing leaves half baked. Energy is counted as the
meter counts it, and never goes back.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

ZONES: Final = 3
SETPOINTS_C: Final = (160.0, 185.0, 205.0)
SETPOINT_RANGE_C: Final = (20.0, 260.0)
BELT_M_PER_MIN: Final = 1.2
BELT_FASTEST_M_PER_MIN: Final = 3.0
"""What its drive can do; what is coated needs longer in the heat."""
PART_PITCH_M: Final = 0.09
HEATER_W: Final = 6000.0
OVER_TEMPERATURE_K: Final = 15.0

_AMBIENT_C: Final = 23.0
_FULL_HEAT_RISE_K: Final = 340.0
"""How far above the room a zone would get with its heater always on."""
_ZONE_LAG_S: Final = 75.0
_COUPLING_PER_S: Final = 0.0015
_SENSOR_NOISE_K: Final = 0.06
_GAIN_PER_K: Final = 0.03
_INTEGRAL_PER_K_S: Final = 0.0012
_BELT_LAG_S: Final = 1.2
_STEP_S_MAX: Final = 0.1
_COUNTER_MODULUS: Final = 1 << 32

_JAM_EVERY_S: Final = 160.0
_TRIP_EVERY_S: Final = 220.0


@dataclass(slots=True)
class OvenCounters:
    """What the controller keeps over a power cut."""

    parts: int = 0
    energy_wh: float = 0.0


@dataclass(slots=True)
class _Zone:
    setpoint_c: float
    temperature_c: float
    duty: float
    integral: float
    tripped_s: float = 0.0


class Oven:
    """The oven. ``step`` lets time pass, ``values`` says what the controller shows."""

    def __init__(self, seed: int, counters: OvenCounters | None = None, *, start_c: float | None = None) -> None:
        """``start_c`` is the temperature of all zones; otherwise the oven is still warm, a little below its goal."""
        self.counters = counters or OvenCounters()
        self._random = random.Random(seed)
        self._zones = [self._zone(setpoint_c, start_c) for setpoint_c in SETPOINTS_C]
        self._belt = 0.0
        self._jammed_s = 0.0
        self._travelled_m = 0.0

    def setpoint_c(self, zone: int) -> float:
        """The temperature that ``zone`` (from 0) is to have."""
        return self._zones[zone].setpoint_c

    def set_setpoint(self, zone: int, setpoint_c: float) -> None:
        """Ask for another temperature; held within ``SETPOINT_RANGE_C``."""
        self._zones[zone].setpoint_c = min(max(setpoint_c, SETPOINT_RANGE_C[0]), SETPOINT_RANGE_C[1])

    def temperature_c(self, zone: int) -> float:
        """How hot ``zone`` is, without the sensor's noise."""
        return self._zones[zone].temperature_c

    def step(self, dt_s: float) -> None:
        """Let ``dt_s`` seconds pass."""
        pieces = max(1, math.ceil(dt_s / _STEP_S_MAX))
        for _ in range(pieces):
            self._step(dt_s / pieces)

    def values(self) -> dict[str, Any]:
        """What the controller shows, by tag; sensors have noise and a resolution."""
        shown: dict[str, Any] = {}
        for number, zone in enumerate(self._zones, 1):
            measured_c = zone.temperature_c + self._random.gauss(0.0, _SENSOR_NOISE_K)
            shown[f"zone{number}/temperature"] = round(measured_c, 1)
            shown[f"zone{number}/setpoint"] = zone.setpoint_c
            shown[f"zone{number}/duty"] = round(100.0 * zone.duty, 1)
            shown[f"zone{number}/heater_trip"] = zone.tripped_s > 0.0
        hot = any(zone.temperature_c > zone.setpoint_c + OVER_TEMPERATURE_K for zone in self._zones)
        shown |= {
            "belt/speed": round(self._belt, 2),
            "belt/jam": self._jammed_s > 0.0,
            "parts": self.counters.parts % _COUNTER_MODULUS,
            "energy": int(self.counters.energy_wh) % _COUNTER_MODULUS / 1000.0,
            "over_temperature": hot,
            "fault": hot or self._jammed_s > 0.0 or any(zone.tripped_s > 0.0 for zone in self._zones),
        }
        return shown

    def retained(self) -> dict[str, float]:
        """The counters, for ``restored_oven``."""
        return {"parts": self.counters.parts, "energy_wh": self.counters.energy_wh}

    def _zone(self, setpoint_c: float, start_c: float | None) -> _Zone:
        temperature_c = setpoint_c - self._random.uniform(8.0, 20.0) if start_c is None else start_c
        needed = (setpoint_c - _AMBIENT_C) / _FULL_HEAT_RISE_K
        return _Zone(setpoint_c, temperature_c, 0.0, needed if start_c is None else 0.0)

    def _step(self, dt_s: float) -> None:
        self._fail_or_recover(dt_s)
        before = [zone.temperature_c for zone in self._zones]
        for index, zone in enumerate(self._zones):
            neighbours = before[max(0, index - 1) : index] + before[index + 1 : index + 2]
            self._control(zone, dt_s)
            towards_c = _AMBIENT_C + _FULL_HEAT_RISE_K * zone.duty
            change = (towards_c - before[index]) * (1.0 - math.exp(-dt_s / _ZONE_LAG_S))
            change += sum(other - before[index] for other in neighbours) * _COUPLING_PER_S * dt_s
            zone.temperature_c += change
            self.counters.energy_wh += HEATER_W * zone.duty * dt_s / 3600.0
        stands = self._jammed_s > 0.0 or any(zone.tripped_s > 0.0 for zone in self._zones)
        target = 0.0 if stands else BELT_M_PER_MIN
        self._belt += (target - self._belt) * (1.0 - math.exp(-dt_s / _BELT_LAG_S))
        self._travelled_m += self._belt / 60.0 * dt_s
        while self._travelled_m >= PART_PITCH_M:
            self._travelled_m -= PART_PITCH_M
            self.counters.parts += 1

    def _control(self, zone: _Zone, dt_s: float) -> None:
        """PI control; the integral stands still while the heater is at a limit, so that it does not wind up."""
        if zone.tripped_s > 0.0:
            zone.duty = 0.0
            return
        error_k = zone.setpoint_c - zone.temperature_c
        wanted = _GAIN_PER_K * error_k + zone.integral
        if 0.0 < wanted < 1.0:
            zone.integral += _INTEGRAL_PER_K_S * error_k * dt_s
        zone.duty = min(max(wanted, 0.0), 1.0)

    def _fail_or_recover(self, dt_s: float) -> None:
        self._jammed_s = max(0.0, self._jammed_s - dt_s)
        for zone in self._zones:
            zone.tripped_s = max(0.0, zone.tripped_s - dt_s)
        if self._random.random() < dt_s / _JAM_EVERY_S and self._jammed_s == 0.0:
            self._jammed_s = self._random.uniform(5.0, 10.0)
        if self._random.random() < dt_s / _TRIP_EVERY_S:
            zone = self._random.choice(self._zones)
            if zone.tripped_s == 0.0:
                zone.tripped_s = self._random.uniform(8.0, 16.0)


def restored_oven(seed: int, retained: Mapping[str, Any]) -> Oven:
    """An oven whose counters go on where ``Oven.retained`` left them; at zero where they make no sense."""
    try:
        counters = OvenCounters(int(retained["parts"]), float(retained["energy_wh"]))
    except (KeyError, TypeError, ValueError):
        counters = OvenCounters()
    if counters.parts < 0 or not 0.0 <= counters.energy_wh < math.inf:
        counters = OvenCounters()
    return Oven(seed, counters)
