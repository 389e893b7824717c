"""What the client finds of a version's lineage by itself."""

import pytest

from modelward._lineage import collected_lineage, environment, without_credentials
from modelward.v1.common_pb2 import Dataset


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("https://ada:secret@git.example.com/x.git", "https://git.example.com/x.git"),
        ("https://token@git.example.com:8443/x.git?a=secret#secret", "https://git.example.com:8443/x.git"),
        ("https://a:b@c@git.example.com/x", "https://git.example.com/x"),
        ("ssh://git@git.example.com/x.git", "ssh://git.example.com/x.git"),
        ("git@git.example.com:desk/x.git", "git.example.com:desk/x.git"),
        ("/srv/git/x.git", "/srv/git/x.git"),
        ("", ""),
        ("https://git.example.com/" + "x" * 3000, ""),
    ],
)
def test_addresses_are_told_without_credentials(address: str, expected: str) -> None:
    assert without_credentials(address) == expected


def test_data_of_a_uri_are_named_by_it_without_credentials() -> None:
    found = collected_lineage("", Dataset(uri="https://key:secret@store/x.parquet?signature=secret"))
    assert [data.uri for data in found.data] == ["https://store/x.parquet"]


def test_packages_of_the_format_are_told() -> None:
    assert {"onnx", "onnxruntime"} <= environment("onnx").packages.keys()
    assert "onnx" not in environment("skops").packages
