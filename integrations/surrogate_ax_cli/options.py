"""Arguments that several commands have, so that they mean the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from surrogate_ax_cli import embedded

Study = Annotated[
    str,
    typer.Argument(metavar="STUDY", help="A sweep file, the file or URL of an Optuna storage, or an Ax snapshot."),
]
StudyName = Annotated[
    str | None, typer.Option("--study", help="Name of the study; may be left out if the storage holds only one.")
]
Spec = Annotated[
    str | None,
    typer.Option(
        "--generator",
        help=f"{embedded.LISTED}, a pipeline's folder, or package.module:factory; if left out, what the study names.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Where to write; if left out, a new name in a folder beside the study.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what an earlier call has written there.")]
Items = Annotated[int, typer.Option(min=1, max=100, help="Best outputs that are shown first.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Say more, with the tracebacks of errors.")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="name=value of another call argument to change.")]
