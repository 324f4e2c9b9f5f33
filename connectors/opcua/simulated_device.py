"""An OPC UA device of a device file, played by a small server without security."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from connectors.model.datatypes import DataType
from connectors.opcua.browse_paths import is_path
from connectors.opcua.node_ids import parse_written
from connectors.opcua.settings import OpcUaDevice
from connectors.opcua.simulated_server import SimulatedNode, SimulatedOpcUaServer
from connectors.opcua.tag_settings import OpcUaTag
from connectors.ports.simulated_device import wave

NAMESPACE_WITHOUT_URI: Final = "urn:lineside:simulated"
NOT_PLAYED: Final = frozenset({DataType.DATETIME, DataType.BYTES, DataType.UUID, DataType.TEXT})
INDEX: Final = 2
"""That of the only namespace of the server, beside OPC UA's and its own."""


class _Played:
    def __init__(self, nodes: Mapping[str, SimulatedNode], left_out: Mapping[str, str], port: int) -> None:
        self.endpoint = f"opc.tcp://127.0.0.1:{port}"
        self.left_out = left_out
        self.server: SimulatedOpcUaServer | None = None
        self._moving = {name: node for name, node in nodes.items() if not node.writable}

    async def step(self, at_s: float) -> None:
        """See ``SimulatedDevice``."""
        if self.server is not None:
            values = {node.identifier: wave(at, node.datatype, at_s) for at, node in enumerate(self._moving.values())}
            await self.server.set(values)


@asynccontextmanager
async def simulated_opcua(device: OpcUaDevice, port: int) -> AsyncIterator[_Played]:
    """Serve ``device`` on 127.0.0.1. Raises ``OSError`` when the port is taken."""
    namespace = _namespace(device)
    nodes: dict[str, SimulatedNode] = {}
    left_out: dict[str, str] = {}
    for number, tag in enumerate(device.tags):
        datatype = tag.datatype or DataType.DOUBLE
        why = _why_not(tag, namespace, datatype)
        if why:
            left_out[tag.name] = why
            continue
        identifier = str(parse_written(tag.at).identifier)
        nodes[tag.name] = SimulatedNode(identifier, datatype, wave(number, datatype, 0.0), tag.writable is not None)
    parents = {node.identifier.rpartition(".")[0] for node in nodes.values()}
    for name in [name for name, node in nodes.items() if node.identifier in parents]:
        left_out[name] = "others are below it"
        del nodes[name]
    played = _Played(nodes, left_out, port)
    async with SimulatedOpcUaServer(namespace, list(nodes.values()), port=port, name=device.name) as server:
        played.server = server
        yield played


def _namespace(device: OpcUaDevice) -> str:
    """The URI that most tags name."""
    named = [parse_written(tag.at).namespace for tag in device.tags if not is_path(tag.at)]
    uris = [one for one in named if isinstance(one, str)]
    return max(set(uris), key=uris.count) if uris else NAMESPACE_WITHOUT_URI


def _why_not(tag: OpcUaTag, namespace: str, datatype: DataType) -> str:
    if is_path(tag.at):
        return "browse paths are not played"
    if tag.part or tag.enum_names:
        return "parts of structures and names of enumerations are not played"
    written = parse_written(tag.at)
    if not isinstance(written.identifier, str):
        return "only node ids with texts (s=…) are played"
    if written.namespace not in (namespace, INDEX):
        return f"only one namespace is played, {namespace} (ns={INDEX})"
    return f"no {datatype.label} is played" if datatype in NOT_PLAYED else ""
