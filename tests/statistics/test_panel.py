"""Panels: rows of several groups at each time."""

import numpy as np

from modelward_server.statistics.panel import Panel


def test_rows_are_summed_by_time() -> None:
    panel = Panel(np.array([0, 0, 1, 2, 2, 2]), np.array([0, 1, 1, 0, 1, 2]))
    assert (panel.rows, panel.length) == (6, 3)
    assert panel.counts.tolist() == [2, 1, 3]
    assert panel.starts.tolist() == [0, 2, 3, 6]
    assert panel.sums(np.array([1.0, 2, 4, 8, 16, 32])).tolist() == [3, 4, 56]
    assert panel.sums(np.eye(6)).shape == (3, 6)
