"""How good a segmentation probably is: the expected Dice, the card's numbers, and where the flag shows."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

from llmboost.card import Adapter, Card, Cascade, Quality, Target, read_card, write_card
from llmboost.errors import LLMBoostError
from llmboost.inference.quality import Tally, flag
from llmboost.inference.roi import Roi
from llmboost.inference.segment import segment
from llmboost.io.image import read_image, write_image
from llmboost.library import find
from llmboost.model import Model, load_model

QUALITY = Quality(slope=1.0, intercept=0.0, limit=0.8, figures={"val": {"mae": 0.03}})


def tally_of(probabilities: np.ndarray, parts: int = 1) -> Tally:
    tally = Tally(len(probabilities))
    for part in np.array_split(probabilities, parts, axis=1):
        for n, p in enumerate(part):
            tally.add_class(n, p)
        tally.add_winners(part.argmax(axis=0), part.max(axis=0))
    return tally


def test_expected_dice_is_that_of_segments_drawn_from_the_probabilities():
    """The mean Dice between what is drawn and truths that are drawn by lot, as the probabilities say."""
    random = np.random.default_rng(0)
    chances = random.dirichlet((3, 1, 1), size=5000).T ** 2
    chances /= chances.sum(axis=0)
    drawn = chances.argmax(axis=0)
    found = tally_of(chances).expected_dice()
    lots = random.random((200, 1, 5000))
    truths = (lots > np.cumsum(chances, axis=0)[:-1]).sum(axis=1)
    for n in (1, 2):
        overlap = ((truths == n) & (drawn == n)).sum(axis=1)
        dice = 2 * overlap / ((truths == n).sum(axis=1) + (drawn == n).sum())
        assert found[n - 1] == pytest.approx(dice.mean(), abs=0.005)
    np.testing.assert_allclose(tally_of(chances, parts=7).expected_dice(), found)


def test_sure_and_empty_segments():
    certain = np.eye(3)[np.random.default_rng(1).integers(0, 3, 100)].T
    np.testing.assert_allclose(tally_of(certain).expected_dice(), 1)
    certain[0], certain[1:] = 1, 0
    np.testing.assert_allclose(tally_of(certain).expected_dice(), 0, err_msg="nothing drawn")


@pytest.mark.parametrize(
    ("quality", "expected"), [(QUALITY, 1.0), (Quality(0.5, 0.2, 0.8), 0.7), (Quality(5.0, 0.0, 0.8), 1.0)]
)
def test_the_line_of_the_card(quality, expected):
    certain = tally_of(np.eye(3)[[0, 1, 1, 2]].T)
    found = flag(quality, [certain])
    assert found.predicted_dice == pytest.approx(expected)
    assert found.low == (expected < 0.8)
    assert ("check" in found.text) == found.low
    nothing = tally_of(np.eye(3)[[0, 0]].T)
    assert flag(quality, [certain, nothing]).predicted_dice < found.predicted_dice or expected == 1.0
    assert flag(quality, []) is None


def test_each_segment_has_a_figure_of_its_own_and_what_was_not_drawn_has_none():
    sure, torn = np.eye(3)[[0, 1, 1, 0]].T, np.array([[0.1, 0.4, 0.2], [0.1, 0.2, 0.7]]).T
    quality = Quality(1.0, 0.0, 0.8)
    found = flag(quality, [tally_of(sure), tally_of(torn)], [("head", "tail"), ("head", "tail")])
    first, second = tally_of(sure).expected_dice(), tally_of(torn).expected_dice()
    assert found.per_segment == {"head": pytest.approx((first[0] + second[0]) / 2), "tail": pytest.approx(second[1])}
    assert flag(quality, [tally_of(sure)], [("head", "tail")]).per_segment == {"head": pytest.approx(1.0)}
    assert flag(quality, [tally_of(sure)]).per_segment == {}


def test_what_is_rounded_to_the_limit_is_not_said_to_be_below_it():
    certain = tally_of(np.eye(3)[[0, 1, 1, 2]].T)
    texts = {dice: flag(Quality(0.0, dice, 0.8), [certain]).text for dice in (0.8, 0.7951, 0.79999, 0.794)}
    assert "below" not in texts[0.8]
    assert texts[0.7951].endswith("Dice just below 0.80: check the segments closely")
    assert texts[0.79999].endswith("Dice just below 0.80: check the segments closely")
    assert texts[0.794].endswith("Dice 0.79, below 0.80: check the segments closely")


def test_what_is_no_number_is_low():
    found = flag(QUALITY, [tally_of(np.full((3, 4), np.nan))])
    assert found.low
    assert "cannot be told" in found.text
    assert json.loads(json.dumps(dataclasses.asdict(found), allow_nan=False))["predicted_dice"] == 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_network_whose_answer_is_no_number_is_an_error(model, make_case, value):
    next(parameter for parameter in model.network.parameters() if parameter.dim() > 1).fill_(value)
    with pytest.raises(LLMBoostError, match="what the model says is not a number"):
        segment(model, [make_case(131)[0]])


@pytest.fixture
def model(tiny_network, tiny_card) -> Model:
    """Whose weights are as they come."""
    network = tiny_network().eval().requires_grad_(False)
    return Model(tiny_card(network, quality=QUALITY), network)


def test_of_a_case(model, make_case):
    """The flag is what the probabilities of all voxels make of it, and it changes no voxel."""
    image = make_case(131)[0]
    found = segment(model, [image], probabilities=True)
    whole = tally_of(found.probabilities.array.reshape(3, -1))
    assert found.quality.predicted_dice == pytest.approx(float(whole.expected_dice().mean()), abs=1e-4)
    plain = segment(Model(dataclasses.replace(model.card, quality=None), model.network), [image])
    assert plain.quality is None
    np.testing.assert_array_equal(plain.labelmap.array, found.labelmap.array)


def test_larger_images_have_numbers_of_their_own(model, make_case):
    """What is cut out of a larger image, by the cascade or a region of interest, is judged by the cascade's line."""
    image = make_case(131)[0]
    side = tuple(n * mm for n, mm in zip(image.shape, image.spacing, strict=True))
    own, heads = Quality(0.0, 0.9, 0.8), Quality(0.0, 0.7, 0.6)
    cascade = Cascade("other", (Target("a"),), "head", (1.0, 2.0), (1.0, 2.0), quality=heads)
    card = dataclasses.replace(model.card, quality=own, cascade=cascade)
    # a patch as large as the image: it needs no cascade
    steps = dataclasses.replace(card.preprocessing, patch_size=(32, 32, 32))
    both = Model(dataclasses.replace(card, preprocessing=steps), model.network)
    middle = Roi(image.affine[:3, :3] @ (np.array(image.shape) / 2) + image.origin, [0.8 * mm for mm in side])
    assert segment(both, [image]).quality.predicted_dice == pytest.approx(0.9)
    told = segment(both, [image], roi=middle).quality
    assert (told.predicted_dice, told.limit, told.low) == (pytest.approx(0.7), 0.6, False)
    assert Card.from_json(both.card.to_json()).cascade.quality == heads


def test_an_adapted_model_has_no_flag(model, make_case):
    card = dataclasses.replace(model.card, adapter=Adapter("base", "1.0", "0" * 64, 4))
    assert segment(Model(card, model.network), [make_case(132)[0]]).quality is None


def test_in_the_summary(tiny_model, make_case, tmp_path, llmboost):
    write_card(tiny_model, dataclasses.replace(read_card(tiny_model), quality=QUALITY))
    write_image(make_case(133)[0], tmp_path / "one.nii.gz")
    done = llmboost("segment", tmp_path / "one.nii.gz", "--model", tiny_model, "--output", tmp_path / "out")
    assert done.status == 0
    assert "check the segments closely" in done.err
    (row,) = json.loads((tmp_path / "out/summary.json").read_text())["cases"]
    assert set(row["quality"]) == {"predicted_dice", "low", "limit", "text", "per_segment"}
    assert set(row["quality"]["per_segment"]) <= set(row["volumes_ml"])
    with (tmp_path / "out/summary.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert float(line["predicted Dice"]) == row["quality"]["predicted_dice"]
    assert (line["check closely"], row["quality"]["low"]) == ("1", True)


# -- cards -------------------------------------------------------------------------------------------------------------


def test_cards_keep_their_numbers(tiny_card, tiny_network):
    card = tiny_card(tiny_network(), quality=QUALITY)
    assert Card.from_json(card.to_json()).quality == QUALITY
    raw = json.loads(card.to_json())
    raw["quality"]["slope"] = float("inf")
    with pytest.raises(LLMBoostError, match="Infinity is no number"):
        Card.from_json(json.dumps(raw))


def test_another_card_for_the_same_weights(tiny_model, tmp_path):
    path = shutil.copyfile(tiny_model, tmp_path / "copy.safetensors")
    old = read_card(path)
    write_card(path, dataclasses.replace(old, quality=QUALITY, version="1.0.1"))
    model = load_model(path)  # checks the digest
    assert (model.card.digest, model.card.version, model.card.quality) == (old.digest, "1.0.1", QUALITY)
    for name, tensor in load_model(tiny_model).network.state_dict().items():
        assert tensor.equal(model.network.state_dict()[name]), name
    with pytest.raises(LLMBoostError, match="other weights"):
        write_card(path, dataclasses.replace(old, digest="0" * 64))


def test_the_shipped_model_tells_its_numbers():
    quality = read_card(find("hippocampus")).quality
    assert quality is not None
    assert quality.slope > 0
    for split in ("val", "test"):
        figures = quality.figures[split]
        assert figures["correlation"] > 0.6
        assert figures["mae"] < figures["mae_of_means"]


@pytest.mark.slow
def test_ordinary_heads_are_not_flagged_and_poor_segments_are(data_root, template):
    """FLAIR with skull, where the hippocampus is mostly missed, and T1; and the template."""
    folder = data_root / "heads_t1_flair_2mm"
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} in LLMBOOST_DATA")
    hippocampus = load_model(find("hippocampus"))
    low = {
        contrast: [
            segment(hippocampus, [read_image(path)]).quality.low for path in sorted((folder / contrast).iterdir())
        ]
        for contrast in ("t1", "flair")
    }
    assert np.mean(low["t1"]) <= 0.1
    assert np.mean(low["flair"]) >= 0.9
    assert not segment(hippocampus, [template]).quality.low
