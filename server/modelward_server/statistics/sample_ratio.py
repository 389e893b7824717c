"""Tests for a sample ratio mismatch: whether the split of the units agrees with the variants' weights.

A mismatch means that units are lost or misdirected, and then no mean can be trusted.
"""

from collections.abc import Sequence

import numpy as np
import scipy

CONCENTRATION = 100.0
"""Concentration of the prior of a broken split around the weights: a standard deviation of about 5 % of the units."""
MISMATCH_SIGNIFICANCE = 0.01
"""Significance level of the sequential p-value: the maximum share of correct splits that are ever called broken."""


def p_value(units: Sequence[int], weights: Sequence[float]) -> float:
    """Return the chi-square p-value of a split, valid for a single look; 1 without units.

    Args:
        units: the number of units of each variant.
        weights: the weight of each variant, in the same order.
    """
    if sum(units) == 0:
        return 1.0
    shares = np.maximum(np.array(weights) / sum(weights), np.finfo(float).tiny)
    return float(scipy.stats.chisquare(units, shares * sum(units)).pvalue)


def sequential_p_value(units: Sequence[int], weights: Sequence[float]) -> float:
    """Return the p-value of a split that is valid at any number of looks.

    It is the inverse of the Bayes factor of Lindon and Malek (2022, "Anytime-valid inference for multinomial count
    data"): a split drawn from a Dirichlet distribution around the weights, against the weights themselves. By Ville's
    inequality it is ever below p in at most a share p of the tests.

    Args:
        units: the number of units of each variant.
        weights: the weight of each variant, in the same order.
    """
    counts = np.array(units, float)
    shares = np.maximum(np.array(weights) / sum(weights), np.finfo(float).tiny)
    prior = CONCENTRATION * shares
    log_factor = float(_log_beta(prior + counts) - _log_beta(prior) - counts @ np.log(shares))
    return min(1.0, float(np.exp(-log_factor)))


def _log_beta(concentrations: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> float:
    return float(scipy.special.gammaln(concentrations).sum() - scipy.special.gammaln(concentrations.sum()))
