"""The report: the gallery as one file that fetches nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surrogate_ax import FunctionGenerator, Recipe
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.report import Remade, ShownTrial
from surrogate_ax_web import Picture, write_report
from surrogate_ax_web.report import MODULES, bundle
from tests.core.report.shown import EVIL, ListSource, png, study, trials

if TYPE_CHECKING:
    from playwright.sync_api import Page


def _held(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="embedded">(.*?)</script>', page, flags=re.S)
    assert found is not None
    return json.loads(found.group(1))


def test_a_report_runs_its_own_scripts_only(tmp_path: Path) -> None:
    source = ListSource(study(trials(12, colours=(EVIL,)), name=EVIL))
    page = write_report(source, tmp_path / "deep" / "r.html", title=EVIL).read_text()
    scripts = re.findall(r'<script(?: type="module"| type="text/plain" id="plotly")?>(.*?)</script>', page, flags=re.S)
    assert len(scripts) == 2
    assert EVIL not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    allowed = re.findall(r"sha256-([^&]+)&", policy.group(1))
    assert allowed == [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert policy.group(1).startswith("default-src &#39;none&#39;")
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", page.replace(scripts[0], ""))
    assert _held(page)["study"]["name"] == EVIL  # type: ignore[index]


def test_the_scripts_fit_into_one() -> None:
    script = bundle()
    names = re.findall(r"^(?:async )?(?:function|class|const|let) (\w+)", script, flags=re.M)
    assert len(names) == len(set(names))
    assert not re.search(r"^(import|export) ", script, flags=re.M)
    static = Path(__file__).parents[3] / "integrations" / "surrogate_ax_web" / "static"
    sources = [(static / f"{module}.js").read_text() for module in MODULES]
    assert {name for source in sources for name in re.findall(r'from "\./(\w+)\.js"', source)} <= set(MODULES)


def test_a_file_shows_what_the_live_page_shows(tmp_path: Path, browser_page: Page) -> None:
    source = ListSource(study(trials(20, colours=("red", "blue"))))
    path = write_report(source, tmp_path / "r.html", items=5, pictures=[Picture("map", "The box", "", lambda: png(0))])
    browser_page.goto(path.as_uri())
    browser_page.wait_for_selector("#best-plot .main-svg")
    assert browser_page.locator(".strip >> nth=0 >> .card b").all_inner_texts() == ["17", "16", "15", "14", "13"]
    browser_page.wait_for_timeout(200)
    images = "[...document.querySelectorAll('.strip img')]"
    assert browser_page.evaluate(f"{images}.length > 10 && {images}.every((image) => image.naturalWidth === 8)")
    browser_page.click(".strip .card")
    browser_page.wait_for_selector("text=Made of 4 seeds")
    browser_page.keyboard.press("Escape")
    browser_page.click("#tab-about")
    assert browser_page.evaluate("document.querySelector('#about img').naturalWidth") == 8


def test_what_is_too_large_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = ListSource(study(trials(20)))
    monkeypatch.setattr("surrogate_ax_web.report.MEDIA_MOST", 3 * len(png(17)) + 60)
    held = _held(write_report(source, tmp_path / "r.html", items=2).read_text())
    assert list(held["media"]) == ["17", "16", "5"]  # type: ignore[call-overload]  # the best, then the best draw
    kinds = held["study"]["kind"]  # type: ignore[index]
    assert [number for number, kind in enumerate(kinds) if kind] == [5, 16, 17]


def _clamped(z):
    return z.clamp(0, 1)


def test_what_is_shown_first_is_made_where_it_has_no_file(tmp_path: Path) -> None:
    generator = FunctionGenerator(_clamped, (8, 8))
    recipes = [Recipe(((Draw(1, i), 0.6), (Draw(1, i + 1), 0.8)), {}, dict(generator.fingerprint), 1) for i in range(9)]
    rows = [ShownTrial(i, "done", 0, {"score": float(i)}, recipe) for i, recipe in enumerate(recipes)]
    held = _held(write_report(Remade(ListSource(study(rows)), generator), tmp_path / "r.html", items=3).read_text())
    assert sorted(held["media"]) == ["6", "7", "8"]  # type: ignore[call-overload]


def test_a_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArgumentError, match="cannot be written"):
        write_report(ListSource(study([])), tmp_path / "file" / "r.html")
