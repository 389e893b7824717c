# Derived from modelward/_async/mlflow.py by client/unasync.py: change that one.
"""Client methods for MLflow: reconciliation and import."""

from modelward._sync.connection import Connection
from modelward.lifecycle import AdoptedVersion, MlflowDifference, Reconciliation, Stage
from modelward.shared.convert.common import ref_from_proto, stage_from_proto
from modelward.v1 import lifecycle_pb2 as pb

LONG_SECONDS = 3600.0


class Mlflow(Connection):
    """Reconciliation with MLflow, and import from it."""

    def reconcile_mlflow(
        self, model: str = "", *, dry_run: bool = False, timeout: float = LONG_SECONDS
    ) -> Reconciliation:
        """Detect and repair differences between MLflow and the registry.

        Args:
            model: only this model; all when empty.
            dry_run: only report the differences.
            timeout: seconds for the call with all its attempts.

        Returns:
            The number of versions examined, and each difference.

        Raises:
            ModelNotFound: there is no such model.
            StoreUnavailable: MLflow does not respond.
        """
        request = pb.ReconcileMlflowRequest(model=model, dry_run=dry_run)
        answer = self._call(self._lifecycle.ReconcileMlflow, request, timeout)
        differences = (MlflowDifference(ref_from_proto(d.version), d.problem, d.mended) for d in answer.differences)
        return Reconciliation(answer.versions, tuple(differences))

    def import_mlflow(
        self, model: str = "", *, dry_run: bool = False, timeout: float = LONG_SECONDS
    ) -> tuple[AdoptedVersion, ...]:
        """Adopt versions of the server's MLflow registry that are not known here, with files, runs and stages.

        The aliases `production` and `champion`, `staging` and `challenger` determine the stage, as do MLflow's older
        stages. From then on MLflow shows the stages by `production` and `staging` only, which follow every change; the
        import removes `champion` and `challenger`, so switch consumers of these names to the others first. Versions
        adopted before are skipped, so the call may be repeated. For a version that cannot be adopted the reason is
        returned, and the others are still adopted; a metric that is not finite, or any other attribute that is not
        allowed here, is left out.

        Args:
            model: only this registered model; all when empty.
            dry_run: only report what would be adopted.
            timeout: seconds for the call with all its attempts.

        Returns:
            Each version that was examined: its number here, or why it was not adopted.

        Raises:
            StoreUnavailable: MLflow does not respond.
        """
        request = pb.ImportMlflowRequest(model=model, dry_run=dry_run)
        answer = self._call(self._lifecycle.ImportMlflow, request, timeout)
        return tuple(
            AdoptedVersion(
                a.model,
                a.mlflow_version,
                a.version,
                stage_from_proto(a.stage) or Stage.TRAINING,
                a.problem,
                tuple(a.left_out),
                a.not_tried,
            )
            for a in answer.adopted
        )
