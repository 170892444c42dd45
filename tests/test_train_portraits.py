"""How the portrait model is made: captions, held-out sets, the optimiser, checkpoints, and how results are read."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[1] / "examples/train_portraits"
PARTS = ("captions", "dataset", "model", "optimiser", "train_vae", "train_flow", "classifier", "evaluate")
NAMED = ("accessory", "facialHair", "hair", "face", "skin", "clothes", "background", "hairColour")
LABEL = {
    "hair": "short",
    "hairColour": "brown",
    "face": "smile",
    "accessory": "none",
    "facialHair": "beard",
    "skin": "tan",
    "clothes": "red",
    "background": "blue",
}


@pytest.fixture(scope="module")
def made() -> Iterator[SimpleNamespace]:
    """The scripts' modules, in place of others of the same names."""
    before = {name: sys.modules.pop(name) for name in PARTS if name in sys.modules}
    sys.path.insert(0, str(FOLDER))
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in PARTS})
    sys.path.remove(str(FOLDER))
    for name in PARTS:
        del sys.modules[name]
    sys.modules.update(before)


def test_captions_say_what_a_label_says_in_words_the_model_knows(made: SimpleNamespace) -> None:
    labels, rng = made.dataset.held_out()[1], np.random.default_rng(0)
    known = set(made.captions.vocabulary())
    texts = [made.captions.caption(label, rng=rng, p_phrase=0.0, p_all=0.0) for label in labels for _ in range(3)]
    assert {word for text in texts for word in text.replace(",", "").split()} <= known
    assert max(len(text.split()) for text in texts) <= made.model.TOKENS - 2
    said = made.captions.wordings(LABEL)
    assert set(said) == {"hair", "face", "accessory", "facialHair", "skin", "clothes", "background"}
    text = made.captions.caption(LABEL, rng=rng, p_phrase=0.0, p_all=0.0)
    assert all(any(way in text.split(", ") for way in ways) for ways in said.values())


def test_captions_drop_phrases_and_all_of_them(made: SimpleNamespace) -> None:
    rng = np.random.default_rng(1)
    texts = [made.captions.caption(LABEL, rng=rng) for _ in range(2000)]
    assert np.mean([text == "" for text in texts]) == pytest.approx(0.12, abs=0.025)
    said = [text for text in texts if text]
    assert np.mean(["background" in text for text in said]) == pytest.approx(0.8, abs=0.03)
    assert len(set(texts)) > 1500


@pytest.mark.parametrize(
    ("hair", "colour", "first"),
    [
        ("long", "black", "long black hair"),
        ("bun", "blond", "blond hair bun"),
        ("bald", None, "bald"),
        ("hijab", None, "hijab"),
    ],
)
def test_hair_that_is_not_seen_has_no_colour(made: SimpleNamespace, hair: str, colour: str | None, first: str) -> None:
    ways = made.captions.hair_wordings(hair, colour)
    assert ways[0] == first
    assert not any("None" in way for way in ways)


def test_held_out_sets_are_whole_and_labelled(made: SimpleNamespace) -> None:
    images, labels = made.dataset.held_out()
    assert images.shape == (512, 64, 64, 3)
    assert images.dtype == np.uint8
    assert len({label["seed"] for label in labels}) == 512
    assert {label["seed"].split("-")[0] for label in labels} == {"heldout"}
    for label, image in zip(labels, images, strict=True):  # the corner is background, the bottom's middle is clothes
        assert image[0, 0].tobytes().hex() == label["backgroundHex"] or label["hair"] == "curly"
    made.classifier.truths(labels)  # every attribute has a word that the judge knows


def test_pairs_differ_in_one_attribute_and_can_be_told_apart(made: SimpleNamespace) -> None:
    images, labels = made.dataset.pairs()
    assert images.shape == (512, 64, 64, 3)
    for i in range(0, 512, 2):
        a, b = labels[i : i + 2]
        assert [name for name in NAMED if a[name] != b[name]] == [a["differs"]]
        assert (images[i] != images[i + 1]).any(axis=-1).sum() >= 20
    assert {label["differs"] for label in labels} == set(NAMED)


def test_sheets_give_back_what_was_written(made: SimpleNamespace, tmp_path: Path) -> None:
    small = np.random.default_rng(0).integers(256, size=(64, 8, 8, 3)).astype(np.uint8)
    images = small.repeat(8, axis=1).repeat(8, axis=2)
    labels = [{"seed": str(i)} for i in range(64)]
    made.dataset.write_sheet(tmp_path / "set", images, labels)
    again, same = made.dataset.read_sheet(tmp_path / "set")
    np.testing.assert_array_equal(again, images)
    assert same == labels


def test_raw_images_and_labels_have_to_match(made: SimpleNamespace, tmp_path: Path) -> None:
    np.zeros((2, 64, 64, 3), np.uint8).tofile(tmp_path / "set.rgb")
    (tmp_path / "set.jsonl").write_text(json.dumps(LABEL) + "\n")
    with pytest.raises(ValueError, match="2 images but 1 labels"):
        made.dataset.read_raw(tmp_path / "set")


def test_normalised_latents_are_decoded_as_before(made: SimpleNamespace) -> None:
    torch.manual_seed(0)
    vae, x = made.model.autoencoder().eval(), torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        before = vae.encode(x).latent_dist
        image = vae.decode(before.mean).sample
        made.model.normalised(vae, before.mean)
        after = vae.encode(x).latent_dist
        again = vae.decode(after.mean).sample
    torch.testing.assert_close(again, image, rtol=1e-4, atol=1e-5)
    deviation = before.mean.std(dim=(0, 2, 3), keepdim=True)
    torch.testing.assert_close(after.std, before.std / deviation, rtol=1e-4, atol=0)
    torch.testing.assert_close(after.mean.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=1e-4)
    torch.testing.assert_close(after.mean.std(dim=(0, 2, 3)), torch.ones(4), rtol=1e-4, atol=0)


@pytest.mark.parametrize("shape", [(16, 3, 3, 3), (8, 64), (96, 16)])
def test_a_change_moves_all_directions_alike(made: SimpleNamespace, shape: tuple[int, ...]) -> None:
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    matrix = made.optimiser.orthogonalised(g).reshape(shape[0], -1)
    scale = max(1.0, matrix.shape[0] / matrix.shape[1]) ** 0.5
    values = torch.linalg.svdvals(matrix) / scale
    assert 0.6 < values.min() <= values.max() < 1.3
    u, _, v = torch.linalg.svd(g.reshape(shape[0], -1), full_matrices=False)
    off = u.T @ matrix @ v.T / scale  # the singular vectors stay
    torch.testing.assert_close(off, torch.diag(off.diagonal()), rtol=0, atol=1e-4)


def test_the_rate_warms_up_and_falls_to_zero(made: SimpleNamespace) -> None:
    rates = [made.optimiser.rate(step, 300, peak=0.02, warm_up=50) for step in range(301)]
    assert rates[0] == pytest.approx(0.02 / 50)
    assert rates[49:101] == pytest.approx([0.02] * 52)
    assert rates[200] == pytest.approx(0.01)
    assert rates[300] == 0.0


class Toy(torch.nn.Module):
    """A matrix, a vector, and an embedding: one of each kind that the optimiser tells apart."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(6, 4)
        self.embedding = torch.nn.Embedding(5, 6)

    def loss(self, rng: torch.Generator) -> Any:
        rows = torch.randint(5, (2,), generator=rng)
        return (self.linear(self.embedding(rows)) - torch.arange(4.0)).square().mean()


def change(made: SimpleNamespace, state: Any, toy: Toy, rng: torch.Generator) -> torch.Tensor:
    loss = toy.loss(rng)
    made.optimiser.update(state, loss, decay=0.9)
    return loss.detach()


def trained(made: SimpleNamespace, file: Path, *stops: int) -> Any:
    state: Any = None
    for stop in stops:
        toy = Toy()
        state = made.optimiser.started(toy, file)
        updates = made.optimiser.Updates(partial(change, made, state, toy, rng := torch.Generator()), rng)
        while state.step < stop:
            state.prepare(0.05)
            updates(state.step)
        made.optimiser.saved(state, file)
    return state


def test_training_goes_on_from_its_file_as_if_never_stopped(made: SimpleNamespace, tmp_path: Path) -> None:
    whole, parts = trained(made, tmp_path / "whole", 40), trained(made, tmp_path / "parts", 7, 19, 40)
    assert whole.step == parts.step == 40
    assert set(whole.second) == {"linear.bias", "embedding.weight"}
    for one, other in zip(whole.parts().values(), parts.parts().values(), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one)
    toy, new, rng = Toy(), Toy(), torch.Generator()
    toy.load_state_dict(whole.average)
    before, after = (sum(of.loss(rng.manual_seed(i)).item() for i in range(5)) for of in (new, toy))
    assert after < 0.7 * before


def test_the_average_is_what_is_exported(made: SimpleNamespace, tmp_path: Path) -> None:
    state = trained(made, tmp_path / "file", 12)
    average = made.optimiser.averaged(tmp_path / "file")
    assert average.keys() == dict(Toy().named_parameters()).keys()
    assert all(torch.equal(average[name], state.average[name]) for name in average)
    assert not torch.equal(average["linear.weight"], state.weights["linear.weight"].data)


def test_psnr_has_its_known_values(made: SimpleNamespace) -> None:
    images = np.full((2, 64, 64, 3), 100, np.uint8)
    assert made.train_vae.psnr(images, images + 1) == pytest.approx(20 * np.log10(255))
    assert made.train_vae.psnr(images, images) == float("inf")


def test_the_judge_is_scored_by_word(made: SimpleNamespace) -> None:
    true, seen = np.array([[0, 1], [0, 1], [0, 1], [2, 1]]), np.array([[0, 1], [0, 1], [1, 0], [2, 1]])
    np.testing.assert_allclose(made.classifier.balanced_accuracy(seen, true), [(2 / 3 + 1) / 2, 3 / 4])


def test_the_evaluation_asks_for_what_the_model_and_the_judge_know(made: SimpleNamespace) -> None:
    known = set(made.captions.vocabulary())
    assert list(made.evaluate.ASKED) == list(made.classifier.ATTRIBUTES)
    for name, asked in made.evaluate.ASKED.items():
        assert {word for phrase in asked for word in phrase.split()} <= known
        assert set(asked.values()) <= set(made.classifier.ATTRIBUTES[name])


def test_convergence_is_read_from_the_log(made: SimpleNamespace, tmp_path: Path) -> None:
    log, losses = tmp_path / "log.jsonl", {64_000: 0.4, 100_000: 0.1, 192_000: 0.3}
    log.write_text("".join(json.dumps({"images": n, "held_out": h}) + "\n" for n, h in losses.items()))
    assert made.evaluate.convergence(log) == ("loss_fall", pytest.approx(0.25), 0.01, False)
    log.write_text(json.dumps({"images": 64_000, "held_out": 0.4}) + "\n")
    assert made.evaluate.convergence(log)[1] == float("inf")


def test_the_committed_vae_gives_back_held_out_images(made: SimpleNamespace, tmp_path: Path) -> None:
    images, vae = made.dataset.held_out()[0][:96], made.train_flow.encoder(tmp_path)
    assert made.train_vae.psnr(images, made.train_vae.reconstructed(vae, images)) >= 40
    z = made.train_vae.encoded(vae, images)
    assert z.shape == (96, *made.model.LATENT)
    torch.testing.assert_close(z.mean(dim=(0, 2, 3)), torch.zeros(4), rtol=0, atol=0.15)
    torch.testing.assert_close(z.std(dim=(0, 2, 3)), torch.ones(4), rtol=0, atol=0.15)


def test_an_export_is_found_again_by_its_own_loader(made: SimpleNamespace, tmp_path: Path) -> None:
    flow = made.train_flow.Flow()
    made.optimiser.saved(made.optimiser.started(flow, tmp_path / "none"), tmp_path / "flow.safetensors")
    made.train_flow.export(tmp_path, tmp_path / "out")
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*")) <= 16e6
    assert str(tmp_path) not in (tmp_path / "out" / "vae" / "config.json").read_text()
    again = made.train_flow.begun(tmp_path / "out")
    for name, p in flow.named_parameters():
        torch.testing.assert_close(dict(again.named_parameters())[name], p, rtol=1e-3, atol=1e-3)
