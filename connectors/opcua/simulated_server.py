"""A small OPC UA server for demos and tests: variables of one namespace, set from code. Without security.

Not for a machine: whoever reaches it can read everything, and write what is marked as writable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from types import TracebackType
from typing import Any, Final

from asyncua import ua
from asyncua.common.node import Node

from connectors.model.datatypes import DataType
from connectors.opcua.lean_asyncua import load_server

_VARIANT_TYPES: Final = {
    DataType.BOOLEAN: ua.VariantType.Boolean,
    DataType.INT8: ua.VariantType.SByte,
    DataType.UINT8: ua.VariantType.Byte,
    DataType.INT16: ua.VariantType.Int16,
    DataType.UINT16: ua.VariantType.UInt16,
    DataType.INT32: ua.VariantType.Int32,
    DataType.UINT32: ua.VariantType.UInt32,
    DataType.INT64: ua.VariantType.Int64,
    DataType.UINT64: ua.VariantType.UInt64,
    DataType.FLOAT: ua.VariantType.Float,
    DataType.DOUBLE: ua.VariantType.Double,
    DataType.STRING: ua.VariantType.String,
}


@dataclass(frozen=True, slots=True)
class SimulatedNode:
    """A variable. ``identifier`` is that of its node id; ``Ram.Force`` appears as ``Force`` below an object ``Ram``."""

    identifier: str
    datatype: DataType
    value: Any
    writable: bool = False


class SimulatedOpcUaServer:
    """Serves ``nodes`` in ``namespace`` for as long as it is entered: ``async with SimulatedOpcUaServer(…) as server``.

    Entering raises ``OSError`` when the port is taken.
    """

    def __init__(
        self, namespace: str, nodes: Sequence[SimulatedNode], *, port: int, host: str = "127.0.0.1", name: str = "Press"
    ) -> None:
        self._namespace = namespace
        self._described = {node.identifier: node for node in nodes}
        self._url = f"opc.tcp://{host}:{port}"
        self._name = name
        load_server()
        from asyncua.server.server import Server

        self._server = Server()
        self._nodes: dict[str, Node] = {}
        self._shown: dict[str, Any] = {}

    async def __aenter__(self) -> SimulatedOpcUaServer:
        server = self._server
        await server.init()
        server.set_endpoint(self._url)
        server.set_server_name(self._name)
        server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await server.set_application_uri(f"urn:lineside:simulated:{self._name.lower()}")
        await self._add_nodes(await server.register_namespace(self._namespace))
        await server.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._server.stop()

    async def set(self, values: Mapping[str, Any]) -> None:
        """Give nodes new values, with the time of now; those that have not changed stay as they are."""
        now = ua.DateTime.now(UTC).replace(tzinfo=None)
        for identifier, value in values.items():
            if self._shown.get(identifier) != value:
                self._shown[identifier] = value
                data = ua.DataValue(self._variant(identifier, value), SourceTimestamp=now)
                await self._server.write_attribute_value(self._nodes[identifier].nodeid, data)

    async def value(self, identifier: str) -> Any:
        """The value of a node; of one that is writable, perhaps what a client has written."""
        value = await self._nodes[identifier].read_value()
        self._shown[identifier] = value
        return value

    async def _add_nodes(self, index: int) -> None:
        objects: dict[str, Node] = {"": self._server.nodes.objects}
        for identifier, described in self._described.items():
            path, _, last = identifier.rpartition(".")
            if path not in objects:
                name = ua.QualifiedName(path, ua.UInt16(index))
                objects[path] = await objects[""].add_object(_node_id(path, index), name)
            node = await objects[path].add_variable(
                _node_id(identifier, index),
                ua.QualifiedName(last, ua.UInt16(index)),
                self._variant(identifier, described.value),
            )
            if described.writable:
                await node.set_writable()
            self._nodes[identifier] = node
            self._shown[identifier] = described.value

    def _variant(self, identifier: str, value: Any) -> ua.Variant:
        return ua.Variant(value, _VARIANT_TYPES[self._described[identifier].datatype])


def _node_id(identifier: str, index: int) -> ua.NodeId:
    return ua.NodeId(ua.String(identifier), ua.Int16(index))
