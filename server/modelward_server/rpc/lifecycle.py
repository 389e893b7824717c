"""The registry's servicer, put together from its groups of calls."""

from modelward_server.rpc.audit import AuditCalls
from modelward_server.rpc.calls import Calls
from modelward_server.rpc.feed import Feed
from modelward_server.rpc.incoming import Uploads
from modelward_server.rpc.mlflow import MlflowCalls
from modelward_server.rpc.registry import RegistryCalls
from modelward_server.rpc.resolving import Resolver
from modelward_server.rpc.stages import StageCalls
from modelward_server.rpc.watching import WatchCalls
from modelward_server.store.artifacts import BlobStore
from modelward_server.store.mirror_worker import MirrorWorker
from modelward_server.store.mlflow_registry import MlflowRegistry
from modelward_server.store.sources import Sources


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
