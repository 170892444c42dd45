"""The screenshots of the docs, made anew: the gallery of the demo's study, in light and dark, and Optuna's dashboard.

Run `surrogate-ax demo` and then `python examples/benchmarks/screenshots.py demo-out`. Needs Chromium and Playwright.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
PORT = 8791


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="what the demo has written")
    arguments = parser.parse_args()
    PICTURES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        page = browser.new_page(viewport={"width": 1180, "height": 900})
        page.set_default_timeout(120_000)
        with_served(arguments.folder, "gallery", lambda: gallery(page))
        with_served(arguments.folder, "dashboard", lambda: dashboard(page))
        browser.close()


def with_served(folder: Path, command: str, take: Callable[[], None]) -> None:
    """Serve a page of the study, take pictures, and end it."""
    code = "from surrogate_ax_cli.main import app; app()"
    study = [str(folder / "study.db"), "--study", "search", "--port", str(PORT)]
    served = subprocess.Popen([sys.executable, "-c", code, command, *study])
    try:
        take()
    finally:
        served.terminate()
        served.wait(30)


def gallery(page: Page) -> None:
    reach(page, "/")
    page.wait_for_selector("#best-plot .main-svg")
    settled(page, "gallery.png")
    page.emulate_media(color_scheme="dark")
    page.click("#tab-trials")
    settled(page, "gallery-dark.png")
    page.emulate_media(color_scheme="light")
    page.click("#tab-best")
    page.click(".strip .card")
    page.wait_for_selector("dialog[open] .told")
    settled(page, "trial.png")


def dashboard(page: Page) -> None:
    reach(page, "/dashboard/studies/2/trials?numbers=121")
    page.wait_for_selector("text=Made of")
    settled(page, "dashboard.png")


def reach(page: Page, path: str) -> None:
    for _ in range(120):
        try:
            page.goto(f"http://127.0.0.1:{PORT}{path}")
            return
        except Exception:  # noqa: BLE001  # not served yet
            time.sleep(1)
    raise SystemExit("The page was not served.")


def settled(page: Page, name: str) -> None:
    page.wait_for_timeout(1500)
    page.screenshot(path=PICTURES / name)
    print(PICTURES / name)


if __name__ == "__main__":
    main()
