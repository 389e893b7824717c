"""Convert the accepted forms of versions, stages and job states."""

import operator
import re
from collections.abc import Collection
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from numbers import Integral
from pathlib import Path
from typing import Any

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion, Stage, TrainingWindow, VersionRef
from modelward.retraining import Job, JobState

AnyVersion = str | VersionRef | ModelVersion | tuple[str, int]
"""A version: `"spx-direction/3"`, a reference, the version itself, or `("spx-direction", 3)`."""
YEAR_OR_MONTH = re.compile(r"\d{4}(-(0[1-9]|1[0-2]))?", re.ASCII)


def as_ref(version: object, field: str = "version") -> VersionRef:
    """Return the reference to a version.

    Args:
        version: one of `AnyVersion`.
        field: the name of the argument in error messages.

    Raises:
        InvalidField: it has another type, or the text is not of the form `name/3`.
    """
    if isinstance(version, ModelVersion):
        return version.ref
    if isinstance(version, VersionRef):
        return _ref(version.model, version.version, version, field)
    if isinstance(version, tuple | list) and len(version) == 2:
        return _ref(version[0], version[1], version, field)
    if isinstance(version, str):
        model, _, number = version.rpartition("/")
        digits = number.isascii() and number.isdigit() and len(number) < 11
        return _ref(model, int(number) if digits else None, version, field)
    version_of = getattr(version, "version", None)
    fix = "give its .version" if isinstance(version_of, ModelVersion) else "give 'model/3', or the version itself"
    raise InvalidField(FieldViolation(field, f"is a {type(version).__name__}, not a version; {fix}"))


def _ref(model: object, number: object, version: object, field: str) -> VersionRef:
    try:
        number = -1 if isinstance(number, bool) else operator.index(number)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if not isinstance(model, str) or not model or not model.isprintable() or not 0 <= number < 1 << 31:
        raise InvalidField(FieldViolation(field, f"{version!r} is not of the form 'model/3'"))
    return VersionRef(model, number)


def check_one_selector(stage: object, version: object, alias: object) -> None:
    """Refuse a selection of one version in more than one way.

    Args:
        stage, version, alias: as given; None for those that are not.

    Raises:
        InvalidField: it names those that are given.
    """
    given = [name for name, value in (("stage", stage), ("version", version), ("alias", alias)) if value is not None]
    if len(given) > 1:
        raise InvalidField(FieldViolation(given[0], f"is given with {' and '.join(given[1:])}; give one of them"))


def as_training_window(window: object, horizon: timedelta) -> TrainingWindow | None:
    """Return the times of training data.

    Args:
        window: the first and the last time, or the window itself. Text of four digits is a year.
        horizon: how long after a row its label is known.

    Raises:
        InvalidField: it is not a pair of times, or a horizon is given without one.
    """
    if window is None:
        if horizon:
            raise InvalidField(FieldViolation("horizon", "has no effect without training_window; give both"))
        return None
    if isinstance(window, TrainingWindow):
        return replace(window, horizon=horizon) if horizon else window
    if not isinstance(window, tuple | list) or len(window) != 2:
        raise InvalidField(FieldViolation("training_window", f"is {window!r}; give its first and its last time"))
    return TrainingWindow(_time_text(window[0]), _time_text(window[1], whole=True), horizon)


def _time_text(value: Any, *, whole: bool = False) -> str:
    """Return a time as text of ISO 8601, or an integer; the server checks it.

    Args:
        whole: whether a year or month stands for its last day, and not for its first one.
    """
    if isinstance(value, datetime):
        return (value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value).isoformat()
    if isinstance(value, date):
        return value.isoformat()
    text = str(value)
    if isinstance(value, Integral) or not YEAR_OR_MONTH.fullmatch(text):
        return text
    import numpy as np  # Takes as long as the rest of the package.

    begin = np.datetime64(text)
    return str((begin + 1).astype("M8[D]") - 1 if whole else begin.astype("M8[D]"))


def as_names(names: Collection[str], field: str) -> list[str]:
    """Return names of columns; a single name is accepted as it is.

    Raises:
        InvalidField: a name is not text.
    """
    listed = [names] if isinstance(names, str) else list(names)
    invalid = [name for name in listed if not isinstance(name, str)]
    if invalid:
        raise InvalidField(FieldViolation(field, f"must contain column names as text, but {invalid[0]!r} is not text"))
    return listed


def as_stage(stage: Stage | str) -> Stage:
    """Return the stage with a name.

    Raises:
        InvalidField: there is no such stage.
    """
    try:
        return Stage(stage)
    except ValueError:
        names = ", ".join(Stage)
        raise InvalidField(FieldViolation("stage", f"{stage!r} is not a stage; the stages are {names}")) from None


def as_job_state(state: JobState | str) -> JobState:
    """Return the job state with a name.

    Raises:
        InvalidField: there is no such state.
    """
    try:
        return JobState(state)
    except ValueError:
        names = ", ".join(JobState)
        raise InvalidField(FieldViolation("states", f"{state!r} is not a job state; the states are {names}")) from None


def successor_number(job: Job, successor: AnyVersion | int) -> int:
    """Return the version number of a job's successor.

    Raises:
        InvalidField: it is a version of another model.
    """
    if isinstance(successor, int):
        return successor
    ref = as_ref(successor)
    if ref.model != job.model:
        raise InvalidField(FieldViolation("successor", f"{ref} is not a version of {job.model}"))
    return ref.version


def as_bundle(signature: Path | bytes | None) -> bytes:
    """Return the bundle of a model's signature, which may be in a file; empty for none.

    Raises:
        InvalidField: the file cannot be read, or is empty.
    """
    if signature is None:
        return b""
    try:
        bundle = signature if isinstance(signature, bytes) else signature.read_bytes()
    except OSError as error:
        raise InvalidField(FieldViolation("model_signature", f"{error.filename}: {error.strerror}")) from None
    if not bundle:
        raise InvalidField(FieldViolation("model_signature", "is empty; give a bundle, or None"))
    return bundle
