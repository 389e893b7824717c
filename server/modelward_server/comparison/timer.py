"""The process in which one model is timed; a nursery forks it.

It loads the model as the worker does, says that it is ready, and then answers each line of
`{"rows": ..., "seconds": ...}` with the times that calls of so many rows took. It ends with its standard input.
"""

import json
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, TextIO

import pyarrow as pa

from modelward_server.comparison.runners import Runner, WrongDataError, import_runtime, load
from modelward_server.comparison.worker import limit_process

MOST_CALLS = 100_000
"""In one answer, which has to fit into a line."""


def main(folder: Path, answers: TextIO) -> None:
    """Time the model whose job lies in the folder."""
    job = json.loads((folder / "job.json").read_text())
    try:
        for answer in _answers(job, folder):
            print(json.dumps(answer), file=answers, flush=True)
    except MemoryError:
        print(json.dumps({"failure": f"needed more than {job['memory_mb']:,} MiB, the memory limit"}), file=answers)
    except BaseException as error:  # A model may raise anything, also SystemExit.
        words = str(error) if isinstance(error, WrongDataError) else f"raised {type(error).__name__}: {error}"
        print(json.dumps({"failure": words[:500]}), file=answers)
    answers.flush()


def _answers(job: Mapping[str, Any], folder: Path) -> Iterator[dict[str, object]]:
    runtime = import_runtime(job["format"])
    limit_process(job["memory_mb"], job["cpu_seconds"])
    begun = perf_counter()
    runner = load(runtime, Path(job["model"]))
    loaded = perf_counter() - begun
    with pa.memory_map(str(folder / "features.arrow")) as features, pa.ipc.open_stream(features) as reader:
        table = runner.table(reader.read_all())
    runner.predict(table[:1])
    yield {"load_seconds": loaded}
    for line in sys.stdin:
        asked = json.loads(line)
        times = _times(runner, table, asked["rows"], asked["seconds"])
        yield {"times": times, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}


def _times(runner: Runner, table: Any, rows: int, seconds: float) -> list[float]:
    """Time calls for about so long, each over other rows of the table, and one at the least."""
    times: list[float] = []
    places = max(1, len(table) - rows + 1)
    end = perf_counter() + seconds
    while not times or (perf_counter() < end and len(times) < MOST_CALLS):
        start = len(times) * rows % places
        asked = table[start : start + rows]
        begun = perf_counter()
        runner.predict(asked)
        times.append(perf_counter() - begun)
    return times
