"""The process in which one model is timed; forked by the fork server, and confined before this module runs.

It loads the model as `model_process` does, reports that it is ready, and then answers each line of
`{"rows": ..., "seconds": ...}` with the durations of calls with so many rows. It ends when its standard input closes.
"""

import json
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any, BinaryIO

from modelward.formats.predictor import Predictor
from modelward_server.sandbox.model_process import failure_of, load_model, load_table

MAX_CALLS = 100_000
"""Maximum calls in one answer, which has to fit into a line."""


def main(job: Mapping[str, Any], folder: Path, answers: BinaryIO) -> None:
    """Time the model in the folder."""
    try:
        for answer in _answers(job, folder):
            answers.write(json.dumps(answer).encode() + b"\n")
            answers.flush()
    except BaseException as error:  # A model may raise anything, also SystemExit.
        [text] = failure_of(error, job["memory_mb"]).values()
        answers.write(json.dumps({"failure": text}).encode() + b"\n")


def _answers(job: Mapping[str, Any], folder: Path) -> Iterator[dict[str, object]]:
    started = perf_counter()
    model = load_model(job, folder)
    loaded = perf_counter() - started
    table = load_table(model, folder)
    model.call(table[:1])
    yield {"load_seconds": loaded}
    for line in sys.stdin:
        request = json.loads(line)
        times = _times(model, table, request["rows"], request["seconds"])
        yield {"times": times, "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10}


def _times(model: Predictor, table: Any, rows: int, seconds: float) -> list[float]:
    """Time calls for about `seconds`, each over other rows of the table; at least one call."""
    times: list[float] = []
    starts = max(1, len(table) - rows + 1)
    end = perf_counter() + seconds
    while not times or (perf_counter() < end and len(times) < MAX_CALLS):
        start = len(times) * rows % starts
        batch = table[start : start + rows]
        started = perf_counter()
        model.call(batch)
        times.append(perf_counter() - started)
    return times
