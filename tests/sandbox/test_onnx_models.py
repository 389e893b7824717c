"""ONNX models: which output is what, which classes there are, and which columns go where."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from modelward import AsyncClient, errors
from modelward.formats import formats
from modelward.signature import Signature
from modelward_server.sandbox.model_loading import load
from tests.support.clients import as_async
from tests.support.onnx_files import (
    ML,
    classifier,
    constant,
    graph_model,
    linear_model,
    maps,
    node,
    one_input_each,
    sequence,
    value,
)
from tests.support.running_server import RunningServer

pytestmark = pytest.mark.system  # Runs models in processes.

RANDOM = np.random.default_rng(0)
MATRIX = RANDOM.normal(size=(300, 2)).astype(np.float32)
FEATURES = {"x0": MATRIX[:, 0].astype(np.float64), "x1": MATRIX[:, 1].astype(np.float64)}
TABLE = pa.table(FEATURES)
X = value("X", "float", "n", 2)
LABEL, TEXT_LABEL, PROB = value("label", "int64", "n"), value("label", "string", "n"), value("prob", "float", "n", 3)
SCORES = [
    node("MatMul", ["X", "w"], ["product"]),
    node("Softmax", ["product"], ["prob"], axis=1),
    node("ArgMax", ["prob"], ["place"], axis=1, keepdims=0),
]
WEIGHTS = constant("w", [1.0, 0.0, -1.0, 0.5, 0.0, -0.5], 2, 3)


def runner_of(model: bytes, folder: Path, names: Sequence[str] = ()) -> Any:
    (folder / "model.onnx").write_bytes(model)
    return load(formats()["onnx"], folder / "model.onnx", Signature.of(names))


def outputs(model: bytes, folder: Path, data: pa.Table = TABLE, names: Sequence[str] = ()) -> Any:
    model_of = runner_of(model, folder, names)
    return model_of.outputs(model_of.prepare(data))


def asked(model: bytes) -> dict[str, Any]:
    """Return what the runtime itself says of the rows."""
    session = onnxruntime.InferenceSession(model)
    names = [one.name for one in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": MATRIX}), strict=True))


def untold_classes() -> bytes:
    """Return a model whose label is made in a way that tells no class."""
    nodes = [classifier([0, 1, 2], outputs=("own", "prob")), node("Sub", ["own", "one"], ["label"])]
    return graph_model(nodes, [X], [LABEL, PROB], [constant("one", [1])])


@pytest.fixture
async def solo(server: RunningServer) -> AsyncIterator[AsyncClient]:
    """One client, where the kind of client makes no difference and running models takes seconds."""
    async with AsyncClient(server.target, actor="tester") as client:
        yield as_async(client)


async def test_log_loss_is_of_the_classes_in_the_graph_whichever_occur(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    model = graph_model([classifier([-1, 0, 1])], [X], [LABEL, PROB])
    (tmp_path / "model.onnx").write_bytes(model)
    told = asked(model)
    rows = told["label"] != -1  # The first class is predicted of none of them.
    truth = np.where(random.random(300) < 0.8, told["label"], 1 - told["label"])[rows]
    versions = [await client.register(name, tmp_path / "model.onnx") for _ in range(2)]
    found = await client.compare(versions, pd.DataFrame(FEATURES)[rows], truth)
    own = -np.log(told["prob"][rows][np.arange(rows.sum()), truth + 1]).mean()
    assert found.result(versions[0].ref)["log_loss"] == pytest.approx(own, rel=1e-5)


async def test_probabilities_of_unknown_classes_are_left_out_and_it_says_so(
    solo: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(untold_classes())
    versions = [await solo.register(name, tmp_path / "model.onnx") for _ in range(2)]
    truth = asked(untold_classes())["label"]
    found = await solo.compare(versions, pd.DataFrame(FEATURES), truth)
    assert found.result(versions[0].ref)["accuracy"] == 1.0
    why = "needs probabilities, and the model does not define the class of each column of its output 'prob'"
    assert f"log_loss is omitted: it {why}" in found.notes
    with pytest.raises(errors.InvalidField, match=rf"metrics\[0\]: log_loss {why}"):
        await solo.compare(versions, pd.DataFrame(FEATURES), truth, metrics=["log_loss"])


async def test_columns_go_by_the_names_of_the_reference_where_the_model_has_none(
    client: AsyncClient, name: str, tmp_path: Path
) -> None:
    (tmp_path / "model.onnx").write_bytes(linear_model([2.0, -1.0], 0.5))
    frame = pd.DataFrame(FEATURES).rename(columns={"x0": "vix", "x1": "spread"})
    truth = 2 * frame["vix"] - frame["spread"] + 0.5
    versions = [await client.register(name, tmp_path / "model.onnx", reference=frame) for _ in range(2)]
    for order in (["vix", "spread"], ["spread", "vix"]):
        found = await client.compare(versions, frame[order], truth)
        assert found.result(versions[0].ref)["mse"] == pytest.approx(0.0, abs=1e-9)
    with pytest.raises(errors.InvalidField, match=r"X: has no column 'vix'.*, which the model takes"):
        await client.compare(versions, frame.rename(columns={"vix": "VIX"}), truth)
    found = await client.compare(versions, frame.to_numpy(), truth)  # Without names, by their places.
    assert found.result(versions[0].ref)["mse"] == pytest.approx(0.0, abs=1e-9)


async def test_an_estimator_fitted_without_names_takes_those_of_the_reference(solo: AsyncClient, name: str) -> None:
    frame = pd.DataFrame(FEATURES).rename(columns={"x0": "vix", "x1": "spread"})
    truth = (frame["vix"] > 0).astype(int)
    model = LogisticRegression().fit(frame.to_numpy(), truth)
    versions = [await solo.register(name, model, reference=frame) for _ in range(2)]
    straight, reversed_ = [
        (await solo.compare(versions, frame[order], truth)).result(versions[0].ref)["log_loss"]
        for order in (["vix", "spread"], ["spread", "vix"])
    ]
    assert straight == reversed_


@pytest.mark.parametrize("classes", [[-1, 0, 1], ["down", "flat", "up"], [10, 5, 7]])
def test_classes_are_those_of_the_classifiers_node(classes: list[Any], tmp_path: Path) -> None:
    label = TEXT_LABEL if isinstance(classes[0], str) else LABEL
    model = graph_model([classifier(classes)], [X], [label, PROB])
    found = outputs(model, tmp_path)
    assert list(found.classes) == classes
    assert [classes[place] for place in found.predicted] == asked(model)["label"].tolist()
    np.testing.assert_array_equal(found.probabilities, asked(model)["prob"].astype(np.float64))


@pytest.mark.parametrize("operator", ["ArrayFeatureExtractor", "Gather"])
@pytest.mark.parametrize("classes", [[-1, 0, 1], ["down", "flat", "up"]])
def test_classes_are_those_of_the_list_in_which_they_are_looked_up(
    operator: str, classes: list[Any], tmp_path: Path
) -> None:
    """As converters write it for models that ONNX has no operator for."""
    look_up = node(operator, ["classes", "place"], ["found"], ML if operator == "ArrayFeatureExtractor" else "")
    nodes = [*SCORES, look_up, node("Reshape", ["found", "flat"], ["label"])]
    constants = [WEIGHTS, constant("classes", classes), constant("flat", [-1])]
    label = TEXT_LABEL if isinstance(classes[0], str) else LABEL
    found = outputs(graph_model(nodes, [X], [label, PROB], constants), tmp_path)
    assert list(found.classes) == classes
    assert (found.predicted == found.probabilities.argmax(axis=1)).all()


@pytest.mark.parametrize("metadata", [{}, {"classes": [-1, 0, 1]}, {"classes": ["down", "flat", "up"]}])
def test_a_label_that_is_a_columns_number_means_the_class_of_that_column(
    metadata: dict[str, list[Any]], tmp_path: Path
) -> None:
    nodes = [*SCORES, node("Identity", ["place"], ["label"])]
    found = outputs(graph_model(nodes, [X], [LABEL, PROB], [WEIGHTS], metadata), tmp_path)
    assert list(found.classes) == metadata.get("classes", [0, 1, 2])
    assert (found.predicted == found.probabilities.argmax(axis=1)).all()


@pytest.mark.parametrize("classes", [[-1, 0, 1], ["up", "down", "flat"]])
def test_maps_name_their_classes(classes: list[Any], tmp_path: Path) -> None:
    text = isinstance(classes[0], str)
    attributes = {"classlabels_strings" if text else "classlabels_int64s": classes}
    zipped = node("ZipMap", ["prob"], ["named"], ML, **attributes)
    declared = [TEXT_LABEL if text else LABEL, maps("named", "string" if text else "int64")]
    for chosen in (declared, declared[::-1], declared[1:]):  # In any order, and without the label.
        model = graph_model([classifier(classes), zipped], [X], chosen)
        found = outputs(model, tmp_path)
        assert list(found.classes) == sorted(classes)
        own = asked(model)["named"]
        assert found.probabilities.tolist() == [[row[key] for key in sorted(classes)] for row in own]
        assert (found.predicted == found.probabilities.argmax(axis=1)).all()


def test_outputs_are_told_by_what_they_are_and_not_by_their_order(tmp_path: Path) -> None:
    found = outputs(graph_model([classifier([-1, 0, 1])], [X], [PROB, LABEL]), tmp_path)
    assert list(found.classes) == [-1, 0, 1]
    assert found.probabilities.shape == (300, 3)


def test_a_net_of_probabilities_alone_classifies_where_its_metadata_name_the_classes(tmp_path: Path) -> None:
    named = graph_model(SCORES, [X], [PROB], [WEIGHTS], {"classes": ["down", "flat", "up"]})
    found = outputs(named, tmp_path)
    assert list(found.classes) == ["down", "flat", "up"]
    assert (found.predicted == found.probabilities.argmax(axis=1)).all()
    with pytest.raises(ValueError, match=r"numbers of shape \(300, 3\) for 300 rows; expected one number per row"):
        outputs(graph_model(SCORES, [X], [PROB], [WEIGHTS]), tmp_path)


def test_scores_that_are_no_probabilities_leave_the_labels(tmp_path: Path) -> None:
    found = outputs(graph_model([classifier([-1, 0, 1], "NONE")], [X], [LABEL, PROB]), tmp_path)
    assert found.probabilities is None
    assert list(found.classes) == [-1, 0, 1]
    assert found.no_probabilities == "its output 'prob' holds scores that are not probabilities"


def test_probabilities_in_half_precision_add_up(tmp_path: Path) -> None:
    nodes = [classifier([-1, 0, 1]), node("Cast", ["prob"], ["half"], to=10)]
    found = outputs(graph_model(nodes, [X], [LABEL, value("half", "float16", "n", 3)]), tmp_path)
    assert found.no_probabilities == ""
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, atol=1e-12)


def _not_read() -> dict[str, tuple[bytes, str]]:
    """Return models that are not read, and the words that say so."""
    deep, number, other = value("X", "float", "n", 2, 3), value("Y", "float"), value("other", "float", "n", 3)
    same, at = node("Identity", ["X"], ["Y"]), node("SequenceAt", ["S", "i"], ["Y"])
    twice = [*SCORES[:2], node("Identity", ["prob"], ["other"])]
    counts = [node("Shape", ["X"], ["a"]), node("Size", ["X"], ["b"])]
    added, wide = node("Sum", ["X", "Z"], ["Y"]), [X, value("Z", "float", "n", 1)]
    return {
        "three dimensions": (graph_model([same], [deep], [value("Y", "float", "n", 2, 3)]), "'X' of 3 dimensions"),
        "sequence in": (graph_model([at], [sequence("S")], [number], [constant("i", [0], 1)]), r"'S' as seq\(tensor"),
        "sequence out": (
            graph_model([node("SequenceConstruct", ["X"], ["S"])], [X], [sequence("S")]),
            "none of which is a prediction",
        ),
        "two numbers": (graph_model(twice, [X], [PROB, other], [WEIGHTS]), "several numeric outputs, prob, other"),
        "two labels": (
            graph_model(counts, [X], [value("a", "int64", 2), value("b", "int64")]),
            "several labels for each row, a, b",
        ),
        "wide inputs": (graph_model([added], wide, [value("Y", "float", "n", 2)]), "2 columns at once as 'X'"),
    }


@pytest.mark.parametrize("case", _not_read())
def test_what_is_not_read_is_refused_in_words(case: str, tmp_path: Path) -> None:
    model, words = _not_read()[case]
    with pytest.raises(ValueError, match=words):
        runner_of(model, tmp_path)


@pytest.mark.parametrize("kind", ["float", "double", "float16", "int64", "int32", "uint8", "bool"])
def test_every_type_of_number_is_an_input(kind: str, tmp_path: Path) -> None:
    cast = node("Cast", ["X"], ["Y"], to=1)
    model = graph_model([cast], [value("X", kind, "n", 1)], [value("Y", "float", "n", 1)])
    found = outputs(model, tmp_path, pa.table({"a": [0.0, 1.0]}))
    assert found.predicted.tolist() == [0.0, 1.0]


def test_vectors_and_texts_are_inputs_too(tmp_path: Path) -> None:
    vector = graph_model([node("Neg", ["X"], ["Y"])], [value("X", "float", "n")], [value("Y", "float", "n")])
    found = outputs(vector, tmp_path, pa.table({"a": [1.0, 2.0]}))
    assert found.predicted.tolist() == [-1.0, -2.0]
    encode = node("LabelEncoder", ["venue"], ["Y"], ML, keys_strings=["NYSE", "CME"], values_floats=[1.0, 2.0])
    text = graph_model([encode], [value("venue", "string", "n", 1)], [value("Y", "float", "n", 1)])
    found = outputs(text, tmp_path, pa.table({"x": [1.0, 2.0], "venue": ["CME", "NYSE"]}))
    assert found.predicted.tolist() == [2.0, 1.0]


@pytest.mark.parametrize(
    ("kind", "values", "words"),
    [
        ("int64", [1.5, 2.0], "has 1.5 in the column 'a', which the model's int64 cannot hold"),
        ("int64", [1.0, np.nan], "has nan in the column 'a'"),
        ("bool", [0.0, 2.0], "has 2.0 in the column 'a', which the model's bool cannot hold"),
        ("uint8", [-1.0, 2.0], "has -1.0 in the column 'a'"),
        ("float16", [1e5, 2.0], "has 100000.0 in the column 'a', which the model's float16 cannot hold"),
        ("float", ["NYSE", "CME"], "has text in the column 'a', where the model takes numbers"),
        ("string", [1.0, 2.0], "has numbers in the column 'a', where the model takes text"),
        ("string", ["NYSE", None], "has missing text in the column 'a'"),
    ],
)
def test_what_an_input_cannot_hold_is_refused_and_not_cut_off(
    kind: str, values: list[Any], words: str, tmp_path: Path
) -> None:
    model = graph_model([node("Identity", ["X"], ["Y"])], [value("X", kind, "n", 1)], [value("Y", kind, "n", 1)])
    with pytest.raises(errors.InvalidField, match=words):
        runner_of(model, tmp_path).prepare(pa.table({"a": values}))


def test_a_model_that_names_its_columns_takes_them_by_name(tmp_path: Path) -> None:
    swapped = TABLE.select(["x1", "x0"])
    each = one_input_each(["x1", "x0"])
    named = linear_model([2.0, -1.0], 0.0) + graph_model([], [], [], metadata={"feature_names": ["x0", "x1"]})
    for model in (each, named):
        straight, turned = (outputs(model, tmp_path, data).predicted for data in (TABLE, swapped))
        assert straight.tolist() == turned.tolist()
    with pytest.raises(errors.InvalidField, match="has no column 'x0'"):
        runner_of(named, tmp_path).prepare(TABLE.select(["x1"]))


def test_missing_numbers_reach_inputs_that_can_hold_them(tmp_path: Path) -> None:
    rows = runner_of(linear_model([1.0], 0.0), tmp_path).prepare(pa.table({"a": [np.nan, np.inf]}))
    filled: NDArray[Any] = rows.inputs["x"]
    assert np.isnan(filled[0, 0])
    assert np.isinf(filled[1, 0])
