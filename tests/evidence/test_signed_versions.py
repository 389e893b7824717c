"""Registration of versions with signatures over their files, and the gate that asks for one."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import signing

from modelward import AsyncClient, Client, PromotionPolicy, errors
from modelward_server import libraries
from modelward_server.settings import Settings
from tests.evidence.test_model_signatures import new_key
from tests.support.clients import as_async
from tests.support.running_server import RunningServer
from tests.support.signing_vectors import ASSETS


class Desk:
    """A server that trusts a folder of keys, and a model that its trainer has signed."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.trusted, self.model = folder / "trusted", folder / "model"
        self.trusted.mkdir()
        self.model.mkdir()
        (self.model / "weights.bin").write_bytes(b"weights of a model")
        (self.model / "config.json").write_text("{}")
        self.private, public = new_key(folder, ec.SECP256R1())
        public.rename(self.trusted / "trainer.pem")
        self.server = RunningServer(
            Settings(
                port=0, data_dir=folder / "data", database_url=database_url, trusted_signers=(str(self.trusted),)
            )
        )

    def sign(self, bundle: Path, key: Path | None = None) -> Path:
        signing.Config().use_elliptic_key_signer(private_key=key or self.private).sign(self.model, bundle)
        return bundle


@pytest.fixture
def desk(tmp_path: Path, database_url: str) -> Iterator[Desk]:
    desk = Desk(tmp_path, database_url)
    yield desk
    desk.server.stop()


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, desk: Desk) -> object:
    if request.param == "async":
        async with AsyncClient(desk.server.target, actor="trainer") as client:
            yield client
    else:
        with Client(desk.server.target, actor="trainer") as blocking:
            yield as_async(blocking)


async def test_a_signature_is_verified_and_kept(client: AsyncClient, desk: Desk, tmp_path: Path) -> None:
    bundle = desk.sign(tmp_path / "bundle.json")
    version = await client.register("spx", desk.model, model_signature=bundle)
    signature = version.model_signature
    assert signature is not None
    assert (signature.signer, signature.unsigned_files) == ("trainer.pem", ())
    assert signature.fingerprint == signature.trusted_fingerprint
    assert (await client.get_version("spx/1")).model_signature == signature
    assert (await client.register("spx", desk.model, model_signature=bundle.read_bytes())).model_signature is not None
    assert (await client.register("spx", desk.model)).model_signature is None
    assert (await client.verify_audit()).intact
