"""Which models a message is about, so that a caller who is limited to some is kept from the others."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from modelward.errors import ModelNotAllowed
from modelward_server.security.identity import Identity
from modelward_server.security.permissions import Reach
from modelward_server.store.ab_tables import AbTestModelRow, AbTestRow
from modelward_server.store.comparison_tables import ComparedModelRow, ComparisonRow
from modelward_server.store.drift_tables import DriftReportRow
from modelward_server.store.retraining_tables import JobRow, ScheduleRow

PACKAGE = "modelward.v1"
NAMES = {"model", "models"}
"""What the contract calls fields that hold the names of models."""
MODEL = "modelward.v1.Model"
"""The one message that calls the name of a model just that."""
PLACES = {"source_uri", "uri"}
"""What it calls fields that say where files lie."""
REGISTERED = "models:/"

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

    Args:
        first: whether it is the first message of its call; those that follow need name nothing.

    Raises:
        ModelNotAllowed: it names such a model, or names none where that means all of them.
    """
    named = [*_named(request), *_owners(session, request)]
    for model in named:
        if not identity.may_reach(model):
            raise _refusal(identity, f"{model!r} is not one of them")
    by_id = any(getattr(request, field, "") for field in BY_ID)  # Of nothing, perhaps: the call itself will tell.
    if first and not named and not by_id and reach in {Reach.NAMED, Reach.WHOLE}:
        raise _refusal(identity, "name one in the request")


def kept(answer: Message, identity: Identity) -> Message:
    """Return an answer without the entries that are about other models."""
    shown = type(answer)()
    shown.CopyFrom(answer)
    for field, value in answer.ListFields():
        if field.message_type and field.is_repeated and not _is_map(field):
            entries = [entry for entry in value if all(map(identity.may_reach, _named(entry)))]
            shown.ClearField(field.name)
            getattr(shown, field.name).extend(entries)
    return shown


def _refusal(identity: Identity, why: str) -> ModelNotAllowed:
    allowed = " or ".join(f"{prefix}*" for prefix in identity.models)
    return ModelNotAllowed(f"{identity.name} may reach {allowed} only: {why}", models=",".join(identity.models))


def _named(message: Any) -> Iterator[str]:
    """Give the names of models in a message, as deep as they lie."""
    for field, nested in _fields(message.DESCRIPTOR):
        value = getattr(message, field.name)
        if nested:
            for one in value if field.is_repeated else [value] if message.HasField(field.name) else []:
                yield from _named(one)
        elif field.name in PLACES:
            yield from [_owner_of_place(value)] if value else []
        else:
            yield from value if field.is_repeated else [value] if value else []


def _owner_of_place(uri: str) -> str:
    """Return the model whose files lie there; what is nobody's by its name is what no limited caller may reach."""
    return uri.removeprefix(REGISTERED).partition("/")[0].partition("@")[0] if uri.startswith(REGISTERED) else uri


@cache
def _fields(kind: Descriptor) -> list[tuple[FieldDescriptor, bool]]:
    """Return the fields that name models, and those that are messages of ours, in which there may be more."""
    names = NAMES | PLACES | ({"name"} if kind.full_name == MODEL else set())
    found = [(field, False) for field in kind.fields if field.name in names and not field.message_type]
    nested = (field for field in kind.fields if field.message_type and field.message_type.file.package == PACKAGE)
    return found + [(field, True) for field in nested if not _is_map(field)]


def _is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def _owners(session: Session, message: Any) -> Iterator[str]:
    """Give the models of what the message names by an id."""
    for field, models_of in BY_ID.items():
        key = getattr(message, field, "")
        if isinstance(key, str) and key:
            yield from session.scalars(models_of(key))
