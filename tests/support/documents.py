"""The documentation, taken apart: its blocks of code, the commands in them, and what stands in the text as code."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

FENCED = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?<=\n\n) {4}\S.*\n(?: {4}.*\n|\n(?= {4}))*")
PROGRAMS = {"apt-get", "buf", "cd", "cmake", "curl", "docker", "export", "go", "grpcurl", "mlflow", "modelward"}
PROGRAMS |= {"node", "npm", "pip", "protoc", "pytest", "python", "ruff", "mypy", "source"}
"""What an indented block begins with that is not a formula but something to type."""


@dataclass(frozen=True)
class Block:
    """A block of code.

    Attributes:
        document: the file's path in the repository, as "docs/jobs.md".
        line: the line that it begins on, counted from 1.
        language: what its fence says, as "python"; "sh" for an indented block of commands.
        text: the code.
        indented: whether it has no fence.
    """

    document: str
    line: int
    language: str
    text: str
    indented: bool = False

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"

    @property
    def first_line(self) -> str:
        return self.text.splitlines()[0].strip()

    @property
    def runs(self) -> bool:
        """Whether it is part of the document's Python program."""
        return self.language == "python" and self.file is None

    @property
    def file(self) -> str | None:
        """The file that a Python block is, where its first line is a comment that names one."""
        named = self.language == "python" and re.fullmatch(r"# (\S+\.py)", self.first_line)
        return named[1] if named else None


@dataclass(frozen=True)
class Command:
    """One command of a block, and what the documentation shows of its answer."""

    document: str
    line: int
    typed: str
    shown: str

    @property
    def first_line(self) -> str:
        return self.typed.splitlines()[0].strip()

    def __str__(self) -> str:
        return f"{self.document}:{self.line} {' '.join(self.typed.split()[:4])}"


def blocks(path: Path) -> list[Block]:
    """Return a document's blocks in their order."""
    text, document = path.read_text(), str(path.relative_to(ROOT))
    fenced = [Block(document, _line(text, match.start(2)), match[1], match[2]) for match in FENCED.finditer(text)]
    bare = FENCED.sub(lambda match: "\n" * match[0].count("\n"), text)
    indented = [Block(document, _line(bare, match.start()), "sh", match[0], True) for match in INDENTED.finditer(bare)]
    typed = [block for block in indented if block.first_line.split()[0] in PROGRAMS]
    return sorted([*fenced, *typed], key=lambda block: block.line)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block: what follows a `$` in a console, and all of a shell script at once."""
    if block.language == "sh":
        yield Command(block.document, block.line, block.text, "")
    if block.language == "console":
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            typed, shown = _split(part)
            yield Command(block.document, block.line, typed, shown)


def _split(part: str) -> tuple[str, str]:
    """Part what is typed, which ends where its quotes are closed, from the answer."""
    lines = part.splitlines(keepends=True)
    ends = (end for end in range(1, len(lines) + 1) if _whole("".join(lines[:end])))
    end = next(ends, len(lines))
    return "".join(lines[:end]).strip(), "".join(lines[end:])


def _whole(typed: str) -> bool:
    try:
        shlex.split(typed, comments=True)
    except ValueError:  # A quote that is open.
        return False
    return not typed.endswith("\\\n")


def spans(path: Path) -> list[str]:
    """Return what stands as code within the text of a document, each once."""
    return list(dict.fromkeys(re.findall(r"`([^`\n]+)`", FENCED.sub("", path.read_text()))))


def links(path: Path) -> list[tuple[str, str]]:
    """Return the files of the repository that a document links to, and the heading in each or nothing."""
    text = FENCED.sub("", path.read_text())
    found = re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?\)", text)
    return [(target, heading) for target, heading in found if "://" not in target]


def headings(path: Path) -> set[str]:
    """Return the names by which a document's headings are linked to."""
    titles = re.findall(r"^#+ (.+)$", FENCED.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
