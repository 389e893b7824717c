"""Commands about A/B tests."""

from pathlib import Path

import pytest

from modelward import AbTest, Client
from tests.cli.conftest import Commands
from tests.support.abtest_traffic import outcomes

pytestmark = pytest.mark.system  # Takes seconds.


@pytest.fixture
def test(sdk: Client, name: str, weights: Path) -> AbTest:
    """A test of two versions whose challenger is better."""
    versions = {variant: sdk.register(name, weights) for variant in ("champion", "challenger")}
    test = sdk.create_ab_test(name, versions, primary_metric="pnl_bps", guardrails=["fills"])
    sdk.record_ab_outcomes(test, outcomes(test, 800, lift=0.8))
    return test


def test_tests_are_listed(commands: Commands, test: AbTest) -> None:
    [row] = commands.said("ab", "list", test.test).splitlines()[2:]
    assert row.split()[:5] == [test.test, "running", f"{test.test}/1", f"{test.test}/2", "pnl_bps"]
    assert commands.said("ab", "list", test.test, "--state", "concluded") == "there is no A/B test\n"


def test_test_is_shown_with_its_intervals_and_in_a_sentence(commands: Commands, test: AbTest) -> None:
    said = commands.said("ab", "show", test.test, width=120)
    rows = {
        tuple(line.split()[:2]): line.split()[2:] for line in said.splitlines() if line.startswith(("pnl", "fills"))
    }
    assert rows["pnl_bps", "champion"][-1] == "control"
    assert rows["pnl_bps", "challenger"][-1] == "superior"
    assert rows["fills", "challenger"][-1] == "none"
    assert "challenger is better than champion" in " ".join(said.split())
    assert commands.json("ab", "show", test.test)["best"] == "challenger"


def test_test_is_concluded_once(commands: Commands, test: AbTest) -> None:
    said = commands.said("ab", "conclude", test.test, "--reason", "the quarter ends")
    assert said == f"{test.test} is concluded in favour of challenger\n"
    [line] = commands.refused("ab", "conclude", test.test, "--reason", "the rule", "--action", "by-rule")
    assert "was concluded" in line
    assert commands.said("ab", "list", test.test).split()[-1] == "challenger"


def test_rule_that_cannot_act_says_why(commands: Commands, sdk: Client, test: AbTest) -> None:
    [line] = commands.refused("ab", "conclude", test.test, "--reason", "the rule", "--action", "by-rule")
    assert "training" in line or "staging" in line
    assert sdk.get_ab_test(test.test).conclusion is None
