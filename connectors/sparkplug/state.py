"""STATE of a host application: the retained JSON by which edge nodes know that their host is there (section 6.4.27)."""

from __future__ import annotations

import json
from dataclasses import dataclass

from connectors.model.errors import PayloadInvalid

STATE_BYTES_MAX = 4096


@dataclass(frozen=True, slots=True)
class HostState:
    """Whether a host is online, and since when (milliseconds since 1970, UTC, by the host's clock)."""

    online: bool
    timestamp_ms: int


def encode_state(state: HostState) -> bytes:
    """The JSON document of a STATE message."""
    return json.dumps({"online": state.online, "timestamp": state.timestamp_ms}, separators=(",", ":")).encode()


def decode_state(payload: bytes) -> HostState:
    """The state in a STATE message. Raises ``PayloadInvalid`` when it is none."""
    if len(payload) > STATE_BYTES_MAX:
        raise PayloadInvalid(f"a STATE message of {len(payload)} bytes; {STATE_BYTES_MAX} is the limit")
    try:
        document = json.loads(payload)
        online, timestamp = document["online"], document["timestamp"]
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise PayloadInvalid(f"not a STATE message: {payload[:80]!r}") from exc
    if not isinstance(online, bool) or not isinstance(timestamp, int) or isinstance(timestamp, bool):
        raise PayloadInvalid(f"a STATE message with values of a wrong type: {payload[:80]!r}")
    return HostState(online, timestamp)
