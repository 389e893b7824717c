"""Signatures over versions' files in evidence packs: the server's own, and that of the registration."""

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from cryptography.hazmat.primitives.asymmetric import ec

from modelward import Client, errors
from modelward.cli.commands import cli
from modelward.evidence.verify import PackVerification, verify_pack
from modelward_server.settings import Settings
from tests.evidence.test_pack import names_of, rewritten, write_key
from tests.support.running_server import RunningServer
from tests.support.signing_keys import new_key, sign

pytestmark = pytest.mark.system  # Takes seconds.

OWN, GIVEN = "versions/spx/1/server-signature.json", "versions/spx/1/model-signature.json"


class Signed:
    """A server with a key that trusts a trainer, and the pack of a version that the trainer signed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.model = folder, folder / "model"
        self.model.mkdir()
        (self.model / "config.json").write_text("{}")
        (self.model / "weights.bin").write_bytes(b"weights of a model")
        private, self.trainer = new_key(folder, ec.SECP384R1())
        bundle = sign(self.model, folder / "bundle.json", private, ignored=(self.model / "config.json",))
        settings = Settings(
            port=0, data_dir=folder / "data", signing_key=str(write_key(folder)), trusted_signers=(str(self.trainer),)
        )
        self.public, self.running = folder / "key.pub", RunningServer(settings)
        self.client = Client(self.running.target, actor="ada")
        self.client.register("spx", self.model, model_signature=bundle)
        self.client.register("spx", self.model)
        self.pack = self.client.export_evidence("spx/1", folder / "pack.zip")

    def verify(self, pack: Path) -> PackVerification:
        return verify_pack(pack, self.public, signer_keys=[self.trainer])


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signed]:
    made = Signed(tmp_path_factory.mktemp("signed"))
    yield made
    made.client.close()
    made.running.stop()


def test_a_file_may_have_the_keys_of_before_and_after_a_rotation(signed: Signed, tmp_path: Path) -> None:
    write_key(tmp_path, "other")
    other = (tmp_path / "other.pub").read_bytes()
    for keys in (other + signed.public.read_bytes(), signed.public.read_bytes() + other):
        both, signers = tmp_path / "both.pub", tmp_path / "signers.pem"
        both.write_bytes(keys)
        signers.write_bytes(other + signed.trainer.read_bytes())
        found = verify_pack(signed.pack, both, signer_keys=[signers])
        assert found.defects == ()
        assert found.signed_by
        assert all(one.verified for one in found.signatures)
    both.write_bytes(other + b"-----BEGIN PUBLIC KEY-----\nnone\n-----END PUBLIC KEY-----\n")
    with pytest.raises(errors.InvalidField, match="is no public key in PEM"):
        verify_pack(signed.pack, both)


def test_both_signatures_are_verified(signed: Signed) -> None:
    found = signed.verify(signed.pack)
    assert found.defects == ()
    own, given = found.signatures
    assert (own.file, own.verified, own.unsigned_files) == (OWN, True, ())
    assert (given.file, given.verified, given.unsigned_files) == (GIVEN, True, ("config.json",))
    recorded = signed.client.get_version("spx/1").model_signature
    assert recorded is not None
    assert given.fingerprint == recorded.fingerprint != own.fingerprint


def test_without_keys_signatures_are_there_and_not_verified(signed: Signed) -> None:
    assert [one.verified for one in verify_pack(signed.pack).signatures] == [False, False]
    assert [one.verified for one in verify_pack(signed.pack, signed.public).signatures] == [True, False]
    seen = CliRunner(env={"COLUMNS": "300"}).invoke(cli, ["evidence", "verify", str(signed.pack)])
    assert f"{OWN}: not verified without --key" in seen.output.splitlines()
    keys = ["--key", str(signed.public), "--signer-key", str(signed.trainer)]
    done = CliRunner(env={"COLUMNS": "300"}).invoke(cli, ["evidence", "verify", str(signed.pack), *keys])
    given = signed.verify(signed.pack).signatures[1].fingerprint
    assert f"{GIVEN}: verified, key {given}, without config.json" in done.output.splitlines()


def test_keys_of_others_are_named(signed: Signed, tmp_path: Path) -> None:
    write_key(tmp_path, "other")
    other = tmp_path / "other.pub"
    [defect] = verify_pack(signed.pack, signed.public, signer_keys=[other]).defects
    assert defect.startswith(f"{GIVEN}: names the key")
    assert verify_pack(signed.pack, signed.public, signer_keys=[other, signed.trainer]).intact
    named = {defect.partition(":")[0] for defect in verify_pack(signed.pack, other).defects}
    assert OWN in named
    assert GIVEN not in named
    with pytest.raises(errors.InvalidField, match=r"signer_keys: .*pack\.zip is no public key of a signer"):
        verify_pack(signed.pack, signer_keys=[signed.pack])


def test_a_file_that_differs_from_what_was_signed_is_named(signed: Signed, tmp_path: Path) -> None:
    weights = "versions/spx/1/files/weights.bin"
    changed = rewritten(signed.pack, tmp_path / "changed.zip", {weights: b"other weights"})
    defects = signed.verify(changed).defects
    for file in (OWN, GIVEN):
        assert f"{file}: files that differ from what was signed: weights.bin" in defects
    for file in (OWN, GIVEN):
        gone = rewritten(signed.pack, tmp_path / "gone.zip", {file: None})
        assert signed.verify(gone).defects.count(f"{file}: is missing") == 2, "of the manifest, and of the version"
    with zipfile.ZipFile(signed.pack) as opened:
        swapped = rewritten(signed.pack, tmp_path / "swapped.zip", {GIVEN: opened.read(OWN)})
    assert f"{GIVEN}: is not the signature that was verified at registration" in verify_pack(swapped).defects


def test_what_is_not_signed_has_no_signature(signed: Signed, tmp_path: Path) -> None:
    unsigned = signed.client.export_evidence("spx/2", tmp_path / "unsigned.zip")
    found = signed.verify(unsigned)
    assert found.defects == ()
    assert [one.file for one in found.signatures] == ["versions/spx/2/server-signature.json"]
    bare = signed.client.export_evidence("spx/1", tmp_path / "bare.zip", without_files=True)
    assert (signed.verify(bare).defects, signed.verify(bare).signatures) == ((), ())
    assert not [name for name in names_of(bare) if name.endswith("-signature.json")]


def test_the_tools_of_the_specification_verify_the_files_of_a_pack(signed: Signed, tmp_path: Path) -> None:
    with zipfile.ZipFile(signed.pack) as opened:
        opened.extractall(tmp_path)
    command = [sys.executable, "-m", "model_signing", "verify", "key", str(tmp_path / "versions/spx/1/files")]
    for file, key in ((OWN, signed.public), (GIVEN, signed.trainer)):
        options = ["--public_key", str(key), "--signature", str(tmp_path / file), "--ignore_unsigned_files"]
        done = subprocess.run([*command, *options], check=False, capture_output=True, text=True)
        assert (done.returncode, "succeeded" in done.stdout) == (0, True), done.stdout + done.stderr
