"""The model on coefficients as `candidates_func` of Optuna's real BoTorchSampler: one box, moving boxes, conditions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest
import torch
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna_integration import BoTorchSampler
from torch import Tensor

from surrogate_ax import Choice, FunctionGenerator, Gaussian, Metric, Objective, Range, SurrogateSpace
from surrogate_ax.errors import ArgumentError
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.policies.history import Round, as_proposals
from surrogate_ax_botorch import CoefficientCandidates
from surrogate_ax_botorch import candidates as module
from surrogate_ax_optuna import optimize

D, K = 24, 4
PRIOR = Gaussian((D,))
DIRECTION = np.random.default_rng(4).normal(size=D) / math.sqrt(D)


@pytest.fixture(autouse=True)
def _experimental() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        yield


@pytest.fixture
def few_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the acquisition's optimiser, which takes most of the time."""
    monkeypatch.setattr(module, "RESTARTS", 2)
    monkeypatch.setattr(module, "RAW", 32)
    monkeypatch.setattr(module, "STEPS", 20)


def _space(rng: int = 0) -> SurrogateSpace:
    return SurrogateSpace.sample(PRIOR, seeds=K, rng=rng)


def _sampler(candidates: CoefficientCandidates, **options: Any) -> BoTorchSampler:
    return BoTorchSampler(candidates_func=candidates, seed=0, **options)


def _values(space: SurrogateSpace, u: np.ndarray) -> np.ndarray:
    return space.bank.inner(space.coefficients(u)).double().numpy() @ DIRECTION


def _best(space: SurrogateSpace) -> float:
    """The largest score in the box: of the seeds' scores, the positive ones are the best direction."""
    scores = space.bank.inner(space.frame).double().numpy() @ DIRECTION
    return float(np.linalg.norm(np.clip(scores, 0, None)))


@pytest.mark.usefixtures("few_restarts")
def test_a_loop_of_ones_own_gets_near_the_best_of_the_box():
    space = _space()
    box = {f"u{k}": FloatDistribution(0, 1) for k in range(K - 1)}
    study = optuna.create_study(
        direction="minimize", sampler=_sampler(CoefficientCandidates(space), n_startup_trials=6)
    )
    for _ in range(16):
        trial = study.ask(box)
        u = np.array([[trial.params[f"u{k}"] for k in range(K - 1)]])
        study.tell(trial, -_values(space, u)[0])
    values = -np.array([trial.value for trial in study.trials])
    assert values[6:].max() > 0.97 * _best(space)
    assert values[6:].max() > values[:6].max()


def test_points_of_a_batch_differ_where_running_trials_are_considered():
    space, u = _space(), np.random.default_rng(0).uniform(size=(8, K - 1))
    y = _values(space, u)
    bounds = torch.tensor([[0.0] * (K - 1), [1.0] * (K - 1)], dtype=torch.float64)
    propose, history = CoefficientCandidates(space), (torch.tensor(u), torch.tensor(y[:, None]), None, bounds)
    torch.manual_seed(0)
    first = propose(*history, None)
    alone, beside = propose(*history, None), propose(*history, first)
    assert first.shape == (1, K - 1)

    def cosine(a: Tensor, b: Tensor) -> float:
        return float(space.chart.weights(a.numpy())[0] @ space.chart.weights(b.numpy())[0])

    assert cosine(first, alone) > 0.99
    assert cosine(first, beside) < cosine(first, alone) - 1e-3


class _Watched(CoefficientCandidates):
    """Keeps what each proposal was made from."""

    seen: ClassVar[list[module.Known]] = []  # of all copies
    running: ClassVar[list[int]] = []

    def _propose(self, known: module.Known, columns: Any, pending: Tensor | None) -> Tensor:
        self.seen.append(known)
        self.running.append(0 if pending is None else len(pending))
        return super()._propose(known, columns, pending)


@pytest.mark.usefixtures("few_restarts")
def test_optimize_learns_from_the_trials_of_every_round():
    first = _space()
    bank = first.bank.extend([Draw(7, i) for i in range(2)])
    second = SurrogateSpace(bank, np.vstack([np.eye(6)[4:], np.eye(6)[:2]]))
    turns = [
        Round(
            first, 0, 8, as_proposals(first.bank, first.coefficients(np.random.default_rng(0).uniform(size=(8, K - 1))))
        ),
        Round(second, 1, 8),
    ]
    generator = FunctionGenerator(lambda z: z.clone(), PRIOR)
    objective = Objective(Metric("along"), score=lambda z, _: z.double().numpy() @ DIRECTION)
    _Watched.seen, _Watched.running = [], []
    study = optuna.create_study(direction="maximize", sampler=_sampler(_Watched()))
    optimize(
        study,
        generator,
        objective,
        total_trials=16,
        batch_size=4,
        rng=0,
        policy=lambda history, *_: turns[int(history.ended(0) >= 8)],
    )
    assert [len(known.x) for known in _Watched.seen] == [8] * 4 + [12] * 4  # the model is asked from the first trial on
    assert _Watched.running == [0, 1, 2, 3] * 2
    known = _Watched.seen[-1]
    values = np.array([trial.value for trial in study.trials])
    np.testing.assert_allclose(known.y[:, 0], values[:12])
    with torch.no_grad():
        phi = known.geometry.features(known.x[:, : K - 1], known.x[:, K - 1]).numpy()
    assert np.linalg.matrix_rank(phi[:8] @ phi[:8].T, tol=1e-6) == K  # the first round's points, where they are
    np.testing.assert_allclose(np.linalg.norm(phi, axis=1), 1, atol=1e-6)
    assert values[8:].max() > 0.95 * _best(second)


CONDITIONS = {
    "a scale": Range(1.0, 100.0, log=True),
    "steps": Range(2, 6),
    "u prompt": Choice(["x", "y", "z"]),
}


def test_conditions_are_read_from_the_columns_and_from_recipes_alike():
    box = {f"u{k}": FloatDistribution(0, 1) for k in range(K - 1)}
    beside = {
        "a scale": FloatDistribution(1.0, 100.0, log=True),
        "steps": IntDistribution(2, 6),
        "u prompt": CategoricalDistribution(["x", "y", "z"]),
    }
    transform = optuna._transform._SearchSpaceTransform(dict(sorted((box | beside).items())))
    columns = module._Columns(K, CONDITIONS, torch.tensor(transform.bounds.T))
    rng = np.random.default_rng(0)
    for _ in range(20):
        params = {name: float(rng.uniform()) for name in box}
        params |= {
            "a scale": float(rng.uniform(1, 100)),
            "steps": int(rng.integers(2, 7)),
            "u prompt": rng.choice(["x", "y", "z"]),
        }
        x = (transform.transform(params) - transform.bounds[:, 0]) / np.diff(transform.bounds, axis=1)[:, 0]
        (row,) = columns.rows(torch.tensor(x[None])).tolist()
        np.testing.assert_allclose(
            row, [params[f"u{k}"] for k in range(K - 1)] + [0.0] + columns.beside(params), atol=1e-12
        )


@pytest.mark.usefixtures("few_restarts")
def test_several_objectives_a_bound_and_conditions(monkeypatch):
    monkeypatch.setattr(module, "STEPS", 5)
    monkeypatch.setattr(module, "RESTARTS", 1)
    monkeypatch.setattr(module, "RAW", 16)

    def score(z: Tensor, conditions: Any) -> dict[str, np.ndarray]:
        x = z.double().numpy()
        bonus = np.array([{"x": 0, "y": 1, "z": 2}[c["u prompt"]] + 0.1 * c["steps"] for c in conditions])
        return {"first": x @ DIRECTION + bonus, "second": x[:, 1], "third": x[:, 2]}

    objective = Objective(Metric("first"), Metric("second", "minimize"), Metric("third", "at_most", 1.0), score=score)
    generator = FunctionGenerator(lambda z, _: z.clone(), PRIOR, conditional=True)
    _Watched.seen = []
    study = optuna.create_study(directions=["maximize", "minimize"], sampler=_sampler(_Watched()))
    optimize(study, generator, objective, total_trials=9, batch_size=3, rng=3, space=_space(), conditions=CONDITIONS)
    known = _Watched.seen[-1]
    assert known.objectives == 2
    assert known.y.shape == (6, 3)
    history = study.trials[:6]
    np.testing.assert_allclose(known.y[:, 1], [-trial.values[1] for trial in history])
    np.testing.assert_allclose(known.y[:, 2], [trial.constraints["third"] for trial in history])
    prompts = [trial.params["u prompt"] for trial in study.trials]
    assert set(prompts[:3]) == {"x", "y", "z"}  # what there is to learn from
    assert np.mean([prompt == "z" for prompt in prompts[4:]]) > 0.5  # it learns the category


def test_a_missing_box_and_other_columns_are_refused():
    bounds = torch.tensor([[0.0] * 3, [1.0] * 3], dtype=torch.float64)
    x, y = torch.rand(5, 3, dtype=torch.float64), torch.rand(5, 1, dtype=torch.float64)
    with pytest.raises(ArgumentError, match="expected the box of the study, got none"):
        CoefficientCandidates()(x, y, None, bounds, None)
    with pytest.raises(ArgumentError, match=r"expected 4 columns for K = 4 and the conditions \['steps'\], got 3"):
        CoefficientCandidates(_space(), conditions={"steps": Range(1, 3)})(x, y, None, bounds, None)
