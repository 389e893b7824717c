"""TLS credentials that are reloaded when their files change, so that rotating a certificate needs no restart."""

import logging
from pathlib import Path
from typing import Any

import grpc

log = logging.getLogger(__name__)


class Certificates:
    """The server's certificate and key, and the authority for clients' certificates, if any."""

    def __init__(self, cert: str, key: str, client_ca: str) -> None:
        self._cert, self._key = Path(cert), Path(key)
        self._client_ca = Path(client_ca) if client_ca else None
        self._seen = self._stamps()

    def credentials(self) -> grpc.ServerCredentials:
        """Return the server's credentials.

        Raises:
            OSError: a file cannot be read.
        """
        changed: Any = self._changed  # The type stubs omit that it may return None.
        return grpc.dynamic_ssl_server_credentials(self._read(), changed, self._client_ca is not None)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        authority = self._client_ca.read_bytes() if self._client_ca else None
        pair = (self._key.read_bytes(), self._cert.read_bytes())
        return grpc.ssl_server_certificate_configuration([pair], authority)

    def _stamps(self) -> list[int]:
        return [file.stat().st_mtime_ns for file in (self._cert, self._key, self._client_ca) if file]

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return a new configuration at a handshake after a change; None keeps the current one."""
        try:
            stamps = self._stamps()
            if stamps == self._seen:
                return None
            fresh = self._read()
        except OSError as error:
            log.warning("certificates could not be reloaded: %s", error)
            return None
        self._seen = stamps
        return fresh
