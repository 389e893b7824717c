"""Drift through the front door: references, reports, thresholds, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pandas as pd
import pytest

from modelward import AsyncClient, Client, DriftPolicy, DriftThresholds, FeatureThresholds, TimeWindow, errors
from modelward.data import to_arrow, to_columns
from modelward.shared.retry import error_of
from modelward.v1 import drift_pb2 as pb
from modelward.v1.drift_pb2_grpc import DriftServiceStub
from tests.support.clients import collect
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

RANDOM = np.random.default_rng(2008)
TRAINING = pd.DataFrame(
    {
        "ret": RANDOM.normal(0, 0.01, 1000),
        "count": RANDOM.integers(0, 50, 1000),
        "regime": RANDOM.choice(["calm", "normal"], 1000),
    }
)
SAME = TRAINING.sample(300, random_state=1)
CRISIS = SAME.assign(ret=SAME["ret"] * 5, regime="crisis")


@pytest.fixture
async def version(client: AsyncClient, name: str, tmp_path: Path) -> str:
    (tmp_path / "model.bin").write_bytes(b"model")
    return str(await client.register(name, tmp_path / "model.bin", reference=TRAINING))


async def test_reference_given_at_registration_is_part_of_the_version(client: AsyncClient, version: str) -> None:
    assert (await client.get_version(version)).references == ("default",)
    reference = await client.get_reference(version)
    assert (reference.rows, reference.created_by) == (1000, "tester")
    assert [feature.name for feature in reference.features] == ["ret", "count", "regime"]
    ret, _, regime = reference.features
    assert ret.mean == pytest.approx(TRAINING["ret"].mean())
    assert ret.standard_deviation == pytest.approx(TRAINING["ret"].std(ddof=0))
    assert len(ret.bin_edges) == 9
    assert regime.categories == dict(TRAINING["regime"].value_counts(normalize=True))


async def test_live_data_like_the_training_data_are_no_drift(client: AsyncClient, version: str) -> None:
    report = await client.detect_drift(version, SAME, label="quiet")
    assert not report.drift_detected
    assert (report.rows, report.reference_rows, report.label, report.drivers) == (300, 1000, "quiet", ())
    assert report.score < 0.5
    assert report.summary.startswith("No drift.")


async def test_crisis_is_drift_and_the_report_says_which_features_drive_it(client: AsyncClient, version: str) -> None:
    report = await client.detect_drift(version, CRISIS)
    assert report.drift_detected
    assert set(report.drivers) == {"ret", "regime"}
    assert report.confidence > 0.95
    assert report.score > 0.5
    assert report.feature("regime").new_categories == ("crisis",)
    assert not report.feature("count").drifted
    with pytest.raises(KeyError, match=r"no feature 'regim' \(did you mean 'regime'\?\); there are .*count"):
        report.feature("regim")
    assert "regime" in report.summary
    assert await client.get_drift_report(report.report_id) == report


@pytest.mark.system
async def test_large_table_goes_as_a_stream_and_finds_the_same(
    client: AsyncClient, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = await client.detect_drift(version, CRISIS)
    monkeypatch.setattr("modelward.data.INLINE_BYTES", 0)
    monkeypatch.setattr("modelward.data.BATCH_BYTES", 1000)
    streamed = await client.detect_drift(version, CRISIS)
    # Wasserstein sums in another order; all else is counted.
    for one, other in zip(whole.features, streamed.features, strict=True):
        assert (one.name, one.ks, one.kl, one.psi, one.p_value) == (
            other.name,
            other.ks,
            other.kl,
            other.psi,
            other.p_value,
        )
    await client.set_reference(version, TRAINING, name="streamed")
    reference = await client.get_reference(version, name="streamed")
    assert reference.digest == (await client.get_reference(version)).digest


@pytest.mark.system
async def test_parquet_that_the_server_reads_finds_the_same(client: AsyncClient, version: str, inbox: Path) -> None:
    CRISIS.to_parquet(inbox / "crisis.parquet", index=False)
    report = await client.detect_drift_uri(version, f"file://{inbox}/crisis.parquet")
    assert report.drift_detected
    with pytest.raises(errors.SourceNotAllowed):
        await client.detect_drift_uri(version, "file:///etc/passwd")


async def test_version_may_have_a_reference_for_each_regime(client: AsyncClient, version: str) -> None:
    await client.set_reference(version, CRISIS, name="crisis")
    assert (await client.get_version(version)).references == ("crisis", "default")
    report = await client.detect_drift(version, CRISIS, reference="crisis")
    assert (report.reference, report.drift_detected) == ("crisis", False)


async def test_reports_are_listed_newest_first_and_filtered(client: AsyncClient, version: str) -> None:
    made = [await client.detect_drift(version, data) for data in (SAME, CRISIS, SAME)]
    model = version.partition("/")[0]
    listed = await collect(client.list_drift_reports(model))
    assert [report.report_id for report in listed] == [report.report_id for report in reversed(made)]
    drifted = await collect(client.list_drift_reports(model, version=1, drift_detected_only=True))
    assert [report.report_id for report in drifted] == [made[1].report_id]
    with pytest.raises(errors.VersionNotFound):
        await collect(client.list_drift_reports(model, version=9))


async def test_list_of_reports_goes_on_over_pages(client: AsyncClient, server: RunningServer, version: str) -> None:
    made = [await client.detect_drift(version, data) for data in (SAME, CRISIS, SAME)]
    request = pb.ListDriftReportsRequest(model=version.partition("/")[0], page_size=1)
    listed: list[str] = []
    with grpc.insecure_channel(server.target) as channel:
        while not listed or request.page_token:
            page = DriftServiceStub(channel).ListDriftReports(request)
            listed += [report.report_id for report in page.reports]
            request.page_token = page.next_page_token
    assert listed == [report.report_id for report in reversed(made)]


async def test_policy_of_the_model_decides_and_a_call_may_decide_otherwise(client: AsyncClient, version: str) -> None:
    model = version.partition("/")[0]
    default = await client.get_drift_policy(model)
    assert (default.thresholds.ks, default.thresholds.kl, default.thresholds.significance) == (0.2, 0.2, 0.05)
    thresholds = DriftThresholds(features={name: FeatureThresholds(ignored=True) for name in ("ret", "regime")})
    kept = await client.set_drift_policy(DriftPolicy(model, thresholds))
    assert kept.thresholds.ks == 0.2
    assert not (await client.detect_drift(version, CRISIS)).drift_detected
    assert (await client.detect_drift(version, CRISIS, thresholds=DriftThresholds())).drift_detected
    with pytest.raises(errors.EtagMismatch):
        await client.set_drift_policy(DriftPolicy(model, thresholds, etag=default.etag))


async def test_comparison_without_a_reference_says_how_to_set_one(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "m").write_bytes(b"m")
    bare = await client.register(name, tmp_path / "m")
    with pytest.raises(errors.ReferenceNotFound, match=r"set one with set_reference"):
        await client.detect_drift(bare, SAME)
    with pytest.raises(errors.VersionNotFound):
        await client.detect_drift(f"{name}/7", SAME)
    with pytest.raises(errors.ModelNotFound):
        await client.set_reference("absent/1", SAME)
    with pytest.raises(errors.ReportNotFound):
        await client.get_drift_report("absent")


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        (lambda d: d.drop(columns="ret"), "data", "lacks the feature 'ret'"),
        (lambda d: d.assign(extra=1.0), "data['extra']", "is not a feature of the reference"),
        (lambda d: d.assign(ret="text"), "data['ret']", "holds categories where the reference holds numbers"),
        (lambda d: d.assign(regime=1.0), "data['regime']", "holds numbers where the reference holds categories"),
        (lambda d: d.head(0), "data", "has no rows"),
        (
            lambda d: d.assign(ret=pd.Timestamp("2008-09-15")),
            "data['ret']",
            "holds times where the reference holds numbers",
        ),
    ],
    ids=["missing", "extra", "text for numbers", "numbers for text", "zero rows", "dates"],
)
async def test_data_that_do_not_fit_the_reference_are_refused(
    client: AsyncClient, version: str, change: Any, field: str, said: str
) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.detect_drift(version, change(SAME))
    assert [violation.field for violation in caught.value.violations] == [field]
    assert said in caught.value.violations[0].description
    assert await collect(client.list_drift_reports(version.partition("/")[0])) == []


async def test_every_misfit_is_named_at_once(client: AsyncClient, version: str) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.detect_drift(version, SAME.drop(columns=["ret", "count"]).assign(regime=1.0, extra=2))
    assert len(caught.value.violations) == 4


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -0.1, 0.0, 1.5])
async def test_thresholds_outside_their_range_are_refused(client: AsyncClient, version: str, bad: float) -> None:
    with pytest.raises(errors.InvalidField) as caught:
        await client.detect_drift(version, SAME, thresholds=DriftThresholds(ks=bad))
    assert {violation.field for violation in caught.value.violations} == {"thresholds.ks"}
    model = version.partition("/")[0]
    own = DriftThresholds(features={"ret": FeatureThresholds(ks=bad)})
    with pytest.raises(errors.InvalidField) as caught:
        await client.set_drift_policy(DriftPolicy(model, own))
    assert {violation.field for violation in caught.value.violations} == {'policy.thresholds.features["ret"].ks'}


async def test_unusable_reference_registers_nothing(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"m")
    with pytest.raises(errors.InvalidField) as caught:
        await client.register(name, tmp_path / "m", reference={"ret": []})
    assert caught.value.violations[0].field == "reference"
    with pytest.raises(errors.ModelNotFound):
        await client.get_model(name)


@pytest.fixture
def stub(server: RunningServer) -> Any:
    with grpc.insecure_channel(server.target) as channel:
        yield DriftServiceStub(channel)


def _header(version: str) -> pb.DetectDriftStreamRequest:
    model, _, number = version.partition("/")
    request = pb.DetectDriftStreamRequest()
    request.header.version.model, request.header.version.version = model, int(number)
    return request


@pytest.mark.parametrize("rest", [0, 10, 400], ids=["nothing", "garbage", "truncated"])
async def test_stream_that_is_no_whole_arrow_is_refused(
    client: AsyncClient, version: str, stub: Any, rest: int
) -> None:
    from modelward.data import to_arrow, to_columns

    arrow = b"".join(to_arrow(to_columns(SAME)))
    chunks = {0: [], 10: [b"garbage!!!"], 400: [arrow[:-400]]}[rest]
    parts = [_header(version), *(pb.DetectDriftStreamRequest(arrow_ipc=chunk) for chunk in chunks)]
    with pytest.raises(grpc.RpcError) as caught:
        stub.DetectDriftStream(iter(parts))
    error = error_of(caught.value)
    assert isinstance(error, errors.InvalidField)
    assert error.violations[0].field == "arrow_ipc"
    assert "no complete Arrow IPC stream" in error.violations[0].description


def test_stream_without_a_header_is_refused(stub: Any) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        stub.DetectDriftStream(iter([pb.DetectDriftStreamRequest(arrow_ipc=b"x")]))
    error = error_of(caught.value)
    assert isinstance(error, errors.InvalidField)
    assert error.violations == (errors.FieldViolation("header", "is missing; send it first"),)


async def test_report_says_which_regime_is_the_nearest(client: AsyncClient, version: str) -> None:
    await client.set_reference(version, CRISIS, name="crisis")
    report = await client.detect_drift(version, CRISIS.head(150))
    assert (report.reference, report.nearest_reference) == ("default", "crisis")
    assert [(one.name, one.drift_detected) for one in report.references] == [("crisis", False), ("default", True)]
    assert report.references[0].distance < report.references[1].distance
    named = await client.detect_drift(version, CRISIS.head(150), reference="crisis")
    assert not named.drift_detected
    assert [one.name for one in named.references] == ["crisis"]


async def test_regime_with_other_features_is_left_out(client: AsyncClient, version: str) -> None:
    await client.set_reference(version, CRISIS[["ret"]], name="narrow")
    assert [one.name for one in (await client.detect_drift(version, SAME)).references] == ["default"]


async def test_threshold_of_what_is_no_feature_is_refused_in_a_call_and_told_in_a_policy(
    client: AsyncClient, version: str
) -> None:
    strange = DriftThresholds(features={"volume": FeatureThresholds(ks=0.5)})
    with pytest.raises(errors.InvalidField, match=r"volume.*no feature of the reference, which has ret, count, reg"):
        await client.detect_drift(version, SAME, thresholds=strange)
    await client.set_drift_policy(DriftPolicy(version.partition("/")[0], strange))
    report = await client.detect_drift(version, SAME)
    assert any("thresholds for volume" in caveat for caveat in report.caveats)


def test_stream_that_is_sent_again_with_other_rows_under_one_id_is_refused(
    server: RunningServer, stub: Any, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.bin").write_bytes(b"model")
    with Client(server.target) as client:
        client.register(name, tmp_path / "model.bin", reference=TRAINING)
    header = pb.DetectDriftHeader(request_id=str(uuid4()))
    header.version.model, header.version.version = name, 1

    def send(data: Any) -> Any:
        parts = [pb.DetectDriftStreamRequest(header=header)]
        parts += [pb.DetectDriftStreamRequest(arrow_ipc=part) for part in to_arrow(to_columns(data))]
        return stub.DetectDriftStream(iter(parts), timeout=PATIENCE_SECONDS).report

    assert send(SAME).report_id == send(SAME).report_id
    with pytest.raises(grpc.RpcError) as refused:
        send(CRISIS)
    assert isinstance(error_of(refused.value), errors.RequestIdReused)


async def test_reference_remembers_the_times_and_groups_of_its_rows(client: AsyncClient, version: str) -> None:
    panel = TRAINING.assign(date=pd.date_range("2020-01-01", periods=500).repeat(2), symbol=["A", "B"] * 500)
    window = TimeWindow("date", "symbol", "2020-01-01", "2021-05-14", times=500, groups=2)
    reference = await client.set_reference(version, panel, name="timed", time="date", group="symbol")
    assert (reference.window, reference.ignored_columns) == (window, ("date", "symbol"))
    assert [feature.name for feature in reference.features] == ["ret", "count", "regime"]
    assert await client.get_reference(version, name="timed") == reference
    report = await client.detect_drift(version, panel[:41], reference="timed")
    assert report.window == replace(window, last="2020-01-21", times=21)
    assert not any("order of time" in caveat for caveat in report.caveats)
    assert await client.get_drift_report(report.report_id) == report
    assert (await client.get_reference(version)).window is None
