"""References of versions: set and read them, and load their profiles."""

import threading
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from cachetools import LRUCache
from pydantic import TypeAdapter
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from modelward.data import Columns, to_arrow
from modelward.drift import (
    DEFAULT_REFERENCE,
    FeatureKind,
    FeatureProfile,
    Reference,
    ReferenceSegment,
    TimeWindow,
)
from modelward.errors import FieldViolation, InvalidField, ReferenceNotFound
from modelward.kinds import is_time
from modelward.lifecycle import VersionRef
from modelward.segments import ClosureSessions, Regime, Segments
from modelward_server.actor_context import ActorContext
from modelward_server.drift.profile import Profile, describe
from modelward_server.drift.profile_builder import build_profile
from modelward_server.drift.profile_serialization import from_bytes, to_bytes
from modelward_server.drift.row_order import GROUP, ID, NO_KEYS, RowKeys, keys_of, panel_of, sort_rows, window_of
from modelward_server.drift.row_segments import RowSegments, check_regime, divide, rows_in
from modelward_server.lifecycle import signatures
from modelward_server.lifecycle.repository import version_row
from modelward_server.lifecycle.versions import record_change
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.columns import select_rows, without
from modelward_server.storage.drift_tables import ReferenceRow
from modelward_server.storage.monitoring_tables import ObservedRowsRow

_features = TypeAdapter(tuple[FeatureProfile, ...])
_regime: TypeAdapter[Regime | None] = TypeAdapter(Regime | None)
_segments = TypeAdapter(tuple[ReferenceSegment, ...])
_window: TypeAdapter[TimeWindow | None] = TypeAdapter(TimeWindow | None)
PROFILES_CACHED_BYTES = 256 << 20
REGIME, SEGMENT_COLUMN = "regime", "segment_column"
"""The fields of a reference's header that choose and divide its rows."""
EXAMPLE_ROWS = 100
"""Number of rows of a reference that are kept, to try its version with."""


@dataclass(frozen=True)
class _Cached:
    profile: Profile
    bytes: int


_profiles: LRUCache[str, _Cached] = LRUCache(PROFILES_CACHED_BYTES, lambda cached: cached.bytes)
_lock = threading.Lock()


@dataclass(frozen=True)
class StoredProfile:
    """A profile that is stored in the blob store."""

    rows: int
    features: tuple[FeatureProfile, ...]
    digest: str
    ignored: tuple[str, ...]
    example: bytes
    """Some rows of the data as an Arrow stream, without the ignored columns."""
    field: str
    """How errors name the data."""
    window: TimeWindow | None = None
    """The times and groups of its rows; None if they have no time."""
    regime: Regime | None = None
    """The regime of which its rows are; None for no particular one."""
    segments: tuple[ReferenceSegment, ...] = ()
    """The segments of its rows that have a profile."""


def store_profile(
    blobs: BlobStore,
    columns: Columns,
    field: str,
    ignored: Collection[str] = (),
    keys: RowKeys = NO_KEYS,
    regime: Regime | None = None,
    by: str = "",
) -> StoredProfile:
    """Build and store the profile of reference data, to which nothing refers yet. The rows are sorted in place.

    Args:
        field: how errors name the data.
        ignored: columns that are no features.
        keys: the columns with the times and groups of the rows, which are no features either.
        regime: the regime to which the rows are limited; None: all.
        by: the column of segments that get a profile of their own, no feature either; empty: none.

    Raises:
        InvalidField: no column is a feature, or a time or group is missing, invalid or repeated; or a regime or the
            column of segments does not fit the rows.
    """
    if regime is not None:
        check_regime(regime, REGIME)
        columns = rows_in(columns, keys, regime, REGIME)
        if not len(next(iter(columns.values()))):
            raise InvalidField(FieldViolation(REGIME, "has no rows in the data; give rows of its times"))
    sort_rows(columns, keys)
    ignored = {*ignored, *keys.names, by} - {""}
    divided = divide(columns, keys, Segments(by), SEGMENT_COLUMN) if by else None
    if all(name in ignored or is_time(values) for name, values in columns.items()):
        fix = f"has no column that is a feature, only {', '.join(columns)}; times and ignored columns are none"
        raise InvalidField(FieldViolation(field, fix))
    profile = build_profile(columns, ignored, panel_of(columns, keys))
    digest = blobs.put_bytes(to_bytes(profile))
    example = _example(columns, profile.ignored)
    window = window_of(columns, keys)
    segments = tuple(_store_segments(blobs, columns, keys, ignored, divided)) if divided else ()
    features = describe(profile)
    return StoredProfile(profile.rows, features, digest, profile.ignored, example, field, window, regime, segments)


def _store_segments(
    blobs: BlobStore, columns: Columns, keys: RowKeys, ignored: Collection[str], divided: RowSegments
) -> Iterator[ReferenceSegment]:
    """Store a profile of each segment that is not too small."""
    for segment in divided.found:
        if not segment.note:
            rows = select_rows(columns, segment.rows)
            digest = blobs.put_bytes(to_bytes(build_profile(rows, ignored, panel_of(rows, keys))))
            yield ReferenceSegment(segment.column, segment.name, len(segment.rows), digest)


def _example(columns: Columns, ignored: Collection[str]) -> bytes:
    """Return rows that are evenly spread over the data."""
    rows = len(next(iter(columns.values())))
    chosen = np.unique(np.linspace(0, rows - 1, min(rows, EXAMPLE_ROWS)).astype(np.int64))
    shown = select_rows(without(columns, ignored), chosen)
    return b"".join(to_arrow(shown))


def set_reference(
    session: Session, ref: VersionRef, name: str, profile: StoredProfile, actor: ActorContext
) -> Reference:
    """Make a stored profile a version's reference, replacing one of the same name.

    Observed rows that wait for their window are forgotten when the features, or the columns with times and groups,
    are others now: they cannot be compared.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
        InvalidField: it is the default reference, and lacks a column that the model takes.
    """
    version = version_row(session, ref, lock=True)
    name = name or DEFAULT_REFERENCE
    if name == DEFAULT_REFERENCE:
        signatures.take_reference(version, profile.features, profile.field)
    row = ReferenceRow(
        model=ref.model,
        version=ref.version,
        name=name,
        rows=profile.rows,
        features=_features.dump_python(profile.features, mode="json"),
        ignored_columns=list(profile.ignored),
        window=_window.dump_python(profile.window),
        regime=_regime.dump_python(profile.regime),
        segments=_segments.dump_python(profile.segments, mode="json"),
        digest=profile.digest,
        example=profile.example,
        created_at=actor.at,
        created_by=actor.name,
    )
    _forget_rows_of_other_features(session, row)
    row = session.merge(row)
    version.references = sorted({*version.references, name})
    record_change(session, version, actor)
    return _to_reference(row)


def _forget_rows_of_other_features(session: Session, new: ReferenceRow) -> None:
    replaced = session.get(ReferenceRow, (new.model, new.version, new.name))
    same = replaced is not None and all(of(replaced) == of(new) for of in (_kinds, _keys, lambda row: row.regime))
    if replaced is None or same:
        return
    of = (("model", new.model), ("version", new.version), ("reference", new.name))
    session.execute(delete(ObservedRowsRow).where(*(getattr(ObservedRowsRow, key) == value for key, value in of)))


def _kinds(row: ReferenceRow) -> dict[str, str]:
    return {feature["name"]: feature["kind"] for feature in row.features}


def _keys(row: ReferenceRow) -> tuple[str, str]:
    window = row.window or {}
    return window.get("time_column", ""), window.get("group_column", "")


def get_reference(session: Session, ref: VersionRef, name: str) -> Reference:
    """Return a version's reference, without its profile.

    Raises:
        ModelNotFound, VersionNotFound: the version does not exist.
        ReferenceNotFound: it has no reference of that name.
    """
    version = version_row(session, ref)
    row = session.get(ReferenceRow, (ref.model, ref.version, name or DEFAULT_REFERENCE))
    if row is None:
        has = f"it has {', '.join(version.references)}" if version.references else "set one with SetReference"
        missing = name or DEFAULT_REFERENCE
        raise ReferenceNotFound(
            f"{ref} has no reference {missing!r}; {has}", model=ref.model, version=ref.version, reference=missing
        )
    return _to_reference(row)


def live_keys(reference: Reference, time: str, group: str) -> RowKeys:
    """Return the columns with the times and groups of live rows: those named, or else those of the reference.

    Raises:
        InvalidField: a group is named without a time, or the reference's rows have none.
    """
    keys = keys_of(time, group, reference.window)
    if keys.group and (reference.window is None or not reference.window.group_column):
        fix = f"is named, but the rows of reference {reference.name!r} have no group; set it again with {GROUP}"
        raise InvalidField(FieldViolation(GROUP, fix))
    if keys.time and reference.window is not None and reference.window.group_column and not keys.group:
        group = reference.window.group_column
        fix = f"is missing, but the rows of reference {reference.name!r} have groups by {group!r}; name their column"
        raise InvalidField(FieldViolation(GROUP, fix))
    return keys


def check_id_column(reference: Reference, keys: RowKeys, name: str) -> None:
    """Refuse a column of ids that has another meaning.

    Raises:
        InvalidField: it is a feature of the reference, or holds the times or groups of rows.
    """
    if name in {feature.name for feature in reference.features}:
        fix = f"names {name!r}, a feature of reference {reference.name!r}; add a copy of it by another name"
        raise InvalidField(FieldViolation(ID, fix))
    if name in keys.names:
        raise InvalidField(FieldViolation(ID, f"names {name!r}, the column of times or groups; name another column"))


def default_reference(session: Session, ref: VersionRef) -> Reference | None:
    """Return a version's default reference, if it has one."""
    row = session.get(ReferenceRow, (ref.model, ref.version, DEFAULT_REFERENCE))
    return None if row is None else _to_reference(row)


def other_references(session: Session, reference: Reference) -> list[Reference]:
    """Return the version's other references that have the same features, and are not of particular sessions."""
    return [
        other
        for other in all_references(session, reference.version)
        if other.name != reference.name
        and _features_of(other) == _features_of(reference)
        and not isinstance(other.regime, ClosureSessions)
    ]


def all_references(session: Session, ref: VersionRef) -> list[Reference]:
    """Return a version's references, ordered by their names."""
    rows = select(ReferenceRow).where(ReferenceRow.model == ref.model, ReferenceRow.version == ref.version)
    return [_to_reference(row) for row in session.scalars(rows.order_by(ReferenceRow.name))]


def _features_of(reference: Reference) -> dict[str, FeatureKind]:
    return {feature.name: feature.kind for feature in reference.features}


def load_profile(blobs: BlobStore, digest: str) -> Profile:
    """Return a stored profile; recently used ones are cached in memory.

    Raises:
        ReferenceNotFound: it was stored by an older server.
    """
    with _lock:
        if known := _profiles.get(digest):
            return known.profile
    packed = blobs.read_bytes(digest)
    profile = from_bytes(packed)
    with _lock, suppress(ValueError):  # A profile that is too large for the cache is read each time.
        _profiles[digest] = _Cached(profile, len(packed))
    return profile


def _to_reference(row: ReferenceRow) -> Reference:
    return Reference(
        version=VersionRef(row.model, row.version),
        name=row.name,
        rows=row.rows,
        features=_features.validate_python(row.features),
        created_at=row.created_at,
        created_by=row.created_by,
        digest=row.digest,
        ignored_columns=tuple(row.ignored_columns),
        window=_window.validate_python(row.window),
        regime=_regime.validate_python(row.regime),
        segments=_segments.validate_python(row.segments or []),
    )
