"""What fuzzers try: altered sweep files, recipes, spaces, snapshots and attributes; what is not refused in plain words.

`tests/test_corpus.py` replays the inputs that were found once; `examples/benchmarks/fuzz.py` looks for others.

A target takes bytes and returns whether they were accepted. Whatever is raised but for the package's own errors is a
finding: a traceback that a user would see.
"""

from __future__ import annotations

import contextlib
import copy
import json
import math
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
import yaml
from optuna.trial import TrialState, create_trial
from safetensors.torch import save

from surrogate_ax import FunctionGenerator, Metric, Objective, Recipe, SurrogateSpace
from surrogate_ax.errors import SurrogateError
from surrogate_ax.execution.session import Session
from surrogate_ax.generation.recipe import recipe_latents
from surrogate_ax_cli.components import make_policy, make_pruner, make_sampler
from surrogate_ax_cli.storages import display_name, storage_file
from surrogate_ax_cli.sweep import summary
from surrogate_ax_cli.sweep_file import read_sweep
from surrogate_ax_optuna.host import OptunaHost
from surrogate_ax_optuna.record import read_record, status, study_objective

GENERATOR = FunctionGenerator(torch.tanh, (6,), revision="1")
OBJECTIVE = Objective(Metric("m"), score=lambda outputs, _: outputs.mean(dim=1))
SWEEP = b"""version: 1
name: s
generator: {folder: models/sd, device: cpu, dtype: float32}
call: {prompt: "a b", steps: 4}
conditions: {g: {low: 1.0, high: 3.0, step: 0.5}, p: [a, b], n: {low: 1, high: 100, log: true}}
score: {function: scores:warmth, timeout: 60}
metrics: {m: maximize, d: {at_most: 0.5}, t: track}
budget: 64
batch: 8
seed: 3
sampler: {name: tpe, n_startup_trials: 4}
policy: [{name: draws, n: 8, axes: 4}, {name: spherical_bo, axes: 4}]
pruner: {name: percentile, percentile: 50.0}
checkpoints: [2, 4]
storage: runs/all.db
previews: false
"""


def sweep_file(data: bytes) -> bool:
    """A sweep file, read, and the parts of it that need no model."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.yaml"
        file.write_bytes(data)
        sweep = read_sweep(file)
        storage_file(sweep)
        display_name(sweep)
        if sweep.backend == "optuna":
            make_sampler(sweep.sampler, sweep.seed, planned=not sweep.policy)
            make_pruner(sweep.pruner)
        if sweep.policy:
            make_policy(sweep.policy, GENERATOR.prior, "cpu")
        Session(
            GENERATOR,
            Objective(*sweep.metrics, score=lambda *_: []),
            rng=sweep.seed,
            total_trials=sweep.budget,
            batch_size=sweep.batch,
            conditions=sweep.conditions,
        )
    return True


@cache
def _recipe() -> dict[str, Any]:
    terms = SurrogateSpace.sample(GENERATOR.prior, seeds=3, rng=0).terms(np.full((1, 2), 0.4))[0]
    return Recipe(terms, {"g": 1.5}, dict(GENERATOR.fingerprint), 4).to_json()


def recipe(data: bytes) -> bool:
    """A recipe as JSON, read and made into a latent."""
    read = Recipe.from_json(_json(data))
    latents = recipe_latents([read], GENERATOR.prior)
    if not all(torch.isfinite(part).all() for part in latents.values()):
        raise AssertionError("a latent that is not finite")
    return True


def space(data: bytes) -> bool:
    """space.json and space.safetensors, parted by a line of their own."""
    described, _, tensors = data.partition(PART)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "space.json").write_bytes(described)
        Path(folder, "space.safetensors").write_bytes(tensors)
        loaded = SurrogateSpace.load(folder, GENERATOR.prior)
        loaded.terms(np.full((1, loaded.axes - 1), 0.5))
    return True


PART = b"\n--- space.safetensors\n"


@cache
def _space() -> bytes:
    made = SurrogateSpace.sample(GENERATOR.prior, seeds=3, rng=0)
    with tempfile.TemporaryDirectory() as folder:
        made.save(folder)
        return Path(folder, "space.json").read_bytes() + PART + Path(folder, "space.safetensors").read_bytes()


def attributes(data: bytes) -> bool:
    """Attributes of a study and of two of its trials, read as every command and `optimize` read them."""
    given = _json(data)
    if not isinstance(given, dict):
        return False
    study = optuna.create_study(direction="maximize")
    for key, value in _part(given, "study").items():
        study.set_user_attr(str(key), value)
    for name, state in (("done", TrialState.COMPLETE), ("failed", TrialState.FAIL), ("running", TrialState.RUNNING)):
        params = {"u0": 0.5, "u1": 0.25}
        study.add_trial(
            create_trial(
                state=state,
                value=1.0 if name == "done" else None,
                params=params,
                distributions=dict.fromkeys(params, optuna.distributions.FloatDistribution(0, 1)),
                user_attrs=_part(given, name),
            )
        )
    study_objective(study)
    record = read_record(study)
    str(status(study))
    sweep = read_plain_sweep()
    summary(sweep, record)
    session = Session(GENERATOR, OBJECTIVE, rng=0, total_trials=8)
    session.begin(study.user_attrs.get("surrogate:study"), study="study")
    host = OptunaHost(study, GENERATOR, OBJECTIVE, total_trials=8)
    host.reclaim()
    host.history()
    host.close()
    return True


@cache
def read_plain_sweep() -> Any:
    """A sweep of the objective of these targets."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.yaml"
        file.write_text("version: 1\ngenerator: a:b\nscore: a:c\nmetrics: {m: maximize}\nbudget: 8\n")
        return read_sweep(file)


@cache
def _attributes() -> dict[str, Any]:
    session = Session(GENERATOR, OBJECTIVE, rng=0, total_trials=8)
    record = session.begin(None, study="study")
    made = {"surrogate:recipe": _recipe(), "surrogate:round": 0}
    lease = {"owner": "machine/1/2/3", "until": 1.0}
    result = {"values": {"m": 1.0}, "nfe": 1.0, "seconds": 0.5}
    return {
        "study": {"surrogate:study": record},
        "done": {**made, "surrogate:result": result, "surrogate:estimates": {"2": 0.5}},
        "failed": {**made, "surrogate:reason": "ValueError: bad"},
        "running": {**made, "surrogate:lease": lease, "surrogate:exact": 0},
    }


def _snapshot() -> bytes:
    return (Path(__file__).parent / "recorded" / "client.json").read_bytes()


def snapshot(data: bytes) -> bool:
    """A snapshot of an Ax client, loaded and read."""
    from surrogate_ax_platform import load_client, status
    from surrogate_ax_platform import read_record as read

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.json"
        file.write_bytes(data)
        client = load_client(file)
        str(status(client))
        read(client)
    return True


@cache
def _searched() -> str:
    """The snapshot of a client that has searched a fixed box by `optimize`."""
    from ax.api.client import Client

    from surrogate_ax_platform import configure_experiment
    from surrogate_ax_platform import optimize as search

    client, box = Client(random_seed=0), SurrogateSpace.sample(GENERATOR.prior, seeds=3, rng=0)
    configure_experiment(client, GENERATOR, OBJECTIVE, space=box)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.json"
        search(client, GENERATOR, OBJECTIVE, total_trials=2, progress=False, snapshot=file)
        return file.read_text()


def records(data: bytes) -> bool:
    """What an Ax client has recorded of a search and of its trials, as every command and `optimize` read it."""
    from surrogate_ax_platform import AxHost, load_client, status, trial_copies
    from surrogate_ax_platform.search import search_of

    given = _json(data)
    if not isinstance(given, dict):
        return False
    kept = json.loads(_searched())
    for experiment in (kept["experiment"], kept["generation_strategy"]["experiment"]):
        experiment["properties"] |= _part(given, "properties")
        for index, trial in experiment["trials"].items():
            trial["run_metadata"] = _part(given, index)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.json"
        file.write_text(json.dumps(kept))
        client = load_client(file)
        str(status(client))
        trial_copies(client)
        host = AxHost(client, GENERATOR, OBJECTIVE)
        host.left()
        host.history()
        search_of(client._experiment).history(client._experiment)
    return True


def _records() -> bytes:
    held = json.loads(_searched())["experiment"]
    properties = {name: value for name, value in held["properties"].items() if name.startswith("surrogate:")}
    trials = {index: trial["run_metadata"] for index, trial in held["trials"].items()}
    return json.dumps({"properties": properties, **trials}).encode()


def _json(data: bytes) -> Any:
    """JSON, as a storage gives it; what a storage refuses itself is no finding."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SurrogateError("not JSON") from error


def _part(given: dict[str, Any], name: str) -> dict[str, Any]:
    found = given.get(name)
    return found if isinstance(found, dict) else {}


TARGETS: dict[str, Callable[[bytes], bool]] = {
    "sweep_file": sweep_file,
    "recipe": recipe,
    "space": space,
    "attributes": attributes,
    "snapshot": snapshot,
    "records": records,
}
SEEDS: dict[str, Callable[[], bytes]] = {
    "sweep_file": lambda: SWEEP,
    "recipe": lambda: json.dumps(_recipe()).encode(),
    "space": _space,
    "attributes": lambda: json.dumps(_attributes()).encode(),
    "snapshot": _snapshot,
    "records": _records,
}
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**32, 2**63, 10**400, 1e308, -1e308, 1e-300, 2.5, math.nan, math.inf, "", "a", "ключ",
    "\ud800", "\0", "1", "nan", "../../x", "://", ":memory:", "sqlite://", "None", "a b<c", [], [None], [1, "a"], {},
    {"a": 1}, {"": None}, [[[[]]]],
]  # fmt: skip


CORPUS = Path(__file__).parent / "corpus"


def found(target: str) -> list[bytes]:
    """Inputs that once ended in a traceback, or hung."""
    return [file.read_bytes() for file in sorted((CORPUS / target).glob("*"))]


def grown(target: str) -> list[bytes]:
    """Inputs that reach further lines, which a search by coverage has found."""
    file = grown_file(target)
    return [text.encode("latin-1") for text in json.loads(file.read_text())] if file.exists() else []


def grown_file(target: str) -> Path:
    """Where those are kept, byte by byte as characters."""
    return CORPUS / f"{target}.json"


def accepts(target: str, data: bytes) -> bool:
    """Whether a target accepts bytes; refusing them in plain words is right as well. Anything else comes through."""
    try:
        return TARGETS[target](data)
    except SurrogateError:
        return False


def altered(value: Any, rng: np.random.Generator) -> Any:
    """A copy of a JSON value with one entry replaced, removed, doubled or renamed."""
    changed = copy.deepcopy(value)
    places = list(_places(changed))
    if not places:
        return VALUES[rng.integers(len(VALUES))]
    holder, key = places[rng.integers(len(places))]
    kind = rng.integers(5)
    if kind <= 2:
        holder[key] = copy.deepcopy(VALUES[rng.integers(len(VALUES))])
    elif kind == 3:
        del holder[key]
    elif isinstance(holder, dict):
        holder[str(VALUES[rng.integers(len(VALUES))])[:50]] = holder.pop(key)
    else:
        holder.append(copy.deepcopy(holder[key]))
    return changed


def _places(value: Any) -> Any:
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
    for key in keys:
        yield value, key
        yield from _places(value[key])


def frames(rng: np.random.Generator) -> bytes:
    """A safetensors file with a frame that may be wrong."""
    shapes = [(3, 3), (2, 3), (3,), (0, 3), (1, 1), (3, 3, 3)]
    kinds = [torch.float64, torch.float32, torch.bfloat16, torch.int64, torch.bool]
    frame = torch.zeros(shapes[rng.integers(len(shapes))])
    if frame.ndim == 2 and min(frame.shape):
        frame.fill_diagonal_(float(rng.choice([1, 1e30, math.nan, -1, 0])))
    name = str(rng.choice(["frame", "frame", "frames", "seed/x"]))
    return save({name: frame.to(kinds[rng.integers(len(kinds))]).contiguous()})


STRUCTURED = ("recipe", "attributes", "snapshot", "records")  # whose bytes are JSON


def mutate(target: str, seed: bytes, rng: np.random.Generator) -> bytes:
    """Bytes like those of the seed: a value of it replaced, or some bytes changed, cut out or doubled."""
    if rng.random() < 0.75:
        with contextlib.suppress(ValueError, RecursionError, yaml.YAMLError):  # where the seed was altered before
            return _with_another_value(target, seed, rng)
    data = bytearray(seed)
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(len(data) + 1))
        end = min(len(data), start + int(rng.integers(1, 9)))
        kind = rng.integers(4)
        if kind == 0:
            data[start:end] = rng.bytes(end - start)
        elif kind == 1:
            del data[start:end]
        elif kind == 2:
            data[start:start] = data[start:end] * 3
        elif len(data) and start < len(data):
            data[start] ^= 1 << int(rng.integers(8))
    return bytes(data)


def _with_another_value(target: str, seed: bytes, rng: np.random.Generator) -> bytes:
    if target in STRUCTURED:
        value = json.loads(seed)
        for _ in range(rng.integers(1, 3)):
            value = altered(value, rng)
        return json.dumps(value).encode()
    if target == "sweep_file":
        return written(altered(yaml.safe_load(seed), rng))
    described, _, tensors = seed.partition(PART)
    if rng.random() < 0.4:
        return described + PART + frames(rng)
    return json.dumps(altered(json.loads(described), rng)).encode() + PART + tensors


def written(value: Any) -> bytes:
    """A value as YAML, or as JSON, which YAML reads, where it cannot be written so."""
    try:
        return yaml.safe_dump(value, sort_keys=False, allow_unicode=True).encode()
    except (UnicodeError, ValueError, yaml.YAMLError):
        return json.dumps(value).encode()
