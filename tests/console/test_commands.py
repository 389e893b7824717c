"""The commands that pages name do the same as the pages: a shell takes each as it is shown."""

import re
import shlex
from datetime import timedelta
from html import unescape
from pathlib import Path

import click
import httpx
import pytest

from modelward import AsyncClient, PromotionPolicy, RequiredApproval
from modelward.cli.commands import cli
from tests.cli.conftest import Commands
from tests.support.console_states import REGISTRY_PAGES, pages_of
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Takes seconds.

HOSTILE = "%27%3B%20rm%20-r%20~%20%22%24%28id%29%3Cb%3E"
"""`'; rm -r ~ "$(id)<b>`, as an address has it."""
LEFT_OPEN = "…"
"""What the user has to fill in."""


def commands_of(page: str) -> list[str]:
    """Return the commands that a page names as the same as itself."""
    lines = re.findall(r"The same by command.*?</p>", page, re.DOTALL)
    found = [unescape(text) for line in lines for text in re.findall(r"<code>(.*?)</code>", line, re.DOTALL)]
    return [text for text in found if "MODEL" not in text and "HASH" not in text]


def parse(words: list[str]) -> click.Context:
    """Parse a command as it would be before it runs.

    Raises:
        click.UsageError: there is no such command or option, or one is missing.
    """
    command: click.Command = cli
    context = command.make_context("modelward", words)
    while isinstance(command, click.Group):
        name, found, words = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found
        command, context = found, found.make_context(name or "", words, parent=context)
    return context


@pytest.fixture
async def addresses(sdk: AsyncClient, name: str, tmp_path: Path) -> list[str]:
    """Pages of a model of which there is one of everything."""
    (tmp_path / "model.bin").write_bytes(b"weights")
    for version in (1, 2):
        await sdk.register(name, tmp_path / "model.bin")
        await sdk.promote(f"{name}/{version}", to="staging")
    await sdk.promote(f"{name}/1", to="production", reason="first")
    await sdk.set_promotion_policy(PromotionPolicy(name, required_approvals=(RequiredApproval(("risk",)),)))
    approval = (await sdk.request_approval(f"{name}/2", reason="better")).approval_id
    finding = (await sdk.open_finding(name, title="no costs", severity="low", owner="bob")).finding_id
    [drill] = await sdk.start_drill([name], reason="the yearly one")
    schedule = (await sdk.create_schedule(name, every=timedelta(days=1))).schedule_id
    variants = {"champion": f"{name}/1", "challenger": f"{name}/2"}
    await sdk.create_ab_test(name, variants, primary_metric="pnl_bps")
    home = f"/models/{name}"
    return [
        *(REGISTRY_PAGES | pages_of(name, 2)).values(),
        f"/approvals/{approval}",
        f"/findings/{finding}",
        f"/drills/{drill.drill_id}",
        "/drill",
        f"{home}/approve?approval={approval}&function=risk",
        f"{home}/reject?approval={approval}&function={HOSTILE}",
        f"{home}/withdraw-approval?approval={approval}",
        f"{home}/open-finding?version=2",
        f"{home}/change-finding?finding={finding}",
        f"{home}/close-finding?finding={finding}",
        f"{home}/record-review?version=2",
        f"{home}/pause-schedule?schedule={schedule}",
        f"{home}/resume-schedule?schedule={schedule}",
        f"{home}/conclude?test={name}&winner={HOSTILE}",
        f"{home}/resume",
        f"{home}/drill",
        f"/halt?prefix={name}&tags=desk={HOSTILE}",
        f"/findings?model={name}&state=any&min_severity=high&owner={HOSTILE}&overdue=on",
        f"/approvals?model={name}&version=2&state=pending&waits_for={HOSTILE}",
        f"/audit?model={name}&actor={HOSTILE}&kind=transition",
        f"/scores?model={name}&actor={HOSTILE}",
        f"/engines?prefix={name}",
        f"/reviews?model={name}",
        f"/drills?model={name}",
        f"{home}/performance?period=7d",
    ]


async def test_each_command_is_one_that_the_command_line_takes(
    browser: httpx.AsyncClient, addresses: list[str], server: RunningServer
) -> None:
    shown = 0
    for address in addresses:
        for text in commands_of((await browser.get(address)).text):
            words = shlex.split(text)
            assert words[0] == "modelward", (address, text)
            parse([_filled(words, place) for place in range(1, len(words))])
            shown += 1
            if LEFT_OPEN not in text and words[1] != "approvals" and "withdraw" not in words and "resume" not in words:
                answer = Commands(server.target).run(*words[1:])
                assert answer.exit_code == 0, (address, text, answer.output)
    assert shown > len(addresses) / 2


def _filled(words: list[str], place: int) -> str:
    """Return a word of a command, filled in as a user does where it is left open."""
    filled = {"--outcome": "approved", "--severity": "high"}.get(words[place - 1], "a reason")
    return filled if words[place] == LEFT_OPEN else words[place]


async def test_the_command_of_a_list_has_its_filter(browser: httpx.AsyncClient, addresses: list[str]) -> None:
    model = addresses[-1].split("/")[2]
    for address, words in (
        ("/findings", "findings list --state open"),
        (f"/findings?model={model}&version=2&state=any&owner=a%20b&overdue=on", f"{model}/2 --owner 'a b' --overdue"),
        (f"/approvals?model={model}&waits_for=risk", f"approvals list {model} --waits-for risk"),
        (f"/scores?model={model}&actor=bob", f"scores {model} --client bob"),
        (f"/reviews?model={model}", f"reviews due {model}"),
        (f"/drills?model={model}", f"drills list {model}"),
        (f"/engines?prefix={model}", f"rollout --prefix {model}"),
        (f"/inventory?prefix={model}", f"--prefix {model}"),
    ):
        commands = commands_of((await browser.get(address)).text)
        assert any(words in command for command in commands), (address, commands)


async def test_the_command_of_a_verification_quotes_what_was_typed(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/audit")).text
    form_key = page.partition('name="form_key" value="')[2].partition('"')[0]
    form = {"form_key": form_key, "expected_hash": "'; rm -r ~"}
    headers = {"origin": str(browser.base_url)}
    answer = (await browser.post("/audit/verify", data=form, headers=headers)).text
    for text in commands_of(answer):
        assert shlex.split(text)[-2:] == ["--expect", "'; rm -r ~"]
