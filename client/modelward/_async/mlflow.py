"""The registry's calls about MLflow."""

from modelward._async.connection import AsyncConnection
from modelward.lifecycle import AdoptedVersion, MlflowDifference, Reconciliation, Stage
from modelward.shared.convert.common import ref_from_proto, stage_from_proto
from modelward.v1 import lifecycle_pb2 as pb

LONG_SECONDS = 3600.0


class AsyncMlflow(AsyncConnection):
    """MLflow beside the registry."""

    async def reconcile_mlflow(
        self, model: str = "", *, dry_run: bool = False, timeout: float = LONG_SECONDS
    ) -> Reconciliation:
        """Find where MLflow does not show what the registry says, and mend it.

        Args:
            model: only this one; all when it is empty.
            dry_run: only say what differs.

        Raises:
            ModelNotFound: there is no such model.
            StoreUnavailable: MLflow does not answer.
        """
        request = pb.ReconcileMlflowRequest(model=model, dry_run=dry_run)
        answer = await self._call(self._lifecycle.ReconcileMlflow, request, timeout)
        differences = (MlflowDifference(ref_from_proto(d.version), d.problem, d.mended) for d in answer.differences)
        return Reconciliation(answer.versions, tuple(differences))

    async def import_mlflow(
        self, model: str = "", *, dry_run: bool = False, timeout: float = LONG_SECONDS
    ) -> tuple[AdoptedVersion, ...]:
        """Adopt the versions of the server's MLflow registry that are not known here, with files, runs and stages.

        The aliases `production` and `champion`, `staging` and `challenger` tell the stage, and MLflow's older stages.
        From then on MLflow shows the stages by `production` and `staging` alone, which follow every change; the import
        removes `champion` and `challenger`, so point what loads by those names to the others first.
        What was adopted before is left alone, so the call may be repeated. A version that cannot be adopted says why
        and keeps no other from it; a metric that is not finite, and what else is not allowed here, is left out.

        Args:
            model: only this registered model; all when it is empty.
            dry_run: only say what would be adopted.

        Raises:
            StoreUnavailable: MLflow does not answer.
        """
        request = pb.ImportMlflowRequest(model=model, dry_run=dry_run)
        answer = await self._call(self._lifecycle.ImportMlflow, request, timeout)
        return tuple(
            AdoptedVersion(
                a.model,
                a.mlflow_version,
                a.version,
                stage_from_proto(a.stage) or Stage.TRAINING,
                a.problem,
                tuple(a.left_out),
            )
            for a in answer.adopted
        )
