# Derived from modelward/_async/client.py by client/unasync.py: change that one.
"""The whole client."""

from collections.abc import Collection, Mapping
from typing import Any

from modelward._arguments import checks_arguments
from modelward._coerce import as_names
from modelward._sync.abtest import AbTests
from modelward._sync.comparison import Comparisons
from modelward._sync.drift import Drift
from modelward._sync.follow import Following
from modelward._sync.lifecycle import Lifecycle
from modelward._sync.mlflow import Mlflow
from modelward._sync.observe import Observing
from modelward._sync.outcomes import Outcomes
from modelward._sync.retraining import Retraining
from modelward._sync.schedules import Schedules
from modelward._sync.stages import Stages
from modelward._sync.watching import Watching
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion
from modelward.retraining import Job


@checks_arguments
class Client(
    Lifecycle,
    Stages,
    Watching,
    Following,
    Drift,
    Observing,
    Outcomes,
    Comparisons,
    Schedules,
    AbTests,
    Retraining,
    Mlflow,
):
    """Everything that Modelward does, as methods of one object.

    Each method may raise `Unavailable` when the server does not answer within the timeout, and `DeadlineExceeded`.
    Changes are safe to retry: every attempt of a call carries the same request id, and the server answers it once.
    """

    def register(
        self,
        name: str,
        model: object,
        *,
        metrics: Mapping[str, float] | None = None,
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        description: str = "",
        reference: Any = None,
        ignore: Collection[str] = (),
        job: Job | None = None,
        timeout: float | None = None,
    ) -> ModelVersion:
        """Register the next version of a model, in the training stage.

        Args:
            name: the model's name; a model that does not exist is created.
            model: a scikit-learn estimator (saved by skops), an ONNX model, or a path to a file or folder.
            metrics: how good it is; finite values.
            params: how it was trained; an estimator tells its own when they are left out.
            tags: free labels.
            description: what is particular about it.
            reference: the data that it was trained on, which drift is measured against; a frame, a mapping of columns,
                an Arrow table or an array. It is checked before anything is registered.
            ignore: columns of `reference` that are no features, as "symbol", whatever they hold.
            job: the retraining job that this is the result of, as `lease_job` returned it: only its holder may register
                it, and a job has one version.
            timeout: seconds for each of the calls that this takes.

        Raises:
            InvalidField: the name, a metric, the model or the reference is not what it should be.
            JobNotHeld: the job's lease has ended.
            JobHasVersion: a version was registered for the job before.
        """
        from modelward.data import to_reference_columns  # Here: numpy takes as long to import as all the rest.

        ignored = as_names(ignore, "ignore")
        if ignored and reference is None:
            raise InvalidField(FieldViolation("ignore", "says nothing without reference; give both"))
        columns = None if reference is None else to_reference_columns(reference, None, "reference", ignored)
        version = self.register_files(
            name, model, metrics=metrics, params=params, tags=tags, description=description, job=job, timeout=timeout
        )
        if columns is None:
            return version
        self.set_reference(version, columns, ignore=ignored, timeout=timeout)
        return self.get_version(version)
