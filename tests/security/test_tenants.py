"""What somebody who is limited to some models learns of the others: nothing, by whatever way."""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from modelward import AsyncClient, Client, Inventory, PromotionPolicy, RequiredApproval
from modelward.caller import Permission, Role
from modelward.errors import InvalidField, ModelNotAllowed
from modelward.retraining import FollowUpAction
from modelward.shared.retry import error_of
from modelward.v1 import common_pb2, comparison_pb2, drift_pb2, governance_pb2, lifecycle_pb2, retraining_pb2
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from modelward.v1.governance_pb2_grpc import GovernanceServiceStub
from modelward.v1.lifecycle_pb2_grpc import LifecycleServiceStub
from modelward.v1.retraining_pb2_grpc import RetrainingServiceStub
from modelward_server.app import App
from modelward_server.lifecycle.queries import ModelFilter, list_models
from modelward_server.security import grants, scope
from modelward_server.security.admin_session import admin_session
from modelward_server.security.permissions import RULES, Reach, rule_of
from modelward_server.settings import Settings
from modelward_server.storage.ledger import Ledger
from modelward_server.storage.retention import sweep_uploads
from modelward_server.storage.tables import RequestRow
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # A grid of calls and tenants, on a server of its own.


@pytest.fixture(scope="module", params=DATABASES)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that asks who calls, with a model of each of two desks."""
    url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""
    places = tmp_path_factory.mktemp("places")
    pq.write_table(pa.table({"a": np.arange(50.0), "salary": np.arange(50.0)}), places / "ndx.parquet")
    settings = Settings(
        port=0,
        data_dir=tmp_path_factory.mktemp("data"),
        database_url=url,
        auth=True,
        allowed_sources=(places.as_uri(), "runs:/", "models:/"),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(App, "_add_services", _with_strangers(App._add_services))
        running = RunningServer(settings)
    with Client(running.target, token=token_of(running, "founder")) as client:
        for model in ("ndx-trend", "spx-trend", "spx-trend"):
            client.register(model, "README.md", reference={"a": np.arange(50.0)})
    yield running
    running.stop()


SERVICES: list[Any] = [
    LifecycleServiceStub,
    DriftServiceStub,
    ComparisonServiceStub,
    RetrainingServiceStub,
    GovernanceServiceStub,
]
STRANGERS = ("other.v1.Service", "modelward.v1.NewService", "grpc.health.v2.Health", "grpc.reflection.v2.Reflection")


def _with_strangers(add_services: Callable[[App], None]) -> Callable[[App], None]:
    """Let a server have services that the table of permissions does not know."""

    async def ask(request: Empty, context: object) -> Empty:
        return request

    handler = grpc.unary_unary_rpc_method_handler(ask, Empty.FromString, Empty.SerializeToString)

    def add(app: App) -> None:
        add_services(app)
        app._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(name, {"Ask": handler}) for name in STRANGERS]
        )

    return add


@pytest.fixture
def founder(guarded: RunningServer) -> Iterator[Client]:
    """Somebody without a limit."""
    with Client(guarded.target, token=token_of(guarded, "founder")) as client:
        yield client


@pytest.fixture
def desk(guarded: RunningServer) -> Iterator[Client]:
    """Somebody who is limited to `spx-`."""
    with Client(guarded.target, token=token_of(guarded, "desk", "spx-")) as client:
        yield client


@pytest.fixture
def foreign_file(guarded: RunningServer) -> str:
    """A file that the server may read, of nobody by its name."""
    return f"{guarded.settings.allowed_sources[0]}/ndx.parquet"


def token_of(running: RunningServer, name: str, *models: str, role: Role = Role.ADMIN) -> str:
    with admin_session(running.settings) as (session, caller):
        return grants.create_token(session, name, role, models, None, caller)


@pytest.mark.parametrize("service", STRANGERS)
@pytest.mark.weekly("postgresql")
def test_a_service_that_no_permission_is_known_of_is_for_nobody(guarded: RunningServer, service: str) -> None:
    metadata = (("authorization", f"Bearer {token_of(guarded, 'founder')}"),)
    with grpc.insecure_channel(guarded.target) as channel:
        ask = channel.unary_unary(f"/{service}/Ask", Empty.SerializeToString, Empty.FromString)
        with pytest.raises(grpc.RpcError) as refused:
            ask(Empty(), timeout=PATIENCE_SECONDS, metadata=metadata)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_reflection_is_for_viewers_and_channelz_for_unlimited_admins() -> None:
    assert rule_of("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo").permission is Permission.READ
    assert rule_of("/grpc.channelz.v1.Channelz/GetServers") == (Permission.ADMINISTER, Reach.WHOLE)
    for method in ("/other.v1.LifecycleService/GetModel", "/modelward.v1.LifecycleService/Drop", "/GetModel", "", "/"):
        assert rule_of(method).permission is None, method


def test_no_retraining_policy_reads_what_its_author_may_not(desk: Client, founder: Client, foreign_file: str) -> None:
    asked = replace(desk.get_retraining_policy("spx-trend"), follow_up=FollowUpAction.COMPARE, label="salary")
    for place in (foreign_file, "models:/ndx-trend/1", "runs:/0123/model", "models:/spx-trend/1/../../ndx-trend/1"):
        with pytest.raises(ModelNotAllowed, match="is not in one of them"):
            desk.set_retraining_policy(replace(asked, evaluation_uri=place))
    kept = desk.set_retraining_policy(replace(asked, evaluation_uri="models:/spx-trend/1/data.parquet"))
    founder.set_retraining_policy(replace(kept, evaluation_uri=foreign_file))
    with pytest.raises(ModelNotAllowed):  # Nor does a change of the rest make it theirs.
        desk.set_retraining_policy(replace(desk.get_retraining_policy("spx-trend"), label="a"))


async def test_no_call_reads_from_a_place_of_others(guarded: RunningServer, foreign_file: str) -> None:
    async with AsyncClient(guarded.target, token=token_of(guarded, "desk", "spx-")) as desk:
        job = await desk.request_retraining("spx-trend")
        leased = await desk.lease_job("spx-trend", holder="w")
        for place in (foreign_file, "models:/ndx-trend/1"):
            with pytest.raises(ModelNotAllowed):
                await desk.compare(["spx-trend/1", "spx-trend/2"], place, "salary")
            with pytest.raises(ModelNotAllowed):
                await desk.detect_drift_uri("spx-trend/1", place)
            with pytest.raises(ModelNotAllowed):
                await desk.register_uri("spx-trend", place)
            with pytest.raises(ModelNotAllowed):
                await desk.complete_job(leased, 1, evaluation=place)
        assert (await desk.get_job(job.job_id)).successor == 0


def test_what_the_contract_forgot_to_mark_is_refused_where_it_is_read(
    desk: Client, foreign_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scope, "check_request", lambda *_, **__: None)
    for place in (foreign_file, "models:/ndx-trend/1"):
        with pytest.raises(ModelNotAllowed):
            desk.register_uri("spx-trend", place)
        with pytest.raises(ModelNotAllowed):
            desk.detect_drift_uri("spx-trend/1", place)
        with pytest.raises(ModelNotAllowed):
            desk.compare(["spx-trend/1", "spx-trend/2"], place, "salary")


def test_an_id_of_others_is_refused_as_one_that_is_not_there(desk: Client, founder: Client) -> None:
    drift = founder.detect_drift("ndx-trend/1", {"a": np.arange(50.0)})
    schedule = founder.create_schedule("ndx-trend", drift=True)
    job = founder.request_retraining("ndx-trend")
    asks = (
        (desk.get_drift_report, drift.report_id),
        (desk.get_schedule, schedule.schedule_id),
        (desk.get_job, job.job_id),
        (desk.get_comparison, "comparison-0"),
        (desk.get_ab_test, "nobodys"),
    )
    for ask, key in asks:
        said = []
        for asked in (key, "absent"):
            with pytest.raises(ModelNotAllowed) as refused:
                ask(asked)
            said.append((refused.value.message.replace(asked, "ID"), refused.value.metadata))
        assert said[0] == said[1]
        assert "ndx" not in said[0][0]
    with pytest.raises(ModelNotAllowed) as refused:
        desk.get_model("absent")
    assert "is not one of them" in refused.value.message
    assert desk.create_schedule("spx-trend", schedule_id=f"spx-{drift.report_id}", drift=True).model == "spx-trend"


def test_a_dependency_on_a_model_of_others_is_refused_as_one_that_is_not_there(desk: Client, founder: Client) -> None:
    for name in ("ndx-trend", "ndx-nothing"):
        with pytest.raises(InvalidField) as refused:
            desk.update_model("spx-trend", inventory={"depends_on": [name]})
        assert refused.value.message.replace(name, "X") == "inventory.depends_on: names X, but there is no such model"
    founder.update_model("spx-trend", inventory={"depends_on": ["ndx-trend"]})
    changed = desk.update_model("spx-trend", inventory={"depends_on": ["ndx-trend"], "tier": 2})
    assert changed.inventory.depends_on == ("ndx-trend",)
    founder.update_model("spx-trend", inventory=Inventory())


def ask(running: RunningServer, method: str, request: Any, token: str = "") -> Any:
    """Make a call on a connection of its own."""
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.insecure_channel(running.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        [call] = [getattr(stub, method) for stub in (kind(channel) for kind in SERVICES) if hasattr(stub, method)]
        return call(request, timeout=PATIENCE_SECONDS, metadata=metadata)


def reason_of(refused: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    return str(error_of(refused.value).reason)


def test_a_request_id_gives_its_answer_to_who_got_it_and_to_nobody_else(guarded: RunningServer) -> None:
    request = lifecycle_pb2.HaltModelRequest(model="spx-trend", reason="secret reason", request_id=str(uuid4()))
    first = ask(guarded, "HaltModel", request, token_of(guarded, "ada"))
    assert ask(guarded, "HaltModel", request, token_of(guarded, "ada")) == first  # Her next token is hers too.
    with admin_session(guarded.settings) as (session, _):
        kept = session.get_one(RequestRow, request.request_id)
        assert kept.owner == "ada"
    for name, limit in (("eve", ()), ("eve", ("spx-",)), ("ad", ())):
        with pytest.raises(grpc.RpcError) as refused:
            ask(guarded, "HaltModel", request, token_of(guarded, name, *limit))
        assert (reason_of(refused), "secret" in str(refused.value)) == ("REQUEST_ID_REUSED", False)
    with admin_session(guarded.settings) as (session, _):
        session.get_one(RequestRow, request.request_id).owner = ""  # As a row of an earlier version is.
    with pytest.raises(grpc.RpcError) as refused:
        ask(guarded, "HaltModel", request, token_of(guarded, "ada"))
    assert reason_of(refused) == "REQUEST_ID_REUSED"
    ask(guarded, "ResumeModel", lifecycle_pb2.ResumeModelRequest(model="spx-trend", reason="r"), token_of(guarded, "a"))


def test_who_was_limited_since_is_not_given_old_answers_about_others(guarded: RunningServer) -> None:
    token = token_of(guarded, "worker")
    ask(guarded, "CreateModel", lifecycle_pb2.CreateModelRequest(model="ndx-leased"), token)
    ask(guarded, "RequestRetraining", retraining_pb2.RequestRetrainingRequest(model="ndx-leased", queue="own"), token)
    for method, kind in (("LeaseJob", "LeaseJobRequest"), ("LeaseJobs", "LeaseJobsRequest")):
        request = getattr(retraining_pb2, kind)(holder="w", queue="own", request_id=str(uuid4()))
        if method == "LeaseJobs":
            request.max_jobs = 5
            ask(guarded, "CreateModel", lifecycle_pb2.CreateModelRequest(model="ndx-next"), token)
            more = retraining_pb2.RequestRetrainingRequest(model="ndx-next", queue="own")
            ask(guarded, "RequestRetraining", more, token)
        leased = ask(guarded, method, request, token)
        assert ask(guarded, method, request, token) == leased
        with pytest.raises(grpc.RpcError) as refused:
            ask(guarded, method, request, token_of(guarded, "worker", "spx-"))
        assert (reason_of(refused), "ndx" in str(refused.value)) == ("REQUEST_ID_REUSED", False)


def test_where_nobody_is_asked_a_retry_on_a_new_connection_gets_its_answer(server: RunningServer, name: str) -> None:
    request = lifecycle_pb2.CreateModelRequest(model=name, request_id=str(uuid4()))
    assert ask(server, "CreateModel", request) == ask(server, "CreateModel", request)


@pytest.fixture(scope="module")
def busy(guarded: RunningServer) -> RunningServer:
    """The server, with two of everything that is listed of the others, and one of the desk's."""
    rows = {"a": np.arange(50.0)}
    reviewers = Client(guarded.target, token=token_of(guarded, "reviewer"))
    with Client(guarded.target, token=token_of(guarded, "founder")) as client, reviewers as reviewer:
        for model, many in (("ndx-busy", 2), ("spx-busy", 1), ("zzz-busy", 2)):
            first = client.register(model, "README.md", reference=rows)
            second = client.register(model, "README.md", reference=rows)
            for number in range(many):
                client.detect_drift(first, rows)
                client.create_schedule(model, drift=True)
                client.compare([], None, [0, 1] * 25, predictions={first.ref: [0, 1] * 25, second.ref: [1, 0] * 25})
                client.create_ab_test(
                    f"{model}-{number}", {"control": first, "candidate": second}, primary_metric="accuracy", unit="day"
                )
                client.request_retraining(model)
                client.promote(first, to="staging" if number == 0 else "archived", reason="it passed its tests")
            client.promote(second, to="staging")
            client.promote(second, to="production", reason="it passed its tests")
            reviewer.open_finding(model, title="no costs", severity="low", owner="ada")
            reviewer.record_review(model, outcome="approved", comment="sound")
            for _ in range(many):
                reviewer.start_drill(model, reason="yearly test")
            client.set_promotion_policy(PromotionPolicy(model, required_approvals=(RequiredApproval(("risk",)),)))
            client.request_approval(second, reason="better")
    return guarded


PAGED = [
    method
    for service, calls in RULES.items()
    for method, permission in calls.items()
    if permission.reach is Reach.LISTED
    and method.startswith("List")
    and method not in {"ListDriftReports", "ListScores"}  # Of one model; and of a server that scores.
]


@pytest.mark.parametrize("method", PAGED)
@pytest.mark.weekly("postgresql")
def test_pages_tell_neither_names_nor_numbers_of_what_one_may_not_see(busy: RunningServer, method: str) -> None:
    asked: Any = request_of(method)(page_size=1)
    everything = ask(busy, method, asked, token_of(busy, "founder"))
    desk, pages = token_of(busy, "desk", "spx-"), 0
    if method != "ListFirings":  # Nothing fires here within the time of the test.
        assert everything.next_page_token
        token = urlsafe_b64decode(everything.next_page_token)
        assert not any(name in token for name in (b"ndx", b"spx", b"zzz", b"busy", b"trend"))
    while page := ask(busy, method, asked, desk):
        entries = page.ListFields()[0][1] if page.ListFields() else []
        assert len(entries) == 1 or method == "ListFirings"
        asked.page_token, pages = page.next_page_token, pages + 1
        page.ClearField("next_page_token")  # Letters that look random may be any; it is looked at above.
        assert "ndx" not in str(page)
        if not asked.page_token:
            break
    assert pages


def test_a_filter_tells_nothing_of_others(busy: RunningServer) -> None:
    desk = token_of(busy, "desk", "spx-")
    for prefix in ("ndx", "n", "zzz-"):
        request = lifecycle_pb2.ListModelsRequest(name_prefix=prefix, page_size=1)
        assert ask(busy, "ListModels", request, desk) == lifecycle_pb2.ListModelsResponse()
        versions = lifecycle_pb2.ListModelVersionsRequest(name_prefix=prefix, page_size=1)
        assert ask(busy, "ListModelVersions", versions, desk) == lifecycle_pb2.ListModelVersionsResponse()


def test_page_tokens_are_good_on_every_server_of_a_ledger_and_on_no_other(busy: RunningServer, tmp_path: Path) -> None:
    request = lifecycle_pb2.ListModelsRequest(page_size=1)
    token = ask(busy, "ListModels", request, token_of(busy, "founder")).next_page_token
    for url, is_same in ((busy.settings.ledger_url, True), (f"sqlite:///{tmp_path}/other.db", False)):
        other = Ledger(url)
        other.migrate()
        with other.reading() as session, nullcontext() if is_same else pytest.raises(InvalidField):
            assert len(list_models(session, ModelFilter(), 1, token).items) == 1
        other.close()


def request_of(method: str) -> type[Message]:
    for file in (lifecycle_pb2, drift_pb2, comparison_pb2, retraining_pb2, governance_pb2):
        for service in file.DESCRIPTOR.services_by_name.values():
            if found := service.methods_by_name.get(method):
                kind: Any = found.input_type
                return GetMessageClass(kind)
    raise AssertionError(method)


def upload(running: RunningServer, token: str, data: bytes, *, offset: int = 0, asks: bool = False) -> Any:
    """Send a content, from an offset on, or only ask for it, and return what the server says of it."""

    def parts() -> Iterator[lifecycle_pb2.UploadBlobsRequest]:
        header = lifecycle_pb2.BlobHeader(sha256=sha256(data).hexdigest(), size_bytes=len(data), offset=offset)
        yield lifecycle_pb2.UploadBlobsRequest(header=header)
        if not asks:
            yield lifecycle_pb2.UploadBlobsRequest(chunk=data[offset:])

    [status] = ask(running, "UploadBlobs", parts(), token).blobs
    return status


def manifest_of(data: bytes, path: str = "model.bin") -> lifecycle_pb2.ArtifactManifest:
    file = common_pb2.ArtifactFile(path=path, size_bytes=len(data), sha256=sha256(data).hexdigest())
    return lifecycle_pb2.ArtifactManifest(files=[file])


def test_to_know_a_digest_is_not_to_have_the_bytes(guarded: RunningServer) -> None:
    data, absent = uuid4().bytes * 1000, uuid4().bytes
    founder, desk = token_of(guarded, "founder"), token_of(guarded, "desk", "spx-")
    assert upload(guarded, founder, data).complete
    for content in (data, absent):
        status = upload(guarded, desk, content, asks=True)
        assert (status.complete, status.received_bytes) == (False, 0)
        request = lifecycle_pb2.RegisterModelVersionRequest(model="spx-trend", manifest=manifest_of(content))
        dataset = common_pb2.Dataset(blob=sha256(content).hexdigest())
        version = common_pb2.ModelVersionRef(model="spx-trend", version=1)
        drift = drift_pb2.DetectDriftRequest(version=version, data=dataset)
        for method, asked in (("RegisterModelVersion", request), ("DetectDrift", drift)):
            with pytest.raises(grpc.RpcError) as refused:
                ask(guarded, method, asked, desk)
            assert reason_of(refused) == "BLOBS_MISSING"
    with pytest.raises(grpc.RpcError):  # The end of a content that others have brought is not all of it.
        upload(guarded, desk, data, offset=len(data) - 16)
    with pytest.raises(grpc.RpcError) as refused:
        ask(guarded, "UploadBlobs", wrong_parts(data), desk)
    assert reason_of(refused) == "DIGEST_MISMATCH"
    assert not upload(guarded, desk, data, asks=True).complete
    assert upload(guarded, desk, data).complete
    assert upload(guarded, desk, data, asks=True).complete
    request = lifecycle_pb2.RegisterModelVersionRequest(model="spx-trend", manifest=manifest_of(data))
    assert ask(guarded, "RegisterModelVersion", request, desk).version.files
    with admin_session(guarded.settings) as (session, caller):
        assert sweep_uploads(session, caller.at - timedelta(days=1)) == 0
        assert sweep_uploads(session, caller.at + timedelta(days=1)) > 0
    assert not upload(guarded, desk, data, asks=True).complete  # A proof is kept for a time only.
    other = token_of(guarded, "other", "spx-")
    assert not upload(guarded, other, data, asks=True).complete
    assert ask(guarded, "RegisterModelVersion", request, other).version.files  # A version of that model has it.
    elsewhere = lifecycle_pb2.RegisterModelVersionRequest(model="spx-other", manifest=manifest_of(data))
    with pytest.raises(grpc.RpcError) as refused:
        ask(guarded, "RegisterModelVersion", elsewhere, other)
    assert reason_of(refused) == "BLOBS_MISSING"


def wrong_parts(data: bytes) -> Iterator[lifecycle_pb2.UploadBlobsRequest]:
    """Announce a content and send another one of its size."""
    header = lifecycle_pb2.BlobHeader(sha256=sha256(data).hexdigest(), size_bytes=len(data))
    yield lifecycle_pb2.UploadBlobsRequest(header=header)
    yield lifecycle_pb2.UploadBlobsRequest(chunk=bytes(len(data)))


async def test_who_is_limited_registers_and_goes_on_with_uploads_as_others_do(
    guarded: RunningServer, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(data := uuid4().bytes * 1000)
    (tmp_path / "empty.txt").touch()
    token = token_of(guarded, "desk", "spx-")
    with pytest.raises(grpc.RpcError):
        ask(guarded, "UploadBlobs", broken_parts(data), token)
    assert upload(guarded, token, data, asks=True).received_bytes == 1000
    assert upload(guarded, token_of(guarded, "other", "spx-"), data, asks=True).received_bytes == 0
    assert upload(guarded, token, data, offset=1000).complete
    async with AsyncClient(guarded.target, token=token) as client:
        for _ in range(2):
            version = await client.register("spx-folder", tmp_path)
            copy = await client.download(version, tmp_path.with_name(f"copy-{uuid4().hex}"))
            assert (copy / "model.bin").read_bytes() == data


def broken_parts(data: bytes) -> Iterator[lifecycle_pb2.UploadBlobsRequest]:
    """Announce a content, send 1,000 bytes of it, and say that this was all."""
    header = lifecycle_pb2.BlobHeader(sha256=sha256(data).hexdigest(), size_bytes=len(data))
    yield lifecycle_pb2.UploadBlobsRequest(header=header)
    yield lifecycle_pb2.UploadBlobsRequest(chunk=data[:1000])
