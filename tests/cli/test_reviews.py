"""The commands about reviews."""

from modelward import Client
from tests.cli.conftest import Commands


def test_a_review_is_recorded_listed_and_takes_the_reasons_away(
    commands: Commands, in_production: str, sdk: Client
) -> None:
    [row] = commands.said("reviews", "due", in_production, width=200).splitlines()[2:]
    assert "promoted to version 2" in row
    given = ("--outcome", "approved_with_conditions", "--comment", "sound", "--condition", "half the size")
    done = commands.json("reviews", "record", in_production, *given, "--next", "2099-03-31")
    assert (done["conditions"], done["next_review"]) == (["half the size"], "2099-03-31")
    assert commands.said("reviews", "due", in_production) == "no review is due\n"
    [row] = commands.said("reviews", "list", in_production, width=200).splitlines()[2:]
    assert "half the size" in row
    assert next(iter(sdk.list_reviews(in_production))).review_id in row
