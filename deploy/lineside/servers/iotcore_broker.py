"""An MQTT broker that pip installs (``iotcore``, which is rumqttd): for the demo, where there is no Mosquitto.

It speaks MQTT 5 here, without TLS, and forgets sessions and retained messages when it stops.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Final

from lineside.servers.child_process import (
    LOOPBACK,
    ChildProcess,
    ProgramMissing,
    accepts_connections,
    free_port,
    require_free,
)

_START_TIMEOUT_S: Final = 60.0
PACKET_BYTES_MAX: Final = 1_048_576

_CONFIGURATION: Final = """\
id = 0

[router]
id = 0
max_connections = 1000
max_outgoing_packet_count = 200
max_segment_size = 104857600
max_segment_count = 10

[v5.1]
name = "lineside"
listen = "{host}:{port}"
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {packet_bytes_max}
max_inflight_count = 500
dynamic_filters = true
"""


class IotcoreBroker:
    """An iotcore broker in ``folder``; started again, it keeps its port and has forgotten everything else."""

    def __init__(self, folder: Path, *, port: int | None = None, log_path: Path | None = None) -> None:
        if importlib.util.find_spec("iotcore") is None:
            raise ProgramMissing("the broker iotcore is not installed; pip install iotcore")
        self.port = free_port() if port is None else port
        self._folder = folder
        self.process = ChildProcess("iotcore", log_path or folder / "iotcore.log")

    @property
    def url(self) -> str:
        """How the broker is reached."""
        return f"mqtt://{LOOPBACK}:{self.port}"

    @property
    def running(self) -> bool:
        """Whether the broker lives."""
        return self.process.running

    def start(self) -> None:
        """Start, and wait until the broker takes connections. Raises ``ServerNotStarted``."""
        if self.running:
            return
        require_free(self.port)
        self._folder.mkdir(parents=True, exist_ok=True)
        configuration = self._folder / "iotcore.toml"
        configuration.write_text(
            _CONFIGURATION.format(host=LOOPBACK, port=self.port, packet_bytes_max=PACKET_BYTES_MAX)
        )
        self.process.start(
            [sys.executable, "-P", "-m", "iotcore", "--config", str(configuration), "--log-level", "WARNING"],
            lambda: accepts_connections(self.port),
            timeout_s=_START_TIMEOUT_S,
        )

    def stop(self) -> None:
        """Stop the broker."""
        self.process.stop()

    def kill(self) -> None:
        """End the broker as a crash would."""
        self.process.kill()
