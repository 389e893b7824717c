"""Building and installing distributions with uv, in a tenth of pip's time."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.waiting import PATIENCE_SECONDS


def uv(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run a command of uv."""
    command = [sys.executable, "-m", "uv", "--quiet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)


def succeed(done: "subprocess.CompletedProcess[str]") -> str:
    """Return what a process printed that must have succeeded."""
    assert done.returncode == 0, done.stderr
    return done.stdout


def need_index(folder: Path) -> None:
    """Skip the test where no package index is reached."""
    reached = uv("pip", "install", "--target", str(folder / "probe"), "--no-deps", "hatchling")
    if reached.returncode:
        pytest.skip(f"needs a package index: {reached.stderr.strip()[-200:]}")


def new_environment(folder: Path, *requirements: str) -> Path:
    """Create an environment with these requirements, and return the folder of its programs."""
    succeed(uv("venv", "--python", sys.executable, str(folder)))
    succeed(uv("pip", "install", "--python", str(folder), *requirements))
    return folder / "bin"
