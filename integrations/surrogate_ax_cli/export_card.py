"""What an export says of itself: `README.md` for people and for `datasets`, `export.json` for programs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from surrogate_ax.report.trial_table import OWN

INDEX, CARD = "export.json", "README.md"
ABOUT = (
    "Outputs of a generative model that a search has found, with what was measured of them. Of the rights in model and "
    "outputs only the licence below is known, as whoever exported them gave it."
)
LOOKED_FOR = {"parquet": ["*.parquet"], "webdataset": ["*.tar"]}
MEANINGS = {
    "trial": "number in the study",
    "state": "`done`, or `stopped`: it was stopped half-way, and its metrics are estimates",
    "round": "of the search",
    "rank": "1 is the best of the study",
    "feasible": "whether it keeps the bounds of the metrics",
    "plain": "whether it is made of one draw of noise, as a sample without a search is",
    "seeds": "how many draws its noise combines",
    "nfe": "network function evaluations spent on it",
    "seconds": "spent on it",
    "version": "of surrogate-ax that exported it",
    "licence": "as it was given",
}
READ = {
    "folder": 'datasets.load_dataset("FOLDER")["train"]',
    "parquet": 'pandas.read_parquet("FOLDER/data-00000.parquet")',
    "webdataset": 'webdataset.WebDataset("FOLDER/data-00000.tar", shardshuffle=False).decode()',
}


@dataclass(frozen=True)
class Facts:
    """An export as `export.json` has it.

    Args:
        study: name.
        host: "Optuna" or "Ax".
        to: format.
        outputs: how many.
        where: the expression that chose them, if any.
        top: how many of the best, if not all.
        made: when they were made: "while it searched" or "again".
        overrides: call arguments that were changed then.
        metrics: name, goal and bound of each.
        generator: its fingerprint, by named part.
        call: call arguments that were the same for all.
        licence: as it was given.
        version: of this package.
    """

    study: str
    host: str
    to: str
    outputs: int
    where: str | None
    top: int | None
    made: str
    overrides: Mapping[str, Any]
    metrics: Sequence[Sequence[Any]]
    generator: Mapping[str, str]
    call: Mapping[str, Any]
    licence: str
    version: str


def write_card(facts: Facts, folder: Path, columns: Sequence[str], suffixes: Collection[str]) -> None:
    """Write both files.

    Args:
        facts: of the export.
        folder: with the outputs.
        columns: of the rows.
        suffixes: of the outputs' files.
    """
    (folder / INDEX).write_text(json.dumps(dataclasses.asdict(facts), indent=1) + "\n", encoding="utf-8")
    (folder / CARD).write_text(_card(facts, columns, sorted(suffixes)), encoding="utf-8")


def _card(facts: Facts, columns: Sequence[str], suffixes: Sequence[str]) -> str:
    looked_for = LOOKED_FOR.get(facts.to) or ["metadata.jsonl", *(f"*{suffix}" for suffix in suffixes)]
    chosen = {"where": facts.where, "the best": facts.top}
    said = {
        "study": _code(f"{facts.study}, on {facts.host}"),
        "outputs": f"{facts.outputs:,}, made {facts.made}",
        **{name: _code(value) for name, value in chosen.items() if value is not None},
        **({"changed when made again": _code(json.dumps(facts.overrides))} if facts.overrides else {}),
        "licence": _code(facts.licence),
        "generator": _code(json.dumps(facts.generator)),
        "surrogate-ax": facts.version,
    }
    rows = [f"| {name} | {value} |" for name, value in said.items()]
    return "\n".join(
        [
            "---",  # what `datasets` looks at, since a folder holds other files too
            "configs:",
            "- config_name: default",
            f"  data_files: {json.dumps(looked_for)}",
            "---",
            f"# {_line(facts.study)}",
            "",
            ABOUT,
            "",
            "| | |",
            "|---|---|",
            *rows,
            "",
            "Read them with",
            "",
            f"    {READ[facts.to]}",
            "",
            "## Columns",
            "",
            "| column | what it says |",
            "|---|---|",
            *(f"| {_code(name)} | {_meaning(name, facts)} |" for name in columns),
            "| `recipe` | what makes the output again, JSON |",
            "",
            _again(facts, suffixes),
            "",
        ]
    )


def _meaning(column: str, facts: Facts) -> str:
    if column in OWN or column in ("version", "licence"):
        return MEANINGS[column]
    for name, goal, bound in facts.metrics:
        if column in (name, f"metric {name}"):
            return f"metric, {goal}" + ("" if bound is None else f" {bound:g}")
    return "call argument of the generator"


def _again(facts: Facts, suffixes: Sequence[str]) -> str:
    carried = "Each PNG carries its recipe" if ".png" in suffixes else "The JSON beside each output carries its recipe"
    if facts.to == "parquet" and ".png" not in suffixes:
        return "Recipes are JSON of surrogate-ax: `render(Recipe.from_json(json.loads(recipe)), generator)`."
    return (
        f"{carried}: `surrogate-ax best FILE --generator PIPELINE` makes the output again, with more steps if you "
        "like, and `surrogate-ax explore PIPELINE --from FILE` searches around it."
    )


def _code(value: object) -> str:
    """A value as code in a cell of a table, whatever it holds."""
    text = _line(str(value)).replace("|", "\\|")
    ticks = "``" if "`" in text else "`"
    return f"{ticks}{' ' if len(ticks) > 1 else ''}{text}{' ' if len(ticks) > 1 else ''}{ticks}"


def _line(text: str) -> str:
    return " ".join(text.split())
