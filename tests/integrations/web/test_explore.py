"""The page of `surrogate-ax explore`: what it answers, and a person who clicks and presses keys in Chromium."""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from PIL import Image
from starlette.applications import Starlette
from starlette.testclient import TestClient

from surrogate_ax import FunctionGenerator, Gaussian
from surrogate_ax.execution import Exploration, person
from surrogate_ax.generation.saved_picture import SavedPicture, read_saved, saved_in
from surrogate_ax_optuna import create_study, explore, read_record
from surrogate_ax_web import explore_page

if TYPE_CHECKING:
    from playwright.sync_api import Page

Client = Callable[[Starlette], TestClient]
PRIOR = Gaussian((3, 4, 4))


def make(z: torch.Tensor) -> torch.Tensor:
    return z.permute(0, 2, 3, 1).sigmoid()


@pytest.fixture
def study():
    return create_study(person(), study_name="colours")


@pytest.fixture
def exploration(study) -> Iterator[Exploration]:
    one = explore(study, FunctionGenerator(make, PRIOR))
    yield one
    one.close()


@pytest.fixture
def app(exploration: Exploration, tmp_path: Path) -> Starlette:
    (tmp_path / "files").mkdir()
    folder, kept = tmp_path / "files", tmp_path / "kept"
    saved = functools.partial(SavedPicture, source="colours")
    return explore_page(exploration, saved, prompt="a <b>red</b> car", folder=folder, kept=kept)


def made(exploration: Exploration) -> list[int]:
    for trial in exploration.page.trials:
        exploration.made(trial, 30)
    return list(exploration.page.trials)


def test_the_page_says_what_is_shown_and_escapes_the_prompt(app, exploration, client: Client) -> None:
    trials = made(exploration)
    page = client(app).get("/")
    assert "a &lt;b&gt;red&lt;/b&gt; car" in page.text
    state = client(app).get("/page").json()
    assert (state["number"], state["mode"], state["favourite"], state["kept"]) == (0, "eight", None, [])
    assert state["items"] == [{"trial": trial, "kind": "image", "reason": None, "note": ""} for trial in trials]
    assert '<ul id="grid"></ul>' in page.text  # nothing is measured


def test_a_picture_carries_its_recipe(app, exploration, client: Client) -> None:
    trial = made(exploration)[3]
    answer = client(app).get(f"/previews/{trial}")
    assert answer.headers["Content-Type"] == "image/png"
    saved = saved_in(answer.content, "picture")
    assert (saved.recipe.terms, saved.source) == (exploration.point(trial).terms, "colours")
    assert client(app).get("/previews/77").status_code == 404


def test_an_answer_turns_the_page_and_can_be_taken_back(app, exploration, study, client: Client) -> None:
    trials = made(exploration)
    one = client(app)
    said = {"number": 0, "liked": trials[:2], "disliked": trials[2:3]}
    assert one.post("/expect", content=json.dumps(said)).json()["number"] == 0
    state = one.post("/answer", content=json.dumps(said)).json()
    assert state["number"] == 1
    assert not set(trials) & {item["trial"] for item in state["items"]}
    assert len(read_record(study).trials) == 8
    assert [item["trial"] for item in one.post("/undo").json()["items"]] == trials
    assert one.post("/mode", content='{"mode": "pairs"}').json()["mode"] == "pairs"


def test_what_is_kept_is_saved_with_its_recipe(app, exploration, tmp_path: Path, client: Client) -> None:
    trial = made(exploration)[1]
    one = client(app)
    assert one.post("/keep", content=json.dumps({"trial": trial, "kept": True})).json()["kept"] == [trial]
    assert read_saved(tmp_path / "kept" / f"trial{trial}.png").recipe.terms == exploration.point(trial).terms
    assert one.post("/keep", content=json.dumps({"trial": trial, "kept": False})).json()["kept"] == []


def test_a_dropped_picture_is_searched_around(app, exploration, client: Client) -> None:
    trials, one = made(exploration), client(app)
    picture, output = one.get(f"/previews/{trials[4]}").content, exploration.made(trials[4], 30).output
    state = one.post("/drop?name=face.png", content=picture).json()
    assert [item["trial"] for item in state["items"]] != trials
    again = exploration.made(state["items"][0]["trial"], 30)
    assert torch.equal(again.output, output)
    plain = io.BytesIO()
    Image.new("RGB", (4, 4)).save(plain, "PNG")
    refused = one.post("/drop?name=plain.png", content=plain.getvalue())
    assert (refused.status_code, "plain.png carries no recipe" in refused.json()["error"]) == (400, True)


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("answer", "{", "expected JSON"),
        ("answer", "[" * 50_000, "expected JSON"),
        ("answer", "[]", "expected values by name"),
        ("answer", '{"liked": []}', "number: expected a whole number"),
        ("answer", '{"number": 0, "liked": [9999]}', "liked, disliked or passed over"),
        ("answer", '{"number": 0, "liked": 3}', "liked: expected a list"),
        ("answer", '{"number": 0, "liked": ["../x"]}', "liked: expected a whole number"),
        ("answer", '{"number": 0, "more": -1}', "more: expected a whole number"),
        ("keep", '{"trial": 9999, "kept": true}', "expected one of this search"),
        ("mode", '{"mode": ["eight"]}', "mode: expected one of"),
        ("mode", "{}", "mode: expected one of"),
        ("drop", "no picture", "carries no recipe"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(app, exploration, client: Client, path, body, said) -> None:
    made(exploration)
    before = exploration.page
    answer = client(app).post(f"/{path}", content=body)
    assert answer.status_code == 400
    assert said in answer.json()["error"]
    assert exploration.page == before


def test_what_is_too_long_is_not_read(app, client: Client) -> None:
    assert client(app).post("/answer", content=b" " * 70_000).status_code == 413


def test_another_site_cannot_answer(app, client: Client) -> None:
    assert client(app).post("/undo", headers={"Origin": "http://example.com"}).status_code == 403


# --- in the browser


@pytest.fixture
def shown(app, served: Callable[[Starlette], str], browser_page: Page) -> Page:
    browser_page.goto(served(app))
    pictures(browser_page, 8)
    return browser_page


def pictures(page: Page, count: int) -> None:
    from playwright.sync_api import expect

    expect(page.locator(".choose img")).to_have_count(count, timeout=20_000)


def answers(page: Page, text: str) -> None:
    from playwright.sync_api import expect

    expect(page.locator("#count")).to_have_text(text, timeout=20_000)


def test_clicks(shown: Page, exploration: Exploration) -> None:
    from playwright.sync_api import expect

    trials = exploration.page.trials
    shown.locator(".choose").nth(1).click()
    shown.locator(".choose").nth(6).click()
    shown.locator(".choose").nth(6).click()  # not after all
    shown.get_by_role("button", name="Less like picture 4").click()
    assert shown.locator('.choose[aria-pressed="true"]').count() == 1
    expect(shown.locator("#hint")).to_have_text("1 liked")
    shown.get_by_role("button", name="Keep picture 2").click()
    expect(shown.locator("#kept li")).to_have_count(1)
    shown.get_by_role("button", name="Next").click()
    answers(shown, "1 answer")
    pictures(shown, 8)
    page = exploration._answers.pages[0]
    assert (page.liked, page.disliked) == ((trials[1],), (trials[3],))
    shown.get_by_role("button", name="More like picture 3").click()
    answers(shown, "2 answers")
    assert exploration._answers.pages[1].more is not None
    shown.get_by_role("button", name="Undo").click()
    answers(shown, "1 answer")
    shown.select_option("#mode", "four")
    pictures(shown, 4)
    expect(shown.locator(".badge.best")).to_have_text("best so far")
    shown.locator(".choose").nth(2).click()
    answers(shown, "2 answers")


def test_keys(shown: Page, exploration: Exploration) -> None:
    from playwright.sync_api import expect

    trials = exploration.page.trials
    shown.keyboard.press("3")
    shown.keyboard.press("8")
    shown.keyboard.press("ArrowLeft")
    shown.keyboard.press("x")
    shown.keyboard.press("ArrowLeft")
    shown.keyboard.press("Space")
    shown.keyboard.press("k")
    expect(shown.locator("#kept li")).to_have_count(1)
    shown.keyboard.press("Enter")
    answers(shown, "1 answer")
    page = exploration._answers.pages[0]
    assert (page.liked, page.disliked) == ((trials[2], trials[7], trials[5]), (trials[6],))
    assert exploration.page.kept == (trials[5],)
    pictures(shown, 8)
    shown.keyboard.press("u")
    answers(shown, "0 answers")
    assert exploration.page.trials == trials
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("m")
    answers(shown, "1 answer")
    shown.keyboard.press("Control+z")
    answers(shown, "0 answers")


def test_a_picture_is_opened_and_a_wrong_one_is_said(shown: Page, exploration: Exploration, tmp_path: Path) -> None:
    from playwright.sync_api import expect

    trials = exploration.page.trials
    Image.new("RGB", (4, 4)).save(tmp_path / "plain.png")
    shown.locator("#file").set_input_files(tmp_path / "plain.png")
    expect(shown.get_by_role("alert")).to_contain_text("plain.png carries no recipe")
    assert exploration.page.trials == trials
    terms = exploration.point(trials[0]).terms
    source = shown.locator(".choose img").first.get_attribute("src")
    (tmp_path / "kept.png").write_bytes(shown.request.get(shown.url.rstrip("/") + str(source)).body())
    shown.locator("#file").set_input_files(tmp_path / "kept.png")
    pictures(shown, 8)
    expect(shown.locator(".card").first).not_to_have_attribute("data-trial", str(trials[0]))
    assert exploration.point(exploration.page.trials[0]).terms == terms


def test_every_control_has_a_name(shown: Page) -> None:
    for control in shown.locator("button:visible, select:visible, a:visible").all():
        assert control.evaluate("e => (e.ariaLabel || e.labels?.[0]?.textContent || e.textContent).trim()")
        assert control.bounding_box()["height"] >= 24
