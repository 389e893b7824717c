"""Is the split of the units what the weights say? If not, something loses or misdirects units, and no mean can be
trusted."""

from collections.abc import Sequence

import numpy as np
import scipy

CONCENTRATION = 100.0
"""How close to the weights a broken split is expected: a standard deviation of about five percent of the units."""
BROKEN_BELOW = 0.01
"""Of the sequential p-value: so seldom a split that is as it should be is ever called broken."""


def p_value(units: Sequence[int], weights: Sequence[float]) -> float:
    """Return how likely a split so far from the weights is by luck, at one look (chi-square); 1 without units."""
    if sum(units) == 0:
        return 1.0
    shares = np.maximum(np.array(weights) / sum(weights), np.finfo(float).tiny)
    return float(scipy.stats.chisquare(units, shares * sum(units)).pvalue)


def sequential_p_value(units: Sequence[int], weights: Sequence[float]) -> float:
    """Return how likely a split so far from the weights is by luck, however often one looks.

    It is one over the Bayes factor of Lindon and Malek (2022, "Anytime-valid inference for multinomial count data"):
    a split drawn from a Dirichlet distribution around the weights, against the weights themselves. By Ville's
    inequality it is ever below p in a share p of the tests at most.
    """
    counts = np.array(units, float)
    shares = np.maximum(np.array(weights) / sum(weights), np.finfo(float).tiny)
    prior = CONCENTRATION * shares
    log_factor = float(_log_beta(prior + counts) - _log_beta(prior) - counts @ np.log(shares))
    return min(1.0, float(np.exp(-log_factor)))


def _log_beta(concentrations: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(scipy.special.gammaln(concentrations).sum() - scipy.special.gammaln(concentrations.sum()))
