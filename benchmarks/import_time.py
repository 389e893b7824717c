"""Time to import the client, beside `import grpc` alone.

    python benchmarks/import_time.py [--runs 15] [--before TREE]

Each figure is that of fresh processes, one of each kind in turn, from the program's first line to its last: the median
by the clock, and the median, the least and the most of the processor's time, which other load distorts less and of
which the ratio is. The client resolves once at a server that this script starts. With --before the same is measured of
another tree, such as a `git worktree` of an earlier commit.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from modelward import Client
from modelward.errors import Unavailable

ROOT = Path(__file__).parents[1]
MAX_SECONDS = 300.0
PEER = "import grpc"
PROGRAMS = {
    PEER: PEER,
    "import modelward": "import modelward",
    "import modelward, and a Client": "import modelward; modelward.Client('{target}')",
    "the same, and resolve": "import modelward; modelward.Client('{target}').resolve('momentum')",
    "modelward --help": "import sys; sys.argv[1:] = ['--help']\n{command}",
    "modelward <TAB>": "import os; os.environ.update({completion})\n{command}",
}
COMPLETION = {"_MODELWARD_COMPLETE": "bash_complete", "COMP_WORDS": "modelward ", "COMP_CWORD": "1"}
COMMAND = """
import contextlib
from modelward.cli.commands import cli
with contextlib.suppress(SystemExit):
    cli(prog_name="modelward")
"""
TIMED = """
import sys, time
begun, used = time.perf_counter(), time.process_time()
{code}
print(time.perf_counter() - begun, time.process_time() - used, file=sys.stderr)
"""
Took = dict[tuple[str, str], list[tuple[float, float]]]
"""The seconds by the clock and of the processor of each process, for each program and tree."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=15, help="how many processes of each kind are started")
    parser.add_argument("--before", type=Path, metavar="TREE", help="another tree, which is measured beside this one")
    given = parser.parse_args()
    trees = {"now": ROOT} | ({"before": given.before.resolve()} if given.before else {})
    with tempfile.TemporaryDirectory() as folder, _server(Path(folder)) as target:
        took = _measured(trees, target, given.runs)
    _print(took)


def _measured(trees: Mapping[str, Path], target: str, runs: int) -> Took:
    """Return the seconds of each program in each tree; the first round, which may compile modules, is not counted."""
    kinds = [(name, tree) for name in PROGRAMS for tree in trees if name != PEER or tree == "now"]
    took: Took = {kind: [] for kind in kinds}
    for _ in range(runs + 1):
        for name, tree in kinds:
            took[name, tree].append(_seconds(PROGRAMS[name], trees[tree], target))
    return {kind: seconds[1:] for kind, seconds in took.items()}


def _seconds(program: str, tree: Path, target: str) -> tuple[float, float]:
    """Run a program in a process of its own and return its time by the clock and that of the processor.

    The start of Python is not part of it.
    """
    code = program.format(target=target, completion=COMPLETION, command=COMMAND)
    timed = TIMED.format(code=code)
    done = subprocess.run(
        [sys.executable, "-c", timed], env=_environment(tree), capture_output=True, text=True, check=True
    )
    elapsed, processor = map(float, done.stderr.split())
    return elapsed, processor


def _environment(tree: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{tree / 'client'}{os.pathsep}{tree / 'server'}"}


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """Start a server with a version in production, and yield its address."""
    target = f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-m", "modelward", "serve", "--port", target.rpartition(":")[2]]
    command += ["--data-dir", str(folder / "data")]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=_environment(ROOT)) as process,
    ):
        try:
            _prepare(target, folder)
            yield target
        finally:
            process.terminate()


def _prepare(target: str, folder: Path) -> None:
    model = folder / "model.bin"
    model.write_text("weights")
    end = time.monotonic() + MAX_SECONDS
    with Client(target, timeout=MAX_SECONDS) as client:
        while not _answers(client) and time.monotonic() < end:
            pass
        version = client.register("momentum", model)
        for stage in ("staging", "production"):
            client.promote(version, to=stage, reason="it passed its tests")


def _answers(client: Client) -> bool:
    try:
        client.get_caller()
    except Unavailable:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _print(took: Took) -> None:
    table = Table("milliseconds", "tree", "clock", "processor", "least", "most", f"times {PEER}")
    peer = statistics.median(used for _, used in took[PEER, "now"])
    for (name, tree), seconds in took.items():
        clock, processor = zip(*seconds, strict=True)
        median = statistics.median(processor)
        figures = (statistics.median(clock), median, min(processor), max(processor))
        table.add_row(name, tree, *(f"{1000 * figure:.0f}" for figure in figures), f"{median / peer:.2f}")
    Console(width=100).print(table, f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
