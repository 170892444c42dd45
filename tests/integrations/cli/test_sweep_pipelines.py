"""Sweeps of a pipeline in a local folder: how it is loaded, checkpoints, and noise of steps in the latent."""

from __future__ import annotations

import json

import diffusers
import pytest
from optuna.trial import TrialState

from tests.integrations.cli.sweep_folder import Sweep
from tests.integrations.cli.test_sweep import study_of
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2
SCORES = "def red(images, conditions):\n    return [float(image[..., 0].mean()) for image in images]\n"
PIPELINE = {
    "call": "{prompt: a red car, num_inference_steps: 4, output_type: np}",
    "score": "sweep_scores:red",
    "metrics": "{red: maximize}",
    "budget": "8",
}


@pytest.fixture
def saved(sweep: Sweep) -> Sweep:
    (sweep.folder / "sweep_scores.py").write_text(SCORES)
    pipe = tiny.stable_diffusion()
    pipe.save_pretrained(sweep.folder / "models" / "plain", safe_serialization=True)
    pipe.scheduler = diffusers.EulerAncestralDiscreteScheduler.from_config(pipe.scheduler.config)
    pipe.save_pretrained(sweep.folder / "models" / "ancestral", safe_serialization=True)
    return sweep


def test_a_pipeline_with_checkpoints(saved: Sweep) -> None:
    answer = saved(
        "sweep",
        "--json",
        generator="{folder: models/plain, device: cpu, dtype: float32}",
        checkpoints="[2]",
        pruner="{name: percentile, percentile: 50.0, n_startup_trials: 2}",
        **PIPELINE,
    )
    assert answer.exit_code == 0, answer.output
    states = [trial.state for trial in study_of().trials]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    assert json.loads(answer.stdout)["trials"]["scored"] == states.count(TrialState.COMPLETE)


@pytest.mark.parametrize("backend", ["optuna", "ax"])
def test_checkpoints_that_are_planned(saved: Sweep, backend: str) -> None:
    settings = {**PIPELINE, "generator": "models/plain", "checkpoints": "auto", "backend": backend, "batch": "8"}
    plan = saved("sweep", "--dry-run", **settings)
    assert plan.exit_code == 0, plan.output
    assert "checkpoints after steps 2; the best 25% of a round go on" in plan.stdout
    answer = saved("sweep", "--json")
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert result["trials"]["ended"] > 8 > result["trials"]["scored"]
    assert 7 * 8 < result["nfe"] <= 8 * 8  # guided: two network evaluations a step
    states = [trial.state for trial in study_of().trials]
    assert states.count(TrialState.COMPLETE) == result["trials"]["scored"]
    assert states.count(TrialState.PRUNED) == result["trials"]["ended"] - result["trials"]["scored"]
    again = saved("sweep", "--json")
    assert json.loads(again.stdout)["trials"] == result["trials"]


def test_where_steps_change_the_latent_they_are_refused(saved: Sweep) -> None:
    generator = "{folder: models/ancestral, step_noise: true}"
    plain = saved("sweep", generator="models/ancestral", **PIPELINE)
    assert plain.exit_code == 2
    assert "s.yaml:2: generator: " in plain.stderr
    searched = {**PIPELINE, "call": "{prompt: a red car, output_type: np}"}
    refused = saved("sweep", generator=generator, conditions="{num_inference_steps: [2, 4]}", **searched)
    assert refused.exit_code == 2, refused.output
    assert "'num_inference_steps' cannot vary between items" in refused.stderr
    assert "s.db" not in saved.files()
    begun = saved("sweep", "--json", generator=generator, **PIPELINE)
    assert begun.exit_code == 0, begun.output
    dear = saved("best", "--steps", "8")
    assert dear.exit_code == 2
    assert "'num_inference_steps' cannot vary between items" in dear.stderr
    assert "best" not in saved.files()
