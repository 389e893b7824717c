"""Text that PostgreSQL cannot keep is refused in every field of every request, whatever the database is."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from modelward import Client, errors
from modelward_server.app import SERVED
from modelward_server.interceptors.text_validation import invalid_texts
from tests.support.running_server import RunningServer

REFUSED = "must not contain the character NUL"


def requests() -> Iterator[Descriptor]:
    for file in SERVED:
        for service in file.DESCRIPTOR.services_by_name.values():
            yield from (method.input_type for method in service.methods)


def texts(kind: Descriptor, within: tuple[str, ...] = ()) -> Iterator[list[FieldDescriptor]]:
    """Yield the way to each field of text in a message."""
    for field in kind.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            yield [field]
        elif field.message_type and not is_map(field) and field.message_type.full_name not in within:
            for rest in texts(field.message_type, (*within, kind.full_name)):
                yield [field, *rest]


def is_map(field: FieldDescriptor) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def put(message: Any, way: list[FieldDescriptor]) -> str:
    """Put a text with NUL at the end of a way; return the path by which it is named."""
    field, *rest = way
    index = "[0]" if field.is_repeated else ""
    if rest:
        inner = getattr(message, field.name)
        return f"{field.name}{index}.{put(inner.add() if field.is_repeated else inner, rest)}"
    if field.is_repeated:
        getattr(message, field.name).append("a\0b")
    else:
        setattr(message, field.name, "a\0b")
    return f"{field.name}{index}"


def test_every_text_of_every_request_is_examined() -> None:
    examined = 0
    for kind in requests():
        for way in texts(kind):
            message: Message = GetMessageClass(kind)()
            path = put(message, way)
            assert [one.field for one in invalid_texts(message)] == [path], kind.full_name
            examined += 1
    assert examined > 300


def test_texts_in_maps_and_lists_are_refused_and_named(server: RunningServer) -> None:
    name = f"spx-{uuid4().hex[:8]}"
    with Client(server.target) as client:
        with pytest.raises(errors.InvalidField, match=rf'tags\["desk"\]: {REFUSED}'):
            client.create_model(name, tags={"desk": "a\0"})
        with pytest.raises(errors.InvalidField, match=f"description: {REFUSED}"):
            client.create_model(name, description="\0")
        with pytest.raises(errors.ModelNotFound):
            client.get_model(name)
