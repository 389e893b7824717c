"""Assembles, starts and stops the server."""

import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from grpc import aio
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from modelward.lifecycle import VersionRef
from modelward.v1 import comparison_pb2, drift_pb2, governance_pb2, lifecycle_pb2, retraining_pb2, scoring_pb2
from modelward.v1.comparison_pb2_grpc import add_ComparisonServiceServicer_to_server
from modelward.v1.drift_pb2_grpc import add_DriftServiceServicer_to_server
from modelward.v1.governance_pb2_grpc import add_GovernanceServiceServicer_to_server
from modelward.v1.lifecycle_pb2_grpc import add_LifecycleServiceServicer_to_server
from modelward.v1.retraining_pb2_grpc import add_RetrainingServiceServicer_to_server
from modelward.v1.scoring_pb2_grpc import add_ScoringServiceServicer_to_server
from modelward_server.comparison.service import ComparisonService
from modelward_server.drift.window_closing import WindowClosers
from modelward_server.drift.window_task import WindowTask
from modelward_server.evidence.export import EvidenceExport
from modelward_server.evidence.log_tree import LogTree
from modelward_server.evidence.signing import EvidenceSigner
from modelward_server.evidence.timestamps import TimestampAuthority
from modelward_server.governance.promotion_evidence import gather
from modelward_server.interceptors.access_log import CallLog
from modelward_server.interceptors.auth import Auth
from modelward_server.interceptors.base import Interceptor
from modelward_server.interceptors.chain import Chain
from modelward_server.interceptors.client_limits import ClientLimits
from modelward_server.interceptors.deadlines import Deadlines
from modelward_server.interceptors.errors import Errors
from modelward_server.interceptors.grpc_metrics import CallMetrics
from modelward_server.interceptors.validation import MAX_RECEIVED, Validation
from modelward_server.lifecycle.drill_task import DrillTask
from modelward_server.lifecycle.trial_task import TrialTask
from modelward_server.mlflow.client import MlflowFiles, load_mlflow
from modelward_server.mlflow.mirror import MlflowMirror
from modelward_server.mlflow.mirror_task import MirrorTask
from modelward_server.mlflow.registry import MlflowRegistry
from modelward_server.observability.background_metrics import BackgroundMetrics
from modelward_server.observability.health import Health
from modelward_server.observability.ledger_metrics import LedgerMetrics
from modelward_server.observability.metrics_endpoint import MetricsEndpoint
from modelward_server.observability.runtime_metrics import RuntimeMetrics
from modelward_server.oip import open_inference_pb2
from modelward_server.oip.open_inference_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from modelward_server.reports.inventory.report import InventoryReports
from modelward_server.retraining.job_waiters import JobWaiters
from modelward_server.retraining.post_training_task import PostTraining
from modelward_server.retraining.scheduler import Scheduler
from modelward_server.rpc.comparison import ComparisonServicer
from modelward_server.rpc.datasets import stored_table
from modelward_server.rpc.drift import DriftServicer
from modelward_server.rpc.evidence_import import EvidenceImport
from modelward_server.rpc.governance import GovernanceServicer
from modelward_server.rpc.health import HealthServicer
from modelward_server.rpc.idempotency import RequestUnitOfWork
from modelward_server.rpc.lifecycle import LifecycleServicer
from modelward_server.rpc.model_events import ModelWatches
from modelward_server.rpc.open_inference import OpenInferenceServicer
from modelward_server.rpc.reflection import served_descriptors
from modelward_server.rpc.retraining import RetrainingServicer
from modelward_server.rpc.score_log import ScoreLog
from modelward_server.rpc.scored_rows import ScoredRowsMonitor
from modelward_server.rpc.scoring import Scoring, ScoringServicer
from modelward_server.rpc.scoring_records import ScoringRecords
from modelward_server.rpc.scoring_warming import WarmingTask
from modelward_server.rpc.upload_streams import Uploads
from modelward_server.rpc.version_choice import VersionChoice
from modelward_server.runtime.background import Background, in_own_thread
from modelward_server.runtime.executors import Executors
from modelward_server.runtime.file_limit import raise_file_limit
from modelward_server.runtime.shutdown import exit_after
from modelward_server.runtime.temporary_folders import FILES, process_folder
from modelward_server.runtime.tracing import is_enabled
from modelward_server.runtime.warm_up import warm_up
from modelward_server.sandbox.sandbox import Limits
from modelward_server.sandbox.visible import hide
from modelward_server.scoring.metrics import ScoringMetrics
from modelward_server.scoring.pool import ModelPool
from modelward_server.scoring.warming import Warming
from modelward_server.security.authentication import Authentication
from modelward_server.security.certificates import Certificates
from modelward_server.security.identity_provider import IdentityProvider
from modelward_server.security.trusted_evidence_keys import TrustedEvidenceKeys
from modelward_server.security.trusted_signers import TrustedSigners
from modelward_server.settings import Settings
from modelward_server.storage import retention_task
from modelward_server.storage.blobs import BlobStore
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.private_files import make_private_folder
from modelward_server.storage.replicas import Replicas
from modelward_server.storage.retention import Retention
from modelward_server.storage.sources import Sources
from modelward_server.storage.table_memory import MEMORY, MIB
from modelward_server.storage.unit_of_work import UnitOfWork
from modelward_server.webhooks.webhooks import Webhooks

log = logging.getLogger(__name__)

SERVED = (
    lifecycle_pb2,
    drift_pb2,
    comparison_pb2,
    retraining_pb2,
    governance_pb2,
    scoring_pb2,
    open_inference_pb2,
)
SERVICES = [service.full_name for file in SERVED for service in file.DESCRIPTOR.services_by_name.values()]
STOP_SECONDS = 2.0
"""The share of the grace that background tasks have after the calls, and then again threads."""
OBJECTS_BETWEEN_COLLECTIONS = 20_000
"""With Python's default of 700, collections take about a sixth of the time of notifying a thousand watchers."""
SWITCH_SECONDS = 0.0002
"""How long a thread may compute while the event loop waits for its turn, which it does several times in each call; with
Python's default of 5 ms, one busy thread, such as MLflow's client, makes each call wait for tens of milliseconds."""
GRPC_OPTIONS = [
    # This bounds the size of compressed messages after decompression, too.
    ("grpc.max_receive_message_length", MAX_RECEIVED),
    # gRPC's estimate of the window grows to several MiB a connection, and it keeps that much of refused calls.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 20),
    ("grpc.max_send_message_length", -1),
    # Clients ping to distinguish an idle server from a dead one; by default the server would disconnect them.
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    # The call of a watcher whose machine has failed would otherwise stay open indefinitely.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.http2.ping_timeout_ms", 20_000),
    ("grpc.http2.max_pings_without_data", 0),
    # A connection that sends nothing holds a file descriptor; by default for two minutes, after a greeting for ever.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
]


class App:
    """One server: its storage, services and background tasks.

    Args:
        shares_port: whether other processes may listen on the same port; otherwise a second server must fail to start,
            not share the calls.
    """

    def __init__(self, settings: Settings, shares_port: bool = False) -> None:
        self._settings = settings
        MEMORY.limit = settings.table_memory_mb * MIB
        self._options = [*GRPC_OPTIONS, ("grpc.so_reuseport", int(shares_port))]
        make_private_folder(settings.data_dir)
        hide(settings.data_dir, settings.blobs_folder)
        self.executors = Executors()
        self.ledger = Ledger(settings.ledger_url, self.executors.ledger_threads)
        self._spool_dir = settings.data_dir / "spool"
        self._spool_dir.mkdir(mode=0o700, exist_ok=True)
        self.blobs = BlobStore(settings.blobs_folder)
        self._health = HealthServicer()
        self.background = Background(self._health.show)
        self.replicas = Replicas(self.ledger)
        self._signers = TrustedSigners(settings.trusted_signers)
        self._signers.read()  # A server that could verify nothing must not start.
        self._evidence_keys = TrustedEvidenceKeys(settings.trusted_evidence_keys)
        self._evidence_keys.read()

    async def start(self) -> int:
        """Start serving and return the port."""
        asyncio.get_running_loop().set_default_executor(self.executors.other)
        await asyncio.to_thread(process_folder, FILES)  # What a killed server left there is removed now.
        await asyncio.to_thread(self.ledger.migrate)
        self._metrics = None if self._settings.metrics_port is None else MetricsEndpoint()
        self._start_tasks()
        self._telemetry = await asyncio.to_thread(self._begin_telemetry)
        self._server = aio.server(interceptors=[Chain(list(self._interceptors()))], options=self._options)
        self._add_services()
        port = self._listen()
        self.background.start("replicas", partial(self.replicas.run, f"{self._settings.host}:{port}"))
        self._serve_metrics()
        self._add_console(port)
        await self._server.start()
        await Health(self._health.show, SERVICES, self.ledger, self._settings.tracking_uri).begin(self.background)
        return port

    def _begin_telemetry(self) -> Any:
        """Import OpenTelemetry only where it is configured: the import takes a second."""
        if not is_enabled():
            return None
        try:
            from modelward_server.interceptors.telemetry import Telemetry
        except ModuleNotFoundError as error:
            log.warning("no traces are sent: %s is not installed; pip install 'modelward[otel]'", error.name)
            return None
        return Telemetry(*self._collectors())

    def _collectors(self) -> tuple[LedgerMetrics, BackgroundMetrics, RuntimeMetrics]:
        return (
            LedgerMetrics(self.ledger, self.mirror.behind),
            BackgroundMetrics(self.background),
            RuntimeMetrics(self.executors, self.retention),
        )

    def _serve_metrics(self) -> None:
        if self._metrics and self._settings.metrics_port is not None:
            for collector in self._collectors():
                self._metrics.registry.register(collector)
            if self.scoring:
                self._metrics.registry.register(self._scoring_metrics)
            self.metrics_port = self._metrics.serve(self._settings.host, self._settings.metrics_port)

    def _add_console(self, port: int) -> None:
        """Serve the console, which is a client of this server, on a port of this machine only where others need TLS."""
        settings = self._settings
        self.console: Any = None
        if settings.console_port is None:
            return
        from modelward_server.console.serving import Console, console_of, tls_of

        own = self._server.add_insecure_port("127.0.0.1:0") if settings.tls_cert else port
        app = console_of(f"127.0.0.1:{own}", settings.host, read_only=settings.console_read_only)
        tls = tls_of(settings.tls_cert, settings.tls_key)
        self.console = Console(app, settings.host, settings.console_port, tls, embedded=True)
        self.background.start("console", self.console.serve)

    def _listen(self) -> int:
        settings = self._settings
        place = f"{settings.host}:{settings.port}"
        if not settings.tls_cert:
            return self._server.add_insecure_port(place)
        certificates = Certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        return self._server.add_secure_port(place, certificates.credentials())

    def _authentication(self) -> Authentication | None:
        settings = self._settings
        if not settings.requires_identity:
            return None
        provider = IdentityProvider(settings.jwt_issuer, settings.jwt_audience, settings.jwt_keys)
        return Authentication(self.ledger, self.executors.urgent, provider if settings.jwt_keys else None)

    def _interceptors(self) -> Iterator[Interceptor]:
        """Yield the interceptors, outermost first. Optional ones are added only when enabled."""
        settings = self._settings
        if self._telemetry:
            yield self._telemetry
        if settings.log_calls:
            yield CallLog(requires_identity=settings.requires_identity)
        if self._metrics:
            yield CallMetrics(self._metrics.registry)
        yield Errors()
        if authentication := self._authentication():
            yield Auth(authentication)
        if any(limits := (settings.client_rate, settings.client_calls, settings.client_streams)):
            yield ClientLimits(*limits)
        yield Validation()
        yield Deadlines(settings.call_seconds)

    def _start_tasks(self) -> None:
        own = self._settings.own_artifacts
        mirror = MlflowMirror(self._settings.tracking_uri, str(own) if own else None)
        self.mirror = MirrorTask(self.ledger, self.blobs, mirror)
        self.background.start("mirror", self.mirror.run)
        most_rows = self._settings.keep_rows_mb * MIB
        self.retention = Retention(self.ledger, self.blobs, self._settings.lifetimes, most_rows)
        self.background.start("retention", partial(retention_task.run, self.retention))
        key, authority = self._settings.signing_key, self._settings.timestamp_url
        self.evidence = EvidenceExport(
            self.ledger,
            self.blobs,
            LogTree(),
            EvidenceSigner(key) if key else None,
            TimestampAuthority(authority) if authority else None,
            self._spool_dir,
        )
        webhooks = Webhooks(
            self.ledger,
            self._settings.webhooks,
            self._settings.webhooks_secret,
            self._settings.webhooks_private,
            self.evidence.prove,
        )
        webhooks.begin(self.background)

    def _add_services(self) -> None:
        settings = self._settings
        self._unit_of_work = RequestUnitOfWork(self.ledger, self.executors, on_write=self._wake)
        self.uploads = Uploads(settings.upload_silence_seconds)
        files = MlflowFiles(settings.tracking_uri)
        self._sources = Sources(settings.allowed_sources, files, self.blobs, settings.own_artifacts)
        limits = Limits(
            settings.sandbox_seconds, settings.sandbox_memory_mb, settings.allow_pickle, settings.trusted_types
        )
        self._closers = WindowClosers(self.blobs, keeps_rows=settings.keeps_rows)
        self._add_scoring_service(limits)
        self._trials = TrialTask(self.ledger, self.blobs, limits, self.mirror.wake, self._prepare)
        self.background.start("trials", self._trials.run)
        self._comparisons = ComparisonService(self._unit_of_work, self.blobs, limits, settings.dask_scheduler)
        self._add_lifecycle_service()
        self._add_drift_service()
        add_ComparisonServiceServicer_to_server(
            ComparisonServicer(
                self._unit_of_work,
                self._sources,
                self._comparisons,
                self._trials,
                self._signers,
                keeps_rows=settings.keeps_rows,
            ),
            self._server,
        )
        self._add_retraining_service()
        self._add_governance_service()
        self._add_standard_services()

    def _add_lifecycle_service(self) -> None:
        watches = ModelWatches(self._unit_of_work)
        self._watches = watches
        self.background.start("feed", watches.broadcaster.run)
        self.background.start("engine-feed", watches.engine_broadcaster.run)
        if self._warming:
            self.background.start("scoring-warming", WarmingTask(watches, self._warming).run)
        registry = MlflowRegistry(self._settings.tracking_uri)
        servicer = LifecycleServicer(
            *(self._unit_of_work, self.blobs, self._sources, watches, registry, self.mirror, self.uploads),
            *(self._trials, self._settings, self.replicas.replica_id, self._signers),
        )
        add_LifecycleServiceServicer_to_server(servicer, self._server)

    def _add_drift_service(self) -> None:
        scheduler = self._settings.dask_scheduler
        servicer = DriftServicer(
            self._unit_of_work, self.blobs, self._sources, self.uploads, self._spool_dir, self._closers, scheduler
        )
        add_DriftServiceServicer_to_server(servicer, self._server)
        own = UnitOfWork(self.ledger, self.executors, on_write=self._wake, background=True)
        self.background.start("windows", WindowTask(own, self._closers, self._settings.schedule_seconds).run)

    def _add_retraining_service(self) -> None:
        self.background.start("ticker", Scheduler(self.ledger, self._settings.schedule_seconds, self._wake).run)
        table = partial(stored_table, sources=self._sources, executors=self.executors)
        own = UnitOfWork(self.ledger, self.executors, on_write=self._wake, background=True)
        post_training = PostTraining(own, self._comparisons, partial(gather, self._signers), table, self._trials.wait)
        self.background.start("follow-ups", post_training.run)
        self._job_waiters = JobWaiters(self._unit_of_work)
        servicer = RetrainingServicer(self._unit_of_work, self.blobs, self._sources, self._job_waiters, post_training)
        add_RetrainingServiceServicer_to_server(servicer, self._server)

    def _add_governance_service(self) -> None:
        settings = self._settings
        imports = EvidenceImport(
            self.blobs, self._evidence_keys, self._signers, settings.import_evidence_mb, settings.allow_pickle
        )
        reports = InventoryReports(self.ledger, self._spool_dir)
        servicer = GovernanceServicer(self._unit_of_work, self.evidence, imports, reports)
        add_GovernanceServiceServicer_to_server(servicer, self._server)
        own = UnitOfWork(self.ledger, self.executors, on_write=self._wake, background=True)
        self.background.start("drills", DrillTask(own).run)

    def _add_scoring_service(self, limits: Limits) -> None:
        settings = self._settings
        size = settings.scoring_processes, settings.scoring_memory_mb * MIB
        self.scoring = ModelPool(limits, self.blobs.verified, *size) if settings.scoring_processes else None
        self._warming: Warming | None = None
        self._prepare: Callable[[VersionRef], Awaitable[None]] | None = None
        choice = VersionChoice(self._unit_of_work, self.scoring, allow_pickle=settings.allow_pickle)
        scoring = self._begin_scoring(self.scoring, choice) if self.scoring else None
        add_ScoringServiceServicer_to_server(ScoringServicer(self._unit_of_work, scoring), self._server)
        inference = OpenInferenceServicer(choice, scoring, self.executors)
        add_GRPCInferenceServiceServicer_to_server(inference, self._server)

    def _begin_scoring(self, pool: ModelPool, choice: VersionChoice) -> Scoring:
        self._warming = Warming(self._unit_of_work, pool, allow_pickle=self._settings.allow_pickle)
        self._prepare = self._warming.load
        own = UnitOfWork(self.ledger, self.executors, on_write=self._wake, background=True)
        self.scoring_records = ScoringRecords(own, ScoredRowsMonitor(own, self._closers, self._sources))
        self.scoring_records.begin(self.background)
        self._scoring_metrics = ScoringMetrics(pool, self.scoring_records.writers)
        log = ScoreLog(self._settings.score_log, self.scoring_records, self._unit_of_work, self.executors)
        return Scoring(pool, choice, self.scoring_records, log, self.executors, self._settings.call_seconds)

    def _add_standard_services(self) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        described = [*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME]
        if self._settings.channelz:
            channelz.add_channelz_servicer(self._server)
            described.append(channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name)
        reflection.enable_server_reflection(described, self._server, served_descriptors())

    def _wake(self) -> None:
        """Notify the tasks that follow the ledger of a change."""
        self.mirror.wake()
        self._watches.wake()
        self._trials.wake()

    async def stop(self) -> None:
        """Refuse new calls, let calls in flight and MLflow's mirror finish within the grace, and close the storage."""
        grace = self._settings.grace_seconds
        end, share = time.monotonic() + grace, min(STOP_SECONDS, grace / 5)
        self._health.stop()
        if self.console:
            self.console.stop()
            await self.background.finish("console", share)
        self._watches.close()
        self._job_waiters.close()
        await self._server.stop(grace - 2 * share)
        if self.scoring:
            await self.scoring.close()
            await self.scoring_records.finish(self.background, share)
        self.mirror.drain()
        await self.background.finish("mirror", max(0.0, end - 2 * share - time.monotonic()))
        await self.background.stop(share / 2)
        with suppress(Exception):  # Without the database it is listed as silent.
            await asyncio.wait_for(in_own_thread(self.replicas.leave), share)
        if self._metrics:
            await asyncio.to_thread(self._metrics.close)
        if self._telemetry:
            await asyncio.to_thread(self._telemetry.close)
        await self.executors.close(max(share, end - time.monotonic()))  # Their threads still hold connections.
        self.ledger.close()


async def serve(settings: Settings, on_start: Callable[[int], None], shares_port: bool = False) -> None:
    """Serve until SIGTERM or SIGINT; `on_start` receives the port."""
    raise_file_limit()
    app = App(settings, shares_port)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    on_start(await app.start())
    gc.freeze()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    sys.setswitchinterval(SWITCH_SECONDS)
    app.background.start("warm-up", lambda: warm_up(load_mlflow))
    await stopping.wait()
    exit_after(settings.grace_seconds)
    await app.stop()
