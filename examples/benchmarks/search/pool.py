"""Plain draws and their images, made once: two pools of 20,000, and every repeat's first draws.

    python pool.py          continues where it was broken off

Files lie in `CACHE` (30 MB a pool, not committed): images float16 (n, 16, 16, 3), by chunks of 1,000.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from surrogate_ax.latents.seeds import Draw, draw_entropy, inner_row

Array = np.ndarray
CACHE = Path(os.environ.get("SEARCH_CACHE", Path.home() / ".cache/surrogate-ax-search"))
SIZE, CHUNK = 20_000, 1_000
REPEATS, STARTS = 10, 200  # the first draws of a repeat are the same for every method


def latents(purpose: str, rng: int, indices: range) -> Array:
    """Inner rows (n, 768) of draws, as the host of a study with this `rng` numbers them."""
    entropy = draw_entropy(rng, purpose)
    return np.stack([inner_row(Draw(entropy, i), 768) for i in indices])


def starts(repeat: int) -> Array:
    """The first draws of a repeat (200, 768)."""
    return latents("trials", repeat, range(STARTS))


def has(name: str) -> bool:
    """Whether all images of "a" or "b" were made."""
    return len(list((CACHE / name).glob("*.npy"))) == SIZE // CHUNK


def read(name: str) -> Array:
    """Images of "a" or "b" (20,000, 16, 16, 3), or of "starts" (2,000, ...), float32."""
    files = sorted((CACHE / name).glob("*.npy"))
    if not files:
        raise FileNotFoundError(f"{CACHE / name} holds no images. Make them once with `python pool.py`.")
    return np.concatenate([np.load(file) for file in files]).astype(np.float32)


def main() -> None:
    from embedded import Model

    os.nice(5)
    model = Model()
    jobs = [("starts", r, ("trials", r, range(STARTS))) for r in range(REPEATS)]
    for name in ("a", "b"):
        jobs += [(name, k, (f"pool {name}", 0, range(k * CHUNK, (k + 1) * CHUNK))) for k in range(SIZE // CHUNK)]
    for name, number, (purpose, rng, indices) in jobs:
        file = CACHE / name / f"{number:03d}.npy"
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            images = model(latents(purpose, rng, indices))
            new = file.with_suffix(".new")
            with new.open("wb") as handle:
                np.save(handle, images.astype(np.float16) if name != "starts" else images)
            new.rename(file)
            print(file, flush=True)


if __name__ == "__main__":
    main()
