"""A short soak: faults at random, several at once; every number is stored exactly once, or lies in a declared gap."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from lineside.servers.postgres import PostgresServer

from tests.faults.soak import soak
from tests.servers.kafka import KafkaServer

SECONDS = 40.0


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(500)
def test_random_faults_leave_nothing_unexplained(
    tmp_path: Path, postgres_server: PostgresServer, database_dsn: str
) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    kafka = KafkaServer(tmp_path / "kafka")  # its own: another test's plant has the same name, and its log is kept
    kafka.start()
    try:
        findings = soak(SECONDS, seed, tmp_path, postgres_server, database_dsn.rpartition("/")[2], kafka)
    finally:
        kafka.stop()
    table = "\n".join(findings.lines())
    print(table)
    assert findings.is_good, f"repeat with: python -m tests.faults.soak 1 --seed {seed}\n{table}"
    assert findings.stored > 10_000
    assert sum(findings.faults.values()) >= 5
