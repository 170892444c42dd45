"""`surrogate-ax sweep`: runs, resumes, refuses, and writes nothing where it should not."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing

import optuna
import pytest
from optuna.trial import TrialState

from surrogate_ax import Evaluator
from surrogate_ax.policies.plan import Plan
from surrogate_ax_cli.storages import display_name, previews_folder, storage_file
from surrogate_ax_cli.sweep_file import read_sweep
from surrogate_ax_optuna import sqlite
from surrogate_ax_optuna.attributes import PROPOSAL_ATTR, ROUND_ATTR, STUDY_ATTR, attributes, study_attributes
from surrogate_ax_optuna.trials import ended_trials, read_recipe
from tests.integrations.cli.sweep_folder import PARTS, Sweep
from tests.integrations.diffusers.tiny import NUMPY_2

ELSEWHERE = """
import os

def process(pictures, conditions):
    return [float(os.getpid())] * len(pictures)
"""
Calls = Callable[[], list[int]]


def study_of(name: str = "s", file: str = "s.db") -> optuna.Study:
    return optuna.load_study(study_name=name, storage=sqlite(file))


def test_a_sweep_runs_to_its_budget(sweep: Sweep, calls: Calls) -> None:
    answer = sweep("sweep", "--json")
    assert answer.exit_code == 0, answer.output
    result = json.loads(answer.stdout)
    assert result["trials"] == {"budget": 12, "ended": 12, "scored": 12, "failed": 0, "running": 0, "again": 0}
    assert result["nfe"] == 12
    study = study_of()
    assert result["best"][0]["trial"] == study.best_trial.number
    assert result["best"][0]["values"] == {"dark": study.best_value}
    assert study.metric_names == ["dark"]
    assert set(calls()[1:]) <= set(range(1, 5))  # never more than a batch
    assert sum(calls()) == 1 + 12  # one is tried before
    assert len(list((sweep.folder / "s-previews").iterdir())) == 12
    with closing(sqlite3.connect("s.db")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert "__pycache__" not in sweep.files()


def test_the_same_command_shows_the_result_again(sweep: Sweep, calls: Calls) -> None:
    first = sweep("sweep", "--json")
    before = calls()
    again = sweep("sweep", "--json")
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert calls() == before
    assert "continues up to 12 trials" in again.stderr
    assert "The study goes on: 12 trials ended" in again.stderr


def test_a_larger_budget_goes_on(sweep: Sweep, calls: Calls) -> None:
    sweep("sweep", budget="8")
    answer = sweep("sweep", "--json", budget="20")
    assert json.loads(answer.stdout)["trials"]["ended"] == 20
    assert sum(calls()) == 1 + 20


def test_the_text_says_what_to_do_next(sweep: Sweep) -> None:
    answer = sweep("sweep")
    assert answer.stdout.startswith("study 's': 12 trials, 12 scored, 12 NFE\n  trial ")
    assert "surrogate-ax best s.yaml" in answer.stdout
    assert "surrogate-ax gallery s.yaml" in answer.stdout
    assert "study 's' in s.db: new; the planned search proposes" in answer.stderr


def test_conditions_and_several_metrics(sweep: Sweep) -> None:
    answer = sweep(
        "sweep",
        "--json",
        generator="sweep_parts:lit",
        conditions="{light: {low: 0.5, high: 1.0, step: 0.25}}",
        score="sweep_parts:two",
        metrics="{dark: maximize, mean: {at_most: 0.3}}",
    )
    assert answer.exit_code == 0, answer.output
    best = json.loads(answer.stdout)["best"]
    lights = {one["conditions"]["light"] for one in best}
    assert lights <= {0.5, 0.75, 1.0}
    feasible = [one["values"]["mean"] <= 0.3 for one in best]
    assert feasible == sorted(feasible, reverse=True)
    assert {len(read_recipe(trial).condition) for trial in study_of().trials} == {1}


@pytest.mark.parametrize(
    "options",
    [
        {"sampler": "{name: CmaEsSampler, n_startup_trials: 2}", "policy": "{name: o3, n: 6, seeds: 4}"},
        {"sampler": "nsga-ii", "policy": "[{name: draws, n: 4, axes: 3}, {name: evolve, axes: 3, size: 4}]"},
        {"policy": "[{name: draws, n: 4, axes: 3}, {name: moving_boxes, axes: 3, size: 4, fresh: [0.2, 0.4]}]"},
        {"overlap": "true", "seed": "3"},
        {
            "policy": "[{name: draws, n: 4, axes: 3}, {name: trust_region, axes: 3, size: 4, max_trials: 8}, "
            "{name: spherical_bo, axes: 3, size: 4, anneal_over: 12}]"
        },
    ],
)
def test_named_samplers_and_policies(sweep: Sweep, options: dict[str, str]) -> None:
    answer = sweep("sweep", "--json", **options)
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["trials"]["scored"] == 12


def test_a_score_with_a_timeout_runs_in_another_process(sweep: Sweep) -> None:
    (sweep.folder / "sweep_elsewhere.py").write_text(ELSEWHERE)
    answer = sweep("sweep", "--json", score="{function: sweep_elsewhere:process, timeout: 20}")
    assert answer.exit_code == 0, answer.output
    assert {one["values"]["dark"] for one in json.loads(answer.stdout)["best"]}.isdisjoint({os.getpid()})
    refused = sweep("sweep", file="b.yaml", score="{function: sweep_elsewhere:other, timeout: 20}")
    assert refused.exit_code == 2
    assert "b.yaml:3: score: " in refused.stderr


def test_the_seed_decides(sweep: Sweep) -> None:
    runs = [
        sweep("sweep", "--json", file=file, seed=seed)
        for file, seed in (("a.yaml", "0"), ("b.yaml", "0"), ("c.yaml", "1"))
    ]
    a, b, c = (json.loads(run.stdout)["best"] for run in runs)
    assert a == b
    assert a != c


def test_a_dry_run_tells_cost_and_plan_and_writes_nothing(sweep: Sweep, calls: Calls) -> None:
    sweep.write()
    before = sweep.files()
    answer = sweep("sweep", "--dry-run", "--json")
    assert answer.exit_code == 0, answer.output
    plan = json.loads(answer.stdout)
    assert plan["trials"] == {"budget": 12, "done": 0, "left": 12, "batch": 4}
    assert plan["nfe"] == 12
    assert plan["pilot"]["trials"] == 4
    assert plan["seconds"] == pytest.approx(3 * plan["pilot"]["seconds"])
    assert plan["plan"] == [
        "4 plain draws",
        "8 proposals that learn from earlier trials, in 2 rounds of 4 (K = 4 seeds)",
    ]
    assert (plan["sampler"], plan["proposes"]) == (
        "auto",
        "the planned search proposes, from all that it has found so far",
    )
    assert calls() == [1, 4]
    assert sweep.files() == before


def test_a_dry_run_of_a_sweep_that_was_begun(sweep: Sweep) -> None:
    sweep("sweep", budget="8")
    answer = sweep("sweep", "--dry-run", budget="20")
    assert "20 in batches of 4; found 8 trials ended" in answer.stdout
    assert "about 12 NFE" in answer.stdout
    assert len(study_of().trials) == 8


def test_a_dry_run_shows_what_is_searched(sweep: Sweep) -> None:
    answer = sweep(
        "sweep",
        "--dry-run",
        generator="sweep_parts:lit",
        conditions="{light: {low: 0.5, high: 1.0, step: 0.25}}",
        sampler="gp",
        budget="8",
    )
    assert answer.exit_code == 0, answer.output
    assert "2 plain draws" in answer.stdout
    assert "6 points of boxes" in answer.stdout
    assert "light: 0.5 to 1.0 in steps of 0.25" in answer.stdout
    assert "sampler     gp: the sampler proposes, in boxes that move" in answer.stdout


def test_a_dry_run_says_who_proposes(sweep: Sweep) -> None:
    driven = sweep("sweep", "--dry-run", sampler="cmaes")
    assert "8 points of boxes that learn from earlier trials, in 2 rounds of 4 (K = 4 seeds)" in driven.stdout
    assert "sampler     cmaes: the sampler proposes, in boxes that move" in driven.stdout
    policy = "[{name: draws, n: 4, axes: 3}, {name: evolve, axes: 3, size: 4}]"
    left_open = sweep("sweep", "--dry-run", sampler="tpe", policy=policy)
    assert "sampler     tpe: the policy proposes, and the sampler what it leaves open" in left_open.stdout


@pytest.mark.parametrize(("sampler", "kind"), [("auto", "sphere"), ("tpe", "boxes"), ("cmaes", "boxes")])
def test_the_sampler_that_a_file_names_proposes(sweep: Sweep, sampler: str, kind: str) -> None:
    answer = sweep("sweep", "--json", sampler=sampler)
    assert answer.exit_code == 0, answer.output
    study = study_of()
    assert study_attributes(study)[STUDY_ATTR]["plan"]["kind"] == kind
    exact = [PROPOSAL_ATTR in attributes(trial) for trial in study.trials]
    assert exact == [False] * 4 + [sampler == "auto"] * 8
    if sampler == "cmaes":
        assert [trial.system_attrs.get("cma:generation") for trial in study.trials] == [None] * 4 + [0] * 8


def test_a_sweep_that_was_begun_as_o3_goes_on_with_tpe(
    sweep: Sweep, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"generator": "sweep_parts:lit", "conditions": "{light: {low: 0.5, high: 1.0}}"}
    with monkeypatch.context() as earlier:
        for module in ("surrogate_ax.execution.session", "surrogate_ax_cli.assembly"):
            earlier.setattr(f"{module}.plan", lambda *_, **__: Plan("o3", 4, 4, 0, 0, 0))
        sweep("sweep", budget="8", **options)
    answer = sweep("sweep", "--json", budget="12", **options)
    assert answer.exit_code == 0, answer.output
    assert [attributes(trial)[ROUND_ATTR] for trial in study_of().trials] == [0] * 4 + [1] * 8
    assert "goes on so" not in caplog.text  # as it does where the sampler is not the one that it was begun for


def test_a_sweep_that_was_planned_before_its_sampler_drove_goes_on_planned(sweep: Sweep) -> None:
    sweep("sweep", budget="8")
    answer = sweep("sweep", "--json", budget="12", sampler="tpe")
    assert answer.exit_code == 0, answer.output
    assert [PROPOSAL_ATTR in attributes(trial) for trial in study_of().trials] == [False] * 2 + [True] * 10


REFUSED = [
    ({"sampler": "tpee"}, "s.yaml:7: sampler: no sampler is called 'tpee'. Did you mean 'tpe'?"),
    ({"sampler": "{name: tpe, startup: 3}"}, "sampler: tpe takes no argument 'startup' here. It takes consider_prior"),
    ({"sampler": "{name: tpe, n_startup_trials: ten}"}, "n_startup_trials: expected int, got 'ten'"),
    ({"sampler": "{name: nsgaii, population_size: 1}"}, "nsgaii: `population_size` must be"),
    ({"pruner": "medain"}, "pruner: no pruner is called 'medain'. Did you mean 'median'?"),
    ({"policy": "o33"}, "policy: no policy is called 'o33'. Did you mean 'o3'?"),
    ({"policy": "{name: o3, n: 8}"}, "policy: o3 needs seeds"),
    ({"policy": "{name: o3, n: 8, seeds: 100}"}, "o3: seeds: expected 2 to min(n, D) = 8, got 100"),
    ({"policy": "{name: draws, n: 8, axes: 4, prior: x}"}, "draws takes no argument 'prior' here"),
    (
        {"policy": "[{name: caps, axes: 4}, {name: reseed, axes: 4}]"},
        "caps never ends, so that nothing can follow it. Put it last, or give it `max_trials:`, after which reseed",
    ),
    (
        {"policy": "[{name: o3, n: 4, seeds: 4}, {name: reseed, axes: 4}]"},
        "o3 never ends, so that nothing can follow it. Put it last.",
    ),
    ({"policy": "{name: shpere, axes: 4}"}, "no policy is called 'shpere'. Did you mean 'spherical_bo'?"),
    ({"policy": "{name: cap, axes: 4}"}, "no policy is called 'cap'. Did you mean 'trust_region'?"),
    ({"policy": "{name: trust-region, axes: 4}"}, "Did you mean 'trust_region'?"),
    ({"policy": "zzz"}, "Known: draws, o3, spherical_bo, trust_region, reseed, evolve, moving_boxes."),
    ({"policy": "{name: sphere, axes: 4, untl: 8}"}, "It takes axes, size, sampled, fresh, anneal_over, max_trials."),
    ({"policy": "{name: sphere, axes: 4, until: ten}"}, "until: expected int | None, got 'ten'"),
    (
        {"policy": "{name: sphere, axes: 4, until: 8, max_trials: 9}"},
        "until and max_trials are one argument. Keep max_trials.",
    ),
    ({"policy": "[{name: draws, n: 8, axes: 4}, {name: reseed, axes: 5}]"}, "the same number of axes in every step"),
    ({"score": "no_such_module:x"}, "s.yaml:3: score: found no module 'no_such_module'; searched {folder}, "),
    ({"score": "sweep_parts:darkr"}, "sweep_parts.py has no function 'darkr'. Did you mean 'darker'?"),
    ({"score": "sweep_broken:x"}, "importing 'sweep_broken' failed: ZeroDivisionError: division by zero"),
    ({"generator": "sweep_parts:nothing"}, "expected sweep_parts:nothing to return a Generator, got NoneType"),
    ({"generator": "no/folder"}, "s.yaml:2: generator: folder: no/folder is not a folder"),
    ({"generator": "https://host/model"}, "expected a local folder, got the URL"),
    ({"call": "{revisoin: x}"}, "s.yaml:7: call: sweep_parts:make: got an unexpected keyword argument 'revisoin'"),
    ({"checkpoints": "[2]"}, "s.yaml:7: checkpoints: expected a generator that can stop between steps"),
    ({"checkpoints": "[2]", "overlap": "true"}, "overlap, checkpoints: expected one of them"),
    (
        {"score": "sweep_parts:two"},
        "s.yaml:3: score: expected exactly the declared metrics ['dark'], got ['dark', 'mean']",
    ),
    ({"conditions": "{light: [1, 2]}"}, "s.yaml:7: conditions: this function takes none"),
    ({"generator": "sweep_parts:vectors", "score": "sweep_parts:first"}, "previews: no preview can be made"),
    ({"storage": "sweep_parts.py"}, "s.yaml:7: storage: sweep_parts.py cannot be read as an SQLite database"),
    ({"storage": "sweep_parts.py/x.db"}, "s.yaml:7: storage: "),
    ({"storage": "other.db"}, "other.db is a database of something else; its tables are ['theirs']"),
    ({"storage": "nosuch://me:secret@host/x"}, "storage: nosuch://***@host/x cannot be opened (NoSuchModuleError"),
    ({"storage": "':memory:'"}, "s.yaml:7: storage: path: expected a database file, got ':memory:'"),
    ({"storage": "'sqlite://'"}, "which is none, so that nothing would be kept"),
    ({"storage": "runs/"}, "s.yaml:7: storage: expected a file, got the folder 'runs/'"),
    ({"storage": "'postgresql://me:secret'"}, "got postgresql://***, which cannot be read"),
    ({"storage": ".", "backend": "ax"}, "s.yaml:7: storage: path: expected a database file, got '.'"),
    ({"storage": "s.db", "backend": "ax"}, "Name the snapshot NAME.json"),
    ({"storage": "'sqlite:///s.json'", "backend": "ax"}, "expected a file for Ax's snapshot, got sqlite:///s.json"),
    ({"storage": "optuna.db", "name": "theirs"}, "study 'theirs' in optuna.db was not made by `surrogate-ax sweep`"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSED)
def test_bad_input_is_one_line_and_nothing_is_written(sweep: Sweep, changes: dict[str, str], message: str) -> None:
    (sweep.folder / "sweep_broken.py").write_text("1 / 0\n")
    with closing(sqlite3.connect("other.db")) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    if "optuna.db" in changes.values():
        theirs = optuna.create_study(study_name="theirs", storage="sqlite:///optuna.db")
        theirs.add_trial(optuna.trial.create_trial(value=0.0))
    sweep.write(**changes)
    before, database = sweep.files(), (sweep.folder / "other.db").read_bytes()
    answer = sweep("sweep")
    assert answer.exit_code == 2, answer.output
    errors = [line for line in answer.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message.replace("{folder}", str(sweep.folder)) in errors[0]
    assert "secret" not in answer.output
    assert answer.stderr.splitlines()[-1] == errors[0]
    assert [name for name in sweep.files() if not name.startswith("optuna.db-")] == before
    assert (sweep.folder / "other.db").read_bytes() == database


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": "1"}, "s.yaml:7: seed: study 's' in s.db was begun with 0, the file has 1"),
        ({"score": "sweep_parts:lighter"}, "s.yaml:3: score: study 's' in s.db was begun with 'sweep_parts:darker'"),
        ({"metrics": "{dark: minimize}"}, "s.yaml:4: metrics: study 's' in s.db was begun with [['dark', 'maximize'"),
        ({"policy": "{name: draws, n: 24, axes: 4}"}, "begun with 'auto', the file has 'draws(n=24, axes=4)'"),
        ({"conditions": "{light: [1, 2]}"}, "conditions: study 's' in s.db was begun with {}"),
        ({"call": "{revision: b}"}, "call: study 's' in s.db was begun with {}, the file has {'revision': 'b'}"),
        ({"generator": "sweep_parts:slow"}, "; function: sweep_parts.clouds -> sweep_parts.slowly)"),
    ],
)
def test_a_study_that_was_begun_otherwise_is_refused(sweep: Sweep, changes: dict[str, str], message: str) -> None:
    sweep("sweep", budget="4")
    before = study_of().trials
    answer = sweep("sweep", budget="8", **changes)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert study_of().trials == before


EARLIER = "[{name: draws, n: 4, axes: 3}, {name: caps, axes: 3, until: 6}, {name: sphere, axes: 3, narrow: 9}]"
PRESENT = EARLIER.replace("caps", "trust_region").replace("until", "max_trials")
PRESENT = PRESENT.replace("sphere", "spherical_bo").replace("narrow", "anneal_over")


@pytest.mark.parametrize(("first", "second"), [(EARLIER, PRESENT), (PRESENT, EARLIER)])
def test_earlier_and_present_names_of_policies_are_one(sweep: Sweep, first: str, second: str) -> None:
    begun = sweep("sweep", policy=first, budget="8")
    assert begun.exit_code == 0, begun.output
    recorded = study_of().user_attrs["surrogate:sweep"]["policy"]
    assert recorded == "draws(n=4, axes=3), then caps(axes=3, until=6), then sphere(axes=3, narrow=9)"
    again = sweep("sweep", "--json", policy=second, budget="12")
    assert again.exit_code == 0, again.output
    assert json.loads(again.stdout)["trials"]["ended"] == 12
    changed = sweep("sweep", policy=second.replace("9}", "8}"), budget="16")
    assert changed.exit_code == 2
    assert (
        "was begun with 'draws(n=4, axes=3), then caps(axes=3, until=6), then sphere(axes=3, narrow=9)'"
        in changed.stderr
    )


def test_two_sweeps_of_one_name_in_one_storage_collide(sweep: Sweep) -> None:
    sweep("sweep", file="a.yaml", storage="all.db")
    first = sweep("sweep", file="b.yaml", storage="all.db", seed="1")
    assert first.exit_code == 0, first.output  # names are those of the files
    second = sweep("sweep", "--json", file="c.yaml", storage="all.db", name="a", seed="2")
    assert second.exit_code == 2
    assert "seed: study 'a' in all.db was begun with 0" in second.stderr
    assert "choose another `name:`" in second.stderr
    assert sorted(optuna.get_all_study_names(sqlite("all.db"))) == ["a", "b"]


def test_a_study_without_a_mark_and_without_trials_is_taken(sweep: Sweep) -> None:
    optuna.create_study(study_name="s", storage=sqlite("s.db"), direction="maximize")  # a crash in between
    answer = sweep("sweep", "--json")
    assert json.loads(answer.stdout)["trials"]["ended"] == 12


def test_failures_have_their_exit_code_and_reason(sweep: Sweep) -> None:
    raised = sweep("sweep", generator="sweep_parts:broken")
    assert raised.exit_code == 1
    assert "sweep_parts:broken raised RuntimeError: the weights are gone" in raised.stderr
    assert sweep.files() == ["s.yaml", "sweep_parts.py"]
    failed = sweep("sweep", generator="sweep_parts:failing")
    assert failed.exit_code == 1
    line = 1 + PARTS.splitlines().index('    raise RuntimeError("out of paint")')
    message = f"RuntimeError: out of paint ({sweep.folder / 'sweep_parts.py'}, line {line}). Nothing was written."
    assert f"s.yaml:2: generator: all of 5 outputs that were tried failed; the first reason: {message}" in failed.stderr
    shown = failed.stderr.partition("Traceback (most recent call last):\n")[2]
    assert shown.startswith(f'  File "{sweep.folder / "sweep_parts.py"}", line {line}, in fail\n')
    assert failed.stderr.count("Traceback") == 1
    assert sweep.files() == ["s.yaml", "sweep_parts.py"]


BREAKS = """
import torch
from sweep_parts import make
scored = []

def score(pictures, conditions):
    scored.append(len(pictures))
    if MENDED == "no" and sum(scored) > 5:  # one of them is tried first
        raise OSError("no licence")
    return pictures.mean(dim=(1, 2))

def rarely(pictures, conditions):
    if len(pictures) == 1:
        raise OSError("no licence")
    return pictures.mean(dim=(1, 2))
"""


def test_what_failed_before_it_was_mended_is_tried_again(sweep: Sweep) -> None:
    options = {
        "generator": "sweep_breaks:make",
        "score": "sweep_breaks:score",
        "policy": "{name: draws, n: 12, axes: 4}",
    }
    (sweep.folder / "sweep_breaks.py").write_text(BREAKS + "MENDED = 'no'\n")
    broken = sweep("sweep", **options)
    assert broken.exit_code == 1
    assert "the last 8 trials all failed; the first reason: OSError: no licence (" in broken.stderr
    assert [trial.state for trial in ended_trials(study_of())] == [TrialState.COMPLETE] * 4
    del sys.modules["sweep_breaks"]
    (sweep.folder / "sweep_breaks.py").write_text(BREAKS + "MENDED = 'yes, it is'\n")
    again = sweep("sweep", "--json", **options)
    counts = json.loads(again.stdout)["trials"]
    assert (counts["ended"], counts["scored"], counts["failed"]) == (12, 12, 0)


def test_an_output_that_fails_among_others_is_warned_of(sweep: Sweep) -> None:
    (sweep.folder / "sweep_breaks.py").write_text(BREAKS)
    answer = sweep("sweep", "--json", generator="sweep_breaks:make", score="sweep_breaks:rarely")
    assert answer.exit_code == 0, answer.output
    assert "warning: the output failed: OSError: no licence" in answer.stderr


@pytest.mark.filterwarnings("default:storage:UserWarning")
def test_a_journal_file_is_warned_of(sweep: Sweep) -> None:
    answer = sweep("sweep", "--json", storage="runs/s.log", budget="8")
    assert answer.exit_code == 0, answer.output
    assert "warning: storage: a journal file that is torn" in answer.stderr
    again = sweep("sweep", "--json", storage="runs/s.log", budget="16")
    assert json.loads(again.stdout)["trials"]["ended"] == 16


def test_where_things_are(sweep: Sweep) -> None:
    def shown(**changes: str) -> tuple[str, str]:
        sweep.write(**changes)
        described = read_sweep(sweep.folder / "s.yaml")
        return display_name(described).removeprefix(f"{sweep.folder}/"), previews_folder(described).name

    assert shown() == ("s.db", "s-previews")
    assert shown(storage="runs/all.db") == ("runs/all.db", "all-previews")
    assert shown(storage="sqlite:///all.db") == ("all.db", "all-previews")
    assert shown(storage="'sqlite:///who is it%3F.db'") == ("who is it?.db", "who is it?-previews")
    assert shown(storage="postgresql://me:secret@host/db") == ("postgresql://***@host/db", "s-previews")
    assert shown(backend="ax", storage="x.json") == ("x.db", "x-previews")
    assert storage_file(read_sweep(sweep.folder / "s.yaml")) == sweep.folder / "x.db"


@NUMPY_2
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"call": "{promt: hat}"}, "call: promt: StableDiffusionPipeline takes no such call argument"),
        ({"call": "{prompt: moustache}"}, "call: prompt: the embedded model does not know ['moustache']"),
        ({"conditions": "{prompt: [hat, moustache]}"}, "conditions: prompt: the embedded model does not know"),
        ({"conditions": "{guidence_scale: [1, 2]}"}, "Did you mean 'guidance_scale'?"),
        ({"conditions": "{height: [16, 32]}"}, "changes the shape of the latent"),
        ({"checkpoints": "[50]"}, "checkpoints: expected increasing numbers of steps from 1 to 11"),
    ],
)
def test_the_embedded_model_refuses_before_anything_is_written(
    sweep: Sweep, changes: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Evaluator, "score", lambda *_: pytest.fail("the model has run"))
    answer = sweep("sweep", generator="embedded", **changes)
    assert answer.exit_code == 2, answer.output
    assert message in answer.stderr
    assert sweep.files() == ["s.yaml", "sweep_parts.py"]
