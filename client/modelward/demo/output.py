"""Console output of the demo: chapters, text and tables."""

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table

from modelward.shared.figures import statistic

BLOCKS = 12
"""Width of a bar, in characters."""


class DemoOutput:
    """Prints the demo's report to a console."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._chapters = 0

    def chapter(self, title: str) -> None:
        self._chapters += 1
        self.console.print()
        self.console.print(Rule(f"[bold]{self._chapters}. {title}", align="left", style="blue"))

    def say(self, text: str, indent: int = 3) -> None:
        self.console.print(Padding(text, (0, 0, 0, indent)))

    def row(self, fixed: str, text: str) -> None:
        """Print a row of two columns, of which only the second may wrap."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column()
        grid.add_row(fixed, text)
        self.console.print(Padding(grid, (0, 0, 0, 3)))

    def table(self, columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Sequence[str] = ()) -> None:
        """Print a table; the columns in `numbers` are right-aligned."""
        table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
        for column in columns:
            table.add_column(column, justify="right" if column in numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self.console.print(Padding(table, (1, 0, 1, 3)))


def bar(share: float) -> str:
    """Format a share from 0 to 1 as a bar."""
    full = round(share * BLOCKS)
    return "█" * full + "░" * (BLOCKS - full)


def metric_rows(models: Mapping[str, Mapping[str, float]], keys: Sequence[str]) -> list[list[str]]:
    """Return a row for each model with its metrics."""
    return [[name, *(statistic(metrics[key]) for key in keys)] for name, metrics in models.items()]


def listed(words: Sequence[str]) -> str:
    """Join words as `a`, `a and b` or `a, b and c`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
