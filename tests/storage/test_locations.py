"""Which URIs the server reads from: whole parts count, and what readers could read in two ways is refused."""

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelward.caller import Role
from modelward.errors import InvalidField, ModelNotAllowed, ModelwardError, SourceNotAllowed
from modelward_server import identity
from modelward_server.identity import Identity
from modelward_server.settings import Settings
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.locations import Location, model_of
from modelward_server.storage.sources import Sources

ALLOWED = ("s3://models", "s3://shared/of spx/", "https://files.example/models/", "runs:/", "models:/")


class Recorded:
    """Stands in for MLflow: says where a URI leads, and remembers what it was asked to fetch."""

    def __init__(self, leads_to: Sequence[str] = ("mlflow-artifacts:/1/2",)) -> None:
        self.fetched: list[str] = []
        self._leads_to = leads_to

    def locate(self, uri: str) -> tuple[str, Sequence[str]]:
        return uri, self._leads_to

    def download(self, uri: str, to: Path) -> Path:
        self.fetched.append(uri)
        return to


def opened(uri: str, remote: Recorded, allowed: Sequence[str] = ALLOWED, own: Path | None = None) -> None:
    sources = Sources(allowed, remote, BlobStore.__new__(BlobStore), own)
    with sources.readable_uri(uri, "uri"), sources.fetch(uri, "uri"):
        pass


@pytest.mark.parametrize(
    "uri",
    [
        "s3://models",
        "s3://models/",
        "S3://models/spx",
        "s3://models/a/b.parquet",
        "s3://shared/of spx/data",
        "https://files.example/models/spx",
        "runs:/0123/model",
        "models:/spx@champion",
    ],
)
def test_what_lies_in_an_allowed_place_is_read(uri: str) -> None:
    remote = Recorded()
    opened(uri, remote)
    assert set(remote.fetched) == {uri}


@pytest.mark.parametrize(
    "uri",
    [
        "s3://models-private/spx",
        "s3://modelsx",
        "s3://Models/spx",
        "s3://models@evil/spx",
        "s3://models:80/spx",
        "s3://shared/of spx2/data",
        "s3://shared/spx",
        "s3://models/../private",
        "s3://models/a/../../private",
        "s3://models/%2e%2e/private",
        "s3://models/%252e%252e/private",
        "s3://models/a%2f..%2f..%2fprivate",
        "s3://models/..",
        "s3://models/./spx",
        "s3://models//private",
        "s3://models/a\\..\\private",
        "s3://models/a%5c..%5cprivate",
        "s3://models/spx?versionId=1",
        "s3://models/spx#../private",
        "s3://models/spx\n",
        " s3://models/spx",
        "s3://mod\tels/spx",
        "s3:models/spx",
        "s3:/models/spx",
        "https://files.example@evil/models/spx",
        "https://files.example.evil/models/spx",
        "https://files.example:8443/models/spx",
        "http://files.example/models/spx",
        "runs://databricks/0123/model",
        "models://profile@databricks/spx/1",
        "models:/spx/1/../../ndx/1",
        "mlflow-artifacts:/1/2",
        "mlflow-artifacts://evil:5000/1/2",
        "/etc/passwd",
        "etc/passwd",
        "file:///etc/passwd",
        "FILE:///etc/passwd",
        "file://evil/etc/passwd",
        "http://[bad/models",
        "",
    ],
)
def test_what_lies_elsewhere_or_could_be_read_in_two_ways_is_refused(uri: str) -> None:
    remote = Recorded()
    with pytest.raises(SourceNotAllowed, match="MODELWARD_ALLOWED_SOURCES"):
        opened(uri, remote)
    assert remote.fetched == []


@given(st.text(alphabet="amodels-private./%2eE5cCfF@:?#\\\t é", max_size=40))
def test_no_spelling_leads_out_of_a_bucket(rest: str) -> None:
    remote = Recorded()
    for start in ("s3://models", "s3://models/", "s3://models/a/"):
        try:
            opened(start + rest, remote)
        except SourceNotAllowed:
            continue
        place = Location.parse(start + rest)
        assert (place.authority, ".." in place.parts) == ("models", False)
    for uri in remote.fetched:
        assert uri == "s3://models" or uri.startswith("s3://models/")


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder with a file, beside one with a secret and links to it."""
    for name in ("inbox", "inbox-private"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "data.txt").write_text(name)
    (tmp_path / "inbox" / "link.txt").symlink_to(tmp_path / "inbox-private" / "data.txt")
    (tmp_path / "inbox" / "folder").symlink_to(tmp_path / "inbox-private")
    (tmp_path / "inbox" / "round").symlink_to(tmp_path / "inbox" / "round")
    return tmp_path / "inbox"


@pytest.mark.parametrize(
    "path",
    [
        "/../inbox-private/data.txt",
        "/%2e%2e/inbox-private/data.txt",
        "-private/data.txt",
        "/link.txt",
        "/folder/data.txt",
        "/round",
        "//data.txt",
        "/data.txt?x",
        "/data.txt#x",
        "/data%00.txt",
    ],
)
def test_no_file_outside_a_folder_is_read(inbox: Path, path: str) -> None:
    with pytest.raises(SourceNotAllowed):
        opened(f"{inbox.as_uri()}{path}", Recorded(), [inbox.as_uri()])


def test_files_of_a_folder_are_read_and_what_is_not_there_is_told(inbox: Path) -> None:
    (inbox / "a b%.txt").write_text("odd")
    for uri in ((inbox / "data.txt").as_uri(), (inbox / "a b%.txt").as_uri(), f"file://localhost{quote(str(inbox))}"):
        opened(uri, Recorded(), [inbox.as_uri() + "/"])
    for absent in ("absent", "x" * 300):
        with pytest.raises(InvalidField):
            opened(f"{inbox.as_uri()}/{absent}", Recorded(), [inbox.as_uri()])


@pytest.mark.system
@given(st.text(min_size=1, max_size=30))
def test_every_file_uri_is_answered(path: str) -> None:
    try:
        opened(f"file:///srv/{path}", Recorded(), ["file:///srv/models"])
    except ModelwardError:
        return
    raise AssertionError(path)


@pytest.mark.parametrize("uri", ["models:/spx/1", "runs:/0123/model"])
def test_what_mlflow_leads_to_must_be_allowed_too(uri: str, inbox: Path, tmp_path: Path) -> None:
    private, own = tmp_path / "inbox-private", tmp_path / "inbox"
    (own / "folder").unlink()
    (own / "round").unlink()
    for place in (
        str(private),
        private.as_uri(),
        f"{own}/../inbox-private",
        "s3://models-private/1",
        "http://evil/1",
        "mlflow-artifacts://evil/1",
    ):
        for places in ([place], ["mlflow-artifacts:/1", place]):
            remote = Recorded(places)
            with pytest.raises(SourceNotAllowed):
                opened(uri, remote, own=own)
            assert remote.fetched == []
    with pytest.raises(InvalidField, match=r"link\.txt"):  # MLflow would copy what the link leads to.
        opened(uri, Recorded([str(own)]), own=own)
    (own / "link.txt").unlink()
    for place in (str(own), own.as_uri(), "s3://models/1", "mlflow-artifacts:/1"):
        opened(uri, remote := Recorded([place]), own=own)
        assert set(remote.fetched) == {uri}


@pytest.mark.parametrize(
    ("uri", "model"),
    [
        ("models:/spx/1", "spx"),
        ("models:/spx/latest/data", "spx"),
        ("models:/spx@production", "spx"),
        ("models:/spx", None),  # MLflow takes that for the id of a logged model, whoever's it is.
        ("models:/spx/1/../../ndx/1", None),
        ("models:/spx/..%2f../ndx/1", None),
        ("models://spx/1", None),
        ("MODELS:/spx/1", None),
        ("runs:/spx/1", None),
        ("file:///spx/1", None),
    ],
)
def test_whose_files_lie_somewhere(uri: str, model: str | None) -> None:
    assert model_of(uri) == model


def test_who_is_limited_reads_from_own_models_only_whatever_field_it_came_by() -> None:
    before = identity.current.set(Identity("ada", Role.ADMIN, ("spx-",)))
    try:
        opened("models:/spx-a/1", Recorded())
        for uri in ("models:/ndx/1", "runs:/0123/model", "s3://models/spx-a", "file:///etc/passwd"):
            with pytest.raises(ModelNotAllowed):
                opened(uri, Recorded())
    finally:
        identity.current.reset(before)


@pytest.mark.parametrize("uri", ["/srv/models", "srv", "s3://models/../x", "file://host/srv", "runs://x/"])
def test_a_place_that_is_no_plain_uri_is_a_wrong_setting(uri: str) -> None:
    with pytest.raises(ValueError, match="give URIs such as file:///srv/models"):
        Settings(allowed_sources=(uri,))


def test_the_own_artifacts_are_those_of_an_embedded_mlflow(tmp_path: Path) -> None:
    assert Settings(data_dir=tmp_path).own_artifacts == tmp_path.resolve() / "mlflow-artifacts"
    assert Settings(data_dir=tmp_path, mlflow_uri=f"sqlite:///{tmp_path}{os.sep}other.db").own_artifacts is None
