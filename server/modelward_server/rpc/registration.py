"""What a registration needs before its transaction: files copied from a location, and the profile of its reference."""

from collections.abc import Sequence

from modelward.lifecycle import ArtifactFile
from modelward.v1 import lifecycle_pb2 as pb
from modelward_server.drift import references
from modelward_server.drift.row_order import keys_of
from modelward_server.rpc.datasets import join_batches, read_batches, reading_executor
from modelward_server.runtime.executors import Executors
from modelward_server.storage.arrow_tables import PresentColumns
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources

REFERENCE = "reference.data"
"""The position of the reference's data in the request, for errors."""


async def copied_files(
    request: pb.RegisterModelVersionRequest, blobs: BlobStore, sources: Sources, executors: Executors
) -> Sequence[ArtifactFile] | None:
    """Copy the files from the location that the request names; None if it has a manifest."""
    if request.WhichOneof("artifact") != "source_uri":
        return None
    return await executors.remote.run(sources.copy_artifact, request.source_uri, blobs)


async def reference_profile(
    request: pb.RegisterModelVersionRequest, blobs: BlobStore, sources: Sources, executors: Executors
) -> references.StoredProfile | None:
    """Build and store the profile of the reference, to which nothing refers yet; None if there is no reference.

    Raises:
        InvalidField: the data cannot be read, no column is a feature, or a time or group is invalid.
        SourceNotAllowed: the data are in a location that the operator does not allow.
    """
    if not request.HasField("reference"):
        return None
    data, keys = request.reference.data, keys_of(request.reference.time_column, request.reference.group_column)
    ignored = PresentColumns({*request.reference.ignored_columns} - keys.names)

    def build() -> references.StoredProfile:
        columns = join_batches(read_batches(data, REFERENCE, sources, ignored=ignored), REFERENCE)
        return references.store_profile(blobs, columns, REFERENCE, ignored, keys)

    return await reading_executor(executors, data).run(build)
