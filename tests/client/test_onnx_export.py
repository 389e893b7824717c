"""ONNX models made from models of PyTorch and statsmodels, which predict the same."""

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm

from modelward import AsyncClient, ModelFormat, errors
from modelward.formats import format_of_file
from modelward.onnx_export import from_statsmodels, from_torch

RANDOM = np.random.default_rng(3)
X = pd.DataFrame(RANDOM.normal(size=(120, 2)), columns=["momentum", "carry"])
RETURNS = 2 * X["momentum"] - X["carry"] + RANDOM.normal(size=120)
UP = (RETURNS > 0).astype(int)
REFERENCE = X[["carry", "momentum"]].assign(venue=1.0)
"""In another order than the models' own, with a column more."""


@pytest.mark.parametrize("constant", [True, False], ids=["with a constant", "without"])
@pytest.mark.parametrize("kind", ["OLS", "WLS", "RLM", "QuantReg", "GLM"])
def test_a_linear_model_of_statsmodels_predicts_the_same(kind: str, constant: bool) -> None:
    results = getattr(sm, kind)(RETURNS, sm.add_constant(X) if constant else X).fit()
    exported = from_statsmodels(results, REFERENCE)
    assert (exported.parity.rows, exported.metrics["onnx_parity_rows"]) == (120, 120.0)
    assert exported.parity.max_absolute < 1e-12


@pytest.mark.system
@pytest.mark.parametrize("kind", ["Logit", "GLM"])
async def test_a_logistic_model_of_statsmodels_is_loaded_by_name_with_its_classes(
    client: AsyncClient, name: str, kind: str
) -> None:
    options: dict[str, Any] = {"family": sm.families.Binomial()} if kind == "GLM" else {}
    results = getattr(sm, kind)(UP, sm.add_constant(X), **options).fit(disp=0)
    exported = from_statsmodels(results, REFERENCE, classes=["down", "up"])
    version = await client.register(name, exported.model, metrics=exported.metrics)
    assert version.format == ModelFormat.ONNX
    assert version.metrics["onnx_parity_max_absolute"] < 1e-9
    model = await client.load(version)
    assert (model.classes, model.signature.names) == (("down", "up"), ("momentum", "carry"))
    expected = results.predict(sm.add_constant(X))
    np.testing.assert_allclose(model.predict_proba(REFERENCE)[:, 1], expected, rtol=1e-9)
    assert model.predict(REFERENCE).tolist() == np.where(expected > 0.5, "up", "down").tolist()


def test_what_cannot_be_converted_is_refused_in_words() -> None:
    results = sm.OLS(RETURNS, X).fit()
    with pytest.raises(errors.InvalidField, match="reference: lacks the columns carry"):
        from_statsmodels(results, X[["momentum"]])
    with pytest.raises(errors.InvalidField, match=r"predicts other numbers than statsmodels, .*; the tolerance is -1"):
        from_statsmodels(results, X, tolerance=-1.0)
    with pytest.raises(errors.InvalidField, match="Probit of statsmodels is not linear or logistic"):
        from_statsmodels(sm.Probit(UP, X).fit(disp=0), X)


async def test_a_result_of_statsmodels_is_refused_with_the_name_of_the_helper(client: AsyncClient, name: str) -> None:
    with pytest.raises(errors.InvalidField, match=r"from_statsmodels\(model, reference\)\.model\) of modelward\.onnx_"):
        await client.register(name, sm.OLS(RETURNS, X).fit())


def test_files_of_pytorch_and_keras_are_not_opened(tmp_path: Path) -> None:
    for file in ("model.pt", "model.keras"):
        with zipfile.ZipFile(tmp_path / file, "w") as archive:
            archive.writestr("model/data.pkl" if file == "model.pt" else "config.json", pickle.dumps({"weights": 1}))
    numbers = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}, {"weights": 1})
    (tmp_path / "model.pth").write_bytes(b"".join(pickle.dumps(one, 2) for one in numbers))
    (tmp_path / "model.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100) + b".")
    assert [format_of_file(path) for path in sorted(tmp_path.iterdir())] == [None] * 4


async def test_a_module_of_pytorch_predicts_the_same_as_onnx(client: AsyncClient, name: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnxscript")
    layers = torch.nn.Linear(2, 8), torch.nn.ReLU(), torch.nn.Dropout(), torch.nn.Linear(8, 2), torch.nn.Softmax(dim=1)
    module = torch.nn.Sequential(*layers)
    exported = from_torch(module, X, classes=["down", "up"])
    assert exported.parity.max_absolute < 1e-5
    assert module.training
    with torch.inference_mode():
        expected = module.eval()(torch.tensor(X.to_numpy(np.float32))).numpy()
    version = await client.register(name, exported.model, metrics=exported.metrics)
    model = await client.load(version)
    np.testing.assert_allclose(model.predict_proba(REFERENCE), expected, atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(REFERENCE[:1]), expected[:1], atol=1e-5)
    with pytest.raises(errors.InvalidField, match="probabilities"):
        from_torch(module[:-1], X, classes=["down", "up"])
    with pytest.raises(errors.InvalidField, match=r"from_torch\(model, reference\)"), warnings.catch_warnings():
        await client.register(name, module)
