"""Convert A/B tests and their outcomes to requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from modelward._argument_types import dataclass_type
from modelward._coerce import AnyVersion, as_ref
from modelward._columns import as_metrics
from modelward.abtest import AbMetric, AbOutcome, AbTest, RecordedAbOutcomes
from modelward.errors import FieldViolation, InvalidField
from modelward.shared.convert.abtest import ab_outcome_to_proto
from modelward.shared.convert.common import ref_to_proto
from modelward.shared.row_ids import id_text
from modelward.shared.suggestions import nearest
from modelward.v1 import comparison_pb2 as pb

BATCH = 10_000
BATCH_BYTES = 3 << 20
"""Maximum number of outcomes in one call, which keeps a message well under the 4 MiB limit."""


def name_of(test: AbTest | str) -> str:
    return test if isinstance(test, str) else test.test


def as_metric(metric: AbMetric | str) -> AbMetric:
    return AbMetric(metric) if isinstance(metric, str) else metric


def to_variants(variants: Mapping[str, AnyVersion], weights: Mapping[str, float]) -> list[pb.Variant]:
    """Create the variants from versions by name.

    Raises:
        InvalidField: a weight is not above 0, or names an unknown variant.
    """
    for name, weight in weights.items():
        if name not in variants:
            fix = f"{name!r} is not a variant; the variants are {', '.join(variants)}{nearest(name, variants)}"
            raise InvalidField(FieldViolation("weights", fix))
        if not weight > 0:
            raise InvalidField(FieldViolation("weights", f"{name} has the weight {weight}; give more than 0"))
    return [
        pb.Variant(name=name, version=ref_to_proto(as_ref(version)), weight=weights.get(name, 1.0))
        for name, version in variants.items()
    ]


def batches(outcomes: Iterable[AbOutcome]) -> Iterator[Sequence[pb.AbOutcome]]:
    """Yield the outcomes in batches of the size of one call."""
    batch: list[pb.AbOutcome] = []
    size = 0
    for number, outcome in enumerate(outcomes):
        message = _message(outcome, f"outcomes[{number}]")
        room = message.ByteSize() + 8
        if batch and (len(batch) == BATCH or size + room > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += room
    if batch:
        yield batch


def _message(outcome: AbOutcome, field: str) -> pb.AbOutcome:
    """Convert an outcome; validated only if the conversion fails, because there may be many."""
    named = replace(outcome, outcome_id=id_text(outcome.outcome_id, f"{field}.outcome_id"))
    if isinstance(outcome.metrics, Mapping) and isinstance(outcome.before, Mapping):
        metrics, before = (as_metrics(getattr(outcome, name), f"{field}.{name}") for name in ("metrics", "before"))
        named = replace(named, metrics=metrics, before=before)
    try:
        return ab_outcome_to_proto(named, field)
    except (TypeError, ValueError, AttributeError, InvalidField):
        return ab_outcome_to_proto(dataclass_type(AbOutcome).convert(named, field), field)


def total(recorded: Sequence[RecordedAbOutcomes]) -> RecordedAbOutcomes:
    """Sum the results of several batches."""
    return RecordedAbOutcomes(
        recorded=sum(one.recorded for one in recorded),
        repeated_ids=sum(one.repeated_ids for one in recorded),
        mismatched=sum(one.mismatched for one in recorded),
        outside=sum(one.outside for one in recorded),
    )
