"""The way onto a network, as docs/security.md has it: a token, a server with TLS, the command and grpcurl."""

import re
from pathlib import Path

from tests.support.document_runner import DocumentRunner, issue_certificates
from tests.support.documents import ROOT, Command, blocks, spans

PAGE = ROOT / "docs" / "security.md"


def test_a_token_lets_its_holder_in(tmp_path: Path) -> None:
    issue_certificates(tmp_path)
    [block] = [block for block in blocks(PAGE) if block.text.startswith("modelward token create")]
    [by_hand] = [span for span in spans(PAGE) if span.startswith("grpcurl ")]
    create, serve, look = block.text.splitlines()
    reader = DocumentRunner(tmp_path, "")
    [token] = re.findall(r"mw_\S+", reader.said(create))
    with reader.started(Command(block.document, block.line, serve, ""), "listens on") as told:
        [port] = re.findall(r"127\.0\.0\.1:(\d+)", told)
        place = f"localhost:{port}"
        assert "there is no model yet" in reader.said(look.replace("mw_...", token).replace("models:50061", place))
        services = reader.said(f"export MODELWARD_TOKEN={token}; {by_hand.replace('models:50061', place)}")
        assert "modelward.v1.LifecycleService" in services
        reader.said(look.replace("mw_...", "mw_wrong").replace("models:50061", place), fails=True)
    reader.close()
