"""What the compared models' positions came to."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.comparison import DeflatedSharpe
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.comparison.prediction_alignment import Sent
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.rounding import alike, size_of, varies
from modelward_server.statistics.sharpe import deflated_sharpe, spread_of_ratios
from modelward_server.statistics.trading import Book, Floats, keep_book

LEAST_ROWS = 3
"""Fewer returns have no skewness."""


def keep_books(
    scored: Mapping[VersionRef, Scored],
    sent: Mapping[VersionRef, Sent],
    returns: NDArray[Any],
    cost_bps: float,
    periods_per_year: float,
) -> dict[VersionRef, Scored]:
    """Give each model its book: of the positions that were sent, or else of the sides of zero that it predicted.

    Raises:
        InvalidField: the returns are text, or a model has no positions and predicts text.
    """
    if returns.dtype == object:
        raise InvalidField(FieldViolation("returns", "names a column of text; returns are numbers, as shares"))
    earned = returns.astype(np.float64)
    books = [
        keep_book(_positions(one, version, sent), earned, cost_bps, periods_per_year) for version, one in scored.items()
    ]
    nets = _without_rounding(np.array([book.net for book in books]))
    return {
        version: replace(one, book=replace(book, net=net))
        for (version, one), book, net in zip(scored.items(), books, nets, strict=True)
    }


def _without_rounding(nets: Floats) -> Floats:
    """Return net returns of which those that differ by rounding alone are the same for all versions."""
    return np.copysign(alike(np.abs(nets), size_of(nets)), nets)


def _positions(scored: Scored, version: VersionRef, sent: Mapping[VersionRef, Sent]) -> Floats:
    given = sent[version].positions if version in sent else None
    if given is not None:
        return given
    if not scored.classes:
        return np.sign(np.asarray(scored.predicted, np.float64))
    if any(isinstance(value, str) for value in scored.classes):
        fix = f"need positions, but {version} predicts text; send predictions with a column 'position'"
        raise InvalidField(FieldViolation("returns", fix))
    return np.sign(np.asarray(scored.classes, np.float64))[np.asarray(scored.predicted, np.int64)]


def deflated_sharpes(
    scored: Mapping[VersionRef, Scored], trials: Mapping[str, int]
) -> dict[VersionRef, DeflatedSharpe]:
    """Return the deflated Sharpe ratio of each model whose net returns vary.

    Args:
        trials: how many versions each model has: so often somebody tried.
    """
    varying = {
        version: one.book
        for version, one in scored.items()
        if one.book and len(one.book.net) >= LEAST_ROWS and varies(one.book.net)
    }
    if not varying:
        return {}
    spread = spread_of_ratios([book.net for book in varying.values()])
    return {version: _deflated(book, max(1, trials.get(version.model, 1)), spread) for version, book in varying.items()}


def _deflated(book: Book, trials: int, spread: float) -> DeflatedSharpe:
    found = deflated_sharpe(book.net, trials, spread, book.periods_per_year)
    return DeflatedSharpe(found.probability, trials, found.expected_maximum)
