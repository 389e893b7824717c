"""Tokens, as their holders meet them: through the SDK, grpcurl and the commands that make them."""

import json
import os
import pwd
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from modelward import AsyncClient, Caller, Client, Role
from modelward.errors import InvalidField, ModelNotAllowed, ModelNotFound, NotAuthenticated, NotDue, RoleTooLow
from modelward_server.cli.token import token as token_commands
from modelward_server.identity import Identity
from modelward_server.security import authentication, grants
from modelward_server.security.admin_session import admin_session
from modelward_server.settings import Settings
from modelward_server.storage.security_tables import GrantRow
from tests.support.postgres import DATABASES, new_database
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

KEPT = 0.2
"""Seconds for which this server believes a credential; five would make these tests slow."""
GRPCURL = shutil.which("grpcurl", path=str(Path(sys.executable).parent)) or "grpcurl"


@pytest.fixture(scope="module", params=DATABASES)
def guarded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    url = new_database(request.getfixturevalue("postgres")) if request.param == "postgresql" else ""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(authentication, "SECONDS_KEPT", KEPT)
        running = RunningServer(Settings(port=0, data_dir=folder, database_url=url, auth=True))
    with Client(running.target, token=token_of(running, "founder", Role.ADMIN)) as client:
        for model in ("spx-trend", "ndx-trend"):
            client.create_model(model)
            client.register(model, "README.md")
    yield running
    running.stop()


def token_of(
    running: RunningServer,
    name: str,
    role: Role,
    *models: str,
    expires_at: datetime | None = None,
    functions: tuple[str, ...] = (),
) -> str:
    with admin_session(running.settings) as (session, caller):
        return grants.create_token(session, name, role, models, expires_at, caller, functions)


async def test_who_shows_nothing_is_told_what_to_show(guarded: RunningServer) -> None:
    with Client(guarded.target) as client, pytest.raises(NotAuthenticated, match="authorization: Bearer mw_"):
        client.get_model("spx-trend")
    for wrong in ("mw_000000000000_" + "x" * 43, "secret", token_of(guarded, "eve", Role.ADMIN)[:-1] + "~"):
        async with AsyncClient(guarded.target, token=wrong) as client:
            with pytest.raises(NotAuthenticated) as refused:
                await client.get_model("spx-trend")
        assert wrong not in str(refused.value)


@pytest.mark.system
async def test_a_role_may_do_what_it_may_and_no_more(guarded: RunningServer) -> None:
    async with AsyncClient(guarded.target, token=token_of(guarded, "engine-7", Role.VIEWER)) as client:
        assert [model.name async for model in client.list_models()] == ["ndx-trend", "spx-trend"]
        with pytest.raises(RoleTooLow, match="engine-7 has the role viewer, and this call requires operator"):
            await client.promote("spx-trend/1", to="staging")
    operator = token_of(guarded, "ada", Role.OPERATOR)
    with Client(guarded.target, token=lambda: operator, actor="mallory") as client:
        client.promote("spx-trend/1", to="staging")
        moved = next(iter(client.list_transitions("spx-trend")))
        assert moved.actor == "ada"  # Whatever the client says of itself.


async def test_who_is_limited_to_some_models_neither_sees_nor_changes_others(guarded: RunningServer) -> None:
    token = token_of(guarded, "desk", Role.ADMIN, "spx-")
    async with AsyncClient(guarded.target, token=token) as client:
        assert [model.name async for model in client.list_models()] == ["spx-trend"]
        assert {version.model async for version in client.list_versions()} == {"spx-trend"}
        events = client.watch([])
        assert (await anext(events)).model == "spx-trend"
        await events.aclose()
        with pytest.raises(ModelNotAllowed, match=r"desk may only reach spx-\*: 'ndx-trend' is not one of them"):
            await client.get_model("ndx-trend")
        with pytest.raises(ModelNotAllowed, match="name one in the request"):
            [record async for record in client.export_audit_log()]
        with pytest.raises(ModelNotAllowed):
            await client.create_model("ndx-mine")
        assert (await client.create_model("spx-mine")).name == "spx-mine"


@pytest.mark.system
async def test_nearest_name_of_a_model_is_one_that_the_client_may_reach(guarded: RunningServer) -> None:
    async with AsyncClient(guarded.target, token=token_of(guarded, "founder", Role.ADMIN)) as admin:
        await admin.create_model("fx-1-carry")
        for wrong in (admin.get_model("fx-2-carry"), admin.promote("FX-1-carry/1", to="staging")):
            with pytest.raises(ModelNotFound, match=r"there is no model .* \(did you mean 'fx-1-carry'\?\)"):
                await wrong
        with pytest.raises(ModelNotFound, match="there is no model 'wholly-different'; list"):
            await admin.get_model("wholly-different")
    async with AsyncClient(guarded.target, token=token_of(guarded, "fx-desk", Role.ADMIN, "fx-2-")) as client:
        for wrong in (client.get_model("fx-2-carry"), client.promote("fx-2-carry/1", to="staging")):
            with pytest.raises(ModelNotFound, match="there is no model 'fx-2-carry'; list the models"):
                await wrong
        await client.create_model("fx-2-trend")
        with pytest.raises(ModelNotFound, match=r"did you mean 'fx-2-trend'\?"):
            await client.get_model("fx-2-trends")


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize("models", [(), ("spx-", "ndx-")])
async def test_every_caller_may_learn_who_it_is(guarded: RunningServer, role: Role, models: tuple[str, ...]) -> None:
    end = datetime.now(UTC) + timedelta(days=1) if models else None
    token = token_of(guarded, "ada", role, *models, expires_at=end)
    expected = Caller("ada", role, models, end, authenticated=True)
    with Client(guarded.target, token=token, actor="mallory") as client:
        assert client.get_caller() == expected
    async with AsyncClient(guarded.target, token=token) as client:
        assert await client.get_caller() == expected


def test_nobody_is_told_who_it_is_without_a_credential(guarded: RunningServer) -> None:
    with Client(guarded.target, actor="ada") as client, pytest.raises(NotAuthenticated):
        client.get_caller()


@pytest.mark.system
@pytest.mark.parametrize("selection", [{"prefix": "de"}, {"tags": {"desk": "eq"}}, {"all_models": True}])
@pytest.mark.weekly("postgresql")
def test_halt_of_many_reaches_the_callers_models_only(guarded: RunningServer, selection: dict[str, Any]) -> None:
    with Client(guarded.target, token=token_of(guarded, "founder", Role.ADMIN)) as admin:
        for model in ("desk1-trend", "desk2-trend"):
            if model not in {known.name for known in admin.list_models()}:
                admin.create_model(model, tags={"desk": "eq"})
            admin.resume(model)
        with Client(guarded.target, token=token_of(guarded, "ada", Role.OPERATOR, "desk1-", "none-")) as client:
            result = client.halt_many(**selection, reason="stop")
        assert [model.name for model in result.halted] == ["desk1-trend"]
        assert result.already_halted == ()
        assert [model.name for model in admin.list_models() if model.halt] == ["desk1-trend"]
        with Client(guarded.target, token=token_of(guarded, "bob", Role.OPERATOR, "other-")) as stranger:
            assert stranger.halt_many(**selection, reason="stop").halted == ()


async def test_a_worker_gets_jobs_of_its_models_only(guarded: RunningServer) -> None:
    async with AsyncClient(guarded.target, token=token_of(guarded, "founder", Role.ADMIN)) as admin:
        for model in ("ndx-trend", "spx-trend"):
            await admin.request_retraining(model)
    async with AsyncClient(guarded.target, token=token_of(guarded, "trainer-1", Role.TRAINER, "spx-")) as worker:
        assert [job.model for job in await worker.lease_jobs(holder="w", max_jobs=9)] == ["spx-trend"]
        with pytest.raises(NotDue):
            await worker.lease_job(holder="w")
        with pytest.raises(ModelNotAllowed):
            await worker.lease_job("ndx-trend", holder="w")


def test_a_token_ends_when_it_expires(guarded: RunningServer) -> None:
    end = datetime.now(UTC) + timedelta(days=1)
    token = token_of(guarded, "guest", Role.VIEWER, expires_at=end)
    with Client(guarded.target, token=token) as client:
        client.get_model("spx-trend")
    with admin_session(guarded.settings) as (session, _):
        guest = Identity("guest", Role.VIEWER, expires_at=end)
        assert grants.holder_of_token(session, token, end - timedelta(microseconds=1)) == guest
        assert grants.holder_of_token(session, token, end) is None


def test_a_certificate_whose_grant_has_ended_is_no_stranger_again(guarded: RunningServer) -> None:
    now = datetime.now(UTC)
    with admin_session(guarded.settings) as (session, caller):
        assert grants.holder_of_certificate(session, "new", now) == Identity("new", Role.VIEWER)
        given = grants.allow_certificate(session, "leaver", Role.ADMIN, ("spx-",), caller)
        assert grants.holder_of_certificate(session, "leaver", now) == Identity("leaver", Role.ADMIN, ("spx-",))
        grants.revoke(session, given.id, caller)
        assert grants.holder_of_certificate(session, "leaver", now) is None
        end = caller.at + timedelta(days=1)
        grants.allow_certificate(session, "leaver", Role.TRAINER, (), caller, end)
        assert grants.holder_of_certificate(session, "leaver", now) == Identity("leaver", Role.TRAINER, expires_at=end)
        assert grants.holder_of_certificate(session, "leaver", end) is None


@pytest.mark.parametrize("prefix", ["", " ", "\t", "-spx", "spx-,ndx-", "spx*", "ä", "x" * 129])
def test_nobody_is_limited_to_what_is_no_beginning_of_a_name(guarded: RunningServer, prefix: str) -> None:
    with admin_session(guarded.settings) as (session, caller):
        for models in ((prefix,), ("spx-", prefix)):
            with pytest.raises(InvalidField, match="is no prefix of a model's name"):
                grants.create_token(session, "ada", Role.ADMIN, models, None, caller)
            with pytest.raises(InvalidField, match="models"):
                grants.allow_certificate(session, "ada", Role.ADMIN, models, caller)
    with pytest.raises(ValueError, match="not prefixes of names"):
        Identity("ada", Role.ADMIN, (prefix,))


def test_a_grant_of_an_earlier_version_that_limits_nobody_is_refused(guarded: RunningServer) -> None:
    token = token_of(guarded, "ada", Role.ADMIN, "spx-")
    with admin_session(guarded.settings) as (session, _):
        session.get_one(GrantRow, token.split("_")[1]).models = ["spx-", ""]
    with Client(guarded.target, token=token) as client, pytest.raises(NotAuthenticated):
        client.get_model("ndx-trend")


def test_a_revoked_token_ends_an_open_watch_before_it_tells_anything_more(guarded: RunningServer) -> None:
    token = token_of(guarded, "leaver", Role.TRAINER)
    with Client(guarded.target, token=token) as client:
        events = client.watch(["spx-trend"])
        next(events)
        with admin_session(guarded.settings) as (session, caller):
            grants.revoke(session, token.split("_")[1], caller)
        time.sleep(KEPT)
        with Client(guarded.target, token=token_of(guarded, "founder", Role.ADMIN)) as other:
            other.update_model("spx-trend", description="secret plans")
            with pytest.raises(NotAuthenticated):
                next(events)
            given = [record for record in other.export_audit_log() if record.kind == "grant"]
        assert '"leaver"' in given[-2].payload
        assert all(token.split("_", 2)[2] not in record.payload for record in given)


def test_a_token_travels_over_tls_only() -> None:
    with pytest.raises(InvalidField, match="over TLS only"):
        Client("models:50061", token="mw_secret")
    Client("localhost:50061,127.0.0.1:50062", token="mw_secret").close()


@pytest.mark.system
def test_a_user_with_a_number_only_makes_tokens_as_in_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    done = CliRunner().invoke(token_commands, ["create", "ada", "--data-dir", str(tmp_path)])
    assert (done.exit_code, bool(grants.TOKEN.fullmatch(done.stdout.strip()))) == (0, True), done.exception


@pytest.mark.system
def test_the_commands_make_list_and_revoke_tokens(tmp_path: Path) -> None:
    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "modelward", *arguments]
        return subprocess.run(
            line, env=os.environ | more, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False
        )

    place = ("--data-dir", str(tmp_path / "data"))
    made = run("token", "create", "ada", "--role", "operator", "--models", "spx-", *place)
    token = made.stdout.strip()
    assert grants.TOKEN.fullmatch(token), made.stderr
    running = RunningServer(Settings(port=0, data_dir=tmp_path / "data", auth=True))
    asked = run("models", "--json", MODELWARD_SERVER=running.target, MODELWARD_TOKEN=token)
    assert json.loads(asked.stdout) == []
    refused = run("models", MODELWARD_SERVER=running.target)
    assert (refused.returncode, "authorization: Bearer" in refused.stderr) == (1, True)
    by_hand = [GRPCURL, "-plaintext", "-H", f"authorization: Bearer {token}", running.target, "list"]
    listed = subprocess.run(by_hand, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert "modelward.v1.LifecycleService" in listed.stdout, listed.stderr
    without = [*by_hand[:2], running.target, "list"]
    closed = subprocess.run(without, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
    assert closed.returncode != 0
    (grant,) = json.loads(run("token", "list", "--json", *place).stdout)
    assert (grant["name"], grant["role"], grant["models"]) == ("ada", "operator", ["spx-"])
    assert token.split("_", 2)[2] not in json.dumps(grant)
    assert run("token", "revoke", grant["id"], *place).returncode == 0
    again = run("token", "revoke", grant["id"], *place)
    assert "there is no active grant" in again.stderr
    empty = run("token", "create", "eve", "--models", "", *place)
    assert (empty.returncode, empty.stdout, "is no prefix" in empty.stderr) == (1, "", True)
    running.stop()


async def test_health_asks_nobody(guarded: RunningServer) -> None:
    async with grpc.aio.insecure_channel(guarded.target) as channel:
        stub: Any = HealthStub(channel)
        answer = await stub.Check(HealthCheckRequest())
    assert answer.status == HealthCheckResponse.SERVING
