"""Dataclasses of segments: parts of the rows that get a result of their own beside that of all rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

from modelward._record import Record


@dataclass(frozen=True, repr=False)
class TimeRange(Record):
    """A range of times, both ends included."""

    first: str = ""
    """The first time: a year, month, date or time of ISO 8601 in UTC, or an integer; empty: no limit."""
    last: str = ""
    """The last time; a year, month or date is included as a whole. Empty: no limit."""


@dataclass(frozen=True, repr=False)
class ClosureSessions(Record):
    """Sessions of an exchange by their place beside its closures, such as the first three after the Spring Festival.

    A place of 1 is the first session after a closure, 2 the second; -1 is the last session before one.
    """

    calendar: str
    """MIC of the exchange, for example `XSHG`."""
    days: int = 5
    """A closure has at least this many calendar days without a session, weekends included."""
    first: int = 1
    """The first of the places."""
    last: int | None = None
    """The last of them; None: the first is the only one."""


Regime: TypeAlias = TimeRange | ClosureSessions
"""A set of times, such as those of a crisis or the sessions after long holidays."""


@dataclass(frozen=True, repr=False)
class Segments(Record):
    """A division of rows into segments, which may overlap."""

    column: str = ""
    """A segment for each value of this column, which is not a feature; rows in which it is missing are in none."""
    regimes: Mapping[str, Regime] = field(default_factory=dict)
    """A segment for the rows of each regime, by its name."""


class SegmentAdjustment(StrEnum):
    """How p-values are adjusted for the false discovery rate over segments."""

    BENJAMINI_HOCHBERG = "benjamini_hochberg"
    """Benjamini and Hochberg (1995), for segments that have no time in common."""
    BENJAMINI_YEKUTIELI = "benjamini_yekutieli"
    """Benjamini and Yekutieli (2001), which holds whatever the dependence, for segments that share times."""
