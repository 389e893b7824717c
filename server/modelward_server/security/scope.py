"""Which models a message is about, so that a caller who is limited to some is kept from the others."""

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
from modelward_server.identity import Identity
from modelward_server.security.permissions import Reach
from modelward_server.storage.ab_tables import AbTestModelRow, AbTestRow
from modelward_server.storage.comparison_tables import ComparedModelRow, ComparisonRow
from modelward_server.storage.drift_tables import DriftReportRow
from modelward_server.storage.locations import model_of
from modelward_server.storage.own_blobs import not_owned
from modelward_server.storage.retraining_tables import JobRow, ScheduleRow

PACKAGE = "modelward.v1"
NAMES = {"model", "models"}
"""What the contract calls fields that hold the names of models."""
MODEL_NAME = "modelward.v1.Model.name"
"""The one field that calls the name of a model just that."""


class Meaning(Enum):
    """What a field says of whose models a message is about."""

    MODEL = "the name of a model"
    LOCATION = "a URI from which the server reads: the contract marks these fields"
    CONTENT = "the SHA-256 of an uploaded content: the contract marks these fields"
    ID = "the id of something that belongs to models"


ModelsOf = Callable[[str], Select[str]]
BY_ID: Mapping[str, ModelsOf] = {
    "report_id": lambda key: select(DriftReportRow.model).where(DriftReportRow.report_id == key),
    "job_id": lambda key: select(JobRow.model).where(JobRow.job_id == key),
    "schedule_id": lambda key: select(ScheduleRow.model).where(ScheduleRow.schedule_id == key),
    "comparison_id": lambda key: (
        select(ComparedModelRow.model)
        .join(ComparisonRow, ComparisonRow.sequence == ComparedModelRow.sequence)
        .where(ComparisonRow.comparison_id == key)
    ),
    "test": lambda key: (
        select(AbTestModelRow.model)
        .join(AbTestRow, AbTestRow.sequence == AbTestModelRow.sequence)
        .where(AbTestRow.test == key)
    ),
}
"""From the fields that name something of a model to the models that it is of."""


def check_request(session: Session, identity: Identity, request: Message, reach: Reach, *, first: bool) -> None:
    """Refuse a request about models that the caller may not reach.

    What the caller may not reach and what does not exist are refused alike, so that a refusal tells nothing.

    Args:
        first: whether it is the first message of its call; those that follow need name nothing.

    Raises:
        ModelNotAllowed: it names such a model, or names none where that means all of them.
        BlobsMissing: it refers to a content of which the caller has not shown to have the bytes.
    """
    said = list(mentions(request))
    for field, meaning, value in said:
        if meaning is Meaning.MODEL and not identity.may_reach(value):
            raise _refusal(identity, f"{value!r} is not one of them")
        if meaning is Meaning.LOCATION and not _is_own(identity, model_of(value)):
            raise _refusal(identity, f"{value!r} is no place of theirs; upload the files, or name models:/ of theirs")
        if meaning is Meaning.ID and not _owns(session, identity, field, value, request):
            raise _refusal(identity, f"the {field} {value!r} is not of one of them")
    contents = {value for _, meaning, value in said if meaning is Meaning.CONTENT}
    models = {value for _, meaning, value in said if meaning is Meaning.MODEL}
    if missing := contents and not_owned(session, identity.name, contents, models):
        fix = "were not sent by you, and are in no version of the models that you name; upload them first (UploadBlobs)"
        raise BlobsMissing(f"{len(missing)} of {len(contents)} contents {fix}", missing=",".join(sorted(missing)))
    if first and not said and reach in {Reach.NAMED, Reach.WHOLE}:
        raise _refusal(identity, "name one in the request")


def names_only_own(message: Message, identity: Identity) -> bool:
    """Whether every model that a message names is one that the caller may reach."""
    return all(identity.may_reach(value) for _, meaning, value in mentions(message) if meaning is Meaning.MODEL)


def kept(answer: Message, identity: Identity) -> Message:
    """Return an answer without the entries that are about other models."""
    shown = type(answer)()
    shown.CopyFrom(answer)
    for field, value in answer.ListFields():
        if field.message_type and field.is_repeated and not _is_map(field):
            entries = [entry for entry in value if names_only_own(entry, identity)]
            shown.ClearField(field.name)
            getattr(shown, field.name).extend(entries)
    return shown


def _refusal(identity: Identity, why: str) -> ModelNotAllowed:
    allowed = " or ".join(f"{prefix}*" for prefix in identity.models)
    return ModelNotAllowed(f"{identity.name} may reach {allowed} only: {why}", models=",".join(identity.models))


def _is_own(identity: Identity, model: str | None) -> bool:
    return model is not None and identity.may_reach(model)


def _owns(session: Session, identity: Identity, field: str, key: str, request: Message) -> bool:
    """Whether what has an id belongs to the caller's models alone; what is to be made under it is nobody's yet."""
    owners = list(session.scalars(BY_ID[field](key)))
    is_made = request.DESCRIPTOR.name.startswith("Create")
    return all(map(identity.may_reach, owners)) and (bool(owners) or is_made)


def mentions(message: Any) -> Iterator[tuple[str, Meaning, str]]:
    """Give what a message says of models, as deep as it lies: the field's name, its meaning and the value."""
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
    """Return the fields that say something of models, and with None those whose messages may do so."""
    texts = [(field, meaning_of(field)) for field in kind.fields if not field.message_type]
    nested = [(field, None) for field in kind.fields if field.message_type and _is_ours(field)]
    return [pair for pair in texts if pair[1]] + nested


def meaning_of(field: Any) -> Meaning | None:
    """Return what a field says of models; None for nothing."""
    marks = field.GetOptions().Extensions
    if marks[common_pb2.location]:
        return Meaning.LOCATION
    if marks[common_pb2.content]:
        return Meaning.CONTENT
    if field.name in NAMES or field.full_name == MODEL_NAME:
        return Meaning.MODEL
    return Meaning.ID if field.name in BY_ID and field.cpp_type == field.CPPTYPE_STRING else None


def _is_ours(field: FieldDescriptor) -> bool:
    kind = field.message_type
    if kind and _is_map(field):
        kind = kind.fields_by_name["value"].message_type
    return kind is not None and kind.file.package == PACKAGE


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)
