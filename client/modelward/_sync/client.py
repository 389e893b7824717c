# Derived from modelward/_async/client.py by client/unasync.py: change that one.
"""The complete client."""

from modelward._arguments import checks_arguments
from modelward._sync.abtest import AbTests
from modelward._sync.approvals import Approvals
from modelward._sync.comparison import Comparisons
from modelward._sync.drift import Drift
from modelward._sync.drills import Drills
from modelward._sync.evidence import Evidence
from modelward._sync.findings import Findings
from modelward._sync.follow import Following
from modelward._sync.identity import Identity
from modelward._sync.inventory_report import InventoryReports
from modelward._sync.lifecycle import Lifecycle
from modelward._sync.mlflow import Mlflow
from modelward._sync.observe import Observing
from modelward._sync.outcomes import Outcomes
from modelward._sync.overview import Overviews
from modelward._sync.registering import Registering
from modelward._sync.retraining import Retraining
from modelward._sync.reviews import Reviews
from modelward._sync.schedules import Schedules
from modelward._sync.scoring import Scoring
from modelward._sync.stages import Stages
from modelward._sync.system import System
from modelward._sync.watching import Watching


@checks_arguments
class Client(
    Lifecycle,
    Registering,
    Stages,
    Approvals,
    Evidence,
    Findings,
    Reviews,
    Drills,
    InventoryReports,
    Watching,
    Following,
    Drift,
    Observing,
    Outcomes,
    Comparisons,
    Scoring,
    Schedules,
    AbTests,
    Retraining,
    Mlflow,
    Identity,
    System,
    Overviews,
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
