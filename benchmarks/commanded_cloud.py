"""The cloud side with its commands, for benchmarks: servers, processes, keys and a token."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker
from lineside.servers.postgres import PostgresServer

from benchmarks.processes import BIN, Program
from edge_agent.commands.pinned_keys import write_pinned_keys

READY_S_MAX: Final = 60.0
ROLES: Final = ("ingest", "historian", "commands", "gateway")
"""One process each: what stores samples does not hold up a command, as little as it can on the same cores."""


class CommandedCloud:
    """Broker, database and the processes of ``cloud-ingest``."""

    def __init__(self, folder: Path, roles: Sequence[str] = ROLES, *, grpc_port: int | None = None) -> None:
        self.folder = folder
        self.grpc_port = grpc_port
        self.broker = MosquittoBroker(folder / "mosquitto")
        self.postgres = PostgresServer(folder / "postgres", settings={"shared_buffers": "256MB", "max_wal_size": "4GB"})
        self.url = f"http://127.0.0.1:{free_port()}"
        self.token = ""
        self.programs: dict[str, Program] = {}
        self._roles = roles
        self._keys: dict[str, Any] = {}

    @property
    def dsn(self) -> str:
        """The database."""
        return self.postgres.dsn("bench")

    def start(self) -> None:
        """Start everything, and wait until commands are taken."""
        self.broker.start()
        self.postgres.start()
        self.postgres.create_database("bench")
        config = self._config()
        self._run(config, "migrate")
        self._run(config, "keys", "create")
        self._keys = json.loads(self._run(config, "keys", "export"))["keys"]
        self.token = self._run(config, "token", "create", "bench", "--role", "operator").strip()
        for roles in self._roles:
            command = [str(BIN / "cloud-ingest"), "run", "--roles", roles, "-c", str(config)]
            self.programs[roles] = Program(command, self.folder / f"{roles.replace(',', '-')}.log")
        for roles, program in self.programs.items():
            if "ingest" in roles.split(","):
                program.wait_for("host_online", READY_S_MAX)
            if "commands" in roles.split(","):
                program.wait_for("commands_online", READY_S_MAX)

    def stop(self) -> None:
        """Stop everything."""
        for program in self.programs.values():
            program.stop()
        self.postgres.stop()
        self.broker.stop()

    def pin_keys(self, data: Path) -> None:
        """Have the agent whose data folder is ``data`` trust this cloud, as enrolment does."""
        data.mkdir(parents=True, exist_ok=True)
        write_pinned_keys(data / "trusted-keys.json", self._keys)

    def wait_for_tags(self, count: int) -> None:
        """Wait until so many tags are known."""
        end_s = time.monotonic() + READY_S_MAX
        while (known := self._tags()) < count:
            if time.monotonic() > end_s:
                raise SystemExit(f"{known} of {count} tags have come")
            time.sleep(0.2)

    def _tags(self) -> int:
        answer = httpx.get(f"{self.url}/api/v1/agents", timeout=10.0, trust_env=False)
        return sum(int(agent["tags"]) for agent in answer.json())

    def _run(self, config: Path, *words: str) -> str:
        command = [str(BIN / "cloud-ingest"), *words, "-c", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode:
            raise SystemExit(f"cloud-ingest {' '.join(words)}: {done.stdout}{done.stderr}")
        return done.stdout

    def _config(self) -> Path:
        place = urlsplit(self.dsn)
        (self.folder / "password").write_text(place.password or "")
        database = {
            "host": place.hostname,
            "port": place.port,
            "user": place.username,
            "name": "bench",
            "password": f"${{file:{self.folder}/password}}",
            "insecure": True,
        }
        document = {
            "ingest": {"brokers": [self.broker.url], "insecure": True, "acknowledge": "logged"},
            "database": database,
            "commands": {"signing_key": str(self.folder / "signing.jwk")},
            "gateway": {
                "port": int(self.url.rpartition(":")[2]),
                "rate_limits": {"per_principal": None, "per_address": None},
            },
        }
        if self.grpc_port is not None:
            document["grpc"] = {"port": self.grpc_port}
        path = self.folder / "cloud.yaml"
        path.write_text(json.dumps(document))
        return path
