"""The command that shows who the caller is."""

from tests.cli.conftest import Commands


def test_whoami_says_that_the_name_is_only_stated(commands: Commands) -> None:
    shown = commands.said("whoami").splitlines()
    assert [line.split() for line in shown[:3]] == [["name", "ada"], ["role", "admin"], ["models", "all"]]
    assert shown[3].split() == ["expires", "(UTC)", "never"]
    assert "no, the server takes the name that you state" in shown[4]
    assert commands.json("whoami") == {
        "name": "ada",
        "role": "admin",
        "model_prefixes": [],
        "expires_at": None,
        "authenticated": False,
    }
