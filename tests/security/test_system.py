"""Settings without any secret, and the servers that share a ledger."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from modelward import Client, errors
from modelward.caller import Role
from modelward_server.rpc.system import shown_settings
from modelward_server.settings import Settings
from modelward_server.storage.replicas import Replicas
from tests.security.test_tokens import token_of
from tests.support.running_server import RunningServer
from tests.support.waiting import eventually

MARK = "sesame"
SECRETS: dict[str, Any] = {
    "database_url": f"postgresql+psycopg://ada:{MARK}@db/ledger",
    "mlflow_uri": f"https://ada:{MARK}@mlflow.example",
    "webhooks": (f"https://hooks.example/{MARK}", f"https://hooks.example/?token={MARK}"),
    "webhooks_secret": f"whsec_{MARK}",
    "signing_key": f"pkcs11:token=t;object=o?module-path=m&pin-value={MARK}",
    "timestamp_url": f"https://tsa.example/{MARK}",
}
"""Settings that may hold a secret, each with one."""
URLS: dict[str, Any] = {
    "jwt_keys": f"https://ada:{MARK}@idp.example/keys?key={MARK}",
    "dask_scheduler": f"tls://ada:{MARK}@10.0.0.5:8786",
    "allowed_sources": (f"s3://ada:{MARK}@bucket/q3", f"https://files.example/?signature={MARK}"),
}
"""Settings whose URLs may hold one."""
NO_SECRETS = {"tls_key", "trusted_evidence_keys", "trusted_signers", "trusted_types", "webhooks_private"}
"""Paths of a secret file and of public keys, names of types, and whether private addresses are allowed."""


def test_no_secret_of_any_setting_is_shown() -> None:
    settings = Settings.model_construct(**SECRETS, **URLS)
    shown = {setting.name: setting for setting in shown_settings(settings)}
    assert shown.keys() == Settings.model_fields.keys()
    assert {name for name, setting in shown.items() if setting.secret} == SECRETS.keys()
    assert MARK not in json.dumps([setting.to_dict() for setting in shown.values()])
    for name in SECRETS:
        assert (shown[name].value, shown[name].given, shown[name].shown) == ("", True, "set")
    assert shown["jwt_keys"].value == "https://***@idp.example/keys?***"
    assert (shown["port"].value, shown["port"].given, shown["auth"].value) == ("50061", False, "false")
    assert {one.shown for one in shown_settings(Settings.model_construct()) if one.secret} == {"not set"}


def test_a_setting_that_is_a_secret_by_its_name_is_treated_as_one() -> None:
    suspect = re.compile("secret|password|token|credential|webhook|trusted|_key$|_url$|_uri$")
    named = {name for name in Settings.model_fields if suspect.search(name)}
    assert {name for name in named - NO_SECRETS if Settings.model_fields[name].repr} == set()


@pytest.mark.system
def test_servers_of_a_ledger_are_listed_until_they_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    running = RunningServer(Settings(port=0, data_dir=tmp_path, auth=True, webhooks_secret=MARK))
    other = Replicas(running.app.ledger)
    with Client(running.target, token=token_of(running, "otto", Role.OPERATOR)) as client:
        own = client.get_system().replica_id
        eventually(lambda: client.get_system().replicas)

        def others() -> list[tuple[str, bool]]:
            return [(one.address, one.silent) for one in client.get_system().replicas if one.replica_id != own]

        other.beat("10.0.0.7:50061")
        system = client.get_system()
        assert MARK not in json.dumps(system.to_dict())
        [first, second] = system.replicas
        assert (first.address, first.replica_id, second.address) == (running.target, own, "10.0.0.7:50061")
        assert datetime.now(UTC) - first.started_at < timedelta(minutes=10)
        other.leave()
        assert others() == []
        other.beat("10.0.0.7:50061")
        with monkeypatch.context() as patched:
            patched.setattr("modelward_server.storage.replicas.SILENT_AFTER", timedelta(0))
            assert others() == [("10.0.0.7:50061", True)]
            patched.setattr("modelward_server.storage.replicas.FORGOTTEN_AFTER", timedelta(0))
            running.app.replicas.beat(running.target)
            assert others() == []
    for role, models in ((Role.VIEWER, ()), (Role.TRAINER, ()), (Role.ADMIN, ("spx-",))):
        token = token_of(running, "vera", role, *models)
        with Client(running.target, token=token) as client, pytest.raises(errors.PermissionDenied):
            client.get_system()
    running.stop()
    again = RunningServer(Settings(port=0, data_dir=tmp_path))
    with Client(again.target) as client:
        own = client.get_system().replica_id
        eventually(lambda: [one.replica_id for one in client.get_system().replicas] == [own])
    again.stop()
