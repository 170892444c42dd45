from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState
from PIL import Image
from typer.testing import CliRunner

from surrogate_ax import FunctionGenerator, __version__, plan
from surrogate_ax.latents.seeds import Draw
from surrogate_ax_cli import demo
from surrogate_ax_cli.main import app
from surrogate_ax_cli.pictures import chosen_seeds, count_draws
from surrogate_ax_optuna import sqlite
from surrogate_ax_optuna.trials import ended_trials, read_recipe
from tests.integrations.diffusers.tiny import NUMPY_2

MIX = torch.from_numpy(np.random.default_rng(0).standard_normal((768, 48)).astype(np.float32)) / 28


def _blocks(z: torch.Tensor) -> np.ndarray:
    """4x4 blocks of colours that depend smoothly on the latent: a fast stand-in for the avatars."""
    colours = torch.sigmoid(2 * (z.flatten(1) @ MIX)).reshape(-1, 4, 4, 3)
    return colours.repeat_interleave(4, 1).repeat_interleave(4, 2).numpy()


class _Breaking(FunctionGenerator):
    """Raises something in its k-th call."""

    def __init__(self, k: int, error: BaseException) -> None:
        super().__init__(_blocks, (3, 16, 16), nfe=24)
        self.left, self.error = k, error

    def generate(self, z: Any, conditions: Sequence[Any]) -> Any:
        self.left -= 1
        if self.left == 0:
            raise self.error
        return super().generate(z, conditions)


@pytest.fixture
def blocks(monkeypatch: pytest.MonkeyPatch) -> FunctionGenerator:
    generator = FunctionGenerator(_blocks, (3, 16, 16), nfe=24)
    monkeypatch.setattr(demo, "portraits", lambda prompt: generator)
    return generator


def _demo(out: Path, *arguments: str) -> Any:
    return CliRunner().invoke(app, ["demo", "--out", str(out), *arguments])


@NUMPY_2
def test_the_embedded_model_end_to_end(tmp_path: Path) -> None:
    result = _demo(tmp_path / "new" / "folder", "--evaluations", "8", "--json")
    assert result.exit_code == 0, result.output
    history = json.loads(result.stdout)
    assert history["prompt"] == demo.PROMPT
    for side in ("search", "plain draws"):
        assert history[side]["nfe"] == 8 * demo.STEPS
        assert 0 < history[side]["best"] < history[side]["median"] < 1
    assert history["search"]["best"] != history["plain draws"]["best"]
    with Image.open(history["files"]["contact_sheet"]) as sheet, Image.open(history["files"]["history"]) as history:
        assert min(sheet.size) > 500
        assert min(history.size) > 500
    pictures = list((tmp_path / "new" / "folder" / "previews").iterdir())
    assert len(pictures) == 16
    with Image.open(pictures[0]) as picture:
        assert picture.size == (128, 128)


def test_a_word_that_the_model_does_not_know_is_bad_input(tmp_path: Path) -> None:
    result = _demo(tmp_path, "--prompt", "red hat, freckles")
    assert result.exit_code == 2
    assert "does not know ['freckles']" in result.stderr
    assert "Traceback" not in result.output


def test_the_table_and_what_to_open(tmp_path: Path, blocks: FunctionGenerator) -> None:
    result = _demo(tmp_path, "--evaluations", "40")
    assert result.exit_code == 0, result.output
    plain, search = (
        next(line for line in result.stdout.splitlines() if line.startswith(name)) for name in ("plain", "search")
    )
    assert plain.split()[4] == search.split()[3] == "960"  # NFE
    assert str(tmp_path / "contact-sheet.png") in result.stdout
    assert f"surrogate-ax gallery {tmp_path / 'study.db'} --study search" in result.stdout
    assert "Trial" not in result.stderr  # Optuna's log lines


def test_a_second_run_shows_the_same_result_without_evaluating(
    tmp_path: Path, blocks: FunctionGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _demo(tmp_path, "--evaluations", "24", "--json")
    monkeypatch.setattr(demo, "optimize", lambda *_, **__: pytest.fail("something was evaluated again"))
    second = _demo(tmp_path, "--evaluations", "24", "--json")
    assert second.exit_code == 0
    assert second.stdout == first.stdout
    assert "24 of them are there already" in second.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--seed", "1"), "seed 0, not 1"),
        (("--evaluations", "32"), "evaluations 24, not 32"),
        (("--prompt", "hat"), "'hat'"),
    ],
)
def test_a_folder_with_another_demo_is_refused(
    tmp_path: Path, blocks: FunctionGenerator, arguments: tuple[str, ...], named: str
) -> None:
    demo.run(blocks, demo.Settings(evaluations=24), tmp_path)
    result = _demo(tmp_path, *(("--evaluations", "24") if "--evaluations" not in arguments else ()), *arguments)
    assert result.exit_code == 2
    assert named in result.stderr
    assert "--out" in result.stderr


def test_bad_input_and_failures_have_their_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "portraits", lambda prompt: FunctionGenerator(_fail, (3, 16, 16)))
    (tmp_path / "file").write_text("")
    assert _demo(tmp_path / "file").exit_code == 2
    assert _demo(tmp_path, "--evaluations", "7").exit_code == 2
    failed = _demo(tmp_path / "out")
    assert failed.exit_code == 1
    assert "the weights are gone" in failed.stderr
    assert failed.stderr.count("Traceback") == 1  # of the first failure


def _fail(z: torch.Tensor) -> Any:
    raise RuntimeError("the weights are gone")


@pytest.mark.parametrize("call", [2, 5])  # in the plain draws, in the search
def test_an_interrupted_demo_goes_on(
    tmp_path: Path, blocks: FunctionGenerator, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(demo, "portraits", lambda prompt: _Breaking(call, KeyboardInterrupt()))
        interrupted = _demo(tmp_path, "--evaluations", "40")
    assert interrupted.exit_code == 130
    assert "interrupted" in interrupted.stderr
    result = _demo(tmp_path, "--evaluations", "40", "--json")
    assert result.exit_code == 0, result.output
    assert {json.loads(result.stdout)[side]["nfe"] for side in ("search", "plain draws")} == {960}


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used:UserWarning")  # Optuna, of the bare ask
def test_trials_of_a_killed_demo_are_taken_back(tmp_path: Path, blocks: FunctionGenerator) -> None:
    settings = demo.Settings(evaluations=24)
    with pytest.raises(KeyboardInterrupt):
        demo.run(_Breaking(2, KeyboardInterrupt()), settings, tmp_path)
    left = optuna.load_study(study_name=demo.PLAIN, storage=sqlite(tmp_path / demo.STUDY_FILE))
    for _ in range(3):
        left.ask()  # what a process that was killed leaves behind
    _, plain = demo.run(blocks, settings, tmp_path)
    assert len(ended_trials(plain)) == 24
    assert not plain.get_trials(states=(TrialState.RUNNING,))
    assert demo.summarise(plain).nfe == 24 * 24


def test_the_sides_share_no_draw_and_are_themselves_plain(blocks: FunctionGenerator) -> None:
    studies = [study for seed in (0, 1) for study in demo.run(blocks, demo.Settings(seed=seed, evaluations=24))]
    keys = [
        {read_recipe(trial).terms[0][0] for trial in study.trials if len(read_recipe(trial).terms) == 1}
        for study in studies
    ]
    assert [len(each) for each in keys] == [8, 24, 8, 24]
    assert all(isinstance(key, Draw) for each in keys for key in each)
    assert len(set().union(*keys)) == 64
    assert all(len(read_recipe(trial).terms) == 1 for trial in studies[1].trials)


def test_the_seeds_shown_are_the_best_of_the_searchs_draws(blocks: FunctionGenerator) -> None:
    search, _ = demo.run(blocks, demo.Settings(evaluations=48))
    count = plan(48, dim=blocks.prior.dim).draws
    drawn = sorted(trial.values[0] for trial in search.trials[:count])
    assert count_draws(search) == count
    seeds = [trial.values[0] for trial in chosen_seeds(search)]
    assert set(seeds) <= set(drawn)
    assert seeds[0] == drawn[0]


def test_the_verdict_says_when_the_search_lost() -> None:
    won = demo.table(demo.Summary(0.2, 0.3, 3072, 4.0), demo.Summary(0.25, 0.4, 3072, 4.0))
    lost = demo.table(demo.Summary(0.25, 0.3, 3072, 4.0), demo.Summary(0.2, 0.4, 3072, 4.0))
    assert "20% closer" in won
    assert "did not beat" in lost


def test_help_and_version() -> None:
    listed = CliRunner().invoke(app, ["--help"])
    assert listed.exit_code == 0
    assert "demo" in listed.stdout
    assert CliRunner().invoke(app, ["--version"]).stdout.strip() == __version__
