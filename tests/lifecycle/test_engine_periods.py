"""Which engine ran which version from when until when: a period for each change, and none for a repeated report."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from modelward import AsyncClient, EnginePeriod, errors

pytestmark = pytest.mark.system  # Takes seconds.

SOON = timedelta(microseconds=1)


@pytest.fixture
async def versions(client: AsyncClient, name: str, tmp_path: Path) -> list[str]:
    (tmp_path / "model.bin").write_bytes(b"model")
    return [str(await client.register(name, tmp_path / "model.bin")) for _ in range(2)]


async def periods(client: AsyncClient, name: str, **conditions: object) -> list[EnginePeriod]:
    return [period async for period in client.list_engine_periods(name, **conditions)]  # type: ignore[arg-type]


@pytest.mark.weekly("postgresql")
async def test_a_repeated_report_begins_no_period(client: AsyncClient, name: str, versions: list[str]) -> None:
    for _ in range(3):
        await client.report_active(versions[0], engine="ny4-01")
    [period] = await periods(client, name)
    assert (period.engine, str(period.version), period.ended_at) == ("ny4-01", versions[0], None)


async def test_another_version_ends_the_period_and_begins_the_next(
    client: AsyncClient, name: str, versions: list[str]
) -> None:
    for version in (versions[0], versions[1], versions[0]):
        await client.report_active(version, engine="ny4-01")
    newest, middle, oldest = await periods(client, name)
    assert [period.version.version for period in (oldest, middle, newest)] == [1, 2, 1]
    assert oldest.ended_at == middle.started_at
    assert middle.ended_at == newest.started_at
    assert newest.ended_at is None
    assert oldest.started_at < middle.started_at < newest.started_at


async def test_the_period_of_an_engine_that_is_gone_ends_with_its_last_report(
    client: AsyncClient, name: str, versions: list[str]
) -> None:
    await client.report_active(versions[0], engine="ny4-01", silent_after=SOON)
    [status] = (await client.get_rollout(name)).engines
    [period] = await periods(client, name)
    assert period.ended_at == status.reported_at
    await client.report_active(versions[0], engine="ny4-01")
    again, before = await periods(client, name)
    assert before == period
    assert (again.ended_at, again.started_at > status.reported_at) == (None, True)


async def test_periods_are_found_by_version_engine_and_time(
    client: AsyncClient, name: str, versions: list[str]
) -> None:
    begun = datetime.now(UTC)
    await client.report_active(versions[0], engine="gone", silent_after=SOON)
    await client.report_active(versions[0], engine="ny4-01")
    await client.report_active(versions[1], engine="ny4-01")
    now = datetime.now(UTC)
    assert [period.engine for period in await periods(client, name, version=1)] == ["ny4-01", "gone"]
    assert [period.engine for period in await periods(client, name, engine="gone")] == ["gone"]
    assert [str(period.version) for period in await periods(client, name, ended_after=now)] == [versions[1]]
    assert await periods(client, name, started_before=begun) == []
    assert len(await periods(client, name, ended_after=begun, started_before=now)) == 3


async def test_periods_come_in_pages(
    client: AsyncClient, name: str, versions: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind in ("_async", "_sync"):
        monkeypatch.setattr(f"modelward.{kind}.watching.PAGE_SIZE", 2)
    for number in range(5):
        await client.report_active(versions[0], engine=f"ny4-{number}")
    assert [period.engine for period in await periods(client, name)] == [f"ny4-{i}" for i in (4, 3, 2, 1, 0)]


async def test_periods_of_what_does_not_exist_are_refused(client: AsyncClient, name: str, versions: list[str]) -> None:
    with pytest.raises(errors.VersionNotFound):
        await periods(client, name, version=9)
    with pytest.raises(errors.ModelNotFound):
        await periods(client, f"{name}-none")
