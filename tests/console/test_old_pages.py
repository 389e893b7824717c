"""Forms of pages that are too old: what they change is what their user saw, or nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import httpx
import pytest

from modelward import AsyncClient, PromotionPolicy, RequiredApproval, errors
from modelward_server.console.acts.asking import ACTS, OUTDATED
from tests.console.test_changes import fields, sent
from tests.support.abtest_traffic import register_two

pytestmark = pytest.mark.system  # Takes seconds.

ADDS = {"halt", "retrain", "request-approval", "open-finding", "drill"}
"""These stop a model or add a record, whatever was changed meanwhile: an emergency stop is never refused."""
FILLED = {"outcome": "approved", "comment": "sound", "remedy": "costs added", "severity": "low", "owner": "ada"}
Made = tuple[str, Awaitable[object]]
"""The address of a form, and what somebody else changes after it was shown."""


@dataclass(frozen=True)
class Place:
    """A model with version 1 in production, versions 2 and 3 in staging."""

    sdk: AsyncClient
    name: str

    async def promote(self) -> Made:
        other = self.sdk.promote(f"{self.name}/3", to="production", reason="another version goes first")
        return "promote?version=2&to=production", other

    async def rollback(self) -> Made:
        await self.sdk.promote(f"{self.name}/2", to="production", reason="better")
        return "rollback", self.sdk.promote(f"{self.name}/3", to="production", reason="better still")

    async def resume(self) -> Made:
        await self.sdk.halt(self.name, reason="exchange outage")
        return "resume", self.sdk.halt(self.name, reason="wrong orders")

    async def conclude(self) -> Made:
        variants = {"champion": f"{self.name}/1", "challenger": f"{self.name}/2"}
        await self.sdk.create_ab_test(self.name, variants, primary_metric="pnl_bps")
        address = f"conclude?test={self.name}&winner=challenger&action=promote"
        return address, self.sdk.promote(f"{self.name}/3", to="production", reason="another version goes first")

    async def pause_schedule(self) -> Made:
        schedule = await self._schedule()
        return f"pause-schedule?schedule={schedule}", self.sdk.update_schedule(schedule, every=timedelta(days=3))

    async def resume_schedule(self) -> Made:
        schedule = await self._schedule()
        await self.sdk.pause_schedule(schedule, reason="holidays")
        return f"resume-schedule?schedule={schedule}", self.sdk.update_schedule(schedule, every=timedelta(days=3))

    async def _schedule(self) -> str:
        return (await self.sdk.create_schedule(self.name, every=timedelta(days=30))).schedule_id

    async def approve(self) -> Made:
        approval = await self._approval()
        return f"approve?approval={approval}&function=risk", self.sdk.withdraw_approval(approval)

    async def reject(self) -> Made:
        approval = await self._approval()
        return f"reject?approval={approval}&function=risk", self.sdk.withdraw_approval(approval)

    async def withdraw_approval(self) -> Made:
        approval = await self._approval()
        return f"withdraw-approval?approval={approval}", self._approved_by_risk(approval)

    async def _approved_by_risk(self, approval: str) -> None:
        async with AsyncClient(self.sdk.target, actor="risk") as risk:
            await risk.approve(approval, function="risk")

    async def _approval(self) -> str:
        rule = RequiredApproval(("risk", "trading"))
        await self.sdk.set_promotion_policy(PromotionPolicy(self.name, required_approvals=(rule,)))
        return (await self.sdk.request_approval(f"{self.name}/2", reason="better")).approval_id

    async def change_finding(self) -> Made:
        finding = await self._finding()
        return f"change-finding?finding={finding}", self.sdk.update_finding(finding, due=date(2099, 1, 1))

    async def close_finding(self) -> Made:
        finding = await self._finding()
        return f"close-finding?finding={finding}", self.sdk.update_finding(finding, severity="critical")

    async def _finding(self) -> str:
        return (await self.sdk.open_finding(self.name, title="no costs", severity="high", owner="bob")).finding_id

    async def record_review(self) -> Made:
        return "record-review", self.sdk.promote(f"{self.name}/3", to="production", reason="another version")


CASES: dict[str, Callable[[Place], Awaitable[Made]]] = {
    "promote": Place.promote,
    "rollback": Place.rollback,
    "resume": Place.resume,
    "conclude": Place.conclude,
    "pause-schedule": Place.pause_schedule,
    "resume-schedule": Place.resume_schedule,
    "approve": Place.approve,
    "reject": Place.reject,
    "withdraw-approval": Place.withdraw_approval,
    "change-finding": Place.change_finding,
    "close-finding": Place.close_finding,
    "record-review": Place.record_review,
}


def test_every_change_is_tried_here_or_only_adds() -> None:
    assert {*CASES} | ADDS == {*ACTS}


@pytest.fixture
async def place(sdk: AsyncClient, name: str, tmp_path: Path) -> Place:
    await register_two(sdk, name, tmp_path, staged=True)
    (tmp_path / "third.bin").write_bytes(b"third")
    await sdk.register(name, tmp_path / "third.bin")
    await sdk.promote(f"{name}/3", to="staging")
    return Place(sdk, name)


@pytest.mark.parametrize("act", CASES)
async def test_a_form_of_an_old_page_changes_nothing(browser: httpx.AsyncClient, place: Place, act: str) -> None:
    address, other = await CASES[act](place)
    path = f"/models/{place.name}/{address}"
    form = FILLED | fields((await browser.get(path)).text)
    assert "form_key" in form, "the change is possible"
    await other
    before = await _kept(place)
    refused = await sent(browser, path, form)
    assert refused.status_code == 409
    assert OUTDATED in refused.text or "is withdrawn" in refused.text
    assert await _kept(place) == before
    shown = fields(refused.text)
    if "form_key" in shown and act != "conclude":  # Its winner cannot be promoted any more by another's etag.
        assert (await sent(browser, path, FILLED | shown)).status_code == 303, "who has read it anew may go on"


async def _kept(place: Place) -> list[object]:
    """Return everything that the forms could have changed."""
    sdk, name = place.sdk, place.name
    return [
        await sdk.get_model(name),
        [one async for one in sdk.list_transitions(name)],
        [one async for one in sdk.list_approvals(name)],
        [one async for one in sdk.list_findings(name)],
        [one async for one in sdk.list_reviews(name)],
        [one async for one in sdk.list_schedules(name)],
    ]


async def test_the_reason_that_was_given_is_kept_when_the_form_is_refused(
    browser: httpx.AsyncClient, place: Place
) -> None:
    address, other = await place.promote()
    path = f"/models/{place.name}/{address}"
    form = fields((await browser.get(path)).text)
    await other
    refused = await sent(browser, path, form)
    assert 'name="reason"' in refused.text
    assert 'value="better"' in refused.text
    assert f"{place.name}/3 leaves production" in refused.text


async def test_a_halt_is_made_however_old_its_page_is(browser: httpx.AsyncClient, place: Place) -> None:
    path = f"/models/{place.name}/halt"
    form = fields((await browser.get(path)).text)
    await place.sdk.promote(f"{place.name}/3", to="production", reason="meanwhile")
    assert (await sent(browser, path, form)).status_code == 303
    with pytest.raises(errors.ModelHalted):
        await place.sdk.resolve(place.name)


async def test_a_call_with_an_etag_that_was_overtaken_is_refused(place: Place) -> None:
    sdk, name = place.sdk, place.name
    etag = (await sdk.get_model(name)).etag
    await sdk.halt(name, reason="wrong orders")
    for call in (
        sdk.resume(name, etag=etag),
        sdk.promote(f"{name}/2", to="production", reason="better", model_etag=etag),
        sdk.record_review(name, outcome="approved", comment="sound", etag=etag),
    ):
        with pytest.raises(errors.EtagMismatch) as refused:
            await call
        assert refused.value.metadata["current_etag"] == (await sdk.get_model(name)).etag
    await sdk.resume(name, etag=(await sdk.get_model(name)).etag)
