"""What a server says of itself while it is connected (Part 5, 12.6 ServerState, 12.10): asked for from time to time.

A server can keep its sessions and send keep-alives while it has stopped to look at its values.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.ua_binary import struct_from_binary
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.attributes import refusal_of
from connectors.opcua.link_loss import LinkLost
from connectors.opcua.settings import OpcUaDevice

ASKED_EVERY_S_MAX: Final = 20.0
"""Well within the timeout of a session, which so is kept where it has no subscription."""

SILENCES_PER_ANSWER: Final = 2
"""An answer may take so many times ``silence``: a server that is busy is judged by what it publishes."""

STILL_MAX: Final = 3
"""So many answers in a row with the same time are a clock that stands still."""

_SERVER_STATE: Final = ua.NodeId(ua.Int32(2259), ua.Int16(0))
_CURRENT_TIME: Final = ua.NodeId(ua.Int32(2258), ua.Int16(0))
_START_TIME: Final = ua.NodeId(ua.Int32(2257), ua.Int16(0))
_WITHOUT_VALUES: Final = {
    1: "it has failed; look at the server's own diagnostics",
    2: "it has no configuration; load the project into it",
    3: "it is suspended and looks at no value; start it again in its own tool",
    4: "it is shutting down",
}
"""The states in which a server gives no values. In the others (running, test, communication fault, unknown) it may give
some of them, and the quality of each says whether it can be used."""


def trouble_of(state: Any) -> str | None:
    """Why a server in this state gives no values, in a sentence; ``None`` when it does, or says nothing of itself."""
    return _WITHOUT_VALUES.get(int(state)) if isinstance(state, int) else None


async def check_state(client: Client, device: OpcUaDevice, answer_s_max: float) -> object:
    """Ask the server for its state, once; it has ``answer_s_max`` for its answer. The time it has, if it says that.

    Raises ``DeviceUnavailable`` when it gives no values in that state or does not answer, and what asyncua raises when
    the connection is lost. A server that does not let its state be read is taken for one that runs.
    """
    protocol = client.uaclient.protocol
    if protocol is None:
        raise ConnectionError("the connection is closed")
    request = ua.ReadRequest()
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Neither
    request.Parameters.NodesToRead = [
        ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value) for node in (_SERVER_STATE, _CURRENT_TIME)
    ]
    try:
        data = await protocol.send_request(request, timeout=answer_s_max)
    except TimeoutError as exc:
        raise LinkLost(
            f"{device.name}: connected, but the server has not said its state for {answer_s_max:g} s; the connection "
            "is made anew"
        ) from exc
    except UaError as exc:
        if refusal_of(exc) is None:
            raise
        return None
    response = struct_from_binary(ua.ReadResponse, data)
    response.ResponseHeader.ServiceResult.check()
    values = [None if result.Value is None else result.Value.Value for result in response.Results or ()]
    trouble = trouble_of(values[0]) if values else None
    if trouble is not None:
        raise DeviceUnavailable(f"{device.name}: the server is there, but {trouble}")
    return values[1] if len(values) > 1 else None


async def read_start(client: Client) -> object:
    """When the server was started, by its own clock; ``None`` where it does not say. Raises what asyncua raises."""
    parameters = ua.ReadParameters(TimestampsToReturn=ua.TimestampsToReturn.Neither)
    parameters.NodesToRead = [ua.ReadValueId(NodeId=_START_TIME, AttributeId=AttributeIds.Value)]
    try:
        (data,) = await client.uaclient.read(parameters)
    except UaError as exc:
        if refusal_of(exc) is None:
            raise
        return None
    return None if data.Value is None else data.Value.Value


async def watch_state(client: Client, device: OpcUaDevice) -> None:
    """Ask for the state from time to time, until cancelled.

    Raises what ``check_state`` raises, and ``DeviceUnavailable`` when the server's clock has gone and then stands
    still. One that has stood since the connect says nothing: small servers have such clocks.
    """
    answer_s_max = max(device.timeout_s, SILENCES_PER_ANSWER * device.silence_s_max)
    asked_every_s = min(device.silence_s_max, ASKED_EVERY_S_MAX)
    before: object = None
    has_gone, still = False, 0
    while True:
        await asyncio.sleep(asked_every_s)
        now = await check_state(client, device, answer_s_max)
        has_gone = has_gone or (before is not None and now != before)
        still = still + 1 if now is not None and now == before else 0
        before = now
        if has_gone and still == STILL_MAX:
            raise DeviceUnavailable(
                f"{device.name}: the server answers, but its clock has stood still for {still * asked_every_s:g} s, "
                "and so its values may stand too; the connection is made anew"
            )
