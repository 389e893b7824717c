"""Pickles that attack the server that runs them, at each level of confinement, by a comparison and by a benchmark."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

import modelward_server
from modelward import Client
from modelward.errors import ModelFailed
from modelward.lifecycle import ModelFormat
from modelward_server.sandbox.confinement import MAX_OPEN_FILES, MAX_THREADS
from modelward_server.sandbox.level import level
from modelward_server.sandbox.sandbox import Limits, run_model
from tests.sandbox.conftest import Target
from tests.support.comparison_models import SKOPS
from tests.support.onnx_files import linear_model
from tests.support.sandbox_attacks import REACHING, answering, assigned, reaching, write

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="models are confined by the Linux kernel")
DATA = {"x0": np.arange(20.0)}
TRUTH = np.arange(20.0)
SECRET = "MODELWARD_TEST_SECRET"


@pytest.fixture
def engine(target: Target) -> Iterator[Client]:
    with Client(target.server.target) as client:
        yield client


@pytest.fixture
def peer() -> Iterator[int]:
    """Another process of the server's user, which leads a group of its own."""
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, start_new_session=True
    )
    yield process.pid
    process.communicate()


@pytest.fixture
def known(target: Target, peer: int, tmp_path: Path) -> Iterator[dict[str, object]]:
    """What an attacker might know; the server is in this process."""
    spare, blob = target.data / "spare", target.data / "blobs" / "ab" / "blob"
    readable = Path(modelward_server.__file__).parent / "__pycache__" / f"spare-{uuid4()}"
    for folder in (blob.parent, readable.parent):
        folder.mkdir(exist_ok=True)
    for path in (spare, blob, readable):
        path.write_text("x")
    places = {"LEDGER": target.data / "ledger.db", "BLOB": blob, "DATA": target.data, "HOME": Path.home()}
    places |= {"SPARE": spare, "PYTHON": readable}
    sockets = {"PORT": target.port, "UNIX": target.unix, "ABSTRACT": target.abstract, "DATAGRAM": target.datagram}
    processes = {"SERVER": os.getpid(), "PEER": peer, "SECRET": SECRET}
    yield {name: str(place) for name, place in places.items()} | sockets | processes
    readable.unlink()


def failures(client: Client, sources: Sequence[str], name: str, tmp_path: Path) -> list[str]:
    """Compare two honest versions with one of each source, and return what is said of the latter."""
    for number in range(2):
        (tmp_path / "model.onnx").write_bytes(linear_model([1.0], number))
        client.register(name, tmp_path / "model.onnx")
    for number, source in enumerate(sources):
        client.register(name, write(tmp_path / str(number), source))
    count = 2 + len(sources)
    found = client.compare([f"{name}/{number}" for number in range(1, count + 1)], DATA, TRUTH)
    assert not found.result(f"{name}/1").failure
    return [found.result(f"{name}/{number}").failure for number in range(3, count + 1)]


def test_a_pickle_reaches_nothing_of_the_server(
    engine: Client, known: dict[str, object], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SECRET, "hidden")
    [said] = failures(engine, [reaching(known)], name, tmp_path)
    assert said == f"{name}/3 raised RuntimeError: reached: nothing"
    honest, attack = engine.benchmark([f"{name}/1", f"{name}/3"], DATA, batch_rows=[1], seconds=0.1)
    assert not honest.failure
    assert attack.failure == "raised RuntimeError: reached: nothing"


@pytest.mark.skipif(os.geteuid() != 0, reason="others may do less")
def test_the_same_code_reaches_everything_where_nothing_holds_it(known: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "features.arrow").write_text("x")
    source = f"{assigned(known)}\n{REACHING}\nprint([name for name in tried if name not in done])"
    command = [sys.executable, "-c", source]
    found = subprocess.run(
        command, cwd=tmp_path, env=dict(os.environ) | {SECRET: "x"}, capture_output=True, text=True, check=True
    )
    Path("/dev/shm/modelward-attack").unlink()
    assert found.stdout == "[]\n"


GREEDY = {
    "bytes": "kept = []\nwhile True: kept.append(bytearray(1 << 24))",
    "malloc": """
import ctypes
malloc = ctypes.CDLL(None).malloc
malloc.restype, malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
while place := malloc(1 << 24): ctypes.memset(place, 1, 1 << 24)
raise MemoryError""",
    "mmap": """
import mmap
kept = []
while True: kept.append(mmap.mmap(-1, 1 << 24, flags=mmap.MAP_PRIVATE)); kept[-1].write(b"x" * (1 << 24))""",
    "threads": """
import threading, time
threading.stack_size(32768)
started = 0
try:
    while True: threading.Thread(target=time.sleep, args=(60,), daemon=True).start(); started += 1
except RuntimeError:
    raise SystemExit(started)""",
    "files": """
import os
kept = []
try:
    while True: kept.append(os.open("features.arrow", os.O_RDONLY))
except OSError:
    raise SystemExit(len(kept))""",
}


def test_a_pickle_gets_no_more_than_the_limits(engine: Client, confinement: str, name: str, tmp_path: Path) -> None:
    found = failures(engine, list(GREEDY.values()), name, tmp_path)
    said = dict(zip(GREEDY, (one.partition(" ")[2] for one in found), strict=True))
    assert said["bytes"] == said["malloc"] == "needed more than 256 MiB, the memory limit"
    assert said["mmap"].startswith("raised OSError: [Errno 12]")
    if level().layers.own_user:  # The kernel counts no threads of root.
        assert int(said["threads"].removeprefix("raised SystemExit: ")) < MAX_THREADS
    assert int(said["files"].removeprefix("raised SystemExit: ")) < MAX_OPEN_FILES


HEAD = '{"kind": "regression", "classes": [], "row_times": [1], "batch_times": [1], "shapes": {"predicted": [20]}}'
GOOD = f"b'{HEAD}\\n'"
ODD = {
    "nothing": "b''",
    "blank lines": "b'\\n' * 10_000_000",
    "no JSON": "b'hello\\n'",
    "no object": "b'[1]\\n'",
    "no text": "b'\\xff\\xfe\\n'",
    "deep": "b'[' * 100_000 + b'\\n'",
    "deep object": """b'{"kind":' * 100_000 + b'\\n'""",
    "long line": "b' ' * 50_000_000",
    "no number": "b'NaN\\n'",
    "failure of another kind": """b'{"failure": [1]}\\n'""",
    "kind of another kind": """b'{"kind": ["regression"]}\\n'""",
    "times that are none": GOOD.replace("[1]", "[NaN]", 1),
    "endless times": GOOD.replace("[1]", "[1e308]", 1),
    "huge times": GOOD.replace("[1]", "[" + "9" * 400 + "]", 1),
    "classes of two kinds": GOOD.replace("[]", '["a", 1]').replace("regression", "classification"),
    "another shape": GOOD.replace("[20]", "[20, 1e9]"),
    "half an array": f"{GOOD} + b'12345'",
    "numbers that are none": f"{GOOD} + b'\\xff' * 160",
    "probabilities of nothing": GOOD.replace("[20]", '[20], "probabilities": [20, 1000000000]') + " + bytes(160)",
}


def test_an_odd_answer_is_the_failure_of_its_version(
    engine: Client, confinement: str, name: str, tmp_path: Path
) -> None:
    if confinement != "bubblewrap":
        pytest.skip("answers are read alike at each level")
    sources = [answering(expression) for expression in ODD.values()]
    found = dict(zip(ODD, failures(engine, sources, name, tmp_path), strict=True))
    assert all(found.values()), found
    assert not [said for said in found.values() if "raised" in said]
    assert "process with status 0 and without an answer" in found["nothing"]
    assert "gave probabilities of shape [20, 1000000000] where [20, 0] is expected" in found["probabilities of nothing"]
    versions = [f"{name}/{number}" for number in range(1, 21)]
    honest, _, *rows = engine.benchmark(versions, DATA, batch_rows=[1], seconds=0.05)
    assert not honest.failure
    assert all(row.failure for row in rows)
    with pytest.raises(ModelFailed):
        engine.benchmark(versions[2:], DATA, batch_rows=[1], seconds=0.05)


async def test_one_that_hides_from_whoever_watches_is_ended(confinement: str, tmp_path: Path) -> None:
    source = "import os, time\nos.closerange(0, 100)\nwhile True: time.sleep(1)"
    pickle = write(tmp_path, source)
    version = replace(SKOPS, format=ModelFormat.PICKLE)
    with pytest.raises(ModelFailed, match="was stopped after 2 s"):
        await run_model(version, pickle, DATA, Limits(seconds=2, memory_mb=256, allow_pickle=True))
