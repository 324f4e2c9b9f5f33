"""What the programs load when they start: an edge box has little memory, and a line waits for the first sample."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = "import sys; import edge_agent.main; from edge_agent.drivers import built_in_drivers; built_in_drivers(); "


def said_by(program: str) -> str:
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    return found.stdout


@pytest.fixture(scope="module")
def begun() -> list[str]:
    """The modules of an agent that has started, and then what rich has drawn in it."""
    drawing = "import rich.console; rich.console.Console().print('drawn')"
    return said_by(f"{_PROGRAM}print(*sys.modules, sep='\\n'); {drawing}").splitlines()


@pytest.mark.parametrize(
    "module",
    ["rich", "sqlite_utils", "asyncua", "pyarrow", "asyncpg", "aiokafka", "fastapi", "joserfc", "lark", "cloud_ingest"],
)
def test_an_agent_loads_nothing_that_it_does_not_need(begun: list[str], module: str) -> None:
    assert "edge_agent.main" in begun
    assert module not in begun


def test_a_command_that_draws_can_load_rich_afterwards(begun: list[str]) -> None:
    assert begun[-1] == "drawn"


@pytest.mark.parametrize("command", ["run", "launch"])
def test_an_agent_that_runs_has_no_screens_of_other_commands_in_its_memory(command: str) -> None:
    program = (
        f"import sys; sys.argv = ['edge-agent', {command!r}]; from edge_agent.cli import app; "
        "app.app = lambda: print(*sys.modules, sep='\\n'); app.main()"
    )
    begun_with = set(said_by(program).splitlines())
    assert "edge_agent.cli.app" in begun_with
    assert not {"rich", "edge_agent.cli.browse", "edge_agent.tag_lists"} & begun_with


def test_an_opcua_client_leaves_the_server_of_asyncua_out_which_can_be_made_all_the_same() -> None:
    making = "import asyncua; print(type(asyncua.Server()).__module__)"
    program = f"import sys, connectors.opcua.driver; print(*sys.modules, sep='\\n'); {making}"
    *loaded, made = said_by(program).splitlines()
    assert "asyncua.client.client" in loaded
    assert not {name for name in loaded if name.startswith(("asyncua.server.", "asyncua.pubsub"))}
    assert made == "asyncua.server.server"


def test_a_gateway_loads_grpc_only_where_it_is_served() -> None:
    loaded = said_by(
        "import sys, cloud_ingest.platform, cloud_ingest.gateway.app; print(*sys.modules, sep='\\n')"
    ).splitlines()
    assert "cloud_ingest.platform" in loaded
    assert "grpc" not in loaded


def test_an_mqtt_client_looks_for_no_broker_in_the_name_service() -> None:
    loaded = said_by("import sys, connectors.mqtt.session; print(*sys.modules, sep='\\n')").splitlines()
    assert "paho.mqtt.client" in loaded
    assert "dns" not in loaded


_OF_ROLES = {
    "ingest": "cloud_ingest.ingest.bridge",
    "historian": "cloud_ingest.historian.historian, cloud_ingest.historian.upkeep.task",
    "commands": "cloud_ingest.commands.role, cloud_ingest.commands.dispatcher",
    "inventory": "cloud_ingest.platform, cloud_ingest.inventory.role",
    "integrations": "cloud_ingest.platform, cloud_ingest.outside, cloud_ingest.outside_people",
}


@pytest.fixture(scope="module")
def loaded_by_roles() -> dict[str, set[str]]:
    """By role, the modules of a process that has loaded it; they have what is common to all from one that they left."""
    program = (
        "import sys, os, cloud_ingest.main\n"
        f"for role, modules in {_OF_ROLES!r}.items():\n"
        "    if os.fork() == 0:\n"
        "        exec(f'import {modules}')\n"
        "        print(role, *sys.modules, flush=True)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
    )
    lines = (line.split() for line in said_by(program).splitlines())
    return {role: set(modules) for role, *modules in lines}


@pytest.mark.parametrize("role", _OF_ROLES)
def test_a_process_of_the_cloud_loads_nothing_of_the_roles_that_it_has_not(
    loaded_by_roles: dict[str, set[str]], role: str
) -> None:
    loaded = loaded_by_roles[role]
    assert not {"fastapi", "stripe", "openpyxl", "fpdf", "rich", "httpx", "aiokafka"} & loaded
    parts = {"ingest", "historian", "commands", "inventory", "integrations", "orders", "lines", "gateway"} - {role}
    roots = {f"cloud_ingest.{part}.role" for part in parts} | {"cloud_ingest.ingest.bridge", "cloud_ingest.gateway.app"}
    assert set(_OF_ROLES[role].split(", ")) <= loaded
    assert not roots - set(_OF_ROLES[role].split(", ")) & loaded


def test_a_command_that_asks_the_database_loads_no_role_and_no_gateway() -> None:
    program = "import sys, cloud_ingest.cli.app, cloud_ingest.opened, cloud_ingest.gateway.queries"
    loaded = set(said_by(f"{program}; print(*sys.modules, sep='\\n')").splitlines())
    assert not {"fastapi", "stripe", "openpyxl", "rich", "cloud_ingest.main", "cloud_ingest.platform"} & loaded
