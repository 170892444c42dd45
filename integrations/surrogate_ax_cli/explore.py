"""`surrogate-ax explore`: a pipeline searched by pointing at pictures, on a page of this machine.

The study is an Optuna study like any other, `study.db` in the folder of `--out`; pictures that are kept go to `kept/`
beside it. A saved picture may stand in place of a pipeline: it is made again and searched around.
"""

from __future__ import annotations

import tempfile
import webbrowser
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optuna.artifacts import FileSystemArtifactStore
from starlette.applications import Starlette

from surrogate_ax.errors import GenerationError, MismatchError
from surrogate_ax.execution import Exploration, person
from surrogate_ax.execution.asking import Mode
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.generation.recipe import Recipe
from surrogate_ax.generation.saved_picture import SavedPicture, read_saved
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.seeds import Draw, draw_entropy
from surrogate_ax.scoring.evaluator import Evaluator
from surrogate_ax_cli import embedded
from surrogate_ax_cli.pipelines import call_of, maker_of_saved, open_pipeline, recorded_call
from surrogate_ax_cli.terminal import log_beside
from surrogate_ax_optuna import create_study, explore, sqlite
from surrogate_ax_web import explore_page, serve

STUDY_FILE, PREVIEWS, KEPT = "study.db", "study-previews", "kept"
PICTURES = (".png", ".json")
NAMED = 80  # characters of a prompt that a study is called by


@dataclass(frozen=True)
class Request:
    """What is to be explored.

    Args:
        pipeline: an embedded model or a saved picture of one, a pipeline's folder, or "package.module:factory".
        picture: a saved picture to begin with.
        call: call arguments, which go before those of the picture.
        name: of the study; the prompt if left out.
        out: the folder.
        seed: of draws and proposals.
        mode: how one answers at first.
        batch: items of one generator call, at most.
        device: of a pipeline's folder.
        dtype: of its weights.
    """

    pipeline: str = embedded.DEFAULT
    picture: Path | None = None
    call: Mapping[str, Any] = field(default_factory=dict)
    name: str | None = None
    out: Path = Path("explore-out")
    seed: int = 0
    mode: Mode = "eight"
    batch: int = 8
    device: str | None = None
    dtype: str = "float32"


@dataclass(frozen=True)
class Opened:
    """An exploration and its page.

    Args:
        exploration: to be closed.
        page: the application.
        name: of the study.
    """

    exploration: Exploration
    page: Starlette
    name: str


@contextmanager
def opened(request: Request) -> Iterator[Opened]:
    """The exploration that is asked for, until the block ends; one output is tried before anything is written.

    Raises:
        ArgumentError: a pipeline or picture that is not there, or call arguments that do not fit.
        MismatchError: a study of that name was begun with something else.
        GenerationError: no output can be made.
    """
    request, saved = _with_picture(request)
    generator = open_pipeline(request.pipeline, request.call, device=request.device, dtype=request.dtype)
    try_out(generator, request.seed)
    name = (request.name or str(request.call.get("prompt") or "explore"))[:NAMED]
    previews = request.out / PREVIEWS
    previews.mkdir(parents=True, exist_ok=True)
    study = create_study(person(), study_name=name, storage=sqlite(request.out / STUDY_FILE))
    try:
        exploration = explore(
            study,
            generator,
            rng=request.seed,
            mode=request.mode,
            batch_size=request.batch,
            previews=FileSystemArtifactStore(previews),
            device=str(getattr(generator, "device", "cpu")),
        )
    except MismatchError as error:
        raise MismatchError(f"{error} `--study` begins another one.") from error
    prompt = str(request.call.get("prompt", ""))
    with on_a_page(exploration, name, lambda recipe: _saved(recipe, request), out=request.out, prompt=prompt) as one:
        if saved is not None:
            exploration.look_around(saved.recipe)
        yield one


@contextmanager
def on_a_page(
    exploration: Exploration, name: str, saved: Callable[[Recipe], SavedPicture], *, out: Path, prompt: str = ""
) -> Iterator[Opened]:
    """An exploration with its page, until the block ends.

    Args:
        exploration: it is closed.
        name: of the study.
        saved: what the file of a recipe carries.
        out: the folder for the log, and for what is kept.
        prompt: shown above the pictures.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="surrogate-ax-") as files, log_beside(out):
            page = explore_page(exploration, saved, folder=Path(files), prompt=prompt, kept=out / KEPT)
            yield Opened(exploration, page, name)
    finally:
        exploration.close()


def run(request: Request, port: int, *, browse: bool, say: Callable[[str], None]) -> None:
    """Serve the page until interrupted.

    Args:
        request: what is to be explored.
        port: on 127.0.0.1; 0 takes a free one.
        browse: whether to open the page in the browser.
        say: called with what comes next.

    Raises:
        SurrogateError: as `opened`.
        ArgumentError: a taken port.
    """
    say("loading the model")
    with opened(request) as one:
        serve_opened(one, port, where=str(request.out / STUDY_FILE), browse=browse, say=say)


def serve_opened(one: Opened, port: int, *, where: str, browse: bool, say: Callable[[str], None]) -> None:
    """Serve a page until interrupted; arguments as for `run`, and where the study is."""

    def address(page: str) -> None:
        say(f"{page} shows the pictures; Ctrl-C ends it")
        if browse:
            webbrowser.open(page)

    answers = one.exploration.page.number
    say(f"study {one.name!r} in {where}: {f'{answers} answers' if answers else 'new'}")
    serve(one.page, port, say=address)


def try_out(generator: Generator, seed: int) -> None:
    """Make one output, so that what cannot work fails before a study is made.

    Raises:
        GenerationError: it could not be made.
    """
    bank = Bank(generator.prior, device=str(getattr(generator, "device", "cpu")))
    generated = Evaluator(generator, person()).generate(
        bank.latents_of([((Draw(draw_entropy(seed, "pilot"), 0), 1.0),)])
    )
    if generated.failed:
        raise GenerationError(f"the first output could not be made, and nothing was written: {generated.failed[0]}")


def _with_picture(request: Request) -> tuple[Request, SavedPicture | None]:
    """The request with what a saved picture says of it, and the picture."""
    path, pipeline = request.picture, request.pipeline
    if path is None and Path(pipeline).suffix.lower() in PICTURES and not Path(pipeline).is_dir():
        path, pipeline = Path(pipeline), embedded.DEFAULT
    if path is None:
        return request, None
    saved = read_saved(path)
    pipeline = maker_of_saved(saved, pipeline)
    call = call_of(saved, pipeline, request.call)
    return replace(request, pipeline=pipeline, picture=path, call=call), saved


def _saved(recipe: Recipe, request: Request) -> SavedPicture:
    """What a picture carries: of a folder its name only, since it means nothing elsewhere."""
    source = request.pipeline if request.pipeline in embedded.NAMES else Path(request.pipeline).name
    return SavedPicture(recipe, source, recorded_call(recipe) or dict(request.call))
