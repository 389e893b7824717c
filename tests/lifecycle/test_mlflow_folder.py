"""Descriptions of models that MLflow wrote, and some that nobody did."""

import json
from pathlib import Path

import pytest

from modelward.signature import ColumnKind, Signature
from modelward_server.lifecycle.mlflow_folder import MlflowFolder, read_description


@pytest.mark.system
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "flavors: 3",
        "flavors: {a: 3}",
        "flavors: {}",
        "flavors: [a]",
        "- 1",
        "&a [*a]",
        "flavors: {a: &b {x: 1}, c: *b}",
        "flavors: " + "[" * 5000,
        "\x00",
        "flavors: {a: [" + "1," * 10_000 + "]}",
    ],
)
def test_a_description_that_is_none_is_not_used(tmp_path: Path, text: str) -> None:
    (tmp_path / "MLmodel").write_text(text)
    assert read_description(tmp_path / "MLmodel") is None


ONE = {"type": "double", "name": "x"}


@pytest.mark.parametrize("column", [{"type": 3}, {"type": "tensor"}, ONE | {"name": 3}, ONE | {"name": "\ud800"}])
def test_a_signature_that_cannot_be_read_is_not_used(tmp_path: Path, column: object) -> None:
    assert _described(tmp_path, [column], {"signature": {"inputs": 1}}).signature is None


def test_the_columns_are_those_of_mlflows_signature(tmp_path: Path) -> None:
    found = _described(tmp_path, [ONE, {"type": "string", "name": "sector"}, {"type": "any", "name": "z"}]).signature
    assert found is not None
    assert [(column.name, column.kind) for column in found.inputs] == [
        ("x", ColumnKind.NUMBER),
        ("sector", ColumnKind.CATEGORY),
        ("z", ColumnKind.UNKNOWN),
    ]


def test_the_signature_that_modelward_wrote_has_its_classes(tmp_path: Path) -> None:
    own = Signature.of(["x"], classes=["down", "up"])
    assert _described(tmp_path, [ONE], {"signature": own.to_dict()}).signature == own


def _described(folder: Path, inputs: object, own: object = None) -> MlflowFolder:
    described = {
        "flavors": {"sklearn": {}},
        "signature": {"inputs": json.dumps(inputs)},
        "metadata": {"modelward": own},
    }
    (folder / "MLmodel").write_text(json.dumps(described))
    found = read_description(folder / "MLmodel")
    assert found is not None
    return found
