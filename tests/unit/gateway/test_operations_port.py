"""A process without the gateway says at its port for metrics, too, what it waits for."""

from __future__ import annotations

import httpx
import pytest
from lineside.servers.child_process import free_port
from prometheus_client import CollectorRegistry, Gauge

from cloud_ingest.observability.obstacles import START, Obstacles
from cloud_ingest.observability.serving import serve_operations


@pytest.mark.parametrize(
    ("part", "code", "status"), [("", 200, "ok"), ("ingest append", 200, "degraded"), (START, 503, "not ready")]
)
def test_readiness_is_served_beside_the_metrics(part: str, code: int, status: str) -> None:
    obstacles, registry, port = Obstacles(), CollectorRegistry(), free_port()
    Gauge("lineside_example", "An example", registry=registry).set(7)
    if part:
        obstacles.stands(part, "Kafka is away")
    stop = serve_operations("127.0.0.1", port, registry, obstacles)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            ready, alive, metrics = client.get("/readyz"), client.get("/healthz"), client.get("/metrics")
    finally:
        stop()
    assert (ready.status_code, ready.json()["status"]) == (code, status)
    assert ("Kafka is away" in ready.json()["reason"]) == bool(part)
    assert (alive.status_code, alive.json()["status"]) == (200, "ok")
    assert "lineside_example 7.0" in metrics.text
