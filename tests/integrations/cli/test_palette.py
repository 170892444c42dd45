from __future__ import annotations

import numpy as np
import pytest

from surrogate_ax.errors import ArgumentError
from surrogate_ax_cli.palette import METRIC, palette_objective

BLACK_WHITE = {"#000000": 3, "#ffffff": 1}


def _distance(palette: dict[str, float], *images: np.ndarray) -> np.ndarray:
    return palette_objective(palette).measure(np.stack(images), [{}] * len(images))[METRIC]


def _striped(columns_white: int, size: int = 8) -> np.ndarray:
    image = np.zeros((size, size, 3), dtype=np.float32)
    image[:, :columns_white] = 1
    return image


def test_an_image_of_the_palette_is_at_distance_zero() -> None:
    assert _distance(BLACK_WHITE, _striped(2)) == pytest.approx([0.0], abs=1e-12)


def test_each_pixel_too_many_moves_by_the_colours_distance() -> None:
    # 4 columns of 8 are white and 2 should be: a quarter of the pixels has to go from white to black, √3 away.
    assert _distance(BLACK_WHITE, _striped(4), _striped(0)) == pytest.approx([np.sqrt(3) / 4] * 2)


def test_places_do_not_matter() -> None:
    image = np.random.default_rng(0).random((16, 16, 3))
    shuffled = np.random.default_rng(1).permutation(image.reshape(256, 3)).reshape(16, 16, 3)
    values = _distance({"#1f9e97": 0.5, "#e4572e": 0.3, "#1d2440": 0.2}, image, shuffled)
    assert values[0] == pytest.approx(values[1], rel=1e-12)
    assert values[0] > 0.1


def test_shares_are_relative_and_use_every_pixel() -> None:
    image = np.random.default_rng(0).random((5, 7, 3))
    shares = {"#1f9e97": 1 / 3, "#e4572e": 1 / 3, "#1d2440": 1 / 3}
    many = {colour: 7 * share for colour, share in shares.items()}
    assert _distance(shares, image) == pytest.approx(_distance(many, image))


@pytest.mark.parametrize("palette", [{}, {"red": 1}, {"#12345": 1}, {"#12345g": 1}, {"#123456": 0.0}, {"#123456": -1}])
def test_a_palette_that_is_none_is_refused(palette: dict[str, float]) -> None:
    with pytest.raises(ArgumentError, match="palette: expected"):
        palette_objective(palette)
