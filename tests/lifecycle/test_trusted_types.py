"""All of scikit-learn's own models through a file of skops: which types are not trusted, and that the others load."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modelward.formats.skops import FORMAT
from tests.support.scale import FULL
from tests.support.sklearn_models import Case, composition_cases, estimator_cases

NOT_SAVED = {"Birch"}
"""Models that skops cannot save."""
FROZEN = "scipy.stats._distn_infrastructure.rv_continuous_frozen"
NOT_TRUSTED = {
    # Frozen distributions execute a text attribute as code.
    "search uniform": {FROZEN, "scipy.stats._continuous_distns.uniform_gen"},
    "search loguniform": {FROZEN, "scipy.stats._continuous_distns.reciprocal_gen"},
    # It calls a Python function of the file's for each pair of rows.
    "neighbors by a function": {"sklearn.metrics._dist_metrics.PyFuncDistance64"},
    # These read or write files.
    "function load": {"numpy.load"},
    "function fromfile": {"numpy.fromfile"},
    "function savetxt": {"numpy.savetxt"},
    # These call a function of the file's.
    "function vectorize": {"numpy.vectorize"},
    "function apply_along_axis": {"numpy.apply_along_axis"},
    "function pairwise_distances": {"sklearn.metrics.pairwise.pairwise_distances"},
    # Nobody has judged it: trust is given by complete name, never to a module.
    "function copy": {"numpy.copy"},
}
"""What is not trusted, by the name of the case, and why."""


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    """These data are too few to fit much."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.system  # Takes seconds.
@pytest.mark.parametrize("cases", [estimator_cases, composition_cases], ids=["estimators", "compositions"])
def test_scikit_learns_models_load_by_themselves_and_predict_as_before(cases: Any, tmp_path: Path) -> None:
    every = [*cases()]
    assert len(every) > 100
    tried = [case for i, case in enumerate(every) if FULL or i % 3 == 0 or case.name in NOT_TRUSTED]
    found = {case.name: _untrusted(case, tmp_path / "model.skops") for case in tried}
    assert {name: types for name, types in found.items() if types} == {
        name: types for name, types in NOT_TRUSTED.items() if name in found
    }


def _untrusted(case: Case, path: Path) -> set[str]:
    """Return what is not trusted of a model; where nothing is, check that the loaded model does the same."""
    model = case.fit()
    if case.name in NOT_SAVED:
        return set()
    FORMAT.save(model, path)
    if untrusted := FORMAT.untrusted(path):
        return set(untrusted)
    loaded = FORMAT.load(path)
    for method in ("predict", "predict_proba", "transform"):
        if hasattr(model, method) and not _only_for_training(model, method):
            expected, got = (_dense(getattr(one, method)(case.x)) for one in (model, loaded))
            _same(got, expected, case.name)
    return set()


def _same(got: Any, expected: Any, name: str) -> None:
    if expected.dtype.kind == "f":  # Another order of the arrays in memory may change the last bits of a sum.
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-12, err_msg=name)
    else:
        np.testing.assert_array_equal(got, expected, err_msg=name)


def _only_for_training(model: Any, method: str) -> bool:
    return type(model).__name__ in {"CCA", "PLSCanonical", "PLSRegression", "PLSSVD"} and method == "transform"


def _dense(values: Any) -> Any:
    return values.toarray() if hasattr(values, "toarray") else np.asarray(values)
