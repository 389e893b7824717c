"""A sequential detector that examines rows between windows: a conformal test martingale.

Each row gets its rank among the reference and all preceding rows, with ties broken at random. While rows are
exchangeable with the reference these ranks are independent and uniform, and no strategy that bets on them is expected
to gain (Vovk, Nouretdinov and Gammerman, 2003); the capital of one that gains is evidence against exchangeability: the
probability that it ever reaches c is at most 1 / c (Ville, 1939). The strategy is the simple jumper (Vovk et al.,
2021), once on the level of each feature and once on its distance from the median; all capitals are averaged, which
keeps the bound.

Neighbouring rows of market data are dependent, and so not exchangeable even when nothing changes. The detector's
evidence is therefore reported for information, and raises no alarm by itself.
"""

import io

import numpy as np

from modelward_server.statistics.distances import Floats, Ints, NormalizedRanks

BETS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
"""The strategies: the stake on high ranks, as a share of the capital times two."""
JUMP = 0.01
"""The share of the capital that moves between strategies with each row."""
MAX_ROWS_PER_BATCH = 1_000
"""Maximum number of rows of a batch that are examined; larger batches are thinned evenly."""


class Detector:
    """The state of the detector of one stream.

    Args:
        reference: the number of reference rows in each of an even number of equal cells of the normalized rank, shape
            (features, cells).
    """

    def __init__(self, reference: Ints) -> None:
        self.counts = reference.astype(np.float64)
        self.capital = np.full((len(reference), 2, len(BETS)), 1 / len(BETS))
        self.peak = 1.0

    @property
    def evidence(self) -> float:
        """Return 1 - 1 / (the largest capital reached so far), from 0 to 1."""
        return 1.0 - 1.0 / self.peak

    def grew_from(self, reference: Ints) -> bool:
        """Return whether the rows of a reference are among those that were counted.

        Args:
            reference: the number of its rows in each cell, shape (features, cells).
        """
        return self.counts.shape == reference.shape and bool((self.counts >= reference).all())

    def update(self, places: NormalizedRanks, seed: int) -> None:
        """Update the state with the next rows.

        Args:
            places: the normalized rank of each value in the reference, from 0 to 1, shape (rows, features).
            seed: the seed of the random numbers that break ties; a different one for each batch.
        """
        chosen = places[:: max(1, -(-len(places) // MAX_ROWS_PER_BATCH))]
        cell_count = self.counts.shape[1]
        cells = np.minimum((chosen * cell_count).astype(int), cell_count - 1)
        ties = np.random.default_rng(seed).random((len(chosen), 2, cells.shape[1]))
        for row, tie in zip(cells, ties, strict=True):
            self._bet(self._ranks(row, tie))

    def _ranks(self, cells: Ints, ties: Floats) -> Floats:
        """Return the ranks of each feature's level and of its distance from the median, 0 to 1, shape (features, 2)."""
        own = np.arange(len(cells))
        self.counts[own, cells] += 1
        total = self.counts.sum(axis=1)
        level = (self.counts.cumsum(axis=1)[own, cells] - self.counts[own, cells] * ties[0]) / total
        middle = self.counts.shape[1] // 2
        folded = self.counts[:, middle:] + self.counts[:, middle - 1 :: -1]
        outward = np.where(cells >= middle, cells - middle, middle - 1 - cells)
        distance = (folded.cumsum(axis=1)[own, outward] - folded[own, outward] * ties[1]) / total
        return np.stack([level, distance], axis=1)

    def _bet(self, ranks: Floats) -> None:
        whole = self.capital.sum(axis=2, keepdims=True)
        staked = (1 - JUMP) * self.capital + JUMP * whole / len(BETS)
        self.capital = np.minimum(staked * (1 + BETS * (ranks[..., None] - 0.5)), 1e100)
        self.peak = max(self.peak, float(self.capital.sum(axis=2).mean()))


def to_bytes(detector: Detector) -> bytes:
    """Serialize the state of a detector as an npz file."""
    packed = io.BytesIO()
    np.savez_compressed(packed, counts=detector.counts, capital=detector.capital, peak=np.array(detector.peak))
    return packed.getvalue()


def from_bytes(packed: bytes) -> Detector:
    """Restore a detector that `to_bytes` serialized."""
    detector = Detector(np.zeros((0, 2), np.int64))
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        detector.counts, detector.capital, detector.peak = arrays["counts"], arrays["capital"], float(arrays["peak"])
    return detector
