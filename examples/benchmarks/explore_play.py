"""A person who likes red clothes and glasses, played in the page of `surrogate-ax explore` by clicks in Chromium.

    explore_wait_median   seconds from the click on "Next" to the last of the eight next pictures
    explore_wait_slowest  of all pages
    explore_gain          mean liking of the last three pages over the first, in standard deviations of plain draws

    python examples/benchmarks/explore_play.py                     # twenty answers, two minutes
    python examples/benchmarks/explore_play.py --quick             # six answers
    python examples/benchmarks/explore_play.py --folder pictures   # with screenshots: the first page, each fifth one

The pictures are the embedded portraits, without a prompt. The person looks at a page for four seconds, then likes the
two of the eight in which the portraits' classifier, which has no other part in this, finds red clothes and glasses
most likely. Needs Chromium and Playwright.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[2]))
sys.path.append(str(Path(__file__).parents[1] / "train_portraits"))
from classifier import ATTRIBUTES, WEIGHTS, Classifier, scaled
from playwright.sync_api import Page, expect

from surrogate_ax.execution import person
from surrogate_ax.generation.saved_picture import SavedPicture
from surrogate_ax_diffusers import portrait_generator
from surrogate_ax_optuna import create_study, explore
from surrogate_ax_web import HOST, explore_page
from surrogate_ax_web.serving import listening, server
from tests.browser import launched, opened

LIKED, LOOKS, PATIENCE, DRAWS = 2, 4.0, 120_000, 200
WISHES = {"clothes": "red", "accessory": "glasses"}
READY = ".choose img"


class Taste:
    """How much the person likes pictures: log odds of what they wish for, cut at 4 each so that both count."""

    def __init__(self) -> None:
        self._judge = Classifier()
        self._judge.load_state_dict(load_file(WEIGHTS))
        self._judge.eval()

    @torch.no_grad()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Odds (n, wishes) of images (n, 64, 64, 3) in [0, 1]."""
        found = dict(zip(ATTRIBUTES, self._judge(scaled(np.round(255 * images).astype(np.uint8))), strict=True))
        chances = [found[name].softmax(1)[:, ATTRIBUTES[name].index(word)] for name, word in WISHES.items()]
        return np.stack([np.log(p / (1 - p)).clip(-4, 4) for p in np.array([one.numpy() for one in chances])], axis=1)


def report(name: str, value: float, goal: float, *, at_least: bool = False) -> None:
    met = value >= goal if at_least else value <= goal
    print(f"RESULT {name} {value:.2f} {'>=' if at_least else '<='}{goal:g} {'ok' if met else 'short'}", flush=True)


def pictures(exploration: Any) -> np.ndarray:
    return np.stack([np.asarray(exploration.made(trial).output) for trial in exploration.page.trials])


@contextmanager
def shown(exploration: Any) -> Iterator[Page]:
    """The page in Chromium, as `surrogate-ax explore` serves it."""
    with tempfile.TemporaryDirectory() as files, launched() as browser, opened(browser) as page:
        app = explore_page(exploration, functools.partial(SavedPicture, source="portraits"), folder=Path(files))
        bound, running = listening(0), server(app)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]})
        thread.start()
        page.set_viewport_size({"width": 1230, "height": 860})
        page.goto(f"http://{HOST}:{bound.getsockname()[1]}")
        yield page
        running.should_exit = True
        thread.join()


def play(
    exploration: Any, page: Page, taste: Taste, answers: int, folder: Path | None
) -> tuple[list[float], list[float]]:
    """Waits in seconds, and the mean liking of each page."""
    waits, likings, clicked = list[float](), list[float](), time.monotonic()
    for number in range(answers + 1):
        expect(page.locator("#count")).to_have_text(f"{number} answer{'s' * (number != 1)}", timeout=PATIENCE)
        expect(page.locator(READY)).to_have_count(8, timeout=PATIENCE)
        waits.append(time.monotonic() - clicked)
        odds = taste(pictures(exploration))
        likings.append(float(odds.sum(axis=1).mean()))
        wished = ", ".join(f"{(column > 0).sum()} {word}" for word, column in zip(WISHES.values(), odds.T, strict=True))
        print(f"page {number}: {wished} of 8, {waits[-1]:.2f} s", flush=True)
        if folder is not None and number % 5 == 0:
            page.screenshot(path=folder / f"page{number}.png")
        page.wait_for_timeout(1000 * LOOKS / 2)
        for i in np.argsort(-odds.sum(axis=1))[:LIKED]:
            page.locator(".choose").nth(int(i)).click()
        page.wait_for_timeout(1000 * LOOKS / 2)
        if number < answers:
            clicked = time.monotonic()
            page.locator("#next").click()
    return waits[1:], likings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="six answers")
    parser.add_argument("--folder", type=Path, help="for screenshots")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    generator, taste = portrait_generator(), Taste()
    noise = torch.randn(DRAWS, generator.prior.dim, generator=torch.Generator().manual_seed(1))
    plain = generator.generate(generator.prior.from_inner(noise), [{}] * DRAWS).outputs
    spread = float(taste(np.stack([np.asarray(one) for one in plain])).sum(axis=1).std())
    exploration = explore(create_study(person()), generator)
    with shown(exploration) as page:
        waits, likings = play(exploration, page, taste, 6 if arguments.quick else 20, arguments.folder)
    exploration.close()
    report("explore_wait_median", statistics.median(waits), 1)
    report("explore_wait_slowest", max(waits), 2)
    report("explore_gain", (statistics.mean(likings[-3:]) - likings[0]) / spread, 1, at_least=True)


if __name__ == "__main__":
    main()
