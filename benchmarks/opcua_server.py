"""An OPC UA server in C (open62541, by the o6 wheel): ``python -m benchmarks.opcua_server PORT NODES HZ double|mixed``.

With a further argument, the folder of a certificate and key, it offers its security policies, too, to whoever asks.
All values change HZ times a second. o6 ends a process after ten minutes in its free mode.
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

import o6

from connectors.trust.own import CERTIFICATE_FILE, KEY_FILE, load_pair

MIXED = "dddfffiibt"
"""Of ten nodes: three doubles, three floats, two integers, one Boolean, one text."""


def value_of(kind: str, node: int, cycle: int) -> Any:
    """The value of a node in a cycle; it differs from the one before."""
    if kind == "d":
        return o6.Double(cycle + node * 0.001)
    if kind == "f":
        return o6.Float(cycle + node)
    if kind == "i":
        return o6.Int32(cycle * 7 + node)
    if kind == "b":
        return bool((cycle + node) % 2)
    return f"step {cycle % 100} of part {node}"


def server_of(port: int, folder: Path | None) -> o6.Server:
    """The server, with the pair in ``folder`` if there is one."""
    if folder is None:
        return o6.Server(port=port)
    files = {"certificate": folder / CERTIFICATE_FILE, "privateKey": folder / KEY_FILE}
    pair = load_pair(*files.values())
    return o6.Server(port=port, **files, applicationUri=pair.application_uri, acceptAllCertificates=True)


async def run(port: int, nodes: int, hz: float, mixed: bool, folder: Path | None) -> None:
    """Serve until ended."""
    server = server_of(port, folder)
    known = []
    for node in range(nodes):
        kind = MIXED[node % 10] if mixed else "d"
        node_id = f"ns=1;s=T{node}"
        await server.addVariable(f"T{node}", server.objects, value_of(kind, node, 0), nodeId=node_id)
        known.append((kind, node, o6.NodeId(node_id)))
    for name in ("command", "echo"):  # these stand still, and can be written
        await server.addVariable(name, server.objects, o6.Double(0.0), nodeId=f"ns=1;s={name}", writable=True)
    server.start()
    await server.waitReady()
    print("ready", flush=True)
    write = super(o6.Server, server)._write_value
    cycle, next_s = 0, time.monotonic()
    while True:
        cycle += 1
        for kind, node, node_id in known:
            write(node_id, value_of(kind, node, cycle))
        next_s += 1 / hz
        await asyncio.sleep(max(0.0, next_s - time.monotonic()))


if __name__ == "__main__":
    PAIR = Path(sys.argv[5]) if len(sys.argv) > 5 else None
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), sys.argv[4] == "mixed", PAIR))
