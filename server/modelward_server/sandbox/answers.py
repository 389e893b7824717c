"""What a model's process says, read under a budget: in it a model ran, so it may say anything.

Whatever is odd becomes a `ModelProcessError`, whose text is the end of a sentence that begins with the model's name.
"""

import asyncio
import json
import math
import signal
from collections.abc import Mapping, Sequence
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

MAX_LINE_BYTES = 4 << 20
"""The longest line that is read; a hundred thousand times fit."""
MAX_ARRAY_BYTES = 512 << 20
"""Of one array: 64 classes for a million rows."""
CHUNK_BYTES = 1 << 20
MAX_CLASSES = 1_000
MAX_CLASS_CHARACTERS = 1_000
MAX_TIMES = 100_000
MAX_WORDS = 600
MAX_SECONDS = 1e6


class ModelProcessError(Exception):
    """A model's process did not answer, or not what it must."""


async def read_object(reader: asyncio.StreamReader) -> dict[str, Any] | None:
    """Read a line that holds a JSON object; None when the process says nothing more.

    Raises:
        ModelProcessError: it is none, too long or too deep, or holds a number that is none of JSON's.
    """
    try:
        line = await reader.readline()
    except ValueError:
        raise ModelProcessError(f"answered a line of more than {MAX_LINE_BYTES >> 20} MiB") from None
    except OSError:
        return None
    if not line.endswith(b"\n"):
        return None
    try:
        found = json.loads(line, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ModelProcessError("answered what is no JSON object")
    return found


async def read_array(reader: asyncio.StreamReader, dtype: type[np.generic], shape: Sequence[int]) -> NDArray[Any]:
    """Read the bytes of an array of a shape that was checked before.

    Raises:
        ModelProcessError: there are fewer, or the array is too large.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size > MAX_ARRAY_BYTES:
        raise ModelProcessError(f"answered an array of {size:,} bytes; at most {MAX_ARRAY_BYTES:,} are read")
    array = np.empty(shape, dtype)
    rest = memoryview(array.reshape(-1).view(np.uint8).data)
    while rest:
        part = await reader.read(min(len(rest), CHUNK_BYTES))
        if not part:
            raise ModelProcessError(f"ended before the {size:,} bytes of an array that it announced")
        rest[: len(part)] = part
        rest = rest[len(part) :]
    return array


def numbers(told: object, name: str) -> list[float]:
    """Return one or many positive, finite numbers.

    Raises:
        ModelProcessError: one is not, there is none, or there are too many.
    """
    values = told if isinstance(told, list) else [told]
    if not 0 < len(values) <= MAX_TIMES or not all(map(_is_positive, values)):
        raise ModelProcessError(f"answered {name} that are no positive numbers")
    return list(map(float, values))


def seconds(told: object, name: str) -> list[float]:
    """Return one or many spans of time.

    Raises:
        ModelProcessError: as `numbers`, or one is longer than any run.
    """
    found = numbers(told, name)
    if max(found) > MAX_SECONDS:
        raise ModelProcessError(f"answered {name} of more than {MAX_SECONDS:,.0f} seconds")
    return found


def classes(told: object) -> tuple[str | int | float | bool, ...]:
    """Return the classes that a model knows.

    Raises:
        ModelProcessError: there are too many, one is named twice, or they are neither all short texts nor all numbers.
    """
    if not isinstance(told, list) or len(told) > MAX_CLASSES or not all(map(_is_class, told)):
        raise ModelProcessError(f"named classes that are no list of up to {MAX_CLASSES:,} texts or numbers")
    if len({isinstance(value, str) for value in told}) > 1:
        raise ModelProcessError("named classes of which some are texts and some numbers")
    if len(set(told)) < len(told):
        raise ModelProcessError("named a class twice")
    return tuple(told)


def words(told: object) -> str:
    """Return what a process says went wrong, of a length and in characters that fit into an error."""
    text = told if isinstance(told, str) and told else "answered what is neither a result nor a failure"
    printable = "".join(c if c.isprintable() else " " for c in text)
    return printable.encode("utf-8", "replace").decode()[:MAX_WORDS]


def how_it_died(code: int | None) -> str:
    """Say how a process ended that gave no answer."""
    if code == -signal.SIGKILL:
        return "was killed by the operating system, which does so when memory or time on the processor runs out"
    if code is not None and code < 0:
        return f"crashed its process ({_signal_name(-code)})"
    if code is None:
        return "lost its process together with the one that watched it"
    return f"ended its process with status {code} and without an answer"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # Real-time signals have no names.


def refuse_shape(shapes: Mapping[str, object], name: str, expected: tuple[int, ...]) -> None:
    """Check the shape of an array before it is read.

    Raises:
        ModelProcessError: it is another than expected.
    """
    told = shapes.get(name)
    if told != list(expected):
        shape = told if isinstance(told, list) and all(isinstance(size, int) for size in told) else "no shape"
        raise ModelProcessError(f"gave {name} of shape {str(shape)[:100]} where {list(expected)} is expected")


def _refuse_constant(name: str) -> Never:
    raise ValueError(name)


def _is_positive(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 < value < 2**63 if isinstance(value, int) else 0 < value < math.inf


def _is_class(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= MAX_CLASS_CHARACTERS
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, int) and -(2**63) <= value < 2**63
