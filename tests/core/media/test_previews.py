"""Previews: outputs of every layout as PNGs of known pixels."""

from __future__ import annotations

import sys
import wave

import av
import numpy as np
import pytest
import torch
from PIL import Image

from surrogate_ax import Evaluator, FunctionGenerator, Metric, Objective
from surrogate_ax.errors import ArgumentError, MissingExtraError, UnsupportedError
from surrogate_ax.media import previews
from surrogate_ax.media.previews import LEAST, enlarge, kind_of, save_preview, to_frames, to_image
from surrogate_ax.media.structures import Structure

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
    with pytest.raises(MissingExtraError, match=r"pip install -e '.*\[optuna\]'"):
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


CLIP = np.random.default_rng(1).integers(0, 256, size=(6, 5, 8, 3), dtype=np.uint8)
SOUND = np.sin(np.linspace(0, 2000, 8000))
STRUCTURE = Structure(np.arange(12.0).reshape(4, 1, 3), np.ones((4, 1)))
IMAGES = [Image.fromarray(frame) for frame in CLIP]
KINDS = {
    "picture": (IMAGES[0], None, "image"),
    "array": (RGB, None, "image"),
    "grey array with a rate": (GREY, 8.0, "image"),
    "list of pictures": (IMAGES, None, "video"),
    "list of arrays": (list(CLIP), 24.0, "video"),
    "THWC": (CLIP, None, "video"),
    "TCHW": (torch.from_numpy(CLIP / 255).permute(0, 3, 1, 2), None, "video"),
    "CTHW": (torch.from_numpy(CLIP / 255).permute(3, 0, 1, 2), None, "video"),
    "mono": (SOUND, 8000.0, "audio"),
    "stereo": (np.stack([SOUND, -SOUND]), 8000, "audio"),
    "stereo tensor, samples first": (torch.from_numpy(np.stack([SOUND, -SOUND], 1)), 8000, "audio"),
    "structure": (STRUCTURE, None, "structure"),
}
SUFFIXES = {"image": ".png", "video": ".mp4", "audio": ".wav", "structure": ".pdb"}


@pytest.mark.parametrize("case", KINDS)
def test_the_kind_is_found_and_names_the_file(case, tmp_path):
    output, rate, kind = KINDS[case]
    assert kind_of(output, rate=rate) == kind
    path = save_preview(output, tmp_path / "trial7", rate=rate)
    assert path == tmp_path / f"trial7{SUFFIXES[kind]}"
    again = save_preview(output, tmp_path / "again.png", rate=rate)
    assert again.suffix == path.suffix
    assert again.read_bytes() == path.read_bytes()
    assert path.stat().st_size < 40_000


@pytest.mark.parametrize("layout", ["list of pictures", "list of arrays", "THWC", "TCHW", "CTHW"])
def test_a_clip_has_its_frames(layout, tmp_path):
    output, rate, _ = KINDS[layout]
    frames = to_frames(output)
    assert frames.shape == (6, 80, 128, 3)
    np.testing.assert_array_equal(frames[:, 8::16, 8::16], CLIP)
    path = save_preview(output, tmp_path / "clip", rate=rate)
    assert path.read_bytes().index(b"moov") < path.read_bytes().index(b"mdat")  # plays before all of it has come
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        shown = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == (rate or 8)
    assert np.shape(shown) == frames.shape
    assert np.abs(np.subtract(shown, frames, dtype=float)).mean() < 12  # compressed; frames in a wrong order: 80
    assert np.abs(np.subtract(shown[::-1], frames, dtype=float)).mean() > 50


def test_odd_and_large_clips_get_even_sizes(tmp_path):
    path = save_preview(np.zeros((2, 301, 1025, 3), dtype=np.uint8), tmp_path / "clip")
    with av.open(str(path)) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (512, 150)
    with pytest.raises(UnsupportedError, match="frames of one size"):
        to_frames([RGB, GREY[:3]])


def test_long_clips_and_sounds_are_cut(tmp_path):
    with av.open(str(save_preview(np.zeros((40, 4, 4, 3)), tmp_path / "clip", rate=2))) as file:
        assert file.streams.video[0].frames == 30
    with wave.open(str(save_preview(np.zeros((2, 20_000)), tmp_path / "sound", rate=1000))) as file:
        assert (file.getnframes(), file.getnchannels(), file.getframerate()) == (15_000, 2, 1000)


@pytest.mark.parametrize(("loud", "peak"), [(0.5, 0.5), (2.0, 1.0), (np.inf, 1.0)])
def test_sound_keeps_its_samples_and_does_not_clip(loud, peak, tmp_path):
    given = np.stack([SOUND, 0 * SOUND]) * min(loud, 9)
    given[0, 0] = loud
    with wave.open(str(save_preview(given, tmp_path / "sound", rate=8000))) as file:
        samples = np.frombuffer(file.readframes(8000), "<i2").reshape(-1, 2).T / 32767
    assert np.abs(samples).max() == pytest.approx(peak, abs=1e-3)
    assert (samples[1] == 0).all()
    finite = np.nan_to_num(given, posinf=1.0)
    np.testing.assert_allclose(samples, finite / max(1, np.abs(finite).max()), atol=1e-4)


def test_large_images_become_small_files(tmp_path):
    smooth = np.asarray(Image.fromarray(RGB).resize((1500, 900)))
    path = save_preview(smooth, tmp_path / "trial.png")
    assert path.suffix == ".webp"
    assert path.stat().st_size < 60_000
    with Image.open(path) as image:
        assert (image.format, image.size) == ("WEBP", (1024, 614))


def test_sound_without_a_rate_says_what_is_missing(tmp_path):
    with pytest.raises(UnsupportedError, match=r"shape \(8000,\).*rate"):
        save_preview(SOUND, tmp_path / "sound")
    with pytest.raises(UnsupportedError, match="16-bit"):
        save_preview(SOUND.astype(np.int64), tmp_path / "sound", rate=8000)


def test_a_missing_encoder_names_its_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"pip install -e '.*\[video\]'"):
        save_preview(CLIP, tmp_path / "clip")


def test_a_rate_reaches_what_was_evaluated():
    generator = FunctionGenerator(lambda z: z, (400,), rate=16_000)
    objective = Objective(Metric("loud", "maximize"), score=lambda outputs, _: outputs.abs().amax(1).numpy())
    evaluations = Evaluator(generator, objective)({"latents": torch.zeros(2, 400)})
    assert evaluations.rate == 16_000
    with pytest.raises(ArgumentError, match="rate: expected a positive"):
        FunctionGenerator(lambda z: z, (4,), rate=0)


def test_in_full_nothing_is_made_smaller_or_cut(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (700, 1400, 3), dtype=np.uint8)
    with Image.open(save_preview(pixels, tmp_path / "image", full=True)) as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)
    with wave.open(str(save_preview(np.zeros(20 * 8000), tmp_path / "sound", rate=8000, full=True))) as sound:
        assert sound.getnframes() == 20 * 8000
    clip = save_preview(np.zeros((3, 600, 20, 3), dtype=np.uint8), tmp_path / "clip", full=True)
    with av.open(str(clip)) as film:
        assert film.streams.video[0].height == 600


@pytest.mark.parametrize(
    ("low", "high", "shown"),
    [
        (0.0, 1.0, [0, 128, 255]),
        (0.2, 0.6, [51, 102, 153]),  # dim, and shown so
        (-0.02, 1.03, [0, 129, 255]),  # as decoders pass the ends of their range
        (-1.0, 1.0, [0, 128, 255]),
        (-0.5, 0.5, [64, 128, 191]),
        (0.0, 22.0, [0, 128, 255]),
        (11.0, 22.0, [128, 191, 255]),
        (-2.0, 2.0, [0, 128, 255]),
        (-4.0, -2.0, [0, 64, 128]),
    ],
)
def test_floats_of_other_ranges_are_scaled(low, high, shown):
    picture = np.array([[low, (low + high) / 2, high]], dtype=np.float32)
    np.testing.assert_array_equal(pixels(picture)[0, :, 0], shown)
    np.testing.assert_array_equal(pixels(torch.from_numpy(picture))[0, :, 0], shown)


@pytest.mark.parametrize("make", [np.stack, list], ids=["array", "list"])
def test_the_frames_of_a_clip_are_scaled_together(make):
    frames = to_frames(make([np.full((8, 8, 1), value) for value in (0.0, 11.0, 22.0)]))
    assert frames[:, 0, 0, 0].tolist() == [0, 128, 255]


def test_a_range_that_is_scaled_is_said_once(tmp_path, caplog):
    previews._say_scaled.cache_clear()
    for low, high in ((0.0, 1.0), (-1.0, 1.0), (0.0, 3.0), (-2.0, 5.0)):
        save_preview(np.linspace(low, high, 16).reshape(4, 4), tmp_path / "x")
    said = [record.message.split(" are ")[0] for record in caplog.records]
    assert said == ["output: floats outside [0, 1] and [-1, 1]"]
