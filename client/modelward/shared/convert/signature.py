"""Convert signatures."""

from modelward.signature import ClassLabel, ColumnKind, Signature, SignatureColumn
from modelward.v1 import lifecycle_pb2 as pb

KINDS = {
    ColumnKind.UNKNOWN: pb.COLUMN_KIND_UNSPECIFIED,
    ColumnKind.NUMBER: pb.COLUMN_KIND_NUMBER,
    ColumnKind.CATEGORY: pb.COLUMN_KIND_CATEGORY,
    ColumnKind.BOOLEAN: pb.COLUMN_KIND_BOOLEAN,
    ColumnKind.TIME: pb.COLUMN_KIND_TIME,
}
KINDS_BY_NUMBER = {number: kind for kind, number in KINDS.items()}


def signature_to_proto(signature: Signature | None) -> pb.Signature | None:
    if signature is None:
        return None
    return pb.Signature(
        inputs=map(_column_to_proto, signature.inputs),
        outputs=map(_column_to_proto, signature.outputs),
        classes=map(label_to_proto, signature.classes),
    )


def signature_from_proto(message: pb.Signature) -> Signature:
    return Signature(
        inputs=tuple(map(_column_from_proto, message.inputs)),
        outputs=tuple(map(_column_from_proto, message.outputs)),
        classes=tuple(map(label_from_proto, message.classes)),
    )


def _column_to_proto(column: SignatureColumn) -> pb.SignatureColumn:
    return pb.SignatureColumn(name=column.name, kind=KINDS[column.kind])


def _column_from_proto(message: pb.SignatureColumn) -> SignatureColumn:
    return SignatureColumn(message.name, KINDS_BY_NUMBER.get(message.kind, ColumnKind.UNKNOWN))


def label_to_proto(label: ClassLabel) -> pb.ClassLabel:
    if isinstance(label, bool):
        return pb.ClassLabel(boolean=label)
    if isinstance(label, int):
        return pb.ClassLabel(integer=label)
    return pb.ClassLabel(number=label) if isinstance(label, float) else pb.ClassLabel(text=label)


def label_from_proto(message: pb.ClassLabel) -> ClassLabel:
    label: ClassLabel = getattr(message, message.WhichOneof("value") or "text")
    return label
