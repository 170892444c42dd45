"""The gallery: what it answers, and what a browser does with it."""

from __future__ import annotations

import dataclasses
import json
import re
import threading
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from surrogate_ax import Metric
from surrogate_ax.arrays import Array
from surrogate_ax.latents.seeds import Draw
from surrogate_ax.media.preview_files import Preview
from surrogate_ax.report import Figure, ShownStudy, ShownTrial
from surrogate_ax_web import Picture, distinct, gallery
from surrogate_ax_web.distinct import Compared
from tests.core.report.shown import EVIL, ListSource, objective, png, study, trials

if TYPE_CHECKING:
    from playwright.sync_api import Page

Client = Callable[[Starlette], TestClient]
Served = Callable[[Starlette], str]


@pytest.fixture
def source() -> ListSource:
    return ListSource(study(trials(20, colours=("red", "blue")), name=f"faces {EVIL}"))


def test_the_study_is_given_as_columns(source: ListSource, client: Client) -> None:
    answer = client(gallery(source, items=3)).get("/study.json").json()
    assert answer["number"] == list(range(20))
    assert answer["state"][-3:] == ["done", "failed", "running"]
    assert answer["values"]["score"][17:] == [17, None, None]
    assert answer["plain"] == [1] * 6 + [0] * 14
    assert answer["kind"][17:] == ["image", "", ""]
    assert answer["conditions"] == {"colour": ["red", "blue"] * 10}  # what is the same for all is no condition
    assert answer["ranking"][:2] == [17, 16]
    assert answer["draws"] == [5, 4, 3, 2, 1, 0]
    shares = {seed["name"]: (seed["share"], seed["trial"]) for seed in answer["seeds"]}
    assert set(shares) == {"trial 0", "trial 1", "trial 2", "face.png"}
    assert sum(share for share, _ in shares.values()) == pytest.approx(1, abs=1e-4)
    assert shares["trial 2"][1] == 2
    assert shares["face.png"][1] is None


def test_a_trial_is_given_with_its_seeds_and_recipe(source: ListSource, client: Client) -> None:
    asked = client(gallery(source))
    answer = asked.get("/trials/17.json").json()
    recipe = source.held.trials[17].recipe
    assert recipe is not None
    assert answer["recipe"] == json.loads(json.dumps(recipe.to_json()))
    weights = dict(recipe.terms)
    assert [parent["share"] for parent in answer["parents"]] == sorted(
        (pytest.approx(weight**2, rel=1e-4) for weight in weights.values()), key=lambda share: -share.expected
    )
    assert {parent["name"] for parent in answer["parents"]} == {"trial 0", "trial 1", "trial 2", "face.png"}
    by_name = {parent["name"]: parent["weight"] for parent in answer["parents"]}
    assert by_name["trial 1"] == pytest.approx(weights[Draw(1, 1)], rel=1e-4)
    assert len(answer["near"]) == 4
    assert answer["condition"] == {"colour": "blue", "steps": "4"}
    assert asked.get("/trials/18.json").json()["reason"] == "it broke"
    assert asked.get("/trials/99.json").status_code == 404


def test_the_study_is_read_again_when_something_was_told(source: ListSource, client: Client) -> None:
    asked = client(gallery(source))
    assert asked.get("/state").text == "0"
    assert len(asked.get("/study.json").json()["number"]) == 20
    source.held = study(trials(30))
    assert len(asked.get("/study.json").json()["number"]) == 20  # nothing was told
    source.told = 1
    assert asked.get("/state").text == "1"
    assert len(asked.get("/study.json").json()["number"]) == 30
    assert asked.get("/trials/29.json").status_code == 200


def test_the_best_of_many_are_compared_behind_the_first_page(
    client: Client, monkeypatch: pytest.MonkeyPatch, served: Served, browser_page: Page
) -> None:
    """The best forty look the same: a first look at eight finds one, all are looked at afterwards, each once."""
    monkeypatch.setattr(import_module("surrogate_ax_web.gallery"), "FIRST", 8)
    looked = list[str]()
    look = distinct.looks_of_files

    def noted(files: Sequence[Preview | None]) -> Array:
        looked.extend(file.name for file in files if file)
        return look(files)

    monkeypatch.setattr(distinct, "looks_of_files", noted)
    alike = {f"trial{i}.png": png(0) for i in range(60, 100)}

    class Alike(ListSource):
        def preview(self, number: int) -> Preview | None:
            found = super().preview(number)
            return found and Preview(found.name, alike.get(found.name, found.content))

    source, go_on = Alike(study(trials(102))), threading.Event()
    whole = Compared.best

    def held(compared: Compared, study: ShownStudy, *, new: int | None = None) -> tuple[list[int], bool]:
        assert new is not None or go_on.wait(30)
        return whole(compared, study, new=new)

    monkeypatch.setattr(Compared, "best", held)
    app = gallery(source, items=4)
    asked = client(app)
    first = asked.get("/study.json").json()
    assert (first["best"], first["comparing"], first["apart"]) == ([99], True, True)
    assert asked.get("/state").text == first["state_text"] == "0"
    browser_page.goto(served(app))
    browser_page.wait_for_selector("body[data-ready]")
    assert "More of them are being compared" in browser_page.inner_text("#best")
    go_on.set()
    browser_page.wait_for_selector(".strip:first-of-type .card:nth-child(4)")  # the page sees it by itself
    then = asked.get("/study.json").json()
    assert (then["best"], then["comparing"]) == ([99, 59, 58, 57], False)
    assert asked.get("/state").text == then["state_text"] != "0"
    assert len(looked) == len(set(looked)) > 43


def test_pictures_are_made_when_they_are_asked_for(source: ListSource, client: Client) -> None:
    made = []

    def make() -> bytes:
        made.append(1)
        return png(0)

    asked = client(gallery(source, pictures=[Picture("map", "The box", "a note", make)]))
    assert asked.get("/study.json").json()["pictures"] == [{"name": "map", "title": "The box", "note": "a note"}]
    assert made == []
    assert asked.get("/pictures/map.png").content == png(0)
    assert asked.get("/pictures/other.png").status_code == 404


def test_a_study_without_trials_is_a_page_too(client: Client, served: Served, browser_page: Page) -> None:
    app = gallery(ListSource(study([])))
    assert client(app).get("/study.json").json()["number"] == []
    browser_page.goto(served(app))
    browser_page.wait_for_selector("body[data-ready]")
    assert "No trial has a result yet" in browser_page.inner_text("#best")


def test_the_best_stand_beside_plain_draws_and_seeds(source: ListSource, served: Served, browser_page: Page) -> None:
    browser_page.goto(served(gallery(source, items=5)))
    browser_page.wait_for_selector("#best-plot .main-svg")
    assert browser_page.inner_text("h1") == f"faces {EVIL}"
    strips = browser_page.locator(".strip")
    assert strips.locator("h2").all_inner_texts() == ["The best", "The best plain draws", "Seeds of the best"]
    assert strips.nth(0).locator(".card b").all_inner_texts() == ["17", "16", "15", "14", "13"]
    assert strips.nth(1).locator(".card b").all_inner_texts() == ["5", "4", "3", "2", "1", "0"]
    assert browser_page.inner_text(".gain").startswith("Best score: 17 (trial 17). The best of the 6 plain draws has 5")
    decoded = (
        "[...document.querySelectorAll('.strip img')].every((image) => image.complete && image.naturalWidth === 8)"
    )
    browser_page.wait_for_timeout(200)
    assert browser_page.evaluate(decoded)


def _shown(page: Page) -> list[str]:
    """Captions of the cards in their order on the page."""
    by_place = "(a, b) => a.getAttribute('aria-posinset') - b.getAttribute('aria-posinset')"
    texts = f"[...document.querySelectorAll('#grid li')].sort({by_place}).map((li) => li.querySelector('b').innerText)"
    return page.evaluate(texts)


def test_trials_are_sorted_and_filtered(source: ListSource, served: Served, browser_page: Page) -> None:
    browser_page.goto(served(gallery(source)))
    browser_page.wait_for_selector("body[data-ready]")
    browser_page.click("#tab-trials")
    assert _shown(browser_page)[:3] == ["17", "16", "15"]
    browser_page.select_option("[name=sort]", label="oldest first")
    assert _shown(browser_page)[:3] == ["0", "1", "2"]
    browser_page.select_option("[name=state]", "failed")
    assert _shown(browser_page) == ["failed"]
    browser_page.click("text=Show all")
    browser_page.get_by_label("score from").fill("4")
    browser_page.get_by_label("score to").fill("8")
    assert _shown(browser_page) == ["8", "7", "6", "5", "4"]
    browser_page.select_option("[name*=colour]", "blue")
    assert _shown(browser_page) == ["7", "5"]
    browser_page.select_option("[name=draws]", "plain")
    assert _shown(browser_page) == ["5"]
    browser_page.select_option("[name=round]", "3")
    assert _shown(browser_page) == []
    assert browser_page.is_visible("#none")
    browser_page.click("text=Show all")
    browser_page.select_option("[name=sort]", label="score, rising")
    assert _shown(browser_page)[:2] == ["0", "1"]


def test_the_keyboard_goes_everywhere(source: ListSource, served: Served, browser_page: Page) -> None:
    page = browser_page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(served(gallery(source)))
    page.wait_for_selector("body[data-ready]")
    page.focus("#tab-best")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-trials"
    page.focus("#grid .card[tabindex='0']")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.dataset.number") == "16"
    page.keyboard.press("c")
    page.keyboard.press("Enter")
    page.wait_for_selector("dialog[open] h2")
    assert page.inner_text("dialog h2") == "Trial 16"
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("dialog h2:text-is('Trial 15')")
    page.keyboard.press("c")
    page.click("text=Copy the recipe")
    recipe = source.held.trials[15].recipe
    assert recipe is not None
    assert json.loads(page.evaluate("navigator.clipboard.readText()")) == json.loads(json.dumps(recipe.to_json()))
    page.keyboard.press("Escape")
    assert not page.is_visible("dialog")
    assert page.inner_text("#compare") == "Compare 16 with 15"
    page.click("#compare")
    assert page.inner_text("dialog h2") == "Trial 16 beside Trial 15"
    assert page.locator("dialog .pane img").count() >= 2


def test_seeds_are_listed_with_their_weights(source: ListSource, served: Served, browser_page: Page) -> None:
    browser_page.goto(served(gallery(source)))
    browser_page.click(".strip .card >> nth=0")
    browser_page.wait_for_selector("dialog[open]")
    assert "Made of 4 seeds" in browser_page.inner_text("dialog")
    listed = browser_page.locator("dialog ul >> nth=1 >> li").all_inner_texts()
    assert len(listed) == 4
    assert all(re.search(r"\d+(\.\d)?%, weight 0\.\d+", text) for text in listed)
    browser_page.click("dialog ul >> nth=1 >> button >> nth=0")
    browser_page.wait_for_selector("text=A seed of its own")


def test_news_come_while_the_page_is_open(source: ListSource, served: Served, browser_page: Page) -> None:
    browser_page.goto(served(gallery(source)))
    browser_page.wait_for_selector("text=20 trials, 1 running")
    source.held, source.told = study(trials(24)), 1
    browser_page.wait_for_selector("text=24 trials, 1 running")
    assert browser_page.inner_text(".strip .card b >> nth=0") == "21"


def test_ten_thousand_trials_are_a_few_cards(served: Served, browser_page: Page) -> None:
    rng = np.random.default_rng(0)
    rows = [
        dataclasses.replace(trial, values={"score": float(rng.normal())}, state="done", file="x.png", recipe=None)
        for trial in trials(10_000, drawn=0)
    ]
    source = ListSource(study(rows))
    browser_page.goto(served(gallery(source)))
    browser_page.wait_for_selector("body[data-ready]")
    browser_page.click("#tab-trials")
    assert 10 < browser_page.locator("#grid li").count() < 100
    browser_page.focus("#grid .card[tabindex='0']")
    browser_page.keyboard.press("End")
    last = min(rows, key=lambda trial: trial.values["score"]).number
    assert browser_page.evaluate("Number(document.activeElement.dataset.number)") == last
    assert browser_page.locator("#grid li").count() < 100
    assert len(set(source.asked)) < 300  # pictures out of sight are not fetched


def test_plots_of_the_host_are_drawn_too(served: Served, browser_page: Page) -> None:
    figure = Figure(f"Of the host {EVIL}", "a note", {"data": [{"y": [1, 2], "name": EVIL}], "layout": {}})
    browser_page.goto(served(gallery(ListSource(study(trials(12)), [figure]))))
    browser_page.click("#tab-plots")
    browser_page.wait_for_selector("#plots figure:nth-child(2) .main-svg")
    assert browser_page.locator("#plots h3").all_inner_texts() == ["Best so far", f"Of the host {EVIL}"]


@pytest.mark.parametrize("name", ["a.wav", "a.mp4", "a.pdb"])
def test_other_kinds_have_players(name: str, served: Served, browser_page: Page) -> None:
    pdb = "".join(
        f"ATOM  {i:5d}  CA  ALA A{i:4d}    {i:8.3f}{i * i % 7:8.3f}{i * i % 5:8.3f}  1.00  0.00           C\n"
        for i in range(1, 20)
    )

    class Other(ListSource):
        def preview(self, number: int):
            found = super().preview(number)
            return found and found._replace(content=pdb.encode() if name.endswith("pdb") else b"RIFF")

    rows = [ShownTrial(0, "done", 0, {"score": 1.0}, None, name)]
    browser_page.goto(served(gallery(Other(study(rows, objective(Metric("score")))))))
    browser_page.click(".strip .card")
    shown = {"a.wav": "audio[controls]", "a.mp4": "video[controls]", "a.pdb": ".structure canvas"}[name]
    browser_page.wait_for_selector(f"dialog {shown}")
    if name == "a.pdb":
        pixels = "document.querySelector('.structure canvas').getContext('2d').getImageData(0, 0, 560, 560).data"
        browser_page.wait_for_timeout(300)
        assert browser_page.evaluate(f"{pixels}.some(Boolean)")
