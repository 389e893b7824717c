"""Values that the ledger stores as JSON documents, in the contract's representation."""

from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar

from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message

from modelward.shared.convert import (
    abtest,
    backtest,
    comparison,
    findings,
    governance,
    inventory,
    lifecycle,
    retraining,
    reviews,
    schedules,
)
from modelward.v1 import (
    common_pb2,
    comparison_pb2,
    findings_pb2,
    inventory_pb2,
    lifecycle_pb2,
    retraining_pb2,
    reviews_pb2,
)

Value = TypeVar("Value")
M = TypeVar("M", bound=Message)


class Document(Generic[Value, M]):
    """Serializes values of one type to JSON and back; unknown fields, which a newer server wrote, are ignored."""

    def __init__(self, kind: type[M], to_proto: Callable[[Value], M], from_proto: Callable[[M], Value]) -> None:
        self._kind, self._to_proto, self._from_proto = kind, to_proto, from_proto

    def dump(self, value: Value) -> dict[str, Any]:
        return dict(MessageToDict(self._to_proto(value), preserving_proto_field_name=True))

    def load(self, stored: Any) -> Value:
        return self._from_proto(ParseDict(stored, self._kind(), ignore_unknown_fields=True))

    def dump_all(self, values: Iterable[Value]) -> list[Any]:
        return list(map(self.dump, values))

    def load_all(self, stored: Iterable[Any]) -> tuple[Value, ...]:
        return tuple(map(self.load, stored))


COMPARISON = Document(comparison_pb2.Comparison, comparison.comparison_to_proto, comparison.comparison_from_proto)
BACKTEST = Document(common_pb2.Backtest, backtest.backtest_to_proto, backtest.backtest_from_proto)
FOLD = Document(common_pb2.ValidationFold, backtest.fold_to_proto, backtest.fold_from_proto)
TRAINING_WINDOW = Document(lifecycle_pb2.TrainingWindow, lifecycle.training_to_proto, lifecycle.training_from_proto)
INVENTORY = Document(inventory_pb2.Inventory, inventory.inventory_to_proto, inventory.inventory_from_proto)
LINEAGE = Document(inventory_pb2.Lineage, inventory.lineage_to_proto, inventory.lineage_from_proto)
MODEL_SIGNATURE = Document(
    lifecycle_pb2.ModelSignature, lifecycle.model_signature_to_proto, lifecycle.model_signature_from_proto
)
ORIGIN = Document(lifecycle_pb2.Origin, lifecycle.origin_to_proto, lifecycle.origin_from_proto)
APPROVAL = Document(lifecycle_pb2.Approval, governance.approval_to_proto, governance.approval_from_proto)
FINDING = Document(findings_pb2.Finding, findings.finding_to_proto, findings.finding_from_proto)
REVIEW = Document(reviews_pb2.Review, reviews.review_to_proto, reviews.review_from_proto)
AB_TEST = Document(comparison_pb2.AbTest, abtest.ab_test_to_proto, abtest.ab_test_from_proto)
RETRAINING_POLICY = Document(
    retraining_pb2.RetrainingPolicy, retraining.retraining_policy_to_proto, retraining.retraining_policy_from_proto
)
TRIGGER = Document(retraining_pb2.Trigger, retraining.trigger_to_proto, retraining.trigger_from_proto)
DUE_REASON = Document(retraining_pb2.DueReason, retraining.reason_to_proto, retraining.reason_from_proto)
JOB_FAILURE = Document(retraining_pb2.JobFailure, retraining.failure_to_proto, retraining.failure_from_proto)
SCHEDULE_POLICY = Document(
    retraining_pb2.SchedulePolicy, schedules.schedule_policy_to_proto, schedules.schedule_policy_from_proto
)
