"""Time stamps in evidence packs, by a real authority on this machine."""

import socket
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from modelward import Client, errors
from modelward.cli.commands import cli
from modelward.evidence.timestamp import TimestampError, read_roots, read_timestamp, verify_timestamp
from modelward.evidence.verify import PackVerification, verify_pack
from modelward_server.evidence import timestamps
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.rpc.evidence import MAX_EXPORTS_OF_CLIENT
from modelward_server.settings import Settings
from tests.evidence.test_pack import names_of, rewritten, write_key
from tests.support.running_server import RunningServer
from tests.support.timestamp_authority import TimestampAuthority
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Takes seconds.


class Stamped:
    """A server that asks an authority for time stamps, and a pack of it."""

    def __init__(self, folder: Path, authority: TimestampAuthority) -> None:
        self.authority, self.roots, self.public = authority, authority.root, folder / "key.pub"
        settings = Settings(
            port=0, data_dir=folder / "data", signing_key=str(write_key(folder)), timestamp_url=authority.url
        )
        self.running = RunningServer(settings)
        self.client = Client(self.running.target, actor="ada")
        self.client.register("spx", Path(__file__))
        self.pack = self.client.export_evidence("spx/1", folder / "pack.zip")

    def verify(self, pack: Path) -> PackVerification:
        return verify_pack(pack, self.public, timestamp_roots=self.roots)


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stamped]:
    folder = tmp_path_factory.mktemp("stamped")
    with TimestampAuthority(folder / "authority") as authority:
        made = Stamped(folder, authority)
        yield made
        made.client.close()
        made.running.stop()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timestamps, "SECONDS", 0.5)
    monkeypatch.setattr(timestamps, "PAUSE_SECONDS", 0.0)


def content_of(pack: Path, name: str) -> bytes:
    with zipfile.ZipFile(pack) as opened:
        return opened.read(name)


def test_the_head_and_the_manifest_are_stamped(stamped: Stamped) -> None:
    found = stamped.verify(stamped.pack)
    assert found.defects == ()
    assert [(one.file, one.of, one.verified) for one in found.timestamps] == [
        ("log-head.tsr", "log-head.json", True),
        ("manifest.tsr", "manifest.dsse.json", True),
    ]
    for one in found.timestamps:
        assert abs(datetime.now(UTC) - one.time) < timedelta(minutes=10)


def test_without_roots_a_stamp_is_there_and_not_verified(stamped: Stamped) -> None:
    found = verify_pack(stamped.pack, stamped.public)
    assert found.intact
    assert [one.verified for one in found.timestamps] == [False, False]


def test_the_command_prints_the_times(stamped: Stamped) -> None:
    command = ["evidence", "verify", str(stamped.pack), "--key", str(stamped.public)]
    seen = CliRunner(env={"COLUMNS": "300"}).invoke(cli, command)
    assert (seen.exit_code, seen.output.count("not verified without --timestamp-roots")) == (0, 2)
    done = CliRunner(env={"COLUMNS": "300"}).invoke(cli, [*command, "--timestamp-roots", str(stamped.roots)])
    [time, _] = [one.time.isoformat() for one in stamped.verify(stamped.pack).timestamps]
    assert f"log-head.json existed at {time}: log-head.tsr, verified" in done.output.splitlines()
    assert done.exit_code == 0


def test_an_authority_that_is_not_trusted_is_named(stamped: Stamped, tmp_path: Path) -> None:
    TimestampAuthority(tmp_path / "other")
    found = verify_pack(stamped.pack, stamped.public, timestamp_roots=tmp_path / "other" / "root.pem")
    assert [defect.partition(": ")[::2] for defect in found.defects] == [
        ("log-head.tsr", found.defects[0].partition(": ")[2]),
        ("manifest.tsr", found.defects[1].partition(": ")[2]),
    ]
    assert "no trusted authority gave this time stamp" in found.defects[0]
    with pytest.raises(errors.InvalidField, match=r"timestamp_roots: .*no certificates in PEM"):
        verify_pack(stamped.pack, timestamp_roots=stamped.public)


def test_every_byte_of_a_stamp_is_covered(stamped: Stamped, tmp_path: Path) -> None:
    """By the seal or the manifest where the authority's own signature does not cover it."""
    for name in ("log-head.tsr", "manifest.tsr"):
        content = content_of(stamped.pack, name)
        for place in range(0, len(content), 97):
            changed = bytearray(content)
            changed[place] ^= 1
            pack = rewritten(stamped.pack, tmp_path / "changed.zip", {name: bytes(changed)})
            for found in (stamped.verify(pack), verify_pack(pack)):
                assert name in {defect.partition(":")[0] for defect in found.defects}


def test_a_stamp_that_cannot_be_read_is_refused_and_does_not_crash(stamped: Stamped) -> None:
    response, roots = content_of(stamped.pack, "manifest.tsr"), read_roots(stamped.roots)
    content = content_of(stamped.pack, "manifest.dsse.json")
    time = read_timestamp(response, content)
    for place in range(len(response)):
        changed = response[:place] + bytes([response[place] ^ 0x41]) + response[place + 1 :]
        with suppress(TimestampError):
            assert verify_timestamp(changed, content, roots) == time
    for other in (response + b"x", response[:-1], b"", b"0\x03\x02\x01\x02"):
        with pytest.raises(TimestampError):
            verify_timestamp(other, content, roots)
    with pytest.raises(TimestampError, match="over other content"):
        verify_timestamp(response, content + b"x", roots)


def test_a_pack_without_stamps_is_a_defect_for_those_who_ask_for_them(stamped: Stamped, tmp_path: Path) -> None:
    gone = rewritten(stamped.pack, tmp_path / "gone.zip", {"manifest.tsr": None, "log-head.tsr": None})
    assert {"manifest.tsr: is missing", "log-head.tsr: is missing"} <= set(verify_pack(gone, stamped.public).defects)
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data"))
    with Client(running.target) as client:
        client.register("spx", Path(__file__))
        pack = client.export_evidence("spx/1", tmp_path / "pack.zip")
    running.stop()
    assert verify_pack(pack).timestamps == ()
    assert verify_pack(pack, timestamp_roots=stamped.roots).defects == (
        "log-head.tsr: is missing: log-head.json has no time stamp",
        "manifest.tsr: is missing: manifest.dsse.json has no time stamp",
    )
    assert not [name for name in names_of(pack) if name.endswith(".tsr")]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (30.0, r"nothing arrived within 0\.5 s"),
        (503, "HTTP Error 503"),
        (307, "HTTP Error 307"),
        (302, "HTTP Error 302"),
        (b"no time stamp", "is no time stamp"),
        (b"0\x050\x03\x02\x01\x02", "the authority refused it"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_an_export_without_a_stamp_is_refused(
    stamped: Stamped, answer: bytes | int | float, said: str, tmp_path: Path
) -> None:
    stamped.authority.answers[:] = [answer] * timestamps.ATTEMPTS
    asked, begun = stamped.authority.asked, datetime.now(UTC)
    with pytest.raises(errors.StoreUnavailable, match=rf"setting timestamp_url.*{said}.*retry"):
        stamped.client.export_evidence("spx/1", tmp_path / "pack.zip")
    assert datetime.now(UTC) - begun < timedelta(seconds=20)
    assert stamped.authority.asked - asked == timestamps.ATTEMPTS
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
def test_a_short_failure_is_not_noticed(stamped: Stamped, tmp_path: Path) -> None:
    stamped.authority.answers[:] = [503]
    assert stamped.verify(stamped.client.export_evidence("spx/1", tmp_path / "pack.zip")).intact


@pytest.mark.usefixtures("impatient")
def test_an_answer_to_another_request_is_refused(stamped: Stamped, tmp_path: Path) -> None:
    old = content_of(stamped.pack, "log-head.tsr")
    stamped.authority.answers[:] = [old] * timestamps.ATTEMPTS
    with pytest.raises(errors.StoreUnavailable, match="over other content"):
        stamped.client.export_evidence("spx/1", tmp_path / "pack.zip")


def test_the_setting_is_checked(tmp_path: Path) -> None:
    for url in ("ftp://tsa.example", "file:///etc/passwd", "tsa.example", "https://ada:secret@tsa.example"):
        with pytest.raises(ValidationError, match="timestamp_url"):
            Settings(signing_key="key.pem", timestamp_url=url)
    with pytest.raises(ValidationError, match="time stamps need --signing-key"):
        Settings(timestamp_url="http://tsa.example/tsr")


def test_an_authority_that_never_ends_its_answer_leaves_few_threads(
    stamped: Stamped, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timestamps, "MAX_REQUESTS", 2)
    authority = timestamps.TimestampAuthority(stamped.authority.url)
    ends = threading.Event()
    monkeypatch.setattr(authority, "_post", lambda _: ends.wait(PATIENCE_SECONDS) and b"")
    with pytest.raises(errors.StoreUnavailable, match="2 requests to it have not ended"):
        authority.stamp(b"content")
    ends.set()
    monkeypatch.undo()
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "modelward time stamp"])
    assert authority.stamp(b"content")


def test_an_answer_that_trickles_is_given_up(impatient: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as place:
        threading.Thread(target=_trickle, args=[place], daemon=True).start()
        authority = timestamps.TimestampAuthority(f"http://127.0.0.1:{place.getsockname()[1]}/")
        with pytest.raises(errors.StoreUnavailable, match="nothing arrived within"):
            authority.stamp(b"content")
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "modelward time stamp"])


def _trickle(place: socket.socket) -> None:
    """Answer with a byte now and then."""
    with suppress(OSError):
        while True:
            connection, _ = place.accept()
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")
            threading.Thread(target=_send_slowly, args=[connection], daemon=True).start()


def _send_slowly(connection: socket.socket) -> None:
    with suppress(OSError), connection:
        while True:
            connection.sendall(b"x")
            time.sleep(0.1)


def test_statistics_do_not_wait_for_an_authority(
    stamped: Stamped, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends, executors = threading.Event(), stamped.running.app.executors
    stamp = timestamps.TimestampAuthority.stamp

    def waits(self: timestamps.TimestampAuthority, content: bytes) -> bytes:
        assert ends.wait(PATIENCE_SECONDS)
        return stamp(self, content)

    monkeypatch.setattr(timestamps.TimestampAuthority, "stamp", waits)
    with ThreadPoolExecutor(MAX_EXPORTS_OF_CLIENT) as pool:
        paths = [tmp_path / f"{i}.zip" for i in range(MAX_EXPORTS_OF_CLIENT)]
        exports = [pool.submit(stamped.client.export_evidence, "spx/1", path) for path in paths]
        try:
            eventually(lambda: executors.evidence.outstanding == len(exports))
            assert executors.compute.outstanding == 0
        finally:
            ends.set()
        assert all(stamped.verify(one.result()).intact for one in exports)


def test_a_key_that_does_not_sign_holds_up_nothing_else(stamped: Stamped, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of a token in hardware which hangs."""
    ends, asked = threading.Event(), threading.Event()
    envelope = EvidenceSigner.envelope

    def waits(self: EvidenceSigner, *given: Any) -> str:
        asked.set()
        assert ends.wait(PATIENCE_SECONDS)
        return envelope(self, *given)

    monkeypatch.setattr(EvidenceSigner, "envelope", waits)
    with ThreadPoolExecutor(1) as pool:
        head = pool.submit(stamped.client.log_head)
        try:
            assert asked.wait(PATIENCE_SECONDS)
            assert stamped.client.get_model("spx").name == "spx"
            assert not head.done()
        finally:
            ends.set()
        assert head.result().envelope
