"""What a real safety checker blanks out is a failure, neither a score nor an estimate."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker

from surrogate_ax import Evaluator, Metric, Objective
from surrogate_ax.execution.early_stopping import EarlyStopping
from surrogate_ax.execution.executor import Candidate
from surrogate_ax.latents.bank import Bank
from surrogate_ax_diffusers import pipeline_generator
from tests.contracts.generator_contract import draw
from tests.integrations.diffusers import tiny

pytestmark = tiny.NUMPY_2
N = 4


@pytest.fixture(scope="module")
def made() -> Any:
    """A pipeline whose checker withholds the half of the first N draws that are nearest to its concepts."""
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        vision_config={**vision, "image_size": 30, "patch_size": 6}, text_config={"hidden_size": 16}, projection_dim=8
    )
    size = {"height": 30, "width": 30}
    processor = transformers.CLIPImageProcessorPil(size=size, crop_size=size)
    pipe = tiny.stable_diffusion(
        "euler", safety_checker=StableDiffusionSafetyChecker(config), feature_extractor=processor
    )
    call = {"prompt": "a cat", "num_inference_steps": 4, "output_type": "np"}
    generator = pipeline_generator(pipe, check_determinism=False, **call)
    seen: list[torch.Tensor] = []
    hook = pipe.safety_checker.visual_projection.register_forward_hook(lambda *given: seen.append(given[-1]))
    generator.generate(draw(generator, N), [{}] * N)
    hook.remove()
    concepts = pipe.safety_checker.concept_embeds
    near = torch.nn.functional.cosine_similarity(seen[0][:, None], concepts, dim=-1).amax(1)
    pipe.safety_checker.concept_embeds_weights.fill_(float(near.sort().values[N // 2 - 1 : N // 2 + 1].mean()))
    return generator, set(near.argsort()[N // 2 :].tolist())


def brightness(outputs: Any, conditions: Any) -> list[float]:
    assert all(np.asarray(output).max() > 0 for output in outputs), "a black picture was scored"
    return [float(np.asarray(output).mean()) for output in outputs]


OBJECTIVE = Objective(Metric("brightness", "maximize"), score=brightness)


def test_outputs_that_are_withheld_fail_and_are_not_scored(made: Any) -> None:
    generator, withheld = made
    evaluations = Evaluator(generator, OBJECTIVE, catch=())(draw(generator, N))
    assert set(evaluations.reasons) == withheld
    assert all("safety checker" in reason for reason in evaluations.reasons.values())
    assert [status == "failed" for status in evaluations.status] == [i in withheld for i in range(N)]
    assert all((output is None) == (i in withheld) for i, output in enumerate(evaluations.outputs))


class Patient:
    """A host that looks at estimates and stops nothing."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def report_estimates(self, candidates: Any, step: int, values: Any) -> None:
        self.asked += [candidate.ticket for candidate in candidates]

    def should_stop(self, candidates: Any) -> Any:
        return np.zeros(len(candidates), dtype=bool)


def test_an_estimate_that_is_withheld_is_not_scored_and_its_row_goes_on(made: Any) -> None:
    generator, withheld = made
    state = generator.advance(generator.start(draw(generator, N), [{}] * N), generator.steps)
    estimates = generator.estimate(state)  # after the last step, the outputs
    assert {i for i, estimate in enumerate(estimates) if estimate is None} == withheld
    host = Patient()
    executor: Any = EarlyStopping(host, Evaluator(generator, OBJECTIVE, catch=()), (3,), batch_size=N)
    bank = Bank(generator.prior, list(generator.prior.to_inner(draw(generator, N), rng=0)))
    executor.submit([Candidate(i, ((seed, 1.0),), {}, 0) for i, seed in enumerate(bank.seeds)], bank)
    ((candidates, evaluations),) = executor.collect(wait=True)
    early = generator.estimate(generator.advance(generator.start(draw(generator, N), [{}] * N), 3))
    assert host.asked == [i for i, estimate in enumerate(early) if estimate is not None]
    assert 0 < len(host.asked) < N
    assert {candidates[i].ticket for i in evaluations.reasons} == withheld
