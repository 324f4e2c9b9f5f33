"""One look at one variable of a server, on a connection of its own: what a person with an OPC UA client sees."""

from __future__ import annotations

from typing import Any, Final

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from connectors.model.errors import DeviceUnavailable
from connectors.opcua.attributes import read_namespaces

ANSWER_S_MAX: Final = 4.0
SESSION_TIMEOUT_MS: Final = 10_000
"""The server forgets so long after it a session whose end it has not heard of."""


async def read_one_value(endpoint: str, namespace: str, identifier: str) -> Any:
    """The value of the variable with the text ``identifier``, from a server without security.

    Connects, reads the value once from the server, and leaves. Raises ``DeviceUnavailable``.
    """
    client = Client(endpoint, timeout=ANSWER_S_MAX)
    client.session_timeout = SESSION_TIMEOUT_MS
    try:
        async with client:
            namespaces = await read_namespaces(client)
            if namespace not in namespaces:
                raise DeviceUnavailable(f"{endpoint} has no namespace {namespace}")
            index = namespaces.index(namespace)
            node = client.get_node(ua.NodeId(ua.String(identifier), ua.Int16(index)))
            return await node.read_value()
    except (TimeoutError, UaError, OSError) as exc:
        raise DeviceUnavailable(
            f"{endpoint} does not say what {identifier} is: {str(exc) or type(exc).__name__}"
        ) from exc
