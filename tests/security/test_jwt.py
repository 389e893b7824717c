"""JWTs of an identity provider, good ones and those that must not pass."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, RSAAlgorithm
from pydantic import ValidationError

from modelward import AsyncClient, Client
from modelward.errors import NotAuthenticated, RoleTooLow, StoreUnavailable
from modelward_server.security import identity_provider
from modelward_server.security.identity import Identity, Role
from modelward_server.security.identity_provider import IdentityProvider
from modelward_server.settings import Settings
from tests.conftest import RunningServer

ISSUER, AUDIENCE = "https://login.example.com/", "modelward"
RSA_KEY = rsa.generate_private_key(65537, 2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())


def published(*key_ids: str) -> str:
    """Return the JWK set of the keys with these ids."""
    keys = {
        "rsa": RSAAlgorithm.to_jwk(RSA_KEY.public_key(), as_dict=True),
        "ec": ECAlgorithm.to_jwk(EC_KEY.public_key(), as_dict=True),
    }
    return json.dumps({"keys": [keys[one] | {"kid": one, "use": "sig"} for one in key_ids]})


def signed(key: Any = RSA_KEY, algorithm: str = "RS256", kid: str = "rsa", **claims: Any) -> str:
    good = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ada@example.com",
        "exp": time.time() + 60,
        "modelward_role": "operator",
    }
    kept = {name: value for name, value in (good | claims).items() if value is not None}
    return jwt.encode(kept, key, algorithm, headers={"kid": kid})


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    (tmp_path / "keys.json").write_text(published("rsa", "ec"))
    return tmp_path / "keys.json"


async def test_a_good_one_says_who_calls(keys: Path) -> None:
    provider = IdentityProvider(ISSUER, AUDIENCE, str(keys))
    assert await provider.identity(signed()) == Identity("ada@example.com", Role.OPERATOR)
    limited = signed(EC_KEY, "ES256", "ec", modelward_role="viewer", modelward_models=["spx-"])
    assert await provider.identity(limited) == Identity("ada@example.com", Role.VIEWER, ("spx-",))


PUBLIC = RSA_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
OTHER = rsa.generate_private_key(65537, 2048)


def with_public_key_as_secret() -> str:
    """Sign with HMAC and the public key, which whoever mixes algorithms up takes for good (RFC 8725, 2.1)."""
    _, body, _ = signed().split(".")
    confused = jwt.utils.base64url_encode(b'{"alg":"HS256","kid":"rsa"}').decode()
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(f"{confused}.{body}".encode(), PUBLIC)
    return f"{confused}.{body}.{jwt.utils.base64url_encode(mac).decode()}"


def without_signature() -> str:
    _, body, _ = signed().split(".")
    head = jwt.utils.base64url_encode(b'{"alg":"none","kid":"rsa"}').decode()
    return f"{head}.{body}."


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (signed(exp=time.time() - 60), "expired"),
        (signed(exp=None), "exp"),
        (signed(iss="https://evil.example.com/"), "issuer"),
        (signed(aud="other"), "[Aa]udience"),
        (signed(sub=None), "sub"),
        (signed(OTHER), "Signature"),
        (signed(kid="lost"), "does not publish"),
        (with_public_key_as_secret(), "alg value"),
        (without_signature(), "refused"),
        (signed(modelward_role="root"), "one of viewer, trainer, operator, admin"),
        (signed(modelward_role=None), "modelward_role"),
        (signed(modelward_models="spx-"), "must be a list"),
        ("a.b.c", "refused"),
    ],
)
async def test_what_is_not_good_is_refused(token: str, words: str, keys: Path) -> None:
    with pytest.raises(NotAuthenticated, match=words) as refused:
        await IdentityProvider(ISSUER, AUDIENCE, str(keys)).identity(token)
    assert token not in str(refused.value)


class Publisher(BaseHTTPRequestHandler):
    """Publishes keys as a provider does."""

    shown = published("rsa")
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.shown.encode())

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def url() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Publisher) as publisher:
        threading.Thread(target=publisher.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{publisher.server_port}/keys"
        publisher.shutdown()


async def test_keys_are_fetched_once_and_again_when_a_new_one_signs(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    provider = IdentityProvider(ISSUER, AUDIENCE, url)
    for _ in range(3):
        await provider.identity(signed())
    assert Publisher.asked == 1
    Publisher.shown = published("ec")
    fresh = signed(EC_KEY, "ES256", "ec")
    with pytest.raises(NotAuthenticated):  # Who asks with strange keys must not make us ask the provider each time.
        await provider.identity(fresh)
    assert Publisher.asked == 1
    monkeypatch.setattr(identity_provider, "FETCH_SECONDS", 0.0)
    assert (await provider.identity(fresh)).name == "ada@example.com"
    with pytest.raises(NotAuthenticated):
        await provider.identity(signed())


async def test_a_provider_that_is_away_is_a_store_that_is(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="keys of the identity provider"):
        await IdentityProvider(ISSUER, AUDIENCE, str(tmp_path / "none.json")).identity(signed())


async def test_a_server_takes_them(keys: Path, tmp_path: Path) -> None:
    settings = Settings(port=0, data_dir=tmp_path / "data", jwt_keys=str(keys), jwt_issuer=ISSUER)
    running = RunningServer(settings)
    with Client(running.target, token=signed(modelward_role="trainer")) as client:
        client.create_model("spx")
        (record,) = client.export_audit_log()
        assert record.actor == "ada@example.com"
        with pytest.raises(RoleTooLow):
            client.halt("spx", reason="no right to")
    async with AsyncClient(running.target, token=signed(exp=time.time() - 60)) as late:
        with pytest.raises(NotAuthenticated):
            await late.get_model("spx")
    running.stop()


@pytest.mark.parametrize(
    ("given", "words"),
    [({"jwt_keys": "keys.json"}, "--jwt-issuer"), ({"jwt_keys": "http://login.example.com/keys"}, "https://")],
)
def test_settings_that_prove_nothing_are_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings(**given)  # type: ignore[arg-type]
