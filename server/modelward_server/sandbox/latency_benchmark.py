"""The process in which one model is timed; a nursery forks it, and it has confined itself before this begins.

It loads the model as the worker does, says that it is ready, and then answers each line of
`{"rows": ..., "seconds": ...}` with the times that calls of so many rows took. It ends with its standard input.
"""

import json
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

from modelward_server.sandbox.model_process import failure_of, load_model, load_table
from modelward_server.sandbox.model_runners import Runner

MOST_CALLS = 100_000
"""In one answer, which has to fit into a line."""


def main(job: Mapping[str, Any], folder: Path, answers: BinaryIO) -> None:
    """Time the model that lies in the folder."""
    try:
        for answer in _answers(job, folder):
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()
    except BaseException as error:  # A model may raise anything, also SystemExit.
        [words] = failure_of(error, job["memory_mb"]).values()
        answers.write(json.dumps({"failure": words}).encode() + b"\n")


def _answers(job: Mapping[str, Any], folder: Path) -> Iterator[dict[str, object]]:
    begun = perf_counter()
    runner = load_model(job, folder)
    loaded = perf_counter() - begun
    table = load_table(runner, job, folder)
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
