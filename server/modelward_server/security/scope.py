"""Determination of the models that a message is about, to enforce the restriction of clients to some models."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelward.errors import BlobsMissing, ModelNotAllowed
from modelward.v1 import common_pb2
from modelward_server.identity import Identity, current
from modelward_server.security.permissions import Reach
from modelward_server.storage.ab_tables import AbTestModelRow, AbTestRow
from modelward_server.storage.approval_tables import ApprovalRow
from modelward_server.storage.comparison_tables import ComparedModelRow, ComparisonRow
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.drill_tables import DrillRow
from modelward_server.storage.finding_tables import FindingRow
from modelward_server.storage.locations import model_of
from modelward_server.storage.own_blobs import not_owned
from modelward_server.storage.retraining_tables import JobRow, ScheduleRow

PACKAGE = "modelward.v1"
NAMES = {"model", "models"}
"""The contract's names for fields that hold names of models."""
NAMES_ELSEWHERE = {
    "modelward.v1.Model.name",
    "inference.ModelReadyRequest.name",
    "inference.ModelMetadataRequest.name",
    "inference.ModelInferRequest.model_name",
}
"""The fields for names of models that are called differently."""


INFER = "inference.ModelInferRequest"
"""The request whose parameters, in a map, may name an A/B test."""


class Meaning(Enum):
    """How a field relates a message to models."""

    MODEL = "the name of a model"
    LOCATION = "a URI from which the server reads: the contract marks these fields"
    CONTENT = "the SHA-256 of an uploaded content: the contract marks these fields"
    ID = "the id of an entity that belongs to models"


ModelsOf = Callable[[str], Select[str]]


def _models_of_test(key: str) -> Select[str]:
    models = select(AbTestModelRow.model).join(AbTestRow, AbTestRow.sequence == AbTestModelRow.sequence)
    return models.where(AbTestRow.test == key)


BY_ID: Mapping[str, ModelsOf] = {
    "report_id": lambda key: select(DriftReportRow.model).where(DriftReportRow.report_id == key),
    "job_id": lambda key: select(JobRow.model).where(JobRow.job_id == key),
    "schedule_id": lambda key: select(ScheduleRow.model).where(ScheduleRow.schedule_id == key),
    "comparison_id": lambda key: (
        select(ComparedModelRow.model)
        .join(ComparisonRow, ComparisonRow.sequence == ComparedModelRow.sequence)
        .where(ComparisonRow.comparison_id == key)
    ),
    "approval_id": lambda key: select(ApprovalRow.model).where(ApprovalRow.approval_id == key),
    "finding_id": lambda key: select(FindingRow.model).where(FindingRow.finding_id == key),
    "drill_id": lambda key: select(DrillRow.model).where(DrillRow.drill_id == key),
    "test": _models_of_test,
    "ab_test": _models_of_test,
}
"""Maps fields with the id of an entity to a query for the entity's models."""


def check_request(session: Session, identity: Identity, request: Message, reach: Reach, *, first: bool) -> None:
    """Refuse a request about models that the client may not reach.

    Models that the client may not reach and those that do not exist are refused identically, so that a refusal reveals
    nothing.

    Args:
        first: whether it is the first message of its call; the following ones need not name a model.

    Raises:
        ModelNotAllowed: it names such a model, or names none where that means all of them.
        BlobsMissing: it refers to a content for which the client has not proved possession of the bytes.
    """
    mentioned = list(mentions(request))
    for field, meaning, value in mentioned:
        if meaning is Meaning.MODEL and not identity.may_reach(value):
            raise _refusal(identity, f"{value!r} is not one of them")
        if meaning is Meaning.LOCATION and not _is_own(identity, model_of(value)):
            raise _refusal(identity, f"{value!r} is not in one of them; upload the files, or name their models:/ URI")
        if meaning is Meaning.ID and not _owns(session, identity, field, value, request):
            raise _refusal(identity, f"the {field} {value!r} is not of one of them")
    contents = {value for _, meaning, value in mentioned if meaning is Meaning.CONTENT}
    models = {value for _, meaning, value in mentioned if meaning is Meaning.MODEL}
    if missing := contents and not_owned(session, identity.name, contents, models):
        fix = "were not sent by you, and are in no version of the models that you name; upload them first (UploadBlobs)"
        raise BlobsMissing(f"{len(missing)} of {len(contents)} contents {fix}", missing=",".join(sorted(missing)))
    if first and not mentioned and reach in {Reach.NAMED, Reach.WHOLE}:
        raise _refusal(identity, "name one in the request")


def check_reach(model: str) -> None:
    """Refuse a model that the client of the current call may not reach, where the request does not name it.

    Raises:
        ModelNotAllowed: the client may reach other models only.
    """
    client = current.get()
    if client and not client.may_reach(model):
        raise _refusal(client, f"{model!r} is not one of them")


def names_only_visible(message: Message, identity: Identity) -> bool:
    """Whether the client may reach every model that a message names."""
    return all(identity.may_reach(value) for _, meaning, value in mentions(message) if meaning is Meaning.MODEL)


def visible_part(answer: Message, identity: Identity) -> Message:
    """Return an answer without the entries about models that the client may not reach."""
    visible = type(answer)()
    visible.CopyFrom(answer)
    for field, value in answer.ListFields():
        if field.message_type and field.is_repeated and not _is_map(field):
            entries = [entry for entry in value if names_only_visible(entry, identity)]
            visible.ClearField(field.name)
            getattr(visible, field.name).extend(entries)
    return visible


def _refusal(identity: Identity, why: str) -> ModelNotAllowed:
    allowed = " or ".join(f"{prefix}*" for prefix in identity.models)
    return ModelNotAllowed(f"{identity.name} may only reach {allowed}: {why}", models=",".join(identity.models))


def _is_own(identity: Identity, model: str | None) -> bool:
    return model is not None and identity.may_reach(model)


def _owns(session: Session, identity: Identity, field: str, key: str, request: Message) -> bool:
    """Whether an entity belongs only to the client's models; one that is to be created has no owner yet."""
    owners = list(session.scalars(BY_ID[field](key)))
    is_made = request.DESCRIPTOR.name.startswith("Create")
    return all(map(identity.may_reach, owners)) and (bool(owners) or is_made)


def mentions(message: Any) -> Iterator[tuple[str, Meaning, str]]:
    """Yield each relation to models in a message, at any depth: the field's name, its meaning and the value."""
    if message.DESCRIPTOR.full_name == INFER and "ab_test" in message.parameters:
        yield "ab_test", Meaning.ID, message.parameters["ab_test"].string_param
    for field, meaning in _fields(message.DESCRIPTOR):
        value = getattr(message, field.name)
        if meaning is None:
            for one in _nested(message, field, value):
                yield from mentions(one)
        else:
            values = value if field.is_repeated else [value]
            yield from ((field.name, meaning, one) for one in values if one)


def _nested(message: Any, field: FieldDescriptor, value: Any) -> Iterable[Any]:
    if _is_map(field):
        return value.values()  # type: ignore[no-any-return]
    return value if field.is_repeated else [value] if message.HasField(field.name) else []


@cache
def _fields(kind: Descriptor) -> list[tuple[FieldDescriptor, Meaning | None]]:
    """Return the fields that relate to models, and with None those whose messages may contain such fields."""
    texts = [(field, meaning_of(field)) for field in kind.fields if not field.message_type]
    nested = [(field, None) for field in kind.fields if field.message_type and _is_ours(field)]
    return [pair for pair in texts if pair[1]] + nested


def meaning_of(field: Any) -> Meaning | None:
    """Return how a field relates to models; None if it does not."""
    marks = field.GetOptions().Extensions
    if marks[common_pb2.location]:
        return Meaning.LOCATION
    if marks[common_pb2.content]:
        return Meaning.CONTENT
    if field.name in NAMES or field.full_name in NAMES_ELSEWHERE:
        return Meaning.MODEL
    return Meaning.ID if field.name in BY_ID and field.cpp_type == field.CPPTYPE_STRING else None


def _is_ours(field: FieldDescriptor) -> bool:
    kind = field.message_type
    if kind and _is_map(field):
        kind = kind.fields_by_name["value"].message_type
    return kind is not None and kind.file.package == PACKAGE


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)
