"""Counts what becomes of changed files of models: refused by the check or the library, run, stopped, or crashed.

    python benchmarks/hostile_models.py lightgbm|xgboost|catboost|onnx|skops 3000

A file that passes the structure check is loaded, and predicts, in a process with limits of memory and time; one that
crashes is kept under build/hostile/.
"""

import contextlib
import importlib
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.booster_models import KINDS, MODELS, frame_for
from tests.support.format_models import FRAME, TARGET
from tests.support.hostile_files import changed, changed_member

from modelward.errors import ModelwardError
from modelward.formats import formats

KEPT = Path("build/hostile")
MEMORY_BYTES = 3 << 30
SECONDS = 5


def main(name: str, count: int) -> None:
    """Change files of each kind of model, and print the counts."""
    outcomes: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        originals = [path.read_bytes() for path in _originals(name, Path(folder))]
        runner = Runner(name)
        path = Path(folder) / "changed"
        for seed in range(count):
            change = changed_member if name == "skops" else changed
            path.write_bytes(change(originals[seed % len(originals)], seed))
            outcomes[_outcome(name, path, runner, seed)] += 1
        runner.close()
    print(name, ", ".join(f"{outcome} {number:,}" for outcome, number in sorted(outcomes.items())))


def _originals(name: str, folder: Path) -> list[Path]:
    made = OTHERS[name]() if name in OTHERS else [MODELS[name](kind) for kind in KINDS]
    paths = [folder / str(number) for number in range(len(made))]
    for model, path in zip(made, paths, strict=True):
        formats()[name].save(model, path)
    return [*paths, *(_as_json(path) for path in paths if name == "xgboost")]


def _estimators() -> list[Any]:
    from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    up = (TARGET > 0).to_numpy()
    return [
        HistGradientBoostingRegressor(max_iter=5).fit(FRAME, TARGET),
        RandomForestClassifier(5, max_depth=4).fit(FRAME, up),
        make_pipeline(StandardScaler(), LogisticRegression()).fit(FRAME, up),
    ]


def _graphs() -> list[Any]:
    import statsmodels.api as sm

    from modelward.onnx_export import from_statsmodels

    noisy = (TARGET + np.random.default_rng(1).normal(size=len(TARGET)) > 0).astype(int)
    results = [sm.OLS(TARGET, FRAME).fit(), sm.Logit(noisy, FRAME).fit(disp=False)]
    return [from_statsmodels(result, FRAME).model for result in results]


OTHERS: dict[str, Callable[[], list[Any]]] = {"skops": _estimators, "onnx": _graphs}


def _as_json(path: Path) -> Path:
    """Return the file of a booster of XGBoost in its other form, in which also the digits of numbers are changed."""
    import xgboost

    booster = xgboost.Booster(model_file=bytearray(path.read_bytes()))
    path.with_suffix(".json").write_bytes(booster.save_raw("json"))
    return path.with_suffix(".json")


def _outcome(name: str, path: Path, runner: "Runner", seed: int) -> str:
    try:
        formats()[name].check(path)
    except (ModelwardError, ValueError):
        return "refused by the check"
    outcome = runner.run(path)
    if outcome == "crashed":
        KEPT.mkdir(parents=True, exist_ok=True)
        (KEPT / f"{name}-{seed}").write_bytes(path.read_bytes())
    return outcome


class Runner:
    """A process that loads and runs files until one of them ends it."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._start()

    def _start(self) -> None:
        command = [sys.executable, __file__, "--run", self._name]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def run(self, path: Path) -> str:
        """Return what became of a file."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{path}\n")
        self._process.stdin.flush()
        for line in self._process.stdout:  # A library may print lines of its own.
            if line.startswith("OUTCOME "):
                return line.removeprefix("OUTCOME ").strip()
        ended = self._process.wait()
        self._start()
        return "stopped at the time limit" if ended == -signal.SIGALRM else "crashed"

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def run_all(name: str) -> None:
    """Load the files whose paths are on the standard input, and predict."""
    known, rows = formats()[name], FRAME[:50] if name in OTHERS else frame_for(name, rows=50)
    for module in known.modules:
        importlib.import_module(module)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for line in sys.stdin:
        signal.alarm(SECONDS)
        outcome = "refused by the library"
        with contextlib.suppress(Exception):
            predictor = known.predictor(known.load(Path(line.strip())), None)
            try:
                predictor.outputs(predictor.prepare(rows))
                predictor.predict(rows)
            except ModelwardError:  # Other columns: as an array of the width that it says.
                predictor.predict(np.zeros((3, len(predictor.signature.inputs))))
            outcome = "ran"
        signal.alarm(0)
        print(f"\nOUTCOME {outcome}", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "--run":
        run_all(sys.argv[2])
    else:
        main(sys.argv[1], int(sys.argv[2]))
