"""``edge-opcua-secure``: what signature and encryption cost: the same load with and without, in samples per CPU-second.

Each load runs without security and with each policy, in turns on one server; of several turns the best one counts, as
what else the machine does can only take from it.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from lineside.servers.child_process import free_port
from lineside.servers.mosquitto import MosquittoBroker

from benchmarks.edge_run import agent_file, measure_agent
from benchmarks.processes import python
from benchmarks.report import Figure, report
from connectors.trust import FOLDER
from connectors.trust.own import CERTIFICATE_FILE, own_certificate
from connectors.trust.store import TrustStore

NODES: Final = 1000
HZ: Final = 10
SECONDS: Final = 15.0
TURNS: Final = 3
LOADS: Final = (("double", 1), ("double", 10), ("mixed", 10))
POLICIES: Final = ("Basic256Sha256", "Aes256_Sha256_RsaPss")
"""In a session Aes128_Sha256_RsaOaep differs from the first in the length of its key alone: it costs less."""
PART_MIN: Final = 75.0
"""Per cent of what the agent does without security."""


def main() -> None:
    """Run all loads."""
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="lineside-bench-") as name:
        folder = Path(name)
        broker = MosquittoBroker(folder / "mosquitto")
        broker.start()
        host = python("benchmarks.acknowledging_host", broker.url, log=folder / "host.log")
        host.wait_for("ready")
        own_certificate(folder / "server", "bench/server")
        try:
            for kind, fan in LOADS:
                figures += _load(folder, broker.url, kind, fan)
        finally:
            host.stop()
            broker.stop()
    report("edge-opcua-secure", figures)


def _load(folder: Path, broker: str, kind: str, fan: int) -> list[Figure]:
    port, pair = free_port(), folder / "server"
    words = (str(port), str(NODES), str(HZ), kind, str(pair))
    server = python("benchmarks.opcua_server", *words, log=folder / f"server-{kind}-{fan}.log")
    title = f"{kind}, {NODES * fan:,} tags at {HZ} Hz"
    try:
        server.wait_for("ready", 60.0)
        best = dict.fromkeys((None, *POLICIES), 0.0)
        for turn in range(TURNS):
            for policy in best:
                device = _device(port, fan, _security(policy))
                best[policy] = max(
                    best[policy], _measured(folder / f"{kind}-{fan}-{turn}-{policy}", broker, device, pair)
                )
    finally:
        server.stop()
    figures = [Figure(f"{title}, no security", best[None], "samples/CPU-s")]
    for policy in POLICIES:
        figures.append(Figure(f"{title}, {policy}", best[policy], "samples/CPU-s"))
        figures.append(Figure(f"{title}, {policy}: part", 100 * best[policy] / best[None], "%", PART_MIN))
    return figures


def _security(policy: str | None) -> str:
    return "insecure: true" if policy is None else f"security: {{policy: {policy}, mode: SignAndEncrypt}}"


def _measured(run: Path, broker: str, device: str, pair: Path) -> float:
    run.mkdir()
    TrustStore(run / "data" / FOLDER).accept_file(pair / CERTIFICATE_FILE)
    return measure_agent(agent_file(run, broker, device), run, SECONDS).per_cpu_s


def _device(port: int, fan: int, security: str) -> str:
    lines = ["  - name: press", "    driver: opcua", f"    endpoint: opc.tcp://127.0.0.1:{port}", f"    {security}"]
    tags = [f"      - {{name: t{copy}/{node}, at: ns=1;s=T{node}}}" for copy in range(fan) for node in range(NODES)]
    return "\n".join([*lines, "    tags:", *tags]) + "\n"
