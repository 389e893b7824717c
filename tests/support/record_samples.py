"""A sample of any dataclass, built from the types of its fields, with values that are hard to show."""

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from typing import Any

import numpy as np

from modelward import AtSession, OnPerformance, Scores, Stage, VersionRef

HOSTILE = "<script>alert('x')</script>&\n\x1b[2J\u202e" + "long " * 100
"""What users may write, and no page or terminal should take literally."""
MANY = 25
"""How many items a list of a sample has."""
NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
BASIC: dict[Any, Any] = {
    str: HOSTILE,
    int: 7,
    float: float("nan"),
    bool: True,
    date: NOON.date(),
    datetime: NOON,
    timedelta: timedelta(hours=36),
    types.NoneType: None,
}
BY_HAND: dict[Any, Any] = {
    AtSession: AtSession(HOSTILE, after_open=timedelta(minutes=5)),
    OnPerformance: OnPerformance(HOSTILE, below=float("inf")),
    Scores: Scores(
        VersionRef("spx", 1),
        HOSTILE,
        Stage.PRODUCTION,
        np.array([HOSTILE, "other"] * 15, object),
        np.full((30, 2), np.nan),
        (HOSTILE, "other"),
        np.arange(30),
        failed={7: HOSTILE},
        no_probabilities=HOSTILE,
    ),
}
"""Classes that do not take any combination of fields."""


def sample(hint: Any) -> Any:
    """Return a value of a type."""
    if hint in BASIC or hint in BY_HAND:
        return {**BASIC, **BY_HAND}[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in {typing.Union, types.UnionType}:
        return sample(args[0])
    if origin is not None:
        return _container(origin, args)
    if issubclass(hint, Enum):
        return next(iter(hint))
    hints = typing.get_type_hints(hint)
    return hint(**{field.name: sample(hints[field.name]) for field in dataclasses.fields(hint)})


def _container(origin: type, args: tuple[Any, ...]) -> Any:
    if issubclass(origin, Mapping):
        keys = list(args[0]) if issubclass(args[0], Enum) else [f"{HOSTILE}{n}" for n in range(MANY)]
        return {key: sample(args[1]) for key in keys}
    assert issubclass(origin, Sequence), origin
    return (sample(args[0]),) * MANY
