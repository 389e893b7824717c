"""The commands about reviews."""

from modelward import Client
from tests.cli.conftest import Commands


def test_a_review_is_recorded_listed_and_takes_the_reasons_away(
    commands: Commands, in_production: str, sdk: Client
) -> None:
    [row] = commands.said("reviews", "due", in_production, width=200).splitlines()[2:]
    assert "promoted to version 2" in row
    given = ("--outcome", "approved_with_conditions", "--comment", "sound", "--condition", "half the size")
    with Client(sdk.target, actor="vera") as vera:
        made = vera.record_review(in_production, outcome="rejected", comment="no costs")
    assert commands.said("reviews", "due", in_production) == "no review is due\n"
    [refusal] = commands.refused("reviews", "record", in_production, *given)
    assert "ada registered" in refusal
    sdk.create_model(f"{in_production}-new")
    done = commands.json("reviews", "record", f"{in_production}-new", *given, "--next", "2099-03-31")
    assert (done["conditions"], done["next_review"]) == (["half the size"], "2099-03-31")
    [row] = commands.said("reviews", "list", in_production, width=200).splitlines()[2:]
    assert made.review_id in row
