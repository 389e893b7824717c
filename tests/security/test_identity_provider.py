"""JWTs: what an identity provider signed for us is taken, and nothing else; keys are followed as they change."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm

from modelward.caller import Role
from modelward.errors import NotAuthenticated, StoreUnavailable
from modelward_server.observability import log_context
from modelward_server.security import jwks
from modelward_server.security.identity_provider import LEEWAY_SECONDS, IdentityProvider
from tests.support.scale import examples
from tests.support.waiting import PATIENCE_SECONDS

ISSUER = "https://login.example.com/"
RSA = rsa.generate_private_key(65537, 2048)
EC = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
NEXT = ec.generate_private_key(ec.SECP256R1())
SHARED = b"a secret of thirty-two bytes or more"
"""A secret that both sides know: whoever can check with it can sign with it."""


def jwk(key: Any, kid: str, **more: str) -> dict[str, Any]:
    """Return a public key as a provider publishes it."""
    kinds: list[tuple[type, Any]] = [
        (rsa.RSAPrivateKey, RSAAlgorithm),
        (ec.EllipticCurvePrivateKey, ECAlgorithm),
        (ed25519.Ed25519PrivateKey, OKPAlgorithm),
    ]
    algorithm = next(algorithm for kind, algorithm in kinds if isinstance(key, kind))
    published: dict[str, Any] = algorithm.to_jwk(key.public_key(), as_dict=True)
    return published | {"kid": kid} | more


class Provider:
    """Publishes a JWK set over HTTP."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.status = 200
        self.asked = 0
        self.called, self.answering = threading.Event(), threading.Event()
        self.answering.set()

    def __enter__(self) -> "Provider":
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.answering.set()
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked += 1
                provider.called.set()
                provider.answering.wait(PATIENCE_SECONDS)
                self.send_response(provider.status)
                self.send_header("location", f"{provider.url}/elsewhere")
                self.end_headers()
                self.wfile.write(json.dumps({"keys": provider.keys}).encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its base class calls it so
                pass

        return Handler


@pytest.fixture
def provider() -> Iterator[Provider]:
    keys = [jwk(RSA, "rsa"), jwk(EC, "ec"), jwk(ED, "ed"), {"kty": "unknown", "kid": "odd"}]
    with Provider(*keys, HMACAlgorithm.to_jwk(SHARED, as_dict=True) | {"kid": "shared"}) as running:
        yield running


def said(**changed: Any) -> dict[str, Any]:
    """Return good claims, changed; None leaves one out."""
    good = {
        "iss": ISSUER,
        "aud": "modelward",
        "sub": "ada",
        "exp": int(time.time()) + 60,
        "modelward_role": "trainer",
    }
    return {name: value for name, value in (good | changed).items() if value is not None}


def signed(key: Any = EC, algorithm: str | None = "ES256", kid: str = "ec", **changed: Any) -> str:
    return jwt.encode(said(**changed), key, algorithm, {"kid": kid})


def by_hand(alg: str, kid: str, secret: bytes) -> str:
    """Sign with a secret what a library would not."""
    parts = [json.dumps(part).encode() for part in ({"alg": alg, "kid": kid, "typ": "JWT"}, said())]
    text = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    mac = base64.urlsafe_b64encode(hmac.digest(secret, text, hashlib.sha256)).rstrip(b"=") if secret else b""
    return (text + b"." + mac).decode()


def asking(keys: str) -> IdentityProvider:
    return IdentityProvider(ISSUER, "modelward", keys)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Let keys be read again at once."""
    monkeypatch.setattr(jwks, "MIN_INTERVAL_SECONDS", 0.0)
    return monkeypatch


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"),
    [(RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")],
    ids=["RSA", "EC", "EdDSA"],
)
async def test_a_good_jwt_says_who_it_is(provider: Provider, key: Any, algorithm: str, kid: str) -> None:
    models = ["spx-", "ndx-"]
    token = signed(key, algorithm, kid, aud=["other", "modelward"], modelward_models=models)
    asked = asking(provider.url)
    claims = await asked.claims(token)
    assert (claims.subject, claims.role, claims.models) == ("ada", Role.TRAINER, ("spx-", "ndx-"))
    assert 0 < claims.expires_at.timestamp() - time.time() <= 60
    assert (await asked.claims(signed(modelward_role="viewer"))).models == ()
    assert (await asked.identity(token)).may_reach("ndx-direction")
    assert provider.asked == 1


FAR = 10**30
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "expired": ({"exp": int(time.time()) - LEEWAY_SECONDS - 1}, "has expired"),
    "endless": ({"exp": None}, '"exp"'),
    "end beyond time": ({"exp": FAR}, "year|range|large"),
    "not yet": ({"nbf": int(time.time()) + 86_400}, "not yet valid"),
    "other issuer": ({"iss": "https://login.example.com"}, "issuer"),
    "no issuer": ({"iss": None}, '"iss"'),
    "other audience": ({"aud": "billing"}, "[Aa]udience"),
    "no audience": ({"aud": None}, '"aud"'),
    "nobody": ({"sub": None}, '"sub"'),
    "blank": ({"sub": ""}, "sub must"),
    "two lines": ({"sub": "ada\nroot"}, "sub must"),
    "long": ({"sub": "a" * 257}, "sub must"),
    "no role": ({"modelward_role": None}, "modelward_role, one of viewer, trainer, operator, admin"),
    "other role": ({"modelward_role": "root"}, "modelward_role"),
    "roles": ({"modelward_role": ["admin"]}, "modelward_role"),
    "no models": ({"modelward_models": []}, "leave it out for every model"),
    "every model": ({"modelward_models": [""]}, "modelward_models"),
    "a blank": ({"modelward_models": ["spx-", " "]}, "modelward_models"),
    "a string": ({"modelward_models": "spx-"}, "modelward_models"),
}


@pytest.mark.parametrize("case", REFUSED)
async def test_what_was_not_meant_for_us_is_refused(provider: Provider, case: str) -> None:
    changed, words = REFUSED[case]
    await refused(asking(provider.url), signed(**changed), words)


async def test_an_expired_jwt_that_the_provider_signed_says_whose_it_was(provider: Provider) -> None:
    known = log_context.begin(actor="unauthenticated")
    for key, actor in ((NEXT, "unauthenticated"), (EC, "ada")):
        with pytest.raises(NotAuthenticated):
            await asking(provider.url).identity(signed(key, exp=int(time.time()) - LEEWAY_SECONDS - 1))
        assert known["actor"] == actor


PUBLIC_PEM = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
FORGED = {
    "unsigned": (by_hand("none", "rsa", b""), "alg"),
    "public key as secret": (by_hand("HS256", "rsa", PUBLIC_PEM), "alg"),
    "published secret": (by_hand("HS256", "shared", SHARED), "alg"),
    "no key's secret": (by_hand("HS256", "", b""), "does not publish"),
    "another's key": (signed(NEXT), "Signature"),
    "another key's algorithm": (signed(EC, "ES256", "rsa"), "algorithm"),
    "unknown key": (signed(NEXT, kid="next"), "does not publish"),
    "changed": (signed()[:-6] + "AAAAAA", "Signature|padding"),
}


@pytest.mark.parametrize("case", FORGED)
async def test_what_the_provider_did_not_sign_is_refused(provider: Provider, case: str) -> None:
    await refused(asking(provider.url), *FORGED[case])


async def refused(asked: IdentityProvider, token: str, words: str) -> None:
    """Expect a token to be refused with these words, and none of its own."""
    with pytest.raises(NotAuthenticated, match=words) as caught:
        await asked.claims(token)
    assert not any(part and part in str(caught.value) for part in token.split("."))


HEADERS = st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "b64"]), st.none() | st.text() | st.integers())


@pytest.mark.system
@settings(max_examples=examples(25))
@given(header=HEADERS.map(json.dumps) | st.just("[" * 9000) | st.text(), rest=st.text(max_size=20))
def test_no_text_breaks_it(keys_file: Path, header: str, rest: str) -> None:
    token = base64.urlsafe_b64encode(header.encode(errors="replace")).rstrip(b"=").decode()
    for text in (f"{token}.{rest}.{rest}", f"{token}.e30.", rest):
        with pytest.raises(NotAuthenticated):
            asyncio.run(asking(str(keys_file)).claims(text))


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    file.write_text(json.dumps({"keys": [jwk(EC, "ec")]}))
    return file


async def test_new_keys_are_followed_and_old_ones_end(provider: Provider, impatient: pytest.MonkeyPatch) -> None:
    asked = asking(provider.url)
    assert await asked.claims(signed())
    provider.keys = [jwk(NEXT, "next")]
    assert await asked.claims(signed(NEXT, kid="next"))
    await refused(asked, signed(), "does not publish")
    provider.keys = [jwk(EC, "ec")]
    impatient.setattr(jwks, "FRESH_SECONDS", 0.0)
    with pytest.raises(NotAuthenticated):
        await asked.claims(signed(NEXT, kid="next"))  # Known a moment ago, and withdrawn since.


async def test_keys_in_a_file_are_followed(tmp_path: Path, impatient: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys.json"
    for broken in ("", "[]", "{}", '{"keys": []}'):
        file.write_text(broken)
        with pytest.raises(StoreUnavailable):
            await asking(str(file)).claims(signed())
    asked = asking(str(file))
    for key, kid in ((EC, "ec"), (NEXT, "next")):
        file.write_text(json.dumps({"keys": [jwk(key, kid)]}))
        assert await asked.claims(signed(key, kid=kid))
    file.write_text(json.dumps({"keys": [jwk(EC, "ec", use="enc"), jwk(NEXT, "next")]}))
    await refused(asked, signed(), "does not publish")  # A key to encrypt with signs nothing.


async def test_strangers_do_not_make_the_server_ask_again(provider: Provider) -> None:
    asked = asking(provider.url)
    for number in range(5):
        await refused(asked, signed(NEXT, kid=f"made-up-{number}"), "does not publish")
    assert await asked.claims(signed())
    assert provider.asked == 1


@pytest.mark.parametrize("status", [500, 302])
async def test_known_keys_outlast_the_provider_for_a_time(
    provider: Provider, impatient: pytest.MonkeyPatch, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    asked = asking(provider.url)
    await asked.claims(signed())
    impatient.setattr(jwks, "FRESH_SECONDS", 0.0)
    provider.status = status
    assert (await asked.claims(signed())).subject == "ada"
    with pytest.raises(StoreUnavailable, match="retry"):
        await asked.claims(signed(NEXT, kid="next"))
    impatient.setattr(jwks, "KEPT_SECONDS", 0.0)
    with pytest.raises(StoreUnavailable):
        await asked.claims(signed())
    assert provider.asked == 4
    assert str(status) in caplog.text
    assert signed().split(".")[0] not in caplog.text


async def test_who_is_known_does_not_wait_for_a_provider_that_hangs(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asking(provider.url)
    first = [asyncio.create_task(asked.claims(signed())) for _ in range(8)]
    assert {claims.subject for claims in await asyncio.gather(*first)} == {"ada"}
    assert provider.asked == 1
    provider.answering.clear()
    provider.called.clear()
    with monkeypatch.context() as patch:
        patch.setattr(jwks, "MIN_INTERVAL_SECONDS", 0.0)
        stranger = asyncio.create_task(asked.claims(signed(NEXT, kid="next")))
        assert await asyncio.to_thread(provider.called.wait, PATIENCE_SECONDS)
    monkeypatch.setattr(jwks, "FRESH_SECONDS", 0.0)
    assert (await asyncio.wait_for(asked.claims(signed()), PATIENCE_SECONDS)).subject == "ada"
    assert not stranger.done()
    provider.answering.set()
    with pytest.raises(NotAuthenticated):
        await stranger


async def test_a_provider_that_never_ends_its_answer_holds_up_nobody_for_long(
    provider: Provider, impatient: pytest.MonkeyPatch
) -> None:
    asked, fetched, ends = asking(provider.url), [], threading.Event()
    assert (await asked.claims(signed())).subject == "ada"

    def endless(_: object) -> jwt.PyJWKSet:
        fetched.append(1)
        assert ends.wait(PATIENCE_SECONDS)
        raise OSError("it has ended")

    impatient.setattr(jwks, "FRESH_SECONDS", 0.0)
    impatient.setattr(jwks, "TIMEOUT_SECONDS", 0.1)
    with impatient.context() as patch:
        patch.setattr(jwks.PublishedKeys, "_fetch", endless)
        for _ in range(3):
            assert (await asyncio.wait_for(asked.claims(signed()), PATIENCE_SECONDS)).subject == "ada"
        assert fetched == [1], "no further thread waits for it"
        ends.set()
    provider.keys = [jwk(NEXT, "next")]
    impatient.setattr(jwks, "TIMEOUT_SECONDS", PATIENCE_SECONDS)
    with suppress(StoreUnavailable):  # By the read that has just ended.
        await asked.claims(signed(NEXT, kid="next"))
    assert await asked.claims(signed(NEXT, kid="next"))


@pytest.mark.parametrize("url", ["http://login.example.com/keys", "HTTP://10.0.0.1/keys"])
def test_keys_that_others_could_change_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="use https"):
        asking(url)
