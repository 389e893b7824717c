"""Hashes of rows: equal rows have equal ones, and the sample of a large table finds the share that it shares."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelward_server.drift import row_hashes
from modelward_server.drift.row_hashes import least_hashes, share_among

VALUES = st.lists(st.tuples(st.sampled_from([0.0, -0.0, 1.5, np.nan, np.inf]), st.sampled_from(["a", "", None])))


@given(VALUES.filter(bool))
def test_hashes_are_equal_just_where_rows_are(rows: list[tuple[float, str | None]]) -> None:
    columns = {"x": np.array([x for x, _ in rows]), "s": np.array([*(s for _, s in rows), None], object)[:-1]}
    hashes = row_hashes.row_hashes(columns, ["s", "x"])
    keys = ["nan" if np.isnan(x) else x for x, _ in rows]
    same = [[keys[i] == keys[j] and rows[i][1] == rows[j][1] for j in range(len(rows))] for i in range(len(rows))]
    assert (hashes[:, None] == hashes).tolist() == same


def test_share_of_rows_is_estimated_from_the_least_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.random.default_rng(0).normal(size=40_000)
    known, test = rows[:30_000], rows[15_000:]
    hashed = [row_hashes.row_hashes({"x": values}, ["x"]) for values in (known, test)]
    assert share_among(hashed[1], least_hashes(hashed[0])) == 0.6
    monkeypatch.setattr(row_hashes, "MAX_HASHES", 3_000)
    sampled = least_hashes(hashed[0])
    assert len(sampled) == 3_000
    assert share_among(hashed[1], sampled) == pytest.approx(0.6, abs=0.05)
    assert share_among(hashed[1][:50], sampled) is None
