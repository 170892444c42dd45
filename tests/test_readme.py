"""README is short, its numbers are those measured, and its commands exist. `test_docs` runs its code."""

from __future__ import annotations

import csv
import re
import statistics
from pathlib import Path

from tests.documents import ROOT, blocks, commands, text_of

README = ROOT / "README.md"


def test_it_has_at_most_900_words() -> None:
    assert len(text_of(README).split()) <= 900


def test_one_pipeline_and_one_function_are_shown_and_they_are_short() -> None:
    shown = {block.said("name"): block.code for block in blocks(README)}
    assert list(shown) == ["pipeline", "function"]
    lines = {name: sum(bool(line.strip()) for line in code.splitlines()) for name, code in shown.items()}
    assert lines["pipeline"] <= 15
    assert lines["function"] <= 15


def test_its_two_commands_are_targets() -> None:
    targets = set(re.findall(r"^([a-z]+):", text_of(ROOT / "Makefile"), re.MULTILINE))
    assert [command.split()[1] for command in commands(README)] == ["demo", "test"]
    assert {"demo", "test"} <= targets


def test_every_page_of_docs_is_reached_from_it() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert "(docs/index.md)" in text_of(README)
    assert set(re.findall(r"\]\((\w[\w-]*\.md)", text_of(ROOT / "docs" / "index.md"))) == pages - {"index.md"}


def test_the_demos_numbers_are_those_measured() -> None:
    with (ROOT / "examples" / "benchmarks" / "results" / "demo_seeds.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    gains = [1 - float(row["search_best"]) / float(row["plain_best"]) for row in rows]
    assert len({row["seed"] for row in rows}) == len(rows) == 20
    assert {row["search_nfe"] for row in rows} == {row["plain_nfe"] for row in rows} == {"1024"}
    told = re.search(r"On (\d+) seeds its best\s.*? on (\d+), by (\d+)% in the median", text_of(README), re.DOTALL)
    assert told is not None
    wins = sum(gain > 0 for gain in gains)
    assert [int(number) for number in told.groups()] == [20, wins, round(100 * statistics.median(gains))]


def test_the_picture_is_small_enough_to_load_at_once() -> None:
    (picture,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text_of(README))
    assert (ROOT / Path(picture)).stat().st_size < 300_000
