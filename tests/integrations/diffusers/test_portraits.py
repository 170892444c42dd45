"""The embedded model with an encoder: what is shipped, its pictures of held-out renderings, and its generator."""

from __future__ import annotations

import importlib.util
from importlib.resources import files
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch

from surrogate_ax.errors import ArgumentError, ShapeError
from surrogate_ax_diffusers import encode_portraits, load_portraits, portrait_generator
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2
FOLDER = Path(str(files("surrogate_ax_diffusers"))) / "portraits"


@pytest.fixture(scope="module")
def held_out() -> np.ndarray:
    path = Path(__file__).parents[3] / "examples" / "train_portraits" / "dataset.py"
    spec = importlib.util.spec_from_file_location("portrait_dataset", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    images, _ = module.held_out()
    return np.asarray(images[:96])


def test_what_is_shipped_is_small_and_says_where_it_comes_from() -> None:
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) <= 16e6
    assert {path.suffix for path in FOLDER.rglob("*") if path.is_file()} == {".json", ".safetensors", ".md"}
    note = (FOLDER / "README.md").read_text()
    assert "Open Peeps" in note
    assert "Pablo Stanley" in note
    assert "CC0 1.0" in note
    assert "Apache-2.0" in note


def test_loading_is_silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    pipe = load_portraits()
    captured = capfd.readouterr()
    assert captured.out + captured.err + caplog.text == ""
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    assert type(pipe.vae).__name__ == "AutoencoderKL"
    assert not any(module.training for module in (pipe.unet, pipe.vae, pipe.text_encoder))
    assert {module.dtype for module in (pipe.unet, pipe.vae, pipe.text_encoder)} == {torch.float32}
    assert load_portraits(torch.bfloat16).unet.dtype == torch.bfloat16


def test_the_decoder_gives_back_held_out_images(held_out: np.ndarray) -> None:
    z = encode_portraits(held_out)
    assert z.shape == (96, 4, 16, 16)
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=0.15)
    torch.testing.assert_close(z.std(dim=(0, 2, 3)), torch.ones(4), rtol=0, atol=0.15)
    with torch.no_grad():
        decoded = load_portraits().vae.decode(z).sample.clamp(-1, 1).permute(0, 2, 3, 1).numpy()
    error = np.square((decoded + 1) / 2 - held_out / 255).mean()
    assert 10 * np.log10(1 / error) >= 40


def test_all_forms_of_an_image_have_the_same_latent(held_out: np.ndarray) -> None:
    images = held_out[:3]
    z = encode_portraits(images)
    torch.testing.assert_close(encode_portraits((images / 255).astype(np.float32)), z, rtol=0, atol=1e-4)
    assert torch.equal(encode_portraits([PIL.Image.fromarray(image).convert("RGBA") for image in images]), z)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((1, 16, 16, 3), np.uint8), ShapeError, r"= \(64, 64, 3\), got \[\(16, 16, 3\)\]"),
        (np.full((1, 64, 64, 3), 1.5), ArgumentError, "got float64"),
    ],
)
def test_other_images_are_refused(images: np.ndarray, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        encode_portraits(images)


def test_the_generator_gives_float_images_and_reads_its_prompt() -> None:
    made = portrait_generator("smiling, red shirt", steps=1, guidance=1.0, revision="test")
    assert dict(made.prior.shapes) == {"latents": (4, 16, 16)}
    generated = made.generate({"latents": torch.randn(2, 4, 16, 16)}, [{}, {"prompt": "portrait of a person, bald"}])
    assert generated.outputs.shape == (2, 64, 64, 3)
    assert generated.outputs.min() >= 0
    assert generated.outputs.max() <= 1
    with pytest.raises(ArgumentError, match=r"does not know \['auburn'\]. Its words are: .*moustache"):
        portrait_generator("auburn hair")
    with pytest.raises(ArgumentError, match="at most 30 words, got 32"):
        portrait_generator("red shirt, " * 16)
