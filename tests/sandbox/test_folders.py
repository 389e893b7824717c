"""What a model's process may read of the file system, and the folders in which it finds its job."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from modelward_server.runtime.temporary_folders import process_folder
from modelward_server.sandbox import scratch, visible
from modelward_server.sandbox.level import command, environment, level


def test_what_the_server_keeps_is_hidden_even_among_pythons_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("lib", "data", "project/models", "project/data"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(visible, "_hidden", set())
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert tmp_path in visible.readable()
    visible.hide(tmp_path / "data", tmp_path / "project" / "data")
    found = {path for path in visible.readable() if path.is_relative_to(tmp_path)}
    assert found == {tmp_path / "lib", tmp_path / "project" / "models"}
    visible.hide(tmp_path)
    assert not {path for path in visible.readable() if path.is_relative_to(tmp_path)}


def test_the_working_folder_is_no_place_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert tmp_path not in visible.readable()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert tmp_path in visible.readable()


def test_folders_of_killed_servers_are_removed_and_those_in_use_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, held, young = (tmp_path / f"{scratch.PREFIX}{name}" for name in ("left", "held", "young"))
    for folder in (left, held, young):
        (folder / "job").mkdir(parents=True)
    for folder in (left, held):
        os.utime(folder, (0, 0))
    descriptor = os.open(held, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    monkeypatch.setattr(scratch, "process_folder", process_folder.__wrapped__)
    made = scratch.scratch.__wrapped__()
    os.close(descriptor)
    assert {folder for folder in (left, held, young) if folder.exists()} == {held, young}
    assert made.stat().st_mode & 0o777 == 0o711


def test_libraries_find_a_temporary_folder_while_they_are_imported() -> None:
    """Without one `import torch` fails, which skops imports where it is installed."""
    asked = ("-n", "1", "-r", "1", "import tempfile; tempfile.NamedTemporaryFile()")
    subprocess.run(command("timeit", *asked, wrapped=level().bubblewrap), env=environment(), check=True)
