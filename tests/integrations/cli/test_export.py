"""`surrogate-ax export`: what is written, read back with the libraries that others use."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import importlib
import io
import json
import shutil
import sys
import tarfile
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas
import pyarrow.parquet
import pytest
import torch
import webdataset
from optuna.samplers import RandomSampler
from PIL import Image

from surrogate_ax import Metric, Objective, Recipe, SurrogateSpace, __version__, render
from surrogate_ax.errors import ArgumentError, MissingExtraError
from surrogate_ax.generation.saved_picture import read_saved, saved_in
from surrogate_ax_cli import export as exports
from surrogate_ax_cli import export_formats
from surrogate_ax_cli.export_card import INDEX
from surrogate_ax_cli.export_formats import tidy
from surrogate_ax_cli.outputs import check_replaced
from surrogate_ax_cli.pipelines import remake
from surrogate_ax_optuna import create_study, optimize, sqlite
from tests.core.report import shown
from tests.integrations.cli.sweep_folder import Sweep

PARTS = """
import numpy as np
import torch
from surrogate_ax import FunctionGenerator

CALLS = []

def sky(z, conditions):
    CALLS.append(len(z))
    light = torch.tensor([0.5 if c["sky"] == "at night" else 1.0 for c in conditions])
    return torch.nn.functional.interpolate(z[:, None], size=(24, 24))[:, 0].sigmoid() * light[:, None, None]

def skies():
    return FunctionGenerator(sky, (8, 8), conditional=True, check_rows=False)

def grown(z):
    return torch.nn.functional.interpolate(z[:, None], size=(300, 300))[:, 0].sigmoid()

def large():
    return FunctionGenerator(grown, (8, 8), check_rows=False)

def tone(z):
    return torch.nn.functional.interpolate(z[:, None], size=800)[:, 0].tanh()

def tones():
    return FunctionGenerator(tone, (8,), rate=800, check_rows=False)

def mean(outputs, conditions):
    return outputs.reshape(len(outputs), -1).mean(dim=1)
"""
SKIES = {
    "generator": "skies_of:skies",
    "score": "skies_of:mean",
    "metrics": "{mean value: maximize}",
    "conditions": "{sky: [at night, by day]}",
}
ROW = ["file_name", "trial", "mean value", "sky", "state", "round", "rank", "feasible", "plain", "seeds", "nfe"]
ROW += ["seconds", "version", "licence", "recipe"]


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a study is kept once it was made, for the tests of this file."""
    return tmp_path_factory.mktemp("searched") / "skies"


@pytest.fixture
def skies(sweep: Sweep, searched: Path) -> Sweep:
    """A study of 12 trials, under one of two skies each."""
    if searched.exists():
        shutil.copytree(searched, sweep.folder, dirs_exist_ok=True)
    else:
        (sweep.folder / "skies_of.py").write_text(PARTS)
        begun = sweep("sweep", **SKIES)
        assert begun.exit_code == 0, begun.output
        shutil.copytree(sweep.folder, searched, ignore=shutil.ignore_patterns("__pycache__"))
    sys.path.insert(0, "")
    importlib.invalidate_caches()
    importlib.import_module("skies_of")
    return sweep


def export(sweep: Sweep, *options: str, file: str = "s.yaml") -> tuple[Path, dict[str, Any]]:
    answer = sweep("export", *options, "--json", file=file)
    assert answer.exit_code == 0, answer.output
    told = json.loads(answer.stdout)
    return Path(told.pop("folder")), told


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]


def samples_of(shards: list[Path]) -> list[dict[str, Any]]:
    """What webdataset reads."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # it closes no file
        found = list(webdataset.WebDataset([str(shard) for shard in shards], shardshuffle=False).decode("rgb8"))
        gc.collect()
    return found


def pixels(content: bytes | Path) -> np.ndarray:
    with Image.open(io.BytesIO(content) if isinstance(content, bytes) else content) as picture:
        return np.asarray(picture)


def remade(recipe: Recipe) -> np.ndarray:
    """What a recipe makes, as the pictures have it: bytes, each pixel six times."""
    outputs, _ = render(recipe, sys.modules["skies_of"].skies())
    grey = np.round(np.asarray(outputs[0]).clip(0, 1) * 255)
    return np.repeat(np.repeat(grey, 6, axis=0), 6, axis=1)


def test_a_folder_of_pictures_with_what_was_measured(skies: Sweep) -> None:
    folder, told = export(skies, "--licence", "CC0 | my own")
    assert folder == Path("s/export")
    rows = lines(folder)
    assert [list(row) for row in rows] == [ROW] * 12
    assert [row["trial"] for row in rows] == list(range(12))
    assert {(row["version"], row["licence"], row["state"], row["nfe"]) for row in rows} == {
        (__version__, "CC0 | my own", "done", 1.0)
    }
    assert sorted(row["rank"] for row in rows) == list(range(1, 13))
    by_rank = sorted(rows, key=lambda row: row["rank"])
    assert [row["mean value"] for row in by_rank] == sorted((row["mean value"] for row in rows), reverse=True)
    assert {row["sky"] for row in rows} == {"at night", "by day"}
    for row in rows:
        recipe = Recipe.from_json(json.loads(row["recipe"]))
        assert recipe.condition == {"sky": row["sky"]}
        assert read_saved(folder / row["file_name"]).recipe == recipe
        seen = pixels(folder / row["file_name"])
        np.testing.assert_allclose(seen[..., 0], remade(recipe), atol=1)
        assert seen[..., 0].mean() / 255 == pytest.approx(row["mean value"], abs=2e-3)
    assert told["licence"] == "CC0 | my own"
    assert told["generator"] == Recipe.from_json(json.loads(rows[0]["recipe"])).generator
    assert json.loads((folder / "export.json").read_text()) == told
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", "export.json", "metadata.jsonl", *(row["file_name"] for row in rows)}


def test_what_it_says_of_itself(skies: Sweep) -> None:
    folder, _ = export(skies, "--where", 'sky == "by day"', "--licence", "CC0 | my own")
    text = (folder / "README.md").read_text()
    assert text.startswith(
        '---\nconfigs:\n- config_name: default\n  data_files: ["metadata.jsonl", "*.png"]\n---\n# s\n'
    )
    assert "| licence | `CC0 \\| my own` |" in text
    assert '| where | `sky == "by day"` |' in text
    assert "| `mean value` | metric, maximize |" in text
    assert "| `sky` | call argument of the generator |" in text
    assert text.count("\n| `") == len(ROW) - 1
    folder, told = export(skies)
    assert "| licence | `not stated` |" in (folder / "README.md").read_text()
    assert told["licence"] == "not stated"
    assert told["where"] is None


@pytest.mark.parametrize(
    ("options", "meant"),
    [
        (("--where", 'sky == "by day"'), lambda row: row["sky"] == "by day"),
        (("--where", "`mean value` >= 0.3 and not plain"), lambda row: row["mean value"] >= 0.3 and not row["plain"]),
        (("--where", "round > 0 and nfe == 1 and feasible and kept"), lambda row: row["round"] > 0),
        (("--top", "3"), lambda row: row["rank"] <= 3),
        (("--where", "rank > 2", "--top", "2"), lambda row: row["rank"] in (3, 4)),
        (("--where", "state in ['done', 'failed']"), lambda row: True),
    ],
)
def test_only_those_that_are_meant(skies: Sweep, options: tuple[str, ...], meant: Any) -> None:
    everything, _ = export(skies)
    expected = [row["trial"] for row in lines(everything) if meant(row)]
    assert expected
    folder, told = export(skies, *options)
    assert folder == Path("s/export-2")
    assert sorted(row["trial"] for row in lines(folder)) == expected
    assert told["outputs"] == len(expected)
    if "--top" in options:
        ranks = [row["rank"] for row in lines(folder)]
        assert ranks == sorted(ranks)


def test_parquet_is_read_by_pandas_and_arrow(skies: Sweep) -> None:
    folder, _ = export(skies, "--to", "parquet", "--out", "p")
    assert {path.name for path in folder.iterdir()} == {"README.md", "export.json", "data-00000.parquet"}
    plain, _ = export(skies)
    frame = pandas.read_parquet(folder / "data-00000.parquet")
    assert list(frame.columns) == ["image", *ROW]
    assert frame["rank"].dtype == frame["seeds"].dtype == np.int64
    assert frame["mean value"].dtype == np.float64
    assert frame["feasible"].dtype == bool
    assert frame.drop(columns="image").to_dict("records") == lines(plain)
    for image, row in zip(frame["image"], lines(plain), strict=True):
        assert image["path"] == row["file_name"]
        assert image["bytes"] == (plain / row["file_name"]).read_bytes()
    features = json.loads(pyarrow.parquet.read_schema(folder / "data-00000.parquet").metadata[b"huggingface"])
    assert features["info"]["features"]["image"] == {"_type": "Image"}
    assert features["info"]["features"].keys() == set(frame.columns)


@pytest.mark.parametrize("to", ["parquet", "webdataset"])
def test_many_outputs_are_several_files(skies: Sweep, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.setattr(export_formats, "SHARD", 5_000)
    monkeypatch.setattr(export_formats, "GROUP", 2)
    folder, _ = export(skies, "--to", to)
    shards = sorted(folder.glob("data-*"))
    assert [path.stem for path in shards] == [f"data-{i:05}" for i in range(len(shards))]
    assert len(shards) > 2
    if to == "parquet":
        trials = [trial for shard in shards for trial in pandas.read_parquet(shard)["trial"]]
    else:
        trials = [sample["json"]["trial"] for sample in samples_of(shards)]
        for shard in shards:
            with tarfile.open(shard) as tar:
                assert sum(member.size for member in tar.getmembers() if member.name.endswith(".png")) <= 5_000
    assert trials == list(range(12))


def test_tar_files_are_read_by_webdataset(skies: Sweep) -> None:
    folder, _ = export(skies, "--to", "webdataset", "--out", "w")
    plain, _ = export(skies)
    samples = samples_of([folder / "data-00000.tar"])
    assert [sample["__key__"] for sample in samples] == [f"trial{i:05}" for i in range(12)]
    for sample, row in zip(samples, lines(plain), strict=True):
        assert sample["json"] == {name: value for name, value in row.items() if name != "file_name"}
        np.testing.assert_array_equal(sample["png"], pixels(plain / row["file_name"]))
    again, _ = export(skies, "--to", "webdataset", "--out", "again")
    one, other = ((path / "data-00000.tar").read_bytes() for path in (folder, again))
    assert hashlib.sha256(one).digest() == hashlib.sha256(other).digest()


def test_large_pictures_and_sound_have_their_recipes_beside_them(skies: Sweep) -> None:
    for maker, suffix in (("large", ".webp"), ("tones", ".wav")):
        file = f"{maker}.yaml"
        ran = skies(
            "sweep",
            file=file,
            generator=f"skies_of:{maker}",
            score="skies_of:mean",
            metrics="{m: maximize}",
            budget="4",
        )
        assert ran.exit_code == 0, ran.output
        folder, _ = export(skies, file=file)
        rows = lines(folder)
        assert [row["file_name"] for row in rows] == [f"trial{i:05}{suffix}" for i in range(4)]
        for row in rows:
            recipe = Recipe.from_json(json.loads(row["recipe"]))
            assert read_saved(folder / row["file_name"]).recipe == recipe
        assert json.loads((folder / "README.md").read_text().split("data_files: ")[1].splitlines()[0]) == [
            "metadata.jsonl",
            f"*{suffix}",
        ]
        parquet, _ = export(skies, "--to", "parquet", file=file)
        kind = "image" if maker == "large" else "audio"
        assert next(iter(pandas.read_parquet(parquet / "data-00000.parquet"))) == kind
        tars, _ = export(skies, "--to", "webdataset", file=file)
        with tarfile.open(tars / "data-00000.tar") as tar:
            beside = tar.extractfile("trial00001.json")
            assert beside is not None
            assert saved_in(beside.read(), "trial00001.json").recipe.to_json() == json.loads(rows[1]["recipe"])


def test_made_again_at_full_quality(skies: Sweep) -> None:
    ran = skies("sweep", file="l.yaml", generator="skies_of:large", score="skies_of:mean", metrics="{m: maximize}")
    assert ran.exit_code == 0, ran.output
    refused = skies("export", "--remake", "--steps", "3", file="l.yaml")
    assert refused.exit_code == 2
    assert "--steps, --set: {'num_inference_steps': 3} cannot be set." in refused.stderr
    folder, told = export(skies, "--remake", "--where", "trial < 6", file="l.yaml")
    assert told["made"] == "again"
    assert [row["file_name"] for row in lines(folder)] == [f"trial{i:05}.png" for i in range(6)]
    for row in lines(folder):
        exact = pixels(folder / row["file_name"])
        assert exact.shape == (300, 300, 3)
        recipe = read_saved(folder / row["file_name"]).recipe
        outputs, _ = render(recipe, sys.modules["skies_of"].large())
        np.testing.assert_allclose(exact[..., 0], np.asarray(outputs[0]) * 255, atol=0.51)


def test_in_batches_of_the_size_that_they_were_made_in(skies: Sweep) -> None:
    before = len(sys.modules["skies_of"].CALLS)
    export(skies, "--remake")
    assert sys.modules["skies_of"].CALLS[before:] == [4, 4, 4]


def test_call_arguments_that_are_changed_are_put_down(skies: Sweep) -> None:
    folder, told = export(skies, "--remake", "--set", "sky=at night", "--set", "seconds=3", "--top", "4")
    assert told["overrides"] == {"sky": "at night", "seconds": 3}
    for row in lines(folder):
        assert (row["sky"], row["argument seconds"]) == ("at night", 3)
        recipe = Recipe.from_json(json.loads(row["recipe"]))
        assert recipe.overrides == {"sky": "at night", "seconds": 3}
        assert pixels(folder / row["file_name"]).max() < 128  # half of the light
    assert '| changed when made again | `{"sky": "at night", "seconds": 3}` |' in (folder / "README.md").read_text()


def test_pictures_that_were_not_kept_have_to_be_made_again(skies: Sweep) -> None:
    ran = skies("sweep", file="n.yaml", **{**SKIES, "previews": "false"})
    assert ran.exit_code == 0, ran.output
    refused = skies("export", file="n.yaml")
    assert refused.exit_code == 2
    assert "no file was kept of 12 of 12 outputs (trials 0, 1, 2, 3, 4, ...). --remake makes" in refused.stderr
    assert not Path("n/export").exists()
    folder, _ = export(skies, "--remake", file="n.yaml")
    assert len(list(folder.glob("*.png"))) == 12
    kept = skies("export", "--where", "kept", file="n.yaml")
    assert kept.exit_code == 2
    assert "12 trials of 'n' have an output, and none of them is meant by 'kept'" in kept.stderr


def test_a_file_that_is_gone_is_named_and_nothing_is_left(skies: Sweep) -> None:
    for file in skies.folder.glob("s-previews/*"):
        file.unlink()
    answer = skies("export")
    assert answer.exit_code == 2
    assert (
        "the file of trial 0 is gone. --remake makes outputs again; --where 'trial != 0' leaves it out" in answer.stderr
    )
    assert sorted(path.name for path in Path("s").iterdir()) == ["log.txt"]


def test_interrupted_it_leaves_nothing(skies: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = export_formats.FolderWriter.add

    def add(self: Any, item: Any) -> None:
        if item.row["trial"] == 7:
            assert len(list(Path("s").glob(".export-*.part/*.png"))) == 7
            raise KeyboardInterrupt
        whole(self, item)

    monkeypatch.setattr(export_formats.FolderWriter, "add", add)
    answer = skies("export")
    assert answer.exit_code == 130
    assert "interrupted: nothing was exported" in answer.stderr
    assert sorted(path.name for path in Path("s").iterdir()) == ["log.txt"]


def test_an_earlier_export_is_replaced_only_when_asked(skies: Sweep) -> None:
    folder, _ = export(skies, "--out", "out")
    (folder / "notes.txt").write_text("mine")
    refused = skies("export", "--out", "out")
    assert refused.exit_code == 2
    assert "--out: out is there already" in refused.stderr
    export(skies, "--out", "out", "--force", "--top", "2")
    assert len(list(Path("out").iterdir())) == 5
    Path("mine").mkdir()
    Path("mine/a.txt").write_text("a")
    other = skies("export", "--out", "mine", "--force")
    assert other.exit_code == 2
    assert "expected a new folder, or one of an earlier `export`, got mine" in other.stderr
    assert not [path for path in Path().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--where", "redness > 1"),
            "there is no 'redness'. Names are trial, `mean value`, sky, state, round, rank, feasible, plain, seeds",
        ),
        (("--where", "sky = 1"), "where: expected comparisons joined by and, or, not"),
        (("--where", "sky == 1"), "sky holds texts and 1 is of numbers, which are never equal"),
        (("--where", "`mean value` > 9"), "12 trials of 's' have an output, and none of them is meant by"),
        (("--steps", "3"), "--steps, --set: files that were kept cannot be changed. Give --remake as well."),
        (("--remake", "--set", "paint"), "--set: expected name=value, as guidance_scale=3.0, got 'paint'"),
        (("--top", "0"), "Invalid value for '--top'"),
        (("--to", "csv"), "'csv' is not one of"),
    ],
)
def test_bad_input_is_refused(skies: Sweep, options: tuple[str, ...], message: str) -> None:
    before = sorted(Path().rglob("*"))
    answer = skies("export", *options)
    assert answer.exit_code == 2, answer.output
    assert message in " ".join(answer.stderr.replace("│", " ").split()), answer.stderr
    assert sorted(Path().rglob("*")) == before


def test_without_arrow_the_extra_is_named(skies: Sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    answer = skies("export", "--to", "parquet")
    assert answer.exit_code == 1
    assert "Parquet needs PyArrow: pip install" in answer.stderr
    assert "[parquet]'" in answer.stderr
    assert not Path("s/export").exists()
    with pytest.raises(MissingExtraError):
        export_formats.ParquetWriter(Path(), {})


def test_of_an_ax_experiment(skies: Sweep) -> None:
    ran = skies("sweep", file="a.yaml", **{**SKIES, "metrics": "{brightness: maximize}"}, backend="ax", budget="6")
    assert ran.exit_code == 0, ran.output
    for file in ("a.yaml", "a.json"):
        folder, told = export(skies, "--where", "brightness > 0", file=file)
        rows = lines(folder)
        assert told["host"] == "Ax"
        assert [row["state"] for row in rows] == ["done"] * 6
        for row in rows:
            assert (pixels(folder / row["file_name"])[..., 0].mean() / 255) == pytest.approx(
                row["brightness"], abs=2e-3
            )


def test_stored_seeds_go_along(skies: Sweep) -> None:
    parts = sys.modules["skies_of"]
    generator = parts.large()
    latents = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    space = SurrogateSpace.from_latents(generator.prior, latents)
    objective = Objective(Metric("m"), score=parts.mean)
    sampler = RandomSampler(seed=0)
    study = create_study(objective, study_name="given", storage=sqlite("given.db"), sampler=sampler)
    optimize(study, generator, objective, space=space, total_trials=4, rng=0, seeds=Path("given-seeds"))
    folder, _ = export(skies, "--remake", "--generator", "skies_of:large", file="given.db")
    picture = folder / lines(folder)[2]["file_name"]
    output, _ = remake(read_saved(picture), picture, "skies_of:large")
    np.testing.assert_allclose(pixels(picture)[..., 0], np.asarray(output) * 255, atol=0.51)
    assert list((folder / "seeds").iterdir())


@pytest.mark.parametrize(
    ("where", "meant"),
    [
        (None, [0, 1, 2, 4, 5, 6]),
        ("score >= 3", [4, 5, 6]),
        ("score >= 3 and state != 'running'", [3, 4, 5, 6]),
        ("state == 'stopped'", [3]),
        ("state in ['stopped', 'failed', 'running', 'done']", [0, 1, 2, 3, 4, 5, 6]),
    ],
)
def test_stopped_trials_only_where_the_state_is_named(
    monkeypatch: pytest.MonkeyPatch, where: str | None, meant: list[int]
) -> None:
    """And failed and running ones never, since they have no output."""
    trials = [dataclasses.replace(t, state="stopped") if t.number == 3 else t for t in shown.trials(9)]
    monkeypatch.setattr(exports, "files_source", lambda searched: shown.ListSource(shown.study(trials)))
    searched: Any = SimpleNamespace(name="faces", sweep=None)
    assert exports.select(searched, exports.Request(where)).places == meant
    best = exports.select(searched, exports.Request(where, top=2)).places
    assert best == sorted(meant, key=lambda i: -1 if i == 3 else i, reverse=True)[:2]  # an estimate has no rank


def test_columns_of_one_type_each() -> None:
    columns, types = tidy(
        {
            "whole": [1, None, 3],
            "real": [1, 2.5, None],
            "text": ["a", None],
            "truth": [True, None],
            "mixed": ["a", 2, None],
            "flags": [True, 2],
            "large": [2**70, 1],
            "list": [[1, 2], None],
            "none": [None, None],
        }
    )
    assert types == {
        "whole": int,
        "real": float,
        "text": str,
        "truth": bool,
        "mixed": str,
        "flags": str,
        "large": str,
        "list": str,
        "none": str,
    }
    assert columns["real"] == [1.0, 2.5, None]
    assert columns["mixed"] == ['"a"', "2", None]
    assert columns["large"] == [str(2**70), "1"]
    assert columns["list"] == ["[1, 2]", None]


def test_a_folder_with_files_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    check_replaced(tmp_path / "a", INDEX, "export")
    (tmp_path / "a" / "x").touch()
    with pytest.raises(ArgumentError):
        check_replaced(tmp_path / "a", INDEX, "export")
    with pytest.raises(ArgumentError):
        check_replaced(tmp_path / "a" / "x", INDEX, "export")
