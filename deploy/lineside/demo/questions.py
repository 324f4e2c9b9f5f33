"""What the demo knows of its plant. It asks where any user would: the agent's socket, the REST API, the commands."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx

from connectors.model.errors import LinesideError
from edge_agent.local_api.protocol import AgentNotRunning, CallFailed, call
from lineside.servers.child_process import LOOPBACK

AGENT: Final = "demo-plant/line-1"
ANSWER_S_MAX: Final = 3.0
COUNT_S_MAX: Final = 60.0
COMMANDS_MAX: Final = 10
_TAGS_MAX: Final = 10_000
_BROKER_ONLINE: Final = "lineside_ingest_broker_online 1.0"
_BEGIN: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SOURCE_TIME_AHEAD_MAX: Final = timedelta(days=2)


class NoAnswer(LinesideError):
    """The cloud side did not answer a question, or not as it should: the caller says so."""


@dataclass(frozen=True, slots=True)
class Look:
    """What the plant said of itself at one moment; ``None`` where nobody answered."""

    status: dict[str, Any] | None
    """As ``edge-agent status --json``."""
    tags: list[dict[str, Any]]
    """As ``edge-agent tags --json``."""
    ledger: dict[str, Any] | None
    """As ``GET /api/v1/ledger``, of our agent."""
    commands: list[dict[str, Any]] | None = None
    """As ``GET /api/v1/commands``, of our agent: the newest first."""


class Questions:
    """Asks the agent and the cloud side of one demo; for one thread."""

    def __init__(self, socket: Path, api_port: int, ledger_command: Sequence[str], token: Path) -> None:
        """``ledger_command`` prints the ledger as JSON: ``cloud-ingest ledger --json``, with its configuration.

        ``token`` is the file with the token of the API; it is read when it is needed.
        """
        self.api_url = f"http://{LOOPBACK}:{api_port}"
        self._socket = socket
        self._ledger_command = ledger_command
        self._token = token
        self._runner = asyncio.Runner()
        # A proxy that the environment names has no business with this machine's own addresses.
        self._http = httpx.Client(base_url=self.api_url, timeout=ANSWER_S_MAX, trust_env=False)

    def __enter__(self) -> Questions:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._runner.close()

    def cloud_is_ready(self) -> bool:
        """Whether the API answers from its tables, and the ingest is on the broker."""
        try:
            return self._http.get("/readyz").is_success and _BROKER_ONLINE in self._http.get("/metrics").text
        except httpx.HTTPError:
            return False

    def agent_is_ready(self) -> bool:
        """Whether every device is connected and the births are out."""
        status = self.status()
        if status is None or status["uplink"]["phase"] != "born":
            return False
        return all(device["online"] and device["samples"] for device in status["devices"])

    def status(self) -> dict[str, Any] | None:
        """The agent's status; ``None`` when it does not answer."""
        answer = self._ask_agent("status")
        return answer if isinstance(answer, dict) else None

    def ledger(self) -> dict[str, Any] | None:
        """Our agent's ledger; ``None`` when the API does not answer, or has none yet."""
        try:
            answer = self._http.get("/api/v1/ledger", params={"agent": AGENT})
            rows = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return None
        return rows[0] if rows else None

    def look(self) -> Look:
        """Everything that the live view shows."""
        tags = self._ask_agent("tags")
        return Look(self.status(), tags if isinstance(tags, list) else [], self.ledger(), self.commands())

    def commands(self) -> list[dict[str, Any]] | None:
        """The newest commands of our agent; ``None`` when the API does not answer."""
        try:
            headers = {"Authorization": f"Bearer {self._token.read_text()}"}
            params = {"agent": AGENT, "limit": str(COMMANDS_MAX)}
            answer = self._http.get("/api/v1/commands", params=params, headers=headers)
            return list(answer.raise_for_status().json()["commands"])
        except (httpx.HTTPError, OSError, ValueError):
            return None

    def stored_rows(self) -> dict[str, int]:
        """How many rows PostgreSQL has of each device, counted, not remembered. Raises ``NoAnswer``."""
        rows: dict[str, int] = {}
        end = datetime.now(UTC) + _SOURCE_TIME_AHEAD_MAX
        try:
            page = self._get("/api/v1/tags", {"agent": AGENT, "limit": str(_TAGS_MAX)})
            for tag in page["tags"]:
                span = {"from": _BEGIN.isoformat(), "to": end.isoformat(), "bucket": "10000d"}
                found = self._get("/api/v1/samples", {"tag_id": str(tag["tag_id"]), **span})
                count = sum(bucket["count"] for bucket in found["buckets"])
                rows[tag["device"]] = rows.get(tag["device"], 0) + count
        except (httpx.HTTPError, ValueError) as exc:
            raise NoAnswer(f"the rows could not be counted: {exc}") from exc
        return rows

    def whole_ledger(self) -> tuple[dict[str, Any], int]:
        """(our agent's ledger, dead letters that belong to no agent), from the command. Raises ``NoAnswer``."""
        finished = subprocess.run(
            self._ledger_command, capture_output=True, text=True, timeout=COUNT_S_MAX, check=False
        )
        try:
            document = json.loads(finished.stdout)
            ours = next(row for row in document["agents"] if row["agent"] == AGENT)
            return ours, int(document["unassigned_dead_letters"])
        except (ValueError, KeyError, StopIteration) as exc:
            raise NoAnswer(f"the ledger could not be read: {finished.stderr.strip() or exc!r}") from exc

    def _get(self, path: str, params: dict[str, str]) -> Any:
        return self._http.get(path, params=params, timeout=COUNT_S_MAX).raise_for_status().json()

    def _ask_agent(self, name: str) -> Any:
        try:
            return self._runner.run(asyncio.wait_for(call(self._socket, name), ANSWER_S_MAX))
        except (AgentNotRunning, CallFailed, TimeoutError):
            return None
