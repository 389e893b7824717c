"""Client methods for comparisons and benchmarks of versions."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from modelward._async.uploading import AsyncUploading
from modelward._backtest import trials_to_proto
from modelward._coerce import AnyVersion, as_names, as_ref
from modelward._comparing import argument_names, feature_columns, put_data, put_metrics, put_replay
from modelward._field_names import rename_fields
from modelward._segments import as_segments
from modelward._transfers import MESSAGE_BYTES
from modelward.comparison import AnyMetric, Comparison, ComparisonProgress, ModelBenchmark
from modelward.errors import FieldViolation, InvalidField, ModelwardError, UnexpectedError
from modelward.folds import FoldComparison, check_fold_versions, tabulate_folds
from modelward.lifecycle import ModelVersion, VersionRef
from modelward.paging import AsyncPager
from modelward.replay import Replay
from modelward.shared.convert.benchmark import benchmark_from_proto
from modelward.shared.convert.common import ref_to_proto, report_format_to_proto, seconds_to_proto, time_to_proto
from modelward.shared.convert.comparison import comparison_from_proto, progress_from_proto
from modelward.shared.convert.lifecycle import version_from_proto
from modelward.shared.convert.segments import segments_to_proto
from modelward.shared.retry import Attempts
from modelward.v1 import comparison_pb2 as pb
from modelward.v1 import lifecycle_pb2

COMPARE_TIMEOUT_SECONDS = 900.0
"""Default timeout of a comparison, which loads and runs models one after the other."""
MAX_IDLE_SECONDS = 60.0
"""Idle timeout of a comparison; the server repeats its progress several times within it."""
PAGE_SIZE = 50


class AsyncComparisons(AsyncUploading):
    """Comparisons of versions."""

    async def compare(
        self,
        versions: Sequence[AnyVersion],
        X: Any = None,  # noqa: N803 - as scikit-learn calls it
        y: Any = None,
        *,
        replay: timedelta | Replay | None = None,
        predictions: Mapping[AnyVersion, Any] | None = None,
        ids: Any = None,
        returns: Any = None,
        cost_bps: float = 0.0,
        periods_per_year: float = 252.0,
        portfolio_weights: Any = None,
        equal_risk_times: int = 0,
        metrics: Sequence[AnyMetric | str] = (),
        primary: AnyMetric | str | None = None,
        sample_weights: Any = None,
        quantile: float = 0.5,
        baseline: AnyVersion | None = None,
        margin: float = 0.0,
        confidence_level: float = 0.95,
        block_rows: float = 0.0,
        horizon: int = 1,
        seed: int = 0,
        ignore: Collection[str] = (),
        time: Any = None,
        group: Any = None,
        by: Any = None,
        regimes: Mapping[str, Any] | None = None,
        trials: Any = None,
        on_progress: Callable[[ComparisonProgress], None] | None = None,
        timeout: float = COMPARE_TIMEOUT_SECONDS,
    ) -> Comparison:
        """Run versions on a test set, in the server, and test their differences for statistical significance.

        Args:
            versions: 2 to 50, of one model or of several, as `"spx-trend/3"` or as returned by the client.
            X: the features, shape (rows, features): a pandas or polars frame, an Arrow table, a mapping of columns, or
                an array. Columns are matched by the names that a model was trained with, where it knows them. Without
                `time` rows are assumed to be in time order. None when all versions have predictions. Or the URI of
                Parquet files that the server may read, or the path of a Parquet file, a `pathlib.Path`, which is
                uploaded as it is; then `y`, `returns`, `portfolio_weights`, `sample_weights`, `ids`, `time` and `group`
                are names of its columns.
            y: the labels, shape (rows,): classes or finite numbers. Rows whose label is missing, because it is late,
                are excluded.
            replay: compare on the rows that live monitoring saw in this duration up to now, instead of `X` and `y`,
                with the labels that `record_outcomes` recorded for their ids. A `Replay` also names the model and
                version that saw them. `returns`, `portfolio_weights`, `sample_weights`, `time` and `group` are then
                names of columns of these rows, and predictions are joined by their ids.
            predictions: predictions made elsewhere, by version; these versions are not run, and must not be repeated in
                `versions`. A sequence has one prediction for each row. A table has the columns `id` and `prediction`,
                for classes optionally `probability` (of the greater of two) or `probability:CLASS` for each, and
                optionally `position` and `return`, and metrics of your own: `loss:NAME` and `gain:NAME` with a value
                for each row, `time_loss:NAME` and `time_gain:NAME` with one for each time. Its rows are joined by their
                ids. Rows that a version lacks, or that have NaN in one of these columns, are excluded for all, and each
                result has its `coverage`. Where `X` is a URI they are tables.
            ids: of the rows of `X` and `y`, each once; numbered from 0 by default. Text, whole numbers (7, 7.0 and "7"
                are the same), UUIDs, dates or times; none missing.
            returns: the return of a position of 1 over each row, as a share, shape (rows,), for the trading metrics.
                Positions are those sent, or else the signs of the predictions; a version that sends a column `return`
                has these returns instead. Rows whose return is missing, because it is late, are excluded.
            cost_bps: transaction cost of changing the position by 1, in basis points.
            periods_per_year: number of rows per year.
            portfolio_weights: the weight of each position in the portfolio of its time, as a share of the capital,
                shape (rows,); at least 0, and not missing in rows that are compared. By default the rows of a time have
                equal shares.
            equal_risk_times: weight positions by equal risk: in inverse proportion to the standard deviation of so many
                returns of the same group that were known before the time. A group with fewer has no position. Needs
                `time` and `group`; 0 for equal shares.
            metrics: the metrics to compute, among them your own, such as `loss:slippage`; when empty all that apply and
                are not only computed on request.
            primary: the deciding metric; by default the first of `metrics`, or accuracy for classes and MSE for
                numbers.
            sample_weights: the weight of each row in the metrics, as scikit-learn's `sample_weight`, shape (rows,); at
                least 0, and not missing in rows that are compared. Metrics of the times, such as `sharpe` and
                `rank_ic`, take none.
            quantile: the quantile that the predictions estimate, above 0 and below 1, for the metric `pinball`.
            baseline: the version to compare with; the version in production by default, or else the first.
            margin: how much worse than the baseline is still acceptable, in the primary metric's own unit.
            confidence_level: of intervals and verdict, from 0.5 to 0.999.
            block_rows: mean block length of the bootstrap in rows, or in times where several rows have the same time; 1
                for independent ones; 0 lets the server estimate it.
            horizon: the number of times over which a label reaches, such as 5 for returns over five days: labels of
                neighbouring times then overlap, so blocks are at least as long.
            seed: of the resampling; the same seed and data give the same result.
            ignore: columns of `X` that are not features, such as "symbol", whatever their values.
            time: the time of each row, by which rows are sorted: the name of a column of `X`, or values of shape
                (rows,). Dates, datetimes (without a zone in UTC), ISO 8601 text or integers; none missing. The column
                is not a feature. By default that of the references of all versions, if `X` has it.
            group: the group of each row where several rows have the same time, such as its symbol: the name of a
                column, or values. Text or integers; none missing. A pair of time and group must not repeat. The column
                is not a feature; give its values where it is one.
            by: a segment for each value of this, such as the sector of each row, on which the versions are compared by
                the primary metric too: the name of a column of `X`, or values of shape (rows,). Text, booleans or
                integers, 100 values at most; rows in which it is missing are in no segment. The column is not a
                feature; give its values where it is one.
            regimes: a segment for each of these, by name: a pair (first, last) of dates, times or integers, both
                included and None for no limit, or `ClosureSessions`, sessions beside closures of an exchange.
            trials: the configurations that were tried to find these versions, as for `register`: their number deflates
                the Sharpe ratios, and their returns give the probability of overfitting. By default as many as the
                versions of each model were registered with.
            on_progress: called after each step.
            timeout: seconds in total; the call ends earlier if the server sends nothing for a minute.

        Returns:
            The comparison, with the best version first; the server stores it.

        Raises:
            VersionNotFound, ModelNotFound: a version does not exist.
            FormatNotExecutable: the server does not run a version's format.
            ModelFailed: fewer than two of the models produced predictions.
            InvalidField: the data, the label or a metric does not match the models, or a time or group is missing, of
                another kind or repeated.
            NothingToReplay: the server keeps no rows of live monitoring, or none of that time has a label.

        Examples:
            >>> found = await mw.compare(["spx-trend/1", "spx-trend/2"], X, y, primary="log_loss", margin=0.01)
            >>> print(found.primary_metric, found.baseline, found.conclusion.verdict in list(Verdict))
            log_loss spx-trend/1 True
            >>> sent = {"spx-trend/1": y, "spx-trend/2": 1 - y}  # predictions made elsewhere
            >>> print((await mw.compare([], None, y, predictions=sent)).best)
            spx-trend/1
        """
        sent = dict(predictions or {})
        named = [as_ref(version) for version in versions]
        named += [ref for ref in map(as_ref, sent) if ref not in named]
        request = pb.CompareModelsRequest(
            versions=map(ref_to_proto, named),
            baseline=None if baseline is None else ref_to_proto(as_ref(baseline)),
            margin=margin,
            confidence_level=confidence_level,
            block_rows=block_rows,
            horizon=horizon,
            seed=seed,
            cost_bps=cost_bps,
            periods_per_year=periods_per_year,
            quantile=quantile,
            equal_risk_times=equal_risk_times,
            trials=trials_to_proto(trials),
            segments=segments_to_proto(as_segments("", regimes)),
        )
        put_metrics(request, metrics, primary)
        columns = {"returns": returns, "portfolio_weights": portfolio_weights, "sample_weights": sample_weights}
        if replay is None:
            put_data(request, X, y, ids, sent, as_names(ignore, "ignore"), time, group, by, columns)
        else:
            put_replay(request, replay, X, y, ids, sent, as_names(ignore, "ignore"), time, group, by, columns)
        if isinstance(X, Path):
            request.data.blob = await self._upload_file("X", X, timeout)
        if request.ByteSize() > MESSAGE_BYTES:
            tables = [request.data, request.trials.returns, *(prediction.data for prediction in request.predictions)]
            await self._upload_tables([table for table in tables if table.WhichOneof("source")], timeout)
        try:
            answer = await self._compared(request, on_progress or (lambda _: None), timeout)
        except InvalidField as error:
            rename_fields(error, argument_names(request))
            raise
        if not answer.HasField("comparison"):
            raise UnexpectedError("the server ended the comparison without a verdict")
        return comparison_from_proto(answer.comparison)

    async def _compared(
        self, request: pb.CompareModelsRequest, on_progress: Callable[[ComparisonProgress], None], timeout: float
    ) -> pb.CompareModelsResponse:
        """Return the last message of a comparison's answer; an interrupted comparison is restarted, and counts once."""
        attempts = Attempts(timeout, patience=self._timeout)
        answer, progress = pb.CompareModelsResponse(), None
        while True:
            parts = self._receive(
                self._comparison.CompareModels, request, attempts.remaining(), idle_seconds=MAX_IDLE_SECONDS
            )
            try:
                async for answer in parts:
                    attempts.progressed()
                    if answer.progress.fraction and answer.progress != progress:  # Otherwise it is a heartbeat.
                        progress = answer.progress
                        on_progress(progress_from_proto(progress))
                return answer
            except ModelwardError as error:
                await asyncio.sleep(attempts.pause_before_next(error))

    async def benchmark(
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
        """Measure the latency of versions in the server, in turns so that load changes affect all alike.

        Args:
            versions: 1 to 20, as for `compare`.
            X: the features, as for `compare`; they are used repeatedly.
            batch_rows: rows per call; each size is measured separately.
            seconds: duration of the measurement for each version and size.
            confidence_level: of the intervals, from 0.5 to 0.999.
            ignore: columns of `X` that are not features, whatever their values.
            timeout: seconds in total.

        Returns:
            A benchmark for each version, in the order of `versions`; `benchmark[1000]` has the calls with 1,000 rows.

        Raises:
            VersionNotFound, ModelNotFound: a version does not exist.
            FormatNotExecutable: the server does not run a version's format.
            ModelFailed: no version ran. If some do, the reason of each other is in its `failure`.
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
            await self._upload_tables([request.data], timeout)
        answer = await self._call(self._comparison.BenchmarkModels, request, timeout)
        return list(map(benchmark_from_proto, answer.benchmarks))

    async def compare_folds(
        self, versions: Sequence[AnyVersion], *, baseline: AnyVersion | None = None
    ) -> FoldComparison:
        """Set the fold tables with which versions were registered side by side.

        Folds of two versions are the same if they have the same name and, where both recorded one, the same test
        window.

        Args:
            versions: at least one, of one model or of several, as for `compare`.
            baseline: the version from which differences are taken; by default the first.

        Returns:
            The folds, and for each version and metric the mean, the standard deviation and the paired difference from
            the baseline over the folds that both have.

        Raises:
            VersionNotFound, ModelNotFound: a version does not exist.
            InvalidField: no version is named, one is named twice, the baseline is none of them, or none has folds.

        Examples:
            >>> folds = [ValidationFold("2022", {"ic": 0.03}), ValidationFold("2023", {"ic": 0.01})]
            >>> v = await mw.register("spx-folds", model, folds=folds)
            >>> w = await mw.register("spx-folds", model, folds=[ValidationFold("2023", {"ic": 0.02})])
            >>> found = await mw.compare_folds([v, w])
            >>> print(found.summary(w, "ic").difference, found.summary(v, "ic").mean)
            0.01 0.02
        """
        refs = [as_ref(version) for version in versions]
        first = None if baseline is None else as_ref(baseline)
        check_fold_versions(refs, first)
        found = [await self._version_with_folds(ref) for ref in refs]
        table = tabulate_folds(found, first)
        if not table.rows:
            raise InvalidField(FieldViolation("versions", "were registered without folds; give them to `register`"))
        return table

    async def _version_with_folds(self, ref: VersionRef) -> ModelVersion:
        request = lifecycle_pb2.GetModelVersionRequest(version=ref_to_proto(ref))
        return version_from_proto((await self._call(self._lifecycle.GetModelVersion, request)).version)

    async def get_comparison(self, comparison_id: str) -> Comparison:
        """Return a stored comparison.

        Args:
            comparison_id: the id of the comparison, as in `Comparison.comparison_id`.

        Returns:
            The comparison.

        Raises:
            ComparisonNotFound: there is no comparison with this id.
        """
        request = pb.GetComparisonRequest(comparison_id=comparison_id)
        return comparison_from_proto((await self._call(self._comparison.GetComparison, request)).comparison)

    async def render_comparison(
        self,
        comparison_id: str,
        format: Literal["html", "png"] = "html",  # noqa: A002 - the word of the contract
    ) -> bytes:
        """Render a stored comparison.

        Args:
            comparison_id: the id of the comparison.
            format: `html` for a self-contained page with every number, in the reader's light or dark theme; `png` for
                an image, 2400 pixels wide, with the verdict and the intervals.

        Returns:
            The file's content.

        Raises:
            ComparisonNotFound: there is no comparison with this id.
            InvalidField: the format is unknown.
        """
        request = pb.RenderComparisonRequest(comparison_id=comparison_id, format=report_format_to_proto(format))
        return (await self._call(self._comparison.RenderComparison, request)).content

    def list_comparisons(self, model: str = "", *, created_before: datetime | None = None) -> AsyncPager[Comparison]:
        """List stored comparisons, the newest first.

        Args:
            model: only comparisons with a version of this model; all when empty.
            created_before: only comparisons made before this time.

        Returns:
            The comparisons; their pages are fetched as they are needed.

        Raises:
            ModelNotFound: there is no such model.
        """
        before = time_to_proto(created_before)
        request = pb.ListComparisonsRequest(model=model, created_before=before, page_size=PAGE_SIZE)
        return self._list(self._comparison.ListComparisons, request, "comparisons", comparison_from_proto)
