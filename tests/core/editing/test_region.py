"""The region of an edit is where its draws agree on a change."""

from __future__ import annotations

import numpy as np

from surrogate_ax.editing import changed_region

SOURCE = np.full((6, 5, 3), 0.5)


def edits(size: float = 0.4, drift: float = 0.1) -> np.ndarray:
    """Four edits that change one channel of two rows, and another pixel each."""
    made = np.tile(SOURCE, (4, 1, 1, 1))
    made[:, :2, :, 0] += size
    for k in range(4):
        made[k, 3 + k % 3, k] += 0.3
    return made + drift * np.sign(np.random.default_rng(0).standard_normal(made.shape)) * 0.5


def test_what_draws_agree_on_is_the_region() -> None:
    region = changed_region(edits(), SOURCE)
    assert region is not None
    assert region.shape == (6, 5)
    assert region[:2].all()
    assert not region[2:].any()
    wider = changed_region(edits(), SOURCE, threshold=0.1)
    assert wider is not None
    assert wider.sum() > region.sum()


def test_eight_bits_and_clips_count_alike() -> None:
    clip = np.stack([edits()] * 3, axis=1)
    region = changed_region([*np.round(clip * 255).astype(np.uint8)], np.stack([SOURCE] * 3))
    assert region is not None
    assert region.shape == (3, 6, 5)
    np.testing.assert_array_equal(region[1], changed_region(edits(), SOURCE))


def test_without_an_edge_there_is_no_region() -> None:
    assert changed_region(edits(0.0, 0.0)[:1, :2], SOURCE[:2]) is None
    assert changed_region(np.ones((2, 6, 5, 3)), SOURCE) is None
    assert changed_region(np.ones((2, 800)), np.zeros(800)) is None  # a sound
