"""How callers may name versions and stages."""

from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion, Stage, VersionRef

AnyVersion = str | VersionRef | ModelVersion
"""A version: `"spx-direction/3"`, a reference, or the version itself."""


def as_ref(version: AnyVersion) -> VersionRef:
    """Return the reference to a version.

    Raises:
        InvalidField: the text is not of the form `name/3`.
    """
    if isinstance(version, ModelVersion):
        return version.ref
    if isinstance(version, VersionRef):
        return version
    model, _, number = version.rpartition("/")
    if not model or not number.isascii() or not number.isdigit() or int(number) >= 1 << 31:
        raise InvalidField(FieldViolation("version", f"{version!r} is not of the form 'model/3'"))
    return VersionRef(model, int(number))


def as_stage(stage: Stage | str) -> Stage:
    """Return the stage of that name.

    Raises:
        InvalidField: there is none.
    """
    try:
        return Stage(stage)
    except ValueError:
        names = ", ".join(Stage)
        raise InvalidField(FieldViolation("stage", f"{stage!r} is not a stage; there are {names}")) from None
