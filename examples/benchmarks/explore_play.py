"""A person who likes red hair and glasses, played in the page of `surrogate-ax explore` by clicks in Chromium.

    python examples/benchmarks/explore_play.py [ANSWERS] [FOLDER]

The person likes the two pictures of eight with the reddest hair and the clearest glasses. Printed are, of every page,
how red the hair is (0 to 1) and how many of the eight wear glasses; FOLDER gets a screenshot of the first page and of
each fifth one. Needs Chromium and Playwright.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

sys.path.append(str(Path(__file__).parents[2]))
sys.path.append(str(Path(__file__).parents[1] / "train_avatars"))
from classifier import ATTRIBUTES, WEIGHTS, Classifier
from playwright.sync_api import expect

from surrogate_ax.execution import person
from surrogate_ax.generation.saved_picture import SavedPicture
from surrogate_ax_diffusers import avatar_generator
from surrogate_ax_optuna import create_study, explore
from surrogate_ax_web import HOST, explore_page
from surrogate_ax_web.serving import listening, server
from tests.browser import launched, opened

ANSWERS, LIKED, PATIENCE = 20, 2, 120_000
HAIR = [(slice(1, 4), slice(4, 12)), (slice(4, 10), slice(2, 4))]  # rows and columns of an avatar's hair


def red(image: np.ndarray) -> float:
    """How much redder than green or blue the hair is."""
    hair = np.concatenate([image[part].reshape(-1, 3) for part in HAIR])
    return float((hair[:, 0] - hair[:, 1:].max(axis=1)).mean())


def main() -> None:
    answers = int(sys.argv[1]) if len(sys.argv) > 1 else ANSWERS
    out = Path(sys.argv[2] if len(sys.argv) > 2 else "explore-play")
    out.mkdir(parents=True, exist_ok=True)
    judge = Classifier()
    judge.load_state_dict(load_file(WEIGHTS))
    judge.eval()

    @torch.no_grad()
    def glasses(image: np.ndarray) -> float:
        x = torch.from_numpy(image).float().permute(2, 0, 1)[None] * 2 - 1
        return float(judge(x)[0, ATTRIBUTES.index("glasses")])

    exploration = explore(create_study(person()), avatar_generator())
    with tempfile.TemporaryDirectory() as files, launched() as browser, opened(browser) as page:
        app = explore_page(exploration, functools.partial(SavedPicture, source="embedded"), folder=Path(files))
        bound, running = listening(0), server(app)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [bound]})
        thread.start()
        page.set_viewport_size({"width": 1230, "height": 860})
        page.goto(f"http://{HOST}:{bound.getsockname()[1]}")
        for number in range(answers + 1):
            expect(page.locator("#count")).to_have_text(f"{number} answer{'s' * (number != 1)}", timeout=PATIENCE)
            expect(page.locator(".choose img")).to_have_count(8, timeout=PATIENCE)
            images = [np.asarray(exploration.made(trial).output) for trial in exploration.page.trials]
            hair, worn = [red(image) for image in images], [glasses(image) for image in images]
            print(f"page {number}: red {np.mean(hair):.2f}, {sum(each > 0 for each in worn)} with glasses")
            liking = [8 * h + float(np.clip(g, -4, 4)) / 2 for h, g in zip(hair, worn, strict=True)]
            for i in np.argsort(liking)[::-1][:LIKED]:
                page.locator(".choose").nth(int(i)).click()
            if number % 5 == 0:
                page.screenshot(path=out / f"page{number}.png")
            if number < answers:
                page.locator("#next").click()
        running.should_exit = True
        thread.join()
    exploration.close()


if __name__ == "__main__":
    main()
