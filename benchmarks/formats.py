"""What does a `Predictor` cost beside the library's own call, for each format? MLflow's pyfunc runs as the peer.

    python benchmarks/formats.py [--rounds 15] [FORMAT ...]

Each model is saved, checked and loaded as `Client.load` does. The same rows are predicted in turns: an array in order
by the library's own call and by the predictor, and a data frame by the predictor and by `mlflow.pyfunc`, which loaded
the same file from a folder as Modelward writes it for MLflow. Told is the median over the rounds of the fastest call of
each. The time to load and the memory of an engine are measured in a fresh process for each: resident memory from the
import of the client to the first prediction, with the library's import.
"""

import argparse
import gc
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from followers import _memory
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from modelward.formats import formats
from modelward.signature import ColumnKind

FEATURES, SIZES = 20, (1, 1000)
NAMES = [f"x{i}" for i in range(FEATURES)]
CALLS_SECONDS = 0.05
"""How long each call is repeated in one round."""
Call = Callable[[Any], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pyfunc", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument(
        "formats", nargs="*", default=[name for name in MODELS if name in formats() and find_spec(name)]
    )
    given = parser.parse_args()
    if given.load:
        print(*_loaded(given.formats[0], given.load, given.pyfunc))
        return
    headings = ["", "rows", "raw µs", "ours µs", "more µs", "ratio", "frame: ours µs", "pyfunc µs", "of pyfunc"]
    calls, loads = Table(*headings), Table("", "load ms", "pyfunc ms", "engine MiB", "with pyfunc MiB")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.formats:
            path = _save(name, Path(folder, name))
            for size in SIZES:
                calls.add_row(name, str(size), *_compared(name, path, size, given.rounds))
            own, peer = (_in_a_process(name, path, pyfunc) for pyfunc in (False, True))
            loads.add_row(name, own[0], peer[0], own[1], peer[1])
    Console(width=120).print(calls, loads, f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _skops(features: Any, labels: Any) -> Any:
    from sklearn.linear_model import Ridge

    return Ridge().fit(features, labels)


def _onnx(features: Any, labels: Any) -> Any:
    import statsmodels.api as sm

    from modelward.onnx_export import from_statsmodels

    return from_statsmodels(sm.OLS(labels, features).fit(), features).model


def _lightgbm(features: Any, labels: Any) -> Any:
    from lightgbm import LGBMRegressor

    return LGBMRegressor(n_estimators=100, verbose=-1, n_jobs=1).fit(features, labels)


def _xgboost(features: Any, labels: Any) -> Any:
    from xgboost import XGBRegressor

    return XGBRegressor(n_estimators=100, n_jobs=1).fit(features, labels)


def _catboost(features: Any, labels: Any) -> Any:
    from catboost import CatBoostRegressor

    settings = {"iterations": 100, "thread_count": 1, "verbose": False, "allow_writing_files": False}
    return CatBoostRegressor(**settings).fit(features, labels)


MODELS: dict[str, Callable[[Any, Any], Any]] = {
    "skops": _skops,
    "onnx": _onnx,
    "lightgbm": _lightgbm,
    "xgboost": _xgboost,
    "catboost": _catboost,
}
RAW: dict[str, Callable[[Any], Call]] = {
    "skops": lambda raw: raw.predict,
    "onnx": lambda raw: lambda rows: raw.run(None, {raw.get_inputs()[0].name: rows}),
    "lightgbm": lambda raw: partial(raw.predict, num_threads=1),
    "xgboost": lambda raw: _in_one_thread(raw).inplace_predict,
    "catboost": lambda raw: partial(raw.predict, thread_count=1),
}
"""The call of the library's own that somebody would make without Modelward."""


def _in_one_thread(booster: Any) -> Any:
    booster.set_param({"nthread": 1})
    return booster


def _save(name: str, folder: Path) -> Path:
    """Save a model that was trained on columns with names, with MLflow's description beside it."""
    import pandas as pd
    from tests.support.comparison_models import SKOPS

    from modelward_server.mlflow.mlmodel import describe_model

    folder.mkdir()
    features, known = pd.DataFrame(_rows(5000), columns=NAMES), formats()[name]
    model = MODELS[name](features, features["x0"] - 0.5 * features["x1"] * features["x2"])
    path = folder / known.file_name
    framework, signature = known.save(model, path), known.signature(model)
    inputs = tuple(replace(column, kind=ColumnKind.NUMBER) for column in signature.inputs)
    facts: dict[str, Any] = {
        "framework": framework,
        "model_file": path.name,
        "signature": replace(signature, inputs=inputs),
    }
    describe_model(replace(SKOPS, format=name, **facts), folder, "", "")
    return path


def _rows(rows: int) -> Any:
    return np.random.default_rng(7).normal(size=(rows, FEATURES))


def _load(name: str, path: Path) -> Any:
    known = formats()[name]
    known.check(path)
    return known.predictor(known.load(path), None)


def _compared(name: str, path: Path, size: int, rounds: int) -> list[str]:
    """Time four calls in turns; the cells of a row of the table."""
    import mlflow.pyfunc
    import pandas as pd

    predictor = _load(name, path)
    array = _rows(size)
    frame = pd.DataFrame(array, columns=NAMES)
    ways: list[tuple[Call, Any]] = [
        (RAW[name](predictor.raw), array),
        (predictor.predict, array),
        (predictor.predict, frame),
        (mlflow.pyfunc.load_model(str(path.parent)).predict, frame),
    ]
    timed = [[1e6 * _fastest(call, rows) for call, rows in ways] for _ in range(rounds)]
    raw, ours, framed, pyfunc = (statistics.median(times) for times in zip(*timed, strict=True))
    cells = [raw, ours, ours - raw, ours / raw, framed, pyfunc, framed / pyfunc]
    return [f"{cell:,.{2 if index in (3, 6) else 1}f}" for index, cell in enumerate(cells)]


def _fastest(call: Call, rows: Any) -> float:
    """Return the seconds of the fastest of many calls, which other processes disturbed least."""
    gc.collect()
    call(rows)
    took, end = [], time.perf_counter() + CALLS_SECONDS
    while (begun := time.perf_counter()) < end:
        call(rows)
        took.append(time.perf_counter() - begun)
    return min(took)


def _in_a_process(name: str, path: Path, pyfunc: bool) -> list[str]:
    command = [sys.executable, __file__, name, "--load", str(path), *(["--pyfunc"] if pyfunc else [])]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-2:]


def _loaded(name: str, path: Path, pyfunc: bool) -> tuple[str, str]:
    """Load the model and predict once; the milliseconds and by how many MiB the process grew."""
    import pandas as pd

    frame, before = pd.DataFrame(_rows(1), columns=NAMES), _memory()
    if pyfunc:
        import mlflow.pyfunc
    begun = time.perf_counter()
    model = mlflow.pyfunc.load_model(str(path.parent)) if pyfunc else _load(name, path)
    took = time.perf_counter() - begun
    model.predict(frame)
    return f"{1000 * took:,.0f}", f"{_memory() - before:,.0f}"


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # scikit-learn's of arrays without names.
    main()
