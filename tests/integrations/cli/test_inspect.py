"""`surrogate-ax inspect`: what it finds in small studies, and what it refuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.samplers import RandomSampler
from PIL import Image
from typer.testing import CliRunner

from surrogate_ax import FunctionGenerator, Metric, Objective, SurrogateSpace, draws
from surrogate_ax_cli.inspect_pictures import box_grid
from surrogate_ax_cli.main import app
from surrogate_ax_optuna import optimize, sqlite

FACTORY = """
from surrogate_ax import FunctionGenerator

def pictures(z):
    return z.permute(0, 2, 3, 1).sigmoid()

def texts(z):
    return z.sum(dim=(1, 2, 3)).tolist()

def images():
    return FunctionGenerator(pictures, (3, 6, 6))

def numbers():
    return FunctionGenerator(texts, (3, 6, 6))

def nothing():
    return None
"""


def _brightness(outputs, conditions):
    if isinstance(outputs, list):
        return np.array(outputs)
    return outputs.double().mean(dim=(1, 2, 3)).numpy()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Studies "box" and "plain" of pictures, and "scalars" of numbers, in one SQLite file, with their generators."""
    folder = tmp_path_factory.mktemp("inspect")
    (folder / "ours_to_inspect.py").write_text(FACTORY)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        import ours_to_inspect as ours

        storage, objective = sqlite(folder / "s.db"), Objective(Metric("bright"), score=_brightness)

        def search(name: str, generator: FunctionGenerator, **options) -> None:
            study = optuna.create_study(
                study_name=name, storage=storage, direction="maximize", sampler=RandomSampler(seed=0)
            )
            optimize(study, generator, objective, rng=0, batch_size=8, progress=False, **options)

        g = ours.images()
        search("box", g, total_trials=32, space=SurrogateSpace.sample(g.prior, seeds=4, rng=0))
        search("plain", g, total_trials=8, policy=draws(g.prior, 8, axes=2))
        n = ours.numbers()
        search("scalars", n, total_trials=16, space=SurrogateSpace.sample(n.prior, seeds=3, rng=0))
        optuna.create_study(study_name="foreign", storage=storage)
        yield folder
    sys.modules.pop("ours_to_inspect")


def _inspect(folder: Path, *options: str):
    return CliRunner().invoke(app, ["inspect", str(folder / "s.db"), "--out", str(folder / "out"), "--force", *options])


def test_a_study_of_a_box_is_described_and_drawn(folder):
    answer = _inspect(folder, "--study", "box", "--generator", "ours_to_inspect:images", "--side", "3", "--json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert found["trials"] == 32
    assert found["determinism"]["repeat"] == 0
    assert found["support"]["rounds"]["0"]["latents"] == 32
    assert found["box"]["axes"] == 4
    assert len(found["seeds"]["seeds"]) == 4
    assert 1 <= found["effective_seeds"]["best"] <= 4
    # Brightness is nearly linear in the latent, so the seed of greatest sum has the steepest slope.
    assert found["seeds"]["explained"] > 0.5
    space = SurrogateSpace.sample(FunctionGenerator(len, (3, 6, 6)).prior, seeds=4, rng=0)
    sums = space.bank.inner(np.eye(4)).sum(dim=1)
    steepest = max(found["seeds"]["seeds"], key=lambda seed: seed["slope"])["seed"]
    assert steepest[1:] == [space.bank.seeds[0].entropy, int(torch.argmax(sums))]
    assert found["left_out"] == []
    assert [Path(name).name for name in found["files"]] == ["support.png", "stationarity.png", "seeds.png", "map.png"]
    for name in found["files"]:
        with Image.open(name) as picture:
            assert min(picture.size) > 200
            assert len(picture.convert("RGB").getcolors(1 << 20)) > 20


def test_the_text_says_the_same(folder):
    answer = _inspect(folder, "--study", "box", "--generator", "ours_to_inspect:images", "--side", "2")
    assert answer.exit_code == 0, answer.output
    for words in ("32 ended trials", "round 0: 32 latents", "carry the score: #", "Box         K = 4"):
        assert words in answer.stdout


def test_plain_draws_have_support_only(folder):
    answer = _inspect(folder, "--study", "plain", "--generator", "ours_to_inspect:images")
    assert answer.exit_code == 0, answer.output
    assert "trials share no seeds" in answer.stdout
    assert "map.png is left out: it needs three shared seeds, the trials have 0" in answer.stdout


def test_outputs_that_are_no_pictures_leave_these_out_and_say_so(folder):
    answer = _inspect(folder, "--study", "scalars", "--generator", "ours_to_inspect:numbers", "--json")
    assert answer.exit_code == 0, answer.output
    found = json.loads(answer.stdout)
    assert [Path(name).name for name in found["files"]] == ["support.png", "stationarity.png"]
    assert [line.split(" ", 1)[0] for line in found["left_out"]] == ["seeds.png", "map.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "expected one of ['box', 'plain', 'scalars', 'foreign'], none was named"),
        (("--study", "other"), "got 'other'"),
        (("--study", "foreign"), "no record of its metrics"),
        (("--study", "box"), "no pipeline made this study"),
        (("--study", "box", "--generator", "images"), "package.module:factory"),
        (("--study", "box", "--generator", "ours_to_inspect:other"), "found no 'ours_to_inspect:other'"),
        (("--study", "box", "--generator", "no_such_module:images"), "found no 'no_such_module:images'"),
        (("--study", "box", "--generator", "ours_to_inspect:nothing"), "to return a Generator, got NoneType"),
        (("--study", "box", "--generator", "ours_to_inspect:numbers"), "made with another one"),
    ],
)
def test_bad_input_is_refused(folder, options, message):
    answer = _inspect(folder, *options)
    assert answer.exit_code == 2
    assert message in answer.stderr


def test_a_missing_file_is_not_made(tmp_path):
    answer = CliRunner().invoke(app, ["inspect", str(tmp_path / "none.db")])
    assert answer.exit_code == 2
    assert "found no" in answer.stderr
    assert not (tmp_path / "none.db").exists()


def test_the_grid_covers_the_box_from_the_top():
    grid = box_grid(2)
    np.testing.assert_allclose(grid, [[0.25, 0.75], [0.75, 0.75], [0.25, 0.25], [0.75, 0.25]])
