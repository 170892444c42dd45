"""The notebooks are run when the site is built, and become pages with the pictures that they drew.

In the repository they hold no outputs. What a run gave is kept in `.notebooks/`, under a name that changes with the
notebook, the packages and the versions they run with; so nothing is run twice, and nothing old is shown.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import nbclient
import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter
from traitlets.config import Config

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
KEPT = ROOT / ".notebooks"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let the navigation name the pages that the notebooks become.

    Args:
        config: of the site.

    Returns:
        The same settings.
    """
    for section in config.nav or []:
        for entry in next(iter(section.values())):
            if isinstance(entry, dict):
                for title, place in entry.items():
                    entry[title] = place.replace(".ipynb", ".md")
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page and its pictures for every notebook; the notebook itself stays, to be downloaded.

    Args:
        files: of the site.
        config: of the site.

    Returns:
        The same collection.
    """
    with ThreadPoolExecutor(2) as pool:  # each waits for a kernel
        notebooks = list(pool.map(executed, NOTEBOOKS))
    for path, notebook in zip(NOTEBOOKS, notebooks, strict=True):
        text, pictures = page(notebook, path.stem)
        place = PurePosixPath("notebooks", f"{path.stem}.md")
        files.append(File.generated(config, str(place), content=f"{text}\n\n[This notebook as a file]({path.name})\n"))
        for name, content in pictures.items():
            files.append(File.generated(config, str(place.parent / name), content=content))
    return files


def executed(path: Path) -> Any:
    """A notebook with the outputs of a run, which is made if there is none.

    Args:
        path: of the notebook.

    Returns:
        The notebook; its metadata say how many `processor_seconds` the run took.

    Raises:
        CellExecutionError: a cell of it has failed.
    """
    kept = KEPT / f"{path.stem}-{_key(path)}.ipynb"
    if not kept.exists():
        notebook: Any = nbformat.read(path, as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell("import time; print(time.process_time())"))
        _run(notebook)
        notebook.metadata["processor_seconds"] = round(float(notebook.cells.pop().outputs[0].text), 1)
        KEPT.mkdir(exist_ok=True)
        written = kept.with_suffix(f".{os.getpid()}")
        nbformat.write(notebook, written)
        written.replace(kept)
    return nbformat.read(kept, as_version=4)


def page(notebook: Any, name: str) -> tuple[str, dict[str, bytes]]:
    """The Markdown of a notebook that was run, and the files that it shows.

    Args:
        notebook: with its outputs.
        name: of the notebook, with which the names of the files begin.

    Returns:
        The text, and the contents of the files by name.
    """
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"unique_key": name, "output_files_dir": ""})
    return text, resources["outputs"]


def _run(notebook: Any) -> None:
    """Run the cells in a kernel of their own, in a folder that is gone afterwards."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "integrations")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        # Sockets of the file system: no port of the machine is opened.
        kernel = {"transport": "ipc", "ip": str(Path(folder, "kernel"))}
        resources = {"metadata": {"path": folder}}
        settings = Config({"AsyncKernelManager": kernel})
        client = nbclient.NotebookClient(notebook, config=settings, timeout=600, resources=resources)
        client.execute(env=environment)


def _key(path: Path) -> str:
    """A short text that changes with everything that a run depends on."""
    sources = [each for folder in ("surrogate_ax", "integrations") for each in (ROOT / folder).rglob("*.py")]
    content = hashlib.sha256()
    for each in (path, ROOT / "constraints.txt", *sorted(sources)):
        content.update(each.read_bytes())
    return content.hexdigest()[:16]
