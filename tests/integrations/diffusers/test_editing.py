"""Tiny pipelines of every family invert what they made, or are refused by name; avatars are edited."""

from __future__ import annotations

from typing import Any

import diffusers
import numpy as np
import pytest

from surrogate_ax.editing import Edit, FlowOpt, Inpaint, edit, invert, remake
from surrogate_ax.errors import UnsupportedError
from surrogate_ax_diffusers import avatar_generator, pipeline_generator
from tests.contracts.generator_contract import draw
from tests.integrations.diffusers import tiny, tiny_families
from tests.integrations.diffusers.tiny_families import CALLS

pytestmark = tiny_families.QUIET
FLOWS = (
    "StableDiffusion3Pipeline",
    "FluxPipeline",
    "Flux2Pipeline",
    "ZImagePipeline",
    "QwenImagePipeline",
    "HunyuanVideoPipeline",
    "WanPipeline",
    "LTXPipeline",
)
DIFFUSIONS: dict[str, Any] = {
    "ddim": lambda: tiny.stable_diffusion("ddim"),
    "euler": lambda: tiny.stable_diffusion("euler"),
    "dpm, first order": lambda: tiny.stable_diffusion(
        diffusers.DPMSolverMultistepScheduler(steps_offset=1, solver_order=1)
    ),
}


def generator(name: str, pipe: Any = None, **call: Any) -> Any:
    pipe = CALLS[name][0]() if pipe is None else pipe
    settings = tiny_families.generator_call(name, num_inference_steps=2, guidance_scale=1.0)
    return pipeline_generator(pipe, check_determinism=False, **{**settings, **call})


def relative_error(made: Any) -> np.ndarray:
    z = draw(made, 2)
    final = made.latents(made.advance(made.start(z, [{}] * 2), made.steps))
    found = invert(made, final, {})
    size = final["latents"].float().flatten(1).square().mean(dim=1).sqrt().numpy()
    return np.asarray(found.error / size)


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_inverts_what_it_made(name: str) -> None:
    # Two steps of the tiny SD3 are too coarse to be undone, and `converged` says so.
    steps = {"num_inference_steps": 3} if name == "StableDiffusion3Pipeline" else {}
    assert relative_error(generator(name, **steps)).max() <= 1e-5


@pytest.mark.parametrize("name", DIFFUSIONS)
def test_a_diffusion_inverts_what_it_made(name: str) -> None:
    assert relative_error(generator("StableDiffusionPipeline", DIFFUSIONS[name]())).max() <= 1e-4


def test_a_solver_of_second_order_is_refused_by_name() -> None:
    made = generator("StableDiffusionPipeline")
    with pytest.raises(UnsupportedError, match="DPMSolverMultistepScheduler with solver_order=2 remembers"):
        invert(made, draw(made), {})


@pytest.mark.filterwarnings("ignore:source. the generator reconstructs:UserWarning")  # VAEs of random weights
@pytest.mark.parametrize("name", ["FluxPipeline", "StableDiffusion3Pipeline", "WanPipeline"])
def test_the_same_code_edits_large_models(name: str) -> None:
    made = generator(name)
    item = np.clip(np.asarray(made.decode(draw(made, 1)))[0], 0, 1)
    found = edit(made, item, {"prompt": "a cat"}, {"prompt": "a red car"}, rng=0, draws=2)
    assert isinstance(found.edit, Edit)
    assert np.stack(found.outputs).shape == (2, *item.shape)
    region = np.zeros(item.shape[:-1], bool)
    region[..., : item.shape[-2] // 2] = True
    filled = edit(made, item, {"prompt": "a cat"}, {"prompt": "a red car"}, rng=0, draws=1, mask=region)
    assert isinstance(filled.edit, Inpaint)


def test_a_sound_is_searched_through_flowopt() -> None:
    import optuna

    from surrogate_ax import Metric, Objective, draws
    from surrogate_ax_optuna import optimize, portfolio

    made = generator("StableAudioPipeline")
    y = made.encode(made.generate(draw(made, 1), [{"prompt": "a cat"}]).outputs)
    edits = FlowOpt(made, y, target={"prompt": "a red car"}, iterates=3, eta=0.1, backtrack=True)

    def loud(outputs: Any, conditions: Any) -> np.ndarray:
        return np.abs(np.asarray(outputs)).reshape(len(outputs), -1).mean(axis=1)

    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    objective = Objective(Metric("loudness"), score=loud)
    stops: dict[str, Any] = {"checkpoints": (1,), "keep_fraction": 0.5, "policy": draws(edits.prior, 8, axes=4)}
    optimize(study, edits, objective, rng=0, total_trials=8, batch_size=4, progress=False, **stops)
    states = [trial.state.name for trial in study.trials]
    assert len(states) == 8
    assert "PRUNED" in states  # stopped between iterates
    best = portfolio(study, edits, k=1)[0]
    assert float(loud([best.output], None)[0]) == pytest.approx(study.best_value, abs=1e-6)


@pytest.mark.filterwarnings("ignore:source. the generator reconstructs:UserWarning")
def test_a_model_that_no_step_size_suits_is_refused() -> None:
    """The tiny Stable Audio has random weights: pairs of its latents move against their outputs."""
    made = generator("StableAudioPipeline")
    sound = made.generate(draw(made, 1), [{"prompt": "a cat"}]).outputs[0]
    with pytest.raises(UnsupportedError, match="no step size is safe"):
        edit(made, sound, {"prompt": "a cat"}, {"prompt": "a red car"}, rng=0, draws=2)


def test_a_source_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(n, 16, 16, 3\), got \(1, 8, 8, 3\)"):
        edit(avatar_generator("", steps=4), np.zeros((8, 8, 3)), {}, {"prompt": "red hat"}, rng=0)


@pytest.fixture(scope="module")
def avatar() -> tuple[Any, np.ndarray, dict[str, Any]]:
    made = avatar_generator("", steps=6, guidance=1.0, check_determinism=False)
    text = {"prompt": "no glasses, no hat, pale skin, short black hair, blue clothes, white background"}
    output = made.generate(draw(made, 1, rng=3), [{**text, "guidance_scale": 1.5}]).outputs
    return made, np.round(np.asarray(output[0]) * 255).astype(np.uint8), text


def test_avatars_are_inverted_under_their_caption(avatar: Any) -> None:
    made, image, text = avatar
    x = made.encode(image[None])
    found = invert(made, x, text, budget=40)
    again = np.asarray(made.generate(found.latents, [text]).outputs)
    assert np.sqrt(np.square(again - image / 255).mean()) < 0.02
    assert float(found.error[0]) < float(invert(made, x, text, method="euler").error[0])


def test_a_hat_is_painted_in_and_the_face_stays(avatar: Any) -> None:
    made, image, text = avatar
    region = np.zeros((16, 16), bool)
    region[:6] = True
    target = {"prompt": text["prompt"].replace("no hat", "red hat")}
    found = edit(made, image, text, target, rng=0, mask=region, draws=2)
    outputs = np.stack(found.outputs)
    assert np.abs(outputs[:, 6:] - image[6:] / 255).max() <= 1e-5
    red = outputs[:, :6, :, 0] - outputs[:, :6, :, 1:].mean(axis=-1)
    before = image[:6, :, 0] / 255 - image[:6, :, 1:].mean(axis=-1) / 255
    assert (red > 0.3).mean() > (before > 0.3).mean() + 0.1


def test_outside_the_region_on_which_draws_agree_a_picture_stays(avatar: Any) -> None:
    made, image, text = avatar
    target = {"prompt": text["prompt"].replace("no glasses", "dark glasses")}
    found = edit(made, image, text, target, rng=0, draws=3)
    outputs = np.stack(found.outputs)
    stays = (np.abs(outputs - image / 255).max(axis=(0, -1)) < 1e-6).mean()
    assert 0.3 < stays < 1
    again, _ = remake(found.recipes, made, seeds=found.seeds)
    np.testing.assert_allclose(np.asarray(again), outputs, atol=1e-5)
    whole = edit(made, image, text, target, rng=0, draws=3, local=False)
    assert found.nfe == whole.nfe
    assert (np.sort(found.distances) < np.sort(whole.distances)).all()


def test_every_edit_can_be_searched_by_a_host(avatar: Any) -> None:
    import optuna

    from surrogate_ax import Metric, Objective, Range
    from surrogate_ax_optuna import optimize

    made, image, text = avatar
    target = {"prompt": text["prompt"].replace("no glasses", "dark glasses")}
    edits = Edit(made, made.encode(image[None]), source=text, target=target)
    objective = Objective(
        Metric("kept"),
        score=lambda outputs, conditions: -np.abs(np.asarray(outputs) - image / 255).mean(axis=(1, 2, 3)),
    )
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))
    optimize(
        study, edits, objective, rng=0, total_trials=6, batch_size=6, conditions={"start": Range(1, 4)}, progress=False
    )
    assert len(study.trials) == 6
    assert {trial.params["start"] for trial in study.trials} <= {1, 2, 3, 4}
    assert study.best_value < 0
