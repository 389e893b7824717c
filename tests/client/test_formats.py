"""Formats of models: files are recognised by their content, and other packages add formats of their own."""

import os
import pickle
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skops.io
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression

from modelward import AsyncClient, Client, ModelFormat
from modelward.formats import format_of_file, formats
from tests.support.documents import ROOT, blocks
from tests.support.onnx_files import linear_model
from tests.support.server_process import ServerProcess

X = np.random.default_rng(5).normal(size=(200, 2))
Y = X @ [2.0, -1.0] + 0.5
DOCUMENT = ROOT / "docs" / "models.md"


def write(folder: Path, kind: str) -> Path:
    """Write a model under a name that says nothing."""
    path = folder / "champion.bin"
    model = LinearRegression().fit(X, Y)
    if kind == "skops":
        skops.io.dump(model, path)
    elif kind == "onnx":
        path.write_bytes(linear_model([2.0, -1.0], 0.5))
    else:
        path.write_bytes(pickle.dumps(model))
    return path


@pytest.mark.system
@pytest.mark.parametrize("kind", ["skops", "onnx", "pickle"])
async def test_a_file_is_recognised_by_its_content(client: AsyncClient, name: str, tmp_path: Path, kind: str) -> None:
    version = await client.register(name, write(tmp_path, kind))
    assert (version.format, version.model_file) == (ModelFormat(kind), "champion.bin")
    model = await client.load(version, allow_pickle=kind == "pickle")
    np.testing.assert_allclose(model.predict(X), Y, rtol=1e-4)


async def test_a_name_alone_makes_no_model(client: AsyncClient, name: str, tmp_path: Path) -> None:
    for file in ("model.skops", "model.onnx", "model.pkl"):
        (tmp_path / file).write_text("weights to follow")
    version = await client.register(name, tmp_path)
    assert (version.format, version.model_file) == (ModelFormat.OTHER, "")


@given(st.binary(max_size=400))
def test_no_file_is_too_odd_to_look_at(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "odd"
    path.write_bytes(content)
    format_of_file(path)


@pytest.mark.parametrize("kind", ["skops", "onnx", "pickle"])
def test_a_file_that_was_cut_off_is_no_model(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path, kind)
    path.write_bytes(path.read_bytes()[:-1])
    assert format_of_file(path) is None


def test_an_archive_of_something_else_is_no_model(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.skops", "w") as archive:
        archive.writestr("readme.txt", "no model")
    assert format_of_file(tmp_path / "model.skops") is None


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of the documentation that has a format of its own, installed for this process."""
    installed = tmp_path / "site"
    (metadata := installed / "toy_package-1.0.dist-info").mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-package\nVersion: 1.0\n")
    broken = "broken = no_such_module:FORMAT"
    (metadata / "entry_points.txt").write_text(f"[modelward.formats]\ntoy = toy_package:FORMAT\n{broken}\n")
    (module,) = [block.text for block in blocks(DOCUMENT) if block.file == "toy_package.py"]
    (installed / "toy_package.py").write_text(module)
    monkeypatch.syspath_prepend(installed)
    formats.cache_clear()
    yield installed
    formats.cache_clear()
    sys.modules.pop("toy_package", None)


def test_a_format_that_cannot_be_imported_is_left_out_with_a_warning(
    toy: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert formats().keys() >= {"onnx", "pickle", "skops", "toy"}
    assert "broken" not in formats()
    assert "the format broken of no_such_module:FORMAT is left out: ModuleNotFoundError" in caplog.text


@pytest.mark.system
@pytest.mark.weekly
def test_a_format_of_another_package_is_used_like_our_own(toy: Path, tmp_path: Path) -> None:
    import toy_package  # type: ignore[import-not-found]

    server = ServerProcess(tmp_path / "data", tmp_path / "log", env={"PYTHONPATH": python_path(toy)})
    with Client(server.target) as client:
        good, poor = (client.register("toys", toy_package.Line(slope)) for slope in (2.0, -1.0))
        assert (good.format, good.framework, good.model_file) == ("toy", "toy 1.0", "model.toy")
        assert client.load(good).raw.slope == 2.0
        compared = client.compare([good, poor], X, 2 * X[:, 0], metrics=["mse"])
        assert [result["mse"] for result in compared.results if result.version == good.ref] == [0.0]
        assert client.get_version(good).format == "toy"
    server.kill()


@pytest.mark.system
def test_a_format_that_the_server_does_not_know_is_kept_for_clients_that_do(toy: Path, tmp_path: Path) -> None:
    import toy_package

    server = ServerProcess(tmp_path / "data", tmp_path / "log", env={"PYTHONPATH": python_path()})
    with Client(server.target) as client:
        version = client.register("toys", toy_package.Line(3.0))
        assert (version.format, version.model_file) == ("toy", "")
        assert client.load(version).raw.slope == 3.0
    server.kill()


def python_path(*folders: Path) -> str:
    return os.pathsep.join([*map(str, folders), os.environ.get("PYTHONPATH", "")])
