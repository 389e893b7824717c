"""TLS, mutual TLS and rotated certificates, through the SDK."""

import asyncio
import datetime
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import ValidationError

from modelward import AsyncClient, Client
from modelward.caller import Role
from modelward.errors import DeadlineExceeded, NotAuthenticated, RoleTooLow, Unavailable
from modelward_server.security import authentication
from modelward_server.security.admin_session import admin_session
from modelward_server.security.grants import allow_certificate, list_grants, revoke
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

KEPT = 0.2
"""Seconds for which these servers believe a certificate."""


def issue(folder: Path) -> tuple[bytes, bytes]:
    """Write a new self-signed certificate and its key to the folder, and return both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    cert = builder.add_extension(x509.BasicConstraints(True, None), critical=True).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "cert.pem").write_bytes(cert.public_bytes(pem))
    (folder / "key.pem").write_bytes(secret)
    return cert.public_bytes(pem), secret


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "server").mkdir()
    (tmp_path / "client").mkdir()
    return tmp_path / "server", tmp_path / "client"


@pytest.fixture
def secured(tmp_path: Path, folders: tuple[Path, Path]) -> Iterator[tuple[str, bytes, bytes, bytes]]:
    own, theirs = folders
    authority, _ = issue(own)
    cert, key = issue(theirs)
    files = {"tls_cert": own / "cert.pem", "tls_key": own / "key.pem", "tls_client_ca": theirs / "cert.pem"}
    named = {name: str(file) for name, file in files.items()}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(authentication, "SECONDS_KEPT", KEPT)
        running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", **named))  # type: ignore[arg-type]
    yield running.target.replace("127.0.0.1", "localhost"), authority, cert, key
    running.stop()


async def test_clients_need_a_certificate_and_a_rotated_one_is_served(
    secured: tuple[str, bytes, bytes, bytes], folders: tuple[Path, Path]
) -> None:
    target, authority, cert, key = secured
    both = grpc.ssl_channel_credentials(authority, key, cert)
    with pytest.raises(RoleTooLow, match="localhost has the role viewer"), Client(target, credentials=both) as client:
        client.create_model("spx")  # Nobody gave the certificate a role.
    with admin_session(Settings(data_dir=folders[0].parent / "data")) as (session, caller):
        allow_certificate(session, "localhost", Role.OPERATOR, (), caller)
    await asyncio.sleep(KEPT)
    with Client(target, actor="mallory", credentials=both) as client:
        client.create_model("spx")
        record, caller_of_grant = list(client.export_audit_log())[-1], client.get_caller()
    assert (caller_of_grant.name, caller_of_grant.role, caller_of_grant.authenticated) == (
        "localhost",
        "operator",
        True,
    )
    assert record.actor == "localhost"  # As the client's certificate names it, whatever the client says.
    with admin_session(Settings(data_dir=folders[0].parent / "data")) as (session, caller):
        revoke(session, list_grants(session)[0].id, caller)
    await asyncio.sleep(KEPT)
    with pytest.raises(NotAuthenticated, match="was revoked"), Client(target, credentials=both) as client:
        client.get_model("spx")  # Which a certificate that nobody ever saw may do.
    with admin_session(Settings(data_dir=folders[0].parent / "data")) as (session, caller):
        allow_certificate(session, "localhost", Role.VIEWER, (), caller)
    await asyncio.sleep(KEPT)
    bare = grpc.ssl_channel_credentials(authority)
    with Client(target, timeout=1, credentials=bare) as client, pytest.raises((Unavailable, DeadlineExceeded)):
        client.get_model("spx")
    fresh, _ = issue(folders[0])
    async with AsyncClient(target, credentials=grpc.ssl_channel_credentials(fresh, key, cert)) as rotated:
        assert (await rotated.get_model("spx")).name == "spx"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1"])
def test_listening_openly_is_refused(host: str) -> None:
    with pytest.raises(ValidationError, match="--tls-client-ca"):
        Settings(host=host)


def test_commands_take_their_certificates_from_the_environment(
    secured: tuple[str, bytes, bytes, bytes], folders: tuple[Path, Path]
) -> None:
    target, *_ = secured
    own, theirs = folders
    line = [sys.executable, "-m", "modelward", "models", "--server", target, "--timeout", "20"]
    files = {
        "MODELWARD_CA": own / "cert.pem",
        "MODELWARD_CERT": theirs / "cert.pem",
        "MODELWARD_KEY": theirs / "key.pem",
    }
    env = os.environ | {name: str(file) for name, file in files.items()}
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert done.returncode == 0, done.stderr
    env["MODELWARD_CA"] = str(own / "none.pem")
    lost = subprocess.run(line, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert lost.returncode == 1
    assert "none.pem: No such file or directory" in lost.stderr


@pytest.mark.system
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--host", "0.0.0.0"],
            "(MODELWARD_AUTH): listening on 0.0.0.0 needs --tls-cert and --tls-key, and authentication",
        ),
        (["--tls-cert", "cert.pem"], "TLS needs both --tls-cert and --tls-key"),
        (
            ["--tls-cert", "none.pem", "--tls-key", "none.pem"],
            "(MODELWARD_TLS_CERT): none.pem: No such file",
        ),
    ],
)
def test_serve_says_what_it_lacks(flags: list[str], words: str, tmp_path: Path) -> None:
    line = [sys.executable, "-m", "modelward", "serve", "--port", "0", "--data-dir", str(tmp_path / "data"), *flags]
    done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=tmp_path)
    assert done.returncode != 0
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
