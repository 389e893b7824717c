"""What a version takes and gives, in the words of the protocol."""

from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.signature import ColumnKind, Signature, SignatureColumn
from modelward_server.oip import open_inference_pb2 as pb
from modelward_server.oip.predictions import PROBABILITIES, datatype_of
from modelward_server.oip.tables import signature_of
from modelward_server.oip.tensors import BYTES
from modelward_server.sandbox.warm_model import LoadedModel
from modelward_server.storage.tables import VersionRow

DATATYPES = {ColumnKind.CATEGORY: BYTES, ColumnKind.TIME: BYTES, ColumnKind.BOOLEAN: "BOOL"}
"""The datatypes of columns that are not of numbers."""
ANY = -1

Tensor = pb.ModelMetadataResponse.TensorMetadata


def model_metadata(session: Session, model: LoadedModel) -> pb.ModelMetadataResponse:
    """Describe a version of a model."""
    version, signature = model.version, signature_of(model)
    numbers = select(VersionRow.version).where(VersionRow.model == version.model).order_by(VersionRow.version)
    return pb.ModelMetadataResponse(
        name=version.model,
        versions=map(str, session.scalars(numbers)),
        platform=f"modelward_{version.format}",
        inputs=_inputs(signature),
        outputs=[_output(column, signature) for column in signature.outputs],
    )


def _inputs(signature: Signature) -> Iterator[Tensor]:
    """Yield a tensor for each feature, or one matrix where features have no names."""
    if signature.names:
        for column in signature.inputs:
            yield Tensor(name=column.name, datatype=DATATYPES.get(column.kind, "FP64"), shape=[ANY])
    else:
        yield Tensor(name="rows", datatype="FP64", shape=[ANY, len(signature.inputs) or ANY])


def _output(column: SignatureColumn, signature: Signature) -> Tensor:
    if column.name == PROBABILITIES:
        return Tensor(name=column.name, datatype="FP64", shape=[ANY, len(signature.classes) or ANY])
    known = datatype_of(signature.classes) if signature.classes else DATATYPES.get(column.kind, "FP64")
    return Tensor(name=column.name, datatype=known, shape=[ANY])
