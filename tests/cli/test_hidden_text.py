"""Nothing that others wrote drives the terminal, turns a line around or hides, wherever a command shows it."""

import json
import unicodedata
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from click.testing import CliRunner, Result
from rich.text import Text

from modelward import errors
from modelward._text import one_line, visible, visible_json
from modelward.cli.commands import cli
from modelward.cli.output import Failure, Output, as_json
from modelward.cli.remote import _lines
from modelward.v1 import lifecycle_pb2 as pb
from tests.support.misbehaving_server import MisbehavingServer, misbehaving_server

C0 = [chr(code) for code in range(0x20) if chr(code) not in "\t\n"] + ["\x7f"]
C1 = [chr(code) for code in range(0x80, 0xA0)]
BIDI = list("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
INVISIBLE = list("\u00ad\u034f\u115f\u180e\u200b\u200c\u200d\u2028\u2029\u2060\u2800\u3164\ufe0f\ufeff\uffa0\U000e0041")
HIDDEN = [*C0, *C1, *BIDI, *INVISIBLE, "\ud800", "\udcff"]
SHOWN = "naïve, 日本語, עברית, العربية, 😀, €, ∑, e\u0301, \u00a0"
NASTY = "a" + "".join(char for char in HIDDEN if not "\ud800" <= char <= "\udfff") + "\nb\tc" + SHOWN


def hidden_in(text: str) -> list[str]:
    """Return the control and format characters of a text but for tabs and the breaks of its lines."""
    return [
        char for char in text if char not in "\t\n" and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}
    ]


@pytest.mark.parametrize("char", HIDDEN, ids=lambda char: f"{ord(char):x}")
def test_what_is_hidden_is_written_out_and_means_the_same_in_json(char: str) -> None:
    assert visible(f"a{char}b") == f"a{char.encode('unicode_escape').decode()}b"
    document = visible_json(json.dumps({char: [char]}, ensure_ascii=False))
    assert document.isascii()
    assert json.loads(document) == {char: [char]}


def test_what_shows_stays_as_it_is() -> None:
    assert visible(f"{SHOWN}\n\t") == f"{SHOWN}\n\t"
    assert visible_json(json.dumps(SHOWN, ensure_ascii=False)) == f'"{SHOWN}"'
    assert one_line("a\n b\r\n\tc") == "a b\\r c"


@pytest.mark.parametrize("width", ["80", "4000"])
def test_tables_facts_and_sentences_show_nothing_hidden(
    width: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    out = Output()
    out.rows([1], ["a", "b"], lambda _: [NASTY, Text(NASTY, "red")], prose=("why", lambda _: NASTY), none="")
    out.rows([], ["a"], lambda _: [], none=NASTY)
    out.record({}, {"a": NASTY, "map": {NASTY: NASTY}, "text": Text(NASTY)}, NASTY, Text(NASTY, "dim"))
    out.say({}, NASTY)
    shown = capsys.readouterr().out
    assert hidden_in(shown) == []
    for part in ("\\x1b", "\\x9b", "\\u202e", "\\u200b", "日本語", "עברית"):
        assert part in shown


def test_json_shows_nothing_hidden_and_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    Output("json").say({NASTY: [NASTY, "\ud800"]}, "")
    shown = capsys.readouterr().out
    assert hidden_in(shown) == []
    assert "日本語" in shown
    assert json.loads(shown) == {NASTY: [NASTY, "\ud800"]}
    assert "\n" not in as_json({"a": NASTY})


def test_failures_show_nothing_hidden_and_make_no_lines_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    Failure(NASTY).show()
    assert hidden_in(capsys.readouterr().err) == []
    with misbehaving_server() as odd:
        odd.answers["GetModel"] = _fails
        done = _run(odd, "show", "m")
    assert done.exit_code == 1
    assert hidden_in(done.stderr) == []
    assert done.stderr.count("\n") == 1
    assert _lines(errors.GatesFailed(message="x"), "", 1.0)


def test_commands_show_nothing_hidden() -> None:
    model = pb.Model(name=NASTY, description=NASTY, tags={NASTY: NASTY}, halt=pb.Halt(actor=NASTY, reason=NASTY))
    record = pb.AuditRecord(sequence=1, actor=NASTY, kind=NASTY, payload=json.dumps(NASTY))
    with misbehaving_server() as odd:
        odd.answers["GetModel"] = lambda *_: [pb.GetModelResponse(model=model)]
        odd.answers["ListModels"] = lambda *_: [pb.ListModelsResponse(models=[model])]
        odd.answers["HaltModel"] = lambda *_: [pb.HaltModelResponse(model=model)]
        odd.answers["HaltModels"] = lambda *_: [pb.HaltModelsResponse(halted=[model], already_halted=[model])]
        odd.answers["GetCaller"] = lambda *_: [pb.GetCallerResponse(name=NASTY, model_prefixes=[NASTY])]
        odd.answers["ExportAuditLog"] = lambda *_: [pb.ExportAuditLogResponse(records=[record])]
        halts = (["halt", NASTY, "--reason", "r"], ["halt", "--all", "--reason", "r"])
        for command in (["show", "m"], ["models"], ["whoami"], *halts):
            for flags in ([], ["--json"]):
                assert hidden_in(_shown(odd, *command, *flags)) == []
        exported = _shown(odd, "audit", "export")
        assert hidden_in(exported) == []
        assert exported.count("\n") == 1
        assert json.loads(exported)["actor"] == NASTY
        assert json.loads(_shown(odd, "show", "m", "--json"))["name"] == NASTY


def _fails(_: Any, context: grpc.ServicerContext) -> Iterator[Any]:
    context.abort(grpc.StatusCode.NOT_FOUND, f"there is no {NASTY}")
    yield


def _shown(odd: MisbehavingServer, *arguments: str) -> str:
    done = _run(odd, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def _run(odd: MisbehavingServer, *arguments: str) -> Result:
    environment = {"MODELWARD_SERVER": odd.target, "MODELWARD_ACTOR": "ada", "COLUMNS": "4000"}
    return CliRunner(env=environment).invoke(cli, list(arguments))
