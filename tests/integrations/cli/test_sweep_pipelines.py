"""Sweeps of a pipeline in a local folder: how it is loaded, checkpoints, and noise of steps in the latent."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import diffusers
import peft
import pytest
import torch
from optuna.trial import TrialState
from typer.testing import CliRunner

from surrogate_ax_cli.generator_source import Source, beside, load_options
from surrogate_ax_cli.main import app
from surrogate_ax_cli.sweep_file import read_sweep
from surrogate_ax_optuna.trials import read_recipe
from tests.integrations.cli.sweep_folder import Sweep
from tests.integrations.cli.test_sweep import study_of
from tests.integrations.diffusers import tiny
from tests.integrations.diffusers.single_file import save_single_file

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


def _made_by(sweep: Sweep, generator: str) -> dict[str, str]:
    """What a sweep records of its generator."""
    answer = sweep("sweep", generator=generator, **PIPELINE | {"budget": "4"})
    assert answer.exit_code == 0, answer.output
    made = dict(read_recipe(study_of().trials[0]).generator)
    for file in sweep.folder.glob("s.db*"):
        file.unlink()
    return made


@pytest.fixture
def cached(saved: Sweep, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """The plain pipeline as the repository "someone/plain" of a cache."""
    cache = tmp_path_factory.mktemp("hub")
    repository, commit = cache / "models--someone--plain", "0" * 40
    shutil.copytree(saved.folder / "models" / "plain", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "v1").write_text(commit)
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    return saved


def test_a_repository_and_one_file_are_the_folder(cached: Sweep) -> None:
    save_single_file(tiny.stable_diffusion(), cached.folder / "models" / "one.safetensors")
    known = _made_by(cached, "models/plain")
    for generator in (
        "someone/plain",
        "{folder: someone/plain, revision: v1}",
        "{folder: models/one.safetensors, config: models/plain}",
        "{folder: models/one.safetensors, config: someone/plain, pipeline: StableDiffusionPipeline}",
    ):
        assert _made_by(cached, generator) == known


def test_loras_of_a_sweep(saved: Sweep) -> None:
    pipe = tiny.stable_diffusion()
    pipe.unet.add_adapter(peft.LoraConfig(r=2, target_modules=["to_q"]))
    layers = peft.get_peft_model_state_dict(pipe.unet)
    layers = {key: torch.ones_like(tensor) for key, tensor in layers.items()}
    pipe.save_lora_weights(saved.folder / "loras", unet_lora_layers=layers, weight_name="style.safetensors")
    one = _made_by(saved, "{folder: models/plain, lora: loras/style.safetensors}")
    listed = _made_by(saved, "{folder: models/plain, lora: [loras/style.safetensors]}")
    less = _made_by(saved, "{folder: models/plain, lora: {loras/style.safetensors: 0.5}}")
    assert one == listed
    assert "lora0 1.0" in one["adapters"]
    assert "lora0 0.5" in less["adapters"]


FOUR_BITS = "{quant_backend: bitsandbytes_4bit, quant_kwargs: {load_in_4bit: true}}"


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        ("someone/else", "s.yaml:2: generator: folder: someone/else is not a folder, .* hf download someone/else"),
        ("{folder: someone/plain, revision: v2}", "hf download someone/plain --revision v2"),
        (
            "{folder: models/plain, lora: none.safetensors}",
            "s.yaml:2: generator: lora: expected a local .safetensors file",
        ),
        ("{folder: models/plain, lora: 3}", "s.yaml:2: generator.lora: expected"),
        ("{folder: models/plain, lora: {a.safetensors: much}}", "generator.lora.a.safetensors: expected a number"),
        ("{folder: models/none.safetensors}", "s.yaml:2: generator: folder: expected a local .safetensors file"),
        ("{folder: models/plain, quantization: {bits: 4}}", "s.yaml:2: generator: quantization: .*'bits'"),
        (
            f"{{folder: models/plain, quantization: {FOUR_BITS}}}",
            "pip install (-U )?bitsandbytes",
        ),
    ],
)
def test_sources_that_do_not_work_are_refused_by_line(cached: Sweep, generator: str, message: str) -> None:
    answer = cached("sweep", generator=generator, **PIPELINE)
    assert answer.exit_code in (1, 2), answer.output
    assert re.search(message, answer.stderr), answer.stderr
    assert not list(cached.folder.glob("s.db*"))


def test_paths_are_those_beside_the_file(tmp_path: Path) -> None:
    keys: dict[str, Any] = {"config": "models/sd", "lora": {"a.safetensors": 0.5}}
    found = load_options(Source("folder", "m.safetensors", keys), tmp_path)
    assert found == {"config": "models/sd", "lora": {str(tmp_path / "a.safetensors"): 0.5}}
    (tmp_path / "models" / "sd").mkdir(parents=True)
    assert load_options(Source("folder", "m", keys), tmp_path)["config"] == str(tmp_path / "models" / "sd")
    assert beside(tmp_path, "one.safetensors") == str(tmp_path / "one.safetensors")
    assert beside(tmp_path, "https://example.org/a") == "https://example.org/a"


def test_init_of_a_repository(cached: Sweep) -> None:
    answer = CliRunner().invoke(app, ["init", "someone/plain"])
    assert answer.exit_code == 0, answer.output
    assert read_sweep(cached.folder / "plain.yaml").generator == Source("folder", "someone/plain")
