"""URIs taken apart, so that what lies where is told by whole parts and never by how a text begins."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

MLFLOW_SCHEMES = ("runs:", "models:", "mlflow-artifacts:")
"""What MLflow alone knows how to find."""
REGISTERED = re.compile(r"models:/(?P<model>[A-Za-z0-9][A-Za-z0-9._-]{0,127})(/[^/@]+|@[^/]+)(/.*)?")
"""A version of a registered model. `models:/<id>`, which MLflow takes too, is nobody's by its name."""
MAX_ENCODINGS = 3
"""How often a path may be percent-encoded on top of itself."""


@dataclass(frozen=True)
class Location:
    """Where a URI points: its scheme, its host or bucket, and the parts of its path."""

    scheme: str
    authority: str
    parts: tuple[str, ...]

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Take a URI apart.

        Raises:
            ValueError: readers could disagree about where it points, as over `..`, an encoded slash or a query; the
                text says over what.
        """
        if not uri.isprintable() or uri != uri.strip() or "\\" in uri or "?" in uri or "#" in uri:
            raise ValueError("has control characters, outer spaces, a backslash, a query or a fragment")
        split = urlsplit(uri)
        if not split.scheme or (not split.path.startswith("/") and (split.path or not split.netloc)):
            raise ValueError("is no absolute URI with a scheme")
        _check_path(split.path)
        return cls(split.scheme, _authority(split.scheme, split.netloc), _parts(split.scheme, split.path))

    def contains(self, other: "Location") -> bool:
        """Whether the other is this place or lies in it; a scheme alone is all that it leads to."""
        if self.scheme != other.scheme:
            return False
        if not self.authority and not self.parts:
            return True
        return self.authority == other.authority and other.parts[: len(self.parts)] == self.parts


def model_of(uri: str) -> str | None:
    """Return the registered model whose files lie there; None for what is nobody's by its name."""
    match = REGISTERED.fullmatch(uri)
    return match["model"] if match and is_plain(uri) else None


def is_plain(uri: str) -> bool:
    """Whether all readers agree about where a URI points."""
    try:
        Location.parse(uri)
    except ValueError:
        return False
    return True


def _check_path(path: str) -> None:
    """Refuse what leads elsewhere, however it is encoded: some readers decode once more than others."""
    for _ in range(MAX_ENCODINGS):
        steps = path.strip("/").split("/")
        if {".", ".."} & set(steps) or "\\" in path or not path.isprintable():
            raise ValueError("has '.', '..', a backslash or a control character in its path")
        if "//" in path:
            raise ValueError("has an empty part in its path")
        if (decoded := unquote(path)) == path:
            return
        path = decoded
    raise ValueError("is percent-encoded too often")


def _authority(scheme: str, authority: str) -> str:
    if scheme == "file":
        authority = "" if authority == "localhost" else authority
    if authority and (scheme == "file" or f"{scheme}:" in MLFLOW_SCHEMES):
        raise ValueError("names a host, which URIs of this scheme may not here")
    return authority


def _parts(scheme: str, path: str) -> tuple[str, ...]:
    text = unquote(path) if scheme == "file" else path
    return tuple(part for part in text.split("/") if part)
