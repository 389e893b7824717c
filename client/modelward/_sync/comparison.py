# Derived from modelward/_async/comparison.py by client/unasync.py: change that one.
"""The comparison calls: which version is better, and is it luck."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from modelward._convert.common import ref_to_proto
from modelward._convert.comparison import comparison_from_proto, metric_to_proto, progress_from_proto
from modelward._labelled import put_labelled
from modelward._refs import AnyVersion, as_ref
from modelward._sync.connection import Connection
from modelward.comparison import Comparison, ComparisonProgress, Metric
from modelward.errors import FieldViolation, InvalidField, UnexpectedError
from modelward.v1 import comparison_pb2 as pb

COMPARE_TIMEOUT_SECONDS = 900.0
"""How long a comparison may take by default: models are loaded and run one after the other."""
PAGE_SIZE = 50


class Comparisons(Connection):
    """Comparisons of versions."""

    def compare(
        self,
        versions: Sequence[AnyVersion],
        X: Any,  # noqa: N803 - as scikit-learn calls it
        y: Any,
        *,
        metrics: Sequence[Metric | str] = (),
        primary: Metric | str | None = None,
        baseline: AnyVersion | None = None,
        margin: float = 0.0,
        confidence_level: float = 0.95,
        block_rows: float = 0.0,
        seed: int = 0,
        on_progress: Callable[[ComparisonProgress], None] | None = None,
        timeout: float = COMPARE_TIMEOUT_SECONDS,
    ) -> Comparison:
        """Run versions on a test set, in the server, and say which is better and whether that is luck.

        Args:
            versions: 2 to 20, of one model or of several, as `"spx-direction/3"` or as they were returned.
            X: the features, shape (rows, features): a pandas or polars frame, an Arrow table, a mapping of columns, or
                an array. Columns are found by the names that a model was trained with, where it knows them. Rows are
                taken to be in the order of time.
            y: the truth, shape (rows,): classes or finite numbers, none missing.
            metrics: what to measure; all that make sense when it is empty.
            primary: what decides; the first of `metrics`, or accuracy for classes and MSE for numbers.
            baseline: what the others are held against; the version in production, or else the first.
            margin: how much worse than the baseline is still as good, in the primary metric's own unit.
            confidence_level: of intervals and verdict, from 0.5 to 0.999.
            block_rows: how many neighbouring rows hang together, 1 for none; 0 lets the server tell it from the data.
            seed: of the resampling; the same seed and data give the same answer.
            on_progress: called after each step.
            timeout: seconds for all of it.

        Raises:
            VersionNotFound, ModelNotFound: a version does not exist.
            FormatNotExecutable: the server does not run a version's format.
            ModelFailed: fewer than two of the models answered.
            InvalidField: the data, the label or a metric does not fit the models.
            MessageTooLarge: the table is over 4 MiB.
        """
        request = pb.CompareModelsRequest(
            versions=[ref_to_proto(as_ref(version)) for version in versions],
            metrics=[metric_to_proto(_as_metric(metric, "metrics")) for metric in metrics],
            primary_metric=metric_to_proto(None if primary is None else _as_metric(primary, "primary")),
            baseline=None if baseline is None else ref_to_proto(as_ref(baseline)),
            margin=margin,
            confidence_level=confidence_level,
            block_rows=block_rows,
            seed=seed,
        )
        put_labelled(request.data, request, X, y)
        answer = pb.CompareModelsResponse()
        for answer in self._receive(self._comparison.CompareModels, request, timeout):
            if on_progress is not None and answer.HasField("progress"):
                on_progress(progress_from_proto(answer.progress))
        if not answer.HasField("comparison"):
            raise UnexpectedError("the server ended the comparison without a verdict")
        return comparison_from_proto(answer.comparison)

    def get_comparison(self, comparison_id: str) -> Comparison:
        """Return a stored comparison.

        Raises:
            ComparisonNotFound: there is none of that id.
        """
        request = pb.GetComparisonRequest(comparison_id=comparison_id)
        return comparison_from_proto((self._call(self._comparison.GetComparison, request)).comparison)

    def list_comparisons(self, model: str = "") -> Iterator[Comparison]:
        """Iterate over stored comparisons, the newest first; of those with a version of one model, or of all.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListComparisonsRequest(model=model, page_size=PAGE_SIZE)
        for page in self._pages(self._comparison.ListComparisons, request):
            for comparison in page.comparisons:
                yield comparison_from_proto(comparison)


def _as_metric(metric: Metric | str, field: str) -> Metric:
    try:
        return Metric(metric)
    except ValueError:
        names = ", ".join(Metric)
        raise InvalidField(FieldViolation(field, f"{metric!r} is not a metric; there are {names}")) from None
