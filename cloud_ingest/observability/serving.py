"""Metrics, and whether this process does its work, for a process without the gateway: a small server in a thread."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from cloud_ingest.observability.obstacles import START, Obstacles


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = 30

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the name is wsgiref's
        """Requests are not logged."""


def serve_operations(host: str, port: int, registry: CollectorRegistry, obstacles: Obstacles) -> Callable[[], None]:
    """Serve ``/metrics``, ``/healthz`` and ``/readyz`` until what it returns is called. Raises ``OSError``."""
    server = (_Server6 if ":" in host else _Server)((host, port), _Quiet)
    server.set_app(_app(registry, obstacles))
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()

    def stop() -> None:
        server.shutdown()
        server.server_close()

    return stop


def readiness(obstacles: Obstacles) -> tuple[str, dict[str, str]]:
    """What ``/readyz`` answers: the status line and the document. As the gateway's, without questions to answer."""
    if reason := obstacles.reason(START):
        return "503 Service Unavailable", {"status": "not ready", "reason": reason}
    waiting = str(obstacles)
    return "200 OK", {"status": "degraded" if waiting else "ok", "reason": waiting}


def _app(registry: CollectorRegistry, obstacles: Obstacles) -> Callable[..., Iterable[bytes]]:
    metrics: Any = make_wsgi_app(registry)

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path not in ("/healthz", "/readyz"):
            answer: Iterable[bytes] = metrics(environ, start_response)
            return answer
        line, document = ("200 OK", {"status": "ok", "reason": ""}) if path == "/healthz" else readiness(obstacles)
        start_response(line, [("Content-Type", "application/json")])
        return [json.dumps(document).encode()]

    return app
