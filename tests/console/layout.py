"""What is wrong with how a page is laid out."""

from playwright.sync_api import Page

_BROKEN_WORDS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT), range = document.createRange();
  const broken = new Set();
  for (let node; (node = walker.nextNode()); ) {
    if (node.parentElement.closest("script, style, svg, code, .hidden")) continue;
    for (const word of node.data.matchAll(/(?<![^\\s("'])\\p{Script=Latin}{2,14}(?![^\\s,.;:!?)"'])/gu)) {
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(({ top }) => Math.round(top))).size > 1) broken.add(word[0]);
    }
  }
  return [...broken];
}"""
"""Longer words, and parts of names and of markup, may be broken."""


def broken_words(page: Page) -> list[str]:
    """Return the usual words that a page breaks over two lines, none of which needs it on a telephone."""
    found: list[str] = page.evaluate(_BROKEN_WORDS)
    return found
