"""`modelward watch` prints changes as they happen."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from queue import Queue
from threading import Thread

import pytest

from modelward import Client
from tests.cli.conftest import NO_PROFILES
from tests.support.flaky_proxy import FlakyProxy
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Each is a process that runs until Ctrl-C.


class Watch:
    """A running `modelward watch`."""

    def __init__(self, target: str, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "modelward", "watch", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"MODELWARD_SERVER": target, "XDG_CONFIG_HOME": NO_PROFILES},
        )
        self.lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line)

    def line(self) -> str:
        return self.lines.get(timeout=PATIENCE_SECONDS)

    def interrupted(self) -> str:
        """Type Ctrl-C, and return what the command then writes to standard error; fail unless it ends well."""
        self.process.send_signal(signal.SIGINT)
        assert self.process.wait(timeout=PATIENCE_SECONDS) == 0
        self._reader.join()
        assert self.lines.empty()
        return self.process.stderr.read() if self.process.stderr else ""


Start = Callable[..., Watch]


@pytest.fixture
def start(sdk: Client) -> Iterator[Start]:
    """Return a function that starts `modelward watch`."""
    started: list[Watch] = []

    def run(*arguments: str, target: str = sdk.target) -> Watch:
        started.append(Watch(target, *arguments))
        return started[-1]

    yield run
    for watch in started:
        watch.process.kill()
        watch.process.communicate()


def token_of(sdk: Client, model: str) -> str:
    """Return the token after which all that follows is new."""
    events = sdk.watch([model])
    next(events)
    sdk.update_model(model, description="it is watched")
    return next(events).resume_token


def test_changes_are_lines_and_ctrl_c_names_how_to_continue(sdk: Client, in_production: str, start: Start) -> None:
    watch = start(in_production, "--since", token_of(sdk, in_production))
    assert watch.line() == "time (UTC)           event              what\n"
    sdk.halt(in_production, reason="exchange\noutage")
    assert watch.line().split(maxsplit=3)[2:] == ["halted", f"{in_production} by sdk: exchange outage\n"]
    sdk.resume(in_production)
    assert watch.line().split()[2:4] == ["resumed", f"{in_production}/2"]
    command, token = watch.interrupted().strip().rsplit(maxsplit=1)
    assert command == "continue with --since"
    later = start(in_production, "--since", token)
    sdk.rollback(in_production, reason="it trades too much")
    moved = f"{in_production}/2 from production to archived by sdk: rolled back to {in_production}/1"
    said = [later.line()]
    while " to production by " not in said[-1]:  # Ctrl-C right behind a line may repeat it.
        said.append(later.line())
    assert moved in said[-2]
    assert later.interrupted()


def test_lines_of_json_outlive_a_broken_connection(sdk: Client, in_production: str, start: Start) -> None:
    way = FlakyProxy(sdk.target)
    watch = start(in_production, "--json", "--since", token_of(sdk, in_production), target=way.address)
    sdk.halt(in_production, reason="outage")
    first = json.loads(watch.line())
    way.break_all()
    sdk.resume(in_production)
    second = json.loads(watch.line())
    assert (first["kind"], second["kind"]) == ("halted", "resumed")
    assert first["subject"]["reason"] == "outage"
    assert first["sequence"] < second["sequence"]
    assert watch.interrupted() == ""
    way.close()


def test_rows_of_csv_are_of_the_kinds_and_tags_that_are_asked_for(
    sdk: Client, in_production: str, start: Start
) -> None:
    token = token_of(sdk, in_production)
    watch = start("--tag", "desk=index", "--kind", "halted", "--since", token, "--format", "csv")
    sdk.halt(in_production, reason="without the tag")
    tagged = sdk.create_model(f"{in_production}-index", tags={"desk": "index"}).name
    sdk.halt(tagged, reason='a "quoted" reason')
    [event] = csv.DictReader([watch.line(), watch.line()])
    assert (event["event"], event["model"]) == ("halted", tagged)
    assert event["what"] == f'{tagged} by sdk: a "quoted" reason'
    assert event["time"].endswith("+00:00")
    assert event["resume_token"]
    assert watch.interrupted() == ""


def test_without_a_token_only_what_is_new_is_shown(sdk: Client, in_production: str, start: Start) -> None:
    watch = start(in_production)

    def it_is_seen() -> bool:
        sdk.halt(in_production, reason="outage")
        sdk.resume(in_production)
        return not watch.lines.empty()

    assert watch.line().startswith("time (UTC)")
    eventually(it_is_seen)
    assert watch.line().split()[2] in {"halted", "resumed"}
    watch.process.kill()


def test_a_token_of_no_watch_is_one_line(start: Start) -> None:
    watch = start("--since", "no token")
    assert watch.line().startswith("time (UTC)")
    assert watch.process.wait(timeout=PATIENCE_SECONDS) == 1
    assert watch.process.stderr
    [line] = watch.process.stderr.read().splitlines()
    assert "resume_token" in line
