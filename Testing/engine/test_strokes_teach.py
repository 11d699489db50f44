"""A model that learns from strokes in one image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from llmboost.card import read_card
from llmboost.errors import Cancelled, LLMBoostError
from llmboost.inference.segment import segment
from llmboost.inference.watch import Watch
from llmboost.io.dataset import load, read_dataset
from llmboost.io.image import Image
from llmboost.library import find, import_model
from llmboost.messages.strokes import BACKGROUND
from llmboost.messages.words import StrokesMethod
from llmboost.model import load_model
from llmboost.strokes.simulate import SimulatedUser
from llmboost.strokes.strokes import strokes_of
from llmboost.strokes.teach import lessons, teach
from llmboost.strokes.volume import StrokedVolume


@pytest.fixture(scope="module")
def model(trained_model):
    return load_model(trained_model)


@pytest.fixture
def case(make_case):
    """An image, the truth, and strokes in three slices."""
    image, label = make_case(30)
    return image, label.array, SimulatedUser(label.array, 1, 0).first_strokes()


def of_another_scanner(image: Image) -> Image:
    """Brighter from one end to the other: the model finds half of what is there."""
    ramp = np.linspace(0, 1, image.shape[0])[:, None, None]
    return image.with_array((image.array + 180 * ramp).astype(np.float32))


def dice(found, truth):
    scores = [2 * ((found == n) & (truth == n)).sum() / ((found == n).sum() + (truth == n).sum()) for n in (1, 2)]
    return float(np.mean(scores))


def test_a_model_that_fails_learns_from_strokes(model, case):
    image, truth, strokes = case
    other = of_another_scanner(image)
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    volume = StrokedVolume(other, model.card)
    answer = volume.update(strokes, model=model)
    found = np.zeros(truth.shape, np.uint16)
    found[answer.box] = answer.labels
    assert answer.method == StrokesMethod.TAUGHT
    assert answer.share > 0
    assert answer.model == model.card
    assert dice(found, truth) > dice(segment(model, [other]).labelmap.array, truth) + 0.05
    painted = strokes > 0
    np.testing.assert_array_equal(found[painted], np.where(strokes == BACKGROUND, 0, strokes)[painted])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())


def test_a_model_that_is_right_is_left_as_it_is(model, case):
    image, _truth, _strokes = case
    known = segment(model, [image]).labelmap.array.astype(np.uint16)
    strokes = SimulatedUser(known, 1, 0).first_strokes()
    taught = teach(model, [image], strokes_of(strokes, image.spacing))
    assert taught.model is model
    assert (taught.tensors, taught.share) == ({}, 0.0)
    volume = StrokedVolume(image, model.card)
    answer = volume.update(strokes, model=model)
    assert (answer.method, answer.share) == (StrokesMethod.MODEL, 0.0)
    np.testing.assert_array_equal(answer.labels, known[answer.box])
    with pytest.raises(LLMBoostError, match="nothing to keep"):
        volume.keep(None, None)


def test_strokes_of_one_slice_teach_a_little(model, case):
    image, truth, _strokes = case
    strokes = np.zeros(truth.shape, np.uint16)
    place = int((truth > 0).sum((0, 2)).argmax())
    strokes[:, place] = np.where(truth[:, place] > 0, truth[:, place], BACKGROUND)
    taught = teach(model, [of_another_scanner(image)], strokes_of(strokes, image.spacing))
    assert taught.share == 0.25


def test_what_was_learned_is_kept_as_an_adapter(model, case, trained_model, library_folder, tmp_path):
    image, _truth, strokes = case
    base = library_folder / (import_model(trained_model).name + ".safetensors")
    other = of_another_scanner(image)
    volume = StrokedVolume(other, model.card)
    answer = volume.update(strokes, model=model)
    card, _warnings = volume.keep(base, tmp_path / "mine.safetensors")
    kept = load_model(tmp_path / "mine.safetensors")
    assert kept.card.digest == card.digest == read_card(tmp_path / "mine.safetensors").digest
    assert card.adapter.base_digest == model.card.digest
    found = segment(kept, [other]).labelmap.array
    free = strokes[answer.box] == 0
    assert (found[answer.box][free] == answer.labels[free]).mean() > 0.999, "half precision in the file"
    with pytest.raises(LLMBoostError, match=r"mine\.safetensors"):
        volume.keep(base, tmp_path / "mine.safetensors")


def test_a_model_that_learns_too_little_leaves_the_answer_to_the_walker(model, case):
    """With bright and dark exchanged, it finds far less of the strokes that are left out."""
    image, truth, strokes = case
    volume = StrokedVolume(image.with_array(300 - image.array), model.card)
    walker, answer = volume.update(strokes), volume.update(strokes, model=model)
    assert answer.method == StrokesMethod.WALKER
    assert "the walker finds strokes that are left out better than 'ellipsoids' does" in answer.warnings[0]
    inside = [found.labels == truth[found.box] for found in (walker, answer)]
    assert inside[1].mean() > 0.9
    with pytest.raises(LLMBoostError, match="nothing to keep"):
        volume.keep(None, None)


def test_one_slice_in_which_a_model_fails_does_not_hand_the_answer_to_the_walker(data_root):
    """There the walker is far better, and in the two other slices far worse; by two slices alone it would answer, and
    draw 0.25 of Dice less."""
    folder = data_root / "Task04_Hippocampus"
    if not folder.is_dir():
        pytest.skip(f"no {folder.name} in LLMBOOST_DATA")
    dataset, model = read_dataset(folder), load_model(find("hippocampus"))
    images, label = load(dataset.cases["hippocampus_248"])
    truth = label.array.round().astype(np.uint16)
    strokes = SimulatedUser(truth, 1, 1).first_strokes()
    answer = StrokedVolume(images[0], model.card).update(strokes, model=model)
    assert answer.method == StrokesMethod.TAUGHT
    found = np.zeros(truth.shape, np.uint16)
    found[answer.box] = answer.labels
    assert dice(found, truth) > 0.8


def test_a_model_that_does_not_look_at_such_images_leaves_the_answer_to_the_walker(model, case):
    image, _truth, strokes = case
    looks = replace(model, card=replace(model.card, modality="MR", subject=read_card(find("brain")).subject))
    volume = StrokedVolume(replace(image, modality="CT"), looks.card)
    answer = volume.update(strokes, model=looks)
    assert answer.method == StrokesMethod.WALKER
    assert answer.warnings == ("'ellipsoids' does not look at such an image, so the walker answers",)


def test_what_a_model_does_not_know_is_the_walkers(model, case):
    image, _truth, strokes = case
    unknown = np.where(strokes == 1, 9, strokes).astype(np.uint16)
    volume = StrokedVolume(image, model.card)
    assert volume.update(strokes).teachable
    assert not volume.update(unknown).teachable
    with pytest.raises(LLMBoostError, match="does not know all that is painted"):
        volume.update(unknown, model=model)


def test_labels_that_were_not_painted_are_no_mistakes(model, case):
    """Where one structure of two is painted, the other one lies in what is painted as background."""
    image, _truth, _strokes = case
    known = segment(model, [image]).labelmap.array.astype(np.uint16)
    strokes = SimulatedUser(known, 1, 0).first_strokes()
    one = np.where(strokes == 2, BACKGROUND, strokes).astype(np.uint16)
    taught = teach(model, [image], strokes_of(one, image.spacing))
    assert taught.right > 0.95
    assert taught.model is model


def test_every_painted_voxel_lies_in_a_lesson(model, case, reordered):
    """Whatever axes the image is stored along."""
    image, _truth, strokes = case
    counts = []
    for axes, flips in (((0, 1, 2), (False, False, False)), ((2, 0, 1), (True, False, True))):
        turned = reordered(image.with_array(strokes), axes, flips)
        found = lessons(model, [reordered(image, axes, flips)], strokes_of(turned.array, turned.spacing))
        counts.append(sorted(int((one.label == value).sum()) for one in found for value in (0, 1, 2)))
        assert all(one.image.shape[2:] == model.card.preprocessing.patch_size for one in found)
    assert counts[0] == counts[1]
    assert min(counts[0]) > 0


def test_teaching_can_be_cancelled(model, case):
    image, _truth, strokes = case
    asked = []
    watch = Watch(cancelled=lambda: len(asked) > 2 or asked.append(1))
    with pytest.raises(Cancelled):
        StrokedVolume(of_another_scanner(image), model.card).update(strokes, model=model, watch=watch)


def test_groups_are_the_slices_that_were_painted(case):
    _image, _truth, strokes = case
    groups = strokes_of(strokes, (1, 1, 1)).groups
    assert set(np.unique(groups)) == {-1, 0, 1, 2}
    np.testing.assert_array_equal(groups >= 0, strokes > 0)
    for n in range(3):
        planes = np.flatnonzero((groups == n).any((0, 2)))
        assert np.ptp(planes) == len(planes) - 1


@pytest.mark.parametrize("values", [(300, 1000), (255, 40000), (2, 65535)])
def test_labels_of_any_values_are_taught_alike(model, case, values):
    """What is learned and drawn is the same, but for what the labels are called."""
    image, _truth, strokes = case
    other = of_another_scanner(image)
    labels = tuple(replace(label, value=value) for label, value in zip(model.card.labels, values, strict=True))
    renamed = replace(model, card=replace(model.card, labels=labels))
    if values[1] == BACKGROUND:  # that label cannot be painted, the other one can
        strokes = np.where(strokes == 2, 0, strokes)
    table = np.arange(BACKGROUND + 1, dtype=np.uint16)
    table[[1, 2]] = values
    expected = StrokedVolume(other, model.card).update(strokes, model=model)
    answer = StrokedVolume(other, renamed.card).update(table[strokes], model=renamed)
    assert answer.method == expected.method
    np.testing.assert_array_equal(answer.labels, table[expected.labels])
    np.testing.assert_array_equal(answer.sure, expected.sure)
