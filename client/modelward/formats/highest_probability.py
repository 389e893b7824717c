"""Which classifiers predict the class of the highest probability, so that one call of the model gives both."""

import sys
from typing import Any


def takes_highest_probability(model: Any) -> bool:
    """Return whether a model predicts the class of the highest of its probabilities, by scikit-learn's own code.

    Forests do, which need as long for the class as for the probabilities. Most others decide otherwise, for example by
    a sign, which may differ in the last bits.

    Args:
        model: a fitted estimator, or another object.
    """
    forest = getattr(sys.modules.get("sklearn.ensemble._forest"), "ForestClassifier", None)
    if forest is None or not isinstance(model, forest):
        return False
    return type(model).predict is forest.predict and type(model).predict_proba is forest.predict_proba
