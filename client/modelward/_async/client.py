"""The complete client."""

from modelward._arguments import checks_arguments
from modelward._async.abtest import AsyncAbTests
from modelward._async.approvals import AsyncApprovals
from modelward._async.comparison import AsyncComparisons
from modelward._async.drift import AsyncDrift
from modelward._async.drills import AsyncDrills
from modelward._async.evidence import AsyncEvidence
from modelward._async.findings import AsyncFindings
from modelward._async.follow import AsyncFollowing
from modelward._async.identity import AsyncIdentity
from modelward._async.inventory_report import AsyncInventoryReports
from modelward._async.lifecycle import AsyncLifecycle
from modelward._async.mlflow import AsyncMlflow
from modelward._async.observe import AsyncObserving
from modelward._async.outcomes import AsyncOutcomes
from modelward._async.overview import AsyncOverviews
from modelward._async.registering import AsyncRegistering
from modelward._async.retraining import AsyncRetraining
from modelward._async.reviews import AsyncReviews
from modelward._async.schedules import AsyncSchedules
from modelward._async.scoring import AsyncScoring
from modelward._async.stages import AsyncStages
from modelward._async.system import AsyncSystem
from modelward._async.watching import AsyncWatching


@checks_arguments
class AsyncClient(
    AsyncLifecycle,
    AsyncRegistering,
    AsyncStages,
    AsyncApprovals,
    AsyncEvidence,
    AsyncFindings,
    AsyncReviews,
    AsyncDrills,
    AsyncInventoryReports,
    AsyncWatching,
    AsyncFollowing,
    AsyncDrift,
    AsyncObserving,
    AsyncOutcomes,
    AsyncComparisons,
    AsyncScoring,
    AsyncSchedules,
    AsyncAbTests,
    AsyncRetraining,
    AsyncMlflow,
    AsyncIdentity,
    AsyncSystem,
    AsyncOverviews,
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
