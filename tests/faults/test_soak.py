"""A short soak: faults at random, several at once; every number is stored exactly once, or lies in a declared gap."""

from __future__ import annotations

import random
from contextlib import ExitStack
from pathlib import Path

import pytest
from lineside.servers.postgres import PostgresServer

from tests.faults.soak import soak
from tests.servers.kafka import KafkaServer


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(500)
def test_random_faults_leave_nothing_unexplained(tmp_path: Path) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    with ExitStack() as stack:
        # Servers of its own: whatever state a failed soak leaves them in, no other test meets it.
        postgres, kafka = (
            PostgresServer(tmp_path / "postgres", settings={"max_connections": "200"}),
            KafkaServer(tmp_path / "kafka"),
        )
        for server in (postgres, kafka):
            stack.callback(server.stop)
            server.start()
        postgres.create_database("soak")
        made = stack.enter_context(soak(tmp_path, postgres, "soak", kafka, seed))
        findings = made.run(0.0, at_once=(5, 6, 7), longest_s=3.0)
    table = "\n".join(findings.lines())
    print(table)
    assert findings.is_good, f"repeat with: python -m tests.faults.soak 1 --seed {seed}\n{table}"
    assert findings.stored > 10_000
    assert sorted(findings.faults) == made.kinds, "each kind of fault is dealt once at least"
    assert len(made.kinds) == 35
