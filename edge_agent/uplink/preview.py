"""The newest values ahead of a backlog, for whoever looks at the line now.

A preview is a DDATA whose metrics are transient (6.4.6) and whose batch is 0: it is not part of the delivery, nobody
stores it, and the same samples follow in their order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from connectors.model.delivery import Epoch
from connectors.model.samples import SampleBatch
from connectors.model.tags import DefinitionHash, DeviceDefinition, DeviceName
from connectors.sparkplug.delivery import MESSAGE_OVERHEAD_BYTES_MAX
from connectors.sparkplug.edge_session import EdgeSession, Publish
from edge_agent.buffer.pieces import message_bytes_max, split
from edge_agent.uplink.backlog import EARLY_S
from edge_agent.uplink.messages import preview_message

PREVIEW_EVERY_S: Final = 0.5

Changed = Callable[[DeviceName], list[SampleBatch]]
"""The newest samples of a device, with aliases: of those tags that have got one since the last call."""


class Preview:
    """Says what to publish while delivery is behind."""

    def __init__(
        self,
        session: EdgeSession,
        epoch: Epoch,
        changed: Changed,
        payload_bytes_max: int,
        published: Callable[[DeviceName, int], None],
    ) -> None:
        """``published`` is told the newest source time of a device that a preview carries: what is older is history."""
        self._session = session
        self._epoch = epoch
        self._changed = changed
        self._published = published
        self._payload_bytes_max = payload_bytes_max - MESSAGE_OVERHEAD_BYTES_MAX
        self._definitions: dict[DeviceName, DefinitionHash] = {}
        self._next_s = float("-inf")

    def device_online(self, definition: DeviceDefinition) -> None:
        """The device has values, under this definition."""
        self._definitions[definition.device] = definition.hash

    def device_offline(self, device: DeviceName) -> None:
        """The device has none."""
        self._definitions.pop(device, None)

    def wait_s(self, now_s: float) -> float:
        """How long until the next preview is due."""
        wait_s = self._next_s - now_s
        return wait_s if wait_s > EARLY_S else 0.0

    def messages(self, now_s: float, now_ms: int, bytes_max: int) -> list[Publish]:
        """What to publish now; nothing while the last preview is fresh. No message is larger than ``bytes_max``."""
        if self.wait_s(now_s):
            return []
        self._next_s = now_s + PREVIEW_EVERY_S
        room = min(self._payload_bytes_max, bytes_max - MESSAGE_OVERHEAD_BYTES_MAX)
        found: list[Publish] = []
        for device, definition in self._definitions.items():
            if not self._session.is_born(device):
                continue
            changed = self._changed(device)
            if changed:
                self._published(device, max(int(part.time_ns.max()) for part in changed))
            for parts in split(changed, room):
                if sum(message_bytes_max(part) for part in parts) > room:
                    continue  # one value that no message takes: it comes as a batch, or is refused as one
                delivery, metrics = preview_message(self._epoch, definition, parts)
                found.append(self._session.device_data(device, delivery, metrics, now_ms))
        return found
