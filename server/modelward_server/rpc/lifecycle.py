"""The servicer of the registry, composed of its groups of methods."""

from modelward_server.lifecycle.engine_limits import EngineLimits
from modelward_server.lifecycle.trial_task import TrialTask
from modelward_server.mlflow.mirror_task import MirrorTask
from modelward_server.mlflow.registry import MlflowRegistry
from modelward_server.rpc.answer_cache import AnswerCache
from modelward_server.rpc.audit import AuditServicer
from modelward_server.rpc.caller import CallerServicer
from modelward_server.rpc.idempotency import RequestUnitOfWork
from modelward_server.rpc.mlflow import MlflowServicer
from modelward_server.rpc.model_events import ModelWatches
from modelward_server.rpc.registry import RegistryServicer
from modelward_server.rpc.resolve_cache import Resolver
from modelward_server.rpc.stages import StageServicer
from modelward_server.rpc.system import SystemServicer
from modelward_server.rpc.upload_streams import Uploads
from modelward_server.rpc.watching import WatchServicer
from modelward_server.security.trusted_signers import TrustedSigners
from modelward_server.settings import Settings
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources


class LifecycleServicer(
    RegistryServicer,
    StageServicer,
    WatchServicer,
    AuditServicer,
    MlflowServicer,
    CallerServicer,
    SystemServicer,
):
    """Serves `modelward.v1.LifecycleService`."""

    def __init__(
        self,
        unit_of_work: RequestUnitOfWork,
        blobs: BlobStore,
        sources: Sources,
        watches: ModelWatches,
        registry: MlflowRegistry,
        mirror: MirrorTask,
        uploads: Uploads,
        trials: TrialTask,
        settings: Settings,
        replica_id: str,
        signers: TrustedSigners,
    ) -> None:
        self._settings = settings
        self._engine_limits = EngineLimits(settings.client_engines, settings.max_engines)
        self._replica_id = replica_id
        self._signers = signers
        self._trials = trials
        self._uploads = uploads
        self._registry = registry
        self._mirror = mirror
        self._unit_of_work = unit_of_work
        self._answers = AnswerCache(unit_of_work)
        self._resolver = Resolver(unit_of_work, self._answers)
        self._watches = watches
        self._blobs = blobs
        self._sources = sources
