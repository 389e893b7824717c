"""Pictures of fixed width, laid out in inches from the top, for a mail or a chat."""

import io
import textwrap
from collections.abc import Sequence
from functools import cache
from threading import Lock
from typing import Any

from modelward_server.libraries import load

INK, SOFT, LINE, GROUND = "#15191f", "#56606d", "#dfe3e8", "#7d8794"
REFERENCE, LIVE, DRIFT = "#ccd3db", "#1559b0", "#b3261e"
WIDTH = 12.0
LEFT, RIGHT = 0.5, 11.5
TITLE_CHARACTERS = 68
"""Number of characters for which a title of full size has room; a longer title is written smaller."""
DOTS_PER_INCH = 200
"""Twice the resolution of an ordinary screen."""

drawing = Lock()
"""Matplotlib draws in one thread at a time."""


class Canvas:
    """A picture `WIDTH` inches wide.

    Args:
        height: the height in inches.
    """

    def __init__(self, height: float) -> None:
        self.height = height
        self._picture = load("matplotlib.figure").Figure(figsize=(WIDTH, height), dpi=DOTS_PER_INCH, facecolor="white")

    def axes(self, left: float, bottom: float, width: float, height: float) -> Any:
        """Add axes at a position in inches."""
        return self._picture.add_axes((left / WIDTH, bottom / self.height, width / WIDTH, height / self.height))

    def write(self, inches: float, text: str, **look: Any) -> None:
        """Write a line at a distance in inches below the top."""
        place = (LEFT / WIDTH, 1 - inches / self.height)
        self._picture.text(*place, drawable(text), parse_math=False, va="top", **look)

    def head(self, eyebrow: str, title: str, summary: str, facts: Sequence[str], colour: str = INK) -> None:
        """Write the head of a report, which takes at most 1.8 inches."""
        self.write(0.35, eyebrow, color=SOFT, fontsize=9)
        self.write(0.56, title, color=colour, fontsize=min(18, 18 * TITLE_CHARACTERS / len(title)), weight="bold")
        lines = textwrap.wrap(summary, 140, max_lines=3, placeholder=" …")
        self.write(0.97, "\n".join(lines), color=INK, fontsize=10, linespacing=1.4)
        self.write(1.03 + 0.19 * len(lines), "   ·   ".join(facts), color=SOFT, fontsize=9)

    def png(self) -> bytes:
        content = io.BytesIO()
        self._picture.savefig(content, format="png")
        return content.getvalue()


def label(axes: Any, x: float, y: float, text: str, transform: Any = None, **look: Any) -> None:
    """Write a text literally: text between two dollar signs is not a formula."""
    place = transform or axes.transAxes
    axes.text(x, y, drawable(text), transform=place, va="center", parse_math=False, **look)


def align_ends(labels: Sequence[Any]) -> None:
    """Align the first and the last label of an axis within its width, so that they do not overlap its neighbours."""
    for side, text in zip(("left", "right"), (labels[0], labels[-1]), strict=True):
        text.set_horizontalalignment(side)


def plain(axes: Any) -> None:
    """Remove the frame and the ticks of a chart."""
    for side in axes.spines.values():
        side.set_visible(False)
        side.set_color(GROUND)
    axes.set(xticks=[], yticks=[])
    axes.tick_params(color=GROUND, labelcolor=SOFT, labelsize=8)


def drawable(text: str) -> str:
    """Replace characters that the font lacks by a box, as matplotlib does with a warning for each."""
    return "".join(
        character if character == "\n" or ord(character) in _supported_characters() else "□" for character in text
    )


@cache
def _supported_characters() -> frozenset[int]:
    fonts = load("matplotlib.font_manager")
    return frozenset(fonts.get_font(fonts.findfont("DejaVu Sans")).get_charmap())
