"""The drivers that device files can name: those that come with the agent, and those of packages of others.

A package offers a driver by an entry point of the group ``lineside.drivers``: its name is what device files say, and it
leads to a ``DriverType``. What is wrong with such a package is kept as a sentence, which ``edge-agent drivers`` shows,
and which every device that names the driver has as its problem; no other device is affected.
"""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final, NoReturn

from connectors.configuration.setting_names import listed
from connectors.model.errors import DeviceUnavailable
from connectors.observability.events import emit
from connectors.observability.version import lineside_version
from connectors.ports.clock import Clock
from connectors.ports.device import Acquisition, DeviceDriver, Reading, Value
from connectors.ports.settings import DeviceSettings, DriverType
from edge_agent.observability.agent_events import Fault

GROUP: Final = "lineside.drivers"
RETRY_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Offer:
    """One driver of one package. ``problem``: why it is not used, in a sentence; empty when it is."""

    name: str
    package: str
    problem: str = ""


class KnownDrivers(Mapping[str, DriverType]):
    """The drivers that can be used, by name. ``offers`` are all, ``problems`` those names that cannot be used."""

    def __init__(self, usable: Mapping[str, DriverType], offers: Sequence[Offer]) -> None:
        self._usable = dict(usable)
        self.offers = tuple(offers)
        self.problems = {offer.name: offer.problem for offer in offers if offer.name not in usable}

    def __getitem__(self, name: str) -> DriverType:
        return self._usable[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._usable)

    def __len__(self) -> int:
        return len(self._usable)


def with_installed(built_in: Mapping[str, DriverType], found: Iterable[EntryPoint] | None = None) -> KnownDrivers:
    """``built_in``, and the drivers of the packages that are installed beside it. Raises nothing."""
    usable = dict(built_in)
    offers = [Offer(name, f"lineside {lineside_version()}") for name in sorted(built_in)]
    by_name: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP) if found is None else found:
        by_name.setdefault(point.name, []).append(point)
    for name in sorted(by_name):
        points = by_name[name]
        packages = sorted({_package(point) for point in points})
        if name in built_in:
            problem = (
                f"a driver called {name!r} comes with Lineside, and is used; rename that of {listed(packages, 'and')}"
            )
        elif len(points) > 1:
            problem = f"{listed(packages, 'and')} both have a driver called {name!r}: remove one of them"
        else:
            driver = _loaded(points[0])
            problem = driver if isinstance(driver, str) else ""
            if isinstance(driver, DriverType):
                usable[name] = replace(driver, create=_kept_apart(name, packages[0], driver.create))
        offers += [Offer(name, package, problem) for package in packages]
    return KnownDrivers(usable, offers)


def _package(point: EntryPoint) -> str:
    return point.value if point.dist is None else f"{point.dist.name} {point.dist.version}"


def _loaded(point: EntryPoint) -> DriverType | str:
    """The driver, or why it cannot be used."""
    said = f"the driver {point.name!r} of {_package(point)} cannot be used"
    try:
        found = point.load()
    except Exception as exc:  # code of others: whatever it does, the drivers beside it go on
        return f"{said}: {point.value} cannot be loaded: {type(exc).__name__}: {exc}"
    if not isinstance(found, DriverType):
        return f"{said}: {point.value} is a {type(found).__name__}, and no DriverType"
    model: object = found.settings
    if not (isinstance(model, type) and issubclass(model, DeviceSettings)):
        return f"{said}: its settings are not derived from DeviceSettings"
    return found


def _kept_apart(
    name: str, package: str, create: Callable[[Any, Clock], DeviceDriver]
) -> Callable[[Any, Clock], DeviceDriver]:
    """A driver that cannot be made is one that never connects: the devices beside it are read."""

    def make(settings: DeviceSettings, clock: Clock) -> DeviceDriver:
        try:
            return create(settings, clock)
        except Exception as exc:  # code of others
            reason = f"{settings.name}: the driver {name!r} of {package} cannot be made: {type(exc).__name__}: {exc}"
            emit(Fault(f"device {settings.name}", reason, traceback.format_exc()))
            return _NeverConnects(reason)

    return make


class _NeverConnects:
    """A driver in place of one that could not be made."""

    lag_s_max = 0.0

    def __init__(self, reason: str) -> None:
        self._reason = reason

    async def acquire(self, _acquisition: Acquisition) -> None:
        """See ``DeviceDriver``."""
        await asyncio.sleep(0)
        raise DeviceUnavailable(self._reason, RETRY_S)

    async def write(self, _tag: int, _value: Value) -> None:
        """See ``DeviceDriver``."""
        self._refuse()

    async def read(self, _tag: int) -> Reading:
        """See ``DeviceDriver``."""
        self._refuse()

    async def call(self, _method: str, _arguments: Sequence[Value]) -> tuple[Value, ...]:
        """See ``DeviceDriver``."""
        self._refuse()

    def counts(self) -> Mapping[str, int]:
        """See ``DeviceDriver``."""
        return {}

    def _refuse(self) -> NoReturn:
        raise DeviceUnavailable(self._reason)
