"""What the audit log says of schedules and jobs."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from modelward import AsyncClient
from tests.support.clients import collect
from tests.support.running_server import RunningServer


async def _records(client: AsyncClient, name: str) -> list[tuple[str, dict[str, Any]]]:
    kinds = {"schedule", "schedule_deleted", "job"}
    records = await collect(client.export_audit_log())
    assert (await client.verify_audit_log()).intact
    return [(r.kind, json.loads(r.payload)) for r in records if r.model == name and r.kind in kinds]


@pytest.mark.system
async def test_every_change_of_a_schedule_is_on_record_with_how_it_stands_then(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    made = await client.create_schedule(name, every=timedelta(days=1))
    await client.pause_schedule(made.schedule_id, reason="year end")
    await client.resume_schedule(made.schedule_id)
    await client.update_schedule(made.schedule_id, description="nightly")
    await client.delete_schedule(made.schedule_id)
    records = await _records(client, name)
    assert [kind for kind, _ in records] == ["schedule"] * 4 + ["schedule_deleted"]
    assert [(said["paused"], said["description"]) for _, said in records] == [
        (False, ""),
        (True, ""),
        (False, ""),
        (False, "nightly"),
        (False, "nightly"),
    ]


@pytest.mark.system
async def test_every_step_of_a_job_is_on_record_and_a_heartbeat_is_not(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    await client.create_model(name)
    await client.request_retraining(name, reason="new regime")
    job = await client.lease_job(name, holder="trainer-7")
    await client.heartbeat_job(job)
    await client.complete_job(job, await client.register(name, tmp_path / "model.bin"))
    await client.request_retraining(name)
    await client.fail_job(await client.lease_job(name, holder="trainer-8"), "out of memory", give_up=True)
    records = await _records(client, name)
    assert {kind for kind, _ in records} == {"job"}
    states = [said["state"] for _, said in records]
    assert states == ["pending", "leased", "succeeded", "pending", "leased", "failed"]
    assert records[1][1]["holder"] == "trainer-7"


async def test_watch_passes_over_records_of_schedules(server: RunningServer, name: str) -> None:
    async with AsyncClient(server.target) as client:
        await client.create_model(name)
        events = client.watch([name])
        await anext(events)
        await client.create_schedule(name, every=timedelta(days=1))
        await client.request_retraining(name)
        await client.update_model(name, description="changed")
        event = await anext(events)
        assert getattr(event.subject, "description", None) == "changed"
        await events.aclose()
