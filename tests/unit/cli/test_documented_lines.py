"""Parts of screens in how-tos are what the screens show at 80 columns: those that no plant in a test comes to."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console, Group, RenderableType

from edge_agent.cli import command_screens, configuration_lines
from edge_agent.cli.device_screens import DevicesTable, device_lines
from tests.unit.cli.test_cli_status_screen import device

HOW_TO = Path(__file__).parents[3] / "docs" / "how-to"


def blocks(page: str, begins: str) -> list[list[str]]:
    """The blocks of a page that begin so, by their lines."""
    found: list[list[str]] = []
    is_inside = False
    for line in (HOW_TO / page).read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            is_inside = not is_inside
            if is_inside:
                found.append([])
        elif is_inside:
            found[-1].append(line)
    return [block for block in found if block and block[0].startswith(begins)]


def shown(*parts: RenderableType) -> list[str]:
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(Group(*parts))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def test_how_the_configuration_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = (
        "devices/press.yaml:6:42: 'at' of tag 'force': 'holdin 0' is not a Modbus address. Write a table (coil, "
        "discrete, input, holding) and a number from 0, such as holding 100, or holding 100.5 for one bit."
    )
    monkeypatch.setattr(configuration_lines, "clock_time", str)
    usual: dict[str, Any] = {"files": [], "restart": [], "reasons": []}
    stands = [
        usual | {"state": "in_sync", "since_ns": "09:41:40.001"},
        usual
        | {"state": "out_of_sync", "since_ns": "09:41:44.077", "files": ["devices/kiln.yaml", "devices/oven.yaml"]},
        usual | {"state": "out_of_sync", "since_ns": "09:41:55.362", "restart": ["outbox.size_max"]},
        usual | {"state": "failed", "since_ns": "09:41:51.754", "reasons": [reason]},
    ]
    documented = blocks("reload.md", "config   ")
    assert len(documented) == len(stands)
    for block, one in zip(documented, stands, strict=True):
        real = shown(*configuration_lines.configuration_lines(one))
        if block[-1].endswith(" …"):  # the page cuts the reason off
            block[-1] = block[-1].removesuffix(" …")
            real = real[: len(block)]
            real[-1] = real[-1][: len(block[-1])]
        assert block == real


def test_the_list_of_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    def at(hour: int, minute: int, second: float) -> float:
        when = datetime.now(UTC).replace(hour=hour, minute=minute, second=0, microsecond=0)
        return when.timestamp() * 1000 + second * 1000

    (block,) = blocks("commands-for-operators.md", "time (UTC)")
    monkeypatch.setattr(
        command_screens, "clock_time", lambda ns: f"{datetime.fromtimestamp(ns / 1e9, UTC):%H:%M:%S.%f}"[:12]
    )
    usual = {"issuer": "anna", "code": ""}
    force = {"do": "write", "value": 25.5}
    setpoint = {"do": "write", "value": 200}
    commands = [
        usual
        | {"received_ms": at(22, 45, 11.7851), "id": "01M8J5AYYWFJ2P5KA0PPTC2VCE", "target": "press/force"}
        | {"action": force, "state": "received"},
        usual
        | {"received_ms": at(22, 42, 25.6141), "id": "01M8J55WN59RD2WYG14Y0AMK3E", "target": "oven/setpoint"}
        | {"action": setpoint, "state": "refused", "code": "locked"},
    ]
    assert block == shown(command_screens.commands_table(commands))


def test_a_server_that_is_not_accepted_yet() -> None:
    (block,) = blocks("opcua-security.md", "device  ")
    reason = (
        "the server's certificate 985288E4C6E6AF5DE00F666977D1768715F09613 (CN=Lineside tests@vm,O=Sterfive,L=Orleans,"
        "C=FR) is not accepted yet. Compare the thumbprint with the server's own, then run: edge-agent trust accept "
        "985288E4C6E6AF5DE00F666977D1768715F09613"
    )
    press = device(
        "press", "opcua", endpoint="opc.tcp://press.plant-7.example:4840", online=False, reason=reason, tags=1,
        samples_per_s=0.0, last_sample_s=None,
    )  # fmt: skip
    assert block == shown(DevicesTable([press]), *device_lines(press))
