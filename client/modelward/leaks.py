"""Dataclasses of leaks: ways in which a test can say more of a version than the future will."""

from dataclasses import dataclass
from enum import StrEnum

from modelward._record import Record


class LeakKind(StrEnum):
    """A way in which a test can say more of a version than the future will."""

    LOOK_AHEAD = "look_ahead"
    """Predictions of the first rows change without the rows after them: the model looks ahead within a batch."""
    SHARED_ROWS = "shared_rows"
    """Rows of the test data stand in the version's reference, with all their features."""
    TRAINING_OVERLAP = "training_overlap"
    """The test data begin before the training data, and the labels of their last rows, have ended."""
    FAR_FROM_REFERENCE = "far_from_reference"
    """The test data are far from the reference, by the joint test of drift detection."""


@dataclass(frozen=True, repr=False)
class LeakCheck(Record):
    """What a check for one kind of leak found."""

    kind: LeakKind
    """The kind of leak."""
    found: bool | None
    """Whether it was found; None if the check could not be made."""
    value: float | None
    """The share of rows with other predictions, or in the reference; the AUC that separates test data and reference,
    None if they do not differ significantly."""
    detail: str
    """What was found, or why the check could not be made."""

    def _describe(self) -> str:
        verdict = {True: "found", False: "not found", None: "not checked"}[self.found]
        return f"{self.kind} {verdict}: {self.detail}"
