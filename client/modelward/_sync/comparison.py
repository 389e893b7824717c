# Derived from modelward/_async/comparison.py by client/unasync.py: change that one.
"""The comparison calls: which version is better, and is it luck."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Literal

from modelward._coerce import AnyVersion, as_names, as_ref
from modelward._comparing import as_metric, feature_columns, put_data
from modelward._sync.uploading import Uploading
from modelward._transfers import MESSAGE_BYTES
from modelward.comparison import Comparison, ComparisonProgress, Metric, ModelBenchmark
from modelward.errors import ModelwardError, UnexpectedError
from modelward.shared.convert.benchmark import benchmark_from_proto
from modelward.shared.convert.common import ref_to_proto, report_format_to_proto, seconds_to_proto
from modelward.shared.convert.comparison import comparison_from_proto, metric_to_proto, progress_from_proto
from modelward.shared.retry import Attempts
from modelward.v1 import comparison_pb2 as pb

COMPARE_TIMEOUT_SECONDS = 900.0
"""How long a comparison may take by default: models are loaded and run one after the other."""
MAX_SILENCE_SECONDS = 60.0
"""How long a comparison may tell nothing; the server repeats where it stands several times in between."""
PAGE_SIZE = 50


class Comparisons(Uploading):
    """Comparisons of versions."""

    def compare(
        self,
        versions: Sequence[AnyVersion],
        X: Any,  # noqa: N803 - as scikit-learn calls it
        y: Any,
        *,
        predictions: Mapping[AnyVersion, Any] | None = None,
        ids: Any = None,
        returns: Any = None,
        cost_bps: float = 0.0,
        periods_per_year: float = 252.0,
        metrics: Sequence[Metric | str] = (),
        primary: Metric | str | None = None,
        baseline: AnyVersion | None = None,
        margin: float = 0.0,
        confidence_level: float = 0.95,
        block_rows: float = 0.0,
        seed: int = 0,
        ignore: Collection[str] = (),
        on_progress: Callable[[ComparisonProgress], None] | None = None,
        timeout: float = COMPARE_TIMEOUT_SECONDS,
    ) -> Comparison:
        """Run versions on a test set, in the server, and say which is better and whether that is luck.

        Args:
            versions: 2 to 50, of one model or of several, as `"spx-direction/3"` or as they were returned.
            X: the features, shape (rows, features): a pandas or polars frame, an Arrow table, a mapping of columns, or
                an array. Columns are found by the names that a model was trained with, where it knows them. Rows are
                taken to be in the order of time. None when all versions have predictions. Or the URI of Parquet files
                that the server may read; then `y`, `returns` and `ids` name columns of theirs.
            y: the truth, shape (rows,): classes or finite numbers, none missing.
            predictions: what versions predicted elsewhere, by version; those are not run, and not named in `versions`
                again. A sequence has one prediction for each row. A table has the columns `id` and `prediction`, of
                classes perhaps `probability` (of the greater of two) or `probability:CLASS` for each, and perhaps
                `position`; its rows are found by their ids, and rows that a version lacks are left out for all. Where
                `X` is a URI they are tables.
            ids: of the rows of `X` and `y`, each once; numbered from 0 when they are left out. Text, whole numbers (7,
                7.0 and "7" are the same), UUIDs, dates or times; none missing.
            returns: what a position of 1 made over each row, as a share, for the trading metrics. Positions are those
                that were sent, or else the sides of zero that were predicted.
            cost_bps: what a change of the position by 1 costs, in basis points.
            periods_per_year: how many rows make a year.
            metrics: what to measure; all that make sense when it is empty.
            primary: what decides; the first of `metrics`, or accuracy for classes and MSE for numbers.
            baseline: what the others are held against; the version in production, or else the first.
            margin: how much worse than the baseline is still as good, in the primary metric's own unit.
            confidence_level: of intervals and verdict, from 0.5 to 0.999.
            block_rows: how many neighbouring rows hang together, 1 for none; 0 lets the server tell it from the data.
            seed: of the resampling; the same seed and data give the same answer.
            ignore: columns of `X` that are no features, as "symbol", whatever they hold.
            on_progress: called after each step.
            timeout: seconds for all of it; a server that says nothing for a minute ends it before.

        Raises:
            VersionNotFound, ModelNotFound: a version does not exist.
            FormatNotExecutable: the server does not run a version's format.
            ModelFailed: fewer than two of the models answered.
            InvalidField: the data, the label or a metric does not fit the models.
        """
        sent = dict(predictions or {})
        named = [as_ref(version) for version in versions]
        named += [ref for ref in map(as_ref, sent) if ref not in named]
        request = pb.CompareModelsRequest(
            versions=map(ref_to_proto, named),
            metrics=[metric_to_proto(as_metric(metric, "metrics")) for metric in metrics],
            primary_metric=metric_to_proto(None if primary is None else as_metric(primary, "primary")),
            baseline=None if baseline is None else ref_to_proto(as_ref(baseline)),
            margin=margin,
            confidence_level=confidence_level,
            block_rows=block_rows,
            seed=seed,
            cost_bps=cost_bps,
            periods_per_year=periods_per_year,
        )
        put_data(request, X, y, returns, ids, sent, as_names(ignore, "ignore"))
        if request.ByteSize() > MESSAGE_BYTES:
            self._upload_tables([request.data, *(one.data for one in request.predictions)], timeout)
        answer = self._compared(request, on_progress or (lambda _: None), timeout)
        if not answer.HasField("comparison"):
            raise UnexpectedError("the server ended the comparison without a verdict")
        return comparison_from_proto(answer.comparison)

    def _compared(
        self, request: pb.CompareModelsRequest, on_progress: Callable[[ComparisonProgress], None], timeout: float
    ) -> pb.CompareModelsResponse:
        """Return the last of what a comparison answers; one that breaks off begins anew, and counts once."""
        attempts = Attempts(timeout, patience=self._timeout)
        answer, told = pb.CompareModelsResponse(), None
        while True:
            parts = self._receive(
                self._comparison.CompareModels, request, attempts.remaining(), silence=MAX_SILENCE_SECONDS
            )
            try:
                for answer in parts:
                    attempts.progressed()
                    if answer.progress.fraction and answer.progress != told:  # Else it is a sign of life.
                        told = answer.progress
                        on_progress(progress_from_proto(told))
                return answer
            except ModelwardError as error:
                time.sleep(attempts.pause_before_next(error))

    def benchmark(
        self,
        versions: Sequence[AnyVersion],
        X: Any,  # noqa: N803 - as scikit-learn calls it
        *,
        batch_rows: Sequence[int] = (1, 1000),
        seconds: float = 2.0,
        confidence_level: float = 0.95,
        ignore: Collection[str] = (),
        timeout: float = COMPARE_TIMEOUT_SECONDS,
    ) -> list[ModelBenchmark]:
        """Measure how fast versions answer in the server, in turns, so that drift of the machine hits all alike.

        Args:
            versions: 1 to 20.
            X: features to predict, as `compare` takes them; they are used over and over.
            batch_rows: how many rows a call has, each size measured for itself.
            seconds: how long each version is measured at each size.
            confidence_level: of the intervals, from 0.5 to 0.999.
            ignore: columns of `X` that are no features, whatever they hold.
            timeout: seconds for all of it.

        Raises:
            VersionNotFound, ModelNotFound: a version does not exist.
            FormatNotExecutable: the server does not run a version's format.
            ModelFailed: no version answered. One that fails while others answer says so in its `failure`.
        """
        from modelward.data import to_dataset

        request = pb.BenchmarkModelsRequest(
            versions=[ref_to_proto(as_ref(version)) for version in versions],
            data=to_dataset(feature_columns(X, as_names(ignore, "ignore"))),
            batch_rows=batch_rows,
            duration=seconds_to_proto(seconds, "seconds"),
            confidence_level=confidence_level,
        )
        if request.ByteSize() > MESSAGE_BYTES:
            self._upload_tables([request.data], timeout)
        answer = self._call(self._comparison.BenchmarkModels, request, timeout)
        return list(map(benchmark_from_proto, answer.benchmarks))

    def get_comparison(self, comparison_id: str) -> Comparison:
        """Return a stored comparison.

        Raises:
            ComparisonNotFound: there is none of that id.
        """
        request = pb.GetComparisonRequest(comparison_id=comparison_id)
        return comparison_from_proto((self._call(self._comparison.GetComparison, request)).comparison)

    def render_comparison(
        self,
        comparison_id: str,
        format: Literal["html", "png"] = "html",  # noqa: A002 - the word of the contract
    ) -> bytes:
        """Draw a stored comparison.

        Args:
            format: `html` for a page that needs nothing else, light or dark as the reader likes it, with every figure;
                `png` for a picture, 2400 pixels wide, with the verdict and the intervals.

        Returns:
            The file's content.

        Raises:
            ComparisonNotFound: there is none of that id.
            InvalidField: the format is another one.
        """
        request = pb.RenderComparisonRequest(comparison_id=comparison_id, format=report_format_to_proto(format))
        return (self._call(self._comparison.RenderComparison, request)).content

    def list_comparisons(self, model: str = "") -> Iterator[Comparison]:
        """Iterate over stored comparisons, the newest first; of those with a version of one model, or of all.

        Raises:
            ModelNotFound: there is no such model.
        """
        request = pb.ListComparisonsRequest(model=model, page_size=PAGE_SIZE)
        for page in self._pages(self._comparison.ListComparisons, request):
            for comparison in page.comparisons:
                yield comparison_from_proto(comparison)
