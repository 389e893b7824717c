"""Leaks that the server can see: a model that looks ahead, and test data that the model has seen or that are far away.

Each check says what it found, or why it could not be made: a gate on a check that was not made is not passed.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from modelward.data import Columns
from modelward.drift import DriftThresholds, Reference, TimeWindow
from modelward.errors import InvalidField, ReferenceNotFound
from modelward.leaks import LeakCheck, LeakKind
from modelward.lifecycle import ModelVersion, TrainingWindow, VersionRef
from modelward.shared.figures import in_words, p_equals, percent, statistic
from modelward_server.comparison.prediction_alignment import Ints
from modelward_server.drift.compare import compare
from modelward_server.drift.decision import decide
from modelward_server.drift.profile import Profile
from modelward_server.drift.row_hashes import row_hashes, share_among
from modelward_server.drift.row_order import time_of
from modelward_server.drift.sample import count_live, fit_columns
from modelward_server.sandbox.answers import PrefixCheck

MAX_SHARED = 0.01
"""Share of test rows that may stand in the reference, beyond those that rows of the reference repeat themselves."""
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class CheckedRows:
    """The test data.

    Attributes:
        features: the features of all rows; empty if they were not sent.
        times: the numbers of their times, nondecreasing, shape (rows,); None without a time.
        window: their times as shown.
    """

    features: Columns
    times: Ints | None
    window: TimeWindow | None


@dataclass
class LeakChecks:
    """Checks versions for leaks; versions with the same reference share its comparison.

    Args:
        references: the default reference of each version that has one.
        thresholds: the drift thresholds of each model.
        load_profile: returns the profile of a reference by its digest.
    """

    references: Mapping[VersionRef, Reference]
    thresholds: Mapping[str, DriftThresholds]
    load_profile: Callable[[str], Profile]
    _known: dict[tuple[str, str], tuple[LeakCheck, ...]] = field(default_factory=dict)

    def of(self, version: ModelVersion, rows: CheckedRows, prefix: PrefixCheck | None) -> tuple[LeakCheck, ...]:
        """Return what each check found of a version.

        Args:
            version: the version.
            rows: the test data, the same for all versions.
            prefix: what the model predicted for a part of the rows; None if it did not run here.
        """
        reference = self.references.get(version.ref)
        trained = version.training_window or _of_reference(reference)
        return (look_ahead(prefix), *self._by_reference(version, reference, rows), overlap(trained, rows.window))

    def _by_reference(
        self, version: ModelVersion, reference: Reference | None, rows: CheckedRows
    ) -> tuple[LeakCheck, ...]:
        if reference is None:
            return _not_made(f"{version} has no reference")
        if not rows.features:
            return _not_made("the test data have no features here")
        key = reference.digest, version.model
        if key not in self._known:
            self._known[key] = self._compare(reference, rows, self.thresholds[version.model])
        return self._known[key]

    def _compare(self, reference: Reference, rows: CheckedRows, thresholds: DriftThresholds) -> tuple[LeakCheck, ...]:
        try:
            profile = self.load_profile(reference.digest)
            names = {feature.name for feature in profile.features}
            known = {name: values for name, values in rows.features.items() if name in names}
            fitted = fit_columns(profile, known, "data")
            return shared_rows(profile, fitted), distance(profile, fitted, rows.times, thresholds)
        except InvalidField as refused:
            why = refused.violations[0]
            return _not_made(f"the test data do not fit the reference: {why.field} {why.description}")
        except ReferenceNotFound as unreadable:
            return _not_made(unreadable.message)


def look_ahead(prefix: PrefixCheck | None) -> LeakCheck:
    """Return whether predictions of the first rows depend on later rows of the same call."""
    kind = LeakKind.LOOK_AHEAD
    if prefix is None:
        return LeakCheck(kind, None, None, "the server did not run the model on a part of the rows")
    if not prefix.repeatable:
        return LeakCheck(kind, None, None, "the model does not predict the same for the same rows")
    share, rows = prefix.differing / prefix.rows, f"{prefix.rows:,}"
    if not prefix.differing:
        return LeakCheck(kind, False, 0.0, f"the first {rows} rows have the same predictions without those after them")
    detail = f"{prefix.differing:,} of the first {rows} rows have other predictions without the rows after them"
    return LeakCheck(kind, True, share, f"{detail}: the model looks ahead within a batch")


def shared_rows(profile: Profile, features: Columns) -> LeakCheck:
    """Return which share of the test rows stands in the reference, beyond what its own repeated rows explain."""
    kind = LeakKind.SHARED_ROWS
    if not len(profile.hashes):
        return LeakCheck(kind, None, None, "the reference was stored by an older server; set it again")
    share = share_among(row_hashes(features, [feature.name for feature in profile.features]), profile.hashes)
    if share is None:
        return LeakCheck(kind, None, None, "the test data have too few rows to find them in the reference")
    detail = f"{in_words(percent(share))} of the test rows stand in the reference with all their features"
    if profile.repeated:
        detail += f", of whose own rows {in_words(percent(profile.repeated))} repeat another"
    return LeakCheck(kind, share > profile.repeated + MAX_SHARED, share, detail)


def distance(profile: Profile, features: Columns, times: Ints | None, thresholds: DriftThresholds) -> LeakCheck:
    """Return whether the test data are far from the reference, by the joint test of drift detection.

    The rows of a time are drawn together, as `times` tells them; None if they are unknown.
    """
    kind = LeakKind.FAR_FROM_REFERENCE
    live = count_live({"": profile}, [(features, times)], "data")
    joint = decide(compare(profile, live, ""), thresholds).joint
    if not joint.rows:
        return LeakCheck(kind, None, None, "the joint test needs two features and 20 rows, also in the reference")
    separated = f"an AUC of {statistic(joint.auc)} separates them" if joint.auc else "no significant difference"
    far = "far from" if joint.drifted else "not far from"
    detail = f"the test data are {far} the reference: {separated}, {p_equals(joint.p_value)}"
    return LeakCheck(kind, joint.drifted, joint.auc or None, detail)


def overlap(trained: TrainingWindow | None, window: TimeWindow | None) -> LeakCheck:
    """Return whether the test data begin before the training data, and the labels of their last rows, have ended."""
    kind = LeakKind.TRAINING_OVERLAP
    if trained is None:
        return LeakCheck(kind, None, None, "the times of the training data are not known; register training_window")
    if window is None:
        return LeakCheck(kind, None, None, "the rows of the test data have no time")
    first, last = time_of(window.first), time_of(trained.last)
    if isinstance(first, np.datetime64) != isinstance(last, np.datetime64):
        return LeakCheck(kind, None, None, "the times of the training and the test data are of different kinds")
    horizon = f" and labels reach {trained.horizon} further" if trained.horizon else ""
    detail = f"the test data begin at {window.first}; the training data end at {trained.last}{horizon}"
    return LeakCheck(kind, _begins_within(first, last, trained), None, detail)


def _begins_within(first: object, last: object, trained: TrainingWindow) -> bool:
    if not isinstance(first, np.datetime64) or not isinstance(last, np.datetime64):
        return bool(first <= last)  # type: ignore[operator]
    end = last.astype("M8[us]") + np.timedelta64(trained.horizon)
    if "T" in trained.last:
        return bool(first <= end)
    return bool(first < end + DAY)  # A date is the whole day.


def notes_of(version: VersionRef, leaks: tuple[LeakCheck, ...]) -> Iterator[str]:
    """Yield a note for each leak that was found."""
    return (f"{version}: {leak.detail}" for leak in leaks if leak.found)


def _of_reference(reference: Reference | None) -> TrainingWindow | None:
    window = reference.window if reference else None
    return None if window is None else TrainingWindow(window.first, window.last)


def _not_made(why: str) -> tuple[LeakCheck, ...]:
    return tuple(LeakCheck(kind, None, None, why) for kind in (LeakKind.SHARED_ROWS, LeakKind.FAR_FROM_REFERENCE))
