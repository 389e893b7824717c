"""The tables of settings and errors are whole, and the README stays short."""

import re
from collections.abc import Iterator

import click

import modelward
from modelward import AsyncClient, Client
from modelward.cli.commands import cli
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


def test_the_commands_are_all_told() -> None:
    page = (ROOT / "docs" / "command.md").read_text()
    assert [words for words in commands(cli) if not told_of(words, page)] == []


def commands(command: click.Command, *words: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of each command."""
    if not isinstance(command, click.Group):
        yield words
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found
        yield from commands(found, *words, name)


def told_of(words: tuple[str, ...], page: str) -> bool:
    """Return whether a page has a command; those of a group may be listed by their last words after the first."""
    if f"modelward {' '.join(words)}" in page:
        return True
    groups = re.findall(rf"\[`{words[0]} [^]]*\]", page)
    return any(f"{mark}{words[-1]}`" in group for group in groups for mark in ("`", " "))


def test_the_public_names_are_all_in_the_reference() -> None:
    pages = "".join(page.read_text() for page in (ROOT / "docs" / "reference").glob("*.md"))
    modules = set(re.findall(r"^::: ([\w.]+)$", pages, re.MULTILINE)) | {Client.__module__, AsyncClient.__module__}
    public = [(name, getattr(modelward, name)) for name in modelward.__all__]
    assert [
        name for name, value in public if getattr(value, "__module__", "") and value.__module__ not in modules
    ] == []


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 170
