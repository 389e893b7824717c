"""Parsing of URIs into components, so that containment is decided by whole path segments and never by a text prefix."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

MLFLOW_SCHEMES = ("runs:", "models:", "mlflow-artifacts:")
"""Schemes that only MLflow can resolve."""
REGISTERED = re.compile(r"models:/(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,127})(/[^/@]+|@[^/]+)(/.*)?")
"""A version of a registered model. `models:/<id>`, which MLflow also accepts, does not name its model."""
MAX_ENCODINGS = 3
"""Maximum number of nested percent-encodings of a path."""


@dataclass(frozen=True)
class Location:
    """The target of a URI: its scheme, its host or bucket, and the segments of its path."""

    scheme: str
    authority: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Parse a URI.

        Raises:
            ValueError: readers could disagree about its target, for example over `..`, an encoded slash or a query; the
                message names the cause.
        """
        if not uri.isprintable() or uri != uri.strip() or "\\" in uri or "?" in uri or "#" in uri:
            raise ValueError("has control characters, outer spaces, a backslash, a query or a fragment")
        split = urlsplit(uri)
        if not split.scheme or (not split.path.startswith("/") and (split.path or not split.netloc)):
            raise ValueError("is not an absolute URI with a scheme")
        _check_path(split.path)
        return cls(split.scheme, _authority(split.scheme, split.netloc), _parts(split.scheme, split.path))

    def contains(self, other: "Location") -> bool:
        """Whether the other location is this one or inside it; a scheme alone contains all of its URIs."""
        if self.scheme != other.scheme:
            return False
        if not self.authority and not self.parts:
            return True
        return self.authority == other.authority and other.parts[: len(self.parts)] == self.parts


def model_of(uri: str) -> str | None:
    """Return the registered model that a URI names; None where it names none."""
    match = REGISTERED.fullmatch(uri)
    return match["model"] if match and is_unambiguous(uri) else None


def is_unambiguous(uri: str) -> bool:
    """Whether all readers agree about the target of a URI."""
    try:
        Location.parse(uri)
    except ValueError:
        return False
    return True


def _check_path(path: str) -> None:
    """Refuse a path that leads elsewhere, however it is encoded: some readers decode once more than others."""
    for _ in range(MAX_ENCODINGS):
        steps = path.strip("/").split("/")
        if {".", ".."} & set(steps) or "\\" in path or not path.isprintable():
            raise ValueError("has '.', '..', a backslash or a control character in its path")
        if "//" in path:
            raise ValueError("has an empty segment in its path")
        if (decoded := unquote(path)) == path:
            return
        path = decoded
    raise ValueError("is percent-encoded too often")


def _authority(scheme: str, authority: str) -> str:
    if scheme == "file":
        authority = "" if authority == "localhost" else authority
    if authority and (scheme == "file" or f"{scheme}:" in MLFLOW_SCHEMES):
        raise ValueError("names a host, which is not allowed for this scheme")
    return authority


def _parts(scheme: str, path: str) -> tuple[str, ...]:
    text = unquote(path) if scheme == "file" else path
    return tuple(part for part in text.split("/") if part)
