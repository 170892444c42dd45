"""`surrogate-ax prefer`: what a person likes among the outputs of a sweep that keep its bounds.

The page is that of `explore`. The sweep's metrics are measured as ever and bounds are kept; what is liked takes the
place of what the file optimises. The study is another one in the sweep's storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from surrogate_ax.errors import MismatchError
from surrogate_ax.execution import person
from surrogate_ax.execution.asking import Mode
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.generation.saved_picture import SavedPicture
from surrogate_ax.scoring.objective import Metric, Objective
from surrogate_ax_cli import storages
from surrogate_ax_cli.assembly import SweepComponents, assemble, error_context
from surrogate_ax_cli.explore import Opened, on_a_page, serve_opened
from surrogate_ax_cli.pipelines import recorded_call
from surrogate_ax_cli.sweep import check_works
from surrogate_ax_cli.sweep_file import SweepFile, read_sweep
from surrogate_ax_cli.targets import home_of
from surrogate_ax_optuna import create_study, explore

LOOKED_AT = 8  # items of a call, at most: a person waits for it
UNUSED = ("budget", "policy", "sampler", "pruner", "checkpoints", "overlap")  # of a file, where a person decides


@contextmanager
def opened(sweep: SweepFile, mode: Mode, *, say: Callable[[str], None]) -> Iterator[Opened]:
    """The exploration of a sweep's outputs, until the block ends; one is tried before anything is written.

    Args:
        sweep: the file.
        mode: how one answers at first.
        say: called with what to know.

    Raises:
        ArgumentError: conditions to search, Ax as the backend, or a metric called "liking".
        MismatchError: a study of that name was begun with something else.
        SurrogateError: what the file names does not fit or fails.
    """
    _check(sweep)
    unused = [key for key in UNUSED if key in sweep.nodes]
    if unused:
        say(f"a person decides: of {sweep.path}, this has no effect here: {', '.join(unused)}")
    components = assemble(sweep)
    objective = _liked(sweep, components.objective)
    for failure in check_works(sweep, components):
        say(f"warning: the output failed: {failure}")
    name = f"{sweep.name}-liked"
    study = create_study(objective, study_name=name, storage=storages.make_storage(sweep))
    try:
        exploration = explore(
            study,
            components.generator,
            objective=objective,
            rng=sweep.seed,
            mode=mode,
            batch_size=LOOKED_AT if isinstance(sweep.batch, str) else min(sweep.batch, LOOKED_AT),
            previews=storages.make_previews(sweep),
            device=components.device,
        )
    except MismatchError as error:
        raise MismatchError(f"{error} Another `name:` in {sweep.path} begins another one.") from error
    shown = str(sweep.call.get("prompt") or sweep.name)
    with on_a_page(exploration, name, _saved(sweep, components), out=home_of(sweep), prompt=shown) as one:
        yield one


def run(file: Path, mode: Mode, port: int, *, browse: bool, say: Callable[[str], None]) -> None:
    """Serve the page of a sweep until interrupted.

    Args:
        file: the sweep file.
        mode: how one answers at first.
        port: on 127.0.0.1; 0 takes a free one.
        browse: whether to open the page in the browser.
        say: called with what comes next.

    Raises:
        SurrogateError: as `opened`.
        ArgumentError: a taken port.
    """
    sweep = read_sweep(file)
    say("loading the model")
    with opened(sweep, mode, say=say) as one:
        serve_opened(one, port, where=storages.kept_in(sweep), browse=browse, say=say)


def _check(sweep: SweepFile) -> None:
    if sweep.conditions:
        named = ", ".join(sweep.conditions)
        raise sweep.error("conditions", f"a person's choices search latents only; give {named} one value in `call:`.")
    if sweep.backend != "optuna":
        raise sweep.error("backend", f"a person's choices are kept in an Optuna study, got {sweep.backend!r}.")


def _liked(sweep: SweepFile, measured: Objective) -> Objective:
    """What is liked, among what keeps the bounds of a sweep."""
    beside = [
        metric if metric.goal in ("at_most", "at_least") else Metric(metric.name, "track") for metric in sweep.metrics
    ]
    with error_context(sweep, "metrics"):
        return person(*beside, score=measured.score)


def _saved(sweep: SweepFile, components: SweepComponents) -> Callable[[Recipe], SavedPicture]:
    source = sweep.generator.where if sweep.generator.kind != "folder" else Path(sweep.generator.where).name

    def saved(recipe: Recipe) -> SavedPicture:
        return SavedPicture(recipe, source, recorded_call(recipe) or dict(sweep.call))

    return saved
