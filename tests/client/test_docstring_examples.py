"""The examples in the SDK's docstrings are true: each runs on a server of its own model, and answers as shown."""

import ast
import doctest
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

import modelward
from modelward import AsyncClient, Client, assignment, retraining
from modelward_server.settings import Settings
from tests.evidence.test_pack import write_key
from tests.support.docstrings import methods
from tests.support.running_server import RunningServer
from tests.support.scale import FULL

pytestmark = pytest.mark.system  # Every example of the SDK is run.

NAME = "spx-trend"
"""The model of the examples, which has two versions: one in production, one in staging."""
CHECKER = doctest.OutputChecker()


def examples(cls: type) -> list[Any]:
    found = [(name, doctest.DocTestParser().get_examples(member.__doc__ or "")) for name, member in methods(cls)]
    return [pytest.param(cls, lines, id=f"{cls.__name__}.{name}") for name, lines in found if lines]


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("data")
    key = write_key(folder)
    trusted = (str(key.with_suffix(".pub")),)
    running = RunningServer(
        Settings(port=0, data_dir=folder, signing_key=str(key), trusted_evidence_keys=trusted, scoring_processes=8)
    )
    yield running.target
    running.stop()


@pytest.fixture
def given(target: str, tmp_path: Path) -> dict[str, Any]:
    """What an example may use beside the client."""
    X = np.random.default_rng(7).normal(size=(400, 2))  # noqa: N806 - as scikit-learn calls it
    y = (X[:, 0] + X[:, 1] / 9 > 0).astype(int)
    table = dict(zip(("momentum", "volume"), X.T, strict=True))
    model, name = LogisticRegression().fit(X, y), f"{NAME}-{uuid4().hex[:8]}"
    with Client(target) as mw:
        for strength, accuracy in ((1.0, 0.53), (0.1, 0.58)):
            fitted = LogisticRegression(C=strength).fit(X, y)
            version = mw.register(name, fitted, metrics={"accuracy": accuracy}, reference=table)
            mw.promote(version, to="staging")
            if strength == 1:
                mw.promote(version, to="production", reason="it passed its tests")
    folder = tmp_path / "cache"
    folder.mkdir()
    public = {name: getattr(modelward, name) for name in modelward.__all__}
    return {**public, "X": table, "y": y, "model": model, "folder": folder, "name": name}


@pytest.fixture
async def client(request: pytest.FixtureRequest, target: str) -> AsyncIterator[Client | AsyncClient]:
    cls = request.getfixturevalue("cls")
    if cls is AsyncClient:
        async with AsyncClient(target) as mw:
            yield mw
    else:
        with Client(target) as mw:
            yield mw


SYNC, ASYNC = examples(Client), examples(AsyncClient)
"""The examples of one client are derived from those of the other, so usually each is run with one of them."""


@pytest.mark.parametrize(("cls", "lines"), [*SYNC, *ASYNC] if FULL else [*SYNC[::2], *ASYNC[1::2]])
async def test_example_of_a_method_answers_as_shown(
    cls: type, lines: list[doctest.Example], client: Any, given: dict[str, Any]
) -> None:
    name = given.pop("name")
    given["mw"] = client
    for line in lines:
        said = (await printed(line.source.replace(NAME, name), given)).replace(name, NAME)
        assert CHECKER.check_output(line.want, said, doctest.ELLIPSIS), f"{line.source}\nanswers\n{said}"


async def printed(source: str, given: dict[str, Any]) -> str:
    """Run a line as the prompt does, which may await, and return what it prints."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    out = StringIO()
    with redirect_stdout(out):
        try:
            result = eval(compile(source, "<example>", "eval", flags), given)
        except SyntaxError:
            result = eval(compile(source, "<example>", "exec", flags), given)
        value = await result if inspect.iscoroutine(result) else result
        if value is not None:
            print(repr(value))
    return out.getvalue()


@pytest.mark.parametrize(
    "function", [assignment.bucket, assignment.ranges, assignment.fnv1a_32, retraining.triggers_of]
)
def test_example_of_a_function_answers_as_shown(function: Callable[..., Any]) -> None:
    [found] = doctest.DocTestFinder(recurse=False).find(function, globs=vars(inspect.getmodule(function)))
    assert found.examples
    assert doctest.DocTestRunner().run(found).failed == 0
