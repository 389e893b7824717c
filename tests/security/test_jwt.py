"""A server that takes the JWTs of an identity provider."""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm
from pydantic import ValidationError

from modelward import AsyncClient, Caller, Client, Role
from modelward.errors import NotAuthenticated, RoleTooLow
from modelward_server.settings import Settings
from tests.support.running_server import RunningServer

ISSUER = "https://login.example.com/"
KEY = rsa.generate_private_key(65537, 2048)


def signed(**claims: Any) -> str:
    good = {"iss": ISSUER, "aud": "modelward", "sub": "ada@example.com", "exp": time.time() + 60}
    return jwt.encode(good | claims, KEY, "RS256", headers={"kid": "one"})


@pytest.mark.system
async def test_a_server_takes_them(tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text(json.dumps({"keys": [RSAAlgorithm.to_jwk(KEY.public_key(), as_dict=True) | {"kid": "one"}]}))
    settings = Settings(port=0, data_dir=tmp_path / "data", jwt_keys=str(keys), jwt_issuer=ISSUER)
    running = RunningServer(settings)
    with Client(running.target, token=signed(modelward_role="trainer")) as client:
        client.create_model("spx")
        (record,) = client.export_audit_log()
        assert record.actor == "ada@example.com"
        with pytest.raises(RoleTooLow):
            client.halt("spx", reason="no right to")
    end = int(time.time()) + 600
    limited = signed(modelward_role="operator", modelward_models=["spx-"], exp=end)
    async with AsyncClient(running.target, token=limited) as known:
        ends = datetime.fromtimestamp(end, UTC)
        assert await known.get_caller() == Caller("ada@example.com", Role.OPERATOR, ("spx-",), ends, authenticated=True)
    async with AsyncClient(running.target, token=signed(modelward_role="trainer", exp=time.time() - 60)) as late:
        with pytest.raises(NotAuthenticated):
            await late.get_model("spx")
    running.stop()


@pytest.mark.parametrize(
    ("given", "words"),
    [({"jwt_keys": "keys.json"}, "--jwt-issuer"), ({"jwt_keys": "http://login.example.com/keys"}, "https://")],
)
def test_settings_that_prove_nothing_are_refused(given: dict[str, str], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Settings(**given)  # type: ignore[arg-type]
