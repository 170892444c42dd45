"""Reports: one file that fetches nothing, shows what it was given as text, and stays small."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
import wave
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from surrogate_ax import FunctionGenerator, Metric, Objective, Recipe
from surrogate_ax.errors import ArgumentError, MismatchError
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.report.page import PAGE_MOST, Figure, Section, embedded, table, write_page
from surrogate_ax.report.plots import Series, plot
from surrogate_ax.report.sections import Entry, common_sections, expected_best, facts, pareto, ranking, with_outputs

EVIL = "</script><script>alert(1)</script>"


def _objective(*metrics: Metric) -> Objective:
    return Objective(*metrics, score=lambda *_: [])


def _entries(values: list[dict[str, float]], **options: object) -> list[Entry]:
    return [
        Entry(f"trial {i}", row, Recipe(((Draw(1, i), 1.0),), {}, {"model": "m"}, 1), **options)  # type: ignore[arg-type]
        for i, row in enumerate(values)
    ]


def test_a_page_fetches_nothing_and_runs_its_own_scripts_only(tmp_path):
    figure = Figure(EVIL, EVIL, json.dumps({"data": [{"name": EVIL}], "layout": {}}))
    source = f"const inside = '{EVIL}';"
    path = write_page(
        tmp_path / "deep" / "r.html",
        title=EVIL,
        facts=[(EVIL, EVIL)],
        sections=[Section(EVIL, table([EVIL], [[EVIL]]), [figure])],
        plotly=source,
    )
    page = path.read_text()
    scripts = re.findall(r"<script>(.*?)</script>", page, flags=re.S)
    assert len(scripts) == 2
    assert EVIL not in page
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    allowed = re.findall(r"'sha256-([^']+)'", policy.group(1))
    assert allowed == [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
    assert policy.group(1).startswith("default-src 'none'")
    assert not re.search(r"""(src|href|url)\s*[=(]\s*["']?(https?:)?//""", page)
    content = re.search(r'<script type="application/json"[^>]*>(.*?)</script>', page, flags=re.S)
    assert content is not None
    assert json.loads(content.group(1))["data"][0]["name"] == EVIL


def test_a_page_stays_small(tmp_path):
    large = json.dumps({"data": ["x" * 2_000_000], "layout": {}})
    figures = [Figure(f"figure {i}", "", large) for i in range(4)]
    page = write_page(
        tmp_path / "r.html", title="t", facts=[], sections=[Section("s", "", figures)], plotly="/* */"
    ).read_text()
    assert len(page.encode()) < PAGE_MOST
    assert "Left out, to keep the page small: figure 2, figure 3." in page
    with pytest.raises(ArgumentError, match="at most 6,000,000 bytes"):
        write_page(tmp_path / "r.html", title="t", facts=[], sections=[Section("s", "x" * PAGE_MOST)])
    assert (tmp_path / "r.html").read_text() == page
    with pytest.raises(ArgumentError, match="cannot be written"):
        write_page(tmp_path / "r.html" / "x.html", title="t", facts=[], sections=[])


def test_media_are_inside(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    with wave.open(str(tmp_path / "b.wav"), "wb") as sound:
        sound.setparams((1, 2, 8000, 4, "NONE", "not compressed"))
        sound.writeframes(b"\0" * 8)
    (tmp_path / "c.pdb").write_text("END\n")
    (tmp_path / "d.exe").write_text("no")
    assert str(embedded(tmp_path / "a.png")).startswith('<img alt="a" src="data:image/png;base64,')
    assert str(embedded(tmp_path / "b.wav")).startswith('<audio controls loop src="data:audio/wav;base64,')
    assert 'download="c.pdb"' in str(embedded(tmp_path / "c.pdb"))
    assert embedded(tmp_path / "d.exe") is None
    assert embedded(tmp_path / "missing.png") is None


def test_expected_best_is_the_mean_over_all_subsets():
    scores = np.sort(np.random.default_rng(0).normal(size=7))
    found = expected_best(scores, np.arange(1, 8))
    wanted = [np.mean([max(some) for some in itertools.combinations(scores, n)]) for n in range(1, 8)]
    np.testing.assert_allclose(found, wanted)


def test_the_front_is_what_nothing_beats():
    losses = np.array([[0, 2], [1, 1], [2, 0], [1, 2], [1, 1], [3, 3]])
    assert pareto(losses).tolist() == [0, 1, 2, 4]


def test_one_metric_shows_the_best_against_plain_draws(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    rows = [{"score": float(v), "size": s} for v, s in zip(np.arange(8), [0.0] * 7 + [9.0], strict=True)]
    entries = _entries([*rows, {"score": np.nan, "size": np.nan}], preview=tmp_path / "a.png", nfe=2.0)
    objective = _objective(Metric("score"), Metric("size", "at_most", 1.0))
    assert ranking(entries, objective)[:3] == [6, 5, 4]  # the seventh breaks the bound
    best, line, recipes = common_sections(entries, objective, items=3)
    assert best.html.count("<img") == 3
    assert best.media > 0
    assert best.html.index("trial 6") < best.html.index("trial 5")
    assert "by the 7 draws of this search" in line.html
    assert line.html.count("<polyline") == 3
    assert recipes.html.count("<details>") == 8
    assert ("Trials", "9 ended, 8 with a result, 9 plain draws") in facts(entries, objective)
    assert facts(entries, objective)[2][1].startswith("18 network")


def test_several_metrics_show_their_front():
    rows = [{"a": 1.0, "b": 1.0}, {"a": 2.0, "b": 2.0}, {"a": 1.0, "b": 3.0}]
    sections = common_sections(_entries(rows), _objective(Metric("a"), Metric("b", "minimize")))
    front = next(section for section in sections if section.title == "Pareto front").html
    assert "<td>trial 0</td>" in front
    assert "<td>trial 1</td>" in front
    assert "<td>trial 2</td>" not in front


def test_nothing_told_is_said():
    (section,) = common_sections([], _objective(Metric("score")))
    assert "No trial has ended yet" in section.html
    failed = common_sections(_entries([{"score": np.nan}]), _objective(Metric("score")))
    assert "No trial has a result yet" in failed[0].html
    assert "nothing to draw" in failed[1].html


def test_outputs_are_remade_for_the_best_that_have_none(tmp_path):
    generator = FunctionGenerator(lambda z: z.clamp(0, 1), (8, 8))
    made_by = dict(generator.fingerprint)
    entries = [Entry(f"trial {i}", {"score": float(i)}, Recipe(((Draw(1, i), 1.0),), {}, made_by, 1)) for i in range(4)]
    objective = _objective(Metric("score"))
    made = with_outputs(entries, objective, generator, tmp_path, items=2)
    assert [entry.preview is not None for entry in made] == [False, False, True, True]
    assert isinstance(made[3].preview, Path)
    assert made[3].preview.is_file()
    with pytest.raises(MismatchError):
        with_outputs(_entries([{"score": 1.0}]), objective, generator, tmp_path)


def test_plots_escape_and_leave_out_what_is_not_finite():
    drawn = plot(
        [Series(EVIL, np.array([1.0, np.nan]), np.array([2.0, 1.0]), "#000", names=["a<b", "c"])], x="x", y="y"
    )
    assert EVIL not in drawn
    assert drawn.count("<circle") == 2  # one point, one in the legend
    assert "a&lt;b" in drawn
