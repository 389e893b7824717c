"""Serialization of profiles as npz files, whose deserialization runs no code."""

import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from modelward.errors import ReferenceNotFound
from modelward_server.drift.multivariate import empty_joint_profile
from modelward_server.drift.profile import CategoryProfile, Feature, JointProfile, NumberProfile, Profile
from modelward_server.statistics.null_distribution import NullDistribution

FORMAT = 4
"""The version of the format; incremented when the content of a profile changes."""
WITHOUT_JOINT = 3
"""The format with a different rank of categories: its profiles are not compared jointly until they are set again."""
KINDS: dict[str, type[Any]] = {kind.__name__: kind for kind in (NumberProfile, CategoryProfile)}


def to_bytes(profile: Profile) -> bytes:
    """Serialize a profile."""
    arrays: dict[str, Any] = {}
    header = {
        "format": FORMAT,
        "rows": profile.rows,
        "tests": profile.tests,
        "ignored": profile.ignored,
        "times": profile.times,
        "repeated": profile.repeated,
        "features": [_header(f"{i}.", feature, arrays) for i, feature in enumerate(profile.features)],
        "joint": _header("joint.", profile.joint, arrays),
    }
    arrays["hashes"] = profile.hashes
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), np.uint8)
    packed = io.BytesIO()
    np.savez(packed, **arrays)
    return packed.getvalue()


def _header(prefix: str, part: Feature | JointProfile, arrays: dict[str, Any]) -> dict[str, Any]:
    """Add the arrays of a part to `arrays`, and return its other fields."""
    plain = dict(_plain(part))
    arrays |= {prefix + key: value for key, value in plain.items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in plain.items() if not isinstance(value, np.ndarray)}
    return {"kind": type(part).__name__, **rest}


def _plain(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield a part's fields, and those of its null distribution."""
    for one in (part, part.null):
        yield from ((field.name, getattr(one, field.name)) for field in fields(one) if field.name != "null")


def from_bytes(packed: bytes) -> Profile:
    """Deserialize a profile.

    Raises:
        ReferenceNotFound: it was serialized by a server version with an incompatible format.
    """
    with np.load(io.BytesIO(packed), allow_pickle=False) as arrays:
        header = json.loads(arrays["header"].tobytes())
        if header.get("format") not in {FORMAT, WITHOUT_JOINT}:
            raise ReferenceNotFound(
                "the reference was stored by a server of another release; set it again from the same data"
            )
        features = tuple(_unpacked(f"{i}.", plain, arrays) for i, plain in enumerate(header["features"]))
        joint = _unpacked("joint.", header["joint"], arrays)
        if header["format"] == WITHOUT_JOINT:
            joint = empty_joint_profile(len(features))
        hashes = arrays["hashes"] if "hashes" in arrays else np.zeros(0, np.uint64)
    ignored, times = tuple(header.get("ignored", ())), header.get("times", 0)
    repeated = header.get("repeated", 0.0)
    return Profile(header["rows"], features, joint, header["tests"], ignored, times, hashes, repeated)


def _unpacked(prefix: str, plain: dict[str, Any], arrays: Mapping[str, Any]) -> Any:
    own = {key.removeprefix(prefix): arrays[key] for key in arrays if key.startswith(prefix)} | plain
    kind = KINDS.get(own.pop("kind"), JointProfile)
    null = NullDistribution(own.pop("quantiles"), own.pop("tests"), own.pop("independence"))
    if kind is CategoryProfile:
        own["categories"] = tuple(own["categories"])
    return kind(null=null, **own)
