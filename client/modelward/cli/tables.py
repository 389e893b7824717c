"""Read tables from files: Parquet and Arrow files are typed, the types of CSV columns are inferred here.

A CSV column has the kind of the reference's feature with its name. Without one, it contains numbers if each of its
texts is a number in its usual notation: codes such as 00501 are categories.
"""

import codecs
import re
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modelward._coerce import AnyVersion
from modelward.cli.output import Failure
from modelward.drift import FeatureKind, FeatureProfile, Reference
from modelward.errors import ReferenceNotFound
from modelward.shared.suggestions import unknown_columns

if TYPE_CHECKING:
    from modelward import Client

CHUNK_BYTES = 1 << 20
PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARRO", b"\xff\xff\xff\xff"
"""First bytes of Arrow and Parquet files."""
UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
MISSING = ("NA", "N/A", "n/a", "#N/A", "#NA", "<NA>", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None")
"""Texts for a missing number, besides the empty one. In a text column they are text."""
NUMBER = r"^-?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^-?([iI]nf|[iI]nfinity)$"
CODE = r"^-?0\d"
"""Leading zeros, which occur in codes but not in numbers."""
WHOLE = r"^-?\d+$"
DAY = r"^\d{4}-\d{2}-\d{2}"
TRUTHS = ("true", "false")


def read_table(path: Path, reference: Reference | None = None, ignore: Collection[str] = ()) -> Any:
    """Read a CSV, Parquet or Arrow file, detected by its content, as an Arrow table.

    Args:
        reference: determines the kind of a CSV column.
        ignore: columns to leave out, which must exist.

    Raises:
        Failure: it cannot be read, a column to leave out does not exist, or pyarrow is not installed.
    """
    table = read_columns(path, reference, ignore)
    if unknown := unknown_columns(ignore, table.column_names):
        raise Failure(f"--ignore {unknown[0]}")
    return table.select([i for i, name in enumerate(table.column_names) if name not in ignore])


def read_columns(path: Path, reference: Reference | None, ignored: Collection[str]) -> Any:
    """Read a table as `read_table` does, with the ignored columns, which are text in a CSV file.

    Raises:
        Failure: it cannot be read, or pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError:
        raise Failure("reading a table needs an extra: pip install 'modelward[arrow]'") from None
    try:
        table = _read(path, reference, ignored)
    except (pa.ArrowException, OSError) as error:
        raise Failure(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    used = [name for name in table.column_names if name not in ignored]
    if twice := sorted({name for name in used if used.count(name) > 1}):
        raise Failure(f"{path} has columns of the same name: {', '.join(twice)}")
    return table


def reference_for(client: "Client", versions: Iterable[AnyVersion], path: Path) -> Reference | None:
    """Return the reference whose kinds the columns of a CSV file have: that of the first version that has one.

    None if the file is typed, or no version has a reference.
    """
    if not is_csv(path):
        return None
    for version in versions:
        with suppress(ReferenceNotFound):
            return client.get_reference(version)
    return None


def is_csv(path: Path) -> bool:
    """Return whether a file is a text file."""
    return _beginning(path) not in {PARQUET, ARROW_FILE, ARROW_STREAM}


def is_parquet(path: Path) -> bool:
    """Return whether a file is one of Parquet."""
    return _beginning(path) == PARQUET


def _beginning(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4)


def _read(path: Path, reference: Reference | None, ignore: Collection[str]) -> Any:
    if is_csv(path):
        return _read_csv(path, reference, ignore)
    return _read_parquet(path) if is_parquet(path) else _read_arrow(path)


def _read_parquet(path: Path) -> Any:
    from pyarrow import parquet

    return parquet.read_table(path, partitioning=None)


def _read_arrow(path: Path) -> Any:
    import pyarrow as pa

    with pa.memory_map(str(path)) as content:
        is_file = _beginning(path) == ARROW_FILE
        return (pa.ipc.open_file(content) if is_file else pa.ipc.open_stream(content)).read_all()


def _read_csv(path: Path, reference: Reference | None, ignore: Collection[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    _check_encoding(path)
    names = csv.open_csv(path).schema.names
    # In a single column an empty line is a missing value.
    parse = csv.ParseOptions(newlines_in_values=True, ignore_empty_lines=len(names) > 1)
    if len(names) == 1 and (";" in names[0] or "\t" in names[0]):
        raise Failure(f"{path} has one column, {names[0]!r}; separate columns by commas")
    as_text = csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=True,
    )
    table = csv.read_csv(path, parse_options=parse, convert_options=as_text)
    features = {feature.name: feature for feature in reference.features} if reference else {}
    columns = [
        text if name in ignore else _column(name, text, features.get(name), path)
        for name, text in zip(names, table.columns, strict=True)
    ]
    return pa.Table.from_arrays(columns, names)


def _check_encoding(path: Path) -> None:
    """Reject text that is not UTF-8.

    Raises:
        Failure: names the probable encoding, and the fix.
    """
    import pyarrow as pa

    decoder, read = codecs.getincrementaldecoder("utf-8")(), 0
    with pa.input_stream(str(path)) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            if not read and (chunk.startswith(UTF_16) or b"\0" in chunk[:4]):
                raise Failure(_not_utf_8(path, "UTF-16", "its beginning"))
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                where = f"the byte 0x{error.object[error.start]:02x} near byte {read + error.start:,}"
                raise Failure(_not_utf_8(path, "WINDOWS-1252", where)) from None
            read += len(chunk)


def _not_utf_8(path: Path, encoding: str, where: str) -> str:
    likely = "Windows-1252 or Latin-1" if encoding == "WINDOWS-1252" else encoding
    fix = f"save it as UTF-8, or convert it: iconv -f {encoding} -t UTF-8 {path.name} > utf8-{path.name}"
    return f"{path} is not UTF-8 but probably {likely}, as {where} shows; {fix}"


def _column(name: str, text: Any, feature: FeatureProfile | None, path: Path) -> Any:
    """Convert a text column to its kind; None in it is missing."""
    if feature is None:
        return _guessed(text)
    if feature.kind is FeatureKind.CATEGORY:
        return _truths(text) if set(feature.categories) <= set(TRUTHS) and _all_truths(text) else text
    trimmed = _trimmed(text)
    numbers = _numbers(trimmed)
    if numbers is not None:
        return numbers
    invalid = next((value for value in trimmed.to_pylist() if value and not re.match(NUMBER, value)), None)
    content = "numbers beyond 64 bits" if invalid is None else repr(invalid)
    raise Failure(f"{path} contains {content} in column {name!r}, where the reference has numbers")


def _guessed(text: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = _trimmed(text)
    if trimmed.null_count == len(trimmed):
        return text if text.null_count < len(text) else pa.nulls(len(text))
    numbers = None if pc.any(pc.match_substring_regex(trimmed, CODE)).as_py() else _numbers(trimmed, whole=True)
    if numbers is not None:
        return numbers
    if _all_truths(text):
        return _truths(text)
    return _times(text) if _all_match(text, DAY) else text


def _trimmed(text: Any) -> Any:
    """Normalize text for parsing numbers: without spaces and plus signs, None where a number is missing."""
    import pyarrow as pa
    import pyarrow.compute as pc

    trimmed = pc.replace_substring_regex(pc.utf8_trim_whitespace(text), r"^\+", "")
    missing = pc.or_(pc.is_in(trimmed, pa.array(MISSING)), pc.equal(trimmed, ""))
    return pc.if_else(pc.fill_null(missing, True), pa.scalar(None, pa.string()), trimmed)


def _numbers(trimmed: Any, *, whole: bool = False) -> Any:
    """Convert text to 64-bit integers or floats; None if a text is neither.

    Args:
        whole: whether integers beyond 64 bits give None instead of the nearest floats.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if not _all_match(trimmed, NUMBER):
        return None
    if _all_match(trimmed, WHOLE):
        try:
            return trimmed.cast(pa.int64())
        except pa.ArrowInvalid:
            if whole:
                return None
    numbers = trimmed.cast(pa.float64())
    beyond = pc.and_(pc.is_inf(numbers), pc.match_substring_regex(trimmed, r"\d"))
    return None if pc.any(beyond).as_py() else numbers


def _all_truths(text: Any) -> bool:
    return _all_match(text, r"^(?i:true|false)$")


def _truths(text: Any) -> Any:
    import pyarrow.compute as pc

    return pc.equal(pc.utf8_lower(text), "true")


def _times(text: Any) -> Any:
    """Convert ISO 8601 text to times; other text is unchanged."""
    import pyarrow as pa

    for unit in ("us", "ns"):
        for zone in (None, "UTC"):
            try:
                return text.cast(pa.timestamp(unit, zone))
            except pa.ArrowInvalid:
                continue
    return text


def _all_match(text: Any, pattern: str) -> bool:
    import pyarrow.compute as pc

    return bool(pc.all(pc.match_substring_regex(text, pattern)).as_py() is not False)
