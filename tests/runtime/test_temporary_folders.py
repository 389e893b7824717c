"""Temporary folders: those of a killed process are removed by the next one, and those in use are not."""

import subprocess
import sys
from pathlib import Path

import pytest

from modelward_server.runtime import temporary_folders

HOLD = """
import sys
from modelward_server.runtime.temporary_folders import FILES, locked_folder, process_folder, temporary_folder
from pathlib import Path
folder = temporary_folder()
Path(folder.name, "table.csv").write_text("rows")
with locked_folder(process_folder(FILES).parent, "mlflow.db-") as other:
    print(process_folder(FILES), other, flush=True)
    sys.stdin.read()
"""


@pytest.mark.system  # Starts a process.
def test_folders_of_a_killed_process_are_removed_and_those_of_a_running_one_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(temporary_folders, "UNUSED_SECONDS", -1)
    environment = {"TMPDIR": str(tmp_path), "PYTHONPATH": ":".join(sys.path)}
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as holder:
        assert holder.stdout is not None
        folders = [Path(name) for name in holder.stdout.readline().split()]
        prefixes = temporary_folders.FILES, "mlflow.db-"
        for prefix in prefixes:
            temporary_folders.remove_leftovers(tmp_path, prefix)
        assert all(folder.is_dir() for folder in folders)
        holder.kill()
    assert all(folder.is_dir() for folder in folders)
    for prefix in prefixes:
        temporary_folders.remove_leftovers(tmp_path, prefix)
    assert not any(folder.exists() for folder in folders)
    assert list(tmp_path.iterdir()) == []
