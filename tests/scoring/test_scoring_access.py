"""Who may let scoring record what, and what its metrics count."""

import hashlib
import re
from collections.abc import Iterator
from urllib.request import urlopen
from uuid import uuid4

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from modelward import Client, errors
from modelward.caller import Role
from modelward_server.security import grants
from modelward_server.security.admin_session import admin_session
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.system  # Takes seconds.

ROWS = pd.DataFrame(np.random.default_rng(5).normal(size=(200, 2)), columns=["a", "b"])
IDS = [str(number) for number in range(len(ROWS))]
SHARE = 0.25


@pytest.fixture(scope="module")
def scoring_settings() -> dict[str, object]:
    return {"auth": True, "metrics_port": 0, "score_log": SHARE}


@pytest.fixture(scope="module")
def founder(scoring_server: RunningServer) -> Iterator[Client]:
    with client_of(scoring_server, "founder", Role.ADMIN) as founder:
        for name in ("spx", "ndx"):
            for _ in range(2):
                version = founder.register(name, LinearRegression().fit(ROWS, ROWS.a), reference=ROWS)
            founder.promote(version, to="staging")
            founder.promote(version, to="production", reason="it passed its tests")
        founder.create_ab_test("exits", {"a": "ndx/1", "b": "ndx/2"}, primary_metric="pnl_bps")
        yield founder


def client_of(running: RunningServer, name: str, role: Role, *models: str) -> Client:
    with admin_session(running.settings) as (session, caller):
        return Client(running.target, token=grants.create_token(session, name, role, models, None, caller))


def test_only_trainers_may_observe(scoring_server: RunningServer, founder: Client) -> None:
    with client_of(scoring_server, "desk", Role.VIEWER) as viewer:
        assert len(viewer.score("spx", ROWS).predictions) == len(ROWS)
        with pytest.raises(errors.RoleTooLow, match="desk has the role viewer, and observe requires trainer"):
            viewer.score("spx", ROWS, observe=True, ids=IDS)
    with client_of(scoring_server, "trainer", Role.TRAINER) as trainer:
        assert len(trainer.score("spx", ROWS, observe=True, ids=IDS).predictions) == len(ROWS)


def test_tests_of_foreign_models_are_refused_as_those_that_do_not_exist(
    scoring_server: RunningServer, founder: Client
) -> None:
    with client_of(scoring_server, "equities", Role.VIEWER, "spx") as viewer:
        for test in ("exits", "nothing"):
            with pytest.raises(errors.ModelNotAllowed, match=f"the ab_test '{test}' is not of one of them"):
                viewer.score("spx", ROWS, ab_test=test, unit="u")


def is_logged(request_id: str) -> bool:
    """Return whether a call is among the share that is logged, as the documentation defines it."""
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:8], "big") < SHARE * 2**64


def test_the_log_has_its_share_of_the_calls_with_proven_names_and_each_client_sees_its_models(
    scoring_server: RunningServer, founder: Client
) -> None:
    ids = [str(uuid4()) for _ in range(30)]
    expected = {request_id for request_id in ids if is_logged(request_id)}
    assert 0 < len(expected) < len(ids)
    with client_of(scoring_server, "logger", Role.VIEWER) as viewer:
        for request_id in ids:
            found = [viewer.score(model, ROWS, request_id=request_id) for model in ("spx", "ndx")]
            assert [one.request_id for one in found] == [request_id] * 2
        eventually(lambda: len(viewer.list_scores(actor="logger")) >= 2 * len(expected))
        records = list(viewer.list_scores(actor="logger"))
        assert {(one.request_id, one.version.model) for one in records} == {
            (request_id, model) for request_id in expected for model in ("spx", "ndx")
        }
        assert all(one.authenticated for one in records)
    with client_of(scoring_server, "index", Role.VIEWER, "ndx") as restricted:
        assert {one.version.model for one in restricted.list_scores(actor="logger")} == {"ndx"}
        with pytest.raises(errors.ModelNotAllowed):
            list(restricted.list_scores("spx"))


def test_metrics_tell_the_parts_of_scoring_and_the_loaded_models(
    scoring_server: RunningServer, founder: Client
) -> None:
    before = scraped(scoring_server)
    for _ in range(3):
        founder.score("spx", ROWS)
    told = scraped(scoring_server)
    for part in ("queue", "transport", "model"):
        name = f'modelward_scoring_seconds_count{{part="{part}"}}'
        assert told[name] == before.get(name, 0) + 3
    assert told['modelward_scoring_seconds_sum{part="model"}'] > 0
    assert told["modelward_scoring_processes"] >= 1
    assert told["modelward_scoring_memory_bytes"] > 1 << 20
    for kind in ("exposures", "observations", "scores"):
        assert told[f'modelward_scoring_records_lost_total{{kind="{kind}"}}'] == 0


def scraped(server: RunningServer) -> dict[str, float]:
    """Return what a scrape tells, by name and labels."""
    with urlopen(f"http://127.0.0.1:{server.app.metrics_port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        text = answer.read().decode()
    return {name: float(value) for name, value in re.findall(r"^([^#\n]\S*) (\S+)$", text, re.MULTILINE)}
