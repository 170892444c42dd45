"""How long a gallery of many trials takes to open, live and as one file, in headless Chromium.

    gallery_open_first    seconds from the address to the first picture, of a server that has read nothing yet
    gallery_open_again    the same for a second tab
    gallery_report_open   seconds from the address of the report, one file, to the first picture

The study has pictures of 32x32 pixels and recipes of eight seeds, on SQLite. Needs Chromium and Playwright.

    python examples/benchmarks/gallery.py            # 10,000 trials: about five minutes, most of it to make them
    python examples/benchmarks/gallery.py --quick    # 1,000
    python examples/benchmarks/gallery.py --folder F # the study stays in F, and is taken from there the next time
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

import optuna
import torch
from optuna.artifacts import FileSystemArtifactStore
from playwright.sync_api import sync_playwright

from surrogate_ax import FunctionGenerator, Gaussian, Metric, Objective
from surrogate_ax.policies import o3
from surrogate_ax_optuna import optimize, sqlite

K, D, SIDE, REPEATS = 8, 64, 32, 5
LOADED = """
document.addEventListener("load", (event) => {
  if (event.target.tagName === "IMG") window.firstPicture ??= performance.now();
}, true);
"""
COMMAND = [sys.executable, "-c", "from surrogate_ax_cli.main import app; app()"]


def report(name: str, value: float, goal: float) -> None:
    print(f"RESULT {name} {value:.2f} <={goal:g} {'ok' if value <= goal else 'short'}", flush=True)


def make_study(folder: Path, trials: int) -> None:
    """A study of `surrogate-ax`'s layout: `study.db` and, beside it, the pictures."""
    waves = torch.randn(D, 3 * SIDE * SIDE, generator=torch.Generator().manual_seed(0)) / D**0.5

    def draw(z: torch.Tensor) -> torch.Tensor:
        pictures = torch.tanh(z @ waves).view(-1, 3, SIDE // 4, 4, SIDE // 4, 4).mean((3, 5), keepdim=True)
        return (pictures.expand(-1, 3, SIDE // 4, 4, SIDE // 4, 4).reshape(-1, 3, SIDE, SIDE) + 1) / 2

    (folder / "study-previews").mkdir()
    objective = Objective(Metric("red", "maximize"), score=lambda pictures, _: pictures[:, 0].mean((1, 2)))
    study = optuna.create_study(
        study_name="study",
        direction="maximize",
        storage=sqlite(folder / "study.db"),
        sampler=optuna.samplers.RandomSampler(seed=0),
    )
    optimize(
        study,
        FunctionGenerator(draw, (D,), check_rows=False),
        objective,
        total_trials=trials,
        batch_size=64,
        rng=0,
        policy=o3(Gaussian((D,)), trials // 10, seeds=K),
        previews=FileSystemArtifactStore(folder / "study-previews"),
    )


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The gallery by its command, as soon as it answers; nobody has looked at it yet."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*COMMAND, "gallery", str(folder / "study.db"), "--port", str(port)])
    try:
        for _ in range(600):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        process.wait(30)


def seconds(browser: Any, address: str) -> float:
    """From the address to the first picture, in a context of its own, by the page's clock."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.add_init_script(LOADED)
    page = context.new_page()
    page.goto(address, wait_until="commit", timeout=120_000)
    page.wait_for_selector("body[data-ready]", timeout=120_000)
    page.locator(".strip .card img").first.evaluate("picture => picture.decode()")
    took = float(page.evaluate("window.firstPicture")) / 1000
    context.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="1,000 trials")
    parser.add_argument("--folder", type=Path, help="where the study is, or is made")
    arguments = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory() as passing, sync_playwright() as playwright:
        folder = arguments.folder or Path(passing)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "study.db").exists():
            make_study(folder, 1_000 if arguments.quick else 10_000)
        path = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False, args=["--disable-gpu"])
        browser.new_page().close()  # which starts its processes
        first, again = [], []
        for _ in range(REPEATS):
            with served(folder) as address:
                first.append(seconds(browser, address))
                again.append(seconds(browser, address))
        file = Path(passing) / "report.html"
        subprocess.run([*COMMAND, "report", str(folder / "study.db"), "--out", str(file)], check=True)
        print(f"# the report has {file.stat().st_size / 1e6:.1f} MB", flush=True)
        opened = [seconds(browser, file.as_uri()) for _ in range(REPEATS)]
        browser.close()
    for name, each in (("open_first", first), ("open_again", again), ("report_open", opened)):
        print(f"# {name}: {' '.join(f'{one:.2f}' for one in each)}")
        report(f"gallery_{name}", statistics.median(each), 3)


if __name__ == "__main__":
    main()
