"""The audit log proves the state: what somebody changes by hand, in the tables or in the log, is found and named."""

import json
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from modelward import AuditVerification, Client, PromotionPolicy
from modelward.caller import Role
from modelward.drift import DriftPolicy, DriftThresholds
from modelward.retraining import RetrainingPolicy
from modelward_server.security import grants
from modelward_server.settings import Settings
from modelward_server.storage import audit
from tests.support.abtest_traffic import named
from tests.support.postgres import new_database
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Each test replays a whole history.


class Registry:
    """A server with something of every kind that records tell of, and its tables."""

    def __init__(self, server: RunningServer, client: Client) -> None:
        self.server, self.client = server, client

    def fill(self, folder: Path) -> None:
        mw = self.client
        (folder / "model.bin").write_bytes(b"weights")
        for _ in range(2):
            mw.promote(mw.register("spx", folder / "model.bin", tags={"desk": "a"}, metrics={"ic": 0.1}), to="staging")
        mw.promote("spx/1", to="production", reason="best of March")
        mw.create_model("ndx", description="Nasdaq")
        mw.update_model("ndx", inventory={"tier": 1, "depends_on": ["spx"]})
        mw.update_version("spx/1", lineage={"weaknesses": ["slow"]})
        mw.halt("ndx", reason="no data")
        mw.set_promotion_policy(PromotionPolicy("spx", required_tags=("approved",)))
        mw.set_drift_policy(DriftPolicy("spx", DriftThresholds()))
        mw.set_retraining_policy(RetrainingPolicy("spx", queue="gpu"))
        mw.create_schedule("spx", every=timedelta(days=300), schedule_id="yearly")
        mw.delete_schedule(mw.create_schedule("spx", every=timedelta(days=300)).schedule_id)
        mw.request_retraining("spx", reason="new vendor")
        test = mw.create_ab_test("trial", {"a": "spx/1", "b": "spx/2"}, primary_metric="pnl_bps")
        mw.record_ab_outcomes(test, named(test, {"a": 5, "b": 5}))
        mw.conclude_ab_test(test, winner="a", reason="it was decided")
        with self.server.app.ledger.writing() as session:
            grants.create_token(session, "ada", Role.VIEWER, (), None, audit.begin_change(session, "root"))

    def change(self, *statements: str) -> None:
        """Change the tables by hand."""
        with self.server.app.ledger.writing() as session:
            for statement in statements:
                assert session.connection().execute(text(statement)).rowcount or "CREATE" in statement, statement

    def wrong(self, *statements: str) -> list[tuple[str, str, str]]:
        """Return what a verification names once the tables were changed by hand: table, row, field."""
        self.change(*statements)
        found = self.client.verify_audit_log()
        assert not found.intact
        return [(defect.table, defect.key, defect.field) for defect in found.defects]


@pytest.fixture
def registry(tmp_path: Path, database_url: str, postgres_or_file: str) -> Iterator[Registry]:
    server = RunningServer(Settings(port=0, data_dir=tmp_path / "data", database_url=postgres_or_file))
    with Client(server.target, actor="ada", timeout=PATIENCE_SECONDS) as client:
        registry = Registry(server, client)
        registry.fill(tmp_path)
        yield registry
    server.stop()


@pytest.fixture
def postgres_or_file(database_url: str) -> str:
    """A database of its own, of each kind."""
    return new_database(database_url.rpartition("/")[0]) if database_url else ""


def _check_untouched(registry: Registry) -> None:
    found = registry.client.verify_audit_log()
    assert found.defects == ()
    assert found.rows > 20
    assert found.head_sequence == found.records
    part = registry.client.verify_audit_log(from_sequence=2)
    assert (part.intact, part.rows) == (True, 0)


BY_HAND = {
    "another version in production": (
        [
            "UPDATE ledger_versions SET stage = 'archived' WHERE version = 1",
            "UPDATE ledger_versions SET stage = 'production' WHERE version = 2",
        ],
        {("ledger_versions", "spx/1", "stage"), ("ledger_versions", "spx/2", "stage")},
    ),
    "another time of a stage": (
        ["UPDATE ledger_versions SET stage_since = created_at WHERE version = 1"],
        {("ledger_versions", "spx/1", "stage_since")},
    ),
    "another author": (
        ["UPDATE ledger_versions SET created_by = 'mallory' WHERE version = 2"],
        {("ledger_versions", "spx/2", "created_by")},
    ),
    "a halt taken away": (
        ["UPDATE ledger_models SET halted_at = NULL, halted_by = '', halt_reason = '' WHERE name = 'ndx'"],
        {("ledger_models", "ndx", "halt")},
    ),
    "a halt of nobody": (
        ["UPDATE ledger_models SET halted_at = created_at, halted_by = 'x' WHERE name = 'spx'"],
        {("ledger_models", "spx", "halt")},
    ),
    "a description": (
        ["UPDATE ledger_models SET description = 'approved' WHERE name = 'spx'"],
        {("ledger_models", "spx", "description")},
    ),
    "an inventory": (
        ["""UPDATE ledger_models SET inventory = '{"tier": 4}'::json WHERE name = 'spx'"""],
        {("ledger_models", "spx", "inventory")},
    ),
    "a lineage": (
        ["UPDATE ledger_versions SET lineage = NULL WHERE version = 1"],
        {("ledger_versions", "spx/1", "lineage")},
    ),
    "a job": (
        ["UPDATE ledger_versions SET job_id = 'x' WHERE version = 1"],
        {("ledger_versions", "spx/1", "job_id")},
    ),
    "a number that counts back": (
        ["UPDATE ledger_models SET latest_version = 1 WHERE name = 'spx'"],
        {("ledger_models", "spx", "latest_version")},
    ),
    "a policy": (
        ["""UPDATE ledger_policies SET policy = REPLACE(CAST(policy AS TEXT), '"approved"', '')::json"""],
        {("ledger_policies", "spx", "required_tags")},
    ),
    "a policy that is gone": (["DELETE FROM ledger_policies"], {("ledger_policies", "spx", "")}),
    "a drift policy that is gone": (["DELETE FROM ledger_drift_policies"], {("ledger_drift_policies", "spx", "")}),
    "a retraining policy": (
        ["UPDATE ledger_retraining_policies SET revision = 7"],
        {("ledger_retraining_policies", "spx", "etag")},
    ),
    "a schedule": (
        ["UPDATE ledger_schedules SET pause_reason = 'x' WHERE schedule_id = 'yearly'"],
        {("ledger_schedules", "yearly", "pause_reason")},
    ),
    "the end of a test": (
        ["""UPDATE ledger_ab_tests SET found = REPLACE(CAST(found AS TEXT), '"winner": "a"', '"winner": "b"')::json"""],
        {("ledger_ab_tests", "trial", "winner")},
    ),
    "a role": (["UPDATE ledger_grants SET role = 'admin'"], {("ledger_grants", "*", "role")}),
    "a token's secret": (
        [f"UPDATE ledger_grants SET digest = '{'0' * 64}'"],
        {("ledger_grants", "*", "secret_sha256")},
    ),
    "history": (
        ["UPDATE ledger_transitions SET actor = 'mallory' WHERE reason = 'best of March'"],
        {("ledger_transitions", "*", "actor")},
    ),
    "history that nobody made": (
        [
            "INSERT INTO ledger_transitions (sequence, model, version, from_stage, to_stage, actor, reason, moved_at,"
            " displaced_by, gates) SELECT 900, model, version, from_stage, to_stage, actor, reason, moved_at,"
            " displaced_by, gates FROM ledger_transitions WHERE reason = 'best of March'"
        ],
        {("ledger_transitions", "900", "")},
    ),
    "history that is gone": (
        ["DELETE FROM ledger_transitions WHERE reason = 'best of March'"],
        {("ledger_transitions", "*", "")},
    ),
}


@pytest.mark.weekly("postgresql")
def test_what_was_changed_by_hand_is_named(registry: Registry) -> None:
    """One after the other in one registry: a start of a server for each would take longer than all of them."""
    _check_untouched(registry)
    _check_files(registry)
    cast = "" if registry.server.app.ledger.is_sqlite else "::json"
    for what, (statements, expected) in BY_HAND.items():
        found = set(registry.wrong(*(statement.replace("::json", cast) for statement in statements)))
        assert expected <= found | {(table, "*", field) for table, _, field in found}, what
    columns = "version, stage, description, tags, params, metrics, files, reference_names, format, framework, digest,"
    columns += " created_by, created_at, updated_at, stage_since, revision, run_id, mlflow_version, mirror_wanted,"
    columns += " mirror_done"
    copied = f"INSERT INTO ledger_versions (model, {columns}) SELECT 'ndx', {columns} FROM ledger_versions"
    assert ("ledger_versions", "ndx/2", "") in registry.wrong(f"{copied} WHERE version = 2")


def _check_files(registry: Registry) -> None:
    """Change a digest in the list of a version's files."""
    with registry.server.app.ledger.reading() as session:
        files = session.execute(text("SELECT CAST(files AS TEXT) FROM ledger_versions WHERE version = 2")).scalar_one()
    sha256 = json.loads(files)[0]["sha256"]
    cast = "" if registry.server.app.ledger.is_sqlite else "::json"
    found = registry.wrong(
        f"UPDATE ledger_versions SET files = '{files.replace(sha256, '0' * 64)}'{cast} WHERE version = 2"
    )
    assert found == [("ledger_versions", "spx/2", "files"), ("ledger_versions", "spx/2", "digest of files")]
    [defect, _] = registry.client.verify_audit_log().defects
    assert (sha256 in defect.recorded, "0" * 64 in defect.found) == (True, True)


@pytest.mark.weekly("postgresql")
def test_tail_that_was_cut_off_is_missed_by_whoever_kept_its_hash(registry: Registry) -> None:
    _check_state_newer_than_the_log(registry)
    kept = registry.client.verify_audit_log()
    registry.client.create_model("later")
    grown = registry.client.verify_audit_log(expected_hash=kept.head_hash)
    assert (grown.intact, grown.expected_sequence) == (True, kept.head_sequence)
    last = grown.head_sequence - 1  # The model, and the last record of before: the move.
    registry.change(
        f"DELETE FROM ledger_audit WHERE sequence >= {last}",
        _head_at(last - 1),
        "DELETE FROM ledger_models WHERE name = 'later'",
        "DELETE FROM ledger_transitions WHERE sequence = (SELECT MAX(sequence) FROM ledger_transitions)",
        "UPDATE ledger_versions SET stage = 'production', stage_since = (SELECT moved_at FROM ledger_transitions"
        " WHERE reason = 'best of March') WHERE version = 1",
    )
    assert registry.client.verify_audit_log().intact  # Whoever changes everything leaves nothing to be seen...
    missed: AuditVerification = registry.client.verify_audit_log(expected_hash=kept.head_hash)
    assert not missed.intact  # ... but by those to whom the hash was told.
    assert kept.head_hash in missed.defects[0].problem
    assert missed.expected_sequence == 0


def _check_state_newer_than_the_log(registry: Registry) -> None:
    """Cut off the record of a move, and set the head back, and then put both there again."""
    registry.client.promote("spx/1", to="archived")
    last = registry.client.verify_audit_log().head_sequence
    registry.change(
        "CREATE TABLE cut AS SELECT * FROM ledger_audit",
        f"DELETE FROM ledger_audit WHERE sequence = {last}",
        _head_at(last - 1),
    )
    found = {(defect.table, defect.key, defect.field) for defect in registry.client.verify_audit_log().defects}
    assert {("ledger_transitions", f"{last}", ""), ("ledger_versions", "spx/1", "stage")} <= found
    registry.change(f"INSERT INTO ledger_audit SELECT * FROM cut WHERE sequence = {last}", _head_at(last))


def _head_at(sequence: int) -> str:
    last = f"(SELECT hash FROM ledger_audit WHERE sequence = {sequence})"
    return f"UPDATE ledger_audit_head SET sequence = {sequence}, hash = {last}"
