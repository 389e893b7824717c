# Derived from modelward/_async/scoring.py by client/unasync.py: change that one.
"""Client methods that let the server predict."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from modelward._scoring import (
    ScoreRequests,
    as_iterable,
    options_of,
    put_rows,
    row_ids,
    scores_of,
    select,
    sendable_columns,
    table_parts,
    with_left_out,
)
from modelward._sync.connection import Connection
from modelward.errors import FieldViolation, InvalidField, ModelwardError, UnexpectedError
from modelward.lifecycle import Stage
from modelward.paging import Pager
from modelward.scoring import ScoreRecord, Scores
from modelward.shared.convert.common import time_to_proto
from modelward.shared.convert.scoring import score_record_from_proto
from modelward.shared.retry import CALL_ERRORS, STATUS_LOST
from modelward.v1 import scoring_pb2 as pb

PAGE_SIZE = 200


class Scoring(Connection):
    """Predictions that the server makes, by what is in production or was at a past time."""

    def score(
        self,
        model: str,
        data: Any,
        *,
        stage: Stage | str | None = None,
        version: int | None = None,
        alias: str | None = None,
        as_of: datetime | None = None,
        names: Sequence[str] | None = None,
        top_k: int = 0,
        row_errors: bool = False,
        ab_test: str = "",
        unit: str = "",
        observe: bool = False,
        ids: Iterable[object] = (),
        request_id: str = "",
        timeout: float | None = None,
    ) -> Scores:
        """Predict rows with the version in production, or with that of a stage, a number or an alias.

        Args:
            model: the model's name.
            data: the rows, shape (rows, columns): a pandas or polars frame, an Arrow table, a mapping of columns, or an
                array. Columns are found by their names; further columns are ignored, also those with values that
                cannot be sent. Missing values are passed on to
                the model. 4 MiB at most; `score_stream` takes more.
            stage: the stage whose version predicts; production by default.
            version: the version's number; at most one of `stage`, `version` and `alias` is given.
            alias: `"production"`, `"staging"`, or `"latest"` for the highest number.
            as_of: predict with the version that held the stage or alias at this past time, with its time zone.
            names: the columns of an array; `x0`, `x1`, ... by default.
            top_k: only this many rows, those with the highest scores: the predicted number, or of two classes the
                probability of the second. 0 for all.
            row_errors: list the rows for which the model fails in `failed`, and answer the others; otherwise one such
                row fails the call.
            ab_test: the A/B test that chooses the version, by the variant of `unit`; not with a version, stage, alias
                or past time. That the unit has seen its variant is recorded.
            unit: with `ab_test`, the unit, such as an account.
            observe: monitor the rows as live data of the version, and record the predictions for labels that arrive
                later by `record_outcomes`. Both happen after the answer. Requires the role trainer.
            ids: with `observe`, the id of each row's prediction: text, whole numbers, UUIDs, dates or times, as for
                `record_outcomes`. A call that is repeated with them is observed once.
            request_id: a UUID that you choose, which identifies the call in the log of scores; a new one by default.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The predictions, with the version, digest and stage that answered.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            NothingResolved: no version holds that stage or alias.
            ModelHalted: the model is halted.
            InvalidField: a column that the model takes is missing, it has no score to rank by, the A/B test is about
                another model, or the version has no reference with which rows could be observed.
            ModelFailed: the model raised, crashed or exceeded a limit.
            AbTestNotFound: there is no such A/B test.
            RoleTooLow: only trainers may observe.
            LimitReached: too many calls wait for the model, or the server has no room to load it.
            NotServed: the server was started without `--scoring-processes`.

        Examples:
            >>> found = mw.score("spx-trend", X)
            >>> print(found.version, found.stage, len(found.predictions))
            spx-trend/1 production 400
        """
        options = options_of((), as_of, top_k, row_errors, ab_test, unit, observe)
        select(options, stage, version, alias)
        request = pb.ScoreRequest(model=model, options=options, ids=row_ids(ids), request_id=request_id)
        found = self._score(request, data, names, timeout)
        if not found:
            raise UnexpectedError("the server answered without predictions")
        return found[0]

    def score_versions(
        self,
        model: str,
        data: Any,
        versions: Sequence[int | str],
        *,
        as_of: datetime | None = None,
        names: Sequence[str] | None = None,
        top_k: int = 0,
        row_errors: bool = False,
        observe: bool = False,
        ids: Iterable[object] = (),
        request_id: str = "",
        timeout: float | None = None,
    ) -> list[Scores]:
        """Predict the same rows with several versions of a model, such as a champion and its challengers.

        Args:
            model: the model's name.
            data: the rows, as for `score`.
            versions: up to 10: numbers, or the aliases `"production"`, `"staging"` and `"latest"`.
            as_of: predict with the versions that held the aliases at this past time, with its time zone.
            names: the columns of an array; `x0`, `x1`, ... by default.
            top_k: only this many rows of each version, those with the highest scores, as for `score`.
            row_errors: list the rows for which a model fails, as for `score`.
            observe: monitor the rows and record the predictions, of each of the versions, as for `score`.
            ids: with `observe`, the id of each row's prediction, as for `score`.
            request_id: a UUID that you choose, which identifies the call in the log of scores; a new one by default.
            timeout: seconds for the call with all its attempts; those of the client by default.

        Returns:
            The predictions of each version, in this order. All were chosen at the same position in the order of
            changes.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            NothingResolved: no version holds that stage or alias.
            ModelHalted: the model is halted.
            InvalidField: a column that the model takes is missing, a model has no score to rank by, or a version has no
                reference with which rows could be observed.
            ModelFailed: the model raised, crashed or exceeded a limit.
            RoleTooLow: only trainers may observe.
            LimitReached: too many calls wait for the model, or the server has no room to load it.
            NotServed: the server was started without `--scoring-processes`.

        Examples:
            >>> champion, challenger = mw.score_versions("spx-trend", X, ["production", "staging"])
            >>> print(champion.version, challenger.version)
            spx-trend/1 spx-trend/2
        """
        options = options_of(versions, as_of, top_k, row_errors, observe=observe)
        request = pb.ScoreRequest(model=model, options=options, ids=row_ids(ids), request_id=request_id)
        return self._score(request, data, names, timeout)

    def score_stream(
        self,
        model: str,
        tables: Iterable[object],
        *,
        stage: Stage | str | None = None,
        version: int | None = None,
        alias: str | None = None,
        as_of: datetime | None = None,
        names: Sequence[str] | None = None,
        row_errors: bool = False,
        ab_test: str = "",
        unit: str = "",
        observe: bool = False,
        ids: Iterable[Iterable[object]] | None = None,
        timeout: float | None = None,
    ) -> Iterator[Scores]:
        """Predict tables one after the other with one version, which is chosen once.

        Args:
            model: the model's name.
            tables: each as the `data` of `score`; the next one is taken when those before it were sent. One of more
                than 2 MiB is sent, and answered, in parts.
            stage: the stage whose version predicts; production by default.
            version: the version's number; at most one of `stage`, `version` and `alias` is given.
            alias: `"production"`, `"staging"`, or `"latest"` for the highest number.
            as_of: predict with the version that held the stage or alias at this past time, with its time zone.
            names: the columns of an array; `x0`, `x1`, ... by default.
            row_errors: list the rows for which the model fails, as for `score`.
            ab_test: the A/B test that chooses the version, as for `score`.
            unit: with `ab_test`, the unit.
            observe: monitor the rows and record the predictions, as for `score`.
            ids: with `observe`, for each table the ids of its rows' predictions, as for `score`.
            timeout: seconds for the whole stream; no limit by default.

        Yields:
            The predictions of each table or part, in order. The first error ends the stream.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
            NothingResolved: no version holds that stage or alias.
            ModelHalted: the model is halted.
            InvalidField: a column that the model takes is missing, the A/B test is about another model, there is not
                one id for each row, or the version has no reference with which rows could be observed.
            ModelFailed: the model raised, crashed or exceeded a limit.
            RoleTooLow: only trainers may observe.
            LimitReached: too many calls wait for the model, or the server has no room to load it.
            NotServed: the server was started without `--scoring-processes`.
            AbTestNotFound: there is no such A/B test.
        """
        options = options_of((), as_of, 0, row_errors, ab_test, unit, observe)
        select(options, stage, version, alias)
        self._check_open()
        left_out: list[FieldViolation] = []
        parts = table_parts(as_iterable(tables, "tables"), names, ids, left_out)
        outgoing = ScoreRequests(pb.ScoreStreamStart(model=model, options=options), parts)
        call = self._scoring.ScoreStream(outgoing, timeout=timeout, metadata=self._metadata)
        try:
            for answer in call:
                outgoing.answered()
                for one in scores_of(self._read(answer)):
                    yield one
        except CALL_ERRORS as error:
            cause = outgoing.failure or self._cause(self._failure(error), outgoing)
            raise with_left_out(cause, left_out) from None
        finally:
            call.cancel()

    def _cause(self, failure: ModelwardError, sent: ScoreRequests) -> ModelwardError:
        """Return why a stream has failed; where its status was lost, by beginning it again where it failed."""
        try:
            for requests in sent.repetitions() if failure.message == STATUS_LOST else ():
                for _ in self._scoring.ScoreStream(iter(requests), timeout=self._timeout, metadata=self._metadata):
                    pass
        except CALL_ERRORS as error:
            return self._failure(error)
        return failure

    def list_scores(
        self,
        model: str = "",
        *,
        version: int = 0,
        request_id: str = "",
        actor: str = "",
        scored_after: datetime | None = None,
        scored_before: datetime | None = None,
    ) -> Pager[ScoreRecord]:
        """List which versions answered which calls, the newest first: what the server logged, by `score_log`.

        An answer is in the list about a second after it was given. The server keeps records for `keep_scores_days`.

        Args:
            model: only answers of this model; of all models when empty.
            version: only answers of the model's version with this number; of all when 0.
            request_id: only answers to the call with this id; to all when empty.
            actor: only answers to this client; to all when empty.
            scored_after: only answers at this time or later.
            scored_before: only answers before this time.

        Returns:
            The records; their pages are fetched as they are needed.

        Raises:
            ModelNotFound, VersionNotFound: it does not exist.
        """
        request = pb.ListScoresRequest(
            model=model,
            version=version,
            scored_request_id=request_id,
            actor=actor,
            scored_after=time_to_proto(scored_after),
            scored_before=time_to_proto(scored_before),
            page_size=PAGE_SIZE,
        )
        return self._list(self._scoring.ListScores, request, "scores", score_record_from_proto)

    def _score(
        self, request: pb.ScoreRequest, data: Any, names: Sequence[str] | None, timeout: float | None
    ) -> list[Scores]:
        left_out: list[FieldViolation] = []
        rows = put_rows(request, sendable_columns(data, names, left_out))
        try:
            answer = self._call(self._scoring.Score, rows, timeout)
        except InvalidField as error:
            raise with_left_out(error, left_out) from None
        return list(scores_of(answer, request.options.top_k))
