"""``edge-agent scan`` on units of libmodbus, over TCP and on a serial line: what answers, and what can be read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from lineside.servers.child_process import free_port
from typer import Typer
from typer.testing import CliRunner

from connectors.modbus.settings import ModbusDevice
from connectors.ports.unit_scan import ScanLimits
from edge_agent.cli.scan import scan
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers, scan_modbus
from tests.contract.modbus_serial_line import converter, serial_line
from tests.contract.on_a_terminal import shown_on_terminal
from tests.patience import WAIT_S_MAX
from tests.servers.modbus import ModbusRtuUnit, ModbusServer

AGENT = "agent: {group: a, name: b}\nuplink: {brokers: [mqtts://b]}\ninclude: [found.yaml]\n"
QUICK = ["--timeout", "0.1", "--addresses", "0-999"]


def run(*words: str, code: int = 0) -> str:
    app = Typer()
    app.command()(scan)
    said = CliRunner().invoke(app, list(words), catch_exceptions=False)
    assert said.exit_code == code, said.output
    return said.output


@pytest.fixture
def gateway(modbus_unit: ModbusServer) -> ModbusServer:
    """Units 1 and 3, with holding 0 to 9 and 100 to 339, input 5, and no bits."""
    modbus_unit.command("units 1 3")
    modbus_unit.command("forbid 1 2")
    for table, first, last in [("holding", 10, 99), ("holding", 340, 65535), ("input", 0, 4), ("input", 6, 65535)]:
        modbus_unit.command(f"refuse {table} {first} {last} 2")
    modbus_unit.set("holding", 0, 17, 0, 230)
    modbus_unit.set("input", 5, 42)
    return modbus_unit


def place(unit: ModbusServer) -> str:
    return unit.endpoint.replace("tcp://", "modbus://")


def test_a_terminal_shows_the_units_and_what_can_be_read(gateway: ModbusServer) -> None:
    shown = shown_on_terminal(80, "scan", place(gateway), "--units", "1-4", "--step", "5", *QUICK)
    lines = [line.rstrip() for line in shown.split("\r")[-1].splitlines()]
    assert lines == [
        "unit  table    from   to  first values",
        "   1  holding     0    9  17 0 230 0 0 0 0 0",
        "   1  holding   100  339  0 0 0 0 0 0 0 0",
        "   1  input       5    5  42",
        "   3  holding     0    9  17 0 230 0 0 0 0 0",
        "   3  holding   100  339  0 0 0 0 0 0 0 0",
        "   3  input       5    5  42",
    ], shown


def test_programs_get_json(gateway: ModbusServer) -> None:
    found = json.loads(run(place(gateway), "--json", "--units", "3,7", "--tables", "holding", *QUICK))
    assert found["ignores_unit_ids"] is False
    (unit,) = found["units"]
    assert (unit["unit_id"], unit["max_block"], unit["remarks"]) == (3, None, [])
    assert unit["ranges"][1] == {"table": "holding", "first": 100, "last": 339, "values": [0] * 8}


def test_a_device_file_is_written_that_the_agent_takes(gateway: ModbusServer, tmp_path: Path) -> None:
    path = tmp_path / "found.yaml"
    said = run(place(gateway), "--units", "1-3", "--step", "5", "--yaml", str(path), *QUICK)
    assert " ".join(said.split()) == (
        f"{path} is written; take out what is not needed, name it under 'include' of the agent's file "
        f"(include: [{path}]), then: edge-agent check"
    )
    (tmp_path / "agent.yaml").write_text(AGENT)
    first, second = load_config(tmp_path / "agent.yaml", built_in_drivers()).devices
    assert isinstance(first, ModbusDevice)
    assert isinstance(second, ModbusDevice)
    assert (first.name, first.endpoint, first.unit_id, second.unit_id) == ("unit-1", gateway.endpoint, 1, 3)
    assert [tag.at for tag in first.tags][:11] == [*(f"holding {at}" for at in range(10)), "holding 100"]
    assert first.tags[-1].name == "input/5"
    assert "      # holding 200 to 339 can be read too\n" in path.read_text()
    assert "exists already" in run(place(gateway), "--yaml", str(path), code=1)


def test_a_unit_that_gives_no_answer_for_what_it_has_not_costs_little_and_says_so(gateway: ModbusServer) -> None:
    gateway.command("refuse clear")
    gateway.command("refuse holding 20 65535 0")
    found = json.loads(run(place(gateway), "--json", "--units", "1", "--tables", "holding", *QUICK))
    (unit,) = found["units"]
    assert [(each["first"], each["last"]) for each in unit["ranges"]] == [(0, 19)]
    assert "what follows was not looked at: the unit gives no answer" in unit["remarks"][0]


def test_ids_that_nobody_has_cost_a_gateway_no_connection_each(modbus_unit: ModbusServer) -> None:
    modbus_unit.command(f"lost {' '.join(str(unit) for unit in range(1, 248) if unit not in (20, 30))}")
    options = ["--units", "1-40", "--addresses", "0-9", "--timeout", "0.05"]
    found = json.loads(run("modbus://" + modbus_unit.endpoint.removeprefix("tcp://"), *options, "--json"))
    assert [unit["unit_id"] for unit in found["units"]] == [20, 30]
    assert modbus_unit.connections()[1] == 1


def test_a_single_device_that_looks_at_no_id_is_looked_into_once(modbus_unit: ModbusServer) -> None:
    said = run(place(modbus_unit), "--units", "1-5", "--tables", "coil", *QUICK)
    assert "every unit id was answered: this is one device that does not look at it" in said
    assert len([line for line in said.splitlines() if " coil " in line]) == 1


def test_nothing_is_written_to_any_unit(gateway: ModbusServer) -> None:
    run(place(gateway), "--units", "1", *QUICK)
    assert {function for _, function, _, _ in gateway.requests()} <= {1, 2, 3, 4}


@pytest.mark.parametrize("wired", [serial_line, converter], ids=["serial port", "converter"])
async def test_units_on_a_serial_line_are_found(wired: type) -> None:
    async with wired() as line:
        with ModbusRtuUnit(line.unit_port, 3) as unit:
            unit.command("set 0 7")
            serial = {"serial": {"parity": "none"}} if line.endpoint.startswith("serial") else {}
            limits = ScanLimits((2, 3), tables=("holding",), last=199)
            heard: list[str] = []
            found = await asyncio.wait_for(
                scan_modbus({"endpoint": line.endpoint, **serial}, limits, heard.append, 0.1, 0.0), WAIT_S_MAX
            )
    (one,) = found.units
    assert (one.unit_id, found.ignores_ids) == (3, False)
    assert [(each.first, each.last, each.values[0]) for each in one.ranges] == [(0, 199, 7)]
    assert heard[0] == "unit 2"


def test_where_nothing_is_there_it_says_what_to_check(modbus_unit: ModbusServer) -> None:
    modbus_unit.command("lost 1 2 3")
    said = run(place(modbus_unit), "--units", "1-3", "--timeout", "0.05", code=1)
    assert "no unit with an id from 1 to 3 answers; try others (--units 1-247)" in said.replace("\n", " ")
    said = run(f"modbus://127.0.0.1:{free_port()}", code=1)
    assert "refused the connection: check the port" in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["oven"], "'oven' is not a Modbus endpoint"),
        (["tls://oven"], "asks for a certificate, which a scan does not have"),
        (["modbus://oven", "--units", "9-3"], "--units: '9-3' is no range"),
        (["modbus://oven", "--units", "all"], "--units: 'all' is no range"),
        (["modbus://oven", "--addresses", "0-70000"], "--addresses: '0-70000' is no range; write it as 0-65535"),
        (["modbus://oven", "--tables", "registers"], "'registers' is no table; write some of holding, input, coil"),
        (["modbus://oven", "--baud", "9600"], "is no serial line"),
        (["serial:///dev/ttyS9", "--parity", "mark"], "serial.parity"),
    ],
)
def test_what_it_cannot_be_asked_is_said(words: list[str], message: str) -> None:
    assert message in run(*words, code=2).replace("\n", " ")
