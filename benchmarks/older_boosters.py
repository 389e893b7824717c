"""Tells whether an older release of a booster's library works, and whether its files predict here what they do there.

    python benchmarks/older_boosters.py xgboost xgboost-cpu==2.1.4

The first argument is the format; the others are what an environment of its own gets beside the client. There, models
of each kind are fitted, saved, loaded and used by Modelward; here, their files are checked, loaded and used as well.
"""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.booster_models import KINDS, MODELS, SEEN, frame_for, xgboost_model

from modelward.formats import formats
from modelward.formats.predictor import Predictor
from modelward.signature import Signature

CLIENT = f"{Path(__file__).parents[1]}[pandas,arrow,sklearn]"


def main(library: str, requirements: list[str]) -> None:
    """Make the environment and the files, and compare."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        python = folder / "venv/bin/python"
        _run(sys.executable, "-m", "uv", "-q", "venv", "--python", sys.executable, str(folder / "venv"))
        _run(sys.executable, "-m", "uv", "-q", "pip", "install", "--python", str(python), "-e", CLIENT, *requirements)
        _run(str(python), __file__, "--write", library, name)
        for kind in KINDS:
            _compare(library, kind, folder)


def _run(*command: str) -> None:
    subprocess.run(command, check=True)


def write(library: str, folder: Path) -> None:
    """Fit models of each kind, save them, and keep what they predict; with the older library."""
    print("there:", *(f"{name} {__import__(name).__version__}" for name in (library, "sklearn", "numpy", "pandas")))
    for kind in KINDS:
        path, model, rows = folder / f"{kind}.model", _model(library, kind), _rows(library)
        signature, expected = _save(model, library, path), np.asarray(model.predict(rows)).ravel().tolist()
        np.testing.assert_array_equal(_predictor(library, path, signature).predict(rows), expected)
        known = {"signature": signature.to_dict(), "expected": expected}
        path.with_suffix(".json").write_text(json.dumps(known))


def _save(model: Any, library: str, path: Path) -> Signature:
    known = formats()[library]
    known.save(model, path)
    return known.signature(model)


def _predictor(library: str, path: Path, signature: Signature) -> Predictor:
    known = formats()[library]
    known.check(path)
    return known.predictor(known.load(path), signature)


def _compare(library: str, kind: str, folder: Path) -> None:
    path = folder / f"{kind}.model"
    there = json.loads(path.with_suffix(".json").read_text())
    signature, expected = Signature.from_dict(there["signature"]), np.array(there["expected"])
    predicted = _predictor(library, path, signature).predict(_rows(library))
    same = np.array_equal(predicted, expected)
    far = "" if same or expected.dtype.kind not in "f" else f", at most {np.abs(predicted - expected).max():.1e} apart"
    print(f"{library} {kind}: {len(predicted):,} rows, {'equal' if same else 'DIFFERENT'}{far}")


def _model(library: str, kind: str) -> Any:
    if library != "xgboost":
        return MODELS[library](kind)
    categories = kind in {"binary", "multiclass", "regression"}
    return xgboost_model(kind, _coded(SEEN), feature_types=["float", "float", "c" if categories else "float", "int"])


def _rows(library: str) -> pd.DataFrame:
    return _coded(frame_for(library)) if library == "xgboost" else frame_for(library)


def _coded(table: pd.DataFrame) -> pd.DataFrame:
    """Return categories as their codes: the files of XGBoost before 3.1 do not keep those of a data frame."""
    codes = table["venue"].cat.codes
    return table.assign(venue=codes.where(codes >= 0).astype(float))


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(sys.argv[2], Path(sys.argv[3]))
    else:
        main(sys.argv[1], sys.argv[2:])
