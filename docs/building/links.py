"""Links of the pages as they stand in the repository lead somewhere in the site too.

Pages link to files beside `docs/`: README, programs, modules, results. Each file that a page links to, and each that
such a page links to in turn, gets a place under `files/`: Markdown and programs become pages, the rest is copied. So
one text serves both readers, and the site needs no address of a repository.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
PROJECT = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")  # pages of the site's navigation
LANGUAGES = {".py": "python", ".yaml": "yaml", ".mjs": "javascript"}
_LINK = re.compile(r"(?<=\]\()(?!\w+:|[#/])(?P<path>[^)\s#]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add every file of the repository that a page leads to.

    Args:
        files: those of `docs/`, and what other hooks made.
        config: of the site.

    Returns:
        The same collection.
    """
    waiting = [
        target for file in files.documentation_pages() for target in _targets(file.content_string, _origin(file))
    ]
    waiting += map(PurePosixPath, PROJECT)
    while waiting:
        target = waiting.pop()
        place = _place(target)
        if target.parts[0] == "docs" or files.get_file_from_path(place) is not None:
            continue
        if place.endswith(".md"):
            text = _page(target)
            files.append(File.generated(config, place, content=text))
            waiting += _targets(text, target)
        else:
            files.append(File.generated(config, place, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the links of a page to the places of the site.

    Args:
        markdown: its text.
        page: the page.
        config: of the site.
        files: of the site.

    Returns:
        The text with other links.
    """
    origin = _origin(page.file)
    here = PurePosixPath(page.file.src_uri).parent

    def moved(link: re.Match[str]) -> str:
        target = _target(link["path"], origin)
        if target is None or (target.suffix == ".ipynb" and origin.suffix == ".ipynb"):  # the file itself, to download
            return link[0]
        return os.path.relpath(_place(target), here) + (link["anchor"] or "")

    return _LINK.sub(moved, markdown)


def _origin(file: File) -> PurePosixPath:
    """The path in the repository of what a page of the site is made of."""
    uri = PurePosixPath(file.src_uri)
    if uri.parts[0] != "files":
        notebook = PurePosixPath("docs", uri).with_suffix(".ipynb")
        return notebook if (ROOT / notebook).is_file() else PurePosixPath("docs", uri)
    path = uri.relative_to("files")
    if not (ROOT / path).exists():  # a program, or a folder
        path = path.parent if path.name == "index.md" else path.with_suffix("")
    return path


def _place(target: PurePosixPath) -> str:
    """Where a file of the repository is in the site."""
    if target.parts[0] == "docs":
        place = target.relative_to("docs")
        return str(place.with_suffix(".md") if place.suffix == ".ipynb" else place)
    if (ROOT / target).is_dir():
        return f"files/{target}/index.md"
    return f"files/{target}" + (".md" if target.suffix in LANGUAGES else "")


def _target(path: str, origin: PurePosixPath) -> PurePosixPath | None:
    """The file or folder of the repository that a link leads to, None if there is none."""
    target = PurePosixPath(os.path.normpath(origin.parent / path))
    return None if target.parts[0] == ".." or not (ROOT / target).exists() else target


def _targets(text: str, origin: PurePosixPath) -> Iterator[PurePosixPath]:
    for link in _LINK.finditer(text):
        target = _target(link["path"], origin)
        if target is not None:
            yield target


def _page(target: PurePosixPath) -> str:
    """The page of a Markdown file, a program or a folder."""
    path = ROOT / target
    if path.is_dir():
        programs = [
            f"- [{each.name}]({target.name}/{each.name}): {_purpose(each)}" for each in sorted(path.glob("*.py"))
        ]
        return "\n".join([f"# {target}\n", *programs, ""])
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    return f"---\nsearch:\n  exclude: true\n---\n\n# {target}\n\n````{LANGUAGES[path.suffix]}\n{text}````\n"


def _purpose(program: Path) -> str:
    """The first line of a program's docstring."""
    return (ast.get_docstring(ast.parse(program.read_text(encoding="utf-8"))) or "").split("\n")[0]
