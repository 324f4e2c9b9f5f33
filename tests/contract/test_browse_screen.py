"""The interactive ``edge-agent browse`` on a real terminal, beside a server of node-opcua."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.opcua.settings import OpcUaDevice
from edge_agent.cli.live_terminal import LEAVE
from edge_agent.config.load import load_config
from edge_agent.drivers import built_in_drivers
from tests.servers.node_opcua import NodeOpcUaServer
from tests.system.edge_agent_steps import EDGE_AGENT
from tests.system.terminal import Terminal

AGENT = "agent: {group: a, name: b}\nuplink: {brokers: [mqtts://b]}\ninclude: [press.yaml]\n"
LEFT = LEAVE.encode()
SHELF_MAX = 450


@pytest.fixture(scope="module")
def press() -> Iterator[NodeOpcUaServer]:
    server = NodeOpcUaServer(limits={"maxNodesPerRead": 300, "maxNodesPerBrowse": 100})
    server.start()
    server.object("ns=2;s=Press")
    server.object("ns=2;s=Press.Ram", under="ns=2;s=Press")
    server.add("ns=2;s=Press.Ram.Force", "Double", 12.5, under="ns=2;s=Press.Ram", range=[0, 100], unit="kN")
    server.add("ns=2;s=Press.Ram.Limit", "Int32", 90, under="ns=2;s=Press.Ram", writable=True)
    server.add("ns=2;s=Press.State", "String", "running", under="ns=2;s=Press", about="What it does")
    server.object("ns=2;s=Shelf")
    places = [f"ns=2;s=Shelf.Place{number:03d}" for number in range(SHELF_MAX)]
    server.add_many([{"node": node, "type": "Int32", "value": 0, "under": "ns=2;s=Shelf"} for node in places])
    yield server
    server.close()


def terminal_of(press: NodeOpcUaServer, folder: Path, **more: object) -> Terminal:
    line = f"cd '{folder}' && exec '{EDGE_AGENT}' browse {press.endpoint} --name press"
    return Terminal("sh", "-c", line, **more)  # type: ignore[arg-type]


def at_cursor(terminal: Terminal) -> str:
    """The name of the row with the cursor."""
    return next(
        (line.strip(" >[x*]▸▾").split("  ")[0] for line in terminal.screen if line.startswith(">")),
        "",
    )


def go_to(terminal: Terminal, name: str) -> None:
    """Move the cursor to this row, from the top."""
    terminal.shows(name)
    terminal.type("g")
    terminal.until(lambda: terminal.screen[1].startswith(">"))
    for _ in range(30):
        before = at_cursor(terminal)
        if before == name:
            return
        terminal.type("j")
        terminal.until(lambda before=before: at_cursor(terminal) not in ("", before))
    raise AssertionError("\n".join(terminal.screen))


def test_a_tree_is_opened_and_what_is_marked_is_a_device_file(press: NodeOpcUaServer, tmp_path: Path) -> None:
    press.forget()
    with terminal_of(press, tmp_path) as terminal:
        go_to(terminal, "Press")
        terminal.shows("folder or object", "s=Press", "quit")
        assert "State" not in terminal.text, "nobody has opened it yet"
        terminal.type("\x1b[C")
        go_to(terminal, "State")
        terminal.shows("What it does", "String, read", "value running")
        terminal.type(" ")
        terminal.shows("[x]", "1 variable marked")
        go_to(terminal, "Ram")
        terminal.type(" l")
        terminal.shows("1 variable and 1 folder marked", "Force", "Limit")
        go_to(terminal, "Force")
        terminal.shows("12.5 kN")
        assert max(map(len, terminal.screen)) <= 80
        terminal.type("w\r")
        terminal.shows("press.yaml: 1 variable and 1 folder;")
        terminal.type("w\r")
        terminal.shows("Overwrite it? y/n")
        terminal.type("n")
        terminal.shows("press.yaml is as it was")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.modes == terminal.modes_before
    (tmp_path / "agent.yaml").write_text(AGENT)
    (device,) = load_config(tmp_path / "agent.yaml", built_in_drivers()).devices
    assert isinstance(device, OpcUaDevice)
    assert [(tag.name, tag.at.partition(";")[2]) for tag in device.tags] == [("Press/State", "s=Press.State")]
    (rule,) = device.browse
    assert (rule.under.partition(";")[2], rule.name) == ("s=Press.Ram", "Press/Ram/{path}")


def test_a_long_folder_comes_in_pages_and_is_searched(press: NodeOpcUaServer, tmp_path: Path) -> None:
    with terminal_of(press, tmp_path, env={"NO_COLOR": "1"}) as terminal:
        go_to(terminal, "Shelf")
        press.forget()
        terminal.type("\r")
        terminal.shows(f"of {SHELF_MAX + 5}")
        assert press.requests("BrowseNext")[0] >= 2
        terminal.type("/place449\r")
        terminal.shows("Place449", "shown is what fits 'place449'")
        assert "Place448" not in terminal.text
        terminal.type("\x1b")
        terminal.shows("Place448", "Place449")
        assert terminal.colours == {"default"}
        terminal.resize(60, 12)
        terminal.until(lambda: max(map(len, terminal.screen)) <= 60 and "Place449" in terminal.text)
        terminal.type("\x03")
        assert terminal.end() == 0
        assert LEFT in terminal.raw
        assert terminal.modes == terminal.modes_before


def test_a_refusal_stands_in_the_row_and_is_asked_again(press: NodeOpcUaServer, tmp_path: Path) -> None:
    press.object("ns=2;s=Gone")
    with terminal_of(press, tmp_path) as terminal:
        go_to(terminal, "Gone")
        press.remove("ns=2;s=Gone")
        terminal.type("l")
        terminal.shows("the server does not let it be browsed (BadNodeIdUnknown 0x80340000)")
        go_to(terminal, "Press")
        press.command("poison", service="Browse", node="ns=2;s=Press", status=0x80340000)
        terminal.type("l")
        terminal.shows("the server refuses the request (BadNodeIdUnknown")
        assert "ServiceFault" not in terminal.text, "what a library logs is not for this screen"
        press.command("heal", service="Browse")
        terminal.type("l")
        terminal.shows("State", "Ram")
        terminal.type("q")
        assert terminal.end() == 0


def test_a_connection_that_is_lost_gives_the_terminal_back_and_says_so(tmp_path: Path) -> None:
    server = NodeOpcUaServer()
    server.start()
    try:
        server.add("ns=2;s=Speed", "Double", 1.0)
        with terminal_of(server, tmp_path) as terminal:
            go_to(terminal, "Speed")
            terminal.type(" ")
            terminal.shows("1 variable marked")
            server.kill()
            assert terminal.end() == 1
            terminal.shows(
                "the connection to 127.0.0.1", "was lost", "is the server running?", "1 variable marked and not written"
            )
            after = terminal.raw.decode().partition(LEAVE)[2]
            assert len(after.strip().splitlines()) <= 3, "one sentence, and nothing that a library logs"
            assert terminal.modes == terminal.modes_before
    finally:
        server.close()
