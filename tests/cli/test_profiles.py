"""Profiles: which server a command calls, and with which credentials."""

import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from modelward.caller import Role
from modelward.cli.commands import cli
from modelward.shared.profiles import Profile, profile_from_environment
from modelward_server.security.admin_session import admin_session
from modelward_server.security.grants import create_token
from modelward_server.settings import Settings
from tests.support.ports import free_port
from tests.support.running_server import RunningServer

NOWHERE = "localhost:1"


class User:
    """Runs commands with a configuration file in the usual place."""

    def __init__(self, home: Path) -> None:
        self.file = home / "modelward" / "config.toml"
        self.file.parent.mkdir()
        self._home = home

    def configure(self, text: str) -> None:
        self.file.write_text(text)

    def run(self, *arguments: object, **environment: str) -> Result:
        bare = dict.fromkeys(("MODELWARD_SERVER", "MODELWARD_TOKEN", "MODELWARD_PROFILE", "MODELWARD_CONFIG"))
        runner = CliRunner(env=bare | {"XDG_CONFIG_HOME": str(self._home), "COLUMNS": "300"} | environment)
        return runner.invoke(cli, [str(argument) for argument in arguments])

    def said(self, *arguments: object, **environment: str) -> str:
        result = self.run(*arguments, **environment)
        assert (result.exit_code, result.stderr) == (0, ""), result.output
        return result.stdout

    def refused(self, *arguments: object, **environment: str) -> str:
        """Return the one line with which a command fails."""
        result = self.run(*arguments, **environment)
        assert (result.exit_code, result.stdout) == (1, "")
        [line] = result.stderr.splitlines()
        return line


@pytest.fixture
def user(tmp_path: Path) -> User:
    home = tmp_path / "home"
    home.mkdir()
    return User(home)


def name_of(said: str) -> str:
    """Return the name that `whoami` shows."""
    return said.splitlines()[0].split()[1]


def test_the_named_profile_gives_server_and_actor(user: User, server: RunningServer) -> None:
    user.configure(f'[profiles.dev]\nserver = "{server.target}"\nactor = "eve"\n[profiles.prod]\nserver = "{NOWHERE}"')
    assert name_of(user.said("--profile", "dev", "whoami")) == "eve"
    assert name_of(user.said("whoami", "--profile", "dev")) == "eve"
    assert name_of(user.said("whoami", MODELWARD_PROFILE="dev")) == "eve"
    assert name_of(user.said("--profile", "dev", "whoami", MODELWARD_PROFILE="prod")) == "eve"


def test_the_default_profile_is_used_where_none_is_named(user: User, server: RunningServer) -> None:
    user.configure(f'default_profile = "dev"\n[profiles.dev]\nserver = "{server.target}"\nactor = "eve"\n')
    assert name_of(user.said("whoami")) == "eve"


def test_flags_and_variables_win_over_the_profile(user: User, server: RunningServer) -> None:
    user.configure(f'[profiles.dev]\nserver = "{NOWHERE}"\nactor = "eve"\ntimeout = 0.1\n')
    line = ["--profile", "dev", "whoami", "--timeout", "30"]
    assert name_of(user.said(*line, "--server", server.target, "--actor", "ada")) == "ada"
    assert name_of(user.said(*line, MODELWARD_SERVER=server.target, MODELWARD_ACTOR="bob")) == "bob"
    assert name_of(user.said(*line, "--actor", "ada", MODELWARD_SERVER=server.target, MODELWARD_ACTOR="b")) == "ada"


def test_a_file_elsewhere_is_named_by_flag_or_variable(user: User, server: RunningServer, tmp_path: Path) -> None:
    elsewhere = tmp_path / "team.toml"
    elsewhere.write_text(f'[profiles.dev]\nserver = "{server.target}"\nactor = "eve"\n')
    assert name_of(user.said("--config", elsewhere, "--profile", "dev", "whoami")) == "eve"
    assert name_of(user.said("--profile", "dev", "whoami", MODELWARD_CONFIG=str(elsewhere))) == "eve"
    missing = tmp_path / "none.toml"
    assert user.refused("--config", missing, "whoami") == f"{missing}: No such file or directory"


@pytest.mark.parametrize("command", ["--help", "models --help", "--version"])
def test_a_broken_file_does_not_disturb_what_does_not_need_it(user: User, command: str) -> None:
    user.configure("no TOML")
    user.said(*command.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[profiles.production]\n[profiles.dev]", "has no profile 'prodution' (did you mean 'production'?); it has "),
        ("", "has no profile 'prodution'; it has none"),
        ("profiles = 7", "write each profile as a table, such as [profiles.prod]"),
        ("[profiles]\nprodution = 'localhost'", "profile prodution: write it as a table, [profiles.prodution]"),
        ("[profiles.prodution", "is not TOML: "),
        ("default_profile = 7", "default_profile must be a text"),
        (
            "profile = 'prod'",
            "unknown key 'profile' (did you mean 'profiles'?); the keys are default_profile, profiles",
        ),
        ("[profiles.prodution]\nsever = 'a'", "unknown key 'sever' (did you mean 'server'?); the keys are server, "),
        ("[profiles.prodution]\nserver = 7", "profile prodution: server must be a text"),
        ("[profiles.prodution]\ntimeout = '1s'", "timeout must be a positive number of seconds"),
        (
            "[profiles.prodution]\ntoken = 'mw_secret'",
            "a token does not belong into this file; name its source instead",
        ),
        ("[profiles.prodution]\ntoken_command = 'pass show'", "token_command must be a list of texts, such as "),
        ("[profiles.prodution]\ntoken_env = 'A'\ntoken_file = 'b'", "token_file and token_env are both set; keep one"),
        ("[profiles.prodution]\ncert = 'a.pem'", "a client certificate needs both cert and key"),
        ("[profiles.prodution]\nca = 'none.pem'", "none.pem: No such file or directory"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(user: User, text: str, said: str) -> None:
    user.configure(text)
    line = user.refused("--profile", "prodution", "whoami")
    assert said in line
    assert str(user.file.parent) in line
    assert "mw_secret" not in line


@pytest.mark.system
def test_a_mistake_in_another_profile_does_not_matter(user: User, server: RunningServer) -> None:
    user.configure(f'[profiles.a]\nserver = "{server.target}"\n[profiles.b]\ntypo = 1')
    user.said("--profile", "a", "whoami")
    assert "profile b: unknown key 'typo'" in user.refused("profiles")


def test_profiles_are_listed_with_their_token_sources(user: User) -> None:
    assert user.said("profiles") == f"there is no profile in {user.file}\n"
    user.configure(
        'default_profile = "prod"\n[profiles.dev]\nserver = "localhost:50061"\ntoken_command = ["pass", "show", "mw"]\n'
        '[profiles.prod]\nserver = "a:1,b:1"\nca = "ca.pem"\ntoken_file = "/run/token"\n'
    )
    _, _, dev, prod = user.said("profiles").splitlines()
    assert dev.split() == ["dev", "no", "localhost:50061", "command", "pass", "show", "mw"]
    assert prod.split() == ["prod", "yes", "a:1,b:1", str(user.file.parent / "ca.pem"), "file", "/run/token"]


@pytest.fixture(scope="module")
def authenticated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """A server that requires tokens, and a token of trader."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), port=0, auth=True)
    server = RunningServer(settings)
    with admin_session(settings) as (session, actor):
        token = create_token(session, "trader", Role.VIEWER, (), None, actor)
    yield server.target, token
    server.stop()


def test_each_token_source_authenticates(user: User, authenticated: tuple[str, str]) -> None:
    target, token = authenticated
    (user.file.parent / "prod.token").write_text(f"{token}\n")
    script = user.file.parent / "print-token"
    script.write_text(f"#!/bin/sh\necho once >> {user.file.parent}/runs\necho {token}\n")
    script.chmod(stat.S_IRWXU)
    sources = ['token_file = "prod.token"', 'token_env = "PROD_TOKEN"', f'token_command = ["{script}"]']
    for source in sources:
        user.configure(f'[profiles.prod]\nserver = "{target}"\n{source}\n')
        assert name_of(user.said("--profile", "prod", "whoami", PROD_TOKEN=token)) == "trader"
    assert (user.file.parent / "runs").read_text() == "once\n"


def test_a_token_of_the_environment_wins_over_the_profiles(user: User, authenticated: tuple[str, str]) -> None:
    target, token = authenticated
    user.configure(f'[profiles.prod]\nserver = "{target}"\ntoken_command = ["false"]\n')
    assert name_of(user.said("--profile", "prod", "whoami", MODELWARD_TOKEN=token)) == "trader"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('token_file = "none"', "No such file or directory"),
        ('token_file = "empty"', "contains no token"),
        ('token_env = "UNSET_TOKEN"', "profile prod: the environment variable UNSET_TOKEN is not set"),
        ('token_command = ["sh", "-c", "echo locked >&2; exit 3"]', "token_command sh ended with code 3: locked"),
        ('token_command = ["true"]', "profile prod: the token_command true printed no token"),
        ('token_command = ["no-such-program"]', "the token_command no-such-program: No such file or directory"),
    ],
)
def test_a_token_that_cannot_be_had_is_one_line(user: User, source: str, said: str) -> None:
    (user.file.parent / "empty").touch()
    user.configure(f'[profiles.prod]\nserver = "localhost:{free_port()}"\n{source}\n')
    assert said in user.refused("--profile", "prod", "whoami")


def test_a_profiles_token_leaves_the_machine_over_tls_only(user: User) -> None:
    user.configure('[profiles.prod]\nserver = "models:50061"\ntoken_env = "HOME"\n')
    expected = "a token is sent to models:50061 over TLS only; set MODELWARD_CA, or ca in the profile"
    assert user.refused("--profile", "prod", "whoami") == expected


def test_processes_of_jobs_use_the_profile_of_their_worker(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("MODELWARD_PROFILE", raising=False)
    assert profile_from_environment() == Profile()
    (tmp_path / "config.toml").write_text('[profiles.prod]\nca = "ca.pem"\n')
    monkeypatch.setenv("MODELWARD_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("MODELWARD_PROFILE", "prod")
    assert profile_from_environment() == Profile("prod", ca=tmp_path / "ca.pem")
