"""The documentation is true: its programs run in their order, its commands answer as it says, what it names exists.

Every block of README.md and docs/ is run, also those that will be added. A fence says what is done with it:

- `python`: all such blocks of a document are one program. One whose first line is a comment with a file's name, as
  `# trading/models.py`, is written there before.
- `console`: each line that begins with `$` is run, and must answer with the words that are shown; times, figures and
  `...` aside. What is shown as `ERROR` must fail. Servers and workers are started and stopped.
- `sh`, and an indented block that begins with a program's name: run as one script.
- `json`: read.
- `toml`: read as a configuration file.
- `text`: not run. `NOT_RUN` has the reason for each.
"""

import ast
import inspect
import json
import re
import shlex
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import click
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from modelward import Client
from modelward.cli.commands import cli
from modelward.shared.profiles import Configuration
from tests.evidence.test_pack import write_key
from tests.support.document_runner import TARGET, DocumentRunner, issue_certificates
from tests.support.documents import DOCUMENTS, ROOT, Command, blocks, commands, headings, links, spans
from tests.support.server_process import ServerProcess

BLOCKS = [block for document in DOCUMENTS for block in blocks(document)]
SERVE = "modelward serve --data-dir my-registry"
"""How the README starts the server that everything else is run on."""
ELSEWHERE = {SERVE: "the fixture `reader`"} | dict.fromkeys(
    (
        "cmake -S examples/cpp -B build && cmake --build build",
        "cd examples/node && npm install",
        "mkdir -p go/src/modelward.example && cp -r examples/go go/src/modelward.example/client",
    ),
    "test_languages.py",
)
"""What is run, but not one by one: the first line, and where it is."""
COMMANDS = [command for block in BLOCKS for command in commands(block) if command.first_line not in ELSEWHERE]
SPANS = [(document.name, span) for document in DOCUMENTS for span in spans(document)]
FOLDERS = ("tests/", "benchmarks/", "deploy/", "docs/", "examples/", "protos/", "client/", "server/")
LANGUAGES = {"python", "console", "sh", "json", "toml", "text"}

NOT_RUN = {
    "location / {": "configures nginx, which is not installed here",
    "pip install -e '.[server]' && modelward demo    # run the demo on ten years of the S&P 500": (
        "installs, which .ci/run does, and takes a minute; test_demo.py runs the demo"
    ),
    "poe generate && poe image && poe protos": (
        "writes into the checkout; tests/architecture compares the released contract"
    ),
    "import numpy as np": "needs Triton's client and a server that scores; test_inference_clients.py runs it",
    "openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out evidence.pem": (
        "starts servers that go on, one with a token; test_pack.py and test_pkcs11.py sign with such keys"
    ),
    "modelward serve --signing-key evidence.pem --timestamp-url https://tsa.example/tsr": (
        "needs the network; test_timestamps.py starts an authority"
    ),
    "python -m model_signing verify key versions/carry/1/files --public_key evidence.pub "
    "--signature versions/carry/1/server-signature.json": "needs a server with a key; test_pack_signatures.py runs it",
    "rm -rf dist && poe build": "writes into the checkout; test_base_install.py builds and installs the wheel",
    "python3.11 -m venv client && client/bin/pip install $CHECKOUT/dist/*.whl -c $CHECKOUT/constraints.txt": (
        "installs for minutes; test_base_install.py installs the client, test_demo.py runs the demo"
    ),
    'git tag --annotate vVERSION --message "Modelward VERSION" && git push origin vVERSION': "publishes",
    "POSTGRES_PASSWORD=... docker compose --file deploy/compose.yaml up --build --detach --wait": "needs an engine",
    "kubectl create secret generic modelward-tls --from-file=tls.crt --from-file=tls.key --from-file=ca.crt": (
        "needs a cluster"
    ),
    "console         the registry in a browser, a client of the contract": "the picture of the layers",
    "$ modelward watch spx-direction": "runs until Ctrl-C; tests/cli/test_watch.py runs such commands",
    '$ modelward drills start spx-direction --reason "yearly test of the kill switch"': (
        "fails where no engine runs; tests/cli/test_drills.py runs such commands"
    ),
    "modelward serve --console-port 50062": "takes the ports; tests/console starts such servers",
    "modelward console --server localhost:50061": "takes the port; tests/console serves the same",
    "mlflow ui --backend-store-uri sqlite:///my-registry/mlflow.db": "MLflow's own; test_demo.py reads the same",
    "modelward worker --queue gpu --dask tcp://10.0.0.5:8786 trading.models:train": (
        "needs a cluster; tests/retraining starts one"
    ),
    "pip install 'modelward[server,otel]'": "needs a collector; test_telemetry.py is one",
    "modelward serve --log-format json --log-calls": "takes the port; tests/observability starts such servers",
    "modelward serve --trusted-signers /etc/modelward/trusted": "takes the port; tests/evidence starts such servers",
    "modelward token create ada --role operator": "needs the token that it prints; test_network_page.py does it",
    "modelward serve --database-url postgresql+psycopg://… --mlflow-uri http://… --blobs-dir /mnt/models …": (
        "needs PostgreSQL and MLflow; test_failover.py starts several such servers"
    ),
    "build/modelward-example localhost:50061 score screen momentum=1.2 volume=0.3": (
        "needs toolchains; test_languages.py scores with both programs"
    ),
    "from modelward.onnx_export import from_torch": "needs PyTorch; tests/client/test_onnx_export.py does it",
    "apt-get install g++ cmake pkg-config libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc": (
        "needs root; .ci/run does it"
    ),
    "apt-get install default-jdk-headless protobuf-compiler protobuf-compiler-grpc-java-plugin \\": (
        "needs root, and a Java that few have"
    ),
    "apt-get install golang-go golang-google-grpc-dev golang-github-golang-protobuf-1-5-dev protobuf-compiler \\": (
        "needs root"
    ),
}
"""The first line of each `text` block, and why it is not run."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("reader")


@pytest.fixture(scope="module")
def reader(folder: Path) -> Iterator[DocumentRunner]:
    env = {"MODELWARD_SCORING_PROCESSES": "8", "MODELWARD_SCORE_LOG": "1"}
    env["MODELWARD_SIGNING_KEY"] = str(write_key(folder, "evidence"))
    env["MODELWARD_TRUSTED_EVIDENCE_KEYS"] = str(folder / "evidence.pub")
    server = ServerProcess(folder / SERVE.rsplit(maxsplit=1)[-1], folder / "log", env=env)
    issue_certificates(folder)
    for name in ("protos", "buf.yaml"):
        (folder / name).symlink_to(ROOT / name)
    prepare(server.target)
    reader = DocumentRunner(folder, server.target)
    for block in BLOCKS:
        if block.file:
            reader.write(block)
    yield reader
    reader.close()
    server.kill()


def prepare(target: str) -> None:
    """Let there be what documents beside the README take for granted: a model in production, and a rival."""
    x = np.random.default_rng(3).normal(size=(400, 2))
    with Client(target) as client:
        for strength in (1.0, 0.1):
            model = LogisticRegression(C=strength).fit(x, x[:, 0] > 0)
            version = client.register("spx-direction", model, reference={"momentum": x[:, 0], "volume": x[:, 1]})
            client.promote(version, to="staging")
        client.promote("spx-direction/1", to="production", reason="the first")


@pytest.fixture(scope="module")
def printed(reader: DocumentRunner) -> Callable[[str], str]:
    """Give a function that says what a document's Python programs print; each runs once, the README's first."""

    @cache
    def run(document: str) -> str:
        if document != "README.md":
            run("README.md")
        program = [block for block in BLOCKS if block.document == document and block.runs]
        return reader.program(program) if program else ""

    return run


def steps() -> Iterator[str | Command]:
    """Yield, document by document, the document's name for its Python program, and then its commands."""
    for document in dict.fromkeys(block.document for block in BLOCKS):
        yield document
        yield from (command for command in COMMANDS if command.document == document)


@pytest.mark.parametrize("step", list(steps()), ids=str)
def test_it_does_what_it_says(step: str | Command, reader: DocumentRunner, printed: Callable[[str], str]) -> None:
    if isinstance(step, Command):
        printed(step.document)
        reader.run(step)
        return
    remaining = iter(printed(step).splitlines())
    for line in re.findall(r"^print\(.*\)  # ((?:True|False|\S+/\d).*)$", (ROOT / step).read_text(), re.MULTILINE):
        assert line in remaining  # In this order: what was looked at is used up.


def test_every_block_says_what_it_is() -> None:
    for document in DOCUMENTS:
        fences = re.findall(r"^\s*(?:```|~~~).*$", document.read_text(), re.MULTILINE)
        fenced = [block for block in blocks(document) if not block.indented]
        assert len(fences) == 2 * len(fenced), (
            f"{document.name} has a fence that cannot be read: one word behind it, no indent"
        )
    assert {block.place: block.language for block in BLOCKS if block.language not in LANGUAGES} == {}


def test_what_is_run_elsewhere_is_there() -> None:
    assert set(ELSEWHERE) <= {command.first_line for block in BLOCKS for command in commands(block)}


def test_what_is_not_run_is_listed_with_its_reason() -> None:
    assert {block.first_line for block in BLOCKS if block.language == "text"} == set(NOT_RUN)


def test_json_is_json() -> None:
    for block in BLOCKS:
        if block.language == "json":
            json.loads(block.text)


def test_toml_is_a_configuration_of_valid_profiles(tmp_path: Path) -> None:
    for block in BLOCKS:
        if block.language == "toml":
            file = tmp_path / "config.toml"
            file.write_text(block.text)
            configuration = Configuration(file)
            assert [configuration.profile(name).server for name in configuration.names]


@pytest.mark.parametrize("span", [span for _, span in SPANS if span.startswith("modelward ")])
def test_the_commands_in_the_text_exist_with_their_flags(span: str) -> None:
    command, context = cli, click.Context(cli)
    words = shlex.split(span)[1:]
    while words[0].startswith("--"):  # An option of all commands, with its value.
        assert words[0] in {option for parameter in cli.params for option in parameter.opts}
        words = words[2:]
    named = iter(words)
    while isinstance(command, click.Group) and (word := next(named, "COMMAND")) != "COMMAND":
        found = command.get_command(context, word)
        assert found, f"modelward has no {word}"
        command = found  # type: ignore[assignment]
    known = {option for parameter in command.get_params(context) for option in parameter.opts} | {"--help"}
    own = words[: words.index("--")] if "--" in words else words
    assert {word for word in own if word.startswith("-")} <= known


@pytest.mark.parametrize("span", [span for _, span in SPANS if span.startswith("grpcurl ") and TARGET in span])
def test_the_calls_by_hand_in_the_text_are_answered(span: str, reader: DocumentRunner) -> None:
    reader.run(Command("", 0, span, ""))


@pytest.mark.parametrize("span", [span for _, span in SPANS if span.startswith("python ")])
def test_the_scripts_in_the_text_exist_with_their_flags(span: str) -> None:
    _, script, *flags = shlex.split(span)
    source = (ROOT / script).read_text()
    assert all(f'"{flag}"' in source for flag in flags if flag.startswith("--"))


def test_the_files_in_the_text_exist() -> None:
    named = {word for _, span in SPANS for word in span.split() if word.startswith(FOLDERS)}
    assert {name for name in named if not (ROOT / name).exists()} == set()


def test_the_links_lead_somewhere() -> None:
    for document in DOCUMENTS:
        for target, heading in links(document):
            linked = (document.parent / target).resolve() if target else document
            assert linked.exists(), f"{document.name}: {target}"
            assert not heading or heading in headings(linked), f"{document.name}: {target}#{heading}"


@pytest.mark.parametrize("span", [span for _, span in SPANS if "mw." in span])
def test_the_calls_in_the_text_exist_with_their_arguments(span: str) -> None:
    for node in ast.walk(ast.parse(span)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "mw":
            known = inspect.signature(getattr(Client, node.func.attr)).parameters
            assert {keyword.arg for keyword in node.keywords} <= known.keys()
