"""axe-core finds no serious fault in the pages, light or dark, in any of their views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from starlette.applications import Starlette

from surrogate_ax_web import gallery, write_report
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("kind", ["live", "file"])
def test_no_view_has_a_serious_fault(
    kind: str, scheme: str, browser: Browser, served: Callable[[Starlette], str], tmp_path: Path
) -> None:
    axe = Path(needed(str(AXE) if AXE.is_file() else None, "axe-core", "`make axe` fetches it by npm")).read_text()
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
