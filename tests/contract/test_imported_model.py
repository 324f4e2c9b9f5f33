"""A model that a server of node-opcua has loaded is imported as tags, and each of them is read there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from lineside.servers.child_process import ProgramMissing, ServerNotStarted

from tests.servers.node_opcua import NodeOpcUaServer
from tests.system.edge_agent_steps import EDGE_AGENT, edge_agent

MODEL = Path(__file__).parents[1] / "unit/tag_lists/fixtures/press.NodeSet2.xml"
SERVER_FOLDER = Path(__file__).parents[1] / "servers/node_opcua"
HEAD = "agent: {group: plant, name: line, data_dir: data}\nuplink: {brokers: ['mqtts://localhost']}\n"


def test_what_is_imported_of_a_model_is_read_from_a_server_that_has_loaded_it(tmp_path: Path) -> None:
    model = tmp_path / "press.xml"
    model.write_text(re.sub(r'  <UAVariable NodeId="ns=4.*?</UAVariable>\n', "", MODEL.read_text()))
    server = NodeOpcUaServer(nodesets=[os.path.relpath(model, SERVER_FOLDER)])
    try:
        server.start()
    except (ProgramMissing, ServerNotStarted) as exc:
        pytest.fail(str(exc), pytrace=False)
    try:
        made = tmp_path / "press.yaml"
        config = tmp_path / "agent.yaml"
        config.write_text(HEAD + "include: [press.yaml]\n")
        done = edge_agent_import(model, server.endpoint, made)
        assert done == 1, "properties are refused"
        answer = edge_agent(config, "check", "--online", "--json")
        (device,) = answer.json["devices"]
        assert [(tag["tag"], tag["value"], tag["quality"]) for tag in device["tags"]] == [
            ("Press/Ram/Force", 12.5, "Good"),
            ("Press/Ram/Curve", "[1.0, 2.5]", "Good"),
        ]
    finally:
        server.close()


def edge_agent_import(model: Path, endpoint: str, made: Path) -> int:
    command = [
        EDGE_AGENT,
        "import-tags",
        str(model),
        "--endpoint",
        endpoint,
        "--device",
        "press",
        "-o",
        str(made),
        "--insecure",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode
