"""The signature of a version: the columns that its model takes, what it predicts, and its classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from modelward._record import Record, counted, sentence

ClassLabel = bool | int | float | str
"""A class that a classifier predicts."""


class ColumnKind(StrEnum):
    """The kind of values of a column."""

    UNKNOWN = "unknown"
    """Neither the model nor a reference tells."""
    NUMBER = "number"
    """Numbers."""
    CATEGORY = "category"
    """Text."""
    BOOLEAN = "boolean"
    """True or false."""
    TIME = "time"
    """Instants in UTC."""


@dataclass(frozen=True, repr=False)
class SignatureColumn(Record):
    """One column of a signature."""

    name: str
    """Its name; empty where only its position is known."""
    kind: ColumnKind = ColumnKind.NUMBER
    """The kind of its values."""


@dataclass(frozen=True, repr=False)
class Signature(Record):
    """What a model takes and gives, in order."""

    inputs: tuple[SignatureColumn, ...] = ()
    """The columns that it takes; empty if they are not known."""
    outputs: tuple[SignatureColumn, ...] = ()
    """`prediction`, and `probabilities` if it gives those too: one number for each class."""
    classes: tuple[ClassLabel, ...] = ()
    """The classes in the order of the probabilities; empty for a model that predicts numbers, or if not known."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the inputs; empty if they have none."""
        names = tuple(column.name for column in self.inputs)
        return names if all(names) else ()

    @property
    def classifies(self) -> bool:
        """Whether the model predicts classes, also if they are not known."""
        return bool(self.classes) or any(column.kind is not ColumnKind.NUMBER for column in self.outputs)

    @classmethod
    def of(
        cls,
        names: Sequence[str] = (),
        *,
        width: int = 0,
        kinds: Sequence[ColumnKind] = (),
        classes: Sequence[ClassLabel] = (),
        classifies: bool = False,
        probabilities: bool = False,
    ) -> "Signature":
        """Build a signature.

        Args:
            names: of the inputs.
            width: how many inputs there are, if they have no names.
            kinds: of the inputs; unknown by default.
            classes: of a classifier.
            classifies: whether it predicts classes, also if they are not known.
            probabilities: whether it gives probabilities.
        """
        names = names or [""] * width
        kinds = kinds or [ColumnKind.UNKNOWN] * len(names)
        inputs = tuple(SignatureColumn(name, kind) for name, kind in zip(names, kinds, strict=True))
        output = _kind_of(classes) if classifies or classes else ColumnKind.NUMBER
        more = (SignatureColumn("probabilities", ColumnKind.NUMBER),) if probabilities else ()
        return cls(inputs, (SignatureColumn("prediction", output), *more), tuple(classes))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Signature":
        """Return the signature that `to_dict` described.

        Args:
            values: what `to_dict` returned, also after a way through JSON.
        """
        inputs, outputs = (
            tuple(SignatureColumn(column["name"], ColumnKind(column["kind"])) for column in values[part])
            for part in ("inputs", "outputs")
        )
        return cls(inputs, outputs, tuple(values["classes"]))

    def completed(self, other: "Signature | None") -> "Signature":
        """Return the signature with what only the other one knows: names, kinds, outputs and classes.

        Args:
            other: of the same model, from another source, such as its reference; None for none. Of a signature with
                names, inputs of other names are not used; without names, none are used if there are more or fewer.
        """
        if other is None:
            return self
        inputs = self.inputs or other.inputs
        if self.names:
            kinds = {column.name: column for column in other.inputs}
            inputs = tuple(_completed(column, kinds.get(column.name, column)) for column in inputs)
        elif len(other.inputs) == len(inputs):
            inputs = tuple(map(_completed, inputs, other.inputs))
        return replace(
            self, inputs=inputs, outputs=self.outputs or other.outputs, classes=self.classes or other.classes
        )

    def without_names(self) -> "Signature":
        """Return the signature with only the places of the inputs."""
        return replace(self, inputs=tuple(replace(column, name="") for column in self.inputs))

    def _describe(self) -> str:
        names = self.names
        inputs = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        classes = f"{len(self.classes)} classes" if self.classes else ""
        return sentence(counted(len(self.inputs), "input"), inputs, *(column.name for column in self.outputs), classes)


def _completed(own: SignatureColumn, other: SignatureColumn) -> SignatureColumn:
    kind = other.kind if own.kind is ColumnKind.UNKNOWN else own.kind
    return SignatureColumn(own.name or other.name, kind)


def _kind_of(classes: Sequence[ClassLabel]) -> ColumnKind:
    types = {type(label) for label in classes}
    if types == {bool}:
        return ColumnKind.BOOLEAN
    if types and types <= {int, float}:
        return ColumnKind.NUMBER
    return ColumnKind.CATEGORY if types else ColumnKind.UNKNOWN
