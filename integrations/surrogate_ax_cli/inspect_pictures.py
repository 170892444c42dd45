"""The pictures of `surrogate-ax inspect`: support, stationarity, seeds, and the map of three seeds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image, ImageDraw, ImageFont

from surrogate_ax.analysis.seed_utility import SeedUtility
from surrogate_ax.arrays import Array
from surrogate_ax.errors import ArgumentError, GenerationError, UnsupportedError
from surrogate_ax.generation.conditions import Condition
from surrogate_ax.generation.protocols import Generator
from surrogate_ax.latents.bank import Bank
from surrogate_ax.latents.space import SurrogateSpace
from surrogate_ax.latents.typicality import QUANTILES
from surrogate_ax.media.previews import to_image
from surrogate_ax_cli.inspect import Findings

DRAWN, SEARCHED, BEST, REPLACE = "#8a8f98", "#1f6fd6", "#d6451f", "#8e3a9d"
BATCH = 16
SHOWN = 12  # seeds in the picture
TILE, GAP, MARGIN = 64, 4, 56  # pixels of the map
_DPI = 110


def draw(findings: Findings, generator: Generator, out: Path, *, side: int = 9) -> tuple[list[str], list[str]]:
    """Every picture that the study and its outputs allow.

    Args:
        findings: of a study.
        generator: makes the outputs shown.
        out: a folder, made if missing.
        side: outputs along an axis of the map.

    Returns:
        The files written, and one line for each picture that is left out, with the reason.
    """
    out.mkdir(parents=True, exist_ok=True)
    pictures: dict[str, Callable[[Path], None]] = {"support.png": lambda path: draw_support(findings, path)}
    left_out: list[str] = []
    shared = 0 if findings.utility is None else len(findings.utility.seeds)
    if shared >= 2:
        pictures["stationarity.png"] = lambda path: draw_stationarity(findings, path)
        pictures["seeds.png"] = lambda path: draw_seeds(findings, generator, path)
    else:
        left_out.append("stationarity.png and seeds.png are left out: the trials share no seeds.")
    if shared >= 3:
        pictures["map.png"] = lambda path: draw_map(findings, generator, path, side=side)
    else:
        left_out.append(f"map.png is left out: it needs three shared seeds, the trials have {shared}.")
    reasons = {name: _unsupported(write, out / name) for name, write in pictures.items()}
    left_out += [f"{name} is left out. {reason}" for name, reason in reasons.items() if reason]
    return [str(out / name) for name, reason in reasons.items() if not reason], left_out


def _unsupported(write: Callable[[Path], None], path: Path) -> str | None:
    """Write a picture, or say why outputs of this kind have none."""
    try:
        write(path)
    except UnsupportedError as error:
        return str(error)
    return None


def draw_support(findings: Findings, path: Path) -> None:
    """Norms, marginals, channel means and whiteness of the study's latents, as a PNG.

    Args:
        findings: of a study.
        path: where to.
    """
    s, d = findings.support, findings.dim
    drawn = findings.history.round[findings.rows] == 0
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    norm, marginal, channels, white = figure.subplots(2, 2).ravel()
    figure.suptitle(f"{findings.name}: latents against the prior; the best trial in red")
    band = scipy.stats.chi2(d).ppf([0.0005, 0.9995]) / d
    bins = np.linspace(min(s.norm.min(), band[0]), max(s.norm.max(), band[1]), 30)
    for rows, colour, label in ((drawn, DRAWN, "round 0"), (~drawn, SEARCHED, "later rounds")):
        if rows.any():
            norm.hist(s.norm[rows], bins=bins, color=colour, alpha=0.6, label=label)
    norm.axvspan(*band, facecolor="0.88", edgecolor="0.6", zorder=0, label="99.9% of draws")
    norm.axvline(s.norm[0], color=BEST, linewidth=2)
    norm.set(title="Norm", xlabel="|ξ|²/D", ylabel="latents")
    norm.set_ylim(0, 1.4 * norm.get_ylim()[1])  # room for the legend
    norm.legend(frameon=False, loc="upper left", ncols=3, fontsize=9, columnspacing=1)
    expected = scipy.stats.norm.ppf(QUANTILES)
    marginal.axline((0, 0), slope=1, color="0.5", linewidth=1)
    for rows, colour in ((drawn, DRAWN), (~drawn, SEARCHED)):
        marginal.plot(expected, s.quantiles[rows].T, color=colour, alpha=min(1.0, 8 / max(rows.sum(), 1)), linewidth=1)
    marginal.plot(expected, s.quantiles[0], color=BEST, linewidth=2)
    marginal.set(title="Marginals", xlabel="normal quantiles", ylabel="quantiles of a latent's entries")
    _scatter(channels, s.channels, drawn, "Channel means", "channel")
    _scatter(white, s.neighbours, drawn, "Whiteness: neighbouring entries", "spatial axis")
    figure.savefig(path, dpi=_DPI)


def _scatter(axes: Axes, values: Array, drawn: Array, title: str, label: str) -> None:
    """Standard errors (n, m) as columns of dots, within the band of 99.9% of draws for all m."""
    n, m = values.shape
    axes.set(title=title, xlabel=f"{label}; within each, the best trials on the left", ylabel="standard errors")
    if not m:
        axes.text(0.5, 0.5, "the latents have none", transform=axes.transAxes, ha="center")
        return
    limit = scipy.stats.norm.isf(0.0005 / m)
    axes.axhspan(-limit, limit, color="0.92", zorder=0)
    across = np.arange(m) + np.linspace(-0.3, 0.3, n)[:, None]
    colours = np.where(drawn, DRAWN, SEARCHED).repeat(m)
    axes.scatter(across.ravel(), values.ravel(), c=colours, s=6, alpha=0.5)
    axes.scatter(np.arange(m), values[0], c=BEST, s=30, zorder=3)
    if m <= SHOWN:
        axes.set_xticks(range(m))


def draw_stationarity(findings: Findings, path: Path) -> None:
    """Distances in the box against those of weights and latents, as a PNG.

    Args:
        findings: of a study whose trials share seeds.
        path: where to.
    """
    if findings.stationarity is None or findings.space is None:
        raise ArgumentError("findings: expected a study whose trials share seeds, got one without a box.")
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    cosines, steps = figure.subplots(1, 2)
    cosines.axline((0, 0), slope=1, color="0.5", linewidth=1)
    cosines.scatter(findings.stationarity.weights, findings.stationarity.latents, s=8, color=SEARCHED, alpha=0.5)
    cosines.set(title=f"K = {findings.space.axes}: on the line, latents are as similar as their weights")
    least = min(findings.stationarity.weights.min(), findings.stationarity.latents.min())
    cosines.set(xlabel="cosine of weights", ylabel="cosine of latents", xlim=(least, 1), ylim=(least, 1))
    cosines.margins(0.04)
    angle = np.degrees(np.arccos(np.clip(findings.stationarity.latents, -1, 1)))
    steps.scatter(findings.stationarity.step, angle, s=8, color=SEARCHED, alpha=0.5)
    edges = np.quantile(findings.stationarity.step, np.linspace(0, 1, 9))
    part = np.clip(np.searchsorted(edges, findings.stationarity.step, side="right") - 1, 0, 7)
    middles = [findings.stationarity.step[part == k].mean() for k in range(8)]
    steps.errorbar(
        middles,
        [angle[part == k].mean() for k in range(8)],
        [angle[part == k].std() for k in range(8)],
        color="0.2",
        marker="o",
        capsize=3,
        label="mean and standard deviation",
    )
    steps.set(title="Equal steps at different points of the box", xlabel="distance in u", ylabel="angle (degrees)")
    steps.legend(frameon=False)
    figure.savefig(path, dpi=_DPI)


def draw_seeds(findings: Findings, generator: Generator, path: Path) -> None:
    """The seeds, best first, with what they add to the score, as a PNG.

    Args:
        findings: of a study whose trials share seeds.
        generator: makes the seeds' pictures.
        path: where to.

    Raises:
        UnsupportedError: outputs that are not images.
    """
    utility = _shared(findings)
    order = np.argsort(-utility.slope)
    shown = order if len(order) <= SHOWN else np.concatenate([order[: SHOWN // 2], order[-SHOWN // 2 :]])
    bank = Bank(generator.prior, [utility.seeds[m] for m in shown], tensors=findings.history.tensors)
    outputs = _generate(generator, bank, np.eye(len(shown)), findings.condition)
    figure = Figure(figsize=(11, 1.4 + 0.62 * len(shown)), layout="constrained")
    slopes, shares = figure.subplots(1, 2, width_ratios=[3, 2], sharey=True)
    down = np.arange(len(shown))
    colours = [_colour(utility, m) for m in shown]
    slopes.barh(down, utility.slope[shown], xerr=utility.error[shown], color=colours, height=0.6, capsize=3)
    slopes.axvline(float(utility.slope.mean()), color="0.3", linestyle="--", linewidth=1)
    slopes.set_yticks(down, [f"#{m}" for m in shown])
    slopes.tick_params(axis="y", length=0, pad=46)
    slopes.invert_yaxis()
    slopes.set(xlabel="standard deviations of the ranking per unit weight (dashed: mean of the seeds)")
    slopes.set_title(
        f"Seeds explain {max(utility.r2, 0):.0%} of the ranking. Blue: carry the score. Purple: to replace", size=11
    )
    for row, output in enumerate(outputs):
        image = to_image(output)
        zoom = 38 / max(image.size)
        box = OffsetImage(np.asarray(image), zoom=zoom, interpolation="nearest", dpi_cor=True)
        picture = AnnotationBbox(
            box, (0, row), xybox=(-26, 0), xycoords=("axes fraction", "data"), boxcoords="offset points", frameon=False
        )
        slopes.add_artist(picture)
    shares.barh(down - 0.17, utility.best[shown], height=0.32, color=BEST, label="in the best trial")
    shares.barh(down + 0.17, utility.mean[shown], height=0.32, color=DRAWN, label="on average")
    shares.set(xlabel="share of the latent", xlim=(0, None))
    shares.xaxis.set_major_locator(MaxNLocator(5))
    shares.xaxis.set_major_formatter(PercentFormatter(1))
    if len(shown) < len(order):
        shares.set_title(f"The best and worst {SHOWN // 2} of {len(order)} seeds", size=11)
    shares.legend(frameon=False)
    figure.savefig(path, dpi=_DPI)


def draw_map(findings: Findings, generator: Generator, path: Path, *, side: int = 9) -> None:
    """The box over the three seeds that add most to the score, as a grid of outputs, as a PNG.

    Args:
        findings: of a study whose trials share at least three seeds.
        generator: makes the outputs.
        path: where to.
        side: outputs along an axis.

    Raises:
        ArgumentError: fewer than three seeds, or side below 2.
        UnsupportedError: outputs that are not images.
    """
    utility = _shared(findings)
    if len(utility.seeds) < 3:
        raise ArgumentError(f"findings: expected at least three shared seeds for a map, got {len(utility.seeds)}.")
    three = np.sort(np.argsort(-utility.slope)[:3])  # in order of appearance, as the axes of a box of three are
    bank = Bank(generator.prior, [utility.seeds[m] for m in three], tensors=findings.history.tensors)
    space = SurrogateSpace(bank, np.eye(3))
    outputs = _generate(generator, bank, space.coefficients(box_grid(side)), findings.condition)
    marked, inside = _marked(findings, bank, space, side)
    names = [f"#{m}" for m in three]
    title = f"The box over seeds {', '.join(names)} of {findings.name!r}"
    notes = (
        f"u0 runs right, u1 up. On the left edge is {names[0]}, on the right {names[1]} below and {names[2]} above.",
        f"Framed, with their rank: the best trials. Of the first 20, {inside} are made mostly of these seeds.",
    )
    font = ImageFont.load_default(size=15)
    far = MARGIN + side * (TILE + GAP)
    width = MARGIN + max(far, MARGIN + int(max(font.getlength(text) for text in (title, *notes))))
    sheet = Image.new("RGB", (width, far + MARGIN + 30), "#ffffff")
    draw = ImageDraw.Draw(sheet)
    for i, output in enumerate(outputs):
        corner = (MARGIN + i % side * (TILE + GAP), MARGIN + i // side * (TILE + GAP))
        sheet.paste(to_image(output).resize((TILE, TILE), Image.Resampling.NEAREST), corner)
    draw.text((MARGIN, 14), title, fill="#1c1e21", font=font)
    for i, rank in marked.items():
        x, y = MARGIN + i % side * (TILE + GAP), MARGIN + i // side * (TILE + GAP)
        draw.rectangle((x - 3, y - 3, x + TILE + 2, y + TILE + 2), outline=BEST, width=3)
        draw.rectangle((x - 3, y - 3, x + 5 + 9 * len(str(rank)), y + 15), fill=BEST)
        draw.text((x + 1, y - 2), str(rank), fill="#ffffff", font=font)
    for line, note in enumerate(notes):
        draw.text((MARGIN, far + 10 + 24 * line), note, fill="#5c6269", font=font)
    sheet.save(path)


def box_grid(side: int) -> Array:
    """Points (side², 2) of a box of K = 3, row by row from the top (u1 falls, u0 rises), in the middle of their cells.

    Args:
        side: cells along an axis, at least 2.

    Raises:
        ArgumentError: side below 2.
    """
    if side < 2:
        raise ArgumentError(f"side: expected at least 2 cells along an axis, got {side}.")
    middle = (np.arange(side) + 0.5) / side
    across, down = np.meshgrid(middle, middle[::-1])
    return np.stack([across.ravel(), down.ravel()], axis=1)


def _marked(findings: Findings, bank: Bank, space: SurrogateSpace, side: int) -> tuple[dict[int, int], int]:
    """Cells of the best trials that are made mostly of the three seeds, with their ranks; and how many these are."""
    cells: dict[int, int] = {}
    inside = 0
    for rank, row in enumerate(findings.rows[:20], start=1):
        weight = dict(findings.history.terms[row])
        w = np.array([[max(weight.get(seed, 0.0), 0.0) for seed in bank.seeds]])
        if (w**2).sum() < 0.5 * sum(c**2 for c in weight.values()):
            continue
        inside += 1
        u = space.chart.coordinates(w)[0]
        column, line = (min(int(x * side), side - 1) for x in u)
        cells.setdefault((side - 1 - line) * side + column, rank)
    return cells, inside


def _generate(generator: Generator, bank: Bank, rows: Any, condition: Condition) -> list[Any]:
    """Outputs of coefficient rows (n, M), a batch at a time."""
    rows = scipy.sparse.csr_array(rows)
    outputs: list[Any] = []
    for start in range(0, rows.shape[0], BATCH):
        z = bank.latents(rows[start : start + BATCH])
        generated = generator.generate(z, [condition] * len(next(iter(z.values()))))
        if generated.failed:
            raise GenerationError(f"generator: an output failed: {next(iter(generated.failed.values()))}")
        outputs.extend(generated.outputs)
    return outputs


def _shared(findings: Findings) -> SeedUtility:
    if findings.utility is None:
        raise ArgumentError("findings: expected a study whose trials share seeds, got one of plain draws.")
    return findings.utility


def _colour(utility: SeedUtility, m: int) -> str:
    return SEARCHED if m in utility.carrying else REPLACE if m in utility.replaceable else DRAWN
