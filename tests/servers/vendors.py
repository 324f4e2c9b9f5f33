"""The vendors of payment, shipping and CRM as servers on this machine, by programs that nobody here wrote.

stripe-mock answers as Stripe's specification says; Prism does so for ShipEngine's own specification, and for the calls
to HubSpot that ``prism/hubspot.yaml`` describes. None of them remembers anything: what a vendor remembers is tested on
the gateways that Lineside brings (``connectors.payments.fake`` and its like).
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from lineside.servers.child_process import ChildProcess, ServerNotStarted, accepts_connections, find_program, free_port

from tests.servers.sparkplug_peers import PACKAGE_FILES, fetch_packages, made_once

_SOURCE: Final = Path(__file__).parent / "prism"
_SERVERS: Final = Path(__file__).resolve().parents[2] / ".servers"
_BUILD_S_MAX: Final = 600.0
_START_S_MAX: Final = 60.0


def stripe_mock() -> Path:
    """The program. Raises ``ProgramMissing`` or ``ServerNotStarted``."""
    folder = _SERVERS / "stripe_mock"
    version = Path(__file__).parent / "stripe_mock.txt"

    def make() -> None:
        go = find_program("go", "apt-get install golang-go")
        environment = {**os.environ, "GOBIN": str(folder), "GOFLAGS": "-modcacherw"}
        try:
            subprocess.run(
                [go, "install", version.read_text().strip()],
                env=environment,
                check=True,
                capture_output=True,
                text=True,
                timeout=_BUILD_S_MAX,
            )
        except subprocess.TimeoutExpired as exc:
            raise ServerNotStarted(f"go did not build stripe-mock within {_BUILD_S_MAX:g} s") from exc
        except subprocess.CalledProcessError as exc:
            raise ServerNotStarted(f"go could not build stripe-mock: {exc.stderr[-1000:]}") from exc

    made_once(folder, [version], make)
    return folder / "stripe-mock"


def prism() -> Path:
    """The folder with Prism and ShipEngine's specification. Raises ``ProgramMissing`` or ``ServerNotStarted``."""
    folder = _SERVERS / "prism"
    made_once(folder, [_SOURCE / name for name in PACKAGE_FILES], lambda: fetch_packages(_SOURCE, folder))
    return folder


class VendorServer:
    """One running server on 127.0.0.1."""

    def __init__(self, name: str, command: list[str], port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._command = command
        self._port = port
        self._folder = tempfile.TemporaryDirectory(prefix=f"{name}-")
        self._process = ChildProcess(name, Path(self._folder.name) / "log")

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self._process.start(self._command, lambda: accepts_connections(self._port), timeout_s=_START_S_MAX)

    def log(self) -> str:
        """What it has said."""
        return self._process.log()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._folder.cleanup()


def stripe_server() -> VendorServer:
    """Stripe, as its specification says."""
    port = free_port()
    return VendorServer("stripe-mock", [str(stripe_mock()), "-http-addr", f"127.0.0.1:{port}"], port)


def shipengine_server() -> VendorServer:
    """ShipEngine, as its specification says.

    No request can be what it says of estimates (a property is misspelt where it is required, and one of two forms is
    asked for where each fits both), so that one schema is mended.
    """
    document = json.loads((prism() / "node_modules" / "shipengine-openapi" / "openapi.json").read_text())
    schemas = document["components"]["schemas"]
    estimate = schemas["estimate_rates_request_body"]
    carriers = schemas["rate_estimate_by_carrier_ids"]["properties"]
    content = document["paths"]["/v1/rates/estimate"]["post"]["requestBody"]["content"]
    content["application/json"]["schema"] = {
        "type": "object",
        "additionalProperties": False,
        "required": [name.replace("provinced", "province") for name in estimate["required"]],
        "properties": {**carriers, **schemas["rate_estimate_options"]["properties"]},
    }
    mended = prism() / f"shipengine.{os.getpid()}.json"
    mended.write_text(json.dumps(document))
    return _prism_server("shipengine", mended)


def hubspot_server() -> VendorServer:
    """HubSpot, as far as ``prism/hubspot.yaml`` describes it."""
    return _prism_server("hubspot", _SOURCE / "hubspot.yaml")


def _prism_server(name: str, specification: Path) -> VendorServer:
    node, port = find_program("node", "apt-get install nodejs"), free_port()
    program = prism() / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
    options = ["mock", "--host", "127.0.0.1", "--port", str(port), str(specification)]
    return VendorServer(name, [node, str(program), *options], port)
