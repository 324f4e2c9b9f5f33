"""``edge-agent simulate``: the devices of a device file without the machines: for trying a file, an alarm, a screen."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit

import typer

from connectors.configuration.saying import say
from edge_agent.cli.app import DEFAULT_CONFIG, EXIT_PROBLEM, ConfigOption, JsonOption, fail, print_problems
from edge_agent.cli.json_output import print_json

if TYPE_CHECKING:
    from connectors.ports.settings import DeviceSettings
    from connectors.ports.simulated_device import SimulatedDevice

STEP_S: Final = 0.5
LEFT_OUT_SHOWN_MAX: Final = 5


def simulate(
    devices: Annotated[list[str] | None, typer.Argument(metavar="[DEVICE…]", help="Only these; otherwise all")] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=1, max=65_000, help="Of the first, others follow; else the file's"),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Play devices of a device file on 127.0.0.1, until Ctrl-C: OPC UA without security, Modbus by TCP.

    Numbers move between 0 and 100 (before scale and offset), conditions turn, texts count; what is writable keeps what
    is written. To try it, copy the device file and name the endpoints that this prints. Not for a real line.
    """
    logging.disable(logging.WARNING)  # the servers' own words on the security that they have not
    chosen = _chosen(config, devices or [])
    asyncio.run(_play(list(zip(chosen, _ports(chosen, port), strict=True)), as_json=as_json))


def _chosen(config: Path, names: list[str]) -> list[DeviceSettings]:
    from connectors.model.errors import ConfigInvalid
    from edge_agent.config.load import load_config
    from edge_agent.drivers import known_drivers

    try:
        known = {
            device.name: device for device in load_config(config, known_drivers(), unseen=lambda _name: None).devices
        }
    except ConfigInvalid as exc:
        print_problems(exc)
        raise typer.Exit(EXIT_PROBLEM) from exc
    unknown = [name for name in names if name not in known]
    if unknown or not known:
        fail(f"no device {', '.join(unknown) or 'at all'} in {config}; there are {', '.join(known) or 'none'}", 2)
    return [known[name] for name in names or known]


def _ports(devices: list[DeviceSettings], first: int | None) -> list[int]:
    if first is not None:
        return list(range(first, first + len(devices)))
    ports = [urlsplit(str(getattr(device, "endpoint", ""))).port or 0 for device in devices]
    if 0 in ports or len(set(ports)) < len(ports):
        fail("the endpoints have no port each of its own; name the first one with --port", 2)
    return ports


async def _play(devices: list[tuple[DeviceSettings, int]], *, as_json: bool) -> None:
    from edge_agent.drivers import simulated

    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, end.set)
    async with contextlib.AsyncExitStack() as stack:
        played: list[SimulatedDevice] = []
        for settings, port in devices:
            try:
                played.append(await stack.enter_async_context(simulated(settings, port)))
            except OSError as exc:
                fail(f"{settings.name}: port {port} cannot be used: {exc.strerror or exc}; try --port", EXIT_PROBLEM)
            except NotImplementedError as exc:
                fail(f"{settings.name}: {exc}", EXIT_PROBLEM)
        rows = [_row(settings, one) for (settings, _), one in zip(devices, played, strict=True)]
        if as_json:
            print_json(rows)
        else:
            for row in rows:
                _show(row)
        begun_s = time.monotonic()
        while not end.is_set():
            for one in played:
                await one.step(time.monotonic() - begun_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STEP_S):
                    await end.wait()


def _row(settings: DeviceSettings, played: SimulatedDevice) -> dict[str, Any]:
    count = len(settings.tags) - len(played.left_out)
    return {"device": settings.name, "endpoint": played.endpoint, "tags": count, "left_out": dict(played.left_out)}


def _show(row: dict[str, Any]) -> None:
    from connectors.configuration.setting_names import counted

    say(f"{row['device']}: {row['endpoint']}, {counted(row['tags'], 'tag')}", indent=2)
    for name, why in list(row["left_out"].items())[:LEFT_OUT_SHOWN_MAX]:
        say(f"  left out: {name}: {why}", indent=4)
    if len(row["left_out"]) > LEFT_OUT_SHOWN_MAX:
        say(f"  left out: {len(row['left_out']) - LEFT_OUT_SHOWN_MAX} more; --json has all of them", indent=4)
