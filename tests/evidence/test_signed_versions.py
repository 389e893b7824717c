"""Registration of versions with signatures over their files, and the gate that asks for one."""

import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec
from sklearn.linear_model import LinearRegression
from skops import io

from modelward import AsyncClient, Client, ModelVersion, PromotionPolicy, errors
from modelward.cli.commands import cli
from modelward_server import libraries
from modelward_server.security.trusted_signers import SignerUnusable
from modelward_server.settings import Settings
from tests.support.clients import as_async
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.signing_keys import new_key, sign
from tests.support.signing_vectors import ASSETS, CASES

pytestmark = [pytest.mark.system, pytest.mark.weekly("postgresql")]  # Takes seconds.

KEYS = ASSETS / "keys"


class Desk:
    """A server that trusts a folder of keys, and a model that its trainer signs."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self.trusted, self.model = folder / "trusted", folder / "model"
        self.trusted.mkdir()
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")
        (self.model / "weights.bin").write_bytes(b"weights of a model")
        self.private, public = new_key(folder, ec.SECP256R1())
        self.public = public.rename(self.trusted / "trainer.pem")
        settings = Settings(
            port=0,
            data_dir=folder / "data",
            database_url=database_url,
            allowed_sources=(f"file://{folder}",),
            trusted_signers=(str(self.trusted),),
        )
        self.server = RunningServer(settings)

    def sign(self, bundle: Path, ignored: tuple[str, ...] = ()) -> Path:
        return sign(self.model, bundle, self.private, ignored)


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest) -> str:
    """A database of the test's own, whose server has files of its own."""
    return "" if request.param == "sqlite" else new_database(request.getfixturevalue("postgres"))


@pytest.fixture
def desk(tmp_path: Path, database_url: str) -> Iterator[Desk]:
    desk = Desk(tmp_path, database_url)
    yield desk
    desk.server.stop()


@pytest.fixture(params=["sync", "async"])
async def client(request: pytest.FixtureRequest, desk: Desk) -> AsyncIterator[AsyncClient]:
    if request.param == "async":
        async with AsyncClient(desk.server.target, actor="trainer") as client:
            yield client
    else:
        with Client(desk.server.target, actor="trainer") as blocking:
            yield as_async(blocking)


async def test_a_signature_is_verified_and_kept(client: AsyncClient, desk: Desk, tmp_path: Path) -> None:
    bundle = desk.sign(tmp_path / "bundle.json")
    signature = (await client.register("spx", desk.model, model_signature=bundle)).model_signature
    assert signature is not None
    assert (signature.signer, signature.unsigned_files) == ("trainer.pem", ())
    assert signature.fingerprint == signature.trusted_fingerprint
    assert (await client.get_version("spx/1")).model_signature == signature
    assert (await client.register_files("spx", desk.model, model_signature=bundle.read_bytes())).model_signature
    assert (await client.register_uri("spx", f"file://{desk.model}", model_signature=bundle)).model_signature
    assert (await client.register("spx", desk.model)).model_signature is None
    assert (await client.verify_audit_log()).intact


async def test_what_does_not_verify_registers_nothing(client: AsyncClient, desk: Desk, tmp_path: Path) -> None:
    bundle = desk.sign(tmp_path / "bundle.json")
    (desk.model / "weights.bin").write_bytes(b"other weights")
    with pytest.raises(errors.InvalidField, match=r"model_signature: .* weights.bin differs from what was signed$"):
        await client.register("spx", desk.model, model_signature=bundle)
    desk.public.write_bytes((KEYS / "p384" / "signing-key-pub.pem").read_bytes())
    with pytest.raises(errors.InvalidField, match="no trusted signer confirms"):
        await client.register("spx", desk.model, model_signature=desk.sign(bundle))
    with pytest.raises(errors.InvalidField, match="not a complete JSON document"):
        await client.register("spx", desk.model, model_signature=b"{")
    with pytest.raises(errors.InvalidField, match="No such file"):
        await client.register("spx", desk.model, model_signature=tmp_path / "nowhere.sig")
    with pytest.raises(errors.ModelNotFound):
        await client.get_model("spx")


async def test_the_signature_in_a_folder_is_taken(client: AsyncClient, desk: Desk) -> None:
    desk.sign(desk.model / "model.sig")
    signature = (await client.register("spx", desk.model)).model_signature
    assert signature is not None
    assert signature.unsigned_files == ("model.sig",)
    (desk.model / "weights.bin").write_bytes(b"other weights")
    with pytest.raises(errors.InvalidField, match=r"model_signature: .*weights.bin"):
        await client.register("spx", desk.model)
    (desk.model / "model.sig").write_bytes(b"")
    with pytest.raises(errors.InvalidField, match="not a complete JSON document"):
        await client.register("spx", desk.model)


async def test_a_certificate_is_verified_by_its_root(client: AsyncClient, desk: Desk, tmp_path: Path) -> None:
    (desk.trusted / "ca.pem").write_bytes((KEYS / "certificate" / "ca-cert.pem").read_bytes())
    [case] = [one for one in CASES if one.name == "certificate-simple"]
    model = ASSETS / "models" / "simple"
    signature = (await client.register("spx", model, model_signature=case / "bundle.sig")).model_signature
    assert signature is not None
    assert (signature.signer, signature.unsigned_files) == ("ca.pem", ("ignore-me",))
    assert signature.fingerprint != signature.trusted_fingerprint


async def promoted(client: AsyncClient, version: ModelVersion) -> tuple[bool, str]:
    """Return whether the gate passes in a dry run, and what it says."""
    try:
        gates = (await client.promote(version, to="production", reason="better", dry_run=True)).gates
    except errors.GatesFailed as error:
        gates = error.gates
    [gate] = [gate for gate in gates if gate.gate == "signed"]
    return gate.passed, gate.evidence


async def test_the_gate_follows_what_is_trusted_now(client: AsyncClient, desk: Desk, tmp_path: Path) -> None:
    signed = await client.register("spx", desk.model, model_signature=desk.sign(tmp_path / "bundle.json"))
    unsigned = await client.register("spx", desk.model)
    for version in (signed, unsigned):
        await client.promote(version, to="staging")
    await client.set_promotion_policy(PromotionPolicy("spx", require_signature=True))
    assert (await client.get_promotion_policy("spx")).require_signature
    passed, said = await promoted(client, unsigned)
    assert (passed, "has no signature" in said) == (False, True)
    with pytest.raises(errors.GatesFailed, match="signed"):
        await client.promote(unsigned, to="production", reason="better")
    passed, said = await promoted(client, signed)
    assert (passed, "signed by trainer.pem" in said) == (True, True)
    key = desk.public.read_bytes()
    desk.public.unlink()
    passed, said = await promoted(client, signed)
    assert (passed, "not trusted any more" in said) == (False, True)
    (desk.trusted / "renamed.pem").write_bytes(key)
    assert (await client.promote(signed, to="production", reason="better")).version.stage == "production"


async def test_the_gate_asks_that_the_model_itself_is_signed(client: AsyncClient, desk: Desk, tmp_path: Path) -> None:
    model = LinearRegression().fit(np.eye(3), np.arange(3.0))
    io.dump(model, desk.model / "model.skops")
    bundle = desk.sign(tmp_path / "bundle.json", ignored=("model.skops",))
    version = await client.register("spx", desk.model, model_signature=bundle)
    await client.promote(version, to="staging")
    await client.set_promotion_policy(PromotionPolicy("spx", require_signature=True))
    assert await promoted(client, version) == (False, "the signature of spx/1 does not cover model.skops")


async def test_a_server_without_the_library_says_what_to_install(
    client: AsyncClient, desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = desk.sign(tmp_path / "bundle.json")
    monkeypatch.delitem(libraries._imported, "model_signing.verifying", raising=False)
    monkeypatch.setitem(sys.modules, "model_signing.verifying", None)
    with pytest.raises(errors.ExtraMissing, match=r"pip install 'modelward\[signing\]'") as caught:
        await client.register("spx", desk.model, model_signature=bundle)
    assert caught.value.metadata["extra"] == "signing"
    assert (await client.register("spx", desk.model)).model_signature is None


def test_a_server_starts_without_importing_the_library() -> None:
    code = "import sys, modelward_server.app; sys.exit('model_signing' in sys.modules or 'OpenSSL' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read"),
        (b"no key", "is no trusted signer"),
        ((KEYS / "certificate" / "signing-key-cert.pem").read_bytes(), "no root certificate"),
    ],
)
def test_a_server_that_could_not_verify_does_not_start(content: bytes | None, said: str, tmp_path: Path) -> None:
    signer = tmp_path / "signer.pem"
    if content is not None:
        signer.write_bytes(content)
    with pytest.raises(SignerUnusable, match=said):
        RunningServer(Settings(port=0, data_dir=tmp_path / "data", trusted_signers=(str(signer),)))


def test_a_server_that_trusts_nobody_takes_no_signature(tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "model.sig").write_text("anything")
    with Client(running.target, actor="trainer") as client:
        assert client.register("spx", tmp_path / "model").model_signature is None
        with pytest.raises(errors.InvalidField, match="trusts no signer"):
            client.register("spx", tmp_path / "model", model_signature=b"{}")
    running.stop()


def test_the_command_registers_with_a_signature(desk: Desk, tmp_path: Path) -> None:
    bundle = desk.sign(tmp_path / "bundle.json")
    run = CliRunner(env={"MODELWARD_SERVER": desk.server.target})
    done = run.invoke(cli, ["register", "spx", str(desk.model), "--signature", str(bundle)])
    assert done.exit_code == 0, done.output
    assert "by trainer.pem, key" in run.invoke(cli, ["show", "spx/1"]).output
