"""The README is true: its programs run in their order, its commands answer as it says, its settings are all there."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from modelward_server.settings import Settings
from tests.system.served import Served

README = (Path(__file__).parents[2] / "README.md").read_text()
TARGET = "localhost:50061"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("readme")


@pytest.fixture(scope="module")
def target(folder: Path) -> Iterator[str]:
    server = Served(folder / "data", folder / "log")
    yield server.target
    server.kill()


@pytest.fixture(scope="module")
def said(target: str, folder: Path) -> str:
    """What the Python programs of the README print, one after another."""
    program = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL)).replace(TARGET, target)
    command = [sys.executable, "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_programs_print_what_their_comments_say(said: str) -> None:
    promised = re.findall(r"^print\(.*\)  # (\S+/\d.*)$", README, re.MULTILINE)
    assert len(promised) == 3
    remaining = iter(said.splitlines())
    for line in promised:
        assert line in remaining  # In this order: what was looked at is used up.


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("command", re.findall(r"^\$ modelward (?!serve)(.*)$", README, re.MULTILINE))
def test_the_commands_answer_as_shown(command: str, target: str) -> None:
    shown = README.partition(f"$ modelward {command}\n")[2].partition("\n\n")[0].partition("```")[0].partition("$ ")[0]
    line = [sys.executable, "-m", "modelward", *command.split()]
    env = os.environ | {"MODELWARD_SERVER": target, "COLUMNS": "120"}
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env=env)
    assert done.returncode == 0, done.stderr
    for word in re.sub(r"[\d:.-]{8,}|\d+\.\d+|─", " ", shown).split():  # Times and figures that change are left out.
        assert word in done.stdout


def grpcurls() -> list[str]:
    return re.findall(r"^\$ (grpcurl [^`]*?(?: list|/\w+))$", README, re.MULTILINE)


@pytest.mark.usefixtures("said")
@pytest.mark.parametrize("command", grpcurls(), ids=range(len(grpcurls())))
def test_the_grpcurl_commands_answer_as_shown(command: str, target: str) -> None:
    shown = README.partition(command + "\n")[2].partition("```")[0]
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
    line = ["bash", "-c", command.replace(TARGET, target)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, env={"PATH": path})
    assert (done.returncode != 0) is shown.startswith("ERROR")
    if command.endswith(" list"):
        assert done.stdout == shown
    for name in re.findall(r'"(\w+)":', shown):
        assert f'"{name}":' in (done.stdout + done.stderr).replace(": ", ":")


def test_the_settings_are_all_told_with_their_defaults() -> None:
    told = dict(re.findall(r"^\| `([a-z_]+)` \| (?:`(.*?)`)? ?\| ", README, re.MULTILINE))
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    defaults |= {name: ",".join(default) for name, default in defaults.items() if isinstance(default, tuple)}
    assert set(told) == set(defaults)
    for name, default in defaults.items():
        assert told[name] == (f"{default:g}" if isinstance(default, float) else str(default))
