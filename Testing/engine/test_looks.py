"""What images look like: which ones are like those of a training, on made-up sets and by the shipped models."""

from __future__ import annotations

import base64
import dataclasses
import json
import struct

import numpy as np
import pytest
from scipy import ndimage

from llmboost.card import Card, Looks, read_card
from llmboost.errors import LLMBoostError
from llmboost.inference import looks
from llmboost.inference.classify import classify
from llmboost.io.image import Image, read_image
from llmboost.io.imageset import read_image_set
from llmboost.library import find
from llmboost.model import load_model

from .class_samples import pictures, volumes

CLASSIFIERS = ("adrenal", "breast", "pneumonia", "retina")
PICTURES = CLASSIFIERS[1:]
FILES = {name: f"{name}mnist" for name in PICTURES} | {"adrenal": "adrenalmnist3d_64"}


def framed(values: np.ndarray) -> np.ndarray:
    """Gray pictures (N, rows, columns), or masks (N, R, A, S), as a network sees them."""
    if values.ndim == 4:
        return values[:, None].astype(np.float32)
    return (values.transpose(0, 2, 1)[:, None, :, :, None].astype(np.float32) - 100) / 60


def discs(count: int, seed: int) -> np.ndarray:
    return framed(pictures(count, seed)[0])


@pytest.fixture(scope="module")
def known() -> Looks:
    return looks.fit(discs(200, 0), discs(50, 1), (0,), mask=False)


# -- made-up sets ------------------------------------------------------------------------------------------------------


def test_images_of_the_trainings_kind_are_about_one_away_and_nearly_all_within_the_limit(known):
    distances = looks.distance(known, discs(300, 2))
    assert np.median(distances) == pytest.approx(1, abs=0.25)
    assert (distances > known.limit).mean() <= 0.03


@pytest.mark.parametrize("change", ["inverted", "noise", "gradient", "stripes", "blurred", "moved"])
def test_others_are_beyond_the_limit(known, change):
    images = discs(40, 3)
    random = np.random.default_rng(0)
    if change == "inverted":
        images = -images
    elif change == "noise":
        images = random.normal(size=images.shape).astype(np.float32)
    elif change == "gradient":
        images = np.broadcast_to(np.linspace(-1, 1, 16, dtype=np.float32)[:, None, None], images.shape)
    elif change == "stripes":
        images = np.broadcast_to((np.arange(16, dtype=np.float32) % 2)[:, None, None], images.shape)
    elif change == "blurred":
        images = ndimage.gaussian_filter(images, (0, 0, 3, 3, 0))
    else:
        images = np.roll(images, 6, axis=3)
    assert (looks.distance(known, images) > known.limit).mean() >= 0.95


def test_masks_of_another_shape_are_beyond_the_limit():
    known = looks.fit(framed(volumes(120, 0)[0]), framed(volumes(30, 1)[0]), (0, 1, 2), mask=True)
    assert known.blocks == 0
    usual = looks.distance(known, framed(volumes(60, 2)[0]))
    assert (usual > known.limit).mean() <= 0.1
    grain = (np.random.default_rng(0).random((20, 1, 16, 16, 16)) < 0.2).astype(np.float32)
    box = np.zeros((1, 1, 16, 16, 16), np.float32)
    box[..., 3:13, 3:13, 3:13] = 1
    assert (looks.distance(known, np.concatenate([grain, box])) > known.limit).all()


def test_an_image_is_as_usual_as_its_mirror_image_where_that_is_one():
    """Half discs, whose round side is left, and never above."""
    images = discs(80, 0)
    images[:, :, 8:] = -1
    known = looks.fit(images[:60], images[60:], (0,), mask=False)
    np.testing.assert_allclose(
        looks.distance(known, images), looks.distance(known, np.flip(images, 2)), rtol=1e-3, err_msg="left and right"
    )
    one_sided = looks.fit(images[:60], images[60:], (), mask=False)
    assert (looks.distance(one_sided, np.flip(images, 2)) > one_sided.limit).all()


def test_many_images_allow_for_a_finer_look():
    few, many = (looks.fit(discs(n, 0), discs(20, 1), (), mask=False) for n in (100, 1300))
    assert (few.blocks, many.blocks) == (looks.COARSE, looks.FINE)


@pytest.mark.parametrize("count", [2, 3, 8])
def test_few_images_are_enough_for_a_limit_that_lets_their_kind_pass(count):
    known = looks.fit(discs(count, 0), discs(1, 1), (0,), mask=False)
    assert 0 < known.limit < np.inf
    assert (looks.distance(known, discs(100, 2)) <= known.limit).mean() >= 0.9


def test_looks_are_widened_for_more_images_and_never_narrowed(known):
    darker = discs(30, 4) - 1
    assert (looks.distance(known, darker) > known.limit).mean() > 0.9
    wider = looks.widened(known, darker)
    assert (looks.distance(wider, darker) > wider.limit).mean() <= 0.1
    assert looks.widened(known, discs(30, 5)[:3] * 0 + discs(1, 0)).limit == pytest.approx(known.limit)
    assert wider.numbers == known.numbers


def test_images_of_another_size_do_not_fit(known):
    with pytest.raises(LLMBoostError, match="of another size"):
        looks.distance(known, np.zeros((1, 3, 16, 16, 1), np.float32))


# -- in cards ----------------------------------------------------------------------------------------------------------


def test_looks_survive_json_and_cards_without_them_are_read():
    card = read_card(find("breast"))
    assert Card.from_json(card.to_json()) == card
    old = dataclasses.replace(card, classification=dataclasses.replace(card.classification, looks=None))
    text = old.to_json().replace(', "looks": null', "")
    assert "looks" not in text
    assert Card.from_json(text) == old


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": -1},
        {"blocks": 2.5},
        {"blocks": 10**9},
        {"limit": 0.0},
        {"limit": "1"},
        {"numbers": "A"},
        {"numbers": "ÄÖ=="},
        {"numbers": base64.b64encode(bytes(12)).decode()},
        {"numbers": base64.b64encode(struct.pack("<2f", 1, np.nan)).decode()},
        {"numbers": 7},
        {"more": 1},
    ],
)
def test_damaged_looks_are_refused(change):
    card = read_card(find("breast"))
    fields = dataclasses.asdict(card)
    fields["classification"]["looks"].update(change)
    text = dataclasses.replace(card, classification=fields["classification"]).to_json()
    with pytest.raises(LLMBoostError, match="damaged card"):
        Card.from_json(text)


def test_a_card_is_shown_without_the_numbers_of_its_looks(llmboost):
    done = llmboost("models", "show", "retina", "--json")
    assert (
        json.loads(done.out)["classification"]["looks"]["limit"] == read_card(find("retina")).classification.looks.limit
    )
    assert len(done.out) < 10_000


def test_a_model_of_before_goes_by_its_networks_features():
    model = load_model(find("pneumonia"))
    meaning = dataclasses.replace(model.card.classification, looks=None)
    old = dataclasses.replace(model, card=dataclasses.replace(model.card, classification=meaning))
    page = as_input(drawn("page"), color=False)
    assert classify(old, page).range.limit == meaning.range_limit
    assert classify(model, page).range.limit == model.card.classification.looks.limit


# -- the shipped models ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shipped():
    """``shipped(name)``: the model, loaded once."""
    loaded = {}

    def load(name):
        return loaded.setdefault(name, loaded.get(name) or load_model(find(name)))

    return load


def as_input(picture: np.ndarray, color: bool) -> list[Image]:
    """The channels of a gray picture (rows, columns)."""
    plane = np.ascontiguousarray(picture.T[..., None], np.float32)
    return [Image(plane, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))] * (3 if color else 1)


def drawn(what: str) -> np.ndarray:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:200, :200] / 200
    if what == "gradient":
        return 255 * x
    if what == "noise":
        return random.uniform(0, 255, (200, 200))
    if what == "page":
        lines = (np.arange(200) // 6 % 2)[:, None] * (ndimage.zoom(random.random((200, 40)), (1, 5), order=0) > 0.3)
        return 250 - 230 * lines
    portrait = 120 * np.ones((200, 200))
    for middle, size, value in (((0.5, 0.5), (0.35, 0.28), 200), ((0.4, 0.4), (0.04, 0.06), 30),
                                ((0.4, 0.6), (0.04, 0.06), 30), ((0.68, 0.5), (0.04, 0.12), 90)):  # fmt: skip
        portrait[((y - middle[0]) / size[0]) ** 2 + ((x - middle[1]) / size[1]) ** 2 < 1] = value
    return ndimage.gaussian_filter(portrait, 2) + random.normal(0, 3, (200, 200))


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("what", ["gradient", "noise", "page", "portrait"])
def test_what_is_drawn_is_refused(shipped, name, what):
    found = classify(shipped(name), as_input(drawn(what), color=name == "retina"))
    assert found.refused
    assert f"unlike those that model '{name}' was trained on" in found.range.reasons[0]


@pytest.mark.parametrize("what", ["box", "ball", "noise", "tube"])
def test_masks_of_other_things_are_refused(shipped, what):
    index = np.stack(np.meshgrid(*[np.arange(48) - 23.5] * 3, indexing="ij"))
    mask = {
        "box": (np.abs(index) < 8).all(axis=0),
        "ball": (index**2).sum(axis=0) < 12**2,
        "noise": np.random.default_rng(0).random((48, 48, 48)) < 0.1,
        "tube": np.hypot(index[0], index[1]) < 3,
    }[what]
    image = Image(mask.astype(np.uint8), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0), np.eye(3))
    assert classify(shipped("adrenal"), [image]).refused


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_their_own_images_are_answered(shipped, data_root, name):
    model = shipped(name)
    samples = read_image_set(data_root / "medmnist" / f"{FILES[name]}.npz").split("val")[::5][:16]
    answered = [classify(model, sample.read(model.card.preprocessing)) for sample in samples]
    assert sum(found.refused for found in answered) <= 1
    for found in answered:
        assert bool(found.decision) != found.refused


@pytest.mark.parametrize("name", PICTURES)
def test_slices_of_a_head_are_refused(shipped, data_root, name):
    head = read_image(data_root / "viewer" / "nifti" / "mr_stroke_T1.nii.gz").array
    for index in (50, 70, 90):
        assert classify(shipped(name), as_input(head[..., index].T[::-1], color=name == "retina")).refused
