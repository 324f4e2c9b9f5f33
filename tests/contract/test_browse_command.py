"""``edge-agent browse`` on a server of node-opcua: a tree on a terminal, JSON, and a device file that can be used."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lineside.servers.child_process import free_port
from typer.testing import CliRunner

from connectors.opcua.settings import OpcUaDevice
from connectors.trust import FOLDER
from connectors.trust.store import TrustStore
from edge_agent.cli.browse import browse
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers
from tests.contract.on_a_terminal import shown_on_terminal
from tests.servers.node_opcua import NodeOpcUaServer

RUNNER = CliRunner()
AGENT = "agent: {group: a, name: b}\nuplink: {brokers: [mqtts://b]}\ninclude: [press.yaml]\n"
LIMITS = {"maxNodesPerRead": 20, "maxNodesPerBrowse": 4}


@pytest.fixture(scope="module")
def press() -> Iterator[NodeOpcUaServer]:
    """A press with a user, which takes little in one request."""
    policies, modes = ("None", "Basic256Sha256"), ("None", "SignAndEncrypt")
    users = {"engineer": "open sesame"}
    server = NodeOpcUaServer(limits=LIMITS, users=users, policies=policies, modes=modes, trusting=True)
    server.start()
    server.object("ns=2;s=Press")
    server.object("ns=2;s=Press.Ram", under="ns=2;s=Press")
    server.add("ns=2;s=Press.Ram.Force", "Double", 12.5, under="ns=2;s=Press.Ram", range=[0, 100], unit="kN")
    server.add("ns=2;s=Press.Ram.Limit", "Int32", 90, under="ns=2;s=Press.Ram", writable=True)
    server.add("ns=2;s=Press.State", "String", "running", under="ns=2;s=Press", about="What it does")
    server.add("ns=2;s=Press.Zones", "Float", [1.0, 2.0, 3.0], under="ns=2;s=Press")
    server.add("ns=2;s=Press.Photo", "Double", 0.0, under="ns=2;s=Press", status=0x808C0000)
    server.object("ns=2;s=Oven")
    server.add("ns=2;s=Oven.on: off, #1", "Boolean", True, under="ns=2;s=Oven")
    yield server
    server.close()


def run(*words: str, code: int = 0) -> str:
    from typer import Typer

    app = Typer()
    app.command()(browse)
    said = RUNNER.invoke(app, list(words), catch_exceptions=False)
    assert said.exit_code == code, said.output
    return said.output


def on_terminal(columns: int, *words: str) -> str:
    """What the command shows on a terminal so wide."""
    return shown_on_terminal(columns, "browse", *words)


def test_a_terminal_shows_the_tree_with_types_and_values(press: NodeOpcUaServer) -> None:
    shown = on_terminal(80, press.endpoint, "--tree")
    lines = [line.rstrip() for line in shown.splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines == [
        "/Objects           type                value  unit",
        "├─ Oven",
        "│  └─ on: off, #1  Boolean              true",
        "└─ Press",
        "   ├─ Photo        Double   BadSensorFailure",
        "   ├─ Ram",
        "   │  ├─ Force     Double               12.5  kN",
        "   │  └─ Limit     Int32                  90",
        "   ├─ State        String            running",
        "   └─ Zones        Float[]   [1.0, 2.0, 3.0]",
        "6 variables; where they are: use a wider terminal, or --yaml",
    ], shown
    wide = on_terminal(140, press.endpoint, "--depth", "20")
    assert "nsu=urn:lineside:tests:press;s=Press.Ram.Force" in wide
    assert "6 variables\n" in wide


def test_a_device_file_is_written_that_the_agent_takes(press: NodeOpcUaServer, tmp_path: Path) -> None:
    path = tmp_path / "press.yaml"
    said = run(press.endpoint, "--yaml", str(path), "--name", "press", "--exclude", "Server", "--exclude", "*/Photo")
    assert " ".join(said.split()) == (
        f"{path}: 5 variables; take out what is not needed, name it under 'include' of the agent's file "
        f"(include: [{path}]), then: edge-agent check"
    )
    (tmp_path / "agent.yaml").write_text(AGENT)
    (device,) = load_config(tmp_path / "agent.yaml", built_in_drivers()).devices
    assert isinstance(device, OpcUaDevice)
    assert (device.name, device.endpoint, device.insecure) == ("press", press.endpoint, True)
    assert [(tag.name, tag.at.partition(";")[2], tag.unit, tag.description) for tag in device.tags] == [
        ("Oven/on: off, #1", "s=Oven.on: off, #1", "", ""),
        ("Press/Ram/Force", "s=Press.Ram.Force", "kN", ""),
        ("Press/Ram/Limit", "s=Press.Ram.Limit", "", ""),
        ("Press/State", "s=Press.State", "", "What it does"),
        ("Press/Zones", "s=Press.Zones", "", ""),
    ]
    assert 's=Press.Ram.Limit"}  # Int32, the server lets it be written\n' in path.read_text()
    assert "exists already" in run(press.endpoint, "--yaml", str(path), code=1)


def test_a_rule_is_written_instead_of_each_tag(press: NodeOpcUaServer, tmp_path: Path) -> None:
    words = ["--under", "/Objects/2:Press", "--match", "Ram/*", "--yaml", "-", "--rule"]
    (tmp_path / "press.yaml").write_text(run(press.endpoint, *words))
    (tmp_path / "agent.yaml").write_text(AGENT)
    (device,) = load_config(tmp_path / "agent.yaml", built_in_drivers()).devices
    assert isinstance(device, OpcUaDevice)
    (rule,) = device.browse
    assert (device.tags, rule.under, rule.match) == ((), "/Objects/2:Press", ("Ram/*",))


def test_programs_get_json_and_so_much_as_they_want(press: NodeOpcUaServer) -> None:
    words = ["--json", "--under", "ns=2;s=Press", "--depth", "1", "--max", "2"]
    found = json.loads(run(press.endpoint, *words))
    assert (found["under"], found["left_out"]) == ("ns=2;s=Press", 1)
    photo, state = found["variables"]
    assert (photo["name"], photo["value"], photo["quality"]) == ("Photo", 0.0, "BadSensorFailure")
    assert photo["problem"] == "the server answered BadSensorFailure 0x808C0000"
    assert (state["type"], state["value"], state["description"], state["writable"]) == (
        "String", "running", "What it does", False,
    )  # fmt: skip


def test_a_device_of_the_agent_is_browsed_as_its_file_says(press: NodeOpcUaServer, tmp_path: Path) -> None:
    device = f"devices:\n  - {{name: p, driver: opcua, endpoint: '{press.endpoint}', insecure: true, tags: []"
    device = device.replace("tags: []", "browse: [{under: ns=2;s=Press}]}")
    (tmp_path / "press.yaml").write_text(device + "\n")
    (tmp_path / "agent.yaml").write_text(AGENT)
    config = ["--config", str(tmp_path / "agent.yaml")]
    assert "Force" in run("p", *config)
    assert "has no OPC UA device 'q'; it has p. Or name a server" in run("q", *config, code=2)


def test_who_logs_in_says_the_password_by_the_environment_and_it_is_written_nowhere(
    press: NodeOpcUaServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text(AGENT.replace("name: b", "name: b, data_dir: data"))
    monkeypatch.setenv("LINESIDE_PASSWORD", "wrong")
    logged_in = [press.endpoint, "--user", "engineer", "--config", str(config)]
    said = run(*logged_in, code=1)
    assert "is not accepted yet" in said  # the session is secured
    store = TrustStore(tmp_path / "data" / FOLDER)
    store.accept(store.entries()[0].facts.thumbprint)
    assert "--config" in run(*logged_in[:3], "--config", str(tmp_path / "none.yaml"), code=1)
    said = run(*logged_in, code=1)
    assert "check security.user and security.password" in said
    assert "wrong" not in said
    monkeypatch.setenv("LINESIDE_PASSWORD", "open sesame")
    said = run(*logged_in, "--yaml", "-")
    assert "insecure" not in said
    assert "open sesame" not in said
    monkeypatch.delenv("LINESIDE_PASSWORD")
    assert "there is nobody to ask for the password of 'engineer'" in run(press.endpoint, "--user", "engineer", code=2)


def test_what_cannot_be_browsed_is_said(press: NodeOpcUaServer) -> None:
    nobody = f"opc.tcp://127.0.0.1:{free_port()}"
    assert "nothing listens at" in run(nobody, code=1)
    assert "is not an OPC UA endpoint" in run("http://press", code=2)
    assert "write opc.tcp://10.0.0.5:4840" in run("10.0.0.5:4840", code=2)
    assert "nothing named 2:Lathe below /Objects" in run(press.endpoint, "--under", "/Objects/2:Lathe", code=1)
    assert "has an empty name in it" in run(press.endpoint, "--match", "a//b", code=2)
    assert "add --yaml FILE" in run(press.endpoint, "--rule", code=2)
