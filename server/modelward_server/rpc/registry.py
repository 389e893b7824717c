"""The registry's methods for models, versions and files: convert, call, convert."""

from collections.abc import AsyncIterator

from sqlalchemy.orm import Session

from modelward.shared.convert.common import file_to_proto, ref_from_proto
from modelward.shared.convert.inventory import inventory_from_proto, lineage_from_proto
from modelward.shared.convert.lifecycle import (
    model_to_proto,
    version_to_proto,
)
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceServicer
from modelward_server import identity
from modelward_server.actor_context import ActorContext
from modelward_server.drift.references import set_reference
from modelward_server.lifecycle import files, models, queries, versions
from modelward_server.lifecycle.deletion import check_not_deleted
from modelward_server.lifecycle.trial_task import TrialTask
from modelward_server.retraining.jobs import note_registered
from modelward_server.rpc.answer_cache import AnswerCache
from modelward_server.rpc.backtest_trials import assessed_trials
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.rpc.model_signatures import with_signature
from modelward_server.rpc.registration import copied_files, reference_profile
from modelward_server.rpc.requests import model_filter, new_version, optional_time, version_filter
from modelward_server.rpc.transfers import receive_blobs, send_chunks
from modelward_server.rpc.upload_streams import Uploads
from modelward_server.security.trusted_signers import TrustedSigners
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.own_blobs import OwnBlobs
from modelward_server.storage.sources import Sources


class RegistryServicer(LifecycleServiceServicer):
    """Methods for models, versions and their files."""

    _unit_of_work: RequestUnitOfWork
    _answers: AnswerCache
    _trials: TrialTask
    _blobs: BlobStore
    _sources: Sources
    _uploads: Uploads
    _signers: TrustedSigners

    async def CreateModel(self, request: pb.CreateModelRequest, context: Context) -> pb.CreateModelResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.CreateModelResponse(
                model=model_to_proto(
                    models.create_model(
                        session,
                        request.model,
                        request.description,
                        request.tags,
                        inventory_from_proto(request.inventory),
                        actor,
                    )
                )
            ),
        )

    async def GetModel(self, request: pb.GetModelRequest, context: Context) -> pb.GetModelResponse:
        return await self._answers.read(
            request,
            lambda session: pb.GetModelResponse(model=model_to_proto(models.get_model(session, request.model))),
        )

    async def ListModels(self, request: pb.ListModelsRequest, context: Context) -> pb.ListModelsResponse:
        conditions = model_filter(request)

        def listed(session: Session) -> pb.ListModelsResponse:
            page = queries.list_models(session, conditions, request.page_size, request.page_token)
            return pb.ListModelsResponse(models=map(model_to_proto, page.items), next_page_token=page.next_page_token)

        return await self._answers.read(request, listed)

    async def UpdateModel(self, request: pb.UpdateModelRequest, context: Context) -> pb.UpdateModelResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.UpdateModelResponse(
                model=model_to_proto(
                    models.update_model(
                        session,
                        request.model,
                        request.update_mask.paths,
                        request.description,
                        request.tags,
                        inventory_from_proto(request.inventory),
                        request.etag,
                        actor,
                    )
                )
            ),
        )

    async def UploadBlobs(
        self, request_iterator: AsyncIterator[pb.UploadBlobsRequest], context: Context
    ) -> pb.UploadBlobsResponse:
        async with self._uploads.admit(request_iterator, context) as parts:
            received = await receive_blobs(self._own_blobs(), parts, self._unit_of_work.executors.files)
        return pb.UploadBlobsResponse(blobs=received)

    def _own_blobs(self) -> BlobStore:
        """Return the blob store as the client may see it."""
        client = identity.current.get()
        if client and client.models:
            return OwnBlobs(self._blobs, self._unit_of_work.ledger, client.name)
        return self._blobs

    async def DownloadArtifact(
        self, request: pb.DownloadArtifactRequest, context: Context
    ) -> AsyncIterator[pb.DownloadArtifactResponse]:
        ref = ref_from_proto(request.version)
        version = await self._unit_of_work.read(lambda session: versions.get_version(session, ref))
        check_not_deleted(version)
        for file in files.selected_files(version, request.path, request.offset):
            yield pb.DownloadArtifactResponse(file=file_to_proto(file))
            blob, size = self._blobs.path(file.sha256), file.size_bytes
            async for chunk in send_chunks(blob, size, request.offset, self._unit_of_work.executors.files):
                yield pb.DownloadArtifactResponse(chunk=chunk)

    async def RegisterModelVersion(
        self, request: pb.RegisterModelVersionRequest, context: Context
    ) -> pb.RegisterModelVersionResponse:
        answered: pb.RegisterModelVersionResponse | None = await self._unit_of_work.recorded_answer(request)
        if answered is not None:  # A retry copies no files and computes no profile again.
            return answered
        source = (self._blobs, self._sources, self._unit_of_work.executors)
        profile = await reference_profile(request, *source)
        overfitting = await assessed_trials(request, "trials", self._sources, self._unit_of_work.executors)
        new = new_version(request, await copied_files(request, *source), overfitting)
        sent = (request.model_signature, new, self._blobs, self._signers)
        new = await self._unit_of_work.executors.files.run(with_signature, *sent)

        def register(
            session: Session, actor: ActorContext, prepared: versions.NewVersion
        ) -> pb.RegisterModelVersionResponse:
            version = versions.register(session, prepared, actor)
            if request.job_id:
                note_registered(session, request.job_id, request.fence, version.ref, actor)
            if profile is not None:
                set_reference(session, version.ref, "", profile, actor.not_before(version.created_at))
                version = versions.get_version(session, version.ref)
            return pb.RegisterModelVersionResponse(version=version_to_proto(version))

        return await self._unit_of_work.run_idempotent_prepared(
            request,
            context,
            lambda _session: versions.prepare_registration(self._blobs, new, allow_pickle=self._trials.allow_pickle),
            register,
        )

    async def GetModelVersion(self, request: pb.GetModelVersionRequest, context: Context) -> pb.GetModelVersionResponse:
        ref = ref_from_proto(request.version)
        return await self._answers.read(
            request,
            lambda session: pb.GetModelVersionResponse(version=version_to_proto(versions.get_version(session, ref))),
        )

    async def ListModelVersions(
        self, request: pb.ListModelVersionsRequest, context: Context
    ) -> pb.ListModelVersionsResponse:
        conditions = version_filter(request)

        def listed(session: Session) -> pb.ListModelVersionsResponse:
            page = queries.list_versions(session, conditions, request.page_size, request.page_token)
            return pb.ListModelVersionsResponse(
                versions=map(version_to_proto, page.items), next_page_token=page.next_page_token
            )

        return await self._answers.read(request, listed)

    async def UpdateModelVersion(
        self, request: pb.UpdateModelVersionRequest, context: Context
    ) -> pb.UpdateModelVersionResponse:
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.UpdateModelVersionResponse(
                version=version_to_proto(
                    versions.update_version(
                        session,
                        ref_from_proto(request.version),
                        request.update_mask.paths,
                        request.description,
                        request.tags,
                        lineage_from_proto(request.lineage),
                        request.etag,
                        actor,
                    )
                )
            ),
        )

    async def LogMetrics(self, request: pb.LogMetricsRequest, context: Context) -> pb.LogMetricsResponse:
        measured_at = optional_time(request, "measured_at")
        return await self._unit_of_work.run_idempotent(
            request,
            context,
            lambda session, actor: pb.LogMetricsResponse(
                version=version_to_proto(
                    versions.log_metrics(session, ref_from_proto(request.version), request.metrics, measured_at, actor)
                )
            ),
        )
