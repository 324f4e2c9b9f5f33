"""The HTTP driver keeps to the contract of drivers, with the web server of Python's own library as its device."""

from __future__ import annotations

import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lineside.driver_contract import DriverContract
from lineside_http import HTTP


class Device(ThreadingHTTPServer):
    """Gives one JSON document."""

    daemon_threads = True
    document: dict[str, Any]


class Answer(BaseHTTPRequestHandler):
    """One document for every address."""

    def do_GET(self) -> None:
        """Give the document."""
        content = json.dumps(self.server.document).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_args: Any) -> None:
        """Nothing."""


class TestHttpDriver(DriverContract):
    """Every test of the contract."""

    driver_name = "http"
    driver_type = HTTP

    def setup_method(self) -> None:
        """A port for this test."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.document: dict[str, Any] = {"value": 0.0, "others": [{"state": "ready"}]}
        self.server: Device | None = None

    def entry(self) -> dict[str, Any]:
        """See ``DriverContract``."""
        return {
            "endpoint": f"http://127.0.0.1:{self.port}/values.json",
            "poll": "100ms",
            "tags": [
                {"name": "value", "at": "/value"},
                {"name": "other", "at": "/others/0/state", "type": "string"},
                {"name": "missing", "at": "/no/such/place"},
            ],
        }

    def start(self) -> None:
        """See ``DriverContract``."""
        self.server = Device(("127.0.0.1", self.port), Answer)
        self.server.document = self.document
        threading.Thread(target=self.server.serve_forever, args=(0.05,)).start()

    def stop(self) -> None:
        """See ``DriverContract``."""
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
        self.server = None

    def set_value(self, value: float) -> None:
        """See ``DriverContract``."""
        self.document["value"] = value
