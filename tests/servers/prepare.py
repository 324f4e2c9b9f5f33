"""Fetch and build what the tests' servers need, before any test waits for it. ``python -m tests.servers.prepare``."""

from __future__ import annotations

import subprocess
import sys

from lineside.servers.child_process import ProgramMissing, ServerNotStarted, find_program
from lineside.servers.postgres import binaries

from tests.servers.kafka import fetch_jars
from tests.servers.modbus import RTU_SOURCE, built_server
from tests.servers.mongo import fetch_stand_in
from tests.servers.node_modbus import node_modbus
from tests.servers.node_opcua import node_opcua
from tests.servers.sparkplug_peers import sparkplug_payload, tahu
from tests.servers.vendors import prism, stripe_mock


def main() -> int:
    """Say what is there; 1, and one line that names it, when something is missing."""
    try:
        find_program("mosquitto", "apt-get install mosquitto")
        find_program("java", "apt-get install openjdk-17-jre-headless")
        binaries()
        built_server()
        built_server(RTU_SOURCE)
        print("Kafka's jars: fetching from Maven Central, if they are not here yet", flush=True)
        fetch_jars()
        print("Sparkplug peers: fetching from Maven Central and npm, if they are not here yet", flush=True)
        tahu()
        sparkplug_payload()
        print("a stand-in for MongoDB: fetching from Maven Central, if it is not here yet", flush=True)
        fetch_stand_in()
        print("node-opcua and modbus-serial: fetching from npm, if they are not here yet", flush=True)
        node_opcua()
        node_modbus()
        print("stripe-mock and Prism: building and fetching from npm, if they are not here yet", flush=True)
        stripe_mock()
        prism()
    except (ProgramMissing, ServerNotStarted, subprocess.CalledProcessError) as exc:
        print(f"the tests cannot run: {exc}", file=sys.stderr)
        return 1
    devices = "libmodbus, modbus-serial, open62541, node-opcua"
    others = "Eclipse Tahu, sparkplug-payload, mongo-java-server, stripe-mock, Prism"
    print(f"servers for tests: Mosquitto, Kafka, PostgreSQL, {devices}, {others}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
