"""The log of scores: which version decided, on what, by whom; and what it would answer today, on each database."""

import hashlib
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import grpc
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sqlalchemy import update

from modelward import AsyncClient, ScoreRecord, Stage, VersionRef, errors
from modelward.data import to_arrow, to_columns
from modelward.shared.table_digest import table_digest
from modelward.shared.typed_columns import to_typed
from modelward.v1 import scoring_pb2 as pb
from modelward.v1.scoring_pb2_grpc import ScoringServiceStub
from modelward_server.rpc import scoring_limits
from modelward_server.sandbox.answers import ModelProcessError, libraries
from modelward_server.scoring.score_log import record_scores
from modelward_server.storage.scoring_tables import ScoreRow
from tests.scoring.test_records import until
from tests.support.clients import collect
from tests.support.inference import infer, refusal, request_of
from tests.support.running_server import RunningServer

RNG = np.random.default_rng(5)
ROWS = pd.DataFrame(RNG.normal(size=(6, 2)), columns=["a", "b"])
TRAINING = pd.DataFrame(RNG.normal(size=(100, 2)), columns=["a", "b"])
NUMBER = LinearRegression().fit(TRAINING, TRAINING.a)
OTHER = LinearRegression().fit(TRAINING, TRAINING.b)
WORD = LogisticRegression().fit(TRAINING, np.where(TRAINING.a > 0, "up", "down"))
MISSING = -(2**63)


@pytest.fixture(scope="module")
def scoring_settings(database_url: str) -> dict[str, object]:
    return {"database_url": database_url, "score_log": 1.0}


@pytest.fixture
def stub(scoring_server: RunningServer) -> Iterator[Any]:
    with grpc.insecure_channel(scoring_server.target) as channel:
        yield ScoringServiceStub(channel)


async def in_production(scorer: AsyncClient, *models: Any) -> str:
    """Register versions of a new model, the last one in production, and return its name."""
    name = f"spx-{uuid4().hex[:8]}"
    for model in models:
        await promoted(scorer, name, model)
    return name


async def promoted(scorer: AsyncClient, name: str, model: Any) -> None:
    version = await scorer.register(name, model, reference=TRAINING)
    await scorer.promote(version, to="staging")
    await scorer.promote(version, to="production", reason="it passed its tests")


async def logged(scorer: AsyncClient, model: str, number: int = 1, **wanted: Any) -> list[ScoreRecord]:
    """Return so many records, once they are written."""
    found: list[ScoreRecord] = []

    async def are_written() -> bool:
        found[:] = await collect(scorer.list_scores(model, **wanted))
        return len(found) >= number

    await until(are_written)
    assert len(found) == number
    return found


def text(value: str) -> bytes:
    return struct.pack("<q", len(value.encode())) + value.encode()


def table_of(rows: int, columns: dict[str, bytes]) -> bytes:
    """Return the bytes of a table as the contract defines them; each column is its type and its values."""
    head = struct.pack("<qq", rows, len(columns))
    return head + b"".join(text(name) + values for name, values in columns.items())


def doubles(values: Any) -> bytes:
    return b"d" + b"".join(struct.pack("<d", float(value)) for value in values)


def sha256(*tables: bytes) -> str:
    return hashlib.sha256(b"".join(tables)).hexdigest()


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_a_call_is_logged_with_what_decided_on_what(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER)
    before, request_id = datetime.now(UTC), str(uuid4())
    found = await scorer.score(name, ROWS, request_id=request_id)
    after = datetime.now(UTC)
    [record] = await logged(scorer, name)
    assert found.request_id == record.request_id == request_id
    assert before <= record.scored_at <= after
    assert (record.actor, record.authenticated, record.method, record.as_of) == ("tester", False, "Score", None)
    assert (record.version, record.digest, record.stage) == (found.version, found.digest, Stage.PRODUCTION)
    assert (record.rows, record.ab_test, record.unit, record.variant, record.error) == (6, "", "", "", "")
    assert record.rows_sha256 == sha256(table_of(6, {"a": doubles(ROWS.a), "b": doubles(ROWS.b)}))
    assert record.answer_sha256 == sha256(table_of(6, {"prediction": doubles(found.predictions)}))
    assert record.libraries[0].startswith("Python 3.")
    assert {f"numpy {np.__version__}"} < set(record.libraries)
    assert any(library.startswith("scikit-learn ") for library in record.libraries)
    assert json.loads(json.dumps(record.to_dict()))["request_id"] == request_id


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_the_digest_of_a_classifier_has_its_classes_and_probabilities(scorer: AsyncClient) -> None:
    name = await in_production(scorer, WORD)
    found = await scorer.score(name, ROWS)
    ranked = await scorer.score(name, ROWS, top_k=2)
    assert found.probabilities is not None
    assert ranked.predictions.shape == (2,)
    classes = table_of(2, {"class": b"s" + text("down") + text("up")})
    positions = b"i" + b"".join(struct.pack("<q", ("down", "up").index(one)) for one in found.predictions)
    probabilities = {f"probability:{place}": doubles(found.probabilities[:, place]) for place in (0, 1)}
    expected = sha256(classes, table_of(6, {"prediction": positions, **probabilities}))
    assert [one.answer_sha256 for one in await logged(scorer, name, 2)] == [expected, expected]


@pytest.mark.system
async def test_the_same_rows_have_the_same_digest_however_they_are_sent(
    scorer: AsyncClient, stub: Any, inference: Any
) -> None:
    name = await in_production(scorer, NUMBER)
    columns = to_columns(ROWS)
    matrix = pb.DoubleMatrix(names=["a", "b"], values=ROWS.to_numpy().tobytes())
    arrow = b"".join(to_arrow(columns))
    stub.Score(pb.ScoreRequest(model=name, columns=to_typed(columns)))
    stub.Score(pb.ScoreRequest(model=name, arrow_ipc=arrow))
    stub.Score(pb.ScoreRequest(model=name, matrix=matrix))
    start = pb.ScoreStreamRequest(start=pb.ScoreStreamStart(model=name))
    given = str(uuid4())
    first, second = stub.ScoreStream(
        iter([start, pb.ScoreStreamRequest(arrow_ipc=arrow), pb.ScoreStreamRequest(arrow_ipc=arrow, request_id=given)])
    )
    assert first.request_id
    assert second.request_id == given
    answer = infer(inference, request_of(name, {"x": (ROWS.to_numpy(), "FP64")}, id="order-7"))
    assert answer.parameters["request_id"].string_param == answer.id == "order-7"
    records = await logged(scorer, name, 6)
    assert len({one.rows_sha256 for one in records}) == len({one.answer_sha256 for one in records}) == 1
    assert [one.method for one in records] == ["ModelInfer", "ScoreStream", "ScoreStream", "Score", "Score", "Score"]
    assert [one.request_id for one in records[:3]] == ["order-7", given, first.request_id]
    narrow = infer(inference, request_of(name, {"x": (ROWS.to_numpy(np.float32), "FP32")}))
    [of_narrow] = await logged(scorer, name, request_id=narrow.parameters["request_id"].string_param)
    widened = ROWS.to_numpy(np.float32).astype(float)
    assert of_narrow.rows_sha256 == sha256(table_of(6, {"a": doubles(widened[:, 0]), "b": doubles(widened[:, 1])}))


def test_every_kind_of_column_has_the_bytes_that_the_contract_defines() -> None:
    nan = np.array([0x7FF8000000000123], np.uint64).view(np.float64)[0]
    moments = ["1969-12-31T23:59:59.999999", "NaT", "2026-03-02T14:31:05.000001"]
    pairs = [-1, 999_999_000, MISSING, 0, 1_772_461_865, 1_000]
    table = {
        "d": np.array([1.5, nan, -0.0]),
        "i": np.array([1, -2, 3]),
        "b": np.array([True, None, False], object),
        "B": np.array([True, False, True]),
        "us": np.array(moments, "M8[us]"),
        "ns": np.array(moments, "M8[ns]"),
        "s": np.array(["é", None, ""], object),
        "nothing": np.array([None] * 3, object),
    }
    expected = {
        "d": b"d" + struct.pack("<d", 1.5) + bytes.fromhex("000000000000f87f") + struct.pack("<d", -0.0),
        "i": b"i" + struct.pack("<qqq", 1, -2, 3),
        "b": b"b" + bytes([1, 2, 0]),
        "B": b"b" + bytes([1, 0, 1]),
        "us": b"t" + struct.pack("<6q", *pairs),
        "ns": b"t" + struct.pack("<6q", *pairs),
        "s": b"s" + text("é") + struct.pack("<q", -1) + text(""),
        "nothing": b"s" + struct.pack("<qqq", -1, -1, -1),
    }
    assert table_digest(table) == sha256(table_of(3, expected))


@pytest.mark.parametrize("unit", ["us", "ns"])
def test_columns_of_every_kind_have_one_digest_in_both_forms(unit: str) -> None:
    table = pa.table(
        {
            "float32": pa.array([1.5, None], pa.float32()),
            "int8": pa.array([1, 2], pa.int8()),
            "gaps": pa.array([1, None], pa.int64()),
            "bool": pa.array([True, None]),
            "time": pa.array([1, None], pa.timestamp(unit)),
            "text": pa.array(["x", None]).dictionary_encode(),
        }
    )
    columns = to_columns(table)
    typed = to_columns(table.to_pandas())
    assert table_digest(columns) == table_digest(typed)


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_records_are_found_by_time_version_request_and_client(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER)
    first = await scorer.score(name, ROWS)
    between = datetime.now(UTC)
    await promoted(scorer, name, OTHER)
    both = await scorer.score_versions(name, ROWS, [1, "production"])
    await logged(scorer, name, 3)

    async def versions(**wanted: Any) -> list[int]:
        return [one.version.version for one in await collect(scorer.list_scores(name, **wanted))]

    assert sorted(await versions()) == [1, 1, 2]
    assert await versions(scored_before=between) == [1]
    assert sorted(await versions(scored_after=between)) == [1, 2]
    assert await versions(version=2) == [2]
    assert await versions(request_id=first.request_id) == [1]
    assert sorted(await versions(request_id=both[0].request_id)) == [1, 2]
    assert await versions(actor="nobody") == []
    assert len(await versions(actor="tester")) == 3
    [everywhere] = await collect(scorer.list_scores(request_id=first.request_id))
    assert everywhere.version == VersionRef(name, 1)
    with pytest.raises(errors.ModelNotFound):
        await collect(scorer.list_scores(f"{name}-x"))
    with pytest.raises(errors.VersionNotFound):
        await collect(scorer.list_scores(name, version=9))


@pytest.mark.system
async def test_the_log_is_read_page_by_page(scorer: AsyncClient, stub: Any) -> None:
    name = await in_production(scorer, NUMBER)
    ids = [(await scorer.score(name, ROWS)).request_id for _ in range(5)]
    await logged(scorer, name, 5)
    request, found = pb.ListScoresRequest(model=name, page_size=2), []
    while True:
        page = stub.ListScores(request)
        found += [one.request_id for one in page.scores]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert found == ids[::-1]


@pytest.mark.system
async def test_the_variant_of_a_unit_is_logged(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER, OTHER)
    await scorer.create_ab_test(name, {"a": f"{name}/1", "b": f"{name}/2"}, primary_metric="pnl_bps")
    found = await scorer.score(name, ROWS, ab_test=name, unit="account-7")
    [record] = await logged(scorer, name)
    assert (record.ab_test, record.unit, record.variant) == (name, "account-7", found.variant)


@pytest.mark.system
async def test_a_version_that_fails_is_logged_with_its_error(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER)
    gaps = ROWS.copy()
    gaps.iloc[1, 0] = np.nan
    with pytest.raises(errors.ModelFailed):
        await scorer.score(name, gaps)
    [failed] = await logged(scorer, name)
    assert (failed.error, failed.answer_sha256, failed.rows) == ("MODEL_FAILED", "", 6)
    partly = await scorer.score(name, gaps, row_errors=True)
    answered, _ = await logged(scorer, name, 2)
    assert answered.error == ""
    assert answered.answer_sha256 == sha256(table_of(6, {"prediction": doubles(partly.predictions)}))


@pytest.mark.system
async def test_an_answer_of_too_many_numbers_is_logged_as_failed_by_every_method(
    scorer: AsyncClient, inference: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = await in_production(scorer, NUMBER)
    monkeypatch.setattr(scoring_limits, "MAX_NUMBERS", len(ROWS) - 1)
    with pytest.raises(errors.LimitReached, match="the answer would have 6 numbers"):
        await scorer.score(name, ROWS)
    tensors = {str(column): (ROWS[column].to_numpy(), "FP64") for column in ROWS}
    assert "the answer would have 6 numbers" in refusal(inference, request_of(name, tensors)).message
    failed = await logged(scorer, name, 2)
    assert {one.method for one in failed} == {"Score", "ModelInfer"}
    assert {(one.error, one.answer_sha256) for one in failed} == {("LIMIT_REACHED", "")}


@pytest.mark.system
async def test_a_unit_that_postgresql_cannot_keep_is_refused_before_it_is_scored(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER, OTHER)
    await scorer.create_ab_test(name, {"a": f"{name}/1", "b": f"{name}/2"}, primary_metric="pnl_bps")
    with pytest.raises(errors.InvalidField, match=r"unit: must not contain the character NUL"):
        await scorer.score(name, ROWS, ab_test=name, unit="account\0")


@pytest.mark.system
async def test_a_large_table_is_logged_as_a_small_one(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER)
    large = pd.DataFrame(RNG.normal(size=(20_000, 2)), columns=["a", "b"])
    await scorer.score(name, large)
    [record] = await logged(scorer, name)
    assert record.rows_sha256 == sha256(table_of(20_000, {"a": doubles(large.a), "b": doubles(large.b)}))


@pytest.mark.system
@pytest.mark.weekly("postgresql")
async def test_the_past_is_answered_beside_what_was_answered_then(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER)
    assert (await scorer.score(name, ROWS, as_of=datetime.now(UTC))).logged is None
    first = await scorer.score(name, ROWS)
    again = await scorer.score(name, ROWS)
    then = datetime.now(UTC)
    later = await scorer.score(name, ROWS)
    [of_later, *_] = await logged(scorer, name, 4)
    assert of_later.request_id == later.request_id
    await promoted(scorer, name, OTHER)
    await scorer.score(name, ROWS)
    replayed = await scorer.score(name, ROWS, as_of=then)
    assert replayed.version.version == 1
    assert replayed.logged is not None
    assert (replayed.logged.request_id, replayed.logged.same_answer) == (again.request_id, True)
    assert replayed.logged.library_changes == ()
    assert replayed.logged.scored_at is not None
    exactly = await scorer.score(name, ROWS, as_of=of_later.scored_at)
    assert exactly.logged is not None
    assert exactly.logged.request_id == later.request_id, "the answer at the instant itself counts"
    record = next(one for one in await logged(scorer, name, 7) if one.request_id == replayed.request_id)
    assert (record.as_of, record.stage) == (then, Stage.PRODUCTION)
    np.testing.assert_array_equal(replayed.predictions, first.predictions)


@pytest.mark.system
async def test_rows_that_were_not_logged_tell_only_of_libraries(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER)
    await scorer.score(name, ROWS)
    await logged(scorer, name)
    found = await scorer.score(name, ROWS + 1, as_of=datetime.now(UTC))
    assert found.logged is not None
    assert (found.logged.request_id, found.logged.scored_at, found.logged.same_answer) == ("", None, None)
    assert found.logged.library_changes == ()


@pytest.mark.system
async def test_what_changed_since_then_is_told(scorer: AsyncClient, scoring_server: RunningServer) -> None:
    name = await in_production(scorer, NUMBER)
    await scorer.score(name, ROWS)
    [record] = await logged(scorer, name)
    now = next(one for one in record.libraries if one.startswith("scikit-learn "))
    libraries = [*(one for one in record.libraries if one != now), "scikit-learn 1.0.1", "xgboost 0.1"]
    other = {"libraries": libraries, "answer_sha256": "0" * 64}
    with scoring_server.app.ledger.writing() as session:
        session.execute(update(ScoreRow).where(ScoreRow.request_id == record.request_id).values(other))
    changes = (f"scikit-learn 1.0.1 then, {now.partition(' ')[2]} now", "xgboost 0.1 then, not used now")
    for rows, same in ((ROWS, False), (ROWS + 1, None)):
        found = await scorer.score(name, rows, as_of=datetime.now(UTC))
        assert found.logged is not None
        assert (found.logged.same_answer, found.logged.library_changes) == (same, changes)


@pytest.mark.system
async def test_a_stream_about_the_past_is_compared_too(scorer: AsyncClient) -> None:
    name = await in_production(scorer, NUMBER)
    await scorer.score(name, ROWS)
    await logged(scorer, name)
    [found] = await collect(scorer.score_stream(name, [ROWS], as_of=datetime.now(UTC)))
    assert found.logged is not None
    assert found.logged.same_answer is True


def test_an_id_that_the_log_cannot_keep_is_refused(inference: Any) -> None:
    for wrong in ("x" * 257, "a\x00b"):
        error = refusal(inference, request_of("m", {"x": (ROWS.to_numpy(), "FP64")}, id=wrong))
        assert "id" in error.message


@pytest.mark.system
async def test_a_batch_that_is_written_again_is_logged_once(scorer: AsyncClient, scoring_server: RunningServer) -> None:
    name = await in_production(scorer, NUMBER)
    await scorer.score(name, ROWS)
    records = await logged(scorer, name)
    with scoring_server.app.ledger.writing() as session:
        record_scores(session, records)
    await logged(scorer, name)


@pytest.mark.parametrize("said", [None, "numpy 2", [1], ["x" * 101], ["a\nb"], ["numpy 2"] * 51])
def test_libraries_that_a_process_makes_up_are_refused(said: object) -> None:
    with pytest.raises(ModelProcessError, match="named libraries"):
        libraries(said)
