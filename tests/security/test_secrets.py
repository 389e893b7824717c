"""No secret of the server or its callers is ever written, whatever fails: logs, standard output, errors to clients."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from modelward import Client, ModelwardError
from modelward_server.observability.redaction import redact
from tests.support.flaky_proxy import FlakyProxy
from tests.support.postgres import new_database
from tests.support.server_process import ReadyServer, bare_environment
from tests.support.waiting import PATIENCE_SECONDS

DATABASE, MLFLOW, HOOK, HOOK_PATH = "dbpa55word", "mlf1owpass", "h00kpass", "T00000000/s3cretpath"
SIGNING = "whsec_c2lnbmluZy1zZWNyZXQtb2Ytd2ViaG9va3M="
TOKEN = "mw_0123456789ab_" + "Zx9" * 14 + "Q"
JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJtYWxsb3J5In0.c2lnbmF0dXJl"
SECRETS = (DATABASE, MLFLOW, HOOK, HOOK_PATH, SIGNING, TOKEN.rpartition("_")[2], JWT)

AT_DEBUG = """
import logging
logging.getLogger("modelward_server").setLevel("DEBUG")
from modelward.cli import main
main()
"""


class Talkative:
    """A server whose loggers say all that they have to say."""

    def __init__(self, folder: Path, database_url: str) -> None:
        given = {
            "DATABASE_URL": database_url,
            "MLFLOW_URI": f"http://ada:{MLFLOW}@127.0.0.1:1",
            "WEBHOOKS": f"http://127.0.0.1:1/{HOOK_PATH}?key={HOOK}",
            "WEBHOOKS_SECRET": SIGNING,
            "WEBHOOKS_PRIVATE": "true",
            "LOG_CALLS": "true",
            "LOG_FORMAT": "json",
            "GRACE_SECONDS": "0",
            "DATA_DIR": str(folder / "data"),
        }
        env = bare_environment() | {f"MODELWARD_{name}": value for name, value in given.items()}
        self._log = folder / "log"
        with self._log.open("wb") as sink:
            line = [sys.executable, "-c", AT_DEBUG, "serve", "--port", "0"]
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, env=env)
        self.target = ReadyServer(self._log, lambda: self.process.poll() is None).target

    def said(self, *words: str) -> str:
        """Return all that it has written, as soon as these words are in it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(word in (text := self._log.read_text()) for word in words):
            assert time.monotonic() < deadline, f"the server never said all of {words}:\n{text}"
            time.sleep(0.05)
        return text


@pytest.fixture
def database(postgres: str) -> Iterator[FlakyProxy]:
    """The way to a database, which can break."""
    network = FlakyProxy(postgres.rpartition("@")[2])
    yield network
    network.close()


@pytest.fixture
def server(tmp_path: Path, postgres: str, database: FlakyProxy) -> Iterator[Talkative]:
    name = new_database(postgres).rpartition("/")[2]
    url = f"postgresql+psycopg://postgres:{DATABASE}@{database.address}/{name}"
    running = Talkative(tmp_path, url)
    yield running
    running.process.kill()
    running.process.wait(PATIENCE_SECONDS)


def told(*calls: Callable[[], object]) -> list[str]:
    """Return what a client is told of calls that fail as a whole or in part."""
    return [_told(call) for call in calls]


def _told(call: Callable[[], object]) -> str:
    try:
        return repr(call())
    except ModelwardError as error:
        return f"{error!r} {error.metadata}"


def test_no_secret_is_written_whatever_fails(server: Talkative, database: FlakyProxy, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"weights")
    tokens = itertools.cycle([TOKEN, JWT])
    with Client(server.target, token=lambda: next(tokens), timeout=6) as client:
        client.create_model("spx")
        client.promote(client.register("spx", tmp_path / "model.bin"), to="staging")
        answers = told(
            lambda: client.reconcile_mlflow(timeout=2),
            lambda: client.import_mlflow(timeout=2),
            lambda: client.register_uri("spx", "models:/spx/1"),
            lambda: client.register_uri("spx", f"https://ada:{MLFLOW}@models.example/spx"),
            lambda: client.create_model(f"postgresql://ada:{DATABASE}@db"),
        )
        server.said("showing MLflow spx/1 failed", "the background task webhook-1 cannot proceed for now")
        database.break_off()
        answers += told(lambda: client.get_model("spx"), lambda: client.create_model("ndx"))
    text = server.said("the ledger's database does not answer")
    assert [secret for secret in SECRETS if secret in text] == []
    assert [secret for secret in SECRETS if secret in "".join(answers)] == []
    assert "StoreUnavailable" in answers[-1], answers
    lines = text.splitlines()
    assert [line for line in lines if not line.startswith(("{", "Modelward "))] == []
    assert all(json.loads(line)["level"] for line in lines if line.startswith("{"))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"API request to http://ada:{MLFLOW}@host:5000/api failed", "API request to http://***@host:5000/api failed"),
        ("postgresql+psycopg://ada:p@ss:w@rd@db/modelward", "postgresql+psycopg://***@db/modelward"),
        (f"authorization: Bearer {JWT}", "authorization: Bearer ***"),
        (f'{{"token": "{TOKEN}"}}', '{"token": "mw_0123456789ab_***"}'),
        (f"the key of {SIGNING} is short", "the key of whsec_*** is short"),
        ("postgresql://db/modelward?user=ada&password=x%20y&sslmode=require", None),
        ("models:/spx@champion and file:///srv/models/a@b", "models:/spx@champion and file:///srv/models/a@b"),
        ("resume_token=12 of the bearer of bad news", "resume_token=12 of the bearer of bad news"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_and_the_rest_stays(text: str, left: str | None) -> None:
    assert redact(text) == (left or "postgresql://db/modelward?user=ada&password=***&sslmode=require")


@pytest.mark.parametrize(
    "part", ["eyJ-", "eyJa.", "//a", "bearer ", "secret", "mw_0123456789ab", "whsec_-", "passw", "@"]
)
def test_a_text_made_to_be_slow_to_search_is_searched_in_one_pass(part: str) -> None:
    begun = time.monotonic()
    redact(part * 100_000)
    assert time.monotonic() - begun < 60


@pytest.mark.system
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("WEBHOOKS", f"ftp://ada:{HOOK}@hooks.example/{HOOK_PATH}"),
        ("WEBHOOKS_SECRET", f"whsec_{HOOK} no base64"),
        ("DATABASE_URL", f"postgresql+psycopg://ada:{DATABASE}@127.0.0.1:1/none"),
        ("DATABASE_URL", f"postgresql+psycopg://ada:{DATABASE}@127.0.0.1:port/none"),
    ],
)
def test_a_setting_that_keeps_the_server_from_starting_is_named_without_its_secret(
    tmp_path: Path, setting: str, value: str
) -> None:
    line = [sys.executable, "-m", "modelward", "serve", "--port", "0", "--data-dir", str(tmp_path)]
    env = bare_environment() | {f"MODELWARD_{setting}": value}
    done = subprocess.run(line, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    said = done.stdout + done.stderr
    assert done.returncode != 0
    assert f"MODELWARD_{setting}" in said
    assert [secret for secret in SECRETS if secret in said] == []
