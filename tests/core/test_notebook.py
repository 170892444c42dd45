"""Values print as one line, and as facts, bars and pictures in a notebook."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
import torch
from PIL import Image

from surrogate_ax import (
    Evaluator,
    FunctionGenerator,
    Gaussian,
    Metric,
    MultiCondition,
    Objective,
    Recipe,
    SurrogateSpace,
)
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.markup import LONGEST, MOST, card, mixture, one_line
from surrogate_ax.media.thumbnails import MOST as PICTURES
from surrogate_ax.media.thumbnails import SIDE, thumbnails


def grey(z: torch.Tensor) -> torch.Tensor:
    return z.sigmoid()


def mean(pictures, conditions):
    if (pictures > 0.999).any():
        raise ValueError("<too bright>")
    return pictures.mean(dim=(1, 2))


GENERATOR = FunctionGenerator(grey, (16, 16))
SPACE = SurrogateSpace.sample(GENERATOR.prior, seeds=3, rng=0)


def pictures_in(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(text))) for text in found]


def test_each_value_is_one_line():
    evaluate = Evaluator(GENERATOR, Objective(Metric("mean"), score=mean))
    evaluations = evaluate(SPACE.bank.latents(np.eye(3)))
    recipe = Recipe(((Draw(1, 2), 1.0),), {"guidance": 2.5, "prompt": "red\nhat"}, GENERATOR.fingerprint, 1)
    low, high = evaluations.values["mean"].min(), evaluations.values["mean"].max()
    assert repr(SPACE) == "SurrogateSpace(K=3, 3 seeds, knothe-rosenblatt)"
    assert repr(SPACE.bank) == "Bank(3 seeds, D=256)"
    assert repr(recipe) == r"Recipe(1 seed, guidance=2.5, prompt='red\nhat')"
    assert repr(evaluations) == f"Evaluations(3 done, mean {low:.4g} to {high:.4g})"
    assert repr(GENERATOR) == f"FunctionGenerator({__name__}.grey, (16, 16))"
    assert repr(MultiCondition(GENERATOR, [{"a": 1}])) == f"MultiCondition({GENERATOR!r}, 1 conditions)"


def test_evaluations_show_pictures_values_and_reasons():
    z = SPACE.bank.latents(np.eye(3))["latents"].clone()
    z[1, 0, 0] = 20.0
    evaluations = Evaluator(GENERATOR, Objective(Metric("mean"), score=mean))({"latents": z})
    html = evaluations._repr_html_()
    assert "2 done, 1 failed" in html
    assert "&lt;too bright&gt;" in html
    assert "<too bright>" not in html
    shown = pictures_in(html)
    assert [picture.size for picture in shown] == [(SIDE, SIDE)] * 3
    block = SIDE // 16  # nearest neighbours: a pixel is a block
    small = np.asarray(shown[0].convert("L"))[block // 2 :: block, block // 2 :: block]
    np.testing.assert_allclose(small / 255, np.asarray(grey(z[0])), atol=0.51 / 255)


def test_a_space_and_a_recipe_show_what_they_are_made_of():
    html = SPACE._repr_html_()
    assert html.count("<svg") == 3
    assert html.count("draw 2: +1.000") == 1
    recipe = Recipe(((Draw(1, 0), 0.6), (Draw(1, 7), -0.8)), {}, {"function": "<f>"}, 1)
    html = recipe._repr_html_()
    assert html.index("draw 7: -0.800") < html.index("draw 0: +0.600")  # the larger first
    wide = [float(width) for width in re.findall(r'<rect x="[^"]+" width="([^"]+)"', html)]
    assert wide == pytest.approx([420 * 0.64, 420 * 0.36], abs=0.06)
    assert "&lt;f&gt;" in html


def test_a_generator_is_described_and_does_not_run():
    def never(z: torch.Tensor) -> torch.Tensor:
        raise AssertionError("it ran")

    html = FunctionGenerator(never, Gaussian((4,)))._repr_html_()
    assert "D = 4" in html
    assert "never" in html


def test_many_seeds_long_facts_and_nothing():
    many = mixture([(str(i), 1.0) for i in range(MOST + 5)])
    assert many.count("<rect") == MOST + 1
    assert "5 others" in many
    assert mixture([("zero", 0.0)]) == ""
    assert "(1000 characters)" in card("t", {"long": "x" * 1000})
    assert "x" * (LONGEST + 1) not in card("t", {"long": "x" * 1000})
    assert one_line("Name", "", "two\n words") == "Name(two words)"


def test_what_is_no_picture_is_named():
    html = thumbnails([torch.zeros(5), "text", None], ["a", "b", "c"])
    assert pictures_in(html) == []
    assert [name in html for name in ("Tensor(5,)", "str", "NoneType")] == [True] * 3
    many = thumbnails([np.zeros((4, 4))] * (PICTURES + 2), ["x"] * (PICTURES + 2))
    assert len(pictures_in(many)) == PICTURES
    assert "and 2 more" in many


def test_pictures_that_are_shown_together_share_black_and_white():
    dark, light = (
        np.asarray(picture.convert("L"))
        for picture in pictures_in(thumbnails([np.zeros((4, 4)), np.full((4, 4), 3.0)], ["", ""]))
    )
    assert (dark.max(), light.min()) == (0, 255)
