"""What tags have now, read at once: where a message with their last change is lost, they would stay as they were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from connectors.opcua.attributes import Batches
from connectors.opcua.binding import BoundTag
from connectors.opcua.read_response import read_read_response


async def present_values(client: Client, tags: Sequence[BoundTag], batches: Batches) -> list[bytes]:
    """The present values of ``tags``, as the bodies of notifications with their indices as client handles.

    Raises what asyncua raises when the server refuses a request as a whole or the connection is lost, and any of
    ``DECODING_ERRORS`` when an answer cannot be read.
    """
    bodies: list[bytes] = []

    async def read(part: Sequence[BoundTag]) -> Sequence[BoundTag]:
        request = ua.ReadRequest()
        request.Parameters.MaxAge = 0.0
        request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
        request.Parameters.NodesToRead = [
            ua.ReadValueId(NodeId=tag.node, AttributeId=AttributeIds.Value) for tag in part
        ]
        protocol = client.uaclient.protocol
        if protocol is None:
            raise ConnectionError("the connection is closed")
        handles = np.array([tag.index for tag in part], "<u4")
        bodies.append(read_read_response(await protocol.send_request(request), handles))
        return part

    await batches.ask(tags, read)
    return bodies
