"""The reference of the contract: a page of Markdown for each proto, from its comments."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

GENERATE = Path(__file__).parents[1] / "protos" / "generate.py"
PACKAGE = "modelward.v1"
PAGES = {"errors": "reasons"}
"""Names of pages that differ from their proto's: reference/errors.md has the SDK's exceptions."""
MESSAGES, ENUMS, SERVICES, FIELDS, NESTED, VALUES, METHODS = 4, 5, 6, 2, 3, 2, 2
"""Numbers of the fields of `FileDescriptorProto` and below, of which the paths of comments consist."""
Place = tuple[int, ...]


def proto_pages() -> Iterator[tuple[str, str]]:
    """Yield the path of each page below docs/ and its Markdown."""
    files = [file for file in _image().file if file.package == PACKAGE]
    links = Links(files)
    for file in files:
        yield f"reference/{_page(file)}", "\n".join(ProtoPage(file, links).lines()) + "\n"


def _image() -> FileDescriptorSet:
    with tempfile.NamedTemporaryFile() as image:
        subprocess.run([sys.executable, str(GENERATE), "--image", image.name], check=True)
        return FileDescriptorSet.FromString(Path(image.name).read_bytes())


def _page(file: FileDescriptorProto) -> str:
    name = Path(file.name).stem
    return f"{PAGES.get(name, name)}.md"


class Links:
    """Links to the types of all pages."""

    def __init__(self, files: Sequence[FileDescriptorProto]) -> None:
        self._pages = {kind.name: _page(file) for file in files for kind in (*file.message_type, *file.enum_type)}

    def to(self, type_name: str) -> str:
        """Return a type's name as a link to where it is described; other packages' types are only named."""
        name = type_name.removeprefix(f".{PACKAGE}.")
        page = self._pages.get(name.partition(".")[0])
        anchor = name.lower().replace(".", "")
        return f"[`{name}`]({page}#{anchor})" if page else f"`{name.removeprefix('.')}`"


class ProtoPage:
    """The page of one proto."""

    def __init__(self, file: FileDescriptorProto, links: Links) -> None:
        self._file = file
        self._links = links
        comments = file.source_code_info.location
        self._comments = {
            tuple(at.path): at.leading_comments.strip() or at.trailing_comments.strip() for at in comments
        }

    def lines(self) -> Iterator[str]:
        """Yield the page's Markdown: services with their calls, then messages, then enums."""
        services = self._file.service
        yield f"# {services[0].name if services else Path(self._file.name).stem.capitalize()}"
        yield f"\n`{self._file.name}`. {self._comment((2,))}"
        for index, service in enumerate(services):
            yield from self._service(service, (SERVICES, index))
        for index, message in enumerate(self._file.message_type):
            yield from self._message(message, (MESSAGES, index), message.name)
        for index, enum in enumerate(self._file.enum_type):
            yield from self._enum(enum, (ENUMS, index), enum.name)

    def _service(self, service: ServiceDescriptorProto, place: Place) -> Iterator[str]:
        yield f"\n## Calls\n\n{self._comment(place)}"
        for index, method in enumerate(service.method):
            given, returned = self._links.to(method.input_type), self._links.to(method.output_type)
            request = f"a stream of {given}" if method.client_streaming else given
            response = f"a stream of {returned}" if method.server_streaming else returned
            yield f"\n### {method.name}\n\n{self._comment((*place, METHODS, index))}"
            yield f"\n`{PACKAGE}.{service.name}/{method.name}`: {request} → {response}"

    def _message(self, message: DescriptorProto, place: Place, name: str) -> Iterator[str]:
        yield f"\n## {name}\n\n{self._comment(place)}"
        if message.field:
            rows = [
                (
                    f"`{field.name}`",
                    self._type(field, message),
                    _note(field, message),
                    self._comment((*place, FIELDS, index)),
                )
                for index, field in enumerate(message.field)
            ]
            yield from _table(("field", "type", "", "meaning"), rows)
        for index, nested in enumerate(message.nested_type):
            if not nested.options.map_entry:
                yield from self._message(nested, (*place, NESTED, index), f"{name}.{nested.name}")

    def _enum(self, enum: EnumDescriptorProto, place: Place, name: str) -> Iterator[str]:
        yield f"\n## {name}\n\n{self._comment(place)}"
        rows = [(f"`{value.name}`", self._comment((*place, VALUES, index))) for index, value in enumerate(enum.value)]
        yield from _table(("value", "meaning"), rows)

    def _type(self, field: FieldDescriptorProto, message: DescriptorProto) -> str:
        entry = _map_entry(field, message)
        if entry:
            return f"map of {self._single(entry.field[0])} to {self._single(entry.field[1])}"
        repeated = field.label == FieldDescriptorProto.LABEL_REPEATED
        return f"list of {self._single(field)}" if repeated else self._single(field)

    def _single(self, field: FieldDescriptorProto) -> str:
        if field.type_name:
            return self._links.to(field.type_name)
        return FieldDescriptorProto.Type.Name(field.type).removeprefix("TYPE_").lower()

    def _comment(self, place: Place) -> str:
        return " ".join(self._comments.get(place, "").split()).replace("|", r"\|")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"\n| {' | '.join(head)} |\n|{'---|' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _map_entry(field: FieldDescriptorProto, message: DescriptorProto) -> DescriptorProto | None:
    name = field.type_name.rpartition(".")[2]
    return next((kind for kind in message.nested_type if kind.name == name and kind.options.map_entry), None)


def _note(field: FieldDescriptorProto, message: DescriptorProto) -> str:
    if field.proto3_optional:
        return "optional"
    return f"one of `{message.oneof_decl[field.oneof_index].name}`" if field.HasField("oneof_index") else ""
