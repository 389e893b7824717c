"""The registry's methods for MLflow: repair what it shows, and import what it has."""

from dataclasses import replace
from functools import partial

from sqlalchemy import select
from sqlalchemy.orm import Session

from modelward.errors import ModelwardError, StoreUnavailable
from modelward.lifecycle import AdoptedVersion, VersionRef
from modelward.shared.convert.common import ref_to_proto, stage_to_proto
from modelward.v1 import lifecycle_pb2 as pb
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceServicer
from modelward_server.actor_context import ActorContext
from modelward_server.lifecycle.repository import model_row
from modelward_server.lifecycle.resolve import alias_holders
from modelward_server.lifecycle.trial_task import TrialTask
from modelward_server.lifecycle.versions import NewVersion, get_version, prepare_registration
from modelward_server.mlflow.mirror_task import MirrorTask
from modelward_server.mlflow.mlflow_import import adopt, fitting, is_known, new_version, problem_of, stage_here
from modelward_server.mlflow.registry import SAME_MEANING, ForeignVersion, MlflowRegistry
from modelward_server.rpc.idempotency import Context, RequestUnitOfWork
from modelward_server.runtime.retries import log_once
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources
from modelward_server.storage.tables import VersionRow


class MlflowServicer(LifecycleServiceServicer):
    """Methods that reconcile MLflow with the ledger and import its versions."""

    _unit_of_work: RequestUnitOfWork
    _blobs: BlobStore
    _sources: Sources
    _registry: MlflowRegistry
    _mirror: MirrorTask
    _trials: TrialTask

    async def ReconcileMlflow(self, request: pb.ReconcileMlflowRequest, context: Context) -> pb.ReconcileMlflowResponse:
        refs = await self._unit_of_work.read(partial(_refs, model=request.model))
        answer = pb.ReconcileMlflowResponse(versions=len(refs))
        for ref in refs:
            problems, left = await self._reconciled(ref, request.dry_run)
            for problem in problems:
                answer.differences.add(version=ref_to_proto(ref), problem=problem, mended=problem not in left)
        return answer

    async def _reconciled(self, ref: VersionRef, dry_run: bool) -> tuple[list[str], list[str]]:
        """Return the differences of a version, and those that remain; a failure of one does not hide the others."""
        problems: list[str] = []
        try:
            problems += await self._differences(ref)
            left = await self._repair(ref) if problems and not dry_run else problems
        except Exception as error:
            failure = await self._failure(f"reconciling {ref}", error)
            return [*problems, failure], [*problems, failure]
        return problems, left

    async def _failure(self, what: str, error: Exception) -> str:
        """Describe why one version of many failed.

        Raises:
            StoreUnavailable: the ledger or MLflow does not answer, so that the others would fail too.
        """
        if isinstance(error, StoreUnavailable):
            if error.metadata.get("store") != "mlflow":
                raise error
            await self._unit_of_work.executors.remote.run(self._registry.check)
        if isinstance(error, ModelwardError):
            return error.message
        log_once(what, "unexpectedly", error)
        return f"{what} failed: {type(error).__name__}; the server's log has the details"

    async def _differences(self, ref: VersionRef) -> list[str]:
        version, holders = await self._unit_of_work.read(
            lambda session: (get_version(session, ref), alias_holders(session, ref.model))
        )
        return await self._unit_of_work.executors.remote.run(self._registry.differences, version, holders)

    async def _repair(self, ref: VersionRef) -> list[str]:
        """Sync a version to MLflow, and return what still differs."""
        await self._unit_of_work.executors.remote.run(self._mirror.sync, ref)
        return await self._differences(ref)

    async def ImportMlflow(self, request: pb.ImportMlflowRequest, context: Context) -> pb.ImportMlflowResponse:
        versions = await self._unit_of_work.executors.remote.run(lambda: list(self._registry.versions(request.model)))
        answer = pb.ImportMlflowResponse()
        for foreign in versions:
            if not await self._unit_of_work.read(partial(is_known, foreign=foreign)):
                answer.adopted.append(await self._adopted(foreign, request, context))
        if not request.dry_run:
            for model in sorted({foreign.model for foreign in versions if foreign.aliases & set(SAME_MEANING)}):
                await self._retire_aliases(model)
        return answer

    async def _retire_aliases(self, model: str) -> None:
        """Show a model's stages by their own aliases, and remove aliases with the same meaning.

        Where that fails, the versions are imported nevertheless, and the next import retries it.
        """
        try:
            for held in await self._unit_of_work.read(partial(alias_holders, model=model)):
                await self._unit_of_work.executors.remote.run(self._mirror.sync, held.ref)
            await self._unit_of_work.executors.remote.run(self._registry.retire_aliases, model)
        except ModelwardError as error:
            log_once("removing MLflow's aliases of", model, error)

    async def _adopted(
        self, foreign: ForeignVersion, request: pb.ImportMlflowRequest, context: Context
    ) -> pb.AdoptedVersion:
        """Import a version, or describe why that failed; the others are imported nevertheless."""
        try:
            return await self._adopt(foreign, request, context)
        except Exception as error:
            problem = await self._failure(f"adopting {foreign.model}/{foreign.mlflow_version}", error)
            return _adopted_to_proto(AdoptedVersion(foreign.model, foreign.mlflow_version, 0, foreign.stage, problem))

    async def _adopt(
        self, foreign: ForeignVersion, request: pb.ImportMlflowRequest, context: Context
    ) -> pb.AdoptedVersion:
        left = AdoptedVersion(foreign.model, foreign.mlflow_version, 0, foreign.stage, problem_of(foreign))
        if left.problem:
            return _adopted_to_proto(left)
        kept, left_out = fitting(foreign)
        if request.dry_run:
            stage = await self._unit_of_work.read(partial(stage_here, foreign=kept))
            return _adopted_to_proto(replace(left, stage=stage, left_out=left_out))
        new = await self._unit_of_work.executors.remote.run(self._copied, kept)

        def change(session: Session, actor: ActorContext) -> pb.AdoptedVersion:
            return _adopted_to_proto(replace(adopt(session, kept, new, actor), left_out=left_out))

        return await self._unit_of_work.run_idempotent(request, context, change)

    def _copied(self, foreign: ForeignVersion) -> NewVersion:
        """Copy the files of a version, and recognise their format."""
        new = new_version(foreign, self._sources.copy_artifact(foreign.uri, self._blobs))
        return prepare_registration(self._blobs, new, allow_pickle=self._trials.allow_pickle)


def _refs(session: Session, model: str) -> list[VersionRef]:
    rows = select(VersionRow.model, VersionRow.version).order_by(VersionRow.model, VersionRow.version)
    if model:
        model_row(session, model)
        rows = rows.where(VersionRow.model == model)
    return [VersionRef(*row) for row in session.execute(rows)]


def _adopted_to_proto(adopted: AdoptedVersion) -> pb.AdoptedVersion:
    return pb.AdoptedVersion(
        model=adopted.model,
        mlflow_version=adopted.mlflow_version,
        version=adopted.version,
        stage=stage_to_proto(adopted.stage),
        problem=adopted.problem,
        left_out=adopted.left_out,
        not_tried=adopted.not_tried,
    )
