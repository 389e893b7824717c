"""Moving evaluation windows: on which sessions a job's version is compared, and where its training data end."""

from contextlib import suppress
from datetime import datetime

from sqlalchemy.orm import Session

from modelward.errors import CalendarEnds, FieldViolation, InvalidField
from modelward.retraining import EvaluationWindow
from modelward_server.exchange_sessions import SessionRange, check_calendar, closed_sessions, start_of
from modelward_server.retraining.policies import get_retraining_policy

FIELD = "policy.evaluation_window"


def check_window(window: EvaluationWindow, now: datetime) -> None:
    """Validate a window; its calendar is built, which takes long the first time.

    Raises:
        InvalidField: the calendar is unknown, or does not go back that far.
    """
    check_calendar(window.calendar, f"{FIELD}.calendar")
    try:
        training_end(window, now)
    except CalendarEnds as error:
        raise InvalidField(FieldViolation(f"{FIELD}.sessions", error.message)) from error


def prepare_window(session: Session, model: str, now: datetime) -> None:
    """Build the calendar of a model's window, if it has one, before a transaction that creates a job needs it."""
    window = get_retraining_policy(session, model).evaluation_window
    if window:
        with suppress(CalendarEnds):  # The transaction reports it.
            training_end(window, now)


def evaluation_sessions(window: EvaluationWindow, at: datetime) -> SessionRange:
    """Return the sessions of a job that was created at a time.

    Raises:
        CalendarEnds: the calendar does not reach there.
    """
    return closed_sessions(window.calendar, window.sessions, at)


def training_end(window: EvaluationWindow, at: datetime) -> datetime:
    """Return the time at which the training data of such a job end: before the sessions and the embargo.

    Raises:
        CalendarEnds: as `evaluation_sessions`.
    """
    with_embargo = closed_sessions(window.calendar, window.sessions + window.embargo, at)
    return start_of(with_embargo.first, window.calendar)
