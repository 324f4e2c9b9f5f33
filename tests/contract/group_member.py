"""A member of a group as a process that can be killed: writes its partitions as a line of JSON, at every change."""

from __future__ import annotations

import asyncio
import json
import sys

from tests.contract.logs_under_test import open_log


async def follow(kind: str, address: str, topic: str, group: str) -> None:
    log = await open_log(kind, address)
    async with log.assigned(topic, group) as changes:
        async for partitions in changes:
            print(json.dumps(sorted(partitions)), flush=True)


if __name__ == "__main__":
    asyncio.run(follow(*sys.argv[1:]))
