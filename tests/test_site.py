"""The site of the documentation is built without a complaint, is whole, and asks no other machine for anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs.building.notebooks import NOTEBOOKS
from tests.browser import launched, opened
from tests.documents import ROOT

PLACES = ("src", "href", "srcset", "action", "data", "poster")


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    environment = {**os.environ, "PYTHONPATH": paths, "NO_MKDOCS_2_WARNING": "1", "OMP_NUM_THREADS": "1"}
    command = (sys.executable, "-m", "mkdocs", "build", "-f", config, "-d", site)
    return subprocess.run([str(part) for part in command], cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    answer = build(ROOT / "mkdocs.yml", folder)
    assert answer.returncode == 0, answer.stderr
    assert "WARNING" not in answer.stderr
    return folder


class Loaded(HTMLParser):
    """Addresses that a page loads by itself; links that a reader follows are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "a":
            self.addresses += [value or "" for name, value in attrs if name in PLACES]


def outside(html: str) -> list[str]:
    parser = Loaded()
    parser.feed(html)
    return [address for address in parser.addresses if re.match(r"(?:[a-z]+:)?//", address)]


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 60
    assert {page.name: found for page in pages if (found := outside(page.read_text(encoding="utf-8")))} == {}
    styles = [*site.rglob("*.css")]
    assert styles
    for style in styles:
        loaded = re.findall(r"(?:@import|url\()\s*[\"']?((?:https?:)?//[^\"')]+)", style.read_text(encoding="utf-8"))
        assert loaded == [], style


def test_what_loads_from_elsewhere_is_found() -> None:
    assert outside('<link rel="stylesheet" href="https://fonts.example/a.css"><img src="//b.example/c.png">') != []
    assert outside('<a href="https://arxiv.org">paper</a><script src="assets/a.js"></script>') == []


def test_every_page_and_notebook_and_name_is_there(site: Path) -> None:
    pages = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in site.glob("*.html")} >= pages
    for notebook in NOTEBOOKS:
        shown = (site / "notebooks" / f"{notebook.stem}.html").read_text(encoding="utf-8")
        pictures = re.findall(r'<img [^>]*src="([^"]+)"', shown)
        assert pictures
        assert [name for name in pictures if not (site / "notebooks" / name).is_file()] == []
        assert (site / "notebooks" / notebook.name).is_file()
    reference = (site / "reference" / "surrogate_ax.html").read_text(encoding="utf-8")
    assert 'id="surrogate_ax.SurrogateSpace"' in reference
    assert 'id="surrogate_ax.Steppable.advance"' in reference
    linked = re.findall(r'href="((?!\w+:|#)[^"#]+)', (site / "index.html").read_text(encoding="utf-8"))
    assert len(linked) > 50
    assert [link for link in linked if not (site / link).exists()] == []


def test_it_works_in_a_browser_as_a_file(site: Path) -> None:
    """Pages, their search and both kinds of colours, without a server."""
    with launched() as browser:
        for name in ("index.html", "own-model.html", "reference/surrogate_ax_optuna.html", "notebooks/edit.html"):
            with opened(browser) as page:  # fails for an error in a script and for a request to another machine
                page.goto((site / name).as_uri())
                broken = page.evaluate("[...document.images].filter((image) => !image.naturalWidth).map((i) => i.src)")
                assert broken == []
                page.set_viewport_size({"width": 400, "height": 800})
                assert page.evaluate("document.documentElement.scrollWidth") <= 400
        with opened(browser) as page:
            page.goto((site / "index.html").as_uri())
            page.click("input[name=query]")
            ready = "document.querySelector('.md-search-result__meta').innerText.includes('Type to start')"
            page.wait_for_function(ready)
            page.keyboard.type("checkpoint")
            page.wait_for_selector(".md-search-result__item")
            background = "getComputedStyle(document.body).backgroundColor"
            light = page.evaluate(background)
            page.emulate_media(color_scheme="dark")
            page.wait_for_function(f"{background} !== '{light}'")


def test_links_to_nowhere_end_the_build(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    shutil.copytree(ROOT / "docs" / "building", docs / "building")
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"):
        (tmp_path / name).write_text(f"# {name}\n")
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for part in (
        r"nav:\n(?:  .*\n)+",
        r"  - docs/building/(?:reference|notebooks).py\n",
        r"  - mkdocstrings:\n(?:    .*\n)+",
    ):
        settings = re.sub(rf"(?m)^{part}", "", settings)
    (tmp_path / "mkdocs.yml").write_text(settings.replace("polyfills: [assets/iframe-worker.js]", "polyfills: []"))
    good = "# Index\n\n[Read me](../README.md#readmemd)\n"
    gone = {
        "gone.md": "gone.md",
        "index.md#out": "#out",
        "../README.md#off": "#off",
        "../surrogate_ax/lost.py": "lost.py",
    }
    (docs / "index.md").write_text(good + "".join(f"[there]({link})\n" for link in gone))
    answer = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert answer.returncode != 0
    assert [link for link, complaint in gone.items() if f"{complaint}'" not in answer.stderr] == []
    (docs / "index.md").write_text(good)
    assert build(tmp_path / "mkdocs.yml", tmp_path / "site").returncode == 0


def test_the_navigation_names_every_page_once() -> None:
    nav = re.search(r"(?ms)^nav:\n.*?(?=^\w)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    assert nav is not None
    named = re.findall(r"[\w-]+\.md|notebooks/[\w-]+\.ipynb", nav[0])
    pages = [path.name for path in (ROOT / "docs").glob("*.md")]
    notebooks = [f"notebooks/{path.name}" for path in NOTEBOOKS]
    project = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"]
    assert sorted(named) == sorted([*pages, *notebooks, *project])
