"""The command that shows who the caller is."""

from tests.cli.conftest import Commands


def test_whoami_says_that_the_name_is_only_stated(commands: Commands) -> None:
    shown = commands.said("whoami").splitlines()
    facts = [["name", "ada"], ["role", "admin"], ["functions", "none"], ["models", "all"]]
    assert [line.split() for line in shown[:4]] == facts
    assert shown[4].split() == ["expires", "(UTC)", "never"]
    assert "no, the server takes the name that you state" in shown[5]
    assert commands.json("whoami") == {
        "name": "ada",
        "role": "admin",
        "model_prefixes": [],
        "expires_at": None,
        "functions": [],
        "authenticated": False,
    }
