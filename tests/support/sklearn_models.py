"""scikit-learn's own models, each with data for fitting it: all of its estimators, and usual compositions."""

import functools
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse, stats
from sklearn import metrics
from sklearn.calibration import CalibratedClassifierCV
from sklearn.cluster import FeatureAgglomeration
from sklearn.compose import TransformedTargetRegressor, make_column_selector, make_column_transformer
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.experimental import enable_halving_search_cv, enable_iterative_imputer  # noqa: F401
from sklearn.feature_extraction.text import CountVectorizer, strip_accents_unicode
from sklearn.feature_selection import (
    RFECV,
    SelectKBest,
    SelectPercentile,
    chi2,
    f_classif,
    f_regression,
    mutual_info_classif,
    mutual_info_regression,
    r_regression,
)
from sklearn.frozen import FrozenEstimator
from sklearn.gaussian_process import GaussianProcessClassifier, GaussianProcessRegressor, kernels
from sklearn.linear_model import LassoCV, LogisticRegression, LogisticRegressionCV, Ridge, TweedieRegressor
from sklearn.metrics.pairwise import PAIRWISE_KERNEL_FUNCTIONS, euclidean_distances
from sklearn.model_selection import (
    GridSearchCV,
    KFold,
    PredefinedSplit,
    RandomizedSearchCV,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    ShuffleSplit,
    StratifiedKFold,
    StratifiedShuffleSplit,
    TimeSeriesSplit,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsRestClassifier
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, SplineTransformer, StandardScaler
from sklearn.svm import SVC
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor
from sklearn.utils import all_estimators

RANDOM = np.random.default_rng(0)
X = np.abs(RANDOM.normal(size=(40, 3)))
Y = np.tile([0, 1], 20)
NUMBERS = X @ [1.0, 2.0, 3.0] + 1
FRAME = pd.DataFrame(X, columns=["a", "b", "c"]).assign(venue=pd.Categorical(np.tile(["NYSE", "CME"], 20)))
TEXTS = ["up much today", "down a lot today"] * 20
PAIRS = np.column_stack([Y, 1 - Y])
LOGISTIC = LogisticRegression()


@dataclass
class Case:
    """A model, and what it is fitted on."""

    name: str
    model: Any
    x: Any
    y: Any

    def fit(self) -> Any:
        targets = () if self.y is None else (self.y,)
        return self.model.fit(self.x, *targets)


def estimator_cases() -> Iterator[Case]:
    """Yield every estimator of scikit-learn."""
    for name, kind in all_estimators():
        yield Case(name, _made(name, kind), *_data(name))


PARAMETERS: dict[str, Any] = {
    "estimators": [("one", LOGISTIC), ("two", GaussianNB())],
    "steps": [("scale", StandardScaler()), ("model", LOGISTIC)],
    "transformers": [("scale", StandardScaler(), [0])],
    "transformer_list": [("scale", StandardScaler())],
    "param_grid": {"C": [1, 2]},
    "param_distributions": {"C": [1, 2, 3, 4]},
    "dictionary": np.eye(3),
}
"""Parameters without a default, by their names."""
SMALLER = {"n_estimators": 2, "max_iter": 20, "n_init": 1, "random_state": 0, "max_resources": 40, "n_quantiles": 10}
SMALLER |= {"n_components": 2, "n_iter": 2, "cv": 2, "n_features": 16}
"""Parameters that make fitting quick or repeatable, where an estimator has them."""
OF_NUMBERS = {"MultiOutputRegressor", "RegressorChain", "StackingRegressor", "VotingRegressor", "RANSACRegressor"}
PER_NAME: dict[str, dict[str, Any]] = {
    "FrozenEstimator": {"estimator": LOGISTIC.fit(X, Y)},
    "StackingRegressor": {"estimators": [("one", Ridge())]},
    "VotingRegressor": {"estimators": [("one", Ridge())]},
    "LinearDiscriminantAnalysis": {"n_components": 1},
    "OrthogonalMatchingPursuitCV": {"max_iter": 2},
    "PatchExtractor": {"patch_size": (2, 2)},
    "SelfTrainingClassifier": {"estimator": LOGISTIC},
    "SpectralBiclustering": {"n_best": 2},
    "TSNE": {"max_iter": 250},
    "RANSACRegressor": {"estimator": Ridge(), "min_samples": 10},
}


def _made(name: str, kind: Any) -> Any:
    known = inspect.signature(kind).parameters
    given = {key: value for key, value in SMALLER.items() if key in known}
    required = [key for key, one in known.items() if one.default is inspect.Parameter.empty]
    given |= {key: PARAMETERS[key] for key in required if key in PARAMETERS}
    if "estimator" in required:
        given["estimator"] = Ridge() if name in OF_NUMBERS else LOGISTIC
    return kind(**given | PER_NAME.get(name, {}))


DATA: dict[str, tuple[Any, Any]] = {
    "CountVectorizer": (TEXTS, Y),
    "TfidfVectorizer": (TEXTS, Y),
    "HashingVectorizer": (TEXTS, Y),
    "DictVectorizer": ([{"a": 1.0, "b": 2.0}] * 40, Y),
    "FeatureHasher": ([{"a": 1.0, "b": 2.0}] * 40, Y),
    "IsotonicRegression": (X[:, 0], NUMBERS),
    "KernelCenterer": (X @ X.T, None),
    "LabelBinarizer": (Y, None),
    "LabelEncoder": (Y, None),
    "PatchExtractor": (np.ones((4, 3, 3)), None),
    "MultiLabelBinarizer": ([[0], [0, 1]] * 20, None),
}


def _data(name: str) -> tuple[Any, Any]:
    if name in DATA:
        return DATA[name]
    if name in {"ClassifierChain", "MultiOutputClassifier"} or name.startswith("MultiTask"):
        return X, PAIRS
    if name in {"MultiOutputRegressor", "RegressorChain", "CCA", "PLSCanonical", "PLSSVD"}:
        return X, X[:, :2]
    return X, NUMBERS if name.endswith("Regressor") else Y


def composition_cases() -> Iterator[Case]:
    """Yield usual compositions, and each value of the parameters that put other types into a file."""
    for cases in (_searches, _scorers, _selections, _functions, _kernels, _neighbors, _losses, _combined):
        yield from cases()


def _searches() -> Iterator[Case]:
    halves = [(np.arange(20), np.arange(20, 40))]
    splitters = [TimeSeriesSplit(2), KFold(2), ShuffleSplit(2), PredefinedSplit(Y), RepeatedKFold(n_splits=2), halves]
    stratified = [StratifiedKFold(2), StratifiedShuffleSplit(2), RepeatedStratifiedKFold(n_splits=2, n_repeats=1)]
    for splits in (*splitters, *stratified):
        yield Case(f"search {type(splits).__name__}", GridSearchCV(DecisionTreeClassifier(), DEPTHS, cv=splits), X, Y)
    for drawn in (stats.uniform(0.1, 2), stats.loguniform(0.1, 2)):
        model = RandomizedSearchCV(LOGISTIC, {"C": drawn}, n_iter=1, cv=2, random_state=0)
        yield Case(f"search {drawn.dist.name}", model, X, Y)
    several = GridSearchCV(LOGISTIC, {"C": [1]}, scoring=["accuracy", "roc_auc"], refit="roc_auc", cv=2)
    yield Case("search of several scores", several, X, Y)
    yield Case("LassoCV", LassoCV(cv=TimeSeriesSplit(2)), X, NUMBERS)
    yield Case("LogisticRegressionCV", LogisticRegressionCV(Cs=2, cv=TimeSeriesSplit(2), scoring="roc_auc"), X, Y)
    yield Case("RFECV", RFECV(LOGISTIC, cv=KFold(2), scoring="accuracy"), X, Y)


DEPTHS = {"max_depth": [1]}


def _scorers() -> Iterator[Case]:
    for name in metrics.get_scorer_names():
        numeric = "error" in name or "deviance" in name or name in {"r2", "explained_variance"}
        tree, y = (DecisionTreeRegressor(), NUMBERS) if numeric else (DecisionTreeClassifier(), Y)
        scorer = metrics.get_scorer(name)  # Some do not fit the target: a search notes a score of 0, and goes on.
        yield Case(f"scorer {name}", GridSearchCV(tree, DEPTHS, scoring=scorer, cv=2, error_score=0), X, y)
    scorer = metrics.make_scorer(metrics.fbeta_score, beta=2)
    yield Case("scorer made", TunedThresholdClassifierCV(LOGISTIC, scoring=scorer, cv=2, thresholds=3), X, Y)


def _selections() -> Iterator[Case]:
    scores = [chi2, f_classif, f_regression, r_regression, mutual_info_classif, mutual_info_regression]
    for score in (*scores, functools.partial(mutual_info_classif, random_state=0)):
        name = getattr(score, "__name__", "partial")
        yield Case(f"SelectKBest {name}", make_pipeline(SelectKBest(score, k=2), LOGISTIC), X, Y)
    yield Case("SelectPercentile", make_pipeline(SelectPercentile(f_classif, percentile=70), LOGISTIC), X, Y)


def _functions() -> Iterator[Case]:
    given: dict[str, dict[str, Any]] = {
        "clip": {"a_min": 0, "a_max": 1},
        "interp": {"xp": [0.0, 1.0], "fp": [0.0, 1.0]},
        "cumsum": {"axis": 0},
        "cumprod": {"axis": 0},
    }
    plain = "log1p sqrt abs sign log exp tanh cbrt square around array asarray ascontiguousarray atleast_2d diff"
    for name in (*plain.split(), "nan_to_num", "real", "round", "sort", "copy", *given):
        step = FunctionTransformer(getattr(np, name), kw_args=given.get(name))
        yield Case(f"function {name}", make_pipeline(step, LOGISTIC), X, Y)
    for function in (np.load, np.fromfile, np.savetxt, np.vectorize, np.apply_along_axis, metrics.pairwise_distances):
        yield Case(f"function {function.__name__}", FunctionTransformer(function), X, Y)
    for pool in (np.mean, np.max, np.median, np.min, np.sum):
        agglomeration = FeatureAgglomeration(2, pooling_func=pool)
        yield Case(f"pool {pool.__name__}", make_pipeline(agglomeration, LOGISTIC), X, Y)
    yield Case("function strip_accents_unicode", CountVectorizer(preprocessor=strip_accents_unicode), TEXTS, Y)
    yield Case("target", TransformedTargetRegressor(Ridge(), func=np.log1p, inverse_func=np.expm1), X, NUMBERS)


def _kernels() -> Iterator[Case]:
    rbf = kernels.RBF()
    plain = [rbf, kernels.Matern(), kernels.RationalQuadratic(), kernels.DotProduct()]
    made = [
        kernels.PairwiseKernel(),
        kernels.ConstantKernel() + rbf,
        rbf * rbf,
        rbf**2,
        kernels.WhiteKernel(10) + kernels.ExpSineSquared(10),
    ]
    for kernel in (*plain, *made):
        yield Case(f"GPC {kernel}", GaussianProcessClassifier(kernel, optimizer=None), X, Y)
        yield Case(f"GPR {kernel}", GaussianProcessRegressor(kernel, alpha=1.0, optimizer=None), X, NUMBERS)
    yield Case("GPC of 3 classes", GaussianProcessClassifier(rbf, optimizer=None), X, np.arange(40) % 3)
    for name, function in PAIRWISE_KERNEL_FUNCTIONS.items():
        yield Case(f"SVC {name}", SVC(kernel=function), X, Y)
    yield Case("distances", make_pipeline(FunctionTransformer(euclidean_distances), LOGISTIC), X, Y)


def _neighbors() -> Iterator[Case]:
    plain = "euclidean manhattan chebyshev minkowski hamming canberra braycurtis jaccard dice rogerstanimoto"
    given: dict[str, dict[str, Any]] = {"mahalanobis": {"VI": np.eye(3)}, "seuclidean": {"V": np.ones(3)}}
    for metric in (*plain.split(), "russellrao", "sokalsneath", *given):
        model = KNeighborsClassifier(algorithm="ball_tree", metric=metric, metric_params=given.get(metric))
        yield Case(f"neighbors {metric}", model, X, Y)
    yield Case("neighbors haversine", KNeighborsClassifier(algorithm="ball_tree", metric="haversine"), X[:, :2], Y)
    yield Case("neighbors kd_tree", KNeighborsClassifier(algorithm="kd_tree"), X.astype(np.float32), Y)
    own = KNeighborsClassifier(algorithm="ball_tree", metric=metrics.mean_absolute_error, leaf_size=40)
    yield Case("neighbors by a function", own, X[:5], Y[:5])
    for kind in (sparse.csr_matrix, sparse.csc_matrix, sparse.csr_array, sparse.csc_array):
        yield Case(f"neighbors {kind.__name__}", KNeighborsClassifier(), kind(X), Y)


def _losses() -> Iterator[Case]:
    for loss in ("squared_error", "absolute_error", "gamma", "poisson", "quantile"):
        model = HistGradientBoostingRegressor(max_iter=2, loss=loss, quantile=0.5)
        yield Case(f"histogram {loss}", model, X, NUMBERS)
    for loss in ("squared_error", "absolute_error", "huber", "quantile"):
        yield Case(f"boosting {loss}", GradientBoostingRegressor(n_estimators=2, loss=loss), X, NUMBERS)
    for y in (Y, np.arange(40) % 3):
        yield Case(f"boosting {max(y)}", GradientBoostingClassifier(n_estimators=2), X, y)
        yield Case(f"histogram {max(y)}", HistGradientBoostingClassifier(max_iter=2), X, y)
    yield Case("boosting exponential", GradientBoostingClassifier(n_estimators=2, loss="exponential"), X, Y)
    for power in (0, 1, 1.5, 2, 3):
        yield Case(f"Tweedie {power}", TweedieRegressor(power=power), X, NUMBERS)


def _combined() -> Iterator[Case]:
    for method in ("sigmoid", "isotonic", "temperature"):
        yield Case(f"calibrated {method}", CalibratedClassifierCV(GaussianNB(), method=method, cv=2), X, Y)
    models = [("one", GaussianNB()), ("two", LOGISTIC)]
    yield Case("stacking", StackingClassifier(models, cv=KFold(2, shuffle=True), passthrough=True), X, Y)
    yield Case("voting", VotingClassifier(models, voting="soft"), X, np.where(Y, "up", "down"))
    yield Case("one of a constant", OneVsRestClassifier(LOGISTIC), X, np.column_stack([Y, np.ones(40, int)]))
    yield Case("splines", make_pipeline(SplineTransformer(extrapolation="periodic"), LOGISTIC), X, Y)
    yield Case("frozen", CalibratedClassifierCV(FrozenEstimator(GaussianNB().fit(X, Y))), X, Y)
    columns = [(OneHotEncoder(), make_column_selector(dtype_include="category"))]
    columns += [(StandardScaler(), make_column_selector(dtype_include="number"))]
    yield Case("columns by type", make_pipeline(make_column_transformer(*columns), LOGISTIC), FRAME, Y)
    rest = make_column_transformer((OneHotEncoder(), ["venue"]), remainder="passthrough")
    yield Case("columns and the rest", make_pipeline(rest, LOGISTIC), FRAME, Y)
    trees = HistGradientBoostingClassifier(max_iter=2, categorical_features="from_dtype")
    yield Case("categories of trees", trees, FRAME, Y)
