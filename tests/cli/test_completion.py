"""Completion in a shell knows the names of models, versions and profiles."""

import os
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from modelward import Client
from modelward.cli.commands import cli
from modelward.cli.completion import SECONDS, VARIABLE
from tests.cli.conftest import NO_PROFILES
from tests.support.misbehaving_server import misbehaving_server
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.


def offered(*words: str, **environment: str) -> list[str]:
    """Return what is offered for the last word of a command."""
    with CliRunner(env={"XDG_CONFIG_HOME": NO_PROFILES, "MODELWARD_SERVER": None} | environment).isolation():
        shell = BashComplete(cli, {}, "modelward", VARIABLE)
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


def test_models_and_then_their_versions_are_offered(sdk: Client, in_production: str) -> None:
    start = in_production[:-2]
    assert offered("rollback", "--server", sdk.target, start) == [in_production]
    versions = [f"{in_production}/2", f"{in_production}/1"]
    for word in (start, f"{in_production}/"):
        assert offered("promote", "--server", sdk.target, word) == versions
    assert offered("compare", versions[0], "--server", sdk.target, f"{in_production}/1") == versions[1:]
    sdk.create_model(f"{in_production}-b")
    both = [in_production, f"{in_production}-b"]
    assert offered("show", "--server", sdk.target, start) == both
    assert offered("promote", "--server", sdk.target, start) == [f"{name}/" for name in both]
    assert offered("show", "--server", sdk.target, f"{in_production}/") == versions


def test_schedules_tests_and_jobs_are_offered(sdk: Client, in_production: str) -> None:
    sdk.create_schedule(in_production, every=timedelta(days=1), schedule_id=f"{in_production}-daily")
    variants = {"control": f"{in_production}/1", "challenger": f"{in_production}/2"}
    sdk.create_ab_test(f"{in_production}-test", variants, primary_metric="pnl")
    job = sdk.request_retraining(in_production, reason="new data").job_id
    server = ("--server", sdk.target)
    assert offered("schedule", "pause", *server, f"{in_production}-d") == [f"{in_production}-daily"]
    assert offered("firings", *server, "--schedule", f"{in_production}-d") == [f"{in_production}-daily"]
    assert offered("ab", "show", *server, f"{in_production}-t") == [f"{in_production}-test"]
    assert offered("jobs", "show", *server, job[:-1]) == [job]


def test_the_server_of_the_variable_or_the_profile_is_asked(sdk: Client, in_production: str, tmp_path: Path) -> None:
    assert offered("halt", in_production, MODELWARD_SERVER=sdk.target) == [in_production]
    file = tmp_path / "team.toml"
    file.write_text(f'[profiles.dev]\nserver = "{sdk.target}"\n[profiles.prod]\nserver = "localhost:1"\n')
    assert offered("--config", str(file), "--profile", "") == ["dev", "prod"]
    assert offered("halt", "--profile", "d", MODELWARD_CONFIG=str(file)) == ["dev"]
    assert offered("--config", str(file), "--profile", "dev", "halt", in_production) == [in_production]
    assert offered("halt", "--profile", "dev", in_production, MODELWARD_CONFIG=str(file)) == [in_production]


def test_nothing_is_offered_or_said_without_a_server(tmp_path: Path, capfd: Any) -> None:
    assert offered("halt", "--server", f"localhost:{free_port()}", "a") == []
    broken, slow = tmp_path / "broken.toml", tmp_path / "slow.toml"
    broken.write_text("no TOML")
    slow.write_text(f'[profiles.a]\nserver = "localhost:{free_port()}"\ntoken_command = ["sleep", "20"]\n')
    assert offered("--config", str(broken), "halt", "a") == offered("--config", str(broken), "--profile", "") == []
    begun = time.monotonic()
    assert offered("--config", str(slow), "--profile", "a", "halt", "a") == []
    assert time.monotonic() - begun < SECONDS + 1
    assert capfd.readouterr() == ("", "")


@pytest.mark.system
def test_a_server_that_hangs_is_not_waited_for() -> None:
    with misbehaving_server() as odd:
        odd.answers["ListModels"] = lambda *_: odd.silence()
        begun = time.monotonic()
        assert offered("halt", "--server", odd.target, "a") == []
        assert time.monotonic() - begun < SECONDS + 1


@pytest.mark.system
def test_bash_completes_by_the_script_that_is_printed(sdk: Client, in_production: str) -> None:
    program = f"""
        eval "$(modelward completion bash)"
        complete -p modelward
        COMP_WORDS=(modelward promote {in_production[:-1]}) COMP_CWORD=2
        _modelward_completion modelward && echo "${{COMPREPLY[@]}}"
        COMP_WORDS=(modelward roll) COMP_CWORD=1 COMPREPLY=()
        _modelward_completion modelward && echo "${{COMPREPLY[@]}}"
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "MODELWARD_SERVER": sdk.target, "XDG_CONFIG_HOME": NO_PROFILES}
    command = ["bash", "--norc", "-c", program]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _modelward_completion modelward",
        f"{in_production}/2 {in_production}/1",
        "rollout rollback",
    ]


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_there_are_scripts_for_other_shells(shell: str) -> None:
    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert f"{VARIABLE}={shell}_complete" in done.output
