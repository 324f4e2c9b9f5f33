"""Ctrl-C ends a command that waits for a device, quietly and with the exit code that is documented for it."""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_agent.cli.app import EXIT_CODES, EXIT_INTERRUPTED
from tests.patience import WAIT_S_MAX
from tests.system.edge_agent_steps import EDGE_AGENT

FILE = """\
agent: {{group: plant, name: line, data_dir: data}}
uplink: {{brokers: [mqtts://127.0.0.1:1]}}
devices:
  - {{name: oven, driver: modbus, endpoint: "tcp://127.0.0.1:{port}", timeout: 50s, tags: [{{name: a, at: holding 1}}]}}
"""


@pytest.fixture(autouse=True)
def _hears_ctrl_c() -> Iterator[None]:
    """As at a terminal: a shell starts what runs in its background deaf to Ctrl-C, and so may these tests be."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "words",
    [
        ("check", "--online", "-c", "agent.yaml", "--timeout", "60"),
        ("scan", "modbus://127.0.0.1:{port}", "--timeout", "50"),
        ("browse", "opc.tcp://127.0.0.1:{port}"),
    ],
)
def test_ctrl_c_ends_a_command_that_waits_for_a_device(tmp_path: Path, words: tuple[str, ...]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(WAIT_S_MAX)
        port = silent.getsockname()[1]
        (tmp_path / "agent.yaml").write_text(FILE.format(port=port))
        command = [EDGE_AGENT, *(word.format(port=port) for word in words)]
        with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
            connection, _ = silent.accept()
            with connection:
                connection.settimeout(WAIT_S_MAX)
                assert connection.recv(1), "it asks, and waits for an answer"
                running.send_signal(signal.SIGINT)
                out, err = running.communicate(timeout=WAIT_S_MAX)
    assert (running.returncode, b"Traceback" in out + err) == (EXIT_INTERRUPTED, False), err
    assert EXIT_INTERRUPTED in EXIT_CODES
