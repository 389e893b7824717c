"""A detector that watches every row between the windows: a conformal test martingale.

Each row gets its rank among the reference and all rows before it, ties broken at random. While rows are exchangeable
with the reference these ranks are independent and uniform, and no strategy that bets on them gains (Vovk, Nouretdinov
and Gammerman, 2003); the capital of one that gains is evidence: that it ever reaches c has a probability of 1 / c at
most (Ville, 1939). The strategy is the simple jumper (Vovk et al., 2021), once on the level of each feature and once on
its distance from the middle; all capitals are averaged, which keeps the bound.

Rows of a market depend on their neighbours and are not exchangeable even when nothing changes. So what the detector
says informs, and raises no alarm by itself.
"""

import io

import numpy as np

from modelward_server.statistics.distances import Floats, Ints, Places

BETS = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])
"""The strategies: how much is staked on high ranks, as a share of the capital times two."""
JUMP = 0.01
"""The share of the capital that moves between strategies with each row."""
ROWS_WATCHED = 1_000
"""Rows of a batch that are watched; of more, evenly spread ones."""


class Detector:
    """The state of the detector of one stream.

    Args:
        reference: rows of the reference in each of an even number of cells, by place, shape (features, cells).
    """

    def __init__(self, reference: Ints) -> None:
        self.counts = reference.astype(np.float64)
        self.capital = np.full((len(reference), 2, len(BETS)), 1 / len(BETS))
        self.peak = 1.0

    @property
    def evidence(self) -> float:
        """Return 1 - 1 / the greatest capital that there was, from 0 to 1."""
        return 1.0 - 1.0 / self.peak

    def grew_from(self, reference: Ints) -> bool:
        """Tell whether the rows of a reference are among those that were counted."""
        return self.counts.shape == reference.shape and bool((self.counts >= reference).all())

    def watch(self, places: Places, seed: int) -> None:
        """Take the next rows.

        Args:
            places: the place of each value in the reference, from 0 to 1, shape (rows, features).
            seed: of the random numbers that break ties, another one for each batch.
        """
        chosen = places[:: max(1, -(-len(places) // ROWS_WATCHED))]
        most = self.counts.shape[1]
        cells = np.minimum((chosen * most).astype(int), most - 1)
        ties = np.random.default_rng(seed).random((len(chosen), 2, cells.shape[1]))
        for row, tie in zip(cells, ties, strict=True):
            self._bet(self._ranks(row, tie))

    def _ranks(self, cells: Ints, ties: Floats) -> Floats:
        """Return each feature's rank and that of its distance from the middle, from 0 to 1, shape (features, 2)."""
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
    packed = io.BytesIO()
    np.savez_compressed(packed, counts=detector.counts, capital=detector.capital, peak=np.array(detector.peak))
    return packed.getvalue()


def from_bytes(packed: bytes) -> Detector:
    detector = Detector(np.zeros((0, 2), np.int64))
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        detector.counts, detector.capital, detector.peak = arrays["counts"], arrays["capital"], float(arrays["peak"])
    return detector
