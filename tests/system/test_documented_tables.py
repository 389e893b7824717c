"""The tables of settings and errors are whole, and the README stays short."""

import re

from modelward.errors import ModelwardError
from modelward_server.app import SERVICES
from modelward_server.settings import Settings
from tests.support.documents import ROOT

SETTINGS, ERRORS = ((ROOT / "docs" / f"{name}.md").read_text() for name in ("settings", "errors"))


def test_the_settings_are_all_told_with_their_defaults() -> None:
    told = dict(re.findall(r"^\| `([a-z_]+)` \| (?:`(.*?)`)? ?\| ", SETTINGS, re.MULTILINE))
    defaults = {name: field.default for name, field in Settings.model_fields.items()}
    assert set(told) == set(defaults)
    for name, default in defaults.items():
        assert told[name] == shown(default)


def shown(default: object) -> str:
    """Return a default as an operator would write it; empty for none."""
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, float):
        return f"{default:g}"
    return "" if default is None else str(default)


def test_the_errors_are_all_told_with_their_status() -> None:
    table = ERRORS.partition("| status | reason | what to do |\n")[2].partition("\n\n")[0]
    told: dict[str, str] = {}
    status = ""
    for line in table.splitlines()[1:]:
        kind, reasons, advice = (cell.strip() for cell in line.strip("|").split("|"))
        status = kind.strip("`") or status
        assert advice
        told |= dict.fromkeys(re.findall(r"`(\w+)`", reasons), status)
    assert told == {reason: error.status.name for reason, error in ModelwardError.by_reason.items()}


def test_the_services_are_all_in_the_contract_and_in_the_picture_of_the_parts() -> None:
    contract, picture = ((ROOT / "docs" / path).read_text() for path in ("contract.md", "images/parts.svg"))
    assert set(re.findall(r"^\| `([a-zA-Z0-9.]+)` \|", contract.partition("## ")[0], re.MULTILINE)) >= {
        service.removeprefix("modelward.v1.") for service in SERVICES
    }
    ours = {service.removeprefix("modelward.v1.") for service in SERVICES if service.startswith("modelward.")}
    assert set(re.findall(r">(\w+Service)<", picture)) == ours


def test_the_background_tasks_are_all_told() -> None:
    table = (ROOT / "docs" / "operating.md").read_text().partition("| task | purpose |\n")[2].partition("\n\n")[0]
    told = {task for line in table.splitlines() for task in re.findall(r"`([a-z0-9-]+)`", line.split(" | ")[0])}
    sources = "".join(path.read_text() for path in (ROOT / "server" / "modelward_server").rglob("*.py"))
    for task in re.findall(r'background\.start\(\s*f?"([a-z-]+)', sources):
        assert task in told or (task.endswith("-") and any(name.startswith(task) for name in told))


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170
