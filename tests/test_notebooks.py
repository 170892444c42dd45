"""The notebooks run, soon enough and without a complaint, and lie in the repository as plain text without outputs."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import nbformat
import pytest

from docs.building.notebooks import NOTEBOOKS, executed, page
from tests.documents import ROOT, broken_links_of
from tests.integrations.diffusers import tiny

SECONDS = 25  # of processor time, most of it imports
NAMED = [pytest.param(path, id=path.stem) for path in NOTEBOOKS]


def read(path: Path) -> Any:
    return nbformat.read(path, as_version=4)


def test_there_are_three() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["edit", "own-model", "portraits"]


@pytest.mark.parametrize("path", NAMED)
def test_it_is_stripped_and_written_as_nbformat_writes(path: Path) -> None:
    notebook = read(path)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.outputs for cell in code] == [[]] * len(code)
    assert {cell.execution_count for cell in code} == {None}
    assert path.read_text(encoding="utf-8") == nbformat.writes(notebook) + "\n"
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize("path", NAMED)
def test_its_links_lead_somewhere(path: Path) -> None:
    text = "\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    assert broken_links_of(text, path) == []


@tiny.NUMPY_2
@pytest.mark.parametrize("path", NAMED)
def test_it_runs(path: Path) -> None:
    notebook = executed(path)
    assert notebook.metadata["processor_seconds"] < SECONDS
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert [output.text for output in outputs if output.get("name") == "stderr"] == []
    text, files = page(notebook, path.stem)
    pictures = [name for name in files if f"]({name})" in text]
    assert pictures
    assert all(len(files[name]) > 5_000 for name in pictures)


def test_the_model_of_the_notebook_is_that_of_the_page() -> None:
    """Ax's notebook shows the class of `docs/own-model.md` as it stands there."""
    shown = (ROOT / "docs" / "own-model.md").read_text(encoding="utf-8")
    code = [
        cell.source for cell in read(ROOT / "docs" / "notebooks" / "own-model.ipynb").cells if cell.cell_type == "code"
    ]
    assert [cell for cell in code[:2] if cell not in shown] == []
    assert any(isinstance(node, ast.ClassDef) and node.name == "Discs" for node in ast.parse(code[1]).body)
