"""Predictions and the labels that come later, joined by prediction id in whatever order they arrive."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from modelward.drift import Outcome, RecordedOutcomes
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import VersionRef
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import version_row
from modelward_server.storage.outcome_tables import OutcomeRow

SAID = tuple(field.name for field in fields(Outcome) if field.name != "prediction_id")
NEEDS = {"probability": "prediction", "predicted_at": "prediction", "labelled_at": "label"}
"""What says nothing without another field."""
MOST_VIOLATIONS = 20
"""How many are told of one call: the trailers have room for a few thousand bytes."""


def record_outcomes(
    session: Session, ref: VersionRef, outcomes: Sequence[Outcome], actor: ActorContext
) -> RecordedOutcomes:
    """Keep predictions and labels that were checked, all of them or none.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
        InvalidField: an outcome says other than what came before under its id.
    """
    version_row(session, ref)
    before = _known(session, ref, {outcome.prediction_id for outcome in outcomes})
    after = _joined(before, outcomes, actor)
    _store(session, ref, before, after)
    return _counted(before, after, {outcome.prediction_id for outcome in outcomes if outcome.label is not None})


def check(outcomes: Iterable[Outcome]) -> None:
    """Refuse outcomes that say nothing, or half of something.

    Raises:
        InvalidField: names them, `MOST_VIOLATIONS` at the most.
    """
    violations = [violation for i, outcome in enumerate(outcomes) for violation in _defects(i, outcome)]
    if violations:
        raise InvalidField(*violations[:MOST_VIOLATIONS])


def _defects(i: int, outcome: Outcome) -> Iterator[FieldViolation]:
    if outcome.prediction is None and outcome.label is None:
        yield FieldViolation(f"outcomes[{i}]", "has neither prediction nor label; give one or both")
    for field, needed in NEEDS.items():
        if getattr(outcome, field) is not None and getattr(outcome, needed) is None:
            yield FieldViolation(f"outcomes[{i}].{field}", f"says nothing without {needed}; give both")


def _known(session: Session, ref: VersionRef, ids: set[str]) -> dict[str, Outcome]:
    columns = [getattr(OutcomeRow, field) for field in ("prediction_id", *SAID)]
    rows = select(*columns).where(
        OutcomeRow.model == ref.model, OutcomeRow.version == ref.version, OutcomeRow.prediction_id.in_(ids)
    )
    found = (dict(row._mapping) for row in session.execute(rows))
    return {row["prediction_id"]: Outcome(**row) for row in found}


def _joined(before: dict[str, Outcome], outcomes: Iterable[Outcome], actor: ActorContext) -> dict[str, Outcome]:
    """Return what is known of each id once the outcomes are added.

    Raises:
        InvalidField: names outcomes that contradict what came before, `MOST_VIOLATIONS` at the most.
    """
    after: dict[str, Outcome] = {}
    violations: list[FieldViolation] = []
    for i, outcome in enumerate(outcomes):
        known = after.get(outcome.prediction_id) or before.get(outcome.prediction_id) or Outcome(outcome.prediction_id)
        violations += _contradictions(i, known, outcome)
        after[outcome.prediction_id] = _merged(known, outcome, actor)
    if violations:
        raise InvalidField(*violations[:MOST_VIOLATIONS])
    return after


def _contradictions(i: int, known: Outcome, outcome: Outcome) -> Iterator[FieldViolation]:
    """Yield why an outcome cannot be added; a time that is left out contradicts nothing."""
    for part, times in ((("prediction", "probability"), "predicted_at"), (("label",), "labelled_at")):
        if getattr(known, part[0]) is None or getattr(outcome, part[0]) is None:
            continue
        told = [*part, times] if getattr(outcome, times) else [*part]
        other = [field for field in told if getattr(known, field) != getattr(outcome, field)]
        if other:
            differences = ", ".join(f"{field} {_said(known, field)}, now {_said(outcome, field)}" for field in other)
            yield FieldViolation(
                f"outcomes[{i}].prediction_id",
                f"{outcome.prediction_id!r} came before with {differences}; give each prediction an id of its own",
            )


def _said(outcome: Outcome, field: str) -> str:
    value = getattr(outcome, field)
    return "none" if value is None else f"{value}"


def _merged(known: Outcome, outcome: Outcome, actor: ActorContext) -> Outcome:
    says = known if outcome.prediction is None or known.prediction is not None else outcome
    labels = known if outcome.label is None or known.label is not None else outcome
    return Outcome(
        prediction_id=known.prediction_id,
        prediction=says.prediction,
        probability=says.probability,
        predicted_at=None if says.prediction is None else says.predicted_at or actor.at,
        label=labels.label,
        labelled_at=None if labels.label is None else labels.labelled_at or actor.at,
    )


def _store(session: Session, ref: VersionRef, before: dict[str, Outcome], after: dict[str, Outcome]) -> None:
    key = {"model": ref.model, "version": ref.version}
    changed = [outcome for outcome in after.values() if outcome != before.get(outcome.prediction_id)]
    new = [key | vars(outcome) for outcome in changed if outcome.prediction_id not in before]
    joined = [key | vars(outcome) for outcome in changed if outcome.prediction_id in before]
    if new:
        session.execute(insert(OutcomeRow), new)
    if joined:
        session.execute(update(OutcomeRow), joined)


def _counted(before: dict[str, Outcome], after: dict[str, Outcome], labelled: set[str]) -> RecordedOutcomes:
    pairs = [(before.get(outcome.prediction_id), outcome) for outcome in after.values()]
    return RecordedOutcomes(
        predictions=sum(_has(new, "prediction") and not _has(old, "prediction") for old, new in pairs),
        labels=sum(_complete(new) and not _complete(old) for old, new in pairs),
        waiting=sum(after[name].prediction is None for name in labelled),
    )


def _complete(outcome: Outcome | None) -> bool:
    return _has(outcome, "prediction") and _has(outcome, "label")


def _has(outcome: Outcome | None, field: str) -> bool:
    return outcome is not None and getattr(outcome, field) is not None
