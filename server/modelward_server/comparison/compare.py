"""Run one comparison: run the models one after the other, compute their metrics, evaluate the differences."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.backtest import Overfitting
from modelward.comparison import AnyMetric, ComparisonProgress, Latency, ModelKind, ModelResult, SegmentComparison
from modelward.data import Columns
from modelward.drift import TimeWindow
from modelward.errors import FieldViolation, FormatNotExecutable, InvalidField, ModelFailed
from modelward.formats import formats
from modelward.kinds import without_times
from modelward.leaks import LeakCheck
from modelward.lifecycle import ArtifactFile, ModelVersion, Stage, VersionRef
from modelward.replay import ReplayedRows
from modelward.segments import SegmentAdjustment, Segments
from modelward_server.comparison.cost_curve import cost_curves
from modelward_server.comparison.coverage import CommonRows, answers_of, common_rows, complete_rows
from modelward_server.comparison.custom_metrics import add_custom_metrics, add_sample_weights
from modelward_server.comparison.leaks import CheckedRows, LeakChecks
from modelward_server.comparison.prediction_alignment import Answers, Ints, MatchedTable, match_ids, read_answers
from modelward_server.comparison.results import Results
from modelward_server.comparison.scoring import ChosenMetrics, choose_metrics, score_runs, split_column, split_named
from modelward_server.comparison.segments import compare_segments, part_of
from modelward_server.comparison.trading_returns import (
    Portfolios,
    TradingColumns,
    TradingTerms,
    deflated_sharpes,
    portfolios_of,
)
from modelward_server.comparison.verdict import Evaluation, EvaluationTerms, evaluate
from modelward_server.drift.row_order import ASSUMED, NO_KEYS, RowKeys, panel_of, window_of
from modelward_server.drift.row_segments import column_names, divide
from modelward_server.exchange_sessions import SessionRange, session_dates
from modelward_server.lifecycle.deletion import check_not_deleted
from modelward_server.lifecycle.files import model_file
from modelward_server.runtime.tracing import span
from modelward_server.sandbox.answers import PrefixCheck
from modelward_server.sandbox.sandbox import Limits, Run, run_model
from modelward_server.statistics.metrics import Scored
from modelward_server.statistics.panel import stacked
from modelward_server.storage.columns import select_rows, without

DEFAULT_LABEL = "label"
DEFAULT_CONFIDENCE = 0.95
DEFAULT_PERIODS = 252.0
"""Trading days of a year."""
DEFAULT_QUANTILE = 0.5
DEFAULT_ID = "id"
"""The column of ids if predictions are sent and no other column is named."""


@dataclass(frozen=True)
class ComparisonRequest:
    """The request of a comparison."""

    versions: Sequence[VersionRef]
    label: str = DEFAULT_LABEL
    metrics: Sequence[AnyMetric] = ()
    """Empty: all that apply."""
    primary: AnyMetric | None = None
    """None: the first of the metrics."""
    baseline: VersionRef | None = None
    """None: the version in production, or the first if none of them is."""
    margin: float = 0.0
    confidence_level: float = DEFAULT_CONFIDENCE
    block_rows: float = 0.0
    """0: estimated from the data."""
    horizon: int = 1
    """The number of times over which a label reaches: no estimated block is shorter."""
    seed: int = 0
    id: str = ""
    """The column of ids; empty when there is none."""
    time: str = ""
    """The column of times, by which rows are sorted; empty: that of the references, if the data have it."""
    group: str = ""
    """The column of groups."""
    segments: Segments | None = None
    """The segments on which the models are compared too."""
    returns: str = ""
    """The column of returns; empty: no trading metrics but the hit rate."""
    cost_bps: float = 0.0
    periods_per_year: float = DEFAULT_PERIODS
    quantile: float = DEFAULT_QUANTILE
    """The quantile that the predictions estimate, for the quantile loss."""
    portfolio_weights: str = ""
    """The column with the share of the capital of each position; empty: equal shares, or equal risk."""
    equal_risk_times: int = 0
    """The number of returns from which the volatilities of equal risk are estimated; 0: no equal risk."""
    sample_weights: str = ""
    """The column with the weight of each row in the metrics; empty: 1 each."""
    sessions: SessionRange | None = None
    """The sessions whose rows are compared; None: all rows."""

    def check(self) -> None:
        """Validate that the baseline is among the compared versions, and that one kind of weights is given.

        Raises:
            InvalidField: it is not; the message names the versions that are. Or there are two kinds of weights.
        """
        if self.portfolio_weights and self.equal_risk_times:
            fix = "cannot be combined with equal_risk_times; give one of them"
            raise InvalidField(FieldViolation("portfolio_weights", fix))
        if self.baseline is not None and self.baseline not in self.versions:
            names = ", ".join(map(str, self.versions))
            raise InvalidField(
                FieldViolation("baseline", f"{self.baseline} is not among the compared versions; choose one of {names}")
            )

    @property
    def trading_terms(self) -> TradingTerms:
        """How positions become the returns of a portfolio."""
        return TradingTerms(self.cost_bps, self.periods_per_year, self.equal_risk_times, self.horizon)

    @property
    def values(self) -> set[str]:
        """The named columns with values of the rows: labels, returns and weights."""
        return {self.label, self.returns, self.portfolio_weights, self.sample_weights} - {""}

    @property
    def columns(self) -> set[str]:
        """The named columns of the test data that are not features, without those of times and groups."""
        by = self.segments.column if self.segments else ""
        return {*self.values, self.id, by} - {""}


@dataclass(frozen=True)
class ComparisonResult:
    """The result of a comparison, before it gets an id and is stored."""

    kind: ModelKind
    rows: int
    label: str
    baseline: VersionRef
    primary: AnyMetric
    results: tuple[ModelResult, ...]
    """The best by the primary metric first, those that failed last."""
    evaluation: Evaluation
    notes: tuple[str, ...]
    window: TimeWindow | None
    overfitting: Overfitting | None = None
    segments: tuple[SegmentComparison, ...] = ()
    segment_adjustment: SegmentAdjustment | None = None
    replay: ReplayedRows | None = None


@dataclass(frozen=True)
class _Rows:
    """The columns of the test data that are not features, of all rows or of those that are compared.

    Attributes:
        truth: the labels; of all rows some may be missing.
        weights: the share of the capital of each row; None if no column is named.
        sample_weights: the weight of each row in the metrics, likewise.
        keyed: the columns with the times, groups and segments of the rows.
    """

    truth: NDArray[Any]
    returns: NDArray[Any] | None
    weights: NDArray[Any] | None
    sample_weights: NDArray[Any] | None
    keyed: Columns

    @property
    def complete(self) -> NDArray[np.bool_]:
        """Return which rows have a label, and a return where returns are used."""
        return complete_rows(self.truth, *([] if self.returns is None else [self.returns]))

    def on(self, rows: Ints) -> "_Rows":
        """Return some of the rows."""
        returns, weights, sample_weights = (
            None if one is None else one[rows] for one in (self.returns, self.weights, self.sample_weights)
        )
        return _Rows(self.truth[rows], returns, weights, sample_weights, select_rows(self.keyed, rows))


@dataclass(frozen=True)
class _Prepared:
    """The prepared inputs: the test data, and the predictions that were sent."""

    rows: _Rows
    features: Columns
    sent: Mapping[VersionRef, Answers]


@dataclass
class RunningComparison:
    """A running comparison: iterate over `progress`; afterwards `answer` is set.

    Args:
        request: the request of the comparison.
        versions: the compared versions.
        columns: the test data, sorted by `keys`.
        limits: the limits of each model's process.
        blob_path: maps the SHA-256 of a file to the path of its verified content.
        turn: limits how many models run at once on this server; concurrent models would distort the latencies.
        predictions: the predictions of versions that were run elsewhere and are not run here.
        trials: the number of trials of each model.
        run: computes the predictions of a version from its file, if not on this machine; `columns` then need no
            features.
        names: the columns of the reference of each version that has one, in their order.
        keys: the columns with the times and groups of the rows.
        overfitting: what the trials that the request tells of say; they count instead of `trials`.
        leaks: checks the versions for leaks; None for none.
        replay: the rows of live monitoring that `columns` are; None if they were sent.
    """

    request: ComparisonRequest
    versions: Sequence[ModelVersion]
    columns: Columns
    limits: Limits
    blob_path: Callable[[str], Path]
    turn: asyncio.Semaphore
    predictions: Mapping[VersionRef, Columns] = field(default_factory=dict)
    trials: Mapping[str, int] = field(default_factory=dict)
    run: Callable[[ModelVersion, Path], Awaitable[Run]] | None = None
    names: Mapping[VersionRef, Sequence[str]] = field(default_factory=dict)
    keys: RowKeys = NO_KEYS
    overfitting: Overfitting | None = None
    leaks: LeakChecks | None = None
    replay: ReplayedRows | None = None
    answer: ComparisonResult = field(init=False)

    async def progress(self) -> AsyncIterator[ComparisonProgress]:
        """Run the comparison, and yield its progress.

        Raises:
            FormatNotExecutable: the server does not run a version's format.
            ModelFailed: fewer than two models answered; the message states the failures of the others.
            InvalidField: the data, the label or the metrics do not fit the models.
        """
        to_run = [version for version in self.versions if version.ref not in self.predictions]
        files = {version.ref: main_file(version, self.limits.allow_pickle) for version in to_run}
        work = await asyncio.to_thread(self._prepare, bool(to_run) and self.run is None)
        answers, latencies = dict(work.sent), dict[VersionRef, Latency | None]()
        failures: dict[VersionRef, str] = {}
        prefixes: dict[VersionRef, PrefixCheck | None] = {}
        for number, version in enumerate(to_run, start=1):
            try:
                run = await self._run(version, files[version.ref], work.features)
                answers[version.ref], latencies[version.ref] = answers_of(run), run.latency
                prefixes[version.ref] = run.prefix
                done = f"ran {version} on {len(work.rows.truth):,} rows"
            except ModelFailed as failed:
                failures[version.ref] = done = failed.message
            yield ComparisonProgress(number / (len(to_run) + 1), done)
        with span("judge"):
            leaks = await asyncio.to_thread(self._check_leaks, prefixes, work)
            self.answer = await asyncio.to_thread(self._answer, answers, latencies, failures, leaks, work)
        yield ComparisonProgress(1.0, "measured and judged")

    def _prepare(self, runs: bool) -> _Prepared:
        """Align the predictions that were sent, and split the test data; `runs` states if a model needs features."""
        request, columns, tables = self.request, self.columns, dict[VersionRef, MatchedTable]()
        if self.predictions:
            id_column = request.id or DEFAULT_ID
            tables = match_ids(columns, self.predictions, id_column)
            columns = without(columns, {id_column})
        if request.segments is not None:
            divide(columns, self.keys, request.segments)  # Refuses wrong ones before the models run.
        special = column_names(columns, self.keys, request.segments)
        keyed = {name: columns[name] for name in special}
        others = {request.id, *special} - request.values
        columns = without(columns, others)
        truth, features = split_column(columns, request.label, "label")
        returns, features = split_named(features, request.returns, "returns")
        weights, features = split_named(features, request.portfolio_weights, "portfolio_weights")
        sample_weights, features = split_named(features, request.sample_weights, "sample_weights")
        features = without_times(features)
        if runs and not features:
            raise InvalidField(FieldViolation("data", "has no column of features; send those too"))
        sent = {
            version: read_answers(table, truth, f"predictions[{number}].data")
            for number, (version, table) in enumerate(tables.items())
        }
        return _Prepared(_Rows(truth, returns, weights, sample_weights, keyed), features, sent)

    async def _run(self, version: ModelVersion, file: ArtifactFile, features: Columns) -> Run:
        path = await asyncio.to_thread(self.blob_path, file.sha256)
        if self.run:
            return await self.run(version, path)
        async with self.turn:
            return await run_model(version, path, features, self.limits, self.names.get(version.ref, ()))

    def _answer(
        self,
        answers: Mapping[VersionRef, Answers],
        latencies: Mapping[VersionRef, Latency | None],
        failures: Mapping[VersionRef, str],
        leaks: Mapping[VersionRef, tuple[LeakCheck, ...]],
        work: _Prepared,
    ) -> ComparisonResult:
        if len(answers) < 2:
            reasons = "; ".join(failures.values())
            raise ModelFailed(f"fewer than two models answered, so there is nothing to compare: {reasons}")
        wanted = "label" if work.rows.returns is None else "label and return"
        common = common_rows(answers, work.rows.complete, wanted)
        rows = work.rows.on(common.rows)
        scored, portfolios = self._scored(common, rows)
        baseline = self._baseline(scored)
        places = list(scored)
        chosen = choose_metrics(
            self.request.metrics, self.request.primary, list(scored.values()), places.index(baseline)
        )
        undefined = {(places[place], metric): why for (place, metric), why in chosen.undefined.items()}
        terms = self._terms(chosen, baseline, frozenset(undefined))
        evaluation = evaluate(scored, terms)
        segments, adjustment = self._on_segments(scored, rows, portfolios, terms)
        results = Results(
            evaluation,
            {**dict.fromkeys(answers), **latencies},
            deflated_sharpes(scored, self.trials, self.overfitting),
            cost_curves(scored, self.request.cost_bps),
            {**failures, **common.failures},
            common.coverage,
            undefined,
            leaks,
        )
        notes = (
            *([self.replay.summary] if self.replay else []),
            *common.notes,
            *evaluation.notes,
            *chosen.notes,
            *portfolios.notes(),
            *results.notes(),
            *self._assumed(),
            *self._sessions(rows.keyed),
        )
        kind = ModelKind.CLASSIFICATION if scored[baseline].classes else ModelKind.REGRESSION
        return ComparisonResult(
            kind,
            len(common.rows),
            self.request.label,
            baseline,
            chosen.primary,
            results.public(),
            evaluation,
            notes,
            window_of(rows.keyed, self.keys),
            self.overfitting,
            segments,
            adjustment,
            self.replay,
        )

    def _on_segments(
        self,
        scored: Mapping[VersionRef, Scored],
        rows: _Rows,
        portfolios: Portfolios,
        terms: EvaluationTerms,
    ) -> tuple[tuple[SegmentComparison, ...], SegmentAdjustment | None]:
        """Compare the versions that have the primary metric on segments of the compared rows."""
        request = self.request
        if request.segments is None:
            return (), None
        able = {version: one for version, one in scored.items() if (version, terms.primary) not in terms.undefined}

        def part(places: Ints) -> Mapping[VersionRef, Scored]:
            models = part_of(able, places)
            traded = portfolios.add_to(able, places)
            return {one: replace(models[one], trading_returns=traded[one].trading_returns) for one in models}

        divided = divide(rows.keyed, self.keys, request.segments)
        return compare_segments(divided, part, replace(terms, undefined=frozenset()))

    def _check_leaks(
        self, prefixes: Mapping[VersionRef, PrefixCheck | None], work: _Prepared
    ) -> dict[VersionRef, tuple[LeakCheck, ...]]:
        """Return the leaks of each version; the whole test set counts, also rows that some version did not answer."""
        checks, keyed = self.leaks, work.rows.keyed
        if checks is None:
            return {}
        panel = panel_of(keyed, self.keys)
        rows = CheckedRows(work.features, None if panel is None else panel.times, window_of(keyed, self.keys))
        return {version.ref: checks.of(version, rows, prefixes.get(version.ref)) for version in self.versions}

    def _scored(self, common: CommonRows, rows: _Rows) -> tuple[dict[VersionRef, Scored], Portfolios]:
        """Combine the predictions with the labels, weights and returns of the same rows, and return the portfolios."""
        request, times = self.request, panel_of(rows.keyed, self.keys)
        panel = stacked(times)
        runs = {version: one.run for version, one in common.answers.items()}
        scored = {
            version: replace(one, panel=panel, quantile=request.quantile)
            for version, one in score_runs(runs, rows.truth).items()
        }
        scored = add_sample_weights(scored, rows.sample_weights)
        scored = add_custom_metrics(scored, common.answers, list(self.predictions))
        trading = TradingColumns(rows.returns, rows.weights, times)
        portfolios = portfolios_of(scored, common.answers, trading, request.trading_terms)
        return portfolios.add_to(scored), portfolios

    def _terms(
        self, chosen: ChosenMetrics, baseline: VersionRef, undefined: frozenset[tuple[VersionRef, AnyMetric]]
    ) -> EvaluationTerms:
        request = self.request
        return EvaluationTerms(
            chosen.metrics,
            chosen.primary,
            baseline,
            request.margin,
            request.confidence_level,
            request.block_rows,
            request.seed,
            request.horizon,
            undefined,
        )

    def _assumed(self) -> tuple[str, ...]:
        """Return what is assumed about rows without a time, if blocks of neighbouring rows are drawn."""
        return (ASSUMED,) if not self.keys.time and self.request.block_rows != 1 else ()

    def _sessions(self, keyed: Columns) -> tuple[str, ...]:
        """Return which sessions are compared, if only some are, and how many of them have rows."""
        sessions = self.request.sessions
        if sessions is None:
            return ()
        found = len(np.unique(session_dates(keyed[self.keys.time], sessions.calendar)))
        return (f"compared on {sessions}; {found} of them have rows in the test set",)

    def _baseline(self, runs: Mapping[VersionRef, Scored]) -> VersionRef:
        """Return the requested baseline, or the version in production, or the first version.

        Raises:
            ModelFailed: the baseline did not answer.
        """
        champions = [version.ref for version in self.versions if version.stage is Stage.PRODUCTION]
        baseline = self.request.baseline or next(iter(champions), None) or next(iter(runs))
        if baseline not in runs:
            raise ModelFailed(
                f"the baseline {baseline} did not answer; fix it or choose another baseline",
                model=baseline.model,
                version=baseline.version,
            )
        return baseline


def main_file(version: ModelVersion, allow_pickle: bool) -> ArtifactFile:
    """Return the file of a version that is run.

    Raises:
        ArtifactDeleted: its files were deleted.
        FormatNotExecutable: the server does not run its format, or the file is missing.
    """
    check_not_deleted(version)
    known = formats().get(version.format)
    if known is None:
        raise _not_run(version, f"is stored as {version.format}, which the server does not run")
    if known.runs_code and not allow_pickle:
        why = f"is stored as {known.name}, which would run its author's code; the operator may allow it"
        raise _not_run(version, f"{why} with MODELWARD_ALLOW_PICKLE")
    name, file = model_file(version, known)
    if file is None:
        raise _not_run(version, f"has no {name}, which the server would run")
    return file


def _not_run(version: ModelVersion, why: str) -> FormatNotExecutable:
    return FormatNotExecutable(f"{version} {why}", model=version.model, version=version.version, format=version.format)
