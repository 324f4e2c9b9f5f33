"""What the gateway writes to WebSockets by itself reads as any message does."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from cloud_ingest.gateway.websocket_frames import text_head


@pytest.mark.parametrize("size_bytes", [0, 1, 125, 126, 127, 255, 256, 65_535, 65_536, 200_000])
def test_a_client_reads_a_text_of_any_size(size_bytes: int) -> None:
    client = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN)
    text = b"x" * size_bytes
    client.receive_data(text_head(size_bytes) + text + text_head(2) + b"{}")
    frames = [event for event in client.events_received() if isinstance(event, Frame)]
    assert [(frame.opcode, bytes(frame.data), frame.fin) for frame in frames] == [
        (Opcode.TEXT, text, True),
        (Opcode.TEXT, b"{}", True),
    ]
