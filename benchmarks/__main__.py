"""``python -m benchmarks NAME``: run one benchmark."""

from __future__ import annotations

import importlib
import sys

NAMES = {
    "edge-opcua": "benchmarks.edge_opcua",
    "edge-opcua-secure": "benchmarks.edge_opcua_secure",
    "edge-modbus": "benchmarks.edge_modbus",
    "edge-memory": "benchmarks.edge_memory",
    "many-devices": "benchmarks.many_devices",
    "reload": "benchmarks.reload",
    "edge-backlog": "benchmarks.edge_backlog",
    "outbox-sealing": "benchmarks.outbox_sealing",
    "config-check": "benchmarks.config_check",
    "cloud-ingest": "benchmarks.cloud_ingest",
    "command-latency": "benchmarks.command_latency",
    "command-fleet": "benchmarks.command_fleet",
    "work-orders": "benchmarks.work_orders",
    "simulation": "benchmarks.simulation",
    "gateway-reads": "benchmarks.gateway_reads",
    "grpc-reads": "benchmarks.grpc_reads",
    "trend": "benchmarks.trend",
    "oee": "benchmarks.oee",
    "live": "benchmarks.live",
}


def main() -> int:
    """Run the benchmark that the command names; 2 when there is no such one."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in NAMES:
        print(f"which benchmark? NAME={' | '.join(NAMES)}", file=sys.stderr)
        return 2
    importlib.import_module(NAMES[name]).main()
    return 0


if __name__ == "__main__":
    sys.exit(main())
