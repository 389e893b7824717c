"""Whatever is given to a method of the SDK, its caller meets a result or one of Modelward's errors, never Python's."""

import inspect
import typing
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Any
from uuid import uuid4

import numpy as np
import pandas as pd
import polars as pl
import pytest

from modelward import (
    AbMetric,
    AbOutcome,
    AbTest,
    AsyncClient,
    BacktestTrials,
    Client,
    ClosureSessions,
    Comparison,
    DriftReport,
    Every,
    ModelFormat,
    PromotionPolicy,
    SchedulePolicy,
    TimeRange,
    VersionRef,
    errors,
)
from modelward._argument_types import parameter_hints
from modelward._async.observe import AsyncObserver
from modelward._field_names import name_arguments
from modelward._segments import as_regime
from modelward._sync.observe import Observer
from modelward.assignment import assign
from modelward.caller import Caller, Role
from modelward.evidence.head import LogHead
from modelward.evidence.model_signature import verify_model_signature
from modelward.evidence.verify import verify_pack
from modelward.findings import Finding
from tests.support.clients import as_it_is, collect
from tests.support.record_samples import sample
from tests.support.running_server import RunningServer
from tests.support.scale import FULL

NAIVE = datetime(2026, 11, 1)  # noqa: DTZ001 - the zone is what it lacks


class Strange:
    """What no argument can be."""


def numbered() -> Iterator[int]:
    yield from (1, 2)


WRONG: list[Any] = [
    None,
    Strange(),
    Strange,
    b"bytes",
    "\ud800",
    "no such thing",
    "",
    True,
    -1,
    7,
    2**70,
    1.5,
    float("nan"),
    np.float32(2),
    np.int64(3),
    np.bool_(True),
    np.datetime64("2026-11-01"),
    pd.NA,
    pd.NaT,
    (),
    ("model", 1),
    [None],
    ["a", 1],
    {"a": 1},
    {1: "a"},
    {"a": None},
    {1, 2},
    numbered,
    NAIVE,
    datetime.max.replace(tzinfo=UTC),
    date(2026, 11, 1),
    timedelta.max,
    Path("/nowhere"),
    np.array([[1.0, 2.0]]),
    np.ma.masked_array([1.0, 2.0], [True, False]),
    pd.DataFrame({"a": [1.0, 2.0]}),
    pd.Series(["a", None]),
    pl.Series([1, None]),
    VersionRef("model", 0),
    VersionRef("model", "1"),  # type: ignore[arg-type]
    AbMetric(5),  # type: ignore[arg-type]
    SchedulePolicy(jobs_per_day="many"),  # type: ignore[arg-type]
    PromotionPolicy("model", freezes=("never",)),  # type: ignore[arg-type]
]
EXTREME: list[Any] = [*WRONG[4:7], -1, 2**31 - 1, float("nan"), pd.NaT, [None], {"": ""}, *WRONG[-6:]]
"""What the annotation of some argument allows, and what stands in its place by mistake."""
ENDLESS = {"watch"}
"""What waits for changes, once its arguments are in order."""


def methods(cls: type) -> list[str]:
    return [name for name in dir(cls) if not name.startswith("_") and inspect.isfunction(getattr(cls, name))]


def parameters(cls: type, name: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a method but the first."""
    return dict(list(inspect.signature(getattr(cls, name)).parameters.items())[1:])


def misfits(hint: Any) -> list[Any]:
    """Return values that an annotation does not allow, whatever it is."""
    if hint in UNTOLD:
        return []
    members = set(typing.get_args(hint)) if isinstance(hint, UnionType) else {hint}
    by_type: dict[Any, list[Any]] = {
        str: [7, 1.5, True, b"bytes"],
        bool: ["no", 0],
        int: ["1", 1.5, True, 2**70],
        float: ["1", True, b"1"],
        datetime: [NAIVE, 5, "soon"],
        timedelta: [5, "soon"],
    }
    alone = members - {NoneType}
    typed = by_type.get(next(iter(alone)), []) if len(alone) == 1 else []
    refused = [] if any(typing.get_origin(member) is Callable for member in members) else [Strange]
    return [Strange(), *refused, *typed, *([] if NoneType in members else [None])]


UNTOLD = {Any, object, Iterable[object], Iterable[Iterable[object]] | None}
"""Annotations that tell nothing."""
CLASSES = [Client, AsyncClient, Observer, AsyncObserver]


@pytest.mark.parametrize(
    ("cls", "name"), [(cls, name) for cls in CLASSES for name in (*methods(cls), "__init__") if parameters(cls, name)]
)
async def test_value_of_another_type_is_refused_by_the_name_of_its_argument(cls: Any, name: str) -> None:
    instance = cls.__new__(cls)
    hints = parameter_hints(getattr(cls, name))
    for parameter in set(parameters(cls, name)) - {"connection", "header"}:  # What only the SDK itself gives.
        for value in misfits(hints[parameter]):
            with pytest.raises(errors.InvalidField) as caught:
                await tried(lambda given: getattr(instance, name)(**given), everything(cls, name) | {parameter: value})
            assert any(violation.field.startswith(parameter) for violation in caught.value.violations)


def everything(cls: type, name: str) -> dict[str, Any]:
    """Return something for each argument that is required, so that none is missing; it need not fit."""
    return {one: None for one, found in parameters(cls, name).items() if found.default is inspect.Parameter.empty}


async def tried(method: Callable[[dict[str, Any]], Any], given: dict[str, Any]) -> None:
    """Call a method, and take no more of an iteration than its beginning."""
    result = method(given)
    if inspect.isasyncgen(result):
        await anext(result, None)
        await result.aclose()
    elif inspect.isawaitable(result):
        await result
    elif inspect.isgenerator(result):
        next(result, None)
        result.close()


@pytest.fixture(scope="module")
def fitting(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """An argument that fits, for each parameter by its name."""
    file = tmp_path_factory.mktemp("fitting") / "model.txt"
    file.write_text("weights")
    name = f"arguments-{uuid4().hex}"
    with Client(server.target) as client:
        version = client.register(name, file)
        test = client.create_ab_test(name, {"control": version, "other": version}, primary_metric="pnl")
        job = client.request_retraining(name)
    unknown = ["report_id", "comparison_id", "schedule_id", "job_id", "reason", "unit", "sender", "holder", "engine"]
    unknown += ["approval_id", "finding_id", "drill_id", "comment", "title", "owner", "remedy"]
    return {
        **dict.fromkeys(unknown, "no-such-thing"),
        "version": version,
        "versions": [version, version],
        "variants": {"control": version, "other": version},
        "name": name,
        "model": name,
        "test": test,
        "job": job,
        "data": {"a": [1.0]},
        "X": {"a": [1.0]},
        "tables": [{"a": [1.0]}],
        "y": [1.0],
        "path": file,
        "uri": "file:///nowhere",
        "source_uri": "file:///nowhere",
        "ids": ["a"],
        "outcomes": [AbOutcome("a", "b", {"pnl": 1.0})],
        "metrics": {"a": 1.0},
        "primary_metric": "pnl",
        "successor": 1,
        "to": "training",
        "as_of": date(2025, 12, 31),
        "max_jobs": 1,
        "severity": "low",
        "outcome": "approved",
        "policy": PromotionPolicy(name),
    }


@pytest.mark.system  # Thousands of calls.
@pytest.mark.parametrize("name", [name for name in methods(AsyncClient) if name not in ENDLESS])
async def test_wrong_value_ends_in_a_result_or_an_error_of_modelward(
    client: AsyncClient, fitting: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The same for what no annotation tells, such as tables, and for values of the right type that mean nothing."""
    monkeypatch.chdir(tmp_path)  # Some values are relative paths.
    kind = type(as_it_is(client))
    required = everything(kind, name)
    given = {one: fitting[one] for one in parameters(kind, name) if one in required or one in {"model", "X", "y"}}
    if name == "download":
        given["to"] = tmp_path
    hints = parameter_hints(getattr(kind, name))
    for number, parameter in enumerate(parameters(kind, name)):
        values = WRONG if hints[parameter] in UNTOLD else EXTREME
        for value in values if FULL else values[number % 3 :: 3]:
            with suppress(errors.ModelwardError):
                await tried(lambda given: getattr(as_it_is(client), name)(**given), given | {parameter: value})


def test_unknown_and_missing_arguments_are_named() -> None:
    client = Client("127.0.0.1:1")
    with pytest.raises(errors.InvalidField, match=r"reasn: is not an argument of promote\(\) \(did you"):
        client.promote("spx/1", to="staging", reasn="ready")  # type: ignore[call-arg]
    with pytest.raises(errors.InvalidField, match=r"to: is missing; promote\(\) needs it"):
        client.promote("spx/1")  # type: ignore[call-arg]
    with pytest.raises(errors.InvalidField, match="get_model"):
        client.get_model("spx", "too much")  # type: ignore[call-arg]


def test_near_name_is_suggested() -> None:
    with pytest.raises(errors.InvalidField, match="did you mean 'production'"):
        Client("127.0.0.1:1").promote("spx/1", to="Producton", reason="it passed its tests")


@pytest.mark.system
async def test_version_is_taken_in_every_form(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("weights")
    version = await client.register(name, tmp_path / "model.txt")
    right: list[Any] = [version, version.ref, str(version), (name, 1), (name, np.int64(1)), [name, 1]]
    for form in right:
        assert (await client.get_version(form)).ref == version.ref
    wrong: list[Any] = [(name, "1"), (name, True), (name,), name, 1, {name: 1}, await client.resolve(name, version=1)]
    for form in wrong:
        with pytest.raises(errors.InvalidField, match="version"):
            await client.get_version(form)


async def test_texts_stand_for_instants_and_durations_as_in_the_command(client: AsyncClient, name: str) -> None:
    await client.create_model(name)
    made = await client.create_schedule(name, every="7d", policy=SchedulePolicy(jitter="5m"))  # type: ignore[arg-type]
    assert made.triggers == (Every(timedelta(days=7)),)
    assert made.policy.jitter == timedelta(minutes=5)
    preview = await client.preview_schedule(made.schedule_id, after="2030-11-01T10:00Z", count=1)  # type: ignore[arg-type]
    assert preview.firings[0].at > datetime(2030, 11, 1, 10, tzinfo=UTC)


async def test_one_item_is_a_list_of_one_and_an_iterator_is_taken_once(client: AsyncClient, name: str) -> None:
    await client.create_model(name, tags={"desk": "equities"})
    assert [found.name for found in await collect(client.list_models(name_prefix=name, stages="production"))] == []
    outcomes = (AbOutcome(str(i), "unit", {"pnl": 1.0}) for i in range(3))
    with pytest.raises(errors.AbTestNotFound):
        await client.record_ab_outcomes(name, outcomes)


async def test_values_of_numpy_are_numbers(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("weights")
    metrics: dict[str, Any] = {"a": np.float32(0.5), "b": np.int64(2)}
    version = await client.register(name, tmp_path / "model.txt", metrics=metrics)
    assert version.metrics == {"a": 0.5, "b": 2.0}


@pytest.mark.system
async def test_what_the_server_returns_can_be_a_key(client: AsyncClient, name: str, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("weights")
    first, second = [await client.register(name, tmp_path / "model.txt") for _ in range(2)]
    predictions: dict[Any, Any] = {first: np.arange(50.0), second: pd.Series(np.arange(50.0) + 1)}
    found = await client.compare([], None, np.arange(50.0), predictions=predictions)
    assert {result.version for result in found.results} == {first.ref, second.ref}
    job = await client.request_retraining(name)
    assert {job: 1, await client.get_model(name): 2}[job] == 1
    twice: dict[Any, Any] = {first: [1.0, 2.0], first.ref: [1.0, 2.0]}
    with pytest.raises(errors.InvalidField, match="twice"):
        await client.compare([], None, [1.0, 2.0], predictions=twice)


@pytest.mark.system
async def test_deadline_that_comes_while_a_stream_is_sent_is_an_error_of_modelward(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.txt").write_text("weights")
    version = await client.register(name, tmp_path / "model.txt")
    for _ in range(50):  # Without asyncio this was always so; with it a fourth of the calls ended in CancelledError.
        with suppress(errors.DeadlineExceeded, errors.Unavailable):
            await client.set_reference(version, {"a": [1.0]}, timeout=-1)


def names_in(folder: Path) -> list[str]:
    return [one.name for one in folder.iterdir()]


async def test_place_where_no_file_can_be_is_refused_by_the_name_of_the_argument(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.txt").write_text("weights")
    version = await client.register(name, tmp_path / "model.txt")
    for place in (tmp_path, tmp_path / "nowhere" / "file", tmp_path / "model.txt" / "file"):
        for write in (client.export_evidence(version, place), client.inventory_report(place, as_of=date(2025, 12, 31))):
            with pytest.raises(errors.InvalidField, match=r"^to: "):
                await write
    assert names_in(tmp_path) == ["model.txt"]


def test_packs_and_keys_are_paths_as_text_too(tmp_path: Path) -> None:
    assert verify_pack(str(tmp_path / "nowhere.zip")).defects[0].startswith("nowhere.zip: ")
    for wrong in ({"path": 5}, {"public_key": b"key"}, {"timestamp_roots": 5}, {"signer_keys": [5]}):
        with pytest.raises(errors.InvalidField, match=next(iter(wrong))):
            verify_pack(**({"path": "pack.zip"} | wrong))
    with pytest.raises(errors.InvalidField, match=r"nowhere\.pem"):
        verify_pack("pack.zip", signer_keys="nowhere.pem")


ODD_REGIMES: list[Any] = [
    *map(TimeRange, ("\ud800", b"2024", True, 2.5)),  # type: ignore[arg-type]
    ClosureSessions(5),  # type: ignore[arg-type]
    ClosureSessions("XSHG", days="5"),  # type: ignore[arg-type]
    ClosureSessions("XSHG", first=1.5),  # type: ignore[arg-type]
    ClosureSessions("XSHG", first=2**40),
    ClosureSessions("XSHG", last=True),
]
ODD_TRIALS: list[Any] = [
    BacktestTrials([[0.1], [0.2]], chosen=5),  # type: ignore[arg-type]
    BacktestTrials([[0.1], [0.2]], chosen="\ud800"),
    BacktestTrials([[0.1], [0.2]], periods_per_year="252"),  # type: ignore[arg-type]
    BacktestTrials([[0.1], [0.2]], periods_per_year=None),  # type: ignore[arg-type]
]


@pytest.mark.parametrize("odd", ODD_REGIMES, ids=str)
def test_parts_of_a_regime_are_checked(odd: Any) -> None:
    with pytest.raises(errors.InvalidField, match=r"^regimes\['odd'\]"):
        Client("127.0.0.1:1").detect_drift("model/1", {"a": [1.0]}, regimes={"odd": odd})


@pytest.mark.parametrize("odd", ODD_TRIALS, ids=lambda one: repr((one.chosen, one.periods_per_year)))
def test_parts_of_trials_are_checked(odd: Any, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("weights")
    with pytest.raises(errors.InvalidField, match=r"^trials\."):
        Client("127.0.0.1:1").register("model", tmp_path / "model.txt", trials=odd)


def test_a_range_takes_dates_and_integers_as_a_pair_does() -> None:
    for given in (TimeRange(date(2024, 1, 1), 5), (date(2024, 1, 1), np.int64(5))):  # type: ignore[arg-type]
        assert as_regime(given) == TimeRange("2024-01-01", "5")


TOLD = {
    ("header.sender", "must be at least 1 characters"): "sender: must be at least 1 characters",
    ("batch.data['x']", "holds text"): "data['x']: holds text",
    ("options.versions[0].version", "must be greater than 0"): "version: must be greater than 0",
    ("options.versions[1].alias", "is unknown"): "options.versions[1].alias: is unknown",
    ("segments.regimes['a'].range.first", "is '2'"): "regimes['a'].range.first: is '2'",
    ("time_column", "is missing; group_column has no effect"): "time: is missing; group has no effect",
    ("id_column", "names 'a'"): "id_column: names 'a'",
    ("model", "is empty"): "model: is empty",
}
"""What the server's violations become for a method with some arguments."""


@pytest.mark.parametrize(("violation", "told"), TOLD.items(), ids=lambda one: str(one[0]))
def test_violations_of_the_server_name_the_arguments_of_the_caller(violation: tuple[str, str], told: str) -> None:
    for message in ("", f"batch 3: {violation[0]}: {violation[1]}"):
        error = errors.InvalidField(errors.FieldViolation(*violation), message=message)
        name_arguments(error, {"sender", "data", "version", "regimes", "time", "group", "model"})
        assert str(error) == error.message == f"{'batch 3: ' if message else ''}{told}"
        assert str(error.violations[0]) == told


LOG = LogHead(3, b"r" * 32, datetime(2026, 3, 2, tzinfo=UTC))
TEST: AbTest = sample(AbTest)
COMPARED, REPORT, CALLER = sample(Comparison), sample(DriftReport), sample(Caller)
OF_RESULTS: dict[str, Callable[[Any], object]] = {
    "earlier": LOG.continues,
    "test": lambda given: assign(given, "unit"),
    "unit": lambda given: assign(TEST, given),
    "name of a variant": TEST.variant,
    "name of a segment": COMPARED.segment,
    "version of a result": COMPARED.result,
    "name of a feature": REPORT.feature,
    "name of a segment of drift": REPORT.segment,
    "now": sample(Finding).is_overdue,
    "needed": Role.TRAINER.covers,
    "model": CALLER.may_reach,
    "name of a format": ModelFormat.named,
    "bundle": lambda given: verify_model_signature(given, [], [], lambda _: []),
}
"""What is given to methods of results, and to functions that need no server, by the name of their argument."""


@pytest.mark.parametrize("argument", OF_RESULTS)
def test_what_is_given_to_a_result_is_checked_by_its_type(argument: str) -> None:
    for wrong in [one for one in WRONG if not isinstance(one, str | VersionRef | datetime | tuple)]:
        if wrong is None and argument == "now":
            continue
        if isinstance(wrong, bytes) and argument == "bundle":
            continue
        if isinstance(wrong, list) and wrong == ["a", 1] and argument == "version of a result":
            continue  # A version, as a list.
        with pytest.raises(errors.InvalidField) as refused:
            OF_RESULTS[argument](wrong)
        assert refused.value.violations[0].field == argument.partition(" ")[0]
