"""What an experiment has recorded is refused by its name where it is of another type, in a snapshot and in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from ax.api.client import Client

from surrogate_ax import FunctionGenerator, Metric, Objective, SurrogateSpace
from surrogate_ax.errors import MismatchError
from surrogate_ax_platform import configure_experiment, load_client, optimize, records
from surrogate_ax_platform.record_checks import check_records

GENERATOR = FunctionGenerator(torch.tanh, (6,), revision="1")
OBJECTIVE = Objective(Metric("m"), score=lambda outputs, _: outputs.mean(dim=1))


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    client, path = Client(random_seed=0), tmp_path_factory.mktemp("kept") / "s.json"
    space = SurrogateSpace.sample(GENERATOR.prior, seeds=3, rng=0)
    configure_experiment(client, GENERATOR, OBJECTIVE, space=space)
    optimize(client, GENERATOR, OBJECTIVE, total_trials=3, progress=False, snapshot=path)
    return path


BOX = ("properties", records.SPACES, "0")
SEARCH = ("properties", records.SEARCH)
BEGUN = ("properties", records.EXPERIMENT)
TRIAL = ("trials", "1", "run_metadata")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ((*TRIAL, records.ORDER), "first", "trial 1, surrogate:order: expected a whole number, got 'first'"),
        ((*TRIAL, records.ORDER), None, "trial 1, surrogate:order: expected a whole number, got None"),
        (TRIAL, "first", "trial 1: expected its records by name, got 'first'"),
        (("properties",), "first", "its experiment: expected its records by name, got 'first'"),
        ((*TRIAL, records.TRIAL_ROUND), [0], r"trial 1, surrogate:round: expected a whole number, got \[0\]"),
        ((*TRIAL, records.PROPOSAL), "0", "trial 1, surrogate:exact: expected a whole number, got '0'"),
        ((*TRIAL, records.PASSED), [], r"trial 1, surrogate:passed: expected values by name, got \[\]"),
        ((*TRIAL, records.PASSED), {"x": {}}, "trial 1, surrogate:passed: expected estimates by their steps, got 'x'"),
        ((*TRIAL, records.PASSED), {"2": {"m": "1"}}, "surrogate:passed: step 2: m: expected a finite number, got '1'"),
        ((*TRIAL, records.RESULT), {"nfe": 1.0}, "trial 1, surrogate:result: values: expected values by name"),
        ((*TRIAL, records.RECIPE), "a recipe", "trial 1, surrogate:recipe: expected values by name"),
        (BOX[:-1], [], r"its experiment, surrogate:spaces: expected values by name, got \[\]"),
        (BOX[:-1], {"zero": {}}, "surrogate:spaces: expected boxes by their numbers, got 'zero'"),
        ((*BOX, "frame"), "axes", "surrogate:spaces: box 0: frame: expected a list, got 'axes'"),
        ((*BOX, "frame"), [[["draw", 1, 0, 1.0]]], "box 0: frame: expected at least 2 axes, got 1"),
        ((*BOX, "frame"), [[[]], [[]]], r"seed: expected \[\"draw\", entropy, index\]"),
        ((*BOX, "frame"), [[["draw", 1, 0, None]]] * 2, "box 0: a coefficient: expected a finite number, got None"),
        ((*BOX, "chart"), 3, "box 0: chart: expected a text, got 3"),
        ((*BOX, "chart"), "round", "chart: expected one of"),
        ((*BOX, "fresh"), 1.5, "box 0: fresh: expected a share, got 1.5"),
        ((*BOX, "round"), 0.5, "box 0: round: expected a whole number, got 0.5"),
        ((*BOX, "fingerprint"), None, "box 0: fingerprint: expected a text, got None"),
        (("properties", records.CURRENT), "0", "surrogate:round: expected a whole number, got '0'"),
        (("properties", records.CHOSEN), 1, "surrogate:chosen: expected true or false, got 1"),
        (("properties", records.GRAM), {"a": {"b": "c"}}, "surrogate:gram: expected a finite number, got 'c'"),
        ((*SEARCH, "rng"), -1, "surrogate:search: rng: expected a whole number of at least 0, got -1"),
        ((*SEARCH, "prior"), None, "surrogate:search: prior: expected values by name, got None"),
        ((*SEARCH, "prior", "shapes"), {"latents": "66"}, "shape of 'latents': expected a list, got '66'"),
        ((*SEARCH, "prior", "dim"), 6.5, "surrogate:search: dim: expected a whole number of at least 1, got 6.5"),
        ((*SEARCH, "space", "frame"), None, "surrogate:search: space: frame: expected a list, got None"),
        ((*BEGUN, "metrics"), [["m", "upwards", None]], "metrics: the study's record of them was altered"),
        ((*BEGUN, "generator"), "v1", "surrogate:experiment: generator: expected values by name, got 'v1'"),
        ((*BEGUN, "plan"), None, "surrogate:experiment: plan: expected values by name, got None"),
    ],
)
def test_a_record_of_another_type_is_named(
    snapshot: Path, tmp_path: Path, place: tuple[str, ...], value: Any, message: str
) -> None:
    kept = json.loads(snapshot.read_text())
    holder = kept["experiment"]
    for name in place[:-1]:
        holder = holder[name]
    holder[place[-1]] = value
    altered = tmp_path / "s.json"
    altered.write_text(json.dumps(kept))
    with pytest.raises(MismatchError, match=f"client: .*{message}.* It was altered; go on from a copy of it"):
        load_client(altered)


def test_a_proposal_of_another_type_and_a_client_in_memory_are_refused_as_well(snapshot: Path) -> None:
    client = load_client(snapshot)
    check_records(client._experiment)
    client._experiment.trials[0].generator_runs[0]._gen_metadata = {records.PROPOSAL: 0.5}
    with pytest.raises(MismatchError, match=r"trial 0, surrogate:exact: expected a whole number, got 0\.5"):
        optimize(client, GENERATOR, OBJECTIVE, total_trials=4, progress=False)


def test_records_of_others_are_left_alone() -> None:
    client = Client(random_seed=0)
    configure_experiment(client, GENERATOR, OBJECTIVE, seeds=3)
    client._experiment._properties |= {"owner": [object()], "round": "mine"}
    check_records(client._experiment)
