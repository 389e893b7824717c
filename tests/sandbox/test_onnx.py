"""ONNX models that name files beside themselves: neither the server nor the client reads them."""

from pathlib import Path

import pytest

from modelward import AsyncClient, errors
from modelward.formats.onnx_structure import check_confined, external_files
from tests.support.onnx_files import WAYS, external_model, linear_model

OUTSIDE = (
    "../outside",
    "/etc/passwd",
    "deep/../../outside",
    "link",
    "linked/outside",
    "",
    ".",
    "*/_ORT_MEM_ADDR_/*",
    "missing",
    "a\0b",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder, beside which lies what it must not read."""
    folder = tmp_path / "model"
    (folder / "deep").mkdir(parents=True)
    (tmp_path / "outside").write_bytes(bytes(4))
    (folder / "link").symlink_to(tmp_path / "outside")
    (folder / "linked").symlink_to(tmp_path)
    (folder / "deep" / "weights").write_bytes(bytes(4))
    return folder


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_external_data_is_seen(way: str, folder: Path) -> None:
    model = folder / "model.onnx"
    for location in OUTSIDE:
        model.write_bytes(external_model(way, location))
        assert external_files(model) == {location}
        with pytest.raises(errors.InvalidField, match="which is not a file in the model's folder"):
            check_confined(model)
    model.write_bytes(external_model(way, "deep/weights"))
    check_confined(model)


def test_a_model_with_its_weights_inside_names_no_file(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_model([1.0], 0.0))
    assert external_files(tmp_path / "model.onnx") == set()
    for content in (b"no model", b"\x3a" * 1000):
        (tmp_path / "model.onnx").write_bytes(content)
        with pytest.raises(errors.InvalidField, match="is not an ONNX model"):
            external_files(tmp_path / "model.onnx")


@pytest.mark.system
async def test_neither_server_nor_client_loads_a_model_that_reads_others(
    client: AsyncClient, name: str, folder: Path
) -> None:
    (folder / "model.onnx").write_bytes(external_model("sparse constant", "../outside"))
    for _ in range(2):
        await client.register(name, folder / "model.onnx")
    with pytest.raises(errors.ModelFailed, match="names external data"):
        await client.compare([f"{name}/1", f"{name}/2"], {"x": [1.0, 2.0]}, [1.0, 2.0])
    with pytest.raises(errors.ModelFailed, match="names external data"):
        await client.benchmark([f"{name}/1"], {"x": [1.0]}, seconds=0.1)
    with pytest.raises(errors.InvalidField, match=r"names external data at '\.\./outside'"):
        await client.load(f"{name}/1")
