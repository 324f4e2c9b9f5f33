"""What the agent says of itself while it waits for its disk: nothing runs yet, so there is little else to say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from connectors.model.errors import OutboxUnavailable
from connectors.ports.clock import Clock
from edge_agent.local_api.server import Handler
from edge_agent.local_api.views import AgentFacts


class WaitingView:
    """Answers for an agent whose outbox is not open; ``reason`` says why, and is changed from outside."""

    def __init__(self, facts: AgentFacts, outbox: Path, clock: Clock) -> None:
        self.reason = "the outbox is being opened"
        looks = ("tags", "watch", "names", "read", "writable", "logs", "trace")
        others = (*looks, "lock", "unlock", "commands", "command", "approve", "write", "run", "reload")
        self.handlers: Mapping[str, Handler] = {"status": self.status, **dict.fromkeys(others, self.refuse)}
        self._facts = facts
        self._outbox = outbox
        self._clock = clock

    async def status(self, _args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """Who it is, and what it waits for."""
        facts = self._facts
        yield {
            "agent": facts.agent,
            "version": facts.version,
            "started_ns": facts.started_ns,
            "uptime_s": round((self._clock.now_ns() - facts.started_ns) / 1e9, 1),
            "commissioning": facts.commissioning,
            "waiting_for_outbox": self.reason,
            "devices": [
                {"device": device, "driver": driver, "endpoint": endpoint, "online": False, "reason": self.reason}
                for device, (driver, endpoint) in facts.endpoints.items()
            ],
            "outbox": {"path": str(self._outbox), "blocked": self.reason},
        }

    async def refuse(self, _args: Mapping[str, Any]) -> AsyncIterator[Any]:
        """There are no values, and no commands: nothing is acquired or done that could not be stored."""
        if self.reason:
            raise OutboxUnavailable(f"the agent acquires nothing yet, as it waits for its outbox: {self.reason}")
        yield {}
