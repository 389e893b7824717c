"""Keys in a PKCS#11 token: SoftHSM's, which keeps them in files as a hardware token would in itself."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from modelward import Client
from modelward.evidence.verify import verify_pack
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.settings import Settings
from tests.evidence.test_pack import write_key
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # It needs SoftHSM.
LIBRARY = "/usr/lib/softhsm/libsofthsm2.so"
PIN = "1234"


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URI of a key in a new token; its public key is in `key.pub`."""
    if not shutil.which("softhsm2-util"):
        pytest.skip("SoftHSM is not installed")
    (tmp_path / "tokens").mkdir()
    (tmp_path / "softhsm.conf").write_text(f"directories.tokendir = {tmp_path / 'tokens'}\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(tmp_path / "softhsm.conf"))
    private = write_key(tmp_path)
    softhsm("--init-token", "--free", "--label", "modelward", "--pin", PIN, "--so-pin", PIN)
    softhsm("--import", str(private), "--token", "modelward", "--label", "evidence", "--id", "a1", "--pin", PIN)
    private.unlink()
    (tmp_path / "pin").write_text(PIN)
    return f"pkcs11:token=modelward;object=evidence?module-path={LIBRARY}&pin-source={tmp_path / 'pin'}"


def softhsm(*arguments: str) -> None:
    subprocess.run(["softhsm2-util", *arguments], check=True, capture_output=True)


def test_a_server_signs_with_a_key_that_never_leaves_its_token(token: str, tmp_path: Path) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", signing_key=token))
    try:
        with Client(running.target) as client:
            client.register("spx", Path(__file__))
            pack = client.export_evidence("spx/1", tmp_path / "pack.zip")
            assert verify_pack(pack, tmp_path / "key.pub").defects == ()
            assert len(json.loads(client.log_head().envelope)["signatures"]) == 1
    finally:
        running.stop()


def test_a_token_that_lacks_the_key_is_told(token: str) -> None:
    with pytest.raises(ValueError, match="the signing key other of the token modelward cannot be used"):
        EvidenceSigner(token.replace("object=evidence", "object=other"))
