"""The configurations that were tried, converted for a request."""

from __future__ import annotations

from numbers import Integral
from typing import Any

from modelward._argument_types import argument_type, as_text
from modelward.backtest import BacktestTrials
from modelward.errors import FieldViolation, InvalidField
from modelward.v1.common_pb2 import BacktestTrials as Message
from modelward.v1.common_pb2 import Dataset

INLINE_BYTES = 1 << 20
"""Maximum size of returns within a registration, which has other tables too; larger ones are uploaded first."""
MAX_COUNT = 1_000_000_000


def trials_to_proto(trials: Any) -> Message | None:
    """Convert a number of trials, or their returns.

    Raises:
        InvalidField: it is neither a positive number nor a table of returns, or says something of another type.
    """
    if trials is None:
        return None
    if isinstance(trials, bool):
        raise InvalidField(FieldViolation("trials", f"is {trials}; give their number, or a table of their returns"))
    if isinstance(trials, Integral):
        return _counted(int(trials))
    told = trials if isinstance(trials, BacktestTrials) else BacktestTrials(trials)
    return Message(
        returns=_returns(told.returns),
        chosen=as_text(told.chosen, "trials.chosen"),
        periods_per_year=argument_type(float).convert(told.periods_per_year, "trials.periods_per_year"),
    )


def _counted(count: int) -> Message:
    if not 1 <= count <= MAX_COUNT:
        fix = f"is {count}; the chosen configuration counts too, so at least 1, and at most {MAX_COUNT:,}"
        raise InvalidField(FieldViolation("trials", fix))
    return Message(count=count)


def _returns(returns: Any) -> Dataset:
    if isinstance(returns, str):
        return Dataset(uri=as_text(returns, "trials"))
    from modelward.data import to_columns, to_dataset

    return to_dataset(to_columns(returns, field="trials"))
