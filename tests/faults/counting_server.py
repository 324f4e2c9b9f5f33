"""An OPC UA server in C (open62541) whose variables count: ``python -m tests.faults.counting_server PORT NODES HZ N``.

Every variable goes up by one, HZ times a second, from the number after N on; a monitored item with a sampling interval
of 0 reports each number. After a line on standard input they stand still, and the server prints the last number and
serves on.
"""

from __future__ import annotations

import asyncio
import sys
import time

import o6


async def run(port: int, nodes: int, hz: float, after: int) -> None:
    """Serve until standard input ends."""
    server = o6.Server(port=port)
    node_ids = [o6.NodeId(f"ns=1;s=N{node}") for node in range(nodes)]
    for node, node_id in enumerate(node_ids):
        await server.addVariable(f"N{node}", server.objects, o6.Int64(after), nodeId=str(node_id))
    server.start()
    await server.waitReady()
    print("ready", flush=True)
    write = super(o6.Server, server)._write_value
    told = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    number, next_s = after, time.monotonic()
    while not told.done():
        number += 1
        for node_id in node_ids:
            write(node_id, o6.Int64(number))
        next_s = max(next_s + 1 / hz, time.monotonic())
        await asyncio.sleep(max(0.0, next_s - time.monotonic()))
    print(number, flush=True)
    await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
