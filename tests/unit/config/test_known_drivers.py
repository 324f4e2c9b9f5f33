"""Drivers of packages of others: used when they are whole and alone, otherwise a sentence that names the package."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from importlib.metadata import DistributionFinder, EntryPoint, distributions
from pathlib import Path
from typing import Any

import pytest

from connectors.model.errors import ConfigInvalid, DeviceUnavailable
from connectors.ports.clock import SystemClock
from edge_agent.config.known_drivers import KnownDrivers, with_installed
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers

GOOD = """
from connectors.modbus.settings import ModbusDevice
from connectors.ports.settings import DriverType

def _create(settings, clock):
    raise RuntimeError("no licence key")

DRIVER = DriverType(ModbusDevice, _create)
NOT_ONE = 7
NO_SETTINGS = DriverType(int, _create)
"""


class Packages:
    """Packages in a folder of their own, as an installer leaves them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def add(self, package: str, entry: str, code: str = GOOD, version: str = "1.0") -> None:
        module = package.replace("-", "_")
        (self.folder / f"{module}.py").write_text(code)
        info = self.folder / f"{module}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        (info / "entry_points.txt").write_text(f"[lineside.drivers]\n{entry}\n")

    def points(self) -> list[EntryPoint]:
        found = distributions(context=DistributionFinder.Context(path=[str(self.folder)]))
        return [point for one in found for point in one.entry_points]

    def drivers(self) -> KnownDrivers:
        return with_installed(built_in_drivers(), self.points())


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Packages]:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    before = set(sys.modules)
    yield Packages(folder)
    for name in set(sys.modules) - before:
        del sys.modules[name]


def said(folder: Path, drivers: KnownDrivers, name: str) -> list[str]:
    """What a file with a device of the driver ``name``, and one of Modbus, is told."""
    file = folder / "agent.yaml"
    tag = "tags: [{name: a, at: coil 1}]"
    file.write_text(
        "agent: {group: plant, name: line}\nuplink: {brokers: ['mqtt://h'], insecure: true}\ndevices:\n"
        f"  - {{name: oven, driver: modbus, endpoint: 'tcp://h', {tag}}}\n"
        f"  - {{name: other, driver: {name}, endpoint: 'tcp://h', {tag}}}\n"
    )
    try:
        load_config(file, drivers)
    except ConfigInvalid as exc:
        return [str(problem).removeprefix(f"{folder}/") for problem in exc.problems]
    return []


def test_without_packages_there_are_the_drivers_that_come_with_the_agent() -> None:
    drivers = with_installed(built_in_drivers(), [])
    assert (sorted(drivers), drivers.problems) == (["modbus", "opcua"], {})
    assert [offer.package.split()[0] for offer in drivers.offers] == ["lineside", "lineside"]


def test_a_driver_that_is_not_installed_is_missing_and_the_message_says_how_it_comes(tmp_path: Path) -> None:
    drivers = with_installed(built_in_drivers(), [])
    assert said(tmp_path, drivers, "s7comm") == [
        "agent.yaml:5:27: there is no driver 's7comm' for device 'other'. It can be 'modbus' or 'opcua'; any other "
        "has to be installed first, as a package."
    ]


@pytest.mark.parametrize(
    ("value", "code", "why"),
    [
        ("acme_plc:DRIVER", "import no_such_library", "ModuleNotFoundError: No module named 'no_such_library'"),
        ("acme_plc:DRIVER", "1 / 0", "ZeroDivisionError: division by zero"),
        ("acme_plc:NONE", GOOD, "AttributeError: module 'acme_plc' has no attribute 'NONE'"),
        ("acme_plc:NOT_ONE", GOOD, "acme_plc:NOT_ONE is a int, and no DriverType"),
        ("acme_plc:NO_SETTINGS", GOOD, "its settings are not derived from DeviceSettings"),
    ],
)
def test_a_broken_driver_is_a_problem_of_the_devices_that_name_it(
    tmp_path: Path, packages: Packages, value: str, code: str, why: str
) -> None:
    packages.add("acme-plc", f"plc = {value}", code)
    drivers = packages.drivers()
    assert sorted(drivers) == ["modbus", "opcua"]
    (problem,) = said(tmp_path, drivers, "plc")
    assert problem.startswith("agent.yaml:5:27: device 'other': the driver 'plc' of acme-plc 1.0 cannot be used: "), (
        problem
    )
    assert problem.endswith(f"{why}. See 'edge-agent drivers'.")
    assert said(tmp_path, drivers, "opcua") != said(tmp_path, drivers, "plc")


def test_two_packages_with_one_name_are_a_problem_that_names_both(tmp_path: Path, packages: Packages) -> None:
    packages.add("acme-plc", "plc = acme_plc:DRIVER")
    packages.add("other-plc", "plc = other_plc:DRIVER", version="2.1")
    drivers = packages.drivers()
    assert "plc" not in drivers
    assert said(tmp_path, drivers, "plc") == [
        "agent.yaml:5:27: device 'other': acme-plc 1.0 and other-plc 2.1 both have a driver called 'plc': remove one "
        "of them. See 'edge-agent drivers'."
    ]


def test_no_package_takes_the_place_of_a_driver_that_comes_with_the_agent(packages: Packages) -> None:
    packages.add("acme-modbus", "modbus = acme_modbus:DRIVER")
    drivers, own = packages.drivers(), built_in_drivers()
    assert drivers["modbus"].settings is own["modbus"].settings
    (offer,) = [offer for offer in drivers.offers if offer.package == "acme-modbus 1.0"]
    assert offer.problem == "a driver called 'modbus' comes with Lineside, and is used; rename that of acme-modbus 1.0"
    assert drivers.problems == {}


def test_a_driver_that_cannot_be_made_is_a_device_that_is_away_with_the_reason(packages: Packages) -> None:
    packages.add("acme-plc", "plc = acme_plc:DRIVER")
    kind = packages.drivers()["plc"]
    tags = [{"name": "a", "at": "coil 1"}]
    entry: dict[str, Any] = {"name": "other", "driver": "modbus", "endpoint": "tcp://h", "tags": tags}
    driver = kind.create(kind.settings.model_validate(entry), SystemClock())
    why = "other: the driver 'plc' of acme-plc 1.0 cannot be made: RuntimeError: no licence key"
    with pytest.raises(DeviceUnavailable) as away:
        asyncio.run(driver.acquire(None))  # type: ignore[arg-type]
    assert (away.value.reason, away.value.retry_after_s) == (why, 3600.0)
    for work in (driver.read(0), driver.write(0, 1.0), driver.call("m", ())):
        with pytest.raises(DeviceUnavailable, match="no licence key"):
            asyncio.run(work)
