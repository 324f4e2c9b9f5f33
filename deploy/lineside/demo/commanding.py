"""What a program, an operator and a visitor do with the line: ask for a command, lock, and look at the press."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from types import TracebackType
from typing import Any, Final

import httpx

from connectors.model.errors import DeviceUnavailable, LinesideError
from edge_agent.local_api.protocol import AgentNotRunning, CallFailed, call
from lineside.demo.questions import AGENT
from lineside.machines.press import NAMESPACE, SETPOINT

DEVICE: Final = "press"
TAG: Final = "ram/setpoint"
ANSWER_S_MAX: Final = 10.0
_NOT_YET: Final = ("unknown_agent", "unknown_target", "no_signing_key")
"""Problems of a plant that is still starting: its births are not stored yet."""


class NotYet(LinesideError):
    """The cloud side does not know the line yet, or cannot answer now: the caller asks again, with the same key."""


class NotTaken(LinesideError):
    """A question had no answer, or a request was turned down; the text says by whom and why."""


class Commanding:
    """One thread's way to the API, to the agent's socket, and to the press itself."""

    def __init__(self, api_url: str, token: str, socket: Path, press_endpoint: str) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=api_url, headers=headers, timeout=ANSWER_S_MAX, trust_env=False)
        self._socket = socket
        self._press_endpoint = press_endpoint
        self._runner = asyncio.Runner()

    def __enter__(self) -> Commanding:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()
        self._runner.close()

    def send(self, value: float, *, expires_s: float, reason: str, key: str) -> dict[str, Any]:
        """Ask for a new set-point: the command as it was taken. Raises ``NotYet`` and ``NotTaken``."""
        action = {"do": "write", "device": DEVICE, "tag": TAG, "value": value}
        body = {"agent": AGENT, "action": action, "reason": reason, "expires_s": expires_s}
        return self._ask("POST", "", json=body, headers={"Idempotency-Key": key})

    def command(self, command: str) -> dict[str, Any]:
        """A command with its states. Raises ``NotYet`` and ``NotTaken``."""
        return self._ask("GET", f"/{command}")

    def newest_of(self, issuer: str, count: int) -> list[dict[str, Any]]:
        """The newest commands of one issuer. Raises ``NotYet`` and ``NotTaken``."""
        return list(self._ask("GET", "", params={"issuer": issuer, "limit": str(count)})["commands"])

    def take_back(self, command: str) -> None:
        """Ask for a command not to be done. Raises ``NotYet``, and ``NotTaken`` when it is too late."""
        self._ask("POST", f"/{command}/cancel", json={"reason": "of an earlier start of the demo"})

    def locks(self) -> list[dict[str, Any]]:
        """What is locked, by whom and why. Raises ``NotTaken``."""
        return list(self._at_the_box("status")["commands"]["locks"])

    def lock(self, reason: str) -> None:
        """Lock the press, as an operator at the box does. Raises ``NotTaken``."""
        self._at_the_box("lock", line=DEVICE, reason=reason)

    def unlock(self) -> None:
        """Take the lock away. Raises ``NotTaken``."""
        self._at_the_box("unlock", line=DEVICE)

    def press_holds(self) -> float:
        """The set-point in the press, read from its server, past the agent. Raises ``NotTaken``."""
        from connectors.opcua.one_value import read_one_value  # half a second that the start of the demo can do without

        try:
            return float(self._runner.run(read_one_value(self._press_endpoint, NAMESPACE, SETPOINT)))
        except DeviceUnavailable as exc:
            raise NotTaken(str(exc)) from exc

    def _ask(self, method: str, path: str, **more: Any) -> dict[str, Any]:
        try:
            answer = self._http.request(method, f"/api/v1/commands{path}", **more)
            found = answer.json()
        except (httpx.HTTPError, ValueError) as exc:
            raise NotYet(f"the API does not answer: {exc!r}") from exc
        if answer.is_success:
            return dict(found)
        said = str(found.get("detail") or found)
        if answer.is_server_error or found.get("code") in _NOT_YET:
            raise NotYet(said)
        raise NotTaken(f"the API: {said}")

    def _at_the_box(self, name: str, **args: str) -> dict[str, Any]:
        try:
            return dict(self._runner.run(call(self._socket, name, **args)))
        except (AgentNotRunning, CallFailed) as exc:
            raise NotTaken(f"the agent: {exc}") from exc


def new_key() -> str:
    """A key by which a request that is made again is known for the same."""
    return str(uuid.uuid4())
