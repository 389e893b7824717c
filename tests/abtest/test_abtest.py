"""A/B tests through both clients, on each database: start, assign, record, look."""

import json
import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelward import (
    AbMetric,
    AbNamespace,
    AbOutcome,
    AbTest,
    AbTestState,
    AsyncClient,
    Client,
    Verdict,
    VersionRef,
    errors,
)
from modelward.assignment import assign
from modelward.shared.convert.abtest import ab_test_to_proto
from modelward.v1 import comparison_pb2 as pb
from modelward.v1.comparison_pb2_grpc import ComparisonServiceStub
from modelward_server.statistics.confidence_sequences import half_width
from tests.support.abtest_traffic import START, named, outcomes, register_two
from tests.support.clients import as_async, collect
from tests.support.running_server import RunningServer
from tests.support.scale import examples
from tests.support.waiting import PATIENCE_SECONDS


@pytest.fixture
async def test(client: AsyncClient, name: str, tmp_path: Path) -> AbTest:
    """A running test of two versions."""
    versions = await register_two(client, name, tmp_path)
    created: AbTest = await client.create_ab_test(name, versions, primary_metric="pnl_bps")
    return created


async def test_test_is_kept_with_its_defaults_and_listed_newest_first(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    versions = await register_two(client, name, tmp_path)
    first = await client.create_ab_test(f"{name}-1", versions, primary_metric="pnl_bps")
    second = await client.create_ab_test(
        f"{name}-2",
        versions,
        primary_metric=AbMetric("slippage", lower_is_better=True, margin=0.1),
        guardrails=["drawdown"],
        weights={"challenger": 0.25},
        coverage=0.5,
        namespace=AbNamespace("exits", 0.25, 0.75),
        unit="account",
        block=timedelta(minutes=5),
        description="do the new exits pay?",
    )
    assert (first.salt, first.coverage, first.confidence_level, first.block) == (first.test, 1.0, 0.95, None)
    assert (first.state, first.created_by, first.control.version) == (
        AbTestState.RUNNING,
        "tester",
        VersionRef(name, 1),
    )
    assert [variant.weight for variant in second.variants] == [1.0, 0.25]
    assert await client.get_ab_test(second.test) == second
    assert await collect(client.list_ab_tests(name)) == [second, first]
    assert await collect(client.list_ab_tests(name, state=AbTestState.CONCLUDED)) == []


async def test_server_assigns_as_the_client_does(client: AsyncClient, test: AbTest) -> None:
    for unit in ("acc-17", "Zürich", "x" * 256):
        assert await client.assign_variant(test, unit) == assign(test, unit) == client.assign(test, unit)


async def test_better_challenger_is_superior_and_the_sequence_shows_how_it_came(
    client: AsyncClient, test: AbTest
) -> None:
    recorded = await client.record_ab_outcomes(test, outcomes(test, 2000, lift=0.4))
    assert (recorded.recorded, recorded.repeated_ids, recorded.mismatched, recorded.outside) == (2000, 0, 0, 0)
    result = await client.ab_test_result(test)
    found = result["challenger"]["pnl_bps"]
    assert (result.verdict, result.best, found.verdict) == (Verdict.SUPERIOR, "challenger", Verdict.SUPERIOR)
    assert 0 < found.low < found.difference < found.high
    assert found.difference == pytest.approx(found.mean - result["champion"]["pnl_bps"].mean)
    assert sum(variant.units for variant in result.variants) == 2000
    assert (result.sample_ratio_broken, result.mismatched_units) == (False, 0)
    assert "challenger is better than champion" in result.summary
    assert "pnl_bps difference +0." in result.summary
    assert result.as_of == START + timedelta(seconds=1999)
    assert 100 < len(result.looks) <= 200
    assert [look.at for look in result.looks] == sorted(look.at for look in result.looks)
    last = result.looks[-1]
    assert last.outcomes == 2000
    assert (last.difference, last.low) == pytest.approx((found.difference, found.low))
    assert last.high - last.low < (result.looks[0].high - result.looks[0].low) / 3


async def test_equal_versions_and_too_few_outcomes_are_inconclusive(client: AsyncClient, test: AbTest) -> None:
    nothing = await client.ab_test_result(test)
    assert (nothing.verdict, nothing.looks) == (None, ())
    assert nothing.summary.startswith("There are no outcomes of pnl_bps yet")
    await client.record_ab_outcomes(test, outcomes(test, 2))
    few = await client.ab_test_result(test)
    assert few.verdict in {None, Verdict.INCONCLUSIVE}
    await client.record_ab_outcomes(test, outcomes(test, 1000))
    result = await client.ab_test_result(test)
    assert result.verdict is Verdict.INCONCLUSIVE
    assert "not statistically significant" in result.summary


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_lower_is_better_and_margin_are_heeded(client: AsyncClient, name: str, tmp_path: Path) -> None:
    versions = await register_two(client, name, tmp_path)
    loss = AbMetric("loss", lower_is_better=True, margin=0.5)
    test = await client.create_ab_test(name, versions, primary_metric=loss)
    await client.record_ab_outcomes(test, outcomes(test, 1500, key="loss", lift=0.03))
    assert (await client.ab_test_result(test)).verdict is Verdict.NON_INFERIOR
    worse = await client.create_ab_test(f"{name}-2", versions, primary_metric=replace(loss, margin=0.0))
    await client.record_ab_outcomes(worse, outcomes(worse, 1500, key="loss", lift=0.5))
    result = await client.ab_test_result(worse)
    assert (result.verdict, result.best) == (Verdict.INFERIOR, "champion")


async def test_late_and_repeated_outcomes_count_once_in_any_order(client: AsyncClient, test: AbTest, name: str) -> None:
    sent = outcomes(test, 300, lift=0.2)
    await client.record_ab_outcomes(test, sent)
    expected = await client.ab_test_result(test)
    again = await client.create_ab_test(
        f"{name}-again", {v.name: v.version for v in test.variants}, primary_metric="pnl_bps", salt=test.salt
    )
    shuffled = random.Random(3).sample([*sent, *sent[:100]], 400)
    recorded = [await client.record_ab_outcomes(again, shuffled[start : start + 150]) for start in (0, 150, 300)]
    assert sum(one.recorded for one in recorded) == 300
    assert sum(one.repeated_ids for one in recorded) == 100
    assert replace(await client.ab_test_result(again), test=test.test) == expected


async def test_of_one_id_the_first_values_count(client: AsyncClient, test: AbTest) -> None:
    one = AbOutcome("o-1", "acc-1", {"pnl_bps": 1.0})
    recorded = await client.record_ab_outcomes(test, [one, replace(one, metrics={"pnl_bps": 2.0})])
    assert (recorded.recorded, recorded.repeated_ids) == (1, 1)
    assert (await client.record_ab_outcomes(test, [replace(one, metrics={"pnl_bps": 3.0})])).recorded == 0
    result = await client.ab_test_result(test)
    assert [v["pnl_bps"].mean for v in result.variants if v.units] == [1.0]


async def test_split_of_550_to_450_gives_the_p_value_that_is_known(client: AsyncClient, test: AbTest) -> None:
    await client.record_ab_outcomes(test, named(test, {"champion": 550, "challenger": 450}))
    result = await client.ab_test_result(test)
    assert result.sample_ratio_p_value == pytest.approx(0.00157, abs=5e-6)
    assert 0.01 < result.sample_ratio_sequential_p_value < 0.05
    assert not result.sample_ratio_broken
    assert 300 < result.mismatched_units < 700
    assert "received a variant other than the assigned one" in result.summary


@pytest.mark.system
async def test_broken_split_stops_the_verdict(client: AsyncClient, test: AbTest) -> None:
    await client.record_ab_outcomes(test, [*named(test, {"champion": 600}), *named(test, {"challenger": 400}, 5.0)])
    result = await client.ab_test_result(test)
    assert result.sample_ratio_broken
    assert (result.verdict, result["challenger"]["pnl_bps"].verdict, result.broken_guardrails) == (None, None, ())
    assert "600 units of champion, 400 units of challenger do not match the weights 1 to 1" in result.summary


@pytest.mark.system
async def test_guardrail_that_is_worse_by_more_than_its_margin_is_broken(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    versions = await register_two(client, name, tmp_path)
    rails = [AbMetric("drawdown", lower_is_better=True, margin=0.2), AbMetric("fills")]
    test = await client.create_ab_test(name, versions, primary_metric="pnl_bps", guardrails=rails)
    sent = [  # By named variants: an assignment is random, so that a guardrail of noise would be broken at times.
        replace(one, metrics={**one.metrics, "drawdown": place % 3 + worse, "fills": place % 5})
        for place, one in enumerate(named(test, {"champion": 500, "challenger": 500}))
        for worse in [one.variant == "challenger"]
    ]
    await client.record_ab_outcomes(test, sent)
    result = await client.ab_test_result(test)
    assert result.broken_guardrails == ("drawdown",)
    assert result["challenger"]["drawdown"].verdict is Verdict.INFERIOR
    assert "challenger violates the guardrail drawdown" in result.summary


async def test_values_from_before_the_test_sharpen_the_answer(client: AsyncClient, test: AbTest) -> None:
    rng = np.random.default_rng(5)
    past = {one.unit: rng.normal(0, 3) for one in outcomes(test, 1000)}
    sent = [
        replace(one, metrics={"pnl_bps": one.metrics["pnl_bps"] + past[one.unit]}, before={"pnl_bps": past[one.unit]})
        for one in outcomes(test, 1000, lift=0.4)
    ]
    await client.record_ab_outcomes(test, sent)
    found = (await client.ab_test_result(test))["challenger"]["pnl_bps"]
    assert found.variance_explained == pytest.approx(0.9, abs=0.02)
    assert (found.verdict, found.high - found.low < 0.6) == (Verdict.SUPERIOR, True)


async def test_shadow_test_compares_unit_by_unit_and_the_control_decides(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    versions = await register_two(client, name, tmp_path)
    test = await client.create_ab_test(name, versions, primary_metric="pnl_bps", shadow=True)
    rng = np.random.default_rng(6)
    market = rng.normal(0, 50, 200)
    sent = [
        AbOutcome(f"{variant}-{n}", f"order-{n}", {"pnl_bps": market[n] + rng.normal(lift, 0.5)}, variant=variant)
        for variant, lift in (("champion", 0.0), ("challenger", 0.4))
        for n in range(200)
    ]
    recorded = await client.record_ab_outcomes(test, sent)
    assert recorded.mismatched == 0
    assert client.assign(test, "order-1").variant.name == "champion"
    result = await client.ab_test_result(test)
    found = result["challenger"]["pnl_bps"]
    assert (result.verdict, found.outcomes, result.sample_ratio_p_value) == (Verdict.SUPERIOR, 200, 1.0)
    assert found.high - found.low < 0.5


@pytest.mark.system
async def test_blocks_of_time_count_once(client: AsyncClient, name: str, tmp_path: Path) -> None:
    versions = await register_two(client, name, tmp_path)
    test = await client.create_ab_test(name, versions, primary_metric="pnl_bps", block=timedelta(minutes=1))
    await client.record_ab_outcomes(test, outcomes(test, 3600))
    result = await client.ab_test_result(test)
    assert [variant["pnl_bps"].outcomes for variant in result.variants] == [60, 60]
    assert result.looks[-1].outcomes == 60
    assert sum(variant.units for variant in result.variants) == 3600


@pytest.mark.system
async def test_orders_of_a_day_share_its_shock(client: AsyncClient, name: str, tmp_path: Path) -> None:
    """Whole days that were dealt to an arm tell the arms apart where orders count as independent, but not by day."""
    versions = await register_two(client, name, tmp_path)
    rng = np.random.default_rng(4)
    shocks = rng.normal(0, 3, 80)
    summaries, verdicts = [], []
    for clustered, days in ((False, 80), (True, 80), (True, 20)):
        test = await client.create_ab_test(f"{name}-{clustered}-{days}", versions, primary_metric="pnl_bps")
        sent = [
            AbOutcome(
                f"{day}-{n}",
                f"{day}-{n}",
                {"pnl_bps": shock + (n % 7) / 7 + 0.1 * rng.normal()},
                variant="challenger" if day % 2 else "champion",
                cluster=f"day {day}" if clustered else "",
            )
            for day, shock in enumerate(shocks[:days])
            for n in range(10)
        ]
        await client.record_ab_outcomes(test, sent)
        result = await client.ab_test_result(test)
        verdicts.append(result["challenger"]["pnl_bps"].verdict)
        summaries.append(result.summary)
    assert verdicts == [Verdict.SUPERIOR, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE]
    assert "within 80 clusters" in summaries[1]
    assert "of 20 clusters, and a test needs 30" in summaries[2]


async def test_many_challengers_need_more_evidence_each(client: AsyncClient, name: str, tmp_path: Path) -> None:
    versions = await register_two(client, name, tmp_path)
    one = await client.create_ab_test(f"{name}-1", versions, primary_metric="pnl_bps")
    copies = {f"copy-{number}": versions["challenger"] for number in range(8)}
    many = await client.create_ab_test(f"{name}-2", {**versions, **copies}, primary_metric="pnl_bps")
    counts = dict.fromkeys([variant.name for variant in many.variants], 40)
    await client.record_ab_outcomes(one, named(one, {"champion": 40, "challenger": 40}))
    await client.record_ab_outcomes(many, named(many, counts))
    narrow, wide = [(await client.ab_test_result(test))["challenger"]["pnl_bps"] for test in (one, many)]
    assert wide.high / narrow.high == pytest.approx(half_width(1, 80, 0.05 / 9) / half_width(1, 80, 0.05))
    assert len((await client.ab_test_result(many)).looks) <= 200


async def test_unit_that_takes_no_part_is_left_out_unless_it_says_what_it_got(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    versions = await register_two(client, name, tmp_path)
    test = await client.create_ab_test(name, versions, primary_metric="pnl_bps", coverage=0.5)
    recorded = await client.record_ab_outcomes(test, outcomes(test, 400))
    assert (recorded.recorded + recorded.outside, recorded.mismatched) == (400, 0)
    assert 150 < recorded.outside < 250
    outside = next(one for one in outcomes(test, 400) if not assign(test, one.unit).in_test)
    assert (await client.record_ab_outcomes(test, [replace(outside, variant="challenger")])).mismatched == 1


NO_UNITS: dict[object, str] = {
    "": "must have from 1 to 256 characters, not 0",
    "u" * 257: "must have from 1 to 256 characters, not 257",
    "\ud800": "lone surrogate",
    "a\0": "NUL",
    17: "int.*give.* text",
    17.5: "float",
    True: "bool",
    b"u": "bytes",
    None: "(NoneType|None)",
}


async def test_a_unit_that_is_none_is_refused_alike_everywhere(client: AsyncClient, test: AbTest) -> None:
    for unit, fix in NO_UNITS.items():
        given: Any = unit
        with pytest.raises(errors.InvalidField, match=f"unit: .*{fix}"):
            assign(test, given)
        with pytest.raises(errors.InvalidField, match=f"unit: .*{fix}"):
            await client.assign_variant(test, given)
        with pytest.raises(errors.InvalidField, match=rf"outcomes\[0\]\.unit: .*{fix}"):
            await client.record_ab_outcomes(test, [AbOutcome("o", given, {"pnl_bps": 1.0})])


async def test_the_longest_units_are_dealt_alike_everywhere(client: AsyncClient, test: AbTest) -> None:
    for unit in ("u" * 256, "账" * 256, "\1", " "):
        assert await client.assign_variant(test, unit) == assign(test, unit)


async def test_a_coverage_of_zero_is_nobody_and_one_left_out_is_everybody(
    client: AsyncClient, name: str, tmp_path: Path, server: RunningServer
) -> None:
    versions = await register_two(client, name, tmp_path)
    nobody = await client.create_ab_test(f"{name}-0", versions, primary_metric="pnl_bps", coverage=0.0)
    assert nobody.coverage == 0.0
    for unit in map(str, range(20)):
        assert not (await client.assign_variant(nobody, unit)).in_test
    message = ab_test_to_proto(replace(nobody, test=f"{name}-1"))
    message.ClearField("coverage")  # As a program of another language leaves it out.
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ComparisonServiceStub(channel)
        created = await stub.CreateAbTest(pb.CreateAbTestRequest(ab_test=message))
    assert created.ab_test.coverage == 1.0


@pytest.mark.parametrize(
    ("outcome", "field", "fix"),
    [
        (AbOutcome("o", "u", {"pnl": 1.0}), "outcomes[0].metrics['pnl']", "there are pnl_bps"),
        (AbOutcome("o", "u", {"pnl_bps": 1.0}, before={"x": 1.0}), "outcomes[0].before['x']", "there are pnl_bps"),
        (AbOutcome("o", "u", {"pnl_bps": 1.0}, variant="c"), "outcomes[0].variant", "champion, challenger"),
    ],
)
async def test_what_the_test_does_not_know_is_refused_by_name(
    client: AsyncClient, test: AbTest, outcome: AbOutcome, field: str, fix: str
) -> None:
    with pytest.raises(errors.InvalidField, match=fix) as caught:
        await client.record_ab_outcomes(test, [outcome])
    assert [violation.field for violation in caught.value.violations] == [field]


@pytest.mark.parametrize(("value", "fix"), [(float("nan"), "leave it out of the outcome"), (float("inf"), "finite")])
async def test_value_that_is_not_finite_is_refused(client: AsyncClient, test: AbTest, value: float, fix: str) -> None:
    with pytest.raises(errors.InvalidField, match=fix):
        await client.record_ab_outcomes(test, [AbOutcome("o", "u", {"pnl_bps": value})])


async def test_unknown_and_taken_names_are_refused(client: AsyncClient, test: AbTest, name: str) -> None:
    versions = {variant.name: variant.version for variant in test.variants}
    with pytest.raises(errors.AbTestExists):
        await client.create_ab_test(name, versions, primary_metric="pnl_bps")
    for call in (client.get_ab_test, client.ab_test_result):
        with pytest.raises(errors.AbTestNotFound, match="list_ab_tests"):
            await call(f"{name}-none")
    with pytest.raises(errors.AbTestNotFound):
        await client.record_ab_outcomes(f"{name}-none", [AbOutcome("o", "u", {"pnl_bps": 1.0})])
    with pytest.raises(errors.AbTestNotFound):
        await client.assign_variant(f"{name}-none", "u")
    with pytest.raises(errors.VersionNotFound):
        await client.create_ab_test(f"{name}-2", {**versions, "c": f"{name}/9"}, primary_metric="pnl_bps")


async def test_tests_that_make_no_sense_are_refused(client: AsyncClient, test: AbTest, name: str) -> None:
    versions = {variant.name: variant.version for variant in test.variants}
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "variants": ({"variants": {"only": f"{name}/1"}}, "ab_test.variants"),
        "guardrail": ({"guardrails": ["pnl_bps"]}, "ab_test.guardrails[0].key"),
        "weight": ({"weights": {"champion": 0.0}}, "weights"),
        "weight of nobody": ({"weights": {"nobody": 1.0}}, "weights"),
        "namespace": ({"namespace": AbNamespace("exits", 0.5, 0.5)}, "ab_test.namespace"),
        "coverage": ({"coverage": 1.5}, "ab_test.coverage"),
    }
    for arguments, field in wrong.values():
        with pytest.raises(errors.InvalidField) as caught:
            await client.create_ab_test(
                f"{name}-2", **({"variants": versions, "primary_metric": "pnl_bps"} | arguments)
            )
        assert caught.value.violations[0].field == field


async def test_start_is_on_the_record(client: AsyncClient, test: AbTest, name: str) -> None:
    [record] = [r for r in await collect(client.export_audit_log()) if r.kind == "ab_test" and r.model == name]
    assert json.loads(record.payload)["test"] == test.test
    assert (await client.verify_audit_log()).intact


async def test_unit_whose_outcomes_go_on_is_one_unit(client: AsyncClient, test: AbTest) -> None:
    sent = [
        AbOutcome(f"{n}-{again}", f"account-{n}", {"pnl_bps": float(again + n % 5)})
        for n in range(80)
        for again in (0, 2)
    ]
    await client.record_ab_outcomes(test, sent)
    result = await client.ab_test_result(test)
    assert sum(variant["pnl_bps"].outcomes for variant in result.variants) == 80


def test_repeated_request_gets_the_first_answer(server: RunningServer, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    with Client(server.target) as client, grpc.insecure_channel(server.target) as channel:
        versions = {arm: client.register(name, tmp_path / "model.bin") for arm in ("champion", "challenger")}
        client.create_ab_test(name, versions, primary_metric="pnl_bps")
        request = pb.RecordAbOutcomesRequest(test=name, request_id=str(uuid4()))
        request.outcomes.add(outcome_id="o", unit="u", metrics={"pnl_bps": 1.0})
        answers = [ComparisonServiceStub(channel).RecordAbOutcomes(request) for _ in range(2)]
    assert [(answer.recorded, answer.repeated_ids) for answer in answers] == [(1, 0), (1, 0)]


@pytest.mark.system
@settings(max_examples=examples(10), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.weekly("postgresql")
def test_whatever_is_repeated_and_in_what_batches_the_result_is_the_same(
    server: RunningServer, data: st.DataObject
) -> None:
    with Client(server.target) as client:
        name = f"batches-{uuid4().hex[:12]}"
        client.create_model(name)
        artifact = server.settings.data_dir / "model.bin"
        artifact.write_bytes(b"model")
        versions = {arm: client.register(name, artifact) for arm in ("champion", "challenger")}
        tests = [client.create_ab_test(f"{name}-{n}", versions, primary_metric="pnl_bps", salt="s") for n in range(2)]
        sent = outcomes(tests[0], 80, lift=1.0)
        client.record_ab_outcomes(tests[0], sent)
        order = data.draw(st.permutations(range(80)))
        repeats = data.draw(st.lists(st.integers(0, 79), max_size=30))
        cut = data.draw(st.integers(0, 80))
        for batch in (order[:cut], repeats, order[cut:], order):
            client.record_ab_outcomes(tests[1], [sent[number] for number in batch])
        first, second = (client.ab_test_result(test) for test in tests)
        assert replace(second, test=first.test) == first


@pytest.mark.system
@pytest.mark.weekly
async def test_more_than_one_call_takes_travels_in_several(server: RunningServer, name: str, tmp_path: Path) -> None:
    async with AsyncClient(server.target) as client:
        versions = await register_two(as_async(client), name, tmp_path)
        test = await client.create_ab_test(name, versions, primary_metric="pnl_bps")
        recorded = await client.record_ab_outcomes(test, outcomes(test, 10_500), timeout=PATIENCE_SECONDS)
        assert recorded.recorded == 10_500
        long = [replace(one, outcome_id=one.outcome_id.ljust(256, "x"), unit="u" * 256) for one in outcomes(test, 9000)]
        assert (await client.record_ab_outcomes(test, long, timeout=PATIENCE_SECONDS)).recorded == 9000
