"""Commands about models, versions and files."""

from pathlib import Path

import pytest

from modelward import Client, TimeWindow
from tests.cli.conftest import Commands


def test_register_takes_everything_that_is_known(commands: Commands, name: str, weights: Path, sdk: Client) -> None:
    known = ("--metric", "log_loss=0.5", "--param", "depth=3", "--tag", "desk=eu=1", "--description", "first")
    assert commands.said("register", name, weights, *known) == f"{name}/1 is registered, in training\n"
    version = sdk.get_version(f"{name}/1")
    assert (version.metrics, version.params, version.tags) == ({"log_loss": 0.5}, {"depth": "3"}, {"desk": "eu=1"})
    assert (version.description, version.created_by) == ("first", "ada")


def test_register_takes_the_training_data_as_the_reference(
    commands: Commands, name: str, weights: Path, sdk: Client, tmp_path: Path
) -> None:
    data = tmp_path / "train.csv"
    data.write_text("day,symbol,momentum\n2026-01-02,SPX,0.5\n2026-01-01,NDX,-0.5\n2026-01-01,SPX,0.1\n")
    keys = ("--time", "day", "--group", "symbol")
    registered = commands.json("register", name, weights, "--reference", data, "--ignore", "symbol", *keys)
    assert registered["references"] == ["default"]
    reference = sdk.get_reference(f"{name}/1")
    assert [feature.name for feature in reference.features] == ["momentum"]
    assert reference.ignored_columns == ("day", "symbol")
    assert reference.window == TimeWindow("day", "symbol", "2026-01-01", "2026-01-02", times=2, groups=2)
    data.write_text("day,symbol,momentum\n3,SPX,0.5\n3,SPX,0.1\n")
    assert "'day' and 'symbol' have 3 and 'SPX' in rows 0 and 1" in commands.refused("drift", f"{name}/1", data)[0]
    assert "time: names 'dey'" in commands.refused("drift", f"{name}/1", data, "--time", "dey")[0]


@pytest.mark.system
def test_register_takes_the_number_of_trials_or_their_returns(
    commands: Commands, name: str, weights: Path, sdk: Client, tmp_path: Path
) -> None:
    commands.said("register", name, weights, "--trials", "500")
    assert "chosen of 500 configurations, whose returns are not known" in commands.said("show", f"{name}/1")
    returns = tmp_path / "returns.csv"
    returns.write_text("fast,slow\n" + "0.01,-0.01\n0.02,0.01\n-0.01,0.00\n" * 8)
    commands.said("register", name, weights, "--trials", returns)
    assert "fast was chosen of 2 configurations: Sharpe ratio " in commands.said("show", f"{name}/2")
    refused = commands.run("register", name, weights, "--trials", "many")
    assert refused.exit_code == 2
    assert "'many' is neither a number nor a file" in refused.stderr


def test_the_actor_is_who_the_option_names(commands: Commands, name: str, weights: Path) -> None:
    assert commands.json("register", name, weights, "--actor", "grace")["created_by"] == "grace"


def test_models_are_listed_by_prefix_stage_and_tag(commands: Commands, in_production: str, sdk: Client) -> None:
    sdk.update_model(in_production, tags={"desk": "eu"})
    conditions = ("--prefix", in_production[:-1], "--stage", "production", "--tag", "desk=eu")
    [row] = commands.said("models", *conditions).splitlines()[2:]
    assert row.split()[:4] == [in_production, "2", "2", "desk=eu"]
    assert commands.said("models", *conditions[:-1], "desk=us") == "there is no such model\n"


def test_versions_are_listed_the_newest_first(commands: Commands, in_production: str) -> None:
    heading, _, second, first = commands.said("versions", in_production).splitlines()
    assert heading.split() == ["version", "stage", "since", "(UTC)", "by", "origin", "usable", "metrics"]
    assert second.split()[:2] == ["2", "production"]
    assert first.split()[:2] == ["1", "archived"]
    assert first.split()[-4:] == ["sdk", "not", "tried", "log_loss=0.6931"]


def test_versions_as_json_have_the_fields_of_the_sdk(commands: Commands, in_production: str, sdk: Client) -> None:
    [found] = commands.json("versions", in_production, "--stage", "archived")
    version = sdk.get_version(f"{in_production}/1")
    assert found["stage"] == "archived"
    assert found["metrics"] == {"log_loss": 0.6931}
    assert found["created_at"] == version.created_at.isoformat()
    assert found["files"] == [{"path": "model.bin", "size_bytes": 7, "sha256": version.files[0].sha256}]


def test_a_list_of_nothing_is_an_empty_json_list(commands: Commands, in_production: str) -> None:
    assert commands.json("versions", in_production, "--stage", "staging") == []


@pytest.mark.system
def test_show_tells_a_version_or_a_model(commands: Commands, in_production: str, sdk: Client) -> None:
    version = sdk.get_version(f"{in_production}/2")
    shown = commands.said("show", version)
    for fact in ("production", "guesses", "0.6931", version.digest, version.files[0].sha256, "model.bin"):
        assert fact in shown
    sdk.halt(in_production, reason="it trades too much")
    assert "by sdk: it trades too much" in commands.said("show", in_production)
    assert commands.json("show", in_production)["halt"]["reason"] == "it trades too much"


def test_download_writes_the_files(commands: Commands, in_production: str, tmp_path: Path) -> None:
    folder = tmp_path / "[got]"
    said = commands.said("download", f"{in_production}/1", folder)
    assert said == f"1 file of {in_production}/1 in {folder}, verified\n"
    assert (folder / "model.bin").read_bytes() == b"weights"


def test_a_download_to_where_nothing_can_be_written_says_so(commands: Commands, in_production: str) -> None:
    assert commands.refused("download", f"{in_production}/1", "/dev/null/folder") == [
        "/dev/null/folder: Not a directory"
    ]


def test_what_does_not_exist_is_one_line(commands: Commands, in_production: str) -> None:
    [line] = commands.refused("show", f"{in_production}/9")
    assert line == f"there is no {in_production}/9; its versions go up to 2"
    [line] = commands.refused("show", "absent")
    assert line.startswith("there is no model 'absent'")


def test_each_wrong_field_has_a_line_of_its_own(commands: Commands, weights: Path) -> None:
    lines = commands.refused("register", "no spaces", weights, "--metric", "log_loss=inf")
    assert [line.partition(":")[0] for line in lines] == ["model", 'metrics["log_loss"]']


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("register m /dev/null --metric log_loss", "'log_loss' is not of the form KEY=VALUE"),
        ("register m /dev/null --metric =1", "'=1' is not of the form KEY=VALUE"),
        ("register m /dev/null --metric log_loss=low", "'low' is not a number"),
        ("register m /absent/path", "'/absent/path' does not exist"),
        ("models --tag desk", "'desk' is not of the form KEY=VALUE"),
        ("models --timeout 0", "0.0 is not in the range"),
        ("promote m/1 --to prod", "'prod' is not one of"),
        ("promote m/1", "Missing option '--to'"),
        ("halt m", "Missing option '--reason'"),
        ("resolve m --as-of yesterday", "'yesterday' is not an ISO 8601 time"),
        ("resolve m --stage staging --alias latest", "give --stage or --alias, not both"),
        ("mdoels", "No such command 'mdoels'"),
    ],
)
def test_a_malformed_command_is_a_usage_error(commands: Commands, arguments: str, said: str) -> None:
    result = commands.run(*arguments.split())
    assert result.exit_code == 2
    assert said in result.stderr
