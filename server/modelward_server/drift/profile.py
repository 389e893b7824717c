"""The profile of reference data: what detection needs of it, computed once when it is set."""

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from modelward.data import Columns
from modelward.drift import FeatureKind, FeatureProfile
from modelward_server.drift.null import Null, category_null, number_null
from modelward_server.drift.statistics import Floats, Ints, smoothed

BINS = 10
"""Deciles, as is usual for the population stability index (Siddiqi, 2006)."""
CATEGORIES_SHOWN = 100


@dataclass(frozen=True)
class NumberProfile:
    """A feature of numbers.

    Attributes:
        values: the distinct values, ascending, infinities included, shape (k,).
        cumulative: rows at or below each value, the missing ones included, shape (k,).
        missing: rows in which it is missing.
        edges: the upper edges of all bins but the last, themselves values of the reference, ascending, shape (b - 1,).
        counts: rows in each bin and at the end the missing ones, shape (b + 1,).
        moments: mean, standard deviation, least and greatest of the finite values.
    """

    name: str
    values: Floats
    cumulative: Ints
    missing: int
    edges: Floats
    counts: Ints
    moments: Floats
    null: Null


@dataclass(frozen=True)
class CategoryProfile:
    """A feature of categories.

    Attributes:
        categories: the most frequent first.
        counts: rows of each category and at the end the missing ones, shape (k + 1,).
    """

    name: str
    categories: tuple[str, ...]
    counts: Ints
    null: Null


@dataclass(frozen=True)
class Profile:
    """Everything that detection needs of a reference."""

    rows: int
    features: tuple[NumberProfile | CategoryProfile, ...]


def build_profile(columns: Columns) -> Profile:
    """Profile reference data.

    Args:
        columns: of one length, in the order of time. Numbers may hold NaN, which is missing, and infinities, which are
            values like any other; text and truth values are categories.
    """
    features = tuple(_profile(name, values) for name, values in columns.items())
    return Profile(len(next(iter(columns.values()))), features)


def _profile(name: str, values: Any) -> NumberProfile | CategoryProfile:
    return _numbers(name, values.astype(np.float64)) if values.dtype.kind in "if" else _categories(name, values)


def _numbers(name: str, ordered: Floats) -> NumberProfile:
    present = ordered[~np.isnan(ordered)]
    values, inverse, counts = np.unique(present, return_inverse=True, return_counts=True)
    missing = len(ordered) - len(present)
    cumulative = missing + counts.cumsum()
    ranks = np.full(len(ordered), -1)
    ranks[~np.isnan(ordered)] = inverse
    edges = bin_edges(values, cumulative - missing)
    bins = bin_of(ordered, edges)
    bin_counts = np.bincount(bins, minlength=len(edges) + 2)
    shares = cumulative / len(ordered)
    null = number_null(ordered, ranks, shares, missing / len(ordered), bins, smoothed(bin_counts))
    return NumberProfile(name, values, cumulative, missing, edges, bin_counts, _moments(present), null)


def bin_edges(values: Floats, cumulative: Ints) -> Floats:
    """Return the deciles of a sample of distinct values, each an actual value, without the greatest."""
    if not len(values):
        return np.empty(0)
    wanted = np.arange(1, BINS) / BINS * cumulative[-1]
    edges = np.unique(values[np.searchsorted(cumulative, wanted - 1e-9)])
    return np.asarray(edges[edges < values[-1]])


def bin_of(values: Floats, edges: Floats) -> Ints:
    """Return the bin of each value: the first whose upper edge is not below it; after all bins that of the missing."""
    return np.where(np.isnan(values), len(edges) + 1, np.searchsorted(edges, values, side="left"))


def _moments(present: Floats) -> Floats:
    finite = present[np.isfinite(present)]
    if not len(finite):
        return np.zeros(4)
    unit = np.abs(finite).max() or 1.0  # So that squares of very large values do not overflow.
    scaled = finite / unit
    return np.array([scaled.mean() * unit, scaled.std() * unit, finite.min(), finite.max()])


def _categories(name: str, values: Any) -> CategoryProfile:
    labels = category_labels(values)
    counted = count_categories(labels)
    missing = counted.pop(None, 0)
    categories = sorted(counted, key=lambda label: (-counted[label], str(label)))
    index = {label: i for i, label in enumerate([*categories, None])}
    codes = np.array([index[label] for label in labels])
    counts = np.array([*(counted[label] for label in categories), missing])
    return CategoryProfile(name, tuple(map(str, categories)), counts, category_null(codes, counts))


def category_labels(values: Any) -> list[str | None]:
    """Return categories as text, truth values as "true" and "false", None where they are missing."""
    if values.dtype.kind == "b":
        return ["true" if value else "false" for value in values.tolist()]
    return list(values.tolist())


def count_categories(labels: list[str | None]) -> dict[str | None, int]:
    """Count labels as Python text: an array of text is as wide as its longest one, and drops NULs at the end."""
    return dict(Counter(labels))


def describe(profile: Profile) -> tuple[FeatureProfile, ...]:
    """Return what a caller is told of each feature."""
    return tuple(_describe(feature, profile.rows) for feature in profile.features)


def _describe(feature: NumberProfile | CategoryProfile, rows: int) -> FeatureProfile:
    mean, deviation, least, greatest = map(float, getattr(feature, "moments", np.zeros(4)))
    return FeatureProfile(
        name=feature.name,
        kind=FeatureKind.NUMBER if isinstance(feature, NumberProfile) else FeatureKind.CATEGORY,
        missing_share=float(feature.counts[-1] / rows),
        mean=mean,
        standard_deviation=deviation,
        minimum=least,
        maximum=greatest,
        bin_edges=tuple(map(float, feature.edges)) if isinstance(feature, NumberProfile) else (),
        categories=_shares(feature) if isinstance(feature, CategoryProfile) else {},
        effective_rows=feature.null.independence * rows,
    )


def _shares(feature: CategoryProfile) -> dict[str, float]:
    present = max(int(feature.counts[:-1].sum()), 1)
    shares = zip(feature.categories, feature.counts[:-1], strict=True)
    return {name: float(rows / present) for name, rows in list(shares)[:CATEGORIES_SHOWN]}


def to_bytes(profile: Profile) -> bytes:
    """Pack a profile as an npz file, which runs no code when it is read."""
    arrays: dict[str, Any] = {}
    header: dict[str, Any] = {"rows": profile.rows, "features": []}
    for i, feature in enumerate(profile.features):
        plain = dict(_plain(feature))
        arrays |= {f"{i}.{key}": value for key, value in plain.items() if isinstance(value, np.ndarray)}
        rest = {key: value for key, value in plain.items() if not isinstance(value, np.ndarray)}
        header["features"].append({"kind": type(feature).__name__, **rest})
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def _plain(feature: NumberProfile | CategoryProfile) -> Iterator[tuple[str, Any]]:
    """Give a feature's fields, those of its null beside its own."""
    for part in (feature, feature.null):
        yield from ((field.name, getattr(part, field.name)) for field in fields(part) if field.name != "null")


def from_bytes(packed: bytes) -> Profile:
    """Unpack a profile."""
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        features = tuple(_unpacked(i, plain, arrays) for i, plain in enumerate(header["features"]))
    return Profile(header["rows"], features)


def _unpacked(i: int, plain: dict[str, Any], arrays: Mapping[str, Any]) -> NumberProfile | CategoryProfile:
    null = Null(arrays[f"{i}.ks"], arrays[f"{i}.kl"], plain["independence"])
    if plain["kind"] == CategoryProfile.__name__:
        return CategoryProfile(plain["name"], tuple(plain["categories"]), arrays[f"{i}.counts"], null)
    own = {key: arrays[f"{i}.{key}"] for key in ("values", "cumulative", "edges", "counts", "moments")}
    return NumberProfile(name=plain["name"], missing=plain["missing"], null=null, **own)
