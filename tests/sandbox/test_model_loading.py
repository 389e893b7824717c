"""Which models the server builds from their files, and which it refuses to."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    HistGradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC

from modelward.formats import formats
from modelward.formats.predictor import estimator_predictor
from modelward_server.sandbox.model_loading import load
from tests.support.comparison_models import features, labels, saved

DATA = features()
MATRIX = np.column_stack(list(DATA.values()))
TWO = [("nb", GaussianNB()), ("sgd", SGDClassifier(random_state=0))]


@pytest.mark.system
@pytest.mark.parametrize(
    "model",
    [
        AdaBoostClassifier(n_estimators=3),
        BaggingClassifier(n_estimators=3),
        CalibratedClassifierCV(GaussianNB()),
        ExtraTreesClassifier(3),
        GradientBoostingClassifier(n_estimators=3),
        HistGradientBoostingClassifier(max_iter=3),
        KNeighborsClassifier(),
        KNeighborsClassifier(algorithm="ball_tree"),
        MLPClassifier(4, solver="sgd", tol=1e9),
        MLPClassifier(4, tol=1e9),
        RandomForestClassifier(3),
        StackingClassifier(TWO),
        VotingClassifier(TWO),
        make_pipeline(SimpleImputer(), StandardScaler(), SVC()),
    ],
    ids=lambda model: type(model).__name__,
)
def test_scikit_learns_models_are_built_and_predict_as_before(model: Any, tmp_path: Path) -> None:
    model.fit(MATRIX, labels(DATA))
    loaded = load(formats()["skops"], saved(model, tmp_path))
    found = loaded.outputs(loaded.prepare(pa.table(DATA)))
    assert found.predicted.tolist() == model.predict(MATRIX).tolist()
    assert loaded.predict(pa.table(DATA)).tolist() == model.predict(MATRIX).tolist()


def test_a_function_of_somebody_elses_is_not_built(tmp_path: Path) -> None:
    model = make_pipeline(FunctionTransformer(np.fft.fft), LogisticRegression())
    with pytest.raises(TypeError, match=r"does not trust: numpy\.fft"):
        load(formats()["skops"], saved(model, tmp_path))


def test_a_model_of_several_outputs_is_refused() -> None:
    model = KNeighborsClassifier().fit(MATRIX, np.column_stack([labels(DATA), labels(DATA)]))
    with pytest.raises(ValueError, match="expected one label per row"):
        estimator_predictor(model, None).outputs(MATRIX)
