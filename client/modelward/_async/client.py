"""The complete client."""

from collections.abc import Collection, Mapping
from typing import Any

from modelward._arguments import checks_arguments
from modelward._async.abtest import AsyncAbTests
from modelward._async.comparison import AsyncComparisons
from modelward._async.drift import AsyncDrift
from modelward._async.follow import AsyncFollowing
from modelward._async.lifecycle import AsyncLifecycle
from modelward._async.mlflow import AsyncMlflow
from modelward._async.observe import AsyncObserving
from modelward._async.outcomes import AsyncOutcomes
from modelward._async.retraining import AsyncRetraining
from modelward._async.schedules import AsyncSchedules
from modelward._async.stages import AsyncStages
from modelward._async.watching import AsyncWatching
from modelward._coerce import as_names
from modelward.errors import FieldViolation, InvalidField
from modelward.lifecycle import ModelVersion
from modelward.retraining import Job
from modelward.signature import Signature


@checks_arguments
class AsyncClient(
    AsyncLifecycle,
    AsyncStages,
    AsyncWatching,
    AsyncFollowing,
    AsyncDrift,
    AsyncObserving,
    AsyncOutcomes,
    AsyncComparisons,
    AsyncSchedules,
    AsyncAbTests,
    AsyncRetraining,
    AsyncMlflow,
):
    """A client with every operation of Modelward as a method; leaving its `with` block closes it.

    Every method may raise `Unavailable`, when the server does not respond within the timeout, and `DeadlineExceeded`.
    Mutations are safe to retry: all attempts of a call carry the same request id, and the server runs it only once.

    Args:
        target: the server, as `host:port`; several separated by commas, such as `models-1:50061,models-2:50061`. Calls
            rotate over the available servers, and an interrupted call continues at another one.
        timeout: seconds for one call with all its attempts, unless the call sets its own timeout.
        actor: the actor in the audit log; the login name by default.
        credentials: for TLS, as `grpc.ssl_channel_credentials` returns; without them the connection is not encrypted.
        token: a token or JWT that authenticates the caller, or a function that returns one for each call.

    Raises:
        InvalidField: an argument is invalid, or a token would be sent unencrypted over a network.
    """

    async def register(
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
        signature: Signature | None = None,
        job: Job | None = None,
        timeout: float | None = None,
    ) -> ModelVersion:
        """Register the next version of a model, in the training stage.

        Args:
            name: the model's name; a model that does not exist is created.
            model: a scikit-learn estimator (saved by skops), an ONNX model, or a path to a file or folder.
            metrics: measures of its quality by name; finite values.
            params: its training parameters as text; an estimator's own by default.
            tags: free labels, as text.
            description: what distinguishes this version.
            reference: its training data of shape (rows, features), the reference for drift detection: a frame, a
                mapping of columns, an Arrow table or an array. None, NaN, NaT and NA are missing values. It is checked
                before anything is registered; None stores no reference.
            ignore: columns of `reference` that are not features, such as "symbol", whatever their values.
            signature: the columns that the model takes, what it predicts, and its classes; taken from the object by
                default, completed by the reference, and found by the server for files.
            job: the retraining job that produced the version, as returned by `lease_job`: only its holder may register
                it, and a job has one version.
            timeout: seconds for each of the calls involved; those of the client by default.

        Returns:
            The version, whose files are stored durably.

        Raises:
            InvalidField: the name, a metric, the model or the reference is invalid.
            JobNotHeld: the job's lease has ended.
            JobHasVersion: a version was already registered for the job.

        Examples:
            >>> version = await mw.register("spx-trend", model, metrics={"accuracy": 0.58}, reference=X)
            >>> print(version, version.stage, version.references)
            spx-trend/3 training ('default',)
        """
        # Imported here, because importing numpy takes as long as the rest of the package.
        from modelward.data import to_reference_columns

        ignored = as_names(ignore, "ignore")
        if ignored and reference is None:
            raise InvalidField(FieldViolation("ignore", "has no effect without reference; give both"))
        columns = None if reference is None else to_reference_columns(reference, None, "reference", ignored)
        version = await self.register_files(
            name,
            model,
            metrics=metrics,
            params=params,
            tags=tags,
            description=description,
            signature=signature,
            job=job,
            timeout=timeout,
        )
        if columns is None:
            return version
        await self.set_reference(version, columns, ignore=ignored, timeout=timeout)
        return await self.get_version(version)
