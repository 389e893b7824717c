"""Pages of the site that come from elsewhere in the repository: the README, the project's files, and the protos."""

import re
import sys
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parent))
from proto_reference import proto_pages

ROOT = Path(__file__).parents[1]
COPIES = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security-policy.md",
    "CODE_OF_CONDUCT.md": "code-of-conduct.md",
}
"""Files at the top of the repository, and the pages that they become."""
OUTSIDE = re.compile(
    r"\[([^\]]+)\]\((?:\.\./)*(?:LICENSE|benchmarks|client|deploy|examples|protos|server|tests)[^)]*\)"
)
"""Links to files that the site does not have; their text says what they are."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not files of this folder."""
    for name, page in COPIES.items():
        text = (ROOT / name).read_text()
        files.append(File.generated(config, page, content=_relinked(text.replace("](docs/", "]("))))
    for page, text in proto_pages():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to the repository's files lead to their pages."""
    if "/" in page.file.src_uri:  # There, `../` leads to another page.
        return markdown
    return _relinked(markdown.replace("](../", "]("))


def _relinked(text: str) -> str:
    for name, page in COPIES.items():
        text = re.sub(rf"\]\({re.escape(name)}(#[^)]*)?\)", rf"]({page}\1)", text)
    return OUTSIDE.sub(r"\1", text)
