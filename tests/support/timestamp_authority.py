"""A time-stamp authority (RFC 3161): OpenSSL's, behind an HTTP server on this machine."""

import subprocess
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CONFIG = """
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
signer_cert = {folder}/authority.pem
signer_key = {folder}/authority.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
ess_cert_id_alg = sha256
"""


class TimestampAuthority:
    """Answers with time stamps, or as it is told.

    Args:
        folder: where it keeps its keys; the certificate of its root is in `root.pem`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir()
        _write_certificates(folder)
        (folder / "serial").write_text("01")
        (folder / "openssl.cnf").write_text(CONFIG.format(folder=folder))
        self.root = folder / "root.pem"
        self.answers: list[bytes | int | float] = []
        """What to answer next, before time stamps: a body, a status, or seconds of silence."""
        self.asked = 0
        self._replying = threading.Lock()

    def __enter__(self) -> "TimestampAuthority":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._stopping = threading.Event()
        self.url = f"http://127.0.0.1:{self._server.server_port}/tsr"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def reply(self, query: bytes) -> bytes:
        """Return a time stamp."""
        command = ["openssl", "ts", "-reply", "-config", str(self._folder / "openssl.cnf")]
        files = ["-queryfile", str(self._folder / "query.tsq"), "-out", str(self._folder / "answer.tsr")]
        with self._replying:
            (self._folder / "query.tsq").write_bytes(query)
            subprocess.run([*command, *files], check=True, capture_output=True)
            return (self._folder / "answer.tsr").read_bytes()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                authority.asked += 1
                query = self.rfile.read(int(self.headers["content-length"]))
                answer = authority.answers.pop(0) if authority.answers else authority.reply(query)
                if isinstance(answer, float):
                    authority._stopping.wait(answer)
                    return
                self.send_response(answer if isinstance(answer, int) else 200)
                self.send_header("location", f"{authority.url}/elsewhere")
                self.end_headers()
                self.wfile.write(b"" if isinstance(answer, int) else answer)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base class calls it so
                pass

        return Handler


def _write_certificates(folder: Path) -> None:
    """Write a root, and below it the certificate and the key of the authority."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = (x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)]) for text in ("root", "authority"))
    root = _builder(root_name, root_name, root_key).add_extension(x509.BasicConstraints(True, None), critical=True)
    purpose = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.TIME_STAMPING])
    own = _builder(name, root_name, key).add_extension(purpose, critical=True)
    for file, builder in (("root.pem", root), ("authority.pem", own)):
        (folder / file).write_bytes(builder.sign(root_key, SHA256()).public_bytes(Encoding.PEM))
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "authority.key").write_bytes(pem)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
