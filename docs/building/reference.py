"""The reference: a page for each package, with every name of its `__all__`, written from the docstrings.

A name that several packages offer is explained once, on the first page that has it; the others link there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
FOLDERS = ("latents", "generation", "scoring", "policies", "editing", "execution", "analysis", "report", "media")
INTEGRATIONS = ("optuna", "platform", "diffusers", "botorch", "ray", "web")
PACKAGES = (
    "surrogate_ax",
    *(f"surrogate_ax_{name}" for name in INTEGRATIONS),
    *(f"surrogate_ax.{name}" for name in FOLDERS),
)
TITLES = {"surrogate_ax_platform": "surrogate_ax_platform (Ax)"}
NAVIGATION = "reference/"  # the entry of mkdocs.yml that stands for all of these pages


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the pages of the reference in the navigation.

    Args:
        config: of the site.

    Returns:
        The same settings.
    """
    pages = [{TITLES.get(package, package): f"reference/{package}.md"} for package in PACKAGES]
    for entry in config.nav or []:
        if isinstance(entry, dict) and NAVIGATION in entry.values():
            entry[next(iter(entry))] = pages
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the reference.

    Args:
        files: of the site.
        config: of the site.

    Returns:
        The same collection.
    """
    homes = dict[str, str]()  # the page that explains an object, by the object's own path
    for package in loaded():
        names = [package.members[str(name)] for name in package.exports or ()]
        new = [name for name in names if name.canonical_path not in homes]
        homes |= dict.fromkeys((name.canonical_path for name in new), package.path)
        text = _page(package, new, [name for name in names if name not in new], homes)
        files.append(File.generated(config, f"reference/{package.path}.md", content=text))
    return files


def loaded() -> list[Any]:
    """The packages of the reference, as Griffe reads them, in order."""
    loader = griffe.GriffeLoader(search_paths=[ROOT, ROOT / "integrations"], docstring_parser="google")
    for package in PACKAGES:
        if "." not in package:
            loader.load(package)
    loader.resolve_aliases(implicit=True)
    return [loader.modules_collection[package] for package in PACKAGES]


def _page(package: Any, new: list[Any], others: list[Any], homes: dict[str, str]) -> str:
    title = TITLES.get(package.path, package.path)
    places = [(name.name, homes[name.canonical_path]) for name in others]
    elsewhere = [f"[`{name}`]({home}.md#{home}.{name})" for name, home in places]
    parts = [f"# {title}", package.docstring.value if package.docstring else ""]
    if elsewhere:
        parts.append("Explained elsewhere: " + ", ".join(elsewhere) + ".")
    parts += [f"::: {package.path}.{name.name}" for name in new]
    return "\n\n".join(parts) + "\n"
