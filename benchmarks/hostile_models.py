"""Counts what becomes of changed files of boosters: refused by the check, refused by the library, run, or crashed.

    python benchmarks/hostile_models.py lightgbm 3000

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
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.booster_models import KINDS, MODELS, frame_for
from tests.support.hostile_files import changed

from modelward.errors import ModelwardError
from modelward.formats import formats

KEPT = Path("build/hostile")
MEMORY_BYTES = 3 << 30
SECONDS = 20


def main(name: str, count: int) -> None:
    """Change files of each kind of model, and print the counts."""
    outcomes: Counter[str] = Counter()
    with TemporaryDirectory() as folder:
        originals = [path.read_bytes() for path in _originals(name, Path(folder))]
        runner = Runner(name)
        path = Path(folder) / "changed"
        for seed in range(count):
            path.write_bytes(changed(originals[seed % len(originals)], seed))
            outcomes[_outcome(name, path, runner, seed)] += 1
        runner.close()
    print(name, ", ".join(f"{outcome} {number:,}" for outcome, number in sorted(outcomes.items())))


def _originals(name: str, folder: Path) -> list[Path]:
    paths = []
    for kind in KINDS:
        paths.append(folder / kind)
        formats()[name].save(MODELS[name](kind), paths[-1])
    return [*paths, *(_as_json(path) for path in paths if name == "xgboost")]


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
        self._process.wait()
        self._start()
        return "crashed"

    def close(self) -> None:
        """End the process."""
        self._process.communicate()


def run_all(name: str) -> None:
    """Load the files whose paths are on the standard input, and predict."""
    known, rows = formats()[name], frame_for(name, rows=50)
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
