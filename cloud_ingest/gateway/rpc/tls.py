"""The certificate of the gRPC server: read anew for each connection when its file has changed, so it can be renewed."""

from __future__ import annotations

import os
from pathlib import Path

import grpc

from cloud_ingest.observability.gateway_events import CertificateRead, CertificateUnreadable
from cloud_ingest.settings.grpc import GrpcTls
from connectors.observability.events import emit


class CertificateFiles:
    """Of one server. Raises ``OSError`` when it is made and a file cannot be read; later it keeps what it has."""

    def __init__(self, tls: GrpcTls) -> None:
        self._tls = tls
        self._state = self._looked_at()
        self._first = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """For the server's port."""
        return grpc.dynamic_ssl_server_credentials(
            self._first, self._changed, require_client_authentication=self._tls.clients is not None
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by gRPC for each new connection, in a thread of its own: what is new, ``None`` when nothing is."""
        try:
            state = self._looked_at()
            if state == self._state:
                return None
            read = self._read()
        except OSError as exc:
            emit(CertificateUnreadable(str(self._tls.certificate), exc.strerror or str(exc)))
            return None
        self._state = state
        emit(CertificateRead(str(self._tls.certificate)))
        return read

    def _files(self) -> list[Path]:
        files = [self._tls.certificate, self._tls.key]
        return files if self._tls.clients is None else [*files, self._tls.clients]

    def _looked_at(self) -> list[tuple[int, int, int]]:
        found = [os.stat(path) for path in self._files()]
        return [(one.st_mtime_ns, one.st_size, one.st_ino) for one in found]

    def _read(self) -> grpc.ServerCertificateConfiguration:
        certificate, key, *clients = [path.read_bytes() for path in self._files()]
        return grpc.ssl_server_certificate_configuration([(key, certificate)], clients[0] if clients else None)
