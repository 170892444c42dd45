"""What outputs look like in numbers, and the best that do not look alike."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from surrogate_ax import Gaussian, Metric, Objective
from surrogate_ax.analysis.looks import looks
from surrogate_ax.analysis.portfolio import choose
from surrogate_ax.errors import ArgumentError, UnsupportedError
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.media.preview_files import Preview, open_preview
from surrogate_ax.media.previews import save_preview
from surrogate_ax.media.structures import Structure
from surrogate_ax.policies.history import History

RNG = np.random.default_rng(0)


def _distances(outputs, **options):
    features = looks(outputs, **options)
    return np.linalg.norm(features[:, None] - features[None], axis=2)


def _scene(colour, *, at=0.5, size=64):
    """A square of a colour on grey."""
    picture = np.full((size, size, 3), 0.5)
    left = int(at * size * 0.6)
    picture[left : left + size // 3, left : left + size // 3] = colour
    return picture


def test_pictures_that_look_alike_are_near():
    red, dim, moved, blue = _scene((1, 0, 0)), _scene((0.97, 0.02, 0)), _scene((1, 0, 0), at=0.0), _scene((0, 0, 1))
    distance = _distances([red, dim, moved, blue])
    assert distance[0, 1] < 0.2 * distance[0, 2]
    assert distance[0, 1] < 0.2 * distance[0, 3]


def test_the_kind_of_array_does_not_matter():
    picture = _scene((1, 0, 0))
    as_bytes = (picture * 255).astype(np.uint8)
    same = [as_bytes, Image.fromarray(as_bytes), torch.as_tensor(picture), torch.as_tensor(picture).permute(2, 0, 1)]
    np.testing.assert_allclose(_distances(same), 0, atol=0.01)
    larger = Image.fromarray(as_bytes).resize((256, 256), Image.Resampling.NEAREST)
    assert _distances([picture, larger]).max() < 0.05


def test_finer_detail_is_seen():
    stripes = [np.repeat(np.sin(np.arange(64) * f)[None] > 0, 64, axis=0).astype(float) for f in (0.2, 0.2, 1.5)]
    distance = _distances(stripes)
    assert distance[0, 1] == 0
    assert distance[0, 2] > 0.2


def test_sounds_are_told_apart_by_pitch_and_not_by_phase():
    time = np.arange(8000) / 8000
    tones = [np.sin(2 * np.pi * f * time + phase) for f, phase in ((440, 0), (440, 1), (1760, 0))]
    distance = _distances([tone.astype(np.float32) for tone in tones], rate=8000)
    assert distance[0, 1] < 0.1 * distance[0, 2]


def test_clips_that_move_are_not_stills():
    still = np.repeat(_scene((1, 0, 0))[None], 6, axis=0)
    moving = np.stack([_scene((1, 0, 0), at=k / 6) for k in range(6)])
    distance = _distances([still, still + 0.001, moving], rate=8)
    assert distance[0, 1] < 0.1 * distance[0, 2]


def test_structures_are_told_apart_wherever_they_lie():
    chain = np.cumsum(RNG.normal(size=(40, 3)), axis=0)
    turn = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    shapes = [chain, chain @ turn + 5, 3.8 * np.arange(40)[:, None] * np.array([1, 0, 0])]
    made = [Structure(shape[:, None], np.ones((40, 1), bool)) for shape in shapes]
    distance = _distances(made)
    assert distance[0, 1] < 1e-6
    assert distance[0, 2] > 1


def test_any_other_array_will_do():
    low, same, high = RNG.normal(size=(3, 2, 5, 5, 5, 5))
    assert _distances([low[0], low[0], high[0] + 9])[0, 1] == 0
    assert _distances([low[0], same[0], high[0] + 9])[0, 2] > 10
    with pytest.raises(UnsupportedError, match="features="):
        looks([{"a": 1}])
    with pytest.raises(ArgumentError, match="one kind"):
        looks([_scene((1, 0, 0)), low[0]])


def test_files_look_like_their_outputs(tmp_path):
    picture = _scene((1, 0, 0))
    file = save_preview(picture, tmp_path / "a")
    read, rate = open_preview(Preview(file.name, file.read_bytes()))
    assert rate is None
    assert _distances([picture, read]).max() < 0.02
    tone = np.sin(2 * np.pi * 440 * np.arange(8000) / 8000).astype(np.float32)
    file = save_preview(tone, tmp_path / "b", rate=8000)
    read, rate = open_preview(Preview(file.name, file.read_bytes()))
    assert rate == 8000
    np.testing.assert_allclose(looks([tone], rate=8000), looks([read], rate=rate), atol=0.05)
    for name in ("a.mp4", "a.png", "a.wav"):
        with pytest.raises(UnsupportedError):
            open_preview(Preview(name, b"nothing"))


def _history(values):
    terms = [((Draw(1, i), 1.0),) for i in range(len(values))]
    return History(Objective(Metric("m"), score=lambda *_: []), terms, {"m": np.array(values)}, np.zeros(len(values)))


def test_of_outputs_that_look_alike_the_best_is_chosen():
    place = np.array([0.0, 0.01, 1.0, 1.01, 2.0, 2.01, 3.0, 3.01])
    made, asked = _history(-np.arange(8.0)), list[int]()

    def seen(rows):
        asked.extend(rows)
        return place[rows, None]

    chosen = choose(made, Gaussian((64,)), k=3, seen=seen, floor=1.0)
    assert chosen == [0, 2, 4]
    assert len(asked) == len(set(asked))  # no output is looked at twice
    assert choose(made, Gaussian((64,)), k=8, seen=seen, floor=1.0) == [0, 2, 4, 6]
    assert choose(made, Gaussian((64,)), k=3, seen=seen, min_distance=0) == [0, 1, 2]
    # the unit is the median distance of two draws, whatever the scale of the features
    assert choose(made, Gaussian((64,)), k=3, seen=lambda rows: 1e6 * seen(rows), floor=1.0) == [0, 2, 4]


def test_nothing_below_the_floor_is_chosen():
    place = np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 5.0, 9.0])
    made = _history(-np.arange(8.0))
    assert choose(made, Gaussian((64,)), k=2, seen=lambda rows: place[rows, None], floor=0.75) == [0]
    assert choose(made, Gaussian((64,)), k=2, seen=lambda rows: place[rows, None], floor=1.0) == [0, 6]
    assert choose(made, Gaussian((64,)), k=2, seen=lambda rows: place[rows, None], floor=1.0, most=3) == [0]
    assert choose(made, Gaussian((64,)), k=1, seen=lambda rows: 1 / 0) == [0]  # one alone needs no look


def test_features_are_checked():
    made = _history(-np.arange(8.0))
    for wrong in (lambda rows: np.zeros(len(rows)), lambda rows: np.full((len(rows), 2), np.nan)):
        with pytest.raises(ArgumentError, match="features"):
            choose(made, Gaussian((64,)), k=2, seen=wrong)
    for limits in ({"min_distance": -1.0}, {"min_distance": np.inf}, {"floor": 0.0}, {"floor": 1.1}):
        with pytest.raises(ArgumentError, match="min_distance >= 0 and floor"):
            choose(made, Gaussian((64,)), k=2, **limits)
