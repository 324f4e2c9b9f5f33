"""``gateway-reads``: REST reads at 200 a second, while 50,000 samples a second are stored on the same cores.

How it is measured: ``reads_beside_samples``. The client has as many connections as it needs.
"""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode, urlsplit

import uvloop

from benchmarks.delivering_fleet import TAGS
from benchmarks.plain_http import Pool
from benchmarks.reads_beside_samples import AGENTS, LoadedPlant, Round, figures, loaded_plant, read_rounds
from benchmarks.report import report


def paths() -> list[str]:
    """The reads, one after the other: what a screen asks for again and again."""
    now = datetime.now(UTC)

    def samples(tag: int, since: timedelta, **more: str) -> str:
        asked = {"agent": f"bench/agent{tag % AGENTS}", "device": "press", "tag": f"t{tag}", "limit": "500",
                 "from": (now - since).isoformat(), **more}  # fmt: skip
        return f"/api/v1/samples?{urlencode(asked, quote_via=quote)}"

    tag = random.randrange(TAGS)
    return [
        f"/api/v1/tags?limit=100&after={random.randrange(7000)}",
        samples(tag, timedelta(seconds=20)),
        samples(tag, timedelta(hours=1), bucket="1m"),
        "/api/v1/agents",
        "/api/v1/commands?limit=50",
    ]


async def measure(plant: LoadedPlant) -> list[Round]:
    """All rounds."""
    place = urlsplit(plant.cloud.url)
    reads = Pool(str(place.hostname), int(place.port or 80), plant.cloud.token)
    try:
        for path in paths():  # once each, so that all plans are made
            await reads.timed(path, time.perf_counter())
        return await read_rounds(plant, reads.timed, lambda: random.choice(paths()))
    finally:
        reads.close()


def main() -> None:
    """Measure."""
    with loaded_plant() as plant, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rounds = runner.run(measure(plant))
    report("gateway-reads", figures(rounds))


if __name__ == "__main__":
    main()
