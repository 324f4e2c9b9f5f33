"""The newest value of each tag that a client wants, and who wants it. A value is newest by its source time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from cloud_ingest.gateway.live.client import Client
from cloud_ingest.gateway.live.feeds import AHEAD_MAX, FIRST_LOOK, KnownTag
from cloud_ingest.gateway.live.sending import Sending
from cloud_ingest.gateway.live.subscription import value_text

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class _Tag:
    known: KnownTag
    clients: set[Client] = field(default_factory=set)
    time_us: int | None = None
    """Source time of its newest value, microseconds since 1970, UTC."""
    text: bytes = b""
    changed_s: float = 0.0
    """When it became the newest; seconds of the event loop."""
    was_looked_up: bool = False


class NewestValues:
    """See the module. Nothing is known of a tag that nobody wants."""

    def __init__(self, sending: Sending) -> None:
        self._sending = sending
        self._tags: dict[int, _Tag] = {}
        self._of_clients: dict[Client, tuple[int, ...]] = {}
        self.are_wanted = asyncio.Event()
        """Set while any tag is."""
        self.version = 0
        """Another one whenever other tags are wanted."""
        self.by_source: dict[tuple[str, str], dict[str, int]] = {}
        """Wanted tags by agent and device: their ids by their names."""
        self.agents: dict[bytes, int] = {}
        """Agents (``group/name``) that have wanted tags, and of how many of their devices."""

    def want(self, client: Client, tags: Iterable[KnownTag]) -> None:
        """From now on ``client``, which wanted none, is told of ``tags``; at once, where a value is known."""
        tags = tuple(tags)
        self._of_clients[client] = tuple(known.tag_id for known in tags)
        for known in tags:
            tag = self._tags.get(known.tag_id)
            if tag is None:
                tag = self._tags[known.tag_id] = _Tag(known)
                self._enter(known)
            tag.clients.add(client)
            if tag.text:
                _put(client, known.tag_id, tag.text)
        if tags:
            self._sending.add(client)

    def leave(self, client: Client) -> None:
        """``client`` wants none any more."""
        for tag_id in self._of_clients.pop(client, ()):
            tag = self._tags[tag_id]
            tag.clients.discard(client)
            if not tag.clients:
                del self._tags[tag_id]
                self._remove(tag.known)

    def put(self, tag_id: int, time_us: int, value: bool | float | str | None, quality: int, now_s: float) -> None:
        """A value of a tag: if it is the newest, everybody who wants it is told."""
        tag = self._tags.get(tag_id)
        if tag is None or (tag.time_us is not None and time_us <= tag.time_us):
            return
        text = value_text(tag_id, (EPOCH + timedelta(microseconds=time_us)).isoformat(), value, quality)
        tag.time_us, tag.text, tag.changed_s = time_us, text, now_s
        for client in tag.clients:
            _put(client, tag_id, text)
            self._sending.add(client)

    def to_look_up(self, is_left_to_log: bool, quiet_since_s: float) -> dict[int, datetime]:
        """The tags that are to be looked up in the tables, and the times that were seen of them.

        ``is_left_to_log``: what the log brings is not looked up, unless it brought nothing since ``quiet_since_s``.
        """
        first = datetime.now(UTC) - FIRST_LOOK
        return {
            tag_id: first if tag.time_us is None else EPOCH + timedelta(microseconds=tag.time_us)
            for tag_id, tag in self._tags.items()
            if not (is_left_to_log and tag.known.is_numbered and tag.was_looked_up and tag.changed_s >= quiet_since_s)
        }

    def were_looked_up(self, tag_ids: Iterable[int]) -> None:
        """The tables were asked for them."""
        for tag_id in tag_ids:
            if (tag := self._tags.get(tag_id)) is not None:
                tag.was_looked_up = True

    def _enter(self, known: KnownTag) -> None:
        self.version += 1
        self.are_wanted.set()
        source = (known.agent, known.device)
        if source not in self.by_source:
            self.by_source[source] = {}
            agent = known.agent.encode()
            self.agents[agent] = self.agents.get(agent, 0) + 1
        self.by_source[source][known.tag] = known.tag_id

    def _remove(self, known: KnownTag) -> None:
        self.version += 1
        source = (known.agent, known.device)
        del self.by_source[source][known.tag]
        if not self.by_source[source]:
            del self.by_source[source]
            agent = known.agent.encode()
            self.agents[agent] -= 1
            if not self.agents[agent]:
                del self.agents[agent]
        if not self.agents:
            self.are_wanted.clear()


def microseconds(time: datetime) -> int:
    """Since 1970, UTC."""
    return (time - EPOCH) // _US


def is_tellable(time_us: int, now_us: int) -> bool:
    """Whether a source time is one that clients are told of."""
    return now_us - FIRST_LOOK // _US < time_us < now_us + AHEAD_MAX // _US


def _put(client: Client, tag_id: int, text: bytes) -> None:
    if client.subscription is not None:
        client.subscription.pending.put_tag(tag_id, text)
