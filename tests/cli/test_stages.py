"""Commands about stages, and about the record of them."""

import csv
import io
import json
from datetime import timedelta
from pathlib import Path

import pytest

from modelward import Client, MetricRange, PromotionPolicy, Stage
from modelward.cli import options
from tests.cli.conftest import Commands

pytestmark = pytest.mark.system  # Takes seconds.


def test_promote_says_what_it_does_to_whom(commands: Commands, in_production: str, sdk: Client, weights: Path) -> None:
    third = sdk.register(in_production, weights)
    assert commands.said("promote", third, "--to", "staging") == f"{third} is now in staging\n"
    tried = commands.said("promote", third, "--to", "production", "--dry-run")
    warning = f"usable: {third} was not tried: no format of its files is known here, so nobody can say whether it loads"
    assert tried == f"{third} would be in production; {in_production}/2 would be archived\n  {warning}\n"
    assert sdk.get_version(third).stage is Stage.STAGING
    done = commands.said("promote", third, "--to", "production", "--reason", "new regime")
    assert done == f"{third} is now in production; {in_production}/2 is archived\n  {warning}\n"
    assert (
        next(move for move in sdk.list_transitions(in_production) if move.version == third.ref).reason == "new regime"
    )


def test_promote_as_json_is_the_result(commands: Commands, in_production: str) -> None:
    found = commands.json("promote", f"{in_production}/1", "--to", "staging")
    assert (found["version"]["stage"], found["archived"]) == ("staging", None)
    assert (found["transition"]["from_stage"], found["transition"]["actor"]) == ("archived", "ada")


def test_each_failed_gate_has_a_line_of_its_own(
    commands: Commands, in_production: str, sdk: Client, weights: Path
) -> None:
    bounds = (MetricRange("log_loss", at_most=0.6), MetricRange("roc_auc", at_least=0.5))
    sdk.set_promotion_policy(PromotionPolicy(in_production, metrics=bounds, required_tags=("approved",)))
    third = sdk.register(in_production, weights, metrics={"log_loss": 0.7})
    sdk.promote(third, to="staging")
    first, *gates = commands.refused("promote", third, "--to", "production", "--reason", "tested")
    assert first == "the promotion policy rejects it:"
    assert len(gates) == 3
    assert sum("log_loss" in gate for gate in gates) == 1


def test_an_illegal_move_is_one_line(commands: Commands, in_production: str, sdk: Client, weights: Path) -> None:
    third = sdk.register(in_production, weights)
    [line] = commands.refused("promote", third, "--to", "production", "--reason", "tested")
    assert f"{third} is in training" in line


def test_rollback_goes_back(commands: Commands, in_production: str, sdk: Client) -> None:
    tried = commands.said("rollback", in_production, "--dry-run")
    assert tried == f"{in_production}/1 would be in production again; {in_production}/2 would be archived\n"
    assert sdk.resolve(in_production).version.version == 2
    assert commands.json("rollback", in_production, "--reason", "losses")["version"]["version"] == 1
    assert sdk.resolve(in_production).version.version == 1


def test_a_halted_model_no_longer_resolves_until_it_is_resumed(commands: Commands, in_production: str) -> None:
    commands.said("halt", in_production, "--reason", "limit breached")
    [line] = commands.refused("resolve", in_production)
    assert "limit breached" in line
    commands.said("resume", in_production)
    assert commands.json("resolve", in_production)["version"] == 2


@pytest.fixture
def desk(sdk: Client, name: str) -> str:
    """The prefix of two models, of which one has a tag of its own."""
    sdk.create_model(f"{name}-1", tags={"desk": name})
    sdk.create_model(f"{name}-2")
    return f"{name}-"


def test_many_models_are_halted_by_prefix_and_listed(commands: Commands, desk: str, sdk: Client) -> None:
    given = ("--prefix", desk, "--reason", "limit breached")
    tried = commands.said("halt", *given, "--dry-run")
    assert tried == f"2 models would be halted\n  {desk}1\n  {desk}2\n"
    assert [model.halt for model in sdk.list_models(name_prefix=desk)] == [None, None]
    sdk.halt(f"{desk}1", reason="before")
    done = commands.said("halt", *given)
    before = "1 model halted before, with reasons that are kept"
    assert done == f"1 model halted\n  {desk}2\n{before}\n  {desk}1\n"
    again = commands.json("halt", *given)
    assert [model["name"] for model in again["already_halted"]] == [f"{desk}1", f"{desk}2"]


def test_many_models_are_halted_by_tag(commands: Commands, desk: str) -> None:
    found = commands.json("halt", "--tag", f"desk={desk.removesuffix('-')}", "--reason", "limit breached")
    assert [model["name"] for model in found["halted"]] == [f"{desk}1"]


def test_halt_that_matches_no_model_fails(commands: Commands, desk: str) -> None:
    assert commands.refused("halt", "--prefix", f"{desk}x", "--reason", "r") == ["no model matches; nothing is halted"]


@pytest.mark.parametrize("arguments", [[], ["m", "--prefix", "m"], ["m", "--all"], ["m", "--dry-run"]])
def test_halt_of_an_unclear_selection_is_a_usage_error(commands: Commands, arguments: list[str]) -> None:
    done = commands.run("halt", *arguments, "--reason", "r")
    assert (done.exit_code, done.stdout) == (2, "")


@pytest.mark.parametrize(("answer", "halted"), [("n\n", 0), ("y\n", 2)])
def test_halt_of_many_is_confirmed_on_a_terminal(
    commands: Commands, desk: str, sdk: Client, monkeypatch: pytest.MonkeyPatch, answer: str, halted: int
) -> None:
    monkeypatch.setattr(options, "is_interactive", lambda: True)
    done = commands.run("halt", "--prefix", desk, "--reason", "r", typed=answer)
    assert f"2 models will be halted\n  {desk}1\n  {desk}2\nContinue? [y/N]" in done.stderr
    assert sum(model.halt is not None for model in sdk.list_models(name_prefix=desk)) == halted


def test_resolve_answers_for_a_stage_an_alias_and_the_past(
    commands: Commands, in_production: str, sdk: Client, weights: Path
) -> None:
    third = sdk.register(in_production, weights)
    sdk.promote(third, to="staging")
    promoted = sdk.get_version(f"{in_production}/2").stage_since
    assert commands.json("resolve", in_production, "--stage", "staging")["version"] == 3
    assert commands.json("resolve", in_production, "--alias", "latest")["version"] == 3
    before = (promoted - timedelta(microseconds=1)).replace(tzinfo=None).isoformat()  # Without a zone it is UTC.
    assert commands.json("resolve", in_production, "--as-of", before)["version"] == 1
    assert f"{in_production}/2" in commands.said("resolve", in_production, "--as-of", promoted.isoformat())


def test_history_tells_who_moved_what_and_why(commands: Commands, in_production: str) -> None:
    heading, _, newest, *_ = commands.said("history", in_production).splitlines()
    assert heading.split() == ["time", "(UTC)", "version", "from", "to", "who", "why"]
    assert newest.split()[2:] == [f"{in_production}/2", "staging", "production", "sdk", "it", "is", "better"]
    assert len(commands.json("history", in_production, "--limit", 3)) == 3


def test_the_audit_log_is_verified_and_exported(commands: Commands, in_production: str, sdk: Client) -> None:
    assert "intact" in commands.said("audit", "verify")
    found = commands.json("audit", "verify")
    assert found["intact"] is True
    assert found["defects"] == []
    later = commands.json("audit", "verify", "--expect", found["head_hash"])
    assert (later["intact"], later["expected_sequence"]) == (True, found["head_sequence"])
    records = [json.loads(line) for line in commands.said("audit", "export").splitlines()]
    assert [record["hash"] for record in records] == [record.hash for record in sdk.export_audit_log()]
    assert in_production in {record["model"] for record in records}
    rows = list(csv.DictReader(io.StringIO(commands.said("audit", "export", "--format", "csv"))))
    assert [list(row) for row in rows[:1]] == [list(records[0])]
    assert [(row["sequence"], row["hash"]) for row in rows] == [(str(one["sequence"]), one["hash"]) for one in records]
