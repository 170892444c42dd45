"""A pool of actors on a cluster of two nodes: the contracts of generators, both hosts, and actors that are killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import ray
import torch
from ax.api.client import Client

from surrogate_ax import Metric, Objective, Steppable
from surrogate_ax.errors import ArgumentError, GenerationError, UnsupportedError
from surrogate_ax.execution.early_stopping import EarlyStopping
from surrogate_ax.generation import MultiCondition
from surrogate_ax.latents import Bank, Deferred, Draw
from surrogate_ax.policies.basic import draws
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax_optuna import create_study, optimize
from surrogate_ax_platform import configure_experiment
from surrogate_ax_platform import optimize as optimize_ax
from surrogate_ax_ray import RayGenerator
from tests.contracts.generator_contract import Case, GeneratorContract, numbers
from tests.core.conftest import ListHost
from tests.core.execution.run_search import run
from tests.integrations.ray import parts

pytestmark = pytest.mark.usefixtures("cluster")
MODULE = "tests.integrations.ray.parts"
ROOT = Path(__file__).parents[3]


def made(name: str, **options: Any) -> RayGenerator:
    return RayGenerator(f"{MODULE}:{name}", **{"num_actors": 2, "folder": ROOT, "start_timeout": 120.0, **options})


@pytest.fixture(scope="module")
def pictures(cluster: Any) -> Iterator[RayGenerator]:
    spread = {"num_cpus": 2}  # so that each node has one
    with made("pictures", resources=spread, arguments={"revision": "2"}) as generator:
        yield generator


@pytest.fixture(scope="module")
def flow(cluster: Any, pictures: RayGenerator) -> Iterator[Any]:
    with made("flow", resources={"num_cpus": 0}) as generator:
        yield generator


@pytest.fixture
def fuse(tmp_path: Path) -> str:
    """A file on seeing which an actor kills itself, once."""
    path = tmp_path / "fuse"
    path.touch()
    return str(path)


def rows(generator: Any, n: int = 4) -> Deferred:
    bank = Bank(generator.prior, [Draw(1, i) for i in range(3)])
    return Deferred(bank, bank.terms(np.random.default_rng(0).normal(size=(n, 3))))


class TestContract(GeneratorContract):
    @pytest.fixture(scope="class")
    @classmethod
    def case(cls, pictures: RayGenerator) -> Case:
        return Case(pictures, ({"scale": 1.0}, {"scale": 3.0}), unknown={"other": 1})


def test_the_fingerprint_is_that_of_the_generator_itself(pictures: RayGenerator) -> None:
    assert dict(pictures.fingerprint) == dict(parts.pictures(revision="2").fingerprint)
    assert dict(pictures.fingerprint) != dict(parts.pictures().fingerprint)
    assert not isinstance(pictures, Steppable)


def test_both_nodes_work_on_a_batch(pictures: RayGenerator) -> None:
    processes = {float(output[0, 0]) for output in pictures.generate(rows(pictures), [{"pid": 1}] * 4).outputs}
    assert len(processes) == 2
    assert os.getpid() not in processes


def test_keys_travel_and_latents_are_made_on_the_actors(pictures: RayGenerator) -> None:
    z = rows(pictures)
    away = numbers(pictures.generate(z, [{}] * 4))
    assert "_made" not in vars(z)
    here = numbers(parts.pictures().generate(dict(z.items()), [{}] * 4))
    np.testing.assert_allclose(away, here, atol=1e-6)


def test_stored_seeds_travel_once(pictures: RayGenerator) -> None:
    row = torch.linspace(-1, 2, 16)
    bank = Bank(pictures.prior, [row, Draw(1, 0)])
    z = Deferred(bank, bank.terms([[1.0, 0.0], [0.6, 0.8]]))
    for _ in range(2):
        made = pictures.generate(z, [{}] * 2)
        np.testing.assert_allclose(
            numbers(made), numbers(parts.pictures().generate(dict(z.items()), [{}] * 2)), atol=1e-6
        )
    np.testing.assert_allclose(numbers(made)[0].ravel(), torch.sigmoid(row).numpy(), atol=1e-6)


def test_what_a_model_raises_fails_its_item_alone(pictures: RayGenerator) -> None:
    made = pictures.generate(rows(pictures), [{}, {"raises": 1}, {}, {}])
    assert made.failed == {1: "ValueError: out of paint"}
    assert len(made.outputs) == 3


def test_a_killed_actor_is_started_again_and_its_shard_runs_again(pictures: RayGenerator, fuse: str) -> None:
    z, before = rows(pictures), numbers(pictures.generate(rows(pictures), [{}] * 4))
    made = pictures.generate(z, [{}, {}, {}, {"fuse": fuse}])
    assert not made.failed
    np.testing.assert_allclose(numbers(made), before, atol=1e-6)
    assert not Path(fuse).exists()


def test_a_shard_that_kills_its_actor_again_fails_with_the_message(pictures: RayGenerator) -> None:
    made = pictures.generate(rows(pictures, 1), [{"bomb": 1}])
    assert made.failed == {0: made.failed[0]}
    assert "its actor ended at each of 2 tries. Ray: " in made.failed[0]
    assert not pictures.generate(rows(pictures, 1), [{}]).failed


def light(outputs: Any, conditions: Any) -> Any:
    return parts.mean(outputs, conditions)


def test_both_hosts_search_as_they_do_without_actors(pictures: RayGenerator) -> None:
    objective = Objective(Metric("light", "maximize"), score=light)
    values = []
    for generator in (pictures, parts.pictures(revision="2")):
        study = create_study(objective)
        optimize(study, generator, objective, total_trials=12, batch_size=4, rng=0, progress=False)
        values.append([trial.value for trial in study.trials])
    np.testing.assert_allclose(*values, atol=1e-5)
    client = Client(random_seed=0)
    configure_experiment(client, pictures, objective)
    optimize_ax(client, pictures, objective, total_trials=8, rng=0, progress=False)
    assert len(client._experiment.trials) == 8


def test_a_flow_steps_on_its_actors(flow: Any) -> None:
    assert isinstance(flow, Steppable)
    assert flow.steps == 8
    local, z, conditions = parts.flow(), rows(flow), [{}, {"scale": 2.0}, {}, {"scale": 0.5}]
    whole = numbers(local.generate(dict(z.items()), conditions))
    early = flow.advance(flow.start(z, conditions), 2)
    np.testing.assert_allclose(
        np.stack(flow.estimate(early)), local.advance(local.start(dict(z.items()), conditions), 2).clean, atol=1e-6
    )
    kept = [3, 0, 2]
    there = [early.parts[early.order[i][0]].held for i in kept]
    chosen = flow.select([early], [(0, i) for i in kept])
    assert [flow._pool.actor_of(chosen.parts[k].held) for k, _ in chosen.order] == list(map(flow._pool.actor_of, there))
    np.testing.assert_array_equal(flow.nfe(chosen), [2, 2, 2])
    ended = flow.finish(flow.advance(chosen, 5))
    np.testing.assert_allclose(numbers(ended), whole[kept], atol=1e-6)
    np.testing.assert_array_equal(ended.nfe, [8, 8, 8])
    again = flow.finish(flow.start(flow.latents(early), conditions, step=2))
    np.testing.assert_allclose(numbers(again), whole, atol=1e-6)
    with pytest.raises(ArgumentError, match="to: expected 2 to 8, got 1"):
        flow.advance(early, 1)
    with pytest.raises(ArgumentError, match="rows at one step"):
        flow.select([early, flow.start(z, conditions)], [(0, 0)])


def test_states_that_nobody_holds_are_forgotten(flow: Any) -> None:
    before = len(flow._pool._places)
    state = flow.advance(flow.start(rows(flow), [{}] * 4), 1)
    assert len(flow._pool._places) == before + 2
    del state
    assert len(flow._pool._places) == before


def test_states_that_were_lost_with_their_actor_are_made_again(flow: Any, fuse: str) -> None:
    z, conditions = rows(flow), [{"fuse": fuse + str(i // 2)} for i in range(4)]
    early = flow.advance(flow.start(z, conditions), 3)
    swapped = flow.select([early], [(0, 1), (0, 0), (0, 3)])
    Path(fuse + "1").touch()
    ended = flow.finish(flow.advance(swapped, 5))
    whole = numbers(parts.flow().generate(dict(z.items()), [{}] * 4))
    np.testing.assert_allclose(numbers(ended), whole[[1, 0, 3]], atol=1e-6)
    assert not Path(fuse + "1").exists()


def test_early_stopping_across_actors(flow: Any) -> None:
    objective = Objective(Metric("light", "maximize"), score=light)
    found = []
    for generator in (flow, parts.flow()):
        host, evaluator = ListHost(objective), Evaluator(generator, objective)
        executor = EarlyStopping(host, evaluator, [3], batch_size=4, keep_fraction=0.5)
        run(
            host,
            draws(generator.prior, 8, axes=4),
            evaluator,
            total_trials=8,
            rng=0,
            batch_size=4,
            executor=executor,
        )
        found.append([host.records[i].values["light"] for i in range(8)])
    np.testing.assert_allclose(*found, atol=1e-5)


def test_scores_and_previews_are_made_on_the_actors(cluster: Any) -> None:
    metrics = [Metric("light", "maximize"), Metric("process", "track")]
    options = {"num_actors": 1, "score": f"{MODULE}:light", "metrics": metrics, "resources": {"num_cpus": 0}}
    with made("pictures", **options, outputs="previews") as generator:
        judged = Evaluator(generator, generator.objective)(rows(generator), [{}, {"scale": 2.0}, {}, {"raises": 1}])
        assert judged.status == ["done", "done", "done", "failed"]
        assert os.getpid() not in judged.values["process"]
        assert judged.outputs[0].shape == (parts.SIDE, parts.SIDE, 3)
        assert judged.outputs[0].dtype == np.uint8
        assert judged.outputs[0].mean() / 255 == pytest.approx(judged.values["light"][0], abs=2e-3)
        study = create_study(generator.objective)
        optimize(study, generator, generator.objective, total_trials=4, rng=0, progress=False)
        assert all(trial.state == optuna.trial.TrialState.COMPLETE for trial in study.trials)
        several = MultiCondition(generator, [{"scale": 1.0}, {"scale": 2.0}])
        with pytest.raises(UnsupportedError, match="it runs on the actors"):
            Evaluator(several, generator.objective)(rows(generator, 1))


def test_a_factory_that_fails_is_named(cluster: Any) -> None:
    for name, kind, message in [
        ("broken", RuntimeError, "the weights are gone"),
        ("absent", ArgumentError, "factory: an actor found no .*:absent.*Install its package"),
    ]:
        with pytest.raises(kind, match=message):
            made(name, num_actors=1, resources={"num_cpus": 0})


def test_room_that_the_cluster_lacks_is_named(cluster: Any) -> None:
    with pytest.raises(GenerationError, match=r"none of 1 actors was up after 0.5 s. Each asks for .*num_gpus.*has"):
        made("pictures", num_actors=1, resources={"num_gpus": 1}, start_timeout=0.5)


def test_a_search_outlives_a_node(cluster: Any, pictures: RayGenerator) -> None:
    (node,) = cluster.worker_nodes
    cluster.remove_node(node, allow_graceful=False)
    made = pictures.generate(rows(pictures), [{}] * 4)
    assert not made.failed
    np.testing.assert_allclose(
        numbers(made), numbers(parts.pictures().generate(dict(rows(pictures).items()), [{}] * 4)), atol=1e-6
    )
    assert ray.is_initialized()
