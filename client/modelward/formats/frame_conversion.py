"""Which estimators of scikit-learn make a matrix, or one of numbers, of a data frame before anything else."""

from typing import Any

from modelward.formats.base import package_of


def converts_frames(model: Any) -> bool:
    """Return whether a model predicts the same of a matrix as of a frame of floats, whose checks take milliseconds.

    It does if it is scikit-learn's own and has no parts that could choose columns by their names: other estimators,
    functions, or encoders of categories; or if it is a pipeline of such.

    Args:
        model: a fitted estimator, or another object.
    """
    if package_of(type(model)) != "sklearn":
        return False
    if type(model).__name__ == "Pipeline":
        return all(converts_frames(step) for _, step in model.steps)
    return hasattr(model, "get_params") and not _has_parts(model)


def takes_only_numbers(model: Any) -> bool:
    """Return whether a model is one of scikit-learn that converts all that it is given to numbers, also text.

    Args:
        model: a fitted estimator, or another object.
    """
    if type(model).__name__ == "Pipeline":
        return converts_frames(model) and all(takes_only_numbers(step) for _, step in model.steps)
    if not converts_frames(model) or not hasattr(model, "__sklearn_tags__"):
        return False
    tags = model.__sklearn_tags__()
    taken = tags.input_tags
    return not (taken.categorical or taken.string or taken.dict or tags.no_validation)


def _has_parts(model: Any) -> bool:
    own = model.get_params(deep=False)
    inner = model.get_params(deep=True).keys() > own.keys() or any(map(callable, own.values()))
    return inner or any(getattr(model, name, None) for name in ("_preprocessor", "_sklearn_output_config"))
