"""The Open Inference Protocol: tensors in every form are predicted as the library predicts them."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder

from modelward import Client, ModelVersion, errors
from modelward.assignment import assign
from modelward_server.oip import open_inference_pb2 as pb
from tests.support.inference import NUMPY, Request, Tensor, described, infer, refusal, request_of, values_of
from tests.support.inference_models import NUMBER, OTHER, ROWS, in_production
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Takes seconds.


@pytest.fixture(scope="module")
def scoring_settings() -> dict[str, object]:
    """Room for the versions in production of all tests, which are kept loaded, and for others."""
    return {"scoring_processes": 16}


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("datatype", [*NUMPY])
def test_every_datatype_is_read_as_a_matrix_and_by_feature(
    inference: Any, number: ModelVersion, datatype: str, raw: bool
) -> None:
    if datatype == "FP16" and not raw:
        tensor = Tensor(name="m", datatype=datatype, shape=[1, 3])
        error = refusal(inference, Request(model_name=number.model, inputs=[tensor]))
        assert "can only be raw" in error.message
        return
    shapes: dict[str, dict[str, Any]] = {
        "matrix": {"rows": (ROWS.to_numpy(), datatype)},
        "features": {name: (ROWS[name].to_numpy(), datatype) for name in ("c", "a", "b")},
        "columns": {name: (ROWS[[name]].to_numpy(), datatype) for name in ("a", "b", "c")},
    }
    for shape, tensors in shapes.items():
        answer = infer(inference, request_of(number.model, tensors, raw=raw, id="call-7"))
        np.testing.assert_allclose(values_of(answer)["prediction"], NUMBER.predict(ROWS), rtol=1e-9, err_msg=shape)
        assert bool(answer.raw_output_contents) is raw
        assert described(answer.outputs) == [("prediction", "FP64", [40])]
        assert (answer.model_name, answer.model_version, answer.id) == (number.model, "1", "call-7")


def test_the_answer_says_which_version_answered(inference: Any, number: ModelVersion) -> None:
    answer = infer(inference, request_of(number.model, {"rows": (ROWS.to_numpy(), "FP64")}))
    assert answer.parameters["stage"].string_param == "production"
    assert answer.parameters["digest"].string_param == number.digest
    assert answer.parameters["sequence"].int64_param > 0


CLASSES: dict[str, tuple[Any, list[object]]] = {
    "BYTES": (np.array(["down", "up"]), [b"down", b"up"]),
    "INT64": (np.array([-1, 1]), [-1, 1]),
    "BOOL": (np.array([False, True]), [False, True]),
}


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
@pytest.mark.parametrize("datatype", CLASSES)
def test_a_classifier_gives_classes_and_their_probabilities(
    scoring_sdk: Client, inference: Any, datatype: str, raw: bool
) -> None:
    labels, wire = CLASSES[datatype]
    model = LogisticRegression().fit(ROWS, labels[(ROWS.a > 0).astype(int)])
    version = in_production(scoring_sdk, model)
    tensors = {"rows": (ROWS.to_numpy(), "FP64")}
    answer = infer(inference, request_of(version.model, tensors, raw=raw))
    assert described(answer.outputs) == [
        ("prediction", datatype, [40]),
        ("probabilities", "FP64", [40, 2]),
    ]
    found = values_of(answer)
    sent = dict(zip(labels.tolist(), wire, strict=True))
    assert found["prediction"].tolist() == [sent[label] for label in model.predict(ROWS).tolist()]
    np.testing.assert_allclose(found["probabilities"], model.predict_proba(ROWS), rtol=1e-9)
    wanted = [Request.InferRequestedOutputTensor(name="probabilities")]
    assert list(values_of(infer(inference, request_of(version.model, tensors, outputs=wanted)))) == ["probabilities"]
    told = inference.ModelMetadata(pb.ModelMetadataRequest(name=version.model), timeout=PATIENCE_SECONDS)
    assert described(told.outputs) == [
        ("prediction", datatype, [-1]),
        ("probabilities", "FP64", [-1, 2]),
    ]


@pytest.mark.parametrize("raw", [False, True], ids=["typed", "raw"])
def test_text_is_read_by_feature(scoring_sdk: Client, inference: Any, raw: bool) -> None:
    rows = pd.DataFrame({"venue": ["NYSE", "Börse", "NYSE", ""] * 10})
    target = (rows.venue == "Börse") * 2.0
    model = make_pipeline(OneHotEncoder(), LinearRegression()).fit(rows, target)
    version = in_production(scoring_sdk, model, rows)
    answer = infer(inference, request_of(version.model, {"venue": (rows.venue.tolist(), "BYTES")}, raw=raw))
    np.testing.assert_allclose(values_of(answer)["prediction"], target, atol=1e-9)
    told = inference.ModelMetadata(pb.ModelMetadataRequest(name=version.model), timeout=PATIENCE_SECONDS)
    assert described(told.inputs) == [("venue", "BYTES", [-1])]


def test_large_tables_are_read_in_a_thread(inference: Any, number: ModelVersion) -> None:
    rows = np.tile(ROWS.to_numpy(), (500, 1))
    answer = infer(inference, request_of(number.model, {"rows": (rows, "FP64")}, raw=True))
    np.testing.assert_allclose(values_of(answer)["prediction"], NUMBER.predict(ROWS).tolist() * 500, rtol=1e-9)


def test_versions_are_chosen_by_number_alias_and_past_time(scoring_sdk: Client, inference: Any) -> None:
    first = in_production(scoring_sdk, NUMBER)
    then = datetime.now(UTC)
    second = in_production(scoring_sdk, OTHER, name=first.model)
    staged = scoring_sdk.register(first.model, NUMBER, reference=ROWS)
    scoring_sdk.promote(staged, to="staging")

    def answered(**choice: Any) -> tuple[str, str]:
        answer = infer(inference, request_of(first.model, {"rows": (ROWS.to_numpy(), "FP64")}, **choice))
        expected = OTHER if answer.model_version == "2" else NUMBER
        np.testing.assert_allclose(values_of(answer)["prediction"], expected.predict(ROWS), rtol=1e-9, atol=1e-12)
        return answer.model_version, answer.parameters["stage"].string_param

    past = {"as_of": pb.InferParameter(string_param=then.isoformat())}
    assert second.version == 2
    assert answered() == ("2", "production")
    assert answered(model_version="1") == ("1", "archived")
    assert answered(model_version="staging") == ("3", "staging")
    assert answered(model_version="latest") == ("3", "staging")
    assert answered(parameters=past) == ("1", "production"), "as it was then"
    scoring_sdk.halt(first.model, reason="exchange outage")
    assert isinstance(refusal(inference, request_of(first.model, {"rows": (ROWS, "FP64")})), errors.ModelHalted)
    assert answered(parameters=past) == ("1", "production")


def test_an_ab_test_chooses_the_version_of_a_unit_and_the_exposure_is_recorded(
    scoring_sdk: Client, inference: Any
) -> None:
    first = in_production(scoring_sdk, NUMBER)
    scoring_sdk.register(first.model, OTHER, reference=ROWS)
    arms = {"a": f"{first.model}/1", "b": f"{first.model}/2"}
    test = scoring_sdk.create_ab_test(f"{first.model}-exits", arms, primary_metric="pnl_bps")
    rows = {"rows": (ROWS.to_numpy(), "FP64")}
    units = [f"口座-{number}" for number in range(8)]
    for unit in units:
        chosen = {name: pb.InferParameter(string_param=text) for name, text in (("ab_test", test.test), ("unit", unit))}
        answer = infer(inference, request_of(first.model, rows, parameters=chosen))
        variant = assign(test, unit).variant
        told = answer.parameters
        assert (told["variant"].string_param, told["in_test"].bool_param) == (variant.name, True)
        assert answer.model_version == str(variant.version.version)
    eventually(lambda: sum(arm.exposed_units for arm in scoring_sdk.ab_test_result(test.test).variants) == len(units))


def test_an_ab_test_is_named_with_its_unit_and_nothing_else(
    scoring_sdk: Client, inference: Any, number: ModelVersion
) -> None:
    text = pb.InferParameter(string_param="exits")

    def refused(model_version: str = "", **parameters: pb.InferParameter) -> str:
        request = request_of(number.model, {"rows": (ROWS, "FP64")}, parameters=parameters, model_version=model_version)
        return refusal(inference, request).message

    assert refused(unit=text) == 'parameters["unit"]: is given without ab_test; name the test, or leave it out'
    assert 'parameters["ab_test"]: is given with model_version or as_of' in refused("1", ab_test=text, unit=text)
    assert refused(ab_test=pb.InferParameter(int64_param=3)) == 'parameters["ab_test"]: must be text'
    assert "there is no A/B test 'exits'" in refused(ab_test=text, unit=text)
    other = scoring_sdk.register(f"{number.model}-other", NUMBER, reference=ROWS)
    two = {"a": other, "b": scoring_sdk.register(other.model, OTHER, reference=ROWS)}
    scoring_sdk.create_ab_test(other.model, two, primary_metric="pnl_bps")
    foreign = pb.InferParameter(string_param=other.model)
    assert f'parameters["ab_test"]: is about {other.model}' in refused(ab_test=foreign, unit=text)
