"""Previews: outputs of every layout as PNGs of known pixels."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from PIL import Image

from surrogate_ax import MissingExtraError, UnsupportedError
from surrogate_ax.previews import LEAST, enlarge, save_preview, to_image

RGB = np.random.default_rng(0).integers(0, 256, size=(5, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]
ALPHA = np.concatenate([RGB, np.full((5, 7, 1), 255, dtype=np.uint8)], axis=2)
GREY_RGB = np.repeat(GREY[:, :, None], 3, axis=2)


def pixels(output):
    image = to_image(output)
    assert image.mode == "RGB"
    return np.asarray(image)


LAYOUTS = {
    "HWC": (RGB, RGB),
    "CHW": (RGB.transpose(2, 0, 1), RGB),
    "HWC of three rows": (RGB[:3], RGB[:3]),
    "HW": (GREY, GREY_RGB),
    "HW1": (GREY[:, :, None], GREY_RGB),
    "1HW": (GREY[None], GREY_RGB),
    "HWC with alpha": (ALPHA, RGB),
    "CHW with alpha": (ALPHA.transpose(2, 0, 1), RGB),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["array", "tensor"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64", "float16"])
def test_every_layout_gives_its_pixels(layout, make, dtype):
    given, expected = LAYOUTS[layout]
    given = given if dtype == "uint8" else (given / 255).astype(dtype)
    np.testing.assert_array_equal(pixels(make(np.ascontiguousarray(given))), expected)


def test_brain_floats_and_gradients_are_pictures_too():
    x = torch.from_numpy(RGB / 255)
    assert np.abs(pixels(x.to(torch.bfloat16)).astype(int) - RGB).max() <= 1
    np.testing.assert_array_equal(pixels(x.clone().requires_grad_()), RGB)


def test_values_outside_the_range_are_clipped():
    x = np.array([[-1.0, 0.5, 2.0, np.nan, np.inf, -np.inf]])
    np.testing.assert_array_equal(pixels(x)[0, :, 0], [0, 128, 255, 0, 255, 0])


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P"])
def test_pictures_are_taken_as_they_are(mode):
    image = Image.fromarray(RGB).convert(mode)
    np.testing.assert_array_equal(pixels(image), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        (np.zeros(3), "ndarray of shape (3,) and dtype float64"),
        (np.zeros((2, 4, 4, 3)), "shape (2, 4, 4, 3)"),
        (np.zeros((5, 4, 2)), "shape (5, 4, 2) and dtype float64"),
        (np.zeros((0, 4, 3)), "shape (0, 4, 3)"),
        ([[1], [1, 2]], "list"),
        (np.zeros((4, 4), dtype=np.int64), "dtype int64"),
        (np.zeros((4, 4), dtype=bool), "dtype bool"),
        (torch.zeros(5, 6, 7), "Tensor of shape (5, 6, 7)"),
        ("a text", "str of shape ()"),
        (None, "NoneType"),
        ({"image": 1}, "dict"),
    ],
)
def test_what_is_no_image_is_described(output, shown):
    with pytest.raises(UnsupportedError) as error:
        to_image(output)
    assert "output: expected an image (PIL, or an array (H, W, C) of floats in [0, 1] or uint8), got" in str(
        error.value
    )
    assert shown in str(error.value)


def test_a_missing_pillow_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'surrogate-ax\[optuna\]'"):
        to_image(RGB)


@pytest.mark.parametrize(
    ("size", "expected"), [((7, 5), (133, 95)), ((64, 16), (128, 32)), ((100, 10), (200, 20)), ((128, 8), (128, 8))]
)
def test_small_images_grow_by_whole_pixels(size, expected):
    image = Image.fromarray(RGB).resize(size, resample=0)
    grown = enlarge(image)
    assert grown.size == expected
    assert max(grown.size) >= LEAST
    factor = expected[0] // size[0]
    np.testing.assert_array_equal(np.asarray(grown), np.asarray(image).repeat(factor, axis=0).repeat(factor, axis=1))


def test_a_large_image_is_left_alone():
    image = Image.new("RGB", (300, 200))
    assert enlarge(image) is image


def test_a_preview_is_a_png_of_the_pixels(tmp_path):
    path = tmp_path / "trial.png"
    save_preview(torch.from_numpy(RGB / 255).permute(2, 0, 1), path)
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (7 * 19, 5 * 19))
        np.testing.assert_array_equal(np.asarray(image)[9::19, 9::19], RGB)
