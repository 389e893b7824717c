"""The configurations that were tried, in the requests that contain them: read their returns, and assess them."""

from modelward.backtest import Overfitting
from modelward.errors import FieldViolation, InvalidField
from modelward.v1 import comparison_pb2, lifecycle_pb2
from modelward.v1.common_pb2 import BacktestTrials
from modelward_server.comparison.compare import DEFAULT_PERIODS
from modelward_server.comparison.overfitting import assess_trials
from modelward_server.rpc.datasets import DatasetTable
from modelward_server.runtime.executors import Executors
from modelward_server.storage.sources import Sources


async def assessed_trials(
    request: lifecycle_pb2.RegisterModelVersionRequest | comparison_pb2.CompareModelsRequest,
    field: str,
    sources: Sources,
    executors: Executors,
) -> Overfitting | None:
    """Return what the trials of a request say; None if it contains none.

    Raises:
        InvalidField: the returns cannot be read, or are not numbers without gaps.
        SourceNotAllowed: the returns are in a location that the operator does not allow.
    """
    if not request.HasField("trials"):
        return None
    trials: BacktestTrials = request.trials
    if trials.WhichOneof("tried") == "count":
        _check_alone(trials, field)
        return Overfitting(trials.count)
    table = await DatasetTable(trials.returns, f"{field}.returns", sources, executors).read()
    periods = trials.periods_per_year or DEFAULT_PERIODS
    return await executors.compute.run(assess_trials, table, trials.chosen, periods, f"{field}.returns")


def _check_alone(trials: BacktestTrials, field: str) -> None:
    if trials.chosen:
        fix = "names a column of returns, but only a number of trials is given; send their returns"
        raise InvalidField(FieldViolation(f"{field}.chosen", fix))
