"""The Markdown pages of this repository: their code blocks with what is said about running them, and their links.

A comment before a block says how the tests run it:

    <!-- tests run this as `name` -->
    <!-- tests run this as `name`, after `other`, in the folder `scores` -->
    <!-- tests run this sweep file, in the folder `scores` -->
    <!-- not run: why -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(r"(?:<!-- (?P<note>[^\n]*) -->\n)?```(?P<language>\w*)\n(?P<code>.*?)```", re.DOTALL)
_NOTE = re.compile(
    r"tests run this (?:as `(?P<name>[^`]+)`|sweep file)(?:, after `(?P<after>[^`]+)`)?"
    r"(?:, in the folder `(?P<folder>[^`]+)`)?|not run: (?P<reason>.+)"
)


@dataclass(frozen=True)
class Block:
    """A fenced block of code.

    Args:
        page: where it stands.
        language: as the fence names it.
        code: its text.
        note: what the comment before it says, empty if there is none.
    """

    page: Path
    language: str
    code: str
    note: str

    def said(self, what: str) -> str:
        """The `name`, `after`, `folder` or `reason` of the note, empty if it says none."""
        match = _NOTE.fullmatch(self.note)
        return (match and match[what]) or ""

    @property
    def is_said(self) -> bool:
        """Whether the note says in the known form how the block is run."""
        return _NOTE.fullmatch(self.note) is not None


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page."""
    return [Block(page, m["language"], m["code"], m["note"] or "") for m in _BLOCK.finditer(text_of(page))]


def prose(page: Path) -> str:
    """A page without its fenced blocks."""
    return _BLOCK.sub("", text_of(page))


def inline_code(page: Path) -> list[str]:
    """What stands between single backticks, line breaks as spaces."""
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose(page))]


def commands(page: Path) -> Iterator[str]:
    """Lines of indented blocks that begin with a program of this repository, without their comments."""
    for line in re.findall(r"^    ((?:surrogate-ax|make|python) .*)$", prose(page), re.MULTILINE):
        yield line.split("#")[0].strip()


def broken_links(page: Path) -> list[str]:
    """Links of a page that lead to no file, or to no heading of it."""
    return broken_links_of(prose(page), page)


def broken_links_of(text: str, page: Path) -> list[str]:
    """The same of a text that stands at the place of a page."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in _anchors(target)):
                broken.append(link)
    return broken


def missing_paths(page: Path) -> list[str]:
    """Paths of this repository that a page names in backticks and that are not there; NAME and FOLDER stand for any."""
    named = re.findall(
        r"`((?:docs|examples|integrations|surrogate_ax|tests)/[^`\s]*|[A-Z]+\.(?:md|cff))`", text_of(page)
    )
    return [path for path in named if not re.search("NAME|FOLDER", path) and not (ROOT / path).exists()]


def _anchors(page: Path) -> set[str]:
    """What links call the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
