"""Which role each call takes, and that no call lets somebody reach models that are not theirs."""

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from modelward import Client, PromotionPolicy, RequiredApproval
from modelward.caller import Permission, Role
from modelward.errors import ModelNotAllowed
from modelward.v1 import (
    common_pb2,
    comparison_pb2,
    drift_pb2,
    governance_pb2,
    inventory_pb2,
    lifecycle_pb2,
    retraining_pb2,
    scoring_pb2,
)
from modelward_server.app import App
from modelward_server.identity import Identity
from modelward_server.security.permissions import RULES, Reach, Rule, rule_of
from modelward_server.security.scope import BY_ID, Meaning, check_request, meaning_of, visible_part
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer

DOCS = Path(__file__).parents[2] / "docs" / "security.md"
SERVER = DOCS.parents[1] / "server" / "modelward_server"
FILES = (lifecycle_pb2, drift_pb2, comparison_pb2, retraining_pb2, governance_pb2, scoring_pb2)
SERVICES: list[ServiceDescriptor] = list(
    chain.from_iterable(file.DESCRIPTOR.services_by_name.values() for file in FILES)
)
METHODS: list[MethodDescriptor] = list(chain.from_iterable(service.methods for service in SERVICES))
LIMITED = Identity("ada", Role.ADMIN, ("spx-",))


def test_every_call_of_the_contract_has_its_permission_and_no_other_has() -> None:
    contract = {service.name: {method.name for method in service.methods} for service in SERVICES}
    assert {service: set(calls) for service, calls in RULES.items()} == contract


def test_what_only_looks_is_for_viewers_and_what_changes_is_not() -> None:
    looks = (
        "Get",
        "List",
        "Render",
        "Resolve",
        "Watch",
        "Download",
        "Verify",
        "Export",
        "Preview",
        "Assign",
        "Report",
        "Answer",
        "Score",
    )
    for method in METHODS:
        permission = rule_of(f"/modelward.v1.{method.containing_service.name}/{method.name}").permission
        looks_at_models = method.name.startswith(looks) and method.name != "GetSystem"
        if method.name not in {"DecideApproval", "UpdateFinding"}:  # Functions decide, and owners; not roles alone.
            assert (permission is Permission.READ) == looks_at_models, method.name


def test_a_role_covers_those_whose_permissions_it_has() -> None:
    assert [role for role in Role if role.covers(Role.OPERATOR)] == [Role.OPERATOR, Role.ADMIN]
    assert [role for role in Role if role.covers(Role.VALIDATOR)] == [Role.ADMIN, Role.VALIDATOR]


def test_a_validator_reads_assesses_and_reviews_and_changes_nothing_else() -> None:
    allowed = {call for calls in RULES.values() for call, rule in calls.items() if _may(Role.VALIDATOR, rule)}
    changes = {method.name for method in METHODS if not method.name.startswith(("Get", "List", "Render", "Watch"))}
    assert {"CompareModels", "DetectDrift", "BenchmarkModels", "DecideApproval"} <= allowed
    assert not allowed & changes & {"RegisterModelVersion", "TransitionModelVersion", "HaltModel", "SetDriftPolicy"}


def _may(role: Role, rule: Rule) -> bool:
    return rule.permission in role.permissions


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    running = RunningServer(Settings(port=0, data_dir=tmp_path_factory.mktemp("data")))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def foreign(server: RunningServer) -> dict[str, str]:
    """Make one of everything that is named by an id, of a model that the caller may not reach."""
    rows = {"x": np.arange(100.0)}
    with Client(server.target) as client:
        for name in ("ndx", "spx-1"):
            client.create_model(name)
        first, second = (client.register("ndx", "README.md", reference=rows) for _ in range(2))
        test = client.create_ab_test(
            "ndx-test", {"control": first, "candidate": second}, primary_metric="accuracy", unit="order"
        )
        asked = RequiredApproval(("risk",))
        client.set_promotion_policy(PromotionPolicy("ndx", required_approvals=(asked,)))
        predicted: Any = {"ndx/1": [0, 1] * 50, "ndx/2": [1, 0] * 50}
        return {
            "report_id": client.detect_drift(first, rows).report_id,
            "job_id": client.request_retraining("ndx").job_id,
            "schedule_id": client.create_schedule("ndx", drift=True).schedule_id,
            "comparison_id": client.compare([], None, [0, 1] * 50, predictions=predicted).comparison_id,
            "approval_id": client.request_approval(first, reason="better").approval_id,
            "finding_id": client.open_finding("ndx", title="no costs", severity="low", owner="ada").finding_id,
            "drill_id": client.start_drill("ndx", reason="a test")[0].drill_id,
            "test": test.test,
            "ab_test": test.test,
        }


def test_everything_that_is_named_by_an_id_is_here(foreign: dict[str, str]) -> None:
    assert foreign.keys() == BY_ID.keys()


def about(kind: type[Message], model: str, ids: dict[str, str]) -> Iterator[Message]:
    """Make messages that name a model, or something by its id, each at one of the places that they have for it."""
    for field in kind.DESCRIPTOR.fields:
        message: Any = kind()
        value = getattr(message, field.name)
        says_name = field.full_name == "modelward.v1.Model.name"
        if (says_name or field.name in {"model", "models", *ids}) and not field.message_type:
            named = ids.get(field.name, model)
            value.append(named) if field.is_repeated else setattr(message, field.name, named)
            yield message
        elif meaning_of(field) is Meaning.LOCATION:
            for place in (f"models:/{model}/1", "runs:/0123/model", f"models:/{model}", f"models:/{model}/1/../x"):
                message = kind()
                setattr(message, field.name, place)
                yield message
        elif field.message_type and field.message_type.file.package == "modelward.v1":
            if field.message_type.GetOptions().map_entry:
                continue
            nested: Any = field.message_type
            for inner in about(GetMessageClass(nested), model, ids):
                message = kind()
                part = getattr(message, field.name)
                part.append(inner) if field.is_repeated else part.CopyFrom(inner)
                yield message


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_no_call_reaches_another_model(
    method: MethodDescriptor, server: RunningServer, foreign: dict[str, str]
) -> None:
    kind: Any = GetMessageClass(method.input_type)
    reach = rule_of(f"/modelward.v1.{method.containing_service.name}/{method.name}").reach
    app: App = server.app
    with app.ledger.reading() as session:

        def check(request: Message) -> None:
            check_request(session, LIMITED, request, reach, first=True)

        strange, own = list(about(kind, "ndx", foreign)), list(about(kind, "spx-1", foreign))
        for request in strange:
            with pytest.raises(ModelNotAllowed):
                check(request)
        if reach in {Reach.NAMED, Reach.WHOLE}:
            with pytest.raises(ModelNotAllowed):
                check(kind())
        if reach is Reach.LISTED:
            check(kind())
        assert strange or reach is not Reach.NAMED
        for request in own:
            if not any(value in str(request) for value in (*foreign.values(), "runs:/", "/../", 'models:/spx-1"')):
                check(request)


LOCATION_LIKE = re.compile(
    r"(^|_)(uri|url|urn|path|source|place|location|file|folder|dir|bucket|link|href|host|endpoint|address)s?(_|$)"
)
NO_LOCATIONS = {
    "modelward.v1.ArtifactFile.path": "below the artifact's root",
    "modelward.v1.DownloadArtifactRequest.path": "below the artifact's root",
    "modelward.v1.Replica.address": "where a server listens, told by itself",
    "modelward.v1.ModelVersion.model_file": "one of the version's files, told by the server",
    "modelward.v1.TrainingData.uri": "told for the record, and never read",
    "modelward.v1.ModelSignature.unsigned_files": "the version's files, told by the server",
    "modelward.v1.Origin.source_model": "the name of a model of another registry",
    "modelward.v1.Origin.source_version": "a number",
}
"""Texts that look like locations by their names, and why they are none."""


def every_field(kinds: Iterable[Descriptor]) -> Iterator[FieldDescriptor]:
    for kind in kinds:
        yield from kind.fields
        yield from every_field(kind.nested_types)


def contract_fields() -> list[FieldDescriptor]:
    files = [*FILES, common_pb2, inventory_pb2]
    return list(every_field(chain.from_iterable(file.DESCRIPTOR.message_types_by_name.values() for file in files)))


def test_every_field_that_looks_like_a_location_is_marked_as_one() -> None:
    texts = [field for field in contract_fields() if field.type in {field.TYPE_STRING, field.TYPE_BYTES}]
    alike = {field.full_name for field in texts if LOCATION_LIKE.search(field.name)}
    marked = {field.full_name for field in texts if meaning_of(field) is Meaning.LOCATION}
    assert alike - NO_LOCATIONS.keys() == marked


def test_every_field_with_the_digest_of_an_upload_is_marked_as_one() -> None:
    pattern = b"^[0-9a-f]{64}$"
    digests = {field.full_name for field in contract_fields() if pattern in field.GetOptions().SerializeToString()}
    marked = {field.full_name for field in contract_fields() if meaning_of(field) is Meaning.CONTENT}
    no_uploads = {
        "modelward.v1.BlobHeader.sha256",  # It brings the content.
        "modelward.v1.VerifyAuditLogRequest.expected_hash",  # It is of a record.
        "modelward.v1.TrainingData.sha256",  # It is told for the record, and nothing is read by it.
    }
    assert digests - no_uploads == marked


TABLE = "_table"
"""What makes a servicer's table of a dataset, which is read later."""
READERS = {TABLE, "copy_artifact", "readable_uri", "fetch", "blob", "read_columns", "read_batches", "parquet_pieces"}
"""What reads from a location or an upload that somebody named."""
INNER = {"rpc/datasets.py": "hands on the dataset that it was given", "storage/sources.py": "checks them itself"}
FROM_MLFLOW = "foreign.uri"
"""The version of the model that the request names; `Sources` checks where it leads."""


@pytest.mark.system
def test_only_marked_fields_reach_what_reads_from_locations() -> None:
    marked = {field.name for field in contract_fields() if meaning_of(field) in {Meaning.LOCATION, Meaning.CONTENT}}
    tables = {field.name for field in contract_fields() if field.message_type is common_pb2.Dataset.DESCRIPTOR}
    files = [file for file in SERVER.rglob("*.py") if file.relative_to(SERVER).as_posix() not in INNER]
    found = {read for file in files for read in flows(ast.parse(file.read_text()))}
    assert {"request.source_uri", "sent.data", "header.data", FROM_MLFLOW} <= found
    assert {read.rpartition(".")[2] for read in found - {FROM_MLFLOW}} <= {*marked, *tables}


def flows(tree: ast.AST) -> Iterator[str]:
    """Give what a module hands to what reads, directly or for a thread to do."""
    for call in ast.walk(tree):
        names = [ast.unparse(part) for part in (call.func, *call.args)] if isinstance(call, ast.Call) else []
        for name, argument in pairwise(names):
            reader = name.rpartition(".")[2]
            if reader in READERS and (reader == TABLE or "sources" in ast.unparse(call)):
                yield argument


def test_contract_marks_are_published() -> None:
    published = FileDescriptorSet.FromString((DOCS.parents[1] / "protos" / "modelward.binpb").read_bytes())
    (common,) = [file for file in published.file if file.name == "modelward/v1/common.proto"]
    assert {(one.name, one.number) for one in common.extension} == {("location", 73061), ("content", 73062)}
    (uri,) = [field for kind in common.message_type for field in kind.field if field.name == "uri"]
    assert uri.options.Extensions[common_pb2.location]


def test_lists_show_the_callers_own_part() -> None:
    permissions = {method: RULES[method.containing_service.name][method.name] for method in METHODS}
    listed = [method for method in METHODS if permissions[method].reach is Reach.LISTED]
    assert len(listed) > 10
    for method in listed:
        kind: Any = GetMessageClass(method.output_type)
        foreign, own = list(about(kind, "ndx", {})), list(about(kind, "spx-1", {}))
        # One shows times, of no model or a named schedule, the other a file, which is drawn of the caller's own models.
        assert own or method.name in {"PreviewSchedule", "RenderInventoryReport"}, method.name
        if method.name == "LeaseJob":
            continue  # What it answers is one job, which it chose among the caller's own.
        assert all(visible_part(answer, LIMITED) == answer for answer in own), method.name
        assert not any(visible_part(answer, LIMITED).ListFields() for answer in foreign), method.name


def test_the_documentation_shows_each_call_under_its_permission() -> None:
    permissions = "|".join(Permission)
    rows = re.findall(rf"^\| ({permissions}) \| (.*) \| (.*) \|$", DOCS.read_text(), re.MULTILINE)
    told = {(call.strip("`"), permission) for permission, _, calls in rows for call in calls.split()}
    assert told == {(call, str(one.permission)) for calls in RULES.values() for call, one in calls.items()}
    for permission, roles, _ in rows:
        assert roles.split(", ") == [role for role in Role if Permission(permission) in role.permissions]
