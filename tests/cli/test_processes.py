"""The command as a process: how it starts, what it says without a server or its packages, and how it serves."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from modelward.cli.commands import MODULES
from modelward_server.cli.serve import serve
from modelward_server.settings import Settings
from tests.support.misbehaving_server import misbehaving_server
from tests.support.ports import free_port
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system
HEAVY = ("numpy", "pyarrow", "pydantic", "modelward_server", "sqlalchemy", "mlflow", "rich.progress")


def modelward(*arguments: object, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-W", "error", "-m", "modelward", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, env=os.environ | environment
    )


def test_a_remote_command_works_as_a_process(server: RunningServer) -> None:
    done = modelward("models", "--prefix", "no-model-is-called-so", MODELWARD_SERVER=server.target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "there is no such model\n", "")


def test_a_remote_command_imports_nothing_heavy(server: RunningServer) -> None:
    program = (
        "import sys; from modelward.cli.commands import cli\n"
        f"cli(['models', '--json', '--server', {server.target!r}], standalone_mode=False)\n"
        f"print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=True
    )
    assert done.stderr.split() == []


def test_no_server_is_one_line_that_names_the_address() -> None:
    address = f"127.0.0.1:{free_port()}"
    done = modelward("models", "--server", address, "--timeout", "0.5")
    assert done.returncode == 1
    assert re.fullmatch(f"(no Modelward server answers at )?{re.escape(address)}.*\n", done.stderr)


@pytest.mark.parametrize("redirection", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "--json >&-", "| true"])
def test_streams_that_are_closed_are_no_traceback(server: RunningServer, redirection: str) -> None:
    command = f"{sys.executable} -m modelward models --server {server.target} {redirection}"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_server_that_hangs_is_one_line_that_says_so() -> None:
    with misbehaving_server() as odd:
        odd.answers["ListModels"] = odd.answers["ExportAuditLog"] = lambda *_: odd.silence()
        for arguments in (["models"], ["models", "--json"], ["audit", "export"]):
            done = modelward(*arguments, "--server", odd.target, "--timeout", "0.5")
            assert (done.returncode, done.stdout) == (1, "")
            assert done.stderr == f"{odd.target} did not respond within 0.5 s; increase the limit with --timeout\n"


def test_a_reader_that_has_enough_is_no_error(server: RunningServer) -> None:
    command = f"{sys.executable} -m modelward audit export --server {server.target} | true"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_packages_it_says_what_to_install(missing: str) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from modelward.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 1
    assert done.stderr == "The command line needs an extra: pip install 'modelward[cli]'\n"


@pytest.mark.parametrize(
    ("command", "missing"),
    [("serve --port 0", "pydantic"), ("serve --help", "pydantic_settings"), ("serve", "alembic"), ("demo", "sklearn")],
)
@pytest.mark.weekly
def test_without_the_servers_packages_it_says_what_to_install(command: str, missing: str, tmp_path: Path) -> None:
    program = f"import sys; sys.modules[{missing!r}] = None; from modelward.cli import main; main()"
    line = [sys.executable, "-c", program, *command.split()]
    environment = os.environ | {"MODELWARD_PORT": "0"}
    done = subprocess.run(
        line, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False, cwd=tmp_path, env=environment
    )
    assert done.returncode == 1
    assert done.stderr == "this needs an extra: pip install 'modelward[server]'\n"


def test_help_names_every_command() -> None:
    said = modelward("--help", COLUMNS="80").stdout
    assert re.findall(r"^  ([a-z]+) +[A-Z]", said, re.MULTILINE) == list(MODULES)
    assert "..." not in said.partition("Inspect:")[2]


def test_serve_has_a_flag_and_a_variable_for_each_setting() -> None:
    said = " ".join(modelward("serve", "--help").stdout.split())
    for name, field in Settings.model_fields.items():
        assert f"--{name.replace('_', '-')} " in said
        assert f"MODELWARD_{name.upper()}; default: " in said
        assert str(field.description) in said


def test_serve_says_where_it_listens_and_ends_well_on_sigterm(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "modelward", "serve", "--port", "0", "--data-dir", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        starting, line = process.stdout.readline(), process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        rest, errors = process.communicate(timeout=PATIENCE_SECONDS)
    data = re.escape(str(tmp_path / "data"))
    assert re.fullmatch(rf"Modelward \S+ is starting, data in {data}\n", starting)
    assert re.fullmatch(rf"Modelward listens on 127\.0\.0\.1:\d+, data in {data}, MLflow at sqlite:///\S+\n", line)
    assert (process.returncode, rest, errors) == (0, "", "")


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = modelward("serve", "--port", port, "--data-dir", tmp_path / "data")
    assert (done.returncode, done.stderr) == (1, f"cannot listen on 127.0.0.1:{port}: Address already in use\n")


def test_a_port_for_metrics_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = modelward("serve", "--port", "0", "--metrics-port", port, "--data-dir", tmp_path / "data")
    assert (done.returncode, done.stderr) == (
        1,
        f"--metrics-port (MODELWARD_METRICS_PORT): {port}: Address already in use\n",
    )


def test_each_bad_setting_is_a_line_that_names_it(tmp_path: Path) -> None:
    done = modelward("serve", "--port", "99999", "--data-dir", tmp_path, MODELWARD_GRACE_SECONDS="soon")
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "--port (MODELWARD_PORT)",
        "--grace-seconds (MODELWARD_GRACE_SECONDS)",
    ]


@pytest.mark.parametrize(
    ("flag", "value", "code"),
    [
        ("--data-dir", "/dev/null/data", 1),
        ("--database-url", "no url", 2),
        ("--database-url", "postgresql+psycopg://ada:secret@127.0.0.1:1/ledger", 1),
        ("--database-url", "mysql://ada:secret@127.0.0.1/ledger", 1),
    ],
)
def test_a_store_that_cannot_be_opened_is_one_line(flag: str, value: str, code: int, tmp_path: Path) -> None:
    done = modelward("serve", "--port", "0", "--data-dir", tmp_path / "data", flag, value)
    assert done.returncode == code
    [line] = done.stderr.splitlines()
    assert line.startswith(f"{flag} (MODELWARD_{flag.strip('-').replace('-', '_').upper()}): ")
    assert "secret" not in line


@pytest.mark.parametrize(
    ("flags", "setting"),
    [
        (("--auth", "--signing-key", "absent.pem"), "signing_key"),
        (("--signing-key", "garbage.pem"), "signing_key"),
        (("--signing-key", "pkcs11:token=none"), "signing_key"),
        (("--tls-cert", "garbage.pem", "--tls-key", "garbage.pem"), "tls_cert"),
        (("--trusted-signers", "garbage.pem"), "trusted_signers"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(flags: tuple[str, ...], setting: str, tmp_path: Path) -> None:
    (tmp_path / "garbage.pem").write_text("garbage")
    placed = (str(tmp_path / flag) if flag.endswith(".pem") else flag for flag in flags)
    done = modelward("serve", "--port", "0", "--data-dir", tmp_path / "data", *placed)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"--{setting.replace('_', '-')} (MODELWARD_{setting.upper()}): ")


def test_flags_of_booleans_may_stand_alone_or_have_a_value(tmp_path: Path) -> None:
    booleans = {name for name, field in Settings.model_fields.items() if field.annotation is bool}
    flags = {param.name: param for param in serve.get_params(click.Context(serve))}
    optional = {name for name, param in flags.items() if param.metavar == "[true|false]"}
    assert optional == booleans
    for name in sorted(booleans):
        option = f"--{name.replace('_', '-')}"
        for given, expected in ([option, "--port", "0"], "true"), ([option, "false"], "false"), ([option], "true"):
            assert serve.make_context("serve", list(given)).params[name] == expected


def test_serve_with_names_of_the_last_release_uses_and_reports_them(tmp_path: Path) -> None:
    done = modelward("serve", "--data-dir", tmp_path, "--workers", "0", MODELWARD_WORKER_SECONDS="-1")
    assert done.returncode == 2
    notice = "--workers (MODELWARD_WORKERS) is now --processes (MODELWARD_PROCESSES); the next release does not accept"
    assert notice in done.stderr
    assert "--processes (MODELWARD_PROCESSES): Input should be greater than or equal to 1, not '0'" in done.stderr
    assert "--sandbox-seconds (MODELWARD_SANDBOX_SECONDS): Input should be greater than 0, not '-1'" in done.stderr


def test_serve_with_both_names_of_a_setting_uses_the_current_one(tmp_path: Path) -> None:
    done = modelward("serve", "--data-dir", tmp_path, "--workers", "3", "--processes", "0")
    assert "--processes (MODELWARD_PROCESSES): Input should be greater than or equal to 1, not '0'" in done.stderr
    assert "--workers" not in modelward("serve", "--help").stdout
