"""A sweep file is read with defaults, or refused with file, line, key and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from surrogate_ax import Choice, Metric, Range
from surrogate_ax.errors import ArgumentError
from surrogate_ax_cli.generator_source import Source
from surrogate_ax_cli.sweep_file import SweepFile, read_sweep
from tests.integrations.cli.sweep_folder import BASE, sweep_text


def read(folder: Path, **changes: str | None) -> SweepFile:
    file = folder / "s.yaml"
    file.write_text(sweep_text(**changes))
    return read_sweep(file)


def test_what_is_left_out_has_defaults(tmp_path: Path) -> None:
    sweep = read(tmp_path, batch=None)
    assert (sweep.name, sweep.budget, sweep.batch, sweep.seed, sweep.previews) == ("s", 12, 16, 0, True)
    assert (sweep.backend, sweep.storage, sweep.sampler) == ("optuna", None, None)
    assert (sweep.policy, sweep.checkpoints) == ((), ())
    assert sweep.generator == Source("function", "sweep_parts:make")
    assert sweep.metrics == (Metric("dark", "maximize"),)


def test_checkpoints_may_be_left_to_the_plan(tmp_path: Path) -> None:
    assert read(tmp_path, checkpoints="auto", backend="ax", policy="auto").checkpoints is None
    assert read(tmp_path, checkpoints="auto", metrics="{a: maximize, b: minimize}").checkpoints is None


def test_every_key_is_read(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        name="cars",
        generator="{folder: models/sd, device: cuda, dtype: bfloat16, variant: fp16, offload: true, step_noise: false}",
        call="{height: 512, eta: 1e-3, prompt: 'a: b', tags: [a, 2]}",
        conditions="{guidance: {low: 1.0, high: 7, step: 0.5}, seedless: {low: 1e-2, high: 1, log: true}, p: [a, b]}",
        metrics="{look: maximize, cost: minimize, blur: {at_most: 2}, sharp: {at_least: 0.5}, hue: track}",
        sampler="{name: tpe, n_startup_trials: 4}",
        policy="[{name: draws, n: 8, axes: 4}, {name: reseed, axes: 4}]",
        overlap="true",
        score="{function: scores:look, timeout: 2.5}",
        seed="7",
        backend="ax",
        storage="runs/cars.json",
        previews="false",
    )
    options = {"device": "cuda", "dtype": "bfloat16", "variant": "fp16", "offload": True, "step_noise": False}
    assert sweep.generator == Source("folder", "models/sd", options)
    assert sweep.call == {"height": 512, "eta": 0.001, "prompt": "a: b", "tags": ["a", 2]}
    assert sweep.conditions == {
        "guidance": Range(1.0, 7, step=0.5),
        "seedless": Range(0.01, 1, log=True),
        "p": Choice(["a", "b"]),
    }
    assert sweep.metrics[2:4] == (Metric("blur", "at_most", 2.0), Metric("sharp", "at_least", 0.5))
    assert (sweep.score, sweep.timeout) == ("scores:look", 2.5)
    assert sweep.sampler is not None
    assert (sweep.sampler.name, sweep.sampler.arguments) == ("tpe", {"n_startup_trials": 4})
    assert [step.name for step in sweep.policy] == ["draws", "reseed"]
    assert (sweep.name, sweep.seed, sweep.backend, sweep.overlap, sweep.previews) == ("cars", 7, "ax", True, False)


def test_whole_limits_are_whole_numbers(tmp_path: Path) -> None:
    sweep = read(tmp_path, conditions="{steps: {low: 4, high: 12}, guidance: {low: 1, high: 3, step: 0.5}}")
    assert {name: searched.integer for name, searched in sweep.conditions.items()} == {"steps": True, "guidance": False}


def test_auto_is_the_default_written_out(tmp_path: Path) -> None:
    sweep = read(tmp_path, sampler="auto", policy="auto", pruner="auto")
    assert (sweep.sampler, sweep.policy, sweep.pruner) == (None, (), None)
    named = read(tmp_path, pruner="{name: percentile, percentile: 25.0}", checkpoints="[2]").pruner
    assert named is not None
    assert named.arguments == {"percentile": 25.0}


@pytest.mark.parametrize("word", ["embedded", "portraits", "avatars", "models/sd", "a.b:c", "./a:b"])
def test_a_generator_in_a_word(tmp_path: Path, word: str) -> None:
    kinds = {"embedded": "embedded", "portraits": "embedded", "avatars": "embedded", "a.b:c": "function"}
    assert read(tmp_path, generator=word).generator == Source(kinds.get(word, "folder"), word)


LAST = len(BASE) + 1  # the line of a key that is added


@pytest.mark.parametrize(
    ("changes", "line", "message"),
    [
        ({"version": "2"}, 1, "version: the file is of version 2, this release reads 1. Upgrade"),
        ({"version": "one"}, 1, "version: expected a whole number of at least 1, got 'one'"),
        ({"version": None}, 1, "version is missing"),
        ({"score": None}, 1, "score is missing"),
        ({"bugdet": "3"}, LAST, "bugdet: no such key. Did you mean 'budget'?"),
        ({"zzz": "3"}, LAST, "zzz: no such key. Known: version, name"),
        ({"budget": "lots"}, 5, "budget: expected a whole number of at least 1, got 'lots'"),
        ({"budget": "0"}, 5, "budget: expected a whole number of at least 1, got 0"),
        ({"budget": "true"}, 5, "budget: expected a whole number of at least 1, got True"),
        ({"seed": "-1"}, LAST, "seed: expected a whole number of at least 0"),
        ({"previews": "maybe"}, LAST, "previews: expected true or false, got 'maybe'"),
        ({"backend": "ray"}, LAST, "backend: expected one of optuna, ax, got 'ray'"),
        ({"score": "darker"}, 3, "score: expected package.module:function, got 'darker'"),
        ({"score": "{function: a:b}"}, 3, "score: timeout is missing"),
        ({"score": "{function: a:b, timeout: 0}"}, 3, "score.timeout: expected a positive number of seconds, got 0"),
        (
            {"score": "3"},
            3,
            "score: expected package.module:function, or {function: package.module:function, timeout: 60}",
        ),
        (
            {"generator": "3"},
            2,
            "generator: expected portraits, avatars, a folder, package.module:function, or {folder: models/sd",
        ),
        ({"generator": "{device: cuda}"}, 2, "generator: folder is missing"),
        ({"generator": "{folder: x, devise: cuda}"}, 2, "generator.devise: no such key. Did you mean 'device'?"),
        ({"generator": "{folder: x, dtype: int8}"}, 2, "generator.dtype: expected one of float32, bfloat16, float16"),
        ({"metrics": "{dark: max}"}, 4, "metrics.dark: expected maximize, minimize, track"),
        ({"metrics": "{dark: {at_most: high}}"}, 4, "metrics.dark.at_most: expected a number, got 'high'"),
        ({"metrics": "{dark: {at_most: .inf}}"}, 4, "metrics.dark: Metric 'dark': expected a finite bound"),
        ({"metrics": "{dark: {at_most: 1}}"}, 4, "metrics: expected at least one to maximize or minimize"),
        ({"metrics": "3"}, 4, "metrics: expected keys with values, got 3"),
        ({"conditions": "{g: 3}"}, LAST, "conditions.g: expected a list of values, or {low: 1"),
        ({"conditions": "{g: [3]}"}, LAST, "conditions.g: Choice: expected a list of at least two"),
        (
            {"conditions": "{g: {low: 1, high: 2, step: 0.3}}"},
            LAST,
            "conditions.g: Range: expected a step that divides",
        ),
        ({"conditions": "{g: {low: 1, hihg: 2}}"}, LAST, "conditions.g.hihg: no such key. Did you mean 'high'?"),
        ({"conditions": "{u1: [1, 2]}"}, LAST, "the names u0, u1, ... belong to the box"),
        ({"call": "{p: a}", "conditions": "{p: [a, b]}"}, LAST + 1, "p is fixed under call and searched here"),
        ({"call": "{p: 2026-01-01}"}, LAST, "call.p: expected a text, number, true, false or null"),
        ({"sampler": "{n_startup_trials: 3}"}, LAST, "sampler: name is missing"),
        ({"sampler": "3"}, LAST, "sampler: expected a name, or {name: ..., and its arguments}, got 3"),
        ({"policy": "[draws, [1]]"}, LAST, "policy[1]: expected a name, or {name: ..., and its arguments}, got [1]"),
        ({"checkpoints": "3"}, LAST, "checkpoints: expected a list, got 3"),
        ({"checkpoints": "[2, x]"}, LAST, "checkpoints[1]: expected a whole number"),
        (
            {"metrics": "{a: maximize, b: minimize}", "checkpoints": "[2]"},
            LAST,
            "outputs are stopped by one metric to optimise",
        ),
        ({"checkpoints": "auto", "policy": "evolve"}, LAST, "auto plans the search, so it does not go with policy"),
        ({"checkpoints": "auto", "overlap": "true", "pruner": "median"}, LAST, "does not go with pruner and overlap"),
        ({"storage": "a: b: c"}, LAST, "not YAML: mapping values are not allowed here"),
        ({"call": "{a: &x [*x]}"}, 1, "holds more than 100,000 values"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(
    tmp_path: Path, changes: dict[str, str | None], line: int, message: str
) -> None:
    with pytest.raises(ArgumentError) as caught:
        read(tmp_path, **changes)
    assert str(caught.value).startswith(f"{tmp_path / 's.yaml'}:{line}: ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_given_twice_names_both_lines(tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(sweep_text() + "budget: 3\n")
    with pytest.raises(ArgumentError, match=r"s.yaml:7: budget: given twice, first on line 5\."):
        read_sweep(tmp_path / "s.yaml")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the file is empty"),
        (b"- 1\n", "expected keys with values"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"{[", "not YAML"),
    ],
)
def test_a_file_that_is_no_sweep(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "s.yaml").write_bytes(content)
    with pytest.raises(ArgumentError, match=message):
        read_sweep(tmp_path / "s.yaml")


def test_objects_are_not_made(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match="could not determine a constructor"):
        read(tmp_path, name="!!python/object/apply:os.getcwd []")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=r"none.yaml: cannot be read \(No such file"):
        read_sweep(tmp_path / "none.yaml")
