"""The dashboard and the alert rules ask for what a server really tells."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import numpy as np
import promql_parser
import pytest
import yaml

from modelward import Client
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer
from tests.support.waiting import PATIENCE_SECONDS

pytestmark = pytest.mark.system  # Takes seconds.

DOCS = Path(__file__).parents[2] / "docs"
ADDED_BY_PROMETHEUS = {"job", "instance", "le"}
VARIABLES = {"$__rate_interval": "5m", "$job": ".*", "$model": ".*"}


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the metrics of a server in use, each with its labels."""
    running = RunningServer(Settings(port=0, metrics_port=0, data_dir=tmp_path_factory.mktemp("data")))
    with Client(running.target) as client:
        version = client.register("spx", "README.md", reference={"x": np.arange(100.0)})
        client.promote(version, to="staging")
        client.promote(version, to="production", reason="it passed its tests")
        client.detect_drift(version, {"x": np.arange(100.0)})
        client.request_retraining("spx")
        client.resolve("spx")
    with urlopen(f"http://127.0.0.1:{running.app.metrics_port}/metrics", timeout=PATIENCE_SECONDS) as answer:
        lines = re.findall(r"^([a-z_]+)(\{.*\})? ", answer.read().decode(), re.MULTILINE)
    running.stop()
    return {name: set(re.findall(r"(\w+)=", labels)) for name, labels in lines}


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
    return found


def asked() -> Iterator[str]:
    for panel in dashboard()["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def parts(expression: str) -> list[Any]:
    for variable, value in VARIABLES.items():
        expression = expression.replace(variable, value)
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


@pytest.mark.parametrize("expression", sorted(set(asked())))
def test_each_question_is_one_that_a_server_answers(expression: str, told: dict[str, set[str]]) -> None:
    selectors = [part for part in parts(expression) if isinstance(part, promql_parser.VectorSelector)]
    assert selectors
    for selector in selectors:
        assert selector.name in told, expression
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= told[selector.name or ""] | ADDED_BY_PROMETHEUS
    for part in parts(expression):
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier:
            known = set().union(*(told[selector.name or ""] for selector in selectors))
            assert set(part.modifier.labels) <= known | ADDED_BY_PROMETHEUS


def test_the_dashboard_has_what_grafana_needs() -> None:
    found = dashboard()
    assert found["schemaVersion"] >= 36
    names = {variable["name"] for variable in found["templating"]["list"]}
    assert set(re.findall(r"\$\{?(?!__)(\w+)", json.dumps(found))) <= names
    places = [panel["gridPos"] for panel in found["panels"]]
    cells = [(x, y) for p in places for x in range(p["x"], p["x"] + p["w"]) for y in range(p["y"], p["y"] + p["h"])]
    assert len(cells) == len(set(cells))  # No panel lies on another.
    assert max(x for x, _ in cells) == 23
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))


def test_every_alert_says_what_to_do() -> None:
    (group,) = yaml.safe_load((DOCS / "alerts.yml").read_text())["groups"]
    for rule in group["rules"]:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert rule["annotations"]["summary"]
