"""Read the files of XGBoost, UBJ and JSON alike, into plain objects and arrays, without its library.

Both hold one object: UBJ is a binary form of JSON whose lengths precede their values. Only what XGBoost writes is
read, so that its own reader cannot understand a file differently: no key twice, no length beyond the end.
"""

import json
import re
import struct
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelward.formats.tree_structure import refuse

UBJ_HEAD = b"{L" + struct.pack(">q", 7) + b"learner"
JSON_HEAD = re.compile(rb'\s{0,64}\{\s{0,64}"learner"\s{0,64}:')
HEAD_BYTES = 256
MAX_NESTING = 16
"""Maximum depth of objects within objects; XGBoost writes nine levels."""
NUMBERS = {b"i": ">i1", b"U": ">u1", b"I": ">i2", b"l": ">i4", b"L": ">i8", b"d": ">f4", b"D": ">f8"}
"""The kinds of numbers of UBJ."""
CONSTANTS: dict[bytes, bool | None] = {b"T": True, b"F": False, b"Z": None}
LENGTH = struct.Struct(">q")
Document = dict[str, Any]


def is_document(head: bytes) -> bool:
    """Return whether a file begins as XGBoost's do.

    Args:
        head: its first `HEAD_BYTES` bytes.
    """
    return head.startswith(UBJ_HEAD) or JSON_HEAD.match(head) is not None


def read_document(content: bytes) -> Document:
    """Return the object that a file holds; arrays of numbers are arrays of numpy in UBJ, and lists in JSON.

    Args:
        content: the file's.

    Raises:
        InvalidField: it is not a file of XGBoost, or not a complete one.
    """
    if not is_document(content[:HEAD_BYTES]):
        refuse("the file is not a UBJ or JSON file of XGBoost")
    document: Document = _Ubj(content).document() if content.startswith(UBJ_HEAD) else _from_json(content)
    return document


def member(holder: Document, name: str, kind: type | tuple[type, ...], where: str) -> Any:
    """Return a member of an object.

    Args:
        holder: the object.
        name: the member's.
        kind: its type, or several.
        where: names the object in the error.

    Raises:
        InvalidField: there is none, or it is of another type.
    """
    value = holder.get(name)
    if not isinstance(value, kind):
        refuse(f"{where} has no {name}" if name not in holder else f"{where} has {name} of another type")
    return value


def count(holder: Document, name: str, where: str) -> int:
    """Return a count, which XGBoost writes as text.

    Args:
        holder: the object that has it.
        name: the member's.
        where: names the object in the error.

    Raises:
        InvalidField: it is none.
    """
    text = member(holder, name, str, where)
    if not re.fullmatch("[0-9]{1,9}", text):
        refuse(f"{where} has {name}={text[:20]!r}, which is no count")
    return int(text)


def integers(holder: Document, name: str, where: str) -> NDArray[Any]:
    """Return an array of integers; see `floats`."""
    return _array(holder, name, where, "iu")


def floats(holder: Document, name: str, where: str) -> NDArray[Any]:
    """Return an array of numbers.

    Args:
        holder: the object that has it.
        name: the member's.
        where: names the object in the error.

    Raises:
        InvalidField: it is not one list of numbers.
    """
    return _array(holder, name, where, "iuf")


def _array(holder: Document, name: str, where: str, kinds: str) -> NDArray[Any]:
    values = member(holder, name, (list, np.ndarray), where)
    try:
        array = np.asarray(values) if len(values) else np.empty(0, np.int64)
    except (ValueError, OverflowError):  # Lists of several lengths.
        array = np.empty(0, object)
    if array.dtype.kind not in kinds or array.ndim != 1:
        refuse(f"{where} has {name} with something that is no number of its kind")
    return array


class _Ubj:
    """Reads one document of UBJ."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._at = 0

    def document(self) -> Any:
        value = self._value(0)
        if self._at != len(self._content):
            refuse("the file goes on after its end")
        return value

    def _value(self, depth: int) -> Any:
        if depth > MAX_NESTING:
            refuse(f"the file has objects in more than {MAX_NESTING} levels")
        kind = self._take(1)
        if kind == b"{":
            return _object(self._members(depth))
        if kind == b"[":
            return self._array(depth)
        if kind == b"S":
            return self._text()
        if kind in CONSTANTS:
            return CONSTANTS[kind]
        return self._numbers(kind, 1)[0].item()

    def _members(self, depth: int) -> Iterable[tuple[str, Any]]:
        while self._content[self._at : self._at + 1] != b"}":
            yield self._text(), self._value(depth + 1)
        self._at += 1

    def _array(self, depth: int) -> Any:
        """Read a list, or numbers of one kind; each has its length first."""
        mark = self._take(1)
        kind = self._take(1) if mark == b"$" else b""
        if (self._take(1) if kind else mark) != b"#":
            refuse(f"the file has an array without a length at byte {self._at}")
        length = self._length()
        if kind:
            return self._numbers(kind, length)
        return [self._value(depth + 1) for _ in range(length)]

    def _numbers(self, kind: bytes, length: int) -> NDArray[Any]:
        if kind not in NUMBERS:
            refuse(f"the file has the kind {kind!r} at byte {self._at}, which XGBoost cannot read")
        dtype = np.dtype(NUMBERS[kind])
        return np.frombuffer(self._take(length * dtype.itemsize), dtype)

    def _text(self) -> str:
        try:
            return self._take(self._length()).decode()
        except UnicodeDecodeError:
            refuse(f"the file has text that is not UTF-8 before byte {self._at}")

    def _length(self) -> int:
        """Read a length; whatever it counts has at least one byte for each, but no array may be as long as that."""
        if self._take(1) != b"L":
            refuse(f"the file has a length of another kind at byte {self._at}")
        (length,) = LENGTH.unpack(self._take(LENGTH.size))
        if not 0 <= length <= len(self._content) - self._at:
            refuse(f"the file has the length {length} at byte {self._at}, beyond its end")
        return int(length)

    def _take(self, length: int) -> bytes:
        taken = self._content[self._at : self._at + length]
        if len(taken) < length:
            refuse("the file is cut off")
        self._at += length
        return taken


def _from_json(content: bytes) -> Any:
    try:
        document = json.loads(content, object_pairs_hook=_object)
    except (ValueError, RecursionError):
        refuse("the file is not JSON, or is cut off")
    _check_nesting(document)
    return document


def _check_nesting(document: Any) -> None:
    level = [document]
    for _ in range(MAX_NESTING):
        level = [inner for value in level for inner in _contents(value)]
        if not level:
            return
    refuse(f"the file has objects in more than {MAX_NESTING} levels")


def _contents(value: Any) -> Iterable[Any]:
    values = value.values() if isinstance(value, dict) else value
    return (inner for inner in values if isinstance(inner, dict | list))


def _object(members: Iterable[tuple[str, Any]]) -> Document:
    found: Document = {}
    for name, value in members:
        if name in found:
            refuse(f"the file has {name[:40]!r} twice in one object")
        found[name] = value
    return found
