"""Validation of a model process's output: a model ran in it, so the output is untrusted and read under a size budget.

Any invalid output becomes a `ModelProcessError`, whose text continues a sentence that begins with the model's name.
"""

import asyncio
import json
import math
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

MAX_LINE_BYTES = 4 << 20
"""Maximum size of a line; it holds a hundred thousand durations."""
MAX_ARRAY_BYTES = 512 << 20
"""Maximum size of one array: 64 classes for a million rows."""
CHUNK_BYTES = 1 << 20
MAX_CLASSES = 1_000
MAX_CLASS_CHARACTERS = 1_000
MAX_TIMES = 100_000
MAX_FAILURE_CHARACTERS = 600
MAX_SECONDS = 1e6
MAX_LIBRARIES, MAX_RELEASE_CHARACTERS = 50, 100


@dataclass(frozen=True)
class PrefixCheck:
    """The predictions of the first rows of a table, compared with those of the same rows within the whole table."""

    rows: int
    differing: int
    """How many of these rows are predicted otherwise, by more than arithmetic explains."""
    repeatable: bool = True
    """Whether the model predicts the same when it is called again with the same rows."""


class ModelProcessError(Exception):
    """A model's process did not answer, or its answer is invalid."""


async def read_object(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Read a line with a JSON object; None at the end of the output.

    Raises:
        ModelProcessError: it is too long; or see `object_of`.
    """
    try:
        line = await reader.readline()
    except ValueError:
        raise ModelProcessError(f"answered with a line of more than {MAX_LINE_BYTES >> 20} MiB") from None
    except OSError:
        return None
    return object_of(line) if line.endswith(b"\n") else None


def object_of(text: bytes) -> dict[str, Any]:
    """Return the JSON object that a text is.

    Raises:
        ModelProcessError: it is not a JSON object, is too deep, or holds a number that is not JSON.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise ModelProcessError("answered with something other than a JSON object")
    return value


async def read_array(reader: asyncio.StreamReader, dtype: type[np.generic], shape: Sequence[int]) -> NDArray[Any]:
    """Read the bytes of an array whose shape was checked before.

    Raises:
        ModelProcessError: the output ends early, or the array is too large.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > MAX_ARRAY_BYTES:
        raise ModelProcessError(f"answered with an array of {size:,} bytes; at most {MAX_ARRAY_BYTES:,} are read")
    array = np.empty(shape, dtype)
    rest = memoryview(array.reshape(-1).view(np.uint8).data)
    while rest:
        part = await reader.read(min(len(rest), CHUNK_BYTES))
        if not part:
            raise ModelProcessError(f"ended before the {size:,} bytes of an array that it declared")
        rest[: len(part)] = part
        rest = rest[len(part) :]
    return array


def numbers(value: object, name: str) -> list[float]:
    """Return one or many positive, finite numbers.

    Raises:
        ModelProcessError: one is not, there is none, or there are too many.
    """
    values = value if isinstance(value, list) else [value]
    if not 0 < len(values) <= MAX_TIMES or not all(map(_is_positive, values)):
        raise ModelProcessError(f"answered with {name} that are not positive numbers")
    return list(map(float, values))


def seconds(value: object, name: str) -> list[float]:
    """Return one or many durations.

    Raises:
        ModelProcessError: see `numbers`; or one is longer than any run can be.
    """
    durations = numbers(value, name)
    if max(durations) > MAX_SECONDS:
        raise ModelProcessError(f"answered with {name} of more than {MAX_SECONDS:,.0f} seconds")
    return durations


def classes(value: object) -> tuple[str | int | float | bool, ...]:
    """Return the classes that a model can predict.

    Raises:
        ModelProcessError: there are too many, one occurs twice, or they are neither all short strings nor all numbers.
    """
    if not isinstance(value, list) or len(value) > MAX_CLASSES or not all(map(_is_class, value)):
        raise ModelProcessError(f"named classes that are not a list of up to {MAX_CLASSES:,} strings or numbers")
    if len({isinstance(name, str) for name in value}) > 1:
        raise ModelProcessError("named classes of which some are strings and some numbers")
    if len(set(value)) < len(value):
        raise ModelProcessError("named a class twice")
    return tuple(value)


def libraries(value: object) -> tuple[str, ...]:
    """Return the releases of libraries, each a name and a number.

    Raises:
        ModelProcessError: they are not a list of short, printable texts.
    """
    if not isinstance(value, list) or len(value) > MAX_LIBRARIES or not all(map(_is_release, value)):
        raise ModelProcessError(f"named libraries that are not a list of up to {MAX_LIBRARIES} short texts")
    return tuple(value)


def prefix_check(value: object, rows: int) -> PrefixCheck | None:
    """Return the comparison of predictions of the first rows; None if it was not made.

    Raises:
        ModelProcessError: it is not one of at most `rows` rows.
    """
    if value is None:
        return None
    keys = {"rows", "differing", "repeatable"}
    if not isinstance(value, dict) or value.keys() != keys or not isinstance(value["repeatable"], bool):
        raise ModelProcessError("answered with an invalid check of the first rows")
    first, differing = value["rows"], value["differing"]
    if type(first) is not int or type(differing) is not int or not 0 <= differing <= first <= rows or not first:
        raise ModelProcessError("answered with an invalid check of the first rows")
    return PrefixCheck(first, differing, value["repeatable"])


def failure_text(value: object) -> str:
    """Return a process's failure message, with its length and characters limited to what fits into an error."""
    text = value if isinstance(value, str) and value else "answered with neither a result nor a failure"
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable.encode("utf-8", "replace").decode()[:MAX_FAILURE_CHARACTERS]


def describe_exit(code: int | None) -> str:
    """Describe the exit of a process that gave no answer."""
    if code == -signal.SIGKILL:
        return "was killed by the operating system, as happens when memory or processor time runs out"
    if code is not None and code < 0:
        return f"crashed its process ({_signal_name(-code)})"
    if code is None:
        return "lost its process together with the one that supervised it"
    return f"ended its process with status {code} and without an answer"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # Real-time signals have no name.


def check_shape(shapes: Mapping[str, object], name: str, expected: tuple[int, ...]) -> None:
    """Check the shape of an array before it is read.

    Raises:
        ModelProcessError: the shape is not the expected one.
    """
    declared = shapes.get(name)
    if declared != list(expected):
        is_shape = isinstance(declared, list) and all(isinstance(size, int) for size in declared)
        shape = declared if is_shape else "no shape"
        raise ModelProcessError(f"gave {name} of shape {str(shape)[:100]} where {list(expected)} is expected")


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _is_positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < 2**63 if isinstance(value, int) else 0 < value < math.inf


def _is_release(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_RELEASE_CHARACTERS and value.isascii() and value.isprintable()


def _is_class(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_CLASS_CHARACTERS
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -(2**63) <= value < 2**63
