"""TLS credentials that are reloaded when their files change, so that rotating a certificate needs no restart."""

import logging
import ssl
from pathlib import Path
from typing import Any

import grpc

from modelward_server.settings import SettingError

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
            SettingError: a file contains something else, or the key is not that of the certificate.
        """
        changed: Any = self._changed  # The type stubs omit that it may return None.
        return grpc.dynamic_ssl_server_credentials(self._read(), changed, self._client_ca is not None)

    def _read(self) -> grpc.ServerCertificateConfiguration:
        authority = self._client_ca.read_bytes() if self._client_ca else None
        pair = (self._key.read_bytes(), self._cert.read_bytes())
        self._check(authority)
        return grpc.ssl_server_certificate_configuration([pair], authority)

    def _check(self, authority: bytes | None) -> None:
        """Check what gRPC would only report as an address that cannot be bound."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._cert, self._key, password="")  # No prompt for a key that is encrypted.
        except ssl.SSLError:
            reason = f"{self._cert} and {self._key} are no certificate and its private key, unencrypted, in PEM"
            raise SettingError("tls_cert", reason) from None
        try:
            if authority is not None:
                context.load_verify_locations(cadata=authority.decode())
        except (ssl.SSLError, ValueError):
            raise SettingError("tls_client_ca", f"{self._client_ca} contains no certificate in PEM") from None

    def _stamps(self) -> list[int]:
        return [file.stat().st_mtime_ns for file in (self._cert, self._key, self._client_ca) if file]

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return a new configuration at a handshake after a change; None keeps the current one."""
        try:
            stamps = self._stamps()
            if stamps == self._seen:
                return None
            fresh = self._read()
        except (OSError, SettingError) as error:
            log.warning("certificates could not be reloaded: %s", error)
            return None
        self._seen = stamps
        return fresh
