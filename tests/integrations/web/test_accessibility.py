"""axe-core finds no serious fault in the pages, light or dark, in any of their views."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette

from surrogate_ax import FunctionGenerator
from surrogate_ax.execution import person
from surrogate_ax.generation.saved_picture import SavedPicture
from surrogate_ax_optuna import create_study, explore
from surrogate_ax_web import explore_page, gallery, write_report
from tests.browser import needed
from tests.core.report.shown import ListSource, study, trials

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(__file__).parents[3] / ".axe" / "node_modules" / "axe-core" / "axe.min.js"


def faults(page: Page, axe: str) -> list[str]:
    """Serious and critical violations, with the elements that have them."""
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']}).then((answer) => answer.violations)")
    return [
        f"{one['id']}: {one['help']} ({node['html'][:120]})"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.fixture
def axe() -> str:
    """The script."""
    return Path(needed(str(AXE) if AXE.is_file() else None, "axe-core", "`make axe` fetches it by npm")).read_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_explore_has_no_serious_fault(
    axe: str, scheme: str, browser: Browser, served: Callable[[Starlette], str], tmp_path: Path
) -> None:
    generator = FunctionGenerator(lambda z: z.permute(0, 2, 3, 1).sigmoid(), (3, 4, 4))
    exploration = explore(create_study(person()), generator)
    saved = functools.partial(SavedPicture, source="colours")
    context = browser.new_context(bypass_csp=True, color_scheme="dark" if scheme == "dark" else "light")
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(served(explore_page(exploration, saved, prompt="a red car", folder=tmp_path, kept=tmp_path)))
    page.wait_for_selector(".choose:nth-child(8) img, li:nth-child(8) .choose img")
    page.locator(".choose").first.click()
    page.locator("summary").click()
    found = faults(page, axe)
    page.select_option("#mode", "pairs")
    page.wait_for_function("document.querySelectorAll('.choose img').length === 2")
    found += faults(page, axe)
    context.close()
    exploration.close()
    assert found == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["live", "file"])
def test_no_view_has_a_serious_fault(
    axe: str, kind: str, scheme: str, browser: Browser, served: Callable[[Starlette], str], tmp_path: Path
) -> None:
    source = ListSource(study(trials(20, colours=("red", "blue"))))
    where = served(gallery(source)) if kind == "live" else write_report(source, tmp_path / "r.html").as_uri()
    context = browser.new_context(bypass_csp=True, color_scheme="dark" if scheme == "dark" else "light")
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.goto(where)
    page.wait_for_selector("#best-plot .main-svg")
    found = faults(page, axe)
    for view in ("trials", "plots", "about"):
        page.click(f"#tab-{view}")
        page.wait_for_timeout(300)
        found += faults(page, axe)
    page.click("#tab-best")
    page.click(".strip .card")
    page.wait_for_selector("dialog[open] .told")
    found += faults(page, axe)
    context.close()
    assert found == []
