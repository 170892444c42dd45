"""What README and the pages of docs show works: code is run as printed, links, paths, commands and arguments exist."""

from __future__ import annotations

import ast
import csv
import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

import surrogate_ax
from surrogate_ax.media.contact_sheet import MARGIN, TILE
from surrogate_ax_cli.main import app
from surrogate_ax_optuna.attributes import attributes
from tests.documents import (
    PAGES,
    ROOT,
    Block,
    blocks,
    broken_links,
    commands,
    inline_code,
    missing_paths,
    text_of,
)
from tests.integrations.diffusers import tiny

PYTHON = [block for page in PAGES for block in blocks(page) if block.language == "python"]
BY_NAME = {block.said("name"): block for block in PYTHON if block.said("name")}
OTHERS = (ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md")
EVERY = [pytest.param(page, id=page.name) for page in (*PAGES, *OTHERS)]
PACKAGES = ("surrogate_ax", "surrogate_ax_optuna", "surrogate_ax_platform", "surrogate_ax_diffusers")
MODULES = (
    "surrogate_ax_botorch",
    "surrogate_ax.latents.laws",
    "surrogate_ax.policies.evolution",
    "surrogate_ax.editing",
)
SHEET_TOP = 165  # of the first tile of a contact sheet with one fact
SCORES = (
    "def warmth(images, conditions):\n    return images[..., 0].mean(axis=(1, 2)) - images[..., 2].mean(axis=(1, 2))\n"
    "def darkness(pictures, conditions):\n    return [-float(picture.mean()) for picture in pictures]\n"
)


# --- code


def test_every_block_says_how_it_is_run() -> None:
    shown = [block for page in PAGES for block in blocks(page)]
    assert {block.language for block in shown} <= {"python", "yaml"}
    assert [(block.page.name, block.note) for block in shown if not block.is_said] == []
    named = [block.said("name") for block in PYTHON if not block.said("reason")]
    assert sorted(named) == sorted(BY_NAME)  # each has a name of its own
    assert {block.said("after") for block in PYTHON} - {""} <= BY_NAME.keys()
    assert BY_NAME.keys() >= CHECKS.keys()
    assert {block.page.name for block in shown if block.language == "yaml"} == {"sweeps.md"}  # cli's tests run it


def _prepare(kind: str) -> None:
    """The current folder as a block expects it."""
    if kind == "pipeline":
        tiny.stable_diffusion().save_pretrained(Path("path", "to", "pipeline"), safe_serialization=True)
    elif kind == "scores":
        Path("scores.py").write_text(SCORES)
    else:
        assert kind == ""


def _run(block: Block) -> dict[str, Any]:
    """Names after a block and those before it, in a new program."""
    before = _run(BY_NAME[block.said("after")]) if block.said("after") else {}
    exec(compile(block.code, block.page.name, "exec"), before)
    return before


def _states(names: dict[str, Any]) -> list[str]:
    return [trial.state.name for trial in names["study"].trials]


def _completed(count: int) -> Callable[[dict[str, Any]], None]:
    def check(names: dict[str, Any]) -> None:
        assert _states(names) == ["COMPLETE"] * count

    return check


def _check_pipeline(names: dict[str, Any]) -> None:
    _completed(64)(names)
    with Image.open("cars.png") as sheet:
        best = sheet.crop((MARGIN, SHEET_TOP, MARGIN + TILE, SHEET_TOP + TILE))  # the first tile
    assert names["warmth"]([best], [{}])[0] == pytest.approx(names["study"].best_value, abs=1.0)  # of 255 levels


def _check_function(names: dict[str, Any]) -> None:
    _completed(100)(names)
    assert 1 <= len(names["best"]) <= 4
    study = names["study"]
    assert study.best_value > max(trial.value for trial in study.trials[:50])  # what follows beats the draws


def _check_budget(names: dict[str, Any]) -> None:
    states, most = _states(names), 16 * 8  # denoiser rows of 16 whole outputs
    assert states.count("PRUNED") > states.count("COMPLETE") > 0
    assert sum(attributes(trial)["surrogate:result"]["nfe"] for trial in names["study"].trials) <= most


def _check_stopped(names: dict[str, Any]) -> None:
    states = _states(names)
    assert len(states) == 32
    assert set(states) == {"COMPLETE", "PRUNED"}


def _check_ax(names: dict[str, Any]) -> None:
    assert len(names["client"]._experiment.trials) == 48
    assert Path("report.html").read_text().count("data:image/") >= 12
    assert Path("client.json.previous").exists()


def _check_by_hand(names: dict[str, Any]) -> None:
    trials = names["client"]._experiment.trials
    assert [trial.status.name for trial in trials.values()] == ["COMPLETED"] * 8
    assert names["best"][2] in trials


def _check_recipe(names: dict[str, Any]) -> None:
    assert (names["outputs"][0] - names["best"][0].output).abs().max() < 1e-5
    assert Path("best.png").exists()
    assert Path("sheet.png").exists()


def _check_previews(names: dict[str, Any]) -> None:
    _completed(24)(names)
    assert len(list(Path("pictures").iterdir())) == 24


def _check_driven(names: dict[str, Any]) -> None:
    _completed(48)(names)
    trials = names["study"].trials
    assert [attributes(trial)["surrogate:round"] for trial in trials[::8]] == [0, 0, 1, 2, 3, 4]
    assert not any("surrogate:exact" in attributes(trial) for trial in trials)  # the sampler proposes every point


def _check_mixed(names: dict[str, Any]) -> None:
    states = _states(names)
    assert len(states) == 40
    assert set(states) == {"COMPLETE", "PRUNED"}
    assert {"sharpness", "u0", "u6"} <= names["study"].best_params.keys()


def _check_conditions(names: dict[str, Any]) -> None:
    _completed(24)(names)
    assert {"guidance_scale", "prompt", "u0"} <= names["study"].best_params.keys()


def _check_edit(names: dict[str, Any]) -> None:
    assert names["found"].reconstruction < 1e-5
    assert Path("with-glasses.png").exists()
    assert len(names["again"]) == 4


def _check_steppable(names: dict[str, Any]) -> None:
    states = _states(names)
    assert len(states) == 63
    assert states.count("PRUNED") > states.count("COMPLETE") > 0
    results = [attributes(trial)["surrogate:result"]["nfe"] for trial in names["study"].trials]
    assert sum(results) <= 32 * 8  # rows of 32 whole outputs
    drawn = [trial.value for trial in names["study"].trials[:16] if trial.state.name == "COMPLETE"]
    assert names["study"].best_value > max(drawn)
    assert Path("discs.png").exists()


CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    "pipeline": _check_pipeline,
    "function": _check_function,
    "sampler": _check_driven,
    "threads": _completed(48),
    "by hand": _check_driven,
    "define by run": _completed(50),
    "mixed": _check_mixed,
    "conditional": _completed(32),
    "metrics": _completed(32),
    "laws": _completed(32),
    "conditions": _check_conditions,
    "box": _completed(48),
    "policies": _completed(48),
    "own policy": _completed(32),
    "own generator": _completed(32),
    "budget": _check_budget,
    "keep_fraction": _check_stopped,
    "pruner": _check_stopped,
    "process": _completed(32),
    "recipe": _check_recipe,
    "go on": _completed(80),
    "previews": _check_previews,
    "ax": _check_ax,
    "ax by hand": _check_by_hand,
    "edit": _check_edit,
    "edit search": _completed(16),
    "pollinate": _completed(24),
    "steppable search": _check_steppable,
}


@pytest.fixture
def analyses(request: pytest.FixtureRequest) -> Iterator[None]:
    """Ax's analyses in a moment, where a block has any."""
    if "surrogate_ax_platform" not in BY_NAME[request.node.callspec.params["name"]].code:
        yield
        return
    from ax.utils.testing.mock import mock_botorch_optimize_context_manager

    with mock_botorch_optimize_context_manager(force=True):
        yield


@tiny.NUMPY_2
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("name", BY_NAME)
def test_a_block_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analyses: None) -> None:
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _prepare(BY_NAME[name].said("folder"))
    names = _run(BY_NAME[name])
    CHECKS.get(name, lambda _: None)(names)


# --- what prose names


@pytest.mark.parametrize("page", EVERY)
def test_links_and_paths_lead_somewhere(page: Path) -> None:
    assert broken_links(page) == []
    assert missing_paths(page) == []


def _functions() -> dict[str, list[Callable[..., Any]]]:
    """Public functions and classes by name; two packages may have one of the same name."""
    found: dict[str, list[Callable[..., Any]]] = {}
    for package in map(importlib.import_module, (*PACKAGES, *MODULES)):
        for name in getattr(package, "__all__", vars(package)):
            if not name.startswith("_") and callable(value := getattr(package, name)):
                found.setdefault(name, []).append(value)
    return found


def _takes(function: Callable[..., Any], keywords: set[str]) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return any(p.kind is p.VAR_KEYWORD for p in parameters) or keywords <= {p.name for p in parameters}


@pytest.mark.parametrize("page", EVERY[: len(PAGES)])
def test_arguments_that_prose_names_exist(page: Path) -> None:
    functions, wrong = _functions(), []
    for code in inline_code(page):
        try:
            tree = ast.parse(code.replace(", ...)", ")"))
        except SyntaxError:
            continue  # not Python
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
                keywords = {keyword.arg for keyword in node.keywords if keyword.arg}
                if not any(_takes(function, keywords) for function in functions[node.func.id]):
                    wrong.append(code)
    assert wrong == []


@pytest.mark.parametrize("page", EVERY[: len(PAGES)])
def test_commands_and_their_options_exist(page: Path) -> None:
    for command in commands(page):
        program, first, *rest = command.split()
        if program == "surrogate-ax":
            shown = CliRunner().invoke(app, [first, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
            assert shown.exit_code == 0, command
            assert [option for option in rest if option.startswith("-") and option not in shown.stdout] == []
        elif program == "python" and first.startswith("examples/"):
            source = text_of(ROOT / first)
            assert [option for option in rest if option.startswith("--") and f'"{option}"' not in source] == []


def test_every_public_name_is_explained_or_shown() -> None:
    everything = "\n".join(map(text_of, [*PAGES, *sorted((ROOT / "examples").glob("*.py"))]))
    assert [name for name in surrogate_ax.__all__ if not re.search(rf"\b{name}\b", everything)] == []


def test_names_that_were_given_up_are_not_used() -> None:
    given_up = r"\b(?:PipelineGenerator|UnderEach|Overlapped|kept=|look\()"
    found = {page.name: re.findall(given_up, text_of(page)) for page in (*PAGES, *OTHERS)}
    assert {name: words for name, words in found.items() if words} == {}


def _messages() -> list[str]:
    """Every text of the packages, its f-strings cut where values stand."""
    texts = []
    for folder in ("surrogate_ax", "integrations"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(text_of(path))):
                if isinstance(node, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in node.values]
                    texts.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(re.sub(r"%(?:\.\d+)?[sdgr]", "\0", node.value))
    return texts


def test_messages_that_are_explained_are_raised_somewhere() -> None:
    """Each heading of the page that quotes a message has its words in one text of the packages, in order."""
    quoted = re.findall(r"^### `(.+)`$", text_of(ROOT / "docs" / "troubleshooting.md"), re.MULTILINE)
    assert len(quoted) > 20
    texts = _messages()
    for message in quoted:
        words = ".*".join(re.escape(part.strip()) for part in message.split("..."))
        assert any(re.search(words, text, re.DOTALL) for text in texts), message


# --- figures and facts


def test_the_count_of_kills_is_that_of_the_results() -> None:
    with (ROOT / "examples" / "benchmarks" / "results" / "kill.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    kills, studies = [row for row in rows if row["how"] != "audit"], [row for row in rows if row["how"] == "audit"]
    wrong = ("told_lost", "told_twice", "orphans_untold", "left_running", "wrong_total")
    assert sum(int(row[name]) for row in studies for name in wrong) == 0
    storages = {row["storage"] for row in rows}
    said = re.search(r"(\d+) kills on (\w+) storages", text_of(ROOT / "docs" / "decisions.md"))
    assert said is not None
    assert said.groups() == (str(len(kills)), {2: "two"}[len(storages)])


def test_equivalents_of_budgets_are_those_of_the_results() -> None:
    """The table of `docs/choosing.md` rounds that of drives.md."""
    table = text_of(ROOT / "examples" / "benchmarks" / "search" / "drives.md")
    whole, stopped = (
        re.findall(r"([\d.]+) \(\d+\)", re.search(rf"^\| {name} \|(.+)$", table, re.MULTILINE)[1])  # type: ignore[index]
        for name in ("surrogate-ax, no checkpoints", "surrogate-ax")
    )
    page = text_of(ROOT / "docs" / "choosing.md")
    rows = re.findall(r"^\| (50|100|400) \| (\d+)(?: or more)? \| (\d+)(?: or more)? \|$", page, re.MULTILINE)
    rounded = [[str(int(float(value) + 0.5)) for value in row] for row in (whole, stopped)]
    assert rows == list(zip(("50", "100", "400"), *rounded, strict=True))


def test_the_citation_has_what_its_format_asks_for() -> None:
    cited = yaml.safe_load(text_of(ROOT / "CITATION.cff"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type", "license"} <= cited.keys()
    assert cited["version"] == surrogate_ax.__version__
    papers = {reference["identifiers"][0]["value"] for reference in cited["references"]}
    assert papers == {f"arXiv:{number}" for number in ("2509.23800", "2608.12192", "2408.08558")}
    for reference in cited["references"]:
        assert {"type", "title", "authors"} <= reference.keys()
