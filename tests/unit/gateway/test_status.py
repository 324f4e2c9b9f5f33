"""Every obstacle is shown at the stage that is slow or away."""

from __future__ import annotations

import pytest

from cloud_ingest.gateway.status import stage_of
from cloud_ingest.observability import obstacles


@pytest.mark.parametrize(
    ("part", "stage"),
    [
        (obstacles.INGEST, "broker"),
        (obstacles.INGEST_SHARING, "broker"),
        (obstacles.fault_of("ingest"), "ingest"),
        (obstacles.INGEST_LOG, "event log"),
        (obstacles.INGEST_SLOW, "event log"),
        (obstacles.INGEST_PENDING, "event log"),
        (obstacles.LOG_RETENTION, "event log"),
        (obstacles.START, "event log"),
        (obstacles.INGEST_LAG, "historian"),
        (obstacles.HISTORIAN, "historian"),
        (obstacles.HISTORIAN_LAG, "historian"),
        (obstacles.historian_partition(3), "historian"),
        (obstacles.fault_of(obstacles.historian_partition(3)), "historian"),
        (obstacles.INGEST_REFUSED, "database"),
        (obstacles.fault_of("gateway"), "gateway"),
        (obstacles.COMMANDS, "commands"),
        (obstacles.COMMANDS_BROKER, "commands"),
        (obstacles.COMMANDS_KEY, "commands"),
        (obstacles.commands_partition(3), "commands"),
        (obstacles.fault_of(obstacles.commands_partition(3)), "commands"),
        (obstacles.EVENTS, "event log"),
        ("lines", "lines"),
        ("lines partition 3", "lines"),
        ("work orders", "lines"),
        ("inventory reservations", "inventory"),
        ("orders.inventory partition 1", "orders"),
        (obstacles.fault_of("orders timer"), "orders"),
        ("analytics hours", "analytics"),
        ("catalog", "catalog"),
        (obstacles.vendor_part("payments"), "integrations"),
        ("integrations.crm partition 0", "integrations"),
        ("notifications.order-events partition 0", "integrations"),
    ],
)
def test_each_obstacle_has_its_stage(part: str, stage: str) -> None:
    assert stage_of(part) == stage
