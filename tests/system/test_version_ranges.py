"""The light client with the oldest and the newest releases that it allows, and beside one that pins protobuf 6."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.forked_server import ForkedServer
from tests.support.packages import need_index, new_environment, succeed, uv
from tests.support.scale import FULL
from tests.support.waiting import PATIENCE_SECONDS

ROOT = Path(__file__).parents[2]
INSTALLED = {
    "floors": ("--resolution", "lowest-direct"),
    "ceilings": (),
    "triton": ("tritonclient[grpc]",),
}
"""What else is said to the installer, by case."""
PROTOBUF = {"floors": "6.30.0", "ceilings": "7.", "triton": "6."}
"""How the version of protobuf begins that each case is about."""
PROLOGUE = {"triton": "import tritonclient.grpc"}
"""What a process imports before the client."""

CONVERSATION = """
import sys
import google.protobuf
import numpy as np
import pyarrow as pa
from sklearn.naive_bayes import GaussianNB
from modelward import Client, errors

target, name = sys.argv[1:]
rng = np.random.default_rng(7)
reference = {"momentum": rng.normal(size=500), "volume": rng.normal(size=500)}
features = np.column_stack(list(reference.values()))
model = GaussianNB().fit(features, features[:, 0] > 0)
now = {"momentum": 3 + reference["momentum"], "volume": reference["volume"]}
with Client(target) as client:
    version = client.register(name, model, reference=reference)
    client.promote(version, to="staging")
    resolved = client.resolve(name, stage="staging").version
    assert (client.load(resolved).predict(features) == model.predict(features)).all()
    for live in (now, pa.table(now)):
        assert client.detect_drift(resolved, live).drivers == ("momentum",)
    try:
        client.promote(version, to="production", etag="stale", reason="it passed its tests")
    except errors.EtagMismatch as error:
        print(sorted(error.metadata))
    try:
        client.detect_drift(version, {"momentum": [1.0]})
    except errors.InvalidField as error:
        print([violation.field for violation in error.violations])
print(google.protobuf.__version__)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    need_index(folder)
    succeed(uv("build", "--wheel", "--out-dir", str(folder), str(ROOT)))
    [wheel] = folder.glob("modelward-*.whl")
    return wheel


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkedServer]:
    folder = tmp_path_factory.mktemp("server")
    running = ForkedServer(folder / "data", folder / "log")
    yield running
    running.kill()


def installed(case: str, wheel: Path, environment: Path) -> Path:
    """Return the folder of programs of an environment with the client; its own requirements are the direct ones."""
    extras = [word for extra in ("arrow", "sklearn", "cli") for word in ("--extra", extra)]
    requirements = ["-r", str(ROOT / "pyproject.toml"), *extras, str(wheel)]
    return new_environment(environment, *requirements, *INSTALLED[case])


@pytest.mark.parametrize("case", INSTALLED if FULL else ["floors"])  # The newest are what all other tests use.
def test_client_converses_with_a_server_without_a_warning(
    case: str, wheel: Path, server: ForkedServer, tmp_path: Path
) -> None:
    programs = installed(case, wheel, tmp_path / "environment")
    program = PROLOGUE.get(case, "") + CONVERSATION
    command = [str(programs / "python"), "-I", "-W", "error", "-c", program, server.target, case]
    said = succeed(
        subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=tmp_path)
    )
    etag, fields, protobuf = said.splitlines()
    assert (etag, fields) == ("['current_etag']", "['data']")
    assert protobuf.startswith(PROTOBUF[case])
    command = [str(programs / "modelward"), "health", "--server", server.target]
    environment = os.environ | {"PYTHONWARNINGS": "error", "PYTHONPATH": ""}
    health = subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=environment
    )
    assert succeed(health).split()[:2] == ["server", "serving"]
