"""Broken Arrow and Parquet is read or refused, by whatever it is broken, and takes no more memory than the budget."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fuzz_tables import BUDGET
from tests.support.scale import FULL

pytestmark = pytest.mark.system  # Hundreds of broken tables, each read in a process.

ARROW_FILES, PARQUET_FILES = (200_000, 2_000) if FULL else (1_000, 4)


def test_broken_tables_are_read_or_refused() -> None:
    program = [sys.executable, "-m", "tests.support.fuzz_tables", str(ARROW_FILES), str(PARQUET_FILES)]
    # Arrow's own allocators set aside a gigabyte at a time, which would count against the limit.
    environment = os.environ | {"ARROW_DEFAULT_MEMORY_POOL": "system"}
    done = subprocess.run(
        program, cwd=Path(__file__).parents[2], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert sum(found["arrow"].values()) == ARROW_FILES
    assert sum(found["parquet"].values()) == PARQUET_FILES
    assert set(found["arrow"]) == {"read", "refused as wrong", "refused as too large"}
    assert found["grew"] < BUDGET
    assert found["held"] == 0
