"""The registry's servicer, put together from its groups of calls."""

from modelward_server.mlflow.mirror_task import MirrorWorker
from modelward_server.mlflow.registry import MlflowRegistry
from modelward_server.rpc.audit import AuditCalls
from modelward_server.rpc.event_broadcaster import Feed
from modelward_server.rpc.mlflow import MlflowCalls
from modelward_server.rpc.registry import RegistryCalls
from modelward_server.rpc.resolve_cache import Resolver
from modelward_server.rpc.stages import StageCalls
from modelward_server.rpc.unit_of_work import Calls
from modelward_server.rpc.upload_streams import Uploads
from modelward_server.rpc.watching import WatchCalls
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.sources import Sources


class LifecycleServicer(RegistryCalls, StageCalls, WatchCalls, AuditCalls, MlflowCalls):
    """Serves `modelward.v1.LifecycleService`."""

    def __init__(
        self,
        calls: Calls,
        blobs: BlobStore,
        sources: Sources,
        feed: Feed,
        registry: MlflowRegistry,
        mirror: MirrorWorker,
        uploads: Uploads,
    ) -> None:
        self._uploads = uploads
        self._registry = registry
        self._mirror = mirror
        self._calls = calls
        self._resolver = Resolver(calls)
        self._feed = feed
        self._blobs = blobs
        self._sources = sources
