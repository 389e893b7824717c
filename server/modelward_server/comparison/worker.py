"""The process in which one model runs; a nursery forks it.

It reads `job.json` and `features.arrow` from the folder, loads the model, limits itself, predicts, takes the time, and
writes `answer.json` and `outputs.npz` there. It knows nothing of the server, so that a model that goes wild finds
nothing to harm; who started it looks after the clock, and ends it when the time is up.
"""

import json
import os
import resource
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from modelward_server.comparison.runners import Runner, WrongDataError, import_runtime, load

ROW_CALLS = 200
"""How many calls with one row are timed, if they are quick enough: the least of which two lie above the p99."""
BATCH_CALLS = 20
SECONDS_OF_TIMING = 0.5
"""How long either timing goes on at the most, once it has begun its last call."""
FILE_BYTES = 1 << 30
"""The largest file that the process may write."""


def main(folder: Path, _answers: TextIO) -> None:
    """Run the model whose job lies in the folder."""
    threading.Thread(target=_die_with_the_parent, daemon=True).start()
    job = json.loads((folder / "job.json").read_text())
    try:
        answer = _run(job, folder)
    except WrongDataError as error:
        answer = {"wrong_data": str(error)}
    except MemoryError:
        answer = {"failure": f"needed more than {job['memory_mb']:,} MiB, the memory limit"}
    except BaseException as error:  # A model may raise anything, also SystemExit.
        answer = {"failure": f"raised {type(error).__name__}: {str(error)[:500]}"}
    (folder / "unfinished.json").write_text(json.dumps(answer))
    (folder / "unfinished.json").rename(folder / "answer.json")


def _die_with_the_parent() -> None:
    sys.stdin.buffer.read()  # Ends when the parent does, whichever way that dies.
    os._exit(1)


def _run(job: Mapping[str, Any], folder: Path) -> dict[str, object]:
    runtime = import_runtime(job["format"])
    limit_process(job["memory_mb"], job["cpu_seconds"])
    runner = load(runtime, Path(job["model"]))
    with pa.memory_map(str(folder / "features.arrow")) as features, pa.ipc.open_stream(features) as reader:
        table = runner.table(reader.read_all())
    with (folder / "outputs.npz").open("wb") as file:
        outputs: Any = runner.outputs(table)
        np.savez(file, **outputs)
    runner.predict(table[:1])  # One call warms up; of whole batches there was one already.
    row_times = _times(runner, lambda call: table[call % len(table) :][:1], ROW_CALLS)
    batch_times = _times(runner, lambda _: table, BATCH_CALLS)
    return {"kind": runner.kind, "classes": runner.classes, "row_times": row_times, "batch_times": batch_times}


def limit_process(memory_mb: int, cpu_seconds: int) -> None:
    """Bound what the model may take from here on.

    The memory limit is on data (RLIMIT_DATA), not on addresses (RLIMIT_AS): BLAS reserves gigabytes of addresses for
    each thread that it never uses.
    """
    allowed = _data_bytes() + (memory_mb << 20)
    resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _data_bytes() -> int:
    """Return how much data the interpreter and its libraries hold already; 0 where the system does not tell."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next(int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmData"))


def _times(runner: Runner, rows_of: Callable[[int], Any], most: int) -> list[float]:
    """Time calls, in seconds."""
    times: list[float] = []
    while len(times) < most and sum(times) < SECONDS_OF_TIMING:
        rows = rows_of(len(times))
        begin = perf_counter()
        runner.predict(rows)
        times.append(perf_counter() - begin)
    return times
